//! Answers of pure capabilities are remembered: a second identical call reaches no agent, and its answer is in the log.

use std::{sync::Arc, time::Duration};

use base::ExecutionId;
use executor::cache::{CacheOptions, ResultCache};
use serde_json::{Value, json};
use workflow::Status;

use crate::{
    agents::Act,
    kit::{Node, World, agent, duration, me, request, task},
};

/// An agent with a capability of this effect and version.
fn summariser(effect: &str, version: &str) -> Value {
    let mut agent = agent("worker", json!([{"id": "a", "capacity": 4}]));
    agent["version"] = json!("9");
    agent["capabilities"] = json!([{
        "id": "summarise", "name": "summarise", "version": version, "x-orchestra-effect": effect, "effect": effect,
    }]);
    agent
}

fn plan(more: Value) -> Value {
    let need =
        json!({"need": {"agent_type": "worker", "capabilities": ["summarise"], "capability": "summarise"}});
    let mut own = task("t", need);
    own.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"schema": 2, "tasks": [own]})
}

fn with_cache(node: &Node, options: CacheOptions, world: &World) -> Arc<ResultCache> {
    let cache = Arc::new(ResultCache::new(options, world.clock.clone()));
    node.engine.use_cache(cache.clone());
    cache
}

async fn world(effect: &str) -> (World, Node, Arc<ResultCache>) {
    let mut world = World::sqlite();
    world.fleet = Some(vec![summariser(effect, "1")]);
    world.agents.script(|_, nth| Act::Answer(json!({"nth": nth})));
    world.plans.put("w", plan(json!({"cache": {}})));
    world.plans.put("uncached", plan(json!({})));
    let node = world.node().await;
    let cache = with_cache(&node, CacheOptions::default(), &world);
    (world, node, cache)
}

async fn output(node: &Node, input: Value) -> Value {
    let view = node.run(request("w", input)).await;
    assert_eq!(view.status(), Status::Completed, "{:?}", view.causes());
    (*view.output().unwrap().json().unwrap()).clone()
}

async fn reasons(node: &Node, id: ExecutionId) -> Vec<String> {
    let events = node.app.history(&me(), id, 0, 1000).await.unwrap().events;
    let assigned = events.iter().filter(|e| e.kind == "agent.assigned");
    assigned.filter_map(|e| e.data["reason"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_identical_pure_call_reaches_no_agent_and_its_answer_is_in_the_log() {
    let (world, node, cache) = world("pure").await;
    assert_eq!(output(&node, json!({"a": 1, "b": [2]})).await, json!({"nth": 1}));
    let id = node.start(request("w", json!({"b": [2], "a": 1}))).await.unwrap().id;
    assert_eq!(*node.completed(id).await.output().unwrap().json().unwrap(), json!({"nth": 1}));
    assert_eq!(world.agents.count(), 1);
    assert_eq!(reasons(&node, id).await, ["cache"]);
    assert_eq!(output(&node, json!({"a": 2})).await, json!({"nth": 2}), "another input");
    let stats = cache.totals();
    assert_eq!((stats.hits, stats.misses, stats.stored), (1, 2, 2));
    node.idle().await;

    // After a crash the cache is empty, and what it answered is in the log.
    node.die().await;
    let node = world.node().await;
    let view = node.view(id).await;
    assert_eq!(*view.output().unwrap().json().unwrap(), json!({"nth": 1}));
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_capability_is_another_question() {
    let (mut world, node, _cache) = world("pure").await;
    output(&node, json!(1)).await;
    world.fleet = Some(vec![summariser("pure", "2")]);
    node.engine.set_fleet(world.snapshot().unwrap());
    assert_eq!(output(&node, json!(1)).await, json!({"nth": 2}));
    assert_eq!(output(&node, json!(1)).await, json!({"nth": 2}));
    assert_eq!(world.agents.count(), 2);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_out_or_is_too_old_is_asked_again() {
    let mut world = World::sqlite();
    let clock = testkit::FakeClock::default();
    world.clock = Arc::new(clock.clone());
    world.fleet = Some(vec![summariser("pure", "1")]);
    world.agents.script(|_, nth| Act::Answer(json!(nth)));
    let ttl = duration(Duration::from_secs(60));
    world.plans.put("w", plan(json!({"cache": {"namespace": "mine", "ttl": ttl}})));
    let node = world.node().await;
    let cache = with_cache(&node, CacheOptions::default(), &world);
    assert_eq!(output(&node, json!(0)).await, 1);
    assert_eq!(output(&node, json!(0)).await, 1);
    let tenant = base::Tenant::default();
    assert_eq!(cache.invalidate(&tenant, "mine", "^summarise@2/").unwrap(), 0);
    assert_eq!(cache.invalidate(&tenant, "mine", "^summarise@1/").unwrap(), 1);
    assert_eq!(output(&node, json!(0)).await, 2);
    clock.advance(Duration::from_secs(59));
    assert_eq!(output(&node, json!(0)).await, 2);
    clock.advance(Duration::from_secs(1));
    assert_eq!(output(&node, json!(0)).await, 3);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pure_capabilities_are_remembered_and_only_where_a_task_or_the_setting_says_so() {
    for effect in ["idempotent", "compensatable", "irreversible"] {
        let (world, node, cache) = world(effect).await;
        output(&node, json!(1)).await;
        output(&node, json!(1)).await;
        assert_eq!((world.agents.count(), cache.totals().stored), (2, 0), "{effect}");
        node.die().await;
    }
    for all_pure in [false, true] {
        let mut world = World::sqlite();
        world.fleet = Some(vec![summariser("pure", "1")]);
        world.plans.put("w", plan(json!({})));
        let node = world.node().await;
        with_cache(&node, CacheOptions { all_pure, ..CacheOptions::default() }, &world);
        output(&node, json!(1)).await;
        output(&node, json!(1)).await;
        assert_eq!(world.agents.count(), if all_pure { 1 } else { 2 });
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_the_schema_is_not_remembered() {
    let (world, node, cache) = world("pure").await;
    world.agents.script(|_, nth| Act::Answer(if nth == 1 { json!("no") } else { json!({"nth": nth}) }));
    world.plans.put("w", plan(json!({"cache": {}, "output_schema": {"type": "object"}})));
    assert_eq!(node.run(request("w", json!(1))).await.status(), Status::Failed);
    assert_eq!(cache.totals().stored, 0);
    assert_eq!(output(&node, json!(1)).await, json!({"nth": 2}));
    assert_eq!(output(&node, json!(1)).await, json!({"nth": 2}));
    node.die().await;
}
