//! Executions in which nothing goes on: listed and counted with the reason, and no longer once something goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base::ExecutionId;
use executor::{
    app::ListQuery,
    engine::{Command, Limits},
};
use serde_json::{Value, json};

use crate::kit::{Node, SOON, World, agent, me, task};

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
