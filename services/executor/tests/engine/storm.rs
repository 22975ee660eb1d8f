//! Kill after kill at moments that a seed draws: nothing acknowledged is lost, and nothing that may not be repeated is.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use base::ExecutionId;
use serde_json::json;
use workflow::{Resolution, Status};

use crate::{
    agents::Act,
    gate::Way,
    kit::{Node, SOON, World, keyed, me, task},
};

/// Starts of one life, one after the other: so many commits come for certain.
const STARTS: u64 = 20;

/// Numbers that a seed draws (SplitMix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Three tasks, the middle one irreversible.
fn plan(world: &World) {
    let middle = json!({"after": [0], "effect": "irreversible"});
    let tasks = [task("a", json!({})), task("b", middle), task("c", json!({"after": [1]}))];
    world.plans.put("storm", json!({ "tasks": tasks }));
}

/// Lets the process live for so many commits, then kills it before or right after the next.
async fn live(node: Node, commits: u64, way: Way, keys: &[String]) -> Vec<ExecutionId> {
    let mut acknowledged = Vec::new();
    let starts = async {
        for key in keys {
            acknowledged.extend(node.app.start(&me(), keyed("storm", key)).await.ok().map(|s| s.id));
        }
        std::future::pending::<()>().await;
    };
    let kill = testkit::wait_for("its time to come", SOON, async || {
        (u64::from(node.journal.arrived.load(Ordering::SeqCst)) >= commits).then_some(())
    });
    tokio::select! {
        () = starts => {}
        () = kill => {}
    }
    node.journal.set(way);
    node.fall().await;
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_commit_lose_nothing_and_repeat_nothing_that_does_harm() {
    for (world, rounds) in [(World::sqlite(), 12), (World::postgres().await, 6)] {
        plan(&world);
        world.agents.script(|seen, _| Act::Answer(json!(seen.task)));
        let mut draw = Draw(7);
        let mut acknowledged = Vec::new();
        for round in 0..rounds {
            let keys: Vec<String> = (0..STARTS).map(|n| format!("{round}-{n}")).collect();
            let way = if draw.below(2) == 0 { Way::Cut } else { Way::Deaf };
            let node = world.node().await;
            acknowledged.extend(live(node, 1 + draw.below(STARTS), way, &keys).await);
        }
        assert!(!acknowledged.is_empty());
        let node = world.node().await;
        for id in &acknowledged {
            let right = |v: &executor::engine::ExecutionView| {
                v.status().is_final() || v.task_state("b") == Some("needs_decision")
            };
            let view = node.until("its end or its question", *id, right).await;
            if !view.status().is_final() {
                let decision = Resolution::Completed(base::Payload::null());
                let resolve = executor::engine::Command::Resolve { task: "b".into(), item: 0, decision };
                node.command(*id, resolve).await.unwrap();
            }
            assert_eq!(node.ended(*id).await.status(), Status::Completed, "{:?}", view.causes());
            let events = node.app.history(&me(), *id, 0, 1000).await.unwrap().events;
            let done = events.iter().filter(|e| e.kind == "task.completed").count();
            assert_eq!(done, 3, "each task completes once: {events:?}");
        }
        let mut sends: BTreeMap<String, (String, u32)> = BTreeMap::new();
        for call in world.agents.calls() {
            sends.entry(call.message_id).or_insert((call.task, 0)).1 += 1;
        }
        let harm: Vec<_> = sends.values().filter(|(task, n)| task == "b" && *n > 1).collect();
        assert!(harm.is_empty(), "irreversible calls were repeated: {harm:?}");
        assert!(node.fatal.why().is_none());
        node.die().await;
    }
}
