//! Write ahead, then act: what leaves the process is on disk, and what the store refuses hurts nobody else.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base::{ErrorCode, ExecutionId, FailureClass, Tenant};
use executor::engine::Command;
use serde_json::json;
use store::journal::ExecutionWrite;
use workflow::Status;

use crate::{
    agents::Act,
    gate::Way,
    kit::{Node, SOON, World, calls, duration, keyed, me, request, retry, task},
};

fn id_of(key: &str) -> ExecutionId {
    ExecutionId::from_key(&Tenant::default(), key)
}

async fn arrived(node: &Node, n: u32) {
    testkit::wait_for("a commit to arrive", SOON, async || {
        (node.journal.arrived.load(Ordering::SeqCst) >= n).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_leaves_and_no_start_is_answered_before_the_commit() {
    let world = World::sqlite();
    let node = world.node().await;
    node.journal.set(Way::Held);
    let context = me();
    let mut start = Box::pin(node.app.start(&context, keyed("one", "k")));
    assert!(futures::poll!(&mut start).is_pending());
    tokio::select! {
        _ = &mut start => panic!("a start was answered that is not on disk"),
        () = arrived(&node, 1) => {}
    }
    assert_eq!(world.agents.count(), 0, "a call left before its attempt was on disk");
    assert!(node.journal_row("k").await.is_none());
    node.journal.set(Way::Open);
    let started = start.await.unwrap();
    node.completed(started.id).await;
    assert_eq!(world.agents.count(), 1);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_and_a_command_wait_for_the_disk() {
    let world = World::sqlite();
    world.agents.open(false);
    let node = world.node().await;
    let id = node.begin("one").await;
    calls(&world.agents, 1).await;
    node.journal.set(Way::Held);
    let before = node.journal.arrived.load(Ordering::SeqCst);
    let context = me();
    let mut pause = Box::pin(node.app.command(&context, id, Command::Pause { reason: "lunch".into() }));
    let mut view = Box::pin(node.app.view(&context, id, None, false));
    tokio::select! {
        biased;
        _ = &mut pause => panic!("a command was answered that is not on disk"),
        () = arrived(&node, before + 1) => {}
    }
    // Read while the pause is known in memory only.
    assert!(futures::poll!(&mut view).is_pending());
    assert_eq!(node.journal_row_of(id).await.status, "executing");
    node.journal.set(Way::Open);
    assert_eq!(pause.await.unwrap().status, Status::Paused);
    assert_eq!(view.await.unwrap().status(), Status::Paused);
    assert_eq!(node.journal_row_of(id).await.status, "paused");
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_the_store_refuses_ends_only_its_own_execution() {
    for world in World::both().await {
        world.agents.open(false);
        let node = world.node().await;
        let (bad, good) = (node.begin("one").await, node.begin("one").await);
        calls(&world.agents, 2).await;
        // The answer's row is refused; what ends the execution is not.
        let first = std::sync::atomic::AtomicBool::new(true);
        node.journal.refuse(move |item| item.execution_id == bad && first.swap(false, Ordering::SeqCst));
        world.agents.open(true);
        let view = node.ended(bad).await;
        assert_eq!(view.status(), Status::Failed);
        let cause = view.causes().last().unwrap();
        assert_eq!(cause.class, FailureClass::Definition);
        assert!(cause.message.contains("the store refused its events: row too large"), "{cause:?}");
        node.completed(good).await;
        assert!(node.fatal.why().is_none());
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_everything_of_an_execution_is_not_asked_for_ever() {
    let world = World::sqlite();
    world.agents.open(false);
    let node = world.node().await;
    let bad = node.begin("one").await;
    calls(&world.agents, 1).await;
    let refusals = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = refusals.clone();
    node.journal.refuse(move |item| {
        let hit = item.execution_id == bad;
        count.fetch_add(u32::from(hit), Ordering::SeqCst);
        hit
    });
    world.agents.open(true);
    testkit::wait_for("both refusals", SOON, async || (refusals.load(Ordering::SeqCst) >= 2).then_some(()))
        .await;
    // The others go on, and nobody has asked again meanwhile.
    for _ in 0..20 {
        node.run(request("one", json!({}))).await;
    }
    assert_eq!(refusals.load(Ordering::SeqCst), 2);
    assert_eq!(node.view(bad).await.status(), Status::Executing);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_the_store_refuses_is_answered_with_the_reason() {
    let world = World::sqlite();
    let node = world.node().await;
    node.journal.refuse(|item| matches!(item.write, Some(ExecutionWrite::Insert(_))));
    let refused = node.start(keyed("one", "k")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    assert!(refused.message.contains("row too large"), "{refused:?}");
    assert_eq!(world.agents.count(), 0);
    node.journal.refuse(|_| false);
    node.completed(node.start(keyed("one", "k")).await.unwrap().id).await;
    // The refused start keeps no place.
    node.idle().await;
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_while_large_payloads_are_written_is_waited_for() {
    let world = World::sqlite();
    let node = world.node().await;
    node.journal.payloads_away.store(3, Ordering::SeqCst);
    let large = "x".repeat(100 << 10);
    let view = node.run(request("one", json!({"text": large}))).await;
    assert_eq!(view.status(), Status::Completed);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_the_store_refuses_fails_its_own_start_alone() {
    let world = World::sqlite();
    let node = world.node().await;
    node.journal.refuse_payloads_of(id_of("bad"));
    let large = json!({"text": "x".repeat(100 << 10)});
    let keyed = |key: &str| executor::app::StartRequest { key: key.into(), ..request("one", large.clone()) };
    let (bad, good) = tokio::join!(node.start(keyed("bad")), node.start(keyed("good")));
    assert!(bad.unwrap_err().message.contains("too large a value"));
    node.completed(good.unwrap().id).await;
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_execution_and_another_request_is_refused() {
    for world in World::both().await {
        let node = world.node().await;
        let first = node.start(keyed("one", "k")).await.unwrap();
        node.completed(first.id).await;
        let again = node.start(keyed("one", "k")).await.unwrap();
        assert!(again.existing && again.id == first.id && !first.existing);
        let other = executor::app::StartRequest { priority: 7, ..keyed("one", "k") };
        let refused = node.start(other).await.unwrap_err();
        assert_eq!((refused.code, refused.code.http_status()), (ErrorCode::AlreadyExists, 409));
        assert_eq!(refused.related, [first.id.to_string()]);
        assert_eq!(world.agents.count(), 1, "it ran once");
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_of_a_start_on_its_way_share_its_fate() {
    let world = World::sqlite();
    world.plans.put("single", json!({"tasks": [task("t", json!({}))], "limits": {"concurrency": 1}}));
    let node = world.node().await;
    world.agents.open(false);
    let holder = node.start(keyed("single", "holder")).await.unwrap();
    for (key, fate) in [("holder", Ok(holder.id)), ("loser", Err(ErrorCode::AlreadyExecuting))] {
        node.journal.set(Way::Held);
        let starts = futures::future::join_all((0..5).map(|_| node.start(keyed("single", key))));
        let open = async {
            tokio::task::yield_now().await;
            node.journal.set(Way::Open);
        };
        for answer in tokio::join!(starts, open).0 {
            assert_eq!(answer.map(|s| s.id).map_err(|e| e.code), fate, "{key}");
        }
    }
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_starts_of_a_single_workflow_one_wins_and_the_end_frees_the_place() {
    for world in World::both().await {
        world.plans.put("single", json!({"tasks": [task("t", json!({}))], "limits": {"concurrency": 1}}));
        let node = world.node().await;
        world.agents.open(false);
        for round in 0..3 {
            let starts = (0..20).map(|n| node.start(keyed("single", &format!("{round}-{n}"))));
            let answers = futures::future::join_all(starts).await;
            let won: Vec<_> = answers.iter().filter_map(|a| a.as_ref().ok()).collect();
            assert_eq!(won.len(), 1, "round {round}");
            let lost = answers.iter().filter_map(|a| a.as_ref().err());
            for fault in lost {
                assert_eq!((fault.code, fault.code.http_status()), (ErrorCode::AlreadyExecuting, 409));
                assert_eq!(fault.related, [won[0].id.to_string()]);
            }
            world.agents.open(true);
            node.completed(won[0].id).await;
            world.agents.open(false);
        }
        assert_eq!(world.agents.count(), 3, "losers never ran");
        node.die().await;
    }
}

impl Node {
    async fn journal_row(&self, key: &str) -> Option<store::journal::ExecutionRow> {
        use store::journal::Executions as _;
        self.journal.find_execution(id_of(key)).await.unwrap()
    }

    async fn journal_row_of(&self, id: ExecutionId) -> store::journal::ExecutionRow {
        use store::journal::Executions as _;
        self.journal.find_execution(id).await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_assigned_while_its_failure_is_on_the_way_to_the_disk_leaves() {
    let mut world = World::sqlite();
    let clock = testkit::FakeClock::default();
    world.clock = Arc::new(clock.clone());
    world.agents.script(|_, nth| if nth == 1 { Act::Hang } else { Act::Answer(json!("late")) });
    let limit = json!({"attempt": duration(Duration::from_secs(60))});
    world.plans.put("slow", json!({"tasks": [task("t", json!({"timeouts": limit, "retry": retry(2)}))]}));
    let node = world.node().await;
    let id = node.begin("slow").await;
    calls(&world.agents, 1).await;
    node.journal.set(Way::Held);
    let before = node.journal.arrived.load(Ordering::SeqCst);
    clock.advance(Duration::from_secs(61));
    arrived(&node, before + 1).await;
    // The time of the retry comes while the timeout is not on disk: the next attempt takes its place behind it.
    clock.advance(Duration::from_secs(1));
    testkit::wait_for("the retry to have a slot beside the first attempt", SOON, async || {
        (node.engine.load()[4] == 2).then_some(())
    })
    .await;
    node.journal.set(Way::Open);
    node.completed(id).await;
    assert_eq!(world.agents.count(), 2);
    node.die().await;
}
