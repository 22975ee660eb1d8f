//! Executions in which nothing goes on: listed and counted with the reason, and no longer once something goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use base::{Clock as _, ExecutionId, FailureClass};
use executor::{
    app::ListQuery,
    call::Away,
    engine::{Command, Limits},
};
use serde_json::{Value, json};

use crate::{
    agents::Act,
    kit::{Node, SOON, World, agent, duration, me, retry, task},
};

/// Reason and task of every execution that is listed as stuck.
async fn listed(node: &Node, reasons: &[&str]) -> BTreeMap<ExecutionId, (String, Value)> {
    let stuck_reasons = reasons.iter().map(|r| (*r).to_owned()).collect();
    let query = ListQuery { stuck: true, stuck_reasons, limit: 100, ..ListQuery::default() };
    let page = node.app.list(&me(), query).await.unwrap();
    let read = |row: store::journal::ExecutionRow| {
        let stuck = row.stuck.unwrap();
        (row.execution_id, (stuck.reason, serde_json::from_str(&stuck.detail).unwrap()))
    };
    page.rows.into_iter().map(read).collect()
}

/// Counts of the gauge that are not zero.
fn counted(node: &Node) -> BTreeMap<&'static str, i64> {
    node.engine.stuck().into_iter().filter(|(_, n)| *n != 0).collect()
}

async fn until_counted(node: &Node, want: &[(&'static str, i64)]) {
    let want: BTreeMap<_, _> = want.iter().copied().collect();
    let what = format!("the gauge to say {want:?}");
    testkit::wait_for(&what, SOON, async || (counted(node) == want).then_some(())).await;
}

fn signal(name: &str) -> Command {
    Command::Signal { name: name.into(), payload: base::Payload::null(), id: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_still_is_found_with_its_reason_over_a_crash_and_forgotten_when_it_goes_on() {
    for mut world in World::both().await {
        world.limits = Limits { stuck_after: Duration::ZERO, concurrent_max: 6, ..world.limits };
        let wait = |wait: Value| json!({"id": "w", "kind": {"wait": wait}});
        let plan = |tasks: Value| json!({"schema": 2, "tasks": tasks});
        world.plans.put("signal", plan(json!([wait(json!({"signal": {"name": "go"}}))])));
        world
            .plans
            .put("approval", plan(json!([wait(json!({"approval": {"title": "?", "who": ["boss"]}}))])));
        // Its agent leaves while it waits to begin.
        let paint = json!({"need": {"agent_type": "painter"}, "after": [0]});
        let begin = wait(json!({"signal": {"name": "paint"}}));
        world.plans.put("nobody", plan(json!([begin, task("t", paint)])));
        let mut painter = agent("painter", json!([{"id": "a", "capacity": 1}]));
        painter["type"] = json!("painter");
        world.fleet = Some(vec![crate::kit::worker(64), painter]);
        world.agents.open(false);
        let node = world.node().await;
        let signal_id = node.begin("signal").await;
        let approval_id = node.begin("approval").await;
        let nobody_id = node.begin("nobody").await;
        let paused_id = node.begin("signal").await;
        let works = node.begin("one").await;
        world.fleet = Some(vec![crate::kit::worker(64)]);
        node.engine.set_fleet(world.snapshot().unwrap());
        node.command(nobody_id, signal("paint")).await.unwrap();
        node.command(paused_id, Command::Pause { reason: "lunch".into() }).await.unwrap();
        let all = [("approval", 1), ("no_agent", 1), ("paused", 1), ("signal", 1)];
        until_counted(&node, &all).await;
        // One runs beside them: its agent works for it.
        let seen = listed(&node, &[]).await;
        assert!(!seen.contains_key(&works));
        let reasons: BTreeMap<_, _> = seen.iter().map(|(id, (reason, _))| (*id, reason.as_str())).collect();
        let want = [
            (signal_id, "signal"),
            (approval_id, "approval"),
            (nobody_id, "no_agent"),
            (paused_id, "paused"),
        ];
        assert_eq!(reasons, want.into_iter().collect());
        assert_eq!(seen[&signal_id].1["command"], "signal");
        assert_eq!(seen[&signal_id].1["task_id"], "w");
        assert!(seen[&approval_id].1["detail"].as_str().unwrap().starts_with("boss since "), "{seen:?}");
        assert_eq!(listed(&node, &["signal", "paused"]).await.len(), 2);
        let unknown = ListQuery { stuck: true, stuck_reasons: vec!["bored".into()], ..ListQuery::default() };
        assert_eq!(node.app.list(&me(), unknown).await.unwrap_err().field, "stuck_reasons");
        node.die().await;

        let node = world.node().await;
        until_counted(&node, &all).await;
        node.command(signal_id, signal("go")).await.unwrap();
        node.completed(signal_id).await;
        node.command(paused_id, Command::Resume).await.unwrap();
        // It waits for its signal again.
        until_counted(&node, &[("approval", 1), ("no_agent", 1), ("signal", 1)]).await;
        node.command(nobody_id, Command::Cancel { reason: String::new() }).await.unwrap();
        until_counted(&node, &[("approval", 1), ("signal", 1)]).await;
        assert_eq!(
            listed(&node, &[]).await.keys().copied().collect::<BTreeSet<_>>(),
            [approval_id, paused_id].into()
        );
        for shard in 0..crate::kit::SHARDS {
            node.engine.release(shard).await;
        }
        assert_eq!(counted(&node), BTreeMap::new(), "shards that left are counted by their next owner");
        node.fall().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_executions_and_unwell_agents_are_told_from_busy_and_missing_ones() {
    let mut world = World::sqlite();
    world.limits = Limits { stuck_after: Duration::ZERO, concurrent_max: 1, ..world.limits };
    let mut unwell = agent("worker", json!([{"id": "a", "capacity": 1}]));
    let away = json!({"instance": "a", "status": "unhealthy", "score": 0, "message": "no answer"});
    unwell["healthStatus"] = json!({"status": "unhealthy", "score": 0, "checks": [away]});
    world.fleet = Some(vec![unwell]);
    let node = world.node().await;
    let first = node.begin("one").await;
    let second = node.begin("one").await;
    let third = node.begin("one").await;
    until_counted(&node, &[("no_healthy_instance", 1), ("queued", 2)]).await;
    let seen = listed(&node, &[]).await;
    assert_eq!(seen[&first].0, "no_healthy_instance", "{seen:?}");
    assert_eq!(seen[&third].1["detail"], "place 2 of the start queue");
    let view = node.view(second).await;
    assert_eq!((view.queue_position(), view.stuck()[0].why.as_str()), (1, "queued"));
    assert_eq!(node.view(first).await.stuck()[0].why.as_str(), "no_healthy_instance");
    world.fleet = Some(vec![crate::kit::worker(1)]);
    node.engine.set_fleet(world.snapshot().unwrap());
    for id in [first, second, third] {
        node.completed(id).await;
    }
    until_counted(&node, &[]).await;
    node.fall().await;
}

/// The foremost reason of a listed execution, once it is this one.
async fn until_listed(node: &Node, id: ExecutionId, reason: &str) -> Value {
    testkit::wait_for(&format!("{id} to be listed as {reason}"), SOON, async || {
        listed(node, &[reason]).await.remove(&id).map(|(_, words)| words)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_is_told_with_agent_and_time_and_one_call_closes_it() {
    let mut world = World::sqlite();
    let clock = testkit::FakeClock::default();
    world.clock = Arc::new(clock.clone());
    let breaker = balance::breaker::Rule { failures: 2, ..world.limits.breaker };
    world.limits = Limits { stuck_after: Duration::ZERO, breaker, ..world.limits };
    world.agents.script(|_, _| Act::Fail { class: FailureClass::Unavailable, known: true, after: None });
    let node = world.node().await;
    for _ in 0..2 {
        let failed = node.begin("one").await;
        node.ended(failed).await;
    }
    assert_eq!(node.engine.breakers_open(), 1);
    // Nobody calls an instance that is left alone.
    world.plans.put("again", json!({"tasks": [task("t", json!({"retry": retry(2)}))]}));
    let waits = node.begin("again").await;
    let until = clock.now().plus(Duration::from_secs(1)).rfc3339();
    let words = until_listed(&node, waits, "breaker_open").await;
    assert_eq!((&words["agents"], &words["until"]), (&json!(["worker"]), &json!(until)), "{words}");
    assert_eq!(words["detail"], json!(format!("breaker open until {until}: worker")));
    assert_eq!(words["command"], "repair an instance");
    assert_eq!(node.view(waits).await.stuck()[0].why.as_str(), "breaker_open");
    until_counted(&node, &[("breaker_open", 1)]).await;
    assert_eq!(world.agents.count(), 2);
    // One call tries it, fails, and it is left alone for longer.
    clock.advance(Duration::from_secs(1));
    let until = clock.now().plus(Duration::from_secs(2)).rfc3339();
    node.until("its failure", waits, |v| v.stuck()[0].why.as_str() == "retry").await;
    clock.advance(Duration::from_millis(1));
    testkit::wait_for("the new time", SOON, async || {
        let words = until_listed(&node, waits, "breaker_open").await;
        (words["until"] == json!(until)).then_some(())
    })
    .await;
    assert_eq!(world.agents.count(), 3);
    world.agents.script(|_, nth| Act::Answer(json!(nth)));
    clock.advance(Duration::from_secs(2));
    node.completed(waits).await;
    assert_eq!(node.engine.breakers_open(), 0);
    let after = node.begin("one").await;
    node.completed(after).await;
    until_counted(&node, &[]).await;
    node.fall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_away_is_named_whether_its_run_goes_on_there_or_could_not_be_started() {
    let mut world = World::sqlite();
    world.limits = Limits { stuck_after: Duration::ZERO, ..world.limits };
    world.fleet = Some(vec![agent("provider.far", json!([{"id": "a", "capacity": 9}]))]);
    let remote = json!({"provider": "far", "work": {"workflow": "w"}});
    let mut patient = retry(9);
    for limit in ["base_delay", "max_delay"] {
        patient[limit] = duration(Duration::from_secs(3600));
    }
    let remote_task = |name: &str, retry: Value| {
        let own = json!({"id": name, "need": {"agent": "provider.far"}, "remote": remote, "retry": retry});
        world.plans.put(name, json!({"schema": 3, "tasks": [own]}));
    };
    remote_task("runs", retry(1));
    remote_task("retries", patient);
    world.agents.script(|seen, _| match seen.task == "runs" {
        true => Act::Bind,
        false => Act::Fail { class: FailureClass::Unavailable, known: true, after: None },
    });
    world.agents.open(false);
    let node = world.node().await;
    let runs = node.begin("runs").await;
    let retries = node.begin("retries").await;
    until_listed(&node, retries, "retry").await;
    assert!(!listed(&node, &[]).await.contains_key(&runs), "it is seen to go on there");
    let since = base::Timestamp::from_millis(1_767_225_600_000);
    let away = Away { since, error: "connection refused".into() };
    world.agents.away.lock().unwrap().push(("far".into(), away));
    for id in [runs, retries] {
        let words = until_listed(&node, id, "provider_away").await;
        let told = [&words["provider"], &words["since"], &words["error"], &words["command"]];
        let want = ["far", &since.rfc3339(), "connection refused", "restore the provider"];
        assert_eq!(told.map(|v| v.as_str().unwrap()), want, "{words}");
        assert_eq!(
            words["until"].is_null(),
            id == runs,
            "a start is tried again, a run is asked for: {words}"
        );
    }
    until_counted(&node, &[("provider_away", 2)]).await;
    let seen = node.view(retries).await;
    assert_eq!(seen.stuck()[0].why.as_str(), "provider_away");
    world.agents.away.lock().unwrap().clear();
    until_counted(&node, &[("retry", 1)]).await;
    node.fall().await;
}
