//! Limits: how much runs at once, who waits, and who is refused.

use std::sync::atomic::Ordering;

use base::{ErrorCode, ExecutionId};
use executor::app::StartRequest;
use serde_json::json;
use workflow::Status;

use crate::kit::{SOON, World, agent, calls, duration, me, request, task, worker};

#[tokio::test(flavor = "multi_thread")]
async fn starts_beyond_the_limit_wait_in_order_of_priority_and_a_full_queue_is_429() {
    let mut world = World::sqlite();
    world.limits.concurrent_max = 1;
    world.limits.start_queue_max = 3;
    world.limits.lanes = 1;
    world.agents.open(false);
    let node = world.node().await;
    let start = async |n: u32, priority: i32| {
        let start = StartRequest { priority, ..request("one", json!({"n": n})) };
        node.start(start).await
    };
    let mut places = Vec::new();
    for (n, priority) in [(0, 0), (1, 0), (2, 0), (3, 5)] {
        let started = start(n, priority).await.unwrap();
        places.push(started.queue_position);
        if n > 0 {
            assert_eq!(node.view(started.id).await.status(), Status::Planning);
        }
    }
    assert_eq!(places, [0, 1, 2, 1], "the urgent one is first");
    let full = start(4, 9).await.unwrap_err();
    assert_eq!((full.code, full.code.http_status()), (ErrorCode::ResourceExhausted, 429));
    assert!(full.retry_after_ms > 0, "{full:?}");
    calls(&world.agents, 1).await;
    world.agents.open(true);
    node.idle().await;
    let order: Vec<u64> = world.agents.calls().iter().map(|c| c.input["n"].as_u64().unwrap()).collect();
    assert_eq!(order, [0, 3, 1, 2]);
    start(5, 0).await.unwrap();
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_runs_twice_at_once_queues_the_third_and_stops_nobody_else() {
    let world = World::sqlite();
    world.plans.put("pair", json!({"tasks": [task("t", json!({}))], "limits": {"concurrency": 2}}));
    let node = world.node().await;
    // Its end says that every shard has been taken: a limited workflow waits for that.
    node.run(request("pair", json!({}))).await;
    node.idle().await;
    world.agents.open(false);
    let mut ids = Vec::new();
    for want in [0, 0, 1, 2] {
        let started = node.start(request("pair", json!({}))).await.unwrap();
        assert_eq!(started.queue_position, want);
        ids.push(started.id);
    }
    let other = node.start(request("one", json!({}))).await.unwrap();
    assert_eq!(other.queue_position, 0);
    calls(&world.agents, 4).await;
    node.die().await;
    // The next process keeps the limit too.
    let node = world.node().await;
    calls(&world.agents, 7).await;
    let waiting = node.view(ids[3]).await;
    assert_eq!(waiting.status(), Status::Planning);
    assert!(waiting.queue_position() > 0);
    world.agents.open(true);
    for id in ids {
        node.completed(id).await;
    }
    node.idle().await;
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_makes_no_more_calls_at_once_than_it_may() {
    for limits in [json!({"max_calls": 2}), json!({})] {
        let world = World::sqlite();
        let each = task("t", json!({"spread": {"for_each": {"list": "input", "width": null}}}));
        world.plans.put("wide", json!({"tasks": [each], "limits": limits}));
        world.agents.open(false);
        let node = world.node().await;
        let own = u32::from(limits == json!({})) * 2;
        let start = StartRequest { max_agents: own, ..request("wide", json!([1, 2, 3, 4, 5, 6, 7])) };
        let id = node.start(start).await.unwrap().id;
        calls(&world.agents, 2).await;
        // A pause and its end in the middle give nobody a third place and lose no call.
        use executor::engine::Command;
        node.command(id, Command::Pause { reason: String::new() }).await.unwrap();
        node.command(id, Command::Resume).await.unwrap();
        assert_eq!(world.agents.count(), 2);
        world.agents.open(true);
        let view = node.completed(id).await;
        assert_eq!(view.output().unwrap().json().unwrap().as_array().unwrap().len(), 7);
        assert_eq!(world.agents.at_once_max.load(Ordering::SeqCst), 2);
        node.idle().await;
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_never_has_more_calls_than_it_takes() {
    let mut world = World::sqlite();
    let instances = json!([{"id": "a", "capacity": 3}, {"id": "b", "capacity": 3}]);
    world.fleet = Some(vec![agent("worker", instances)]);
    world.agents.open(false);
    let node = world.node().await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(node.begin("one").await);
    }
    calls(&world.agents, 6).await;
    testkit::wait_for("the others to wait", SOON, async || {
        let load = node.engine.load();
        ((load[4], load[5]) == (6, 34)).then_some(())
    })
    .await;
    assert_eq!(node.engine.in_flight().values().sum::<u32>(), 6);
    world.agents.open(true);
    for id in ids {
        node.completed(id).await;
    }
    assert_eq!(world.agents.at_once_max.load(Ordering::SeqCst), 3);
    node.idle().await;
    node.die().await;
}

/// More instances than are weighed at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_fleet_is_used_to_its_last_slot_and_no_further() {
    let mut world = World::sqlite();
    let instances: Vec<_> = (0..600).map(|n| json!({"id": format!("i{n}"), "capacity": 1})).collect();
    world.fleet = Some(vec![agent("worker", json!(instances))]);
    world.agents.open(false);
    let node = world.node().await;
    let mut ids = Vec::new();
    for _ in 0..610 {
        ids.push(node.begin("one").await);
    }
    calls(&world.agents, 600).await;
    testkit::wait_for("the others to wait", SOON, async || {
        let load = node.engine.load();
        ((load[4], load[5]) == (600, 10)).then_some(())
    })
    .await;
    let used: std::collections::BTreeSet<String> =
        world.agents.calls().into_iter().map(|call| call.instance).collect();
    assert_eq!(used.len(), 600, "each instance has one call");
    world.agents.open(true);
    for id in ids {
        node.completed(id).await;
    }
    assert_eq!(world.agents.at_once_max.load(Ordering::SeqCst), 1);
    node.idle().await;
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_one_instance_leave_by_priority_and_then_by_age() {
    let mut world = World::sqlite();
    world.fleet = Some(vec![worker(1)]);
    world.agents.open(false);
    let node = world.node().await;
    let mut ids: Vec<ExecutionId> = Vec::new();
    for (n, priority) in [(0, 0), (1, 0), (2, 7), (3, 0), (4, 9), (5, 7)] {
        let start = StartRequest { priority, ..request("one", json!({"n": n})) };
        ids.push(node.start(start).await.unwrap().id);
    }
    testkit::wait_for("five to wait", SOON, async || (node.engine.load()[5] == 5).then_some(())).await;
    world.agents.open(true);
    for id in ids {
        node.completed(id).await;
    }
    let order: Vec<u64> = world.agents.calls().iter().map(|c| c.input["n"].as_u64().unwrap()).collect();
    assert_eq!(order, [0, 4, 2, 5, 1, 3]);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_drains_takes_no_start_and_finishes_what_it_has() {
    let world = World::sqlite();
    world.agents.open(false);
    let node = world.node().await;
    let id = node.begin("one").await;
    node.engine.drain().await;
    let refused = node.start(request("one", json!({}))).await.unwrap_err();
    assert_eq!((refused.code, refused.code.http_status()), (ErrorCode::Unavailable, 503));
    assert!(refused.retry_after_ms > 0);
    world.agents.open(true);
    node.completed(id).await;
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_drains_begins_no_call_and_the_next_one_does() {
    let world = World::sqlite();
    let chain = [task("a", json!({})), task("b", json!({"after": [0]}))];
    world.plans.put("chain", json!({ "tasks": chain }));
    world.agents.open(false);
    let node = world.node().await;
    let id = node.begin("chain").await;
    calls(&world.agents, 1).await;
    node.engine.drain().await;
    world.agents.open(true);
    node.until("the call under way to be recorded", id, |v| v.task_state("a") == Some("completed")).await;
    let no_call = async || (node.engine.load()[4] == 0).then_some(());
    testkit::wait_for("nothing to run that the end could cut", SOON, no_call).await;
    assert_eq!(world.agents.count(), 1);
    node.die().await;
    let node = world.node().await;
    node.completed(id).await;
    assert_eq!(world.agents.count(), 2);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_only_agents_being_removed_could_serve_is_507_like_one_that_nobody_could() {
    use catalog::{AgentEntry, AgentState, Snapshot};
    let world = World::sqlite();
    let node = world.node().await;
    let entry = |id: &str, state| {
        let agent = agent(id, json!([{"id": "a", "capacity": 1}]));
        std::sync::Arc::new(AgentEntry::from_json(&agent.to_string(), 1, state).unwrap())
    };
    for (fleet, word) in [
        (vec![entry("worker", AgentState::Draining), entry("other", AgentState::Draining)], "being removed"),
        (vec![], "type worker"),
    ] {
        node.engine.set_fleet(Snapshot::of(2, fleet).into());
        let refused = node.start(request("one", json!({}))).await.unwrap_err();
        assert_eq!((refused.code, refused.code.http_status()), (ErrorCode::InsufficientResources, 507));
        assert!(refused.message.contains(word), "{refused:?}");
    }
    let mixed = [entry("worker", AgentState::Draining), entry("other", AgentState::Active)];
    node.engine.set_fleet(Snapshot::of(3, mixed).into());
    let id = node.begin("one").await;
    node.completed(id).await;
    assert_eq!(world.agents.count(), 1);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn critical_tasks_get_fast_agents_and_others_the_cheapest_within_their_slack() {
    let mut world = World::sqlite();
    let worker = |id: &str, cost: u32, ms: u64| {
        let mut worker = agent(id, json!([{"id": "a", "capacity": 8}]));
        worker["cost"] = json!(cost);
        worker["capabilities"] = json!([{"id": "work", "performance": {"responseTime": {"target": ms}}}]);
        worker
    };
    world.fleet = Some(vec![worker("dear", 9, 1000), worker("cheap", 1, 3000)]);
    let task = |id: &str, after: &[u32]| json!({"id": id, "need": {"capabilities": ["work"]}, "after": after, "input": "execution"});
    // `long` and `end` are critical; `short` has nine seconds for its three.
    let mut long = task("long", &[]);
    long["expected"] = duration(std::time::Duration::from_secs(10));
    let plan = json!({"tasks": [long, task("short", &[]), task("end", &[0, 1])]});
    world.plans.put("plan", plan);
    let node = world.node().await;
    let id = node.begin("plan").await;
    node.completed(id).await;
    let page = node.app.history(&me(), id, 0, 100).await.unwrap();
    let created = page.events.iter().find(|e| e.kind == "workflow.execution_started").unwrap();
    assert_eq!(created.data["estimated_duration"], 11, "{}", created.data);
    for (id, agent, why) in [
        ("long", "cheap", "the plan's choice (critical)"),
        ("short", "cheap", "the plan's choice (7s of slack)"),
        ("end", "dear", "the plan's choice (critical)"),
    ] {
        let assigned = page.events.iter().find(|e| e.kind == "agent.assigned" && e.data["task_id"] == id);
        let data = &assigned.unwrap().data;
        assert_eq!(data["agent_id"], agent, "{data}");
        assert!(data["reason"].as_str().unwrap().starts_with(why), "{data}");
    }
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_at_its_quota_waits_and_is_refused_and_stops_no_other_tenant() {
    let mut world = World::sqlite();
    world.limits.tenant_concurrent_max = 2;
    world.limits.tenant_queue_max = 2;
    world.limits.lanes = 1;
    let others = base::CallContext { tenant: base::Tenant::new("other").unwrap(), ..me() };
    let node = world.node().await;
    world.agents.open(false);
    let mut places = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..4 {
        let started = node.start(request("one", json!({}))).await.unwrap();
        places.push(started.queue_position);
        ids.push(started.id);
    }
    assert_eq!(places, [0, 0, 1, 2]);
    let full = node.start(request("one", json!({}))).await.unwrap_err();
    assert_eq!((full.code, full.code.http_status()), (ErrorCode::ResourceExhausted, 429));
    assert!(full.message.contains("of the tenant") && full.retry_after_ms > 0, "{full:?}");
    // Behind them in the queue, before them at work.
    let other = node.app.start(&others, request("one", json!({}))).await.unwrap();
    assert_eq!(other.queue_position, 0);
    calls(&world.agents, 3).await;
    node.die().await;
    // The next process counts who runs and who waits of each.
    let node = world.node().await;
    calls(&world.agents, 6).await;
    let full = testkit::wait_for("both that wait to be counted", SOON, async || {
        node.start(request("one", json!({}))).await.err()
    })
    .await;
    assert!(full.message.contains("of the tenant"), "{full:?}");
    world.agents.open(true);
    for id in ids {
        node.completed(id).await;
    }
    node.idle().await;
    node.run(request("one", json!({}))).await;
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_are_as_good_share_the_calls_of_a_task_and_those_of_executions() {
    use std::collections::BTreeSet;
    let mut world = World::sqlite();
    world.fleet = Some(["x", "y", "z"].map(|id| agent(id, json!([{"id": id, "capacity": 8}]))).to_vec());
    let each = task("t", json!({"spread": {"for_each": {"list": "input", "width": null}}}));
    world.plans.put("each", json!({"tasks": [each]}));
    world.agents.open(false);
    let node = world.node().await;
    let all = BTreeSet::from(["x", "y", "z"].map(str::to_owned));
    let begun = |from: usize| -> BTreeSet<String> {
        world.agents.calls()[from..].iter().map(|call| call.instance.clone()).collect()
    };
    node.start(request("each", json!([1, 2, 3]))).await.unwrap();
    calls(&world.agents, 3).await;
    assert_eq!(begun(0), all, "one item each");
    for _ in 0..3 {
        node.begin("one").await;
    }
    calls(&world.agents, 6).await;
    assert_eq!(begun(3), all, "one execution each");
    world.agents.open(true);
    node.idle().await;
    node.die().await;
}
