//! A short soak: many agents with heartbeats, a mixed load, calls that fail at random, agents that die.
//! `orchestra-bench` has the long one.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use agent::Effect;
use futures::{StreamExt as _, stream};
use harness::{Act, Api, PATIENCE, Seen, Shape, System, TestAgent};
use serde_json::{Value, json};
use testkit::{unique_name, wait_for};

/// Registered besides those that have a server of their own.
const AGENTS: usize = 300;
const EXECUTIONS: usize = 300;
const AT_ONCE: usize = 60;

/// One call in twenty fails, whichever the hash of its message says: another attempt is another message.
fn act(seen: &Seen) -> Act {
    let mut hash = DefaultHasher::new();
    seen.message.hash(&mut hash);
    match hash.finish() % 20 {
        0 => Act::Fail("at random".into()),
        _ => Act::Answer(json!({"task": seen.task})),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixed_load_completes_while_calls_fail_and_agents_die() {
    let settings = [("retry.max_attempts", "10"), ("executor.max_concurrent_workflows", "50")];
    let system = tokio::task::block_in_place(|| System::start(Shape::OneProcess, &settings));
    let _logs = system.shown_on_failure();
    let api = system.api();
    let stays = TestAgent::several(&api, 3, Effect::Pure, act).await;
    let mut dies = stays.twin(&api, 2, Effect::Pure).await;
    let ids = register(&api, &stays).await;
    let flows = define(&api, &stays.capability).await;

    let (done, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let load = async {
        let each = stream::iter(0..EXECUTIONS).map(|n| {
            let (api, flow) = (api.clone(), &flows[n % flows.len()]);
            let done = &done;
            async move {
                let ended = api.run(flow, &json!({"n": n})).await;
                done.fetch_add(1, Ordering::Relaxed);
                ended["status"].as_str().unwrap_or_default().to_owned()
            }
        });
        let all: Vec<String> = each.buffer_unordered(AT_ONCE).collect().await;
        over.store(true, Ordering::Relaxed);
        all
    };
    let beats = async {
        for id in ids.iter().cycle() {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let beat = json!({"status": "healthy"});
            assert_eq!(api.post(&format!("/agents/{id}/heartbeat"), &beat).await.status, 200);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let death = async {
        while done.load(Ordering::Relaxed) < EXECUTIONS / 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::task::block_in_place(|| dies.crash());
    };
    let (ended, (), ()) = tokio::join!(load, beats, death);
    let completed = ended.iter().filter(|status| *status == "completed").count();
    // At least 99.9 % of so many is all of them.
    assert_eq!(completed, EXECUTIONS, "{ended:?}");

    // Nothing stays in a queue.
    wait_for("everything to be at rest", PATIENCE, async || {
        let answer = reqwest::get(format!("{}/workflow-capacity", api.base())).await.ok()?;
        let capacity: Value = answer.json().await.ok()?;
        let rest =
            ["active", "queued", "calls_waiting", "calls_in_flight"].iter().all(|key| capacity[key] == 0);
        rest.then_some(())
    })
    .await;
}

/// Many more agents, at the addresses of those that stay.
async fn register(api: &Api, stays: &TestAgent) -> Vec<String> {
    let mut endpoints = Vec::new();
    for id in &stays.ids {
        let agent = api.get(&format!("/agents/{id}")).await.expect(200);
        endpoints.push(agent["endpoint"].as_str().unwrap().to_owned());
    }
    let mut ids = Vec::new();
    for n in 0..AGENTS {
        let id = unique_name("agent");
        let definition = json!({
            "id": id, "name": id, "type": "test", "version": "1.0.0", "endpoint": endpoints[n % endpoints.len()],
            "capabilities": [{"id": stays.capability, "name": "test", "effect": "pure"}],
        });
        api.post("/agents", &definition).await.expect(201);
        ids.push(id);
    }
    ids
}

/// A chain, a fan-out with a join, and a list that is spread.
async fn define(api: &Api, capability: &str) -> [String; 3] {
    let [chain, fan, each] = ["chain", "fan", "each"].map(unique_name);
    let task = |id: &str, after: &str| {
        format!("  - {{id: {id}, capability: {capability}, depends_on: [{after}]}}\n")
    };
    let mut text = format!("name: {chain}\ntasks:\n");
    for (after, id) in [("", "a"), ("a", "b"), ("b", "c"), ("c", "d")] {
        text += &task(id, after);
    }
    api.define(&text).await;
    let mut text = format!("name: {fan}\ntasks:\n{}", task("first", ""));
    let middle: Vec<String> = (0..6).map(|n| format!("m{n}")).collect();
    for id in &middle {
        text += &task(id.as_str(), "first");
    }
    text += &task("last", middle.join(", ").as_str());
    api.define(&text).await;
    let body = format!(
        "  - {{id: spread, capability: {capability}, for_each: [1, 2, 3, 4], input: \"${{ item }}\"}}\n"
    );
    api.define(&format!("name: {each}\ntasks:\n{body}")).await;
    [chain, fan, each]
}
