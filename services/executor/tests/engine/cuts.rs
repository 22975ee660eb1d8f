//! Calls that are cut: their agents are told, whatever happens to the process that cut them.

use std::{sync::atomic::Ordering, time::Duration};

use base::ExecutionId;
use executor::{call::Told, engine::Command};
use serde_json::json;
use store::journal::{CutRow, Cuts as _, Executions as _};
use workflow::Status;

use crate::{
    agents::Act,
    gate::{Gate, Way},
    kit::{Node, SHARDS, SOON, World, calls, me, task},
};

fn cancel() -> Command {
    Command::Cancel { reason: "enough".into() }
}

async fn left(journal: &Gate) -> Vec<CutRow> {
    let mut all = Vec::new();
    for shard in 0..SHARDS {
        all.extend(journal.read_cuts(shard, None, 1000).await.unwrap());
    }
    all
}

async fn nothing_left(journal: &Gate) {
    testkit::wait_for("every cut to be forgotten", SOON, async || {
        left(journal).await.is_empty().then_some(())
    })
    .await;
}

async fn told(world: &World, n: u32) {
    testkit::wait_for(&format!("{n} cancels"), SOON, async || {
        (world.agents.cancelled.load(Ordering::SeqCst) >= n).then_some(())
    })
    .await;
}

/// Cancels it, and kills the process once the end is on disk and before anybody has heard of it.
async fn cancel_and_die_right_after_the_commit(node: Node, id: ExecutionId) {
    node.journal.set(Way::Deaf);
    let context = me();
    let cancelling = node.app.command(&context, id, cancel());
    let on_disk = testkit::wait_for("the end on disk", SOON, async || {
        node.journal.find_execution(id).await.unwrap().filter(|row| row.status == "cancelled")
    });
    tokio::select! {
        _ = cancelling => panic!("it was answered"),
        _ = on_disk => {}
    }
    node.fall().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_was_committed_reaches_the_agent_after_a_crash() {
    for world in World::both().await {
        world.agents.script(|seen, _| if seen.task == "named" { Act::Bind } else { Act::Hang });
        let tasks = [task("named", json!({})), task("unnamed", json!({}))];
        world.plans.put("two", json!({"tasks": tasks}));
        let node = world.node().await;
        let id = node.begin("two").await;
        calls(&world.agents, 2).await;
        testkit::wait_for("the name to be on disk", SOON, async || {
            let page = node.app.history(&me(), id, 0, 100).await.unwrap();
            page.events.iter().any(|e| e.kind == "task.accepted").then_some(())
        })
        .await;
        cancel_and_die_right_after_the_commit(node, id).await;
        assert_eq!(world.agents.asked_to_cancel(), 0, "it died before it told anybody");

        let node = world.node().await;
        told(&world, 2).await;
        nothing_left(&node.journal).await;
        let mut names: Vec<_> = world.agents.cancels.lock().unwrap().iter().map(|(r, _)| r.clone()).collect();
        names.sort_by_key(|r| r.agent_task_id.clone());
        let sent = |task: &str| {
            let seen = world.agents.calls();
            seen.iter().find(|c| c.task == task).unwrap().message_id.clone()
        };
        assert_eq!((names[0].agent_task_id.as_deref(), &names[0].message_id), (None, &sent("unnamed")));
        let bound = (names[1].agent_task_id.as_deref(), &names[1].message_id);
        assert_eq!(bound, (Some("agent-task-named"), &sent("named")));
        assert!(names.iter().all(|r| r.execution_id == id));
        assert_eq!(world.agents.count(), 2, "nothing was sent again");
        node.die().await;
        let node = world.node().await;
        assert_eq!(left(&node.journal).await, [], "told once, it is forgotten");
        assert_eq!(world.agents.asked_to_cancel(), 2);
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_away_is_told_again_until_the_limit() {
    let mut world = World::sqlite();
    world.agents.script(|_, _| Act::Hang);
    world.agents.on_cancel(|_, nth| if nth < 4 { Told::Away("refused".into()) } else { Told::Yes });
    let node = world.node().await;
    let id = node.begin("one").await;
    calls(&world.agents, 1).await;
    node.command(id, cancel()).await.unwrap();
    told(&world, 1).await;
    nothing_left(&node.journal).await;
    assert_eq!(world.agents.asked_to_cancel(), 4);
    node.die().await;

    world.limits.cancel_within = Duration::ZERO;
    world.agents.on_cancel(|_, _| Told::Away("refused".into()));
    let node = world.node().await;
    let id = node.begin("one").await;
    calls(&world.agents, 2).await;
    node.command(id, cancel()).await.unwrap();
    nothing_left(&node.journal).await;
    assert_eq!(world.agents.asked_to_cancel(), 5, "once at least, and no more than the limit allows");
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_name_is_not_known_yet_is_cancelled_when_the_agent_has_named_it() {
    let world = World::sqlite();
    world.agents.script(|_, _| Act::Hang);
    world.agents.on_cancel(|_, nth| if nth < 3 { Told::Unnamed("not yet".into()) } else { Told::Yes });
    let node = world.node().await;
    let id = node.begin("one").await;
    calls(&world.agents, 1).await;
    let ended = node.command(id, cancel()).await.unwrap();
    assert_eq!(ended.status, Status::Cancelled);
    testkit::wait_for("the first try", SOON, async || (world.agents.asked_to_cancel() > 0).then_some(()))
        .await;
    assert_eq!(node.engine.load()[4], 0, "its slot is free at once");
    told(&world, 1).await;
    testkit::wait_for("the call to end", SOON, async || (world.agents.waiting() == 0).then_some(())).await;
    nothing_left(&node.journal).await;
    assert_eq!(node.view(id).await.status(), Status::Cancelled);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_call_that_ends_by_itself_needs_no_cancel_and_changes_nothing() {
    let world = World::sqlite();
    world.agents.open(false);
    world.agents.on_cancel(|_, _| Told::Unnamed("never".into()));
    let node = world.node().await;
    let id = node.begin("one").await;
    calls(&world.agents, 1).await;
    node.command(id, cancel()).await.unwrap();
    testkit::wait_for("the first try", SOON, async || (world.agents.asked_to_cancel() > 0).then_some(()))
        .await;
    world.agents.open(true);
    nothing_left(&node.journal).await;
    assert_eq!(node.view(id).await.status(), Status::Cancelled);
    let page = node.app.history(&me(), id, 0, 100).await.unwrap();
    assert_eq!(page.events.last().unwrap().data["status"], "cancelled", "{:?}", page.events.last());
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_that_end_with_no_call_open_and_calls_that_never_left_write_no_cut() {
    let world = World::sqlite();
    let node = world.node().await;
    let done = node.begin("one").await;
    node.completed(done).await;
    // Its start and its attempt are on their way to disk when it is cancelled: nothing was sent.
    world.agents.open(false);
    node.journal.set(Way::Held);
    let context = me();
    let start = node.app.start(&context, crate::kit::keyed("one", "k"));
    let id = ExecutionId::from_key(&base::Tenant::default(), "k");
    let before = node.journal.arrived.load(Ordering::SeqCst);
    let cancelled = async {
        testkit::wait_for("the start's commit", SOON, async || {
            (node.journal.arrived.load(Ordering::SeqCst) > before).then_some(())
        })
        .await;
        let app = node.app.clone();
        let cancelling = tokio::spawn(async move { app.command(&me(), id, cancel()).await });
        // The command is in the lane before the commit is let go, or right after: no call leaves either way.
        tokio::task::yield_now().await;
        node.journal.set(Way::Open);
        cancelling.await.unwrap()
    };
    let (_, cancelled) = tokio::join!(start, cancelled);
    cancelled.unwrap();
    assert_eq!(node.view(done).await.status(), Status::Completed);
    nothing_left(&node.journal).await;
    node.die().await;
}
