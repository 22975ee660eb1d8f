//! Hooks after the fact: once, whatever happens.

use std::{sync::atomic::Ordering, time::Duration};

use hooks::{HookSpec, OnFailure, Trigger};
use serde_json::json;

use crate::kit::{SOON, World, lines, me, notes, says, spec};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_tasks_and_notifications_run_once_each() {
    for world in [World::sqlite(), World::postgres().await] {
        let node = world.node().await;
        for trigger in [Trigger::SessionStart, Trigger::SessionEnd, Trigger::PostTask] {
            node.hook(spec(trigger.as_str(), trigger, "/bin/cat", &[])).await;
        }
        let status = "event.type == 'workflow.status_changed' && event.data.status == 'completed'";
        let notify = spec("notification", Trigger::Notification, "/bin/cat", &[]);
        node.hook(HookSpec { when: status.into(), ..notify }).await;
        let view = node.run(json!({"a": 1})).await;
        let runs = node.until_runs(4).await;
        let mut triggers: Vec<_> = runs.iter().map(|r| r.trigger.as_str()).collect();
        triggers.sort_unstable();
        assert_eq!(triggers, ["notification", "post_task", "session_end", "session_start"]);
        assert!(runs.iter().all(|r| r.state == "completed" && r.execution_id == Some(view.id)));
        let told = |trigger: &str| -> serde_json::Value {
            serde_json::from_str(&runs.iter().find(|r| r.trigger == trigger).unwrap().output).unwrap()
        };
        assert_eq!(told("post_task")["task"]["status"], "completed");
        assert_eq!(told("post_task")["task"]["output"], json!({"a": 1}));
        assert_eq!(told("session_end")["event"]["data"]["status"], "completed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_left_is_run_once_by_the_next() {
    for world in [World::sqlite(), World::postgres().await] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ran");
        let node = world.node().await;
        node.hook(notes("after", Trigger::PostTask, &file)).await;
        node.run(json!({})).await;
        node.until_runs(1).await;
        node.die().await;
        // A life whose hooks never see the event: it ends between the event's commit and the request.
        world.with_hooks.store(false, Ordering::SeqCst);
        let node = world.node().await;
        node.run(json!({})).await;
        node.die().await;
        world.with_hooks.store(true, Ordering::SeqCst);
        let node = world.node().await;
        node.until_runs(2).await;
        assert_eq!(lines(&file), ["after", "after"]);
        node.die().await;
        // Another life reads the same log again: nothing runs twice.
        let node = world.node().await;
        node.run(json!({})).await;
        node.until_runs(3).await;
        assert_eq!(lines(&file).len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_was_cut_by_a_crash_runs_again_and_those_before_it_do_not() {
    let world = World::sqlite();
    let folder = tempfile::tempdir().unwrap();
    let (file, block) = (folder.path().join("ran"), folder.path().join("block"));
    std::fs::write(&block, "").unwrap();
    let node = world.node().await;
    node.hook(HookSpec { priority: 1, ..notes("first", Trigger::SessionEnd, &file) }).await;
    let script = format!(
        "cat >/dev/null; echo begun >> {}; while [ -e {} ]; do sleep 0.01; done; echo second",
        file.display(),
        block.display()
    );
    node.hook(HookSpec { priority: 2, ..says("second", Trigger::SessionEnd, &script) }).await;
    node.run(json!({})).await;
    testkit::wait_for("the second to begin", SOON, async || (lines(&file).len() == 2).then_some(())).await;
    node.die().await;
    std::fs::remove_file(&block).unwrap();
    let node = world.node().await;
    let runs = node.until_runs(2).await;
    assert_eq!(lines(&file), ["first", "begun", "begun"]);
    assert_eq!(runs[1].output, "second\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_failure_after_the_fact_cancels_the_execution() {
    let world = World::sqlite();
    let node = world.node().await;
    let failing = spec("audit", Trigger::PostTask, "/bin/false", &[]);
    node.hook(HookSpec { on_failure: Some(OnFailure::Abort), ..failing }).await;
    let view = node.run(json!({})).await;
    let cancels = testkit::wait_for("the cancel", SOON, async || {
        let cancels = node.owner.cancels.lock().unwrap().clone();
        (!cancels.is_empty()).then_some(cancels)
    })
    .await;
    assert_eq!(cancels.len(), 1);
    assert_eq!(cancels[0].0, view.id);
    assert!(cancels[0].1.contains("audit"), "{}", cancels[0].1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_sees_nothing_that_happened_before_it() {
    let world = World::sqlite();
    let node = world.node().await;
    node.run(json!({})).await;
    node.hook(spec("late", Trigger::PostTask, "/bin/cat", &[])).await;
    let view = node.run(json!({})).await;
    let runs = node.until_runs(1).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].execution_id, Some(view.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_takes_too_long_is_ended() {
    let world = World::sqlite();
    let node = world.node().await;
    let slow = says("slow", Trigger::PostTask, "sleep 1000");
    node.hook(HookSpec { timeout_ms: 50, ..slow }).await;
    node.run(json!({})).await;
    let runs = node.until_runs(1).await;
    assert_eq!((runs[0].state.as_str(), runs[0].decision.as_str()), ("failed", "warn"));
    assert!(runs[0].message.contains("did not end within"), "{}", runs[0].message);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_forgotten_after_seven_days() {
    let mut world = World::sqlite();
    world.options.forget_every = Duration::from_millis(20);
    let node = world.node().await;
    let hook = node.hook(spec("note", Trigger::PostTask, "/bin/cat", &[])).await;
    node.run(json!({})).await;
    let first = node.until_runs(1).await[0].run_id;
    world.clock.pass(6);
    node.run(json!({})).await;
    assert_eq!(node.until_runs(2).await.len(), 2);
    world.clock.pass(2);
    testkit::wait_for("the older run to be gone", SOON, async || {
        (node.runs().await.len() == 1).then_some(())
    })
    .await;
    assert_ne!(node.runs().await[0].run_id, first);
    node.book().delete(&me(), &hook.name, Some(1)).await.unwrap();
}
