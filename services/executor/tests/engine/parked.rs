//! Very many executions that wait for somebody: they cost no memory, and each is found when it is called.

use std::time::Duration;

use base::{ExecutionId, Payload};
use executor::engine::{Command, Limits};
use futures::{StreamExt as _, stream};
use serde_json::json;
use store::journal::Executions as _;
use workflow::Status;

use crate::kit::{SHARDS, World, request};

const MANY: u32 = 10_000;
/// Long enough for the slowest machine: nothing here is about speed.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_executions_wait_for_a_signal_without_memory_and_each_gets_its_own() {
    let mut world = World::sqlite();
    let limits = Limits { park_after: Duration::ZERO, concurrent_max: 2 * MANY, ..world.limits };
    world.limits = Limits { start_queue_max: 2 * MANY, ..limits };
    let tasks = json!([{"id": "s", "kind": {"wait": {"signal": {"name": "go"}}}}]);
    world.plans.put("w", json!({"schema": 2, "tasks": tasks}));
    let node = world.node().await;
    let starts = stream::iter(0..MANY).map(|n| node.start(request("w", json!(n))));
    let ids: Vec<ExecutionId> = starts.buffered(256).map(|start| start.unwrap().id).collect().await;

    let in_memory = async || {
        let mut hot = 0;
        for shard in 0..SHARDS {
            hot += node.journal.hot_executions(shard, None, 1000).await.unwrap().len();
        }
        (hot, node.engine.load()[0])
    };
    testkit::wait_for("all of them to leave memory", PATIENCE, async || {
        (in_memory().await == (0, 0)).then_some(())
    })
    .await;
    let waiting: i64 = node.engine.stuck().iter().filter(|(why, _)| *why == "signal").map(|(_, n)| n).sum();
    assert_eq!(waiting, i64::from(MANY));

    let wake = |n: usize| {
        let (node, id) = (&node, ids[n]);
        let payload = Payload::from_value(&json!({"n": n}));
        async move {
            let signal = Command::Signal { name: "go".into(), payload, id: String::new() };
            node.command(id, signal).await.unwrap();
        }
    };
    stream::iter(0..ids.len()).map(wake).buffer_unordered(256).collect::<Vec<()>>().await;
    testkit::wait_for("all of them to end", PATIENCE, async || {
        let shards: Vec<u16> = (0..SHARDS).collect();
        (node.journal.count_active(&shards).await.unwrap() == 0).then_some(())
    })
    .await;
    for (n, id) in ids.iter().enumerate().step_by(97) {
        let view = node.view(*id).await;
        assert_eq!(view.status(), Status::Completed);
        assert_eq!(*view.output().unwrap().json().unwrap(), json!({"n": n}), "its own signal");
    }
    testkit::wait_for("nothing to be left in memory", PATIENCE, async || {
        (in_memory().await == (0, 0)).then_some(())
    })
    .await;
    assert!(node.engine.stuck().iter().all(|(_, n)| *n == 0), "{:?}", node.engine.stuck());
    node.fall().await;
}
