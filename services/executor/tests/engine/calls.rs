//! Calls: retries go elsewhere, unknown outcomes are not repeated, commands reach agents, late answers count for nothing.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base::{ErrorCode, ExecutionId, FailureClass};
use executor::engine::Command;
use serde_json::json;
use workflow::Status;

use crate::{
    agents::Act,
    kit::{Node, SOON, World, agent, calls, duration, keyed, me, request, retry, task},
};

/// The agent's name for the call is on disk.
async fn accepted(node: &Node, id: ExecutionId) {
    testkit::wait_for("the name", SOON, async || {
        let page = node.app.history(&me(), id, 0, 100).await.unwrap();
        page.events.iter().any(|e| e.kind == "task.accepted").then_some(())
    })
    .await;
}

fn fail(class: FailureClass, known: bool) -> Act {
    Act::Fail { class, known, after: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cause_is_kept_and_a_retry_goes_elsewhere_and_the_log_says_why() {
    let mut world = World::sqlite();
    let instances = json!([{"id": "a"}, {"id": "b"}]);
    world.fleet = Some(vec![agent("worker", instances), agent("spare", json!([{"id": "c"}]))]);
    world.agents.script(|_, _| fail(FailureClass::Unavailable, true));
    world.plans.put("again", json!({"tasks": [task("t", json!({"retry": retry(3)}))]}));
    let node = world.node().await;
    let view = node.run(executor::app::StartRequest { key: "k".into(), ..request("again", json!({})) }).await;
    assert_eq!(view.status(), Status::Failed);
    let messages: Vec<&str> = view.causes().iter().map(|c| &*c.message).collect();
    for n in 1..=3 {
        let own = format!("unavailable of call {n}");
        assert!(messages.contains(&own.as_str()), "{messages:?}");
    }
    let seen = world.agents.calls();
    let instances: std::collections::BTreeSet<&str> = seen.iter().map(|c| c.instance.as_str()).collect();
    assert_eq!(instances.len(), 3, "{instances:?}");
    let messages: std::collections::BTreeSet<&str> = seen.iter().map(|c| c.message_id.as_str()).collect();
    assert_eq!(messages.len(), 3, "a known failure gives a new message");
    let id = base::ExecutionId::from_key(&base::Tenant::default(), "k");
    let events = node.app.history(&me(), id, 0, 1000).await.unwrap().events;
    let why: Vec<&str> = events
        .iter()
        .filter(|e| e.kind == "agent.assigned")
        .filter_map(|e| e.data["reason"].as_str())
        .collect();
    assert_eq!(why.len(), 3);
    assert!(why.iter().all(|w| !w.is_empty()), "{why:?}");
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_repeats_the_message_or_waits_for_a_decision_by_its_effect() {
    for (effect, repeats) in
        [("pure", true), ("idempotent", true), ("compensatable", false), ("irreversible", false)]
    {
        let world = World::sqlite();
        world.agents.script(|_, nth| match nth {
            1 => fail(FailureClass::Broken, false),
            _ => Act::Answer(json!("second")),
        });
        world.plans.put("w", json!({"tasks": [task("t", json!({"effect": effect, "retry": retry(2)}))]}));
        let node = world.node().await;
        let id = node.begin("w").await;
        if repeats {
            node.completed(id).await;
            let seen = world.agents.calls();
            assert_eq!(seen[0].message_id, seen[1].message_id, "{effect}");
        } else {
            let view = node.until("the question", id, |v| v.task_state("t") == Some("needs_decision")).await;
            assert!(view.waiting()[0].contains("unknown"), "{effect}: {:?}", view.waiting());
            assert_eq!(world.agents.count(), 1, "{effect}");
        }
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_takes_too_long_is_ended_and_the_agent_is_told() {
    let mut world = World::sqlite();
    let clock = testkit::FakeClock::default();
    world.clock = Arc::new(clock.clone());
    world.agents.script(|_, nth| if nth == 1 { Act::Bind } else { Act::Answer(json!(nth)) });
    let limit = json!({"attempt": duration(Duration::from_secs(60))});
    world.plans.put("slow", json!({"tasks": [task("t", json!({"timeouts": limit, "retry": retry(2)}))]}));
    let node = world.node().await;
    let id = node.begin("slow").await;
    accepted(&node, id).await;
    clock.advance(Duration::from_secs(61));
    let again = node.until("the retry to wait", id, |v| v.task_state("t") != Some("running")).await;
    assert!(!again.status().is_final() || again.status() == Status::Completed);
    clock.advance(Duration::from_secs(1));
    let view = node.completed(id).await;
    assert_eq!(view.causes()[0].class, FailureClass::Timeout);
    testkit::wait_for("the cancel", SOON, async || {
        (world.agents.cancelled.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    node.idle().await;
    assert_eq!(world.agents.waiting(), 0, "the first call was let go");
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_breaks_down_fails_its_attempt_and_gives_its_slot_back() {
    let world = World::sqlite();
    world.agents.script(|_, nth| if nth == 1 { Act::Panic } else { Act::Answer(json!(nth)) });
    world.plans.put("w", json!({"tasks": [task("t", json!({"retry": retry(2)}))]}));
    let node = world.node().await;
    let view = node.run(request("w", json!({}))).await;
    assert_eq!((view.status(), view.causes()[0].class), (Status::Completed, FailureClass::Broken));
    node.idle().await;
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_and_terminate_end_what_runs_and_what_waits() {
    type Make = fn() -> Command;
    let commands: [(Make, Status); 2] = [
        (|| Command::Cancel { reason: "enough".into() }, Status::Cancelled),
        (|| Command::Terminate { reason: "now".into() }, Status::Terminated),
    ];
    for (command, status) in commands {
        let mut world = World::sqlite();
        world.limits.concurrent_max = 1;
        world.agents.script(|_, _| Act::Bind);
        let node = world.node().await;
        let running = node.begin("one").await;
        calls(&world.agents, 1).await;
        accepted(&node, running).await;
        let queued = node.begin("one").await;
        // The one that waits goes first: nobody moves up in its place.
        for id in [queued, running] {
            assert_eq!(node.command(id, command()).await.unwrap().status, status);
            assert_eq!(node.ended(id).await.status(), status);
        }
        let seen = world.agents.count();
        assert_eq!(seen, 1, "the one that waited never ran");
        testkit::wait_for("the agent to be told", SOON, async || {
            (world.agents.cancelled.load(Ordering::SeqCst) == 1).then_some(())
        })
        .await;
        node.idle().await;
        testkit::wait_for("the call to end", SOON, async || (world.agents.waiting() == 0).then_some(()))
            .await;
        let late = node.command(running, Command::Pause { reason: String::new() }).await.unwrap_err();
        assert_eq!((late.code, late.code.http_status()), (ErrorCode::InvalidState, 409));
        let unknown = base::ExecutionId::from_key(&base::Tenant::default(), "unknown");
        assert_eq!(node.command(unknown, command()).await.unwrap_err().code, ErrorCode::NotFound);
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_an_agent_that_comes_and_gives_up_in_its_time() {
    let mut world = World::sqlite();
    let mut away = agent("worker", json!([{"id": "a"}]));
    away["status"] = json!("active");
    world.fleet = Some(vec![away]);
    let limit = json!({"queue": duration(Duration::from_millis(300))});
    world.plans.put(
        "w",
        json!({"tasks": [task("a", json!({})), task("b", json!({"after": [0], "timeouts": limit}))]}),
    );
    world.agents.open(false);
    let node = world.node().await;
    for comes_back in [true, false] {
        world.agents.open(false);
        let before = world.agents.count();
        let id = node.begin("w").await;
        calls(&world.agents, before + 1).await;
        // The last agent leaves while the first task runs.
        node.engine.set_fleet(std::sync::Arc::default());
        world.agents.open(true);
        if comes_back {
            node.until("the wait", id, |v| v.task_state("a") == Some("completed")).await;
            node.engine.set_fleet(world.snapshot().unwrap());
            node.ended(id).await;
        } else {
            let view = node.ended(id).await;
            let cause = view.causes().iter().find(|c| c.class == FailureClass::NoAgent);
            assert!(cause.is_some_and(|c| c.message.contains("no agent in time")), "{:?}", view.causes());
            node.engine.set_fleet(world.snapshot().unwrap());
        }
    }
    node.idle().await;
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_after_the_end_is_recorded_as_late() {
    let world = World::sqlite();
    // An execution whose other item failed ends while this call is still out; its answer changes nothing.
    world.agents.script(|seen, _| match seen.task.as_str() {
        "fails" => fail(FailureClass::Rejected, true),
        _ => Act::Wait(json!(1)),
    });
    world.agents.open(false);
    world.plans.put("w", json!({"tasks": [task("waits", json!({})), task("fails", json!({}))]}));
    let node = world.node().await;
    let started = node.start(keyed("w", "k")).await.unwrap();
    let view = node.ended(started.id).await;
    assert_eq!(view.status(), Status::Failed);
    let seq = view.last_seq();
    world.agents.open(true);
    node.idle().await;
    let page = node.app.history(&me(), started.id, 0, 1000).await.unwrap();
    assert!(page.events.iter().filter(|e| e.seq > seq).all(|e| e.kind == "task.late_result"));
    assert_eq!(node.view(started.id).await.status(), Status::Failed);
    node.die().await;
}
