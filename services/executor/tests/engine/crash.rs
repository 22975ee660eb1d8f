//! A process dies at any moment; the next one goes on where the disk says.

use std::{sync::Arc, time::Duration};

use base::{FailureClass, Payload};
use executor::{app::StartRequest, engine::Command};
use serde_json::json;
use store::journal::Executions as _;
use workflow::{Resolution, Status};

use crate::{
    agents::Act,
    gate::Way,
    kit::{SOON, World, calls, duration, keyed, me, request, retry, task},
};

#[tokio::test(flavor = "multi_thread")]
async fn open_calls_of_a_dead_process_are_sent_again_with_the_same_message_id() {
    for world in World::both().await {
        let tasks = [task("a", json!({})), task("b", json!({"after": [0]}))];
        world.plans.put("two", json!({"tasks": tasks}));
        world.agents.open(false);
        let node = world.node().await;
        let mut ids = Vec::new();
        for n in 0..20 {
            ids.push(node.start(keyed("two", &format!("k{n}"))).await.unwrap().id);
        }
        calls(&world.agents, 20).await;
        node.die().await;
        let first: std::collections::BTreeSet<String> =
            world.agents.calls().into_iter().map(|c| c.message_id).collect();
        let node = world.node().await;
        calls(&world.agents, 40).await;
        let again: std::collections::BTreeSet<String> =
            world.agents.calls()[20..].iter().map(|c| c.message_id.clone()).collect();
        assert_eq!(first, again);
        world.agents.open(true);
        for id in ids {
            let view = node.completed(id).await;
            assert_eq!(*view.output().unwrap().json().unwrap(), json!({"task": "b"}));
        }
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_agent_has_named_is_asked_for_and_not_sent_again() {
    let world = World::sqlite();
    world.agents.script(|seen, _| match seen.kind {
        "send" => Act::Bind,
        _ => Act::Answer(json!("found again")),
    });
    world.plans.put("careful", json!({"tasks": [task("t", json!({"effect": "irreversible"}))]}));
    let node = world.node().await;
    let id = node.begin("careful").await;
    testkit::wait_for("the name to be on disk", SOON, async || {
        let page = node.app.history(&me(), id, 0, 100).await.unwrap();
        page.events.iter().any(|e| e.kind == "task.accepted").then_some(())
    })
    .await;
    node.die().await;
    let node = world.node().await;
    let view = node.completed(id).await;
    assert_eq!(*view.output().unwrap().json().unwrap(), json!("found again"));
    let kinds: Vec<&str> = world.agents.calls().iter().map(|c| c.kind).collect();
    assert_eq!(kinds, ["send", "reattach"]);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_irreversible_call_of_a_dead_process_waits_for_a_decision() {
    type Right = fn(&executor::engine::ExecutionView) -> bool;
    let decisions: [(Resolution, Right); 3] = [
        (Resolution::Completed(Payload::from_value(&json!("done by hand"))), |view| {
            *view.output().unwrap().json().unwrap() == json!("done by hand")
        }),
        (Resolution::Failed("it never happened".into()), |view| {
            view.causes()
                .iter()
                .any(|c| c.class == FailureClass::Operator && c.message.contains("it never happened"))
        }),
        (Resolution::Retry, |view| *view.output().unwrap().json().unwrap() == json!({"task": "t"})),
    ];
    for (decision, right) in decisions {
        let world = World::sqlite();
        world.agents.open(false);
        world.plans.put("careful", json!({"tasks": [task("t", json!({"effect": "irreversible"}))]}));
        let node = world.node().await;
        let id = node.begin("careful").await;
        calls(&world.agents, 1).await;
        node.die().await;
        let node = world.node().await;
        world.agents.open(true);
        let view = node.until("the question", id, |v| v.task_state("t") == Some("needs_decision")).await;
        assert!(view.waiting()[0].contains("whether agent worker did the work is unknown"), "{view:?}");
        assert_eq!(world.agents.count(), 1, "it was repeated");
        let retried = matches!(decision, Resolution::Retry);
        let resolve = |decision| Command::Resolve { task: "t".into(), item: 0, decision };
        node.command(id, resolve(decision)).await.unwrap();
        let view = node.ended(id).await;
        assert!(right(&view), "{view:?}");
        assert_eq!(world.agents.count(), if retried { 2 } else { 1 });
        let late = node.command(id, resolve(Resolution::Retry)).await.unwrap_err();
        assert_eq!(late.code, base::ErrorCode::InvalidState);
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_committed_but_not_acknowledged_is_found_by_its_retry() {
    for world in World::both().await {
        let node = world.node().await;
        node.journal.set(Way::Deaf);
        let context = me();
        let start = node.app.start(&context, keyed("one", "k"));
        let id = base::ExecutionId::from_key(&base::Tenant::default(), "k");
        let written =
            testkit::wait_for("the row", SOON, async || node.journal.find_execution(id).await.unwrap());
        tokio::select! {
            _ = start => panic!("it was answered"),
            _ = written => {}
        }
        assert_eq!(world.agents.count(), 0, "a call left although nobody knew of the commit");
        node.fall().await;
        let node = world.node().await;
        let again = node.start(keyed("one", "k")).await.unwrap();
        assert!(again.existing, "the retry is the same start");
        node.completed(id).await;
        assert_eq!(world.agents.count(), 1);
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_starts_while_executions_are_read_back_harm_nothing() {
    for world in World::both().await {
        world.agents.open(false);
        let node = world.node().await;
        let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
        for key in &keys {
            node.start(keyed("one", key)).await.unwrap();
        }
        node.die().await;
        let node = world.node().await;
        let again = futures::future::join_all(keys.iter().map(|key| node.start(keyed("one", key)))).await;
        assert!(again.iter().all(|a| a.as_ref().is_ok_and(|s| s.existing)));
        world.agents.open(true);
        for start in again {
            node.completed(start.unwrap().id).await;
        }
        node.idle().await;
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_not_on_disk_is_asked_for_again() {
    let world = World::sqlite();
    world.agents.open(false);
    let node = world.node().await;
    let id = node.begin("one").await;
    calls(&world.agents, 1).await;
    node.journal.set(Way::Cut);
    world.agents.open(true);
    testkit::wait_for("the answer", SOON, async || (world.agents.waiting() == 0).then_some(())).await;
    node.die().await;
    let node = world.node().await;
    node.completed(id).await;
    let messages: Vec<String> = world.agents.calls().into_iter().map(|c| c.message_id).collect();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0], messages[1]);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_payloads_come_back() {
    for world in World::both().await {
        world.agents.script(|seen, nth| match (seen.task.as_str(), nth) {
            ("a", _) => Act::Answer(json!({"of a": "y".repeat(200 << 10)})),
            _ => Act::Wait(seen.input.clone()),
        });
        world.agents.open(false);
        let b = task("b", json!({"after": [0], "input": "context"}));
        world.plans.put("large", json!({"tasks": [task("a", json!({})), b]}));
        let node = world.node().await;
        let input = json!({"text": "x".repeat(300 << 10)});
        let id = node.start(request("large", input.clone())).await.unwrap().id;
        calls(&world.agents, 2).await;
        node.die().await;
        let node = world.node().await;
        calls(&world.agents, 3).await;
        world.agents.open(true);
        let view = node.completed(id).await;
        let want = json!({"input": input, "dependencies": {"a": {"of a": "y".repeat(200 << 10)}}});
        assert_eq!(*view.output().unwrap().json().unwrap(), want);
        assert_eq!(world.agents.calls()[1].input, world.agents.calls()[2].input);
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_put_aside_and_woken_by_an_answer() {
    for mut world in World::both().await {
        world.limits.park_after = Duration::ZERO;
        world.agents.script(|seen, _| match seen.kind {
            "answer" => Act::Answer(seen.input.clone()),
            _ => Act::Ask,
        });
        let node = world.node().await;
        let id = node.begin("one").await;
        node.parked(id).await;
        // What is put aside keeps no place.
        node.idle().await;
        node.die().await;
        let node = world.node().await;
        let view = node.view(id).await;
        assert_eq!(view.task_state("t"), Some("input_required"));
        let input = Payload::from_value(&json!("the blue one"));
        node.command(id, Command::Answer { task: "t".into(), item: 0, input }).await.unwrap();
        let view = node.completed(id).await;
        assert_eq!(*view.output().unwrap().json().unwrap(), json!("the blue one"));
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_stays_paused_and_goes_on_when_told() {
    for mut world in World::both().await {
        world.limits.park_after = Duration::ZERO;
        let tasks = [task("a", json!({})), task("b", json!({"after": [0]}))];
        world.plans.put("two", json!({"tasks": tasks, "limits": {"max_calls": 1}}));
        world.agents.open(false);
        let node = world.node().await;
        let id = node.begin("two").await;
        calls(&world.agents, 1).await;
        let paused = node.command(id, Command::Pause { reason: String::new() }).await.unwrap();
        assert!(paused.checkpoint.is_some());
        world.agents.open(true);
        node.until("the running call to be recorded", id, |v| v.task_state("a") == Some("completed")).await;
        node.parked(id).await;
        node.die().await;
        let node = world.node().await;
        assert_eq!(node.view(id).await.status(), Status::Paused);
        // A full round of other work passes by and moves nothing.
        node.run(request("one", json!({}))).await;
        assert_eq!(world.agents.calls().iter().filter(|c| c.task == "b").count(), 0);
        node.command(id, Command::Resume).await.unwrap();
        node.completed(id).await;
        let twice = node.command(id, Command::Resume).await.unwrap_err();
        assert_eq!(twice.code, base::ErrorCode::InvalidState);
        // What is over keeps no place, although a command brought it back.
        node.idle().await;
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passed_while_nobody_was_there_counts() {
    let mut world = World::sqlite();
    let clock = testkit::FakeClock::default();
    world.clock = Arc::new(clock.clone());
    world.agents.script(|_, _| Act::Hang);
    world.plans.put("slow", json!({"tasks": [task("t", json!({}))]}));
    let node = world.node().await;
    let start = StartRequest { timeout: Some(Duration::from_secs(60)), ..request("slow", json!({})) };
    let id = node.start(start).await.unwrap().id;
    calls(&world.agents, 1).await;
    node.die().await;
    clock.advance(Duration::from_secs(61));
    let node = world.node().await;
    let view = node.ended(id).await;
    assert_eq!(view.status(), Status::Failed);
    assert!(view.causes().iter().any(|c| c.class == FailureClass::Timeout), "{:?}", view.causes());
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_was_due_later_comes_after_the_restart_with_a_new_message_id() {
    let mut world = World::sqlite();
    let clock = testkit::FakeClock::default();
    world.clock = Arc::new(clock.clone());
    world.agents.script(|_, nth| match nth {
        1 => {
            Act::Fail { class: FailureClass::RateLimited, known: true, after: Some(Duration::from_secs(600)) }
        }
        _ => Act::Answer(json!(nth)),
    });
    let t = task("t", json!({"retry": retry(2), "timeouts": {"total": duration(Duration::from_secs(3000))}}));
    world.plans.put("busy", json!({"tasks": [t]}));
    let node = world.node().await;
    let id = node.begin("busy").await;
    node.until("the pause", id, |v| v.task_state("t") == Some("retrying")).await;
    node.die().await;
    let node = world.node().await;
    node.run(request("one", json!({}))).await;
    assert_eq!(world.agents.calls().iter().filter(|c| c.task == "t").count(), 2, "one each");
    clock.advance(Duration::from_secs(601));
    node.completed(id).await;
    let calls = world.agents.calls();
    assert_ne!(calls[0].message_id, calls[calls.len() - 1].message_id);
    node.die().await;
}
