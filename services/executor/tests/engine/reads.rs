//! What followers and readers see: everything, once, in order, and never ahead of the disk.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base::{ExecutionId, WorkflowId};
use executor::{
    app::{ListQuery, WorkflowCursor},
    engine::{Command, PublicEvent},
};
use futures::StreamExt as _;
use serde_json::json;
use store::journal::Executions as _;
use workflow::Status;

use crate::{
    agents::Act,
    gate::Way,
    kit::{Node, SOON, World, calls, duration, me, request, retry, task},
};

async fn history(node: &Node, id: ExecutionId) -> Vec<PublicEvent> {
    node.app.history(&me(), id, 0, usize::MAX).await.unwrap().events
}

/// Follows from `after` until the stream ends; `true` when it said that the execution has ended.
async fn follow(node: &Node, id: ExecutionId, after: u64) -> (Vec<PublicEvent>, bool) {
    let mut stream = Box::pin(node.app.watch(&me(), id, after).await.unwrap());
    let (mut events, mut ended) = (Vec::new(), false);
    while let Some(seen) = tokio::time::timeout(SOON, stream.next()).await.unwrap() {
        events.extend(seen.events);
        ended |= seen.ended;
    }
    (events, ended)
}

fn three(world: &World) {
    let tasks: Vec<_> = (0..3u32)
        .map(|n| {
            let after: Vec<u32> = n.checked_sub(1).into_iter().collect();
            task(&format!("t{n}"), json!({"after": after, "retry": retry(2)}))
        })
        .collect();
    world.plans.put("three", json!({ "tasks": tasks }));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_pages_join_to_the_whole_and_keep_what_belongs_together() {
    let world = World::sqlite();
    three(&world);
    let node = world.node().await;
    let id = node.begin("three").await;
    node.completed(id).await;
    let whole = history(&node, id).await;
    assert!(whole.windows(2).all(|w| w[0].seq <= w[1].seq));
    for limit in [1, 2, 5, 1000] {
        let (mut joined, mut after) = (Vec::new(), 0);
        loop {
            let page = node.app.history(&me(), id, after, limit).await.unwrap();
            assert!(page.events.len() <= limit + 1, "{} for {limit}", page.events.len());
            let last = page.events.last().map(|e| e.seq);
            joined.extend(page.events);
            match last.filter(|_| page.more) {
                Some(last) => after = last,
                None => break,
            }
        }
        assert_eq!(joined, whole, "pages of {limit}");
    }
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_followers_see_of_a_busy_execution_is_its_history_event_for_event() {
    let world = World::sqlite();
    let tasks: Vec<_> = (0..24u32)
        .map(|n| {
            let after: Vec<u32> = n.checked_sub(8).into_iter().collect();
            task(&format!("t{n}"), json!({"after": after, "retry": retry(2)}))
        })
        .collect();
    world.plans.put("busy", json!({ "tasks": tasks }));
    world.agents.open(false);
    let node = world.node().await;
    let id = node.begin("busy").await;
    calls(&world.agents, 8).await;
    let following = follow(&node, id, 0);
    let steering = async {
        let (pause, resume) = (|| Command::Pause { reason: "look".into() }, || Command::Resume);
        node.journal.set(Way::Held);
        let before = node.journal.arrived.load(Ordering::SeqCst);
        let context = me();
        let mut first = Box::pin(node.app.command(&context, id, pause()));
        testkit::wait_for("the first pause on its way to disk", SOON, async || {
            let pending = futures::poll!(&mut first).is_pending();
            (pending && node.journal.arrived.load(Ordering::SeqCst) > before).then_some(())
        })
        .await;
        // All of this shares the next group: another checkpoint, and what came after it.
        let mut more = Box::pin(futures::future::join(
            node.app.command(&context, id, resume()),
            node.app.command(&context, id, pause()),
        ));
        assert!(futures::poll!(&mut more).is_pending());
        world.agents.open(true);
        testkit::wait_for("the answers", SOON, async || (world.agents.waiting() == 0).then_some(())).await;
        node.journal.set(Way::Open);
        first.await.unwrap();
        let (resumed, paused) = more.await;
        resumed.unwrap();
        paused.unwrap();
        node.command(id, resume()).await.unwrap();
    };
    let ((live, ended), ()) = tokio::join!(following, steering);
    assert!(ended);
    let written = history(&node, id).await;
    assert_eq!(live.len(), written.len());
    for (live, written) in live.iter().zip(&written) {
        assert_eq!(live, written);
    }
    assert_eq!(live.iter().filter(|e| e.kind == "checkpoint.created").count(), 2);
    let stored = node.journal.list_checkpoints(&base::Tenant::default(), id).await.unwrap();
    for (stored, live) in stored.iter().zip(live.iter().filter(|e| e.kind == "checkpoint.created")) {
        let snapshot: serde_json::Value = serde_json::from_str(&stored.state_snapshot).unwrap();
        assert_eq!((snapshot, stored.seq), (live.data["state_snapshot"].clone(), live.seq as i64));
    }
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_splice_without_doubles_or_gaps_under_load() {
    let world = World::sqlite();
    three(&world);
    // Every other call fails once, so that attempts and retries stand in the streams too.
    world.agents.script(|seen, nth| match nth % 2 {
        0 => Act::Fail { class: base::FailureClass::Error, known: true, after: None },
        _ => Act::Answer(json!(seen.task)),
    });
    let node = Arc::new(world.node().await);
    let runs = (0..60u64).map(|n| {
        let node = node.clone();
        async move {
            let id = node.begin("three").await;
            // Some begin to follow later than others, some in the middle.
            for _ in 0..n * 20 {
                tokio::task::yield_now().await;
            }
            let after = n % 4;
            let (seen, ended) = follow(&node, id, after).await;
            let want: Vec<_> = history(&node, id).await.into_iter().filter(|e| e.seq > after).collect();
            assert!(ended);
            assert_eq!(seen, want);
        }
    });
    futures::future::join_all(runs).await;
    Arc::into_inner(node).unwrap().die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_lags_loses_its_stream_and_goes_on_where_it_was() {
    let mut world = World::sqlite();
    world.fleet = Some(vec![crate::kit::worker(1)]);
    let each = task("t", json!({"spread": {"for_each": {"list": "input", "width": 1}}}));
    world.plans.put("long", json!({ "tasks": [each] }));
    world.agents.open(false);
    let node = world.node().await;
    let many: Vec<u32> = (0..400).collect();
    let id = node.start(request("long", json!(many))).await.unwrap().id;
    let mut slow = Box::pin(node.app.watch(&me(), id, 0).await.unwrap());
    world.agents.open(true);
    node.completed(id).await;
    let (mut seen, mut ended) = (Vec::new(), false);
    while let Some(message) = tokio::time::timeout(SOON, slow.next()).await.unwrap() {
        seen.extend(message.events);
        ended |= message.ended;
    }
    let whole = history(&node, id).await;
    assert!(!ended && seen.len() < whole.len(), "it was not slow: {} of {}", seen.len(), whole.len());
    let (rest, ended) = follow(&node, id, seen.last().unwrap().seq).await;
    seen.extend(rest);
    assert!(ended);
    assert_eq!(seen, whole);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_or_put_aside_can_be_followed_too() {
    let mut world = World::sqlite();
    world.limits.park_after = Duration::ZERO;
    world.agents.script(|seen, _| match seen.kind {
        "answer" => Act::Answer(json!(1)),
        _ => Act::Ask,
    });
    let node = world.node().await;
    let id = node.begin("one").await;
    node.parked(id).await;
    let mut stream = Box::pin(node.app.watch(&me(), id, 0).await.unwrap());
    let first = stream.next().await.unwrap();
    assert_eq!(first.events.last().unwrap().kind, "task.input_required");
    let answer =
        executor::engine::Command::Answer { task: "t".into(), item: 0, input: base::Payload::null() };
    node.command(id, answer).await.unwrap();
    let mut seen = first.events;
    while let Some(message) = tokio::time::timeout(SOON, stream.next()).await.unwrap() {
        seen.extend(message.events);
    }
    let whole = history(&node, id).await;
    assert_eq!(seen, whole);
    assert_eq!(follow(&node, id, 0).await, (whole.clone(), true));
    assert_eq!(follow(&node, id, whole.last().unwrap().seq).await, (vec![], true));
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_watch_misses_nothing_that_was_on_its_way() {
    let mut world = World::sqlite();
    world.limits.lanes = 1;
    world.agents.open(false);
    let node = world.node().await;
    let id = node.begin("one").await;
    calls(&world.agents, 1).await;
    let newest = history(&node, id).await.last().unwrap().at;
    node.journal.set(Way::Held);
    let before = node.journal.arrived.load(std::sync::atomic::Ordering::SeqCst);
    world.agents.open(true);
    testkit::wait_for("the end to be on its way", SOON, async || {
        (node.journal.arrived.load(std::sync::atomic::Ordering::SeqCst) > before).then_some(())
    })
    .await;
    let workflow = WorkflowId::from_name(&base::Tenant::default(), "one");
    let cursor = Some(WorkflowCursor(newest));
    let context = me();
    let mut watch = Box::pin(node.app.watch_workflow(&context, workflow, cursor));
    assert!(futures::poll!(&mut watch).is_pending());
    // The lane has seen the watch once it answers what came after it.
    let unknown = ExecutionId::from_key(&base::Tenant::default(), "unknown");
    assert!(node.app.view(&me(), unknown, None, false).await.is_err());
    node.journal.set(Way::Open);
    let mut stream = Box::pin(watch.await.unwrap());
    let mut seen = Vec::new();
    while !seen.iter().any(|e: &PublicEvent| e.data["status"] == "completed") {
        seen.extend(tokio::time::timeout(SOON, stream.next()).await.unwrap().unwrap().events);
    }
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn list_pages_show_each_execution_once_while_new_ones_come() {
    for world in World::both().await {
        world.agents.open(false);
        let node = world.node().await;
        let mut known = BTreeSet::new();
        for _ in 0..25 {
            known.insert(node.begin("one").await);
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let query = ListQuery { after, limit: 10, ..ListQuery::default() };
            let page = node.app.list(&me(), query).await.unwrap();
            assert!(page.rows.len() <= 10);
            seen.extend(page.rows.iter().map(|r| r.execution_id));
            node.begin("one").await;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let unique: BTreeSet<_> = seen.iter().copied().collect();
        assert_eq!((unique.len(), &unique), (seen.len(), &known));
        world.agents.open(true);
        for id in &known {
            node.completed(*id).await;
        }
        let over = ListQuery { statuses: vec!["completed".into()], limit: 1000, ..ListQuery::default() };
        assert!(node.app.list(&me(), over).await.unwrap().rows.len() >= 25);
        let bad = ListQuery { statuses: vec!["sleeping".into()], ..ListQuery::default() };
        assert_eq!(node.app.list(&me(), bad).await.unwrap_err().field, "statuses");
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_sees_every_version_that_was_stored_before_it() {
    let world = World::sqlite();
    let node = world.node().await;
    for version in 2..=20u32 {
        world.plans.put("one", json!({"tasks": [task("t", json!({}))]}));
        let starts = futures::future::join_all((0..8).map(|_| node.start(request("one", json!({}))))).await;
        for start in starts {
            let row = node.journal.find_execution(start.unwrap().id).await.unwrap().unwrap();
            assert_eq!(row.workflow_version, version.to_string());
        }
        let old = node.start(request("one@1", json!({}))).await.unwrap();
        let row = node.journal.find_execution(old.id).await.unwrap().unwrap();
        assert_eq!(row.workflow_version, "1");
    }
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_that_went_keep_nothing_in_memory_and_a_wait_brings_it_back() {
    let mut world = World::sqlite();
    world.limits.park_after = Duration::ZERO;
    world.agents.script(|seen, _| match seen.kind {
        "answer" => Act::Answer(json!(1)),
        _ => Act::Ask,
    });
    world.agents.open(false);
    let node = world.node().await;
    let id = node.begin("one").await;
    let mut stream = Box::pin(node.app.watch(&me(), id, 0).await.unwrap());
    while !stream.next().await.unwrap().events.iter().any(|e| e.kind == "task.input_required") {}
    let short = Some(Duration::from_millis(20));
    assert_eq!(node.app.view(&me(), id, short, true).await.unwrap().status(), Status::Executing);
    drop(stream);
    node.parked(id).await;
    node.idle().await;
    let context = me();
    let mut wait = Box::pin(node.app.view(&context, id, Some(SOON), true));
    // The wait brought it back; it stays for as long as somebody waits.
    let back = testkit::wait_for("it to be back", SOON, async || (node.engine.load()[0] == 1).then_some(()));
    tokio::select! {
        view = &mut wait => panic!("it did not wait: {view:?}"),
        () = back => {}
    }
    let input = base::Payload::null();
    let answer = executor::engine::Command::Answer { task: "t".into(), item: 0, input };
    node.command(id, answer).await.unwrap();
    assert_eq!(wait.await.unwrap().status(), Status::Completed);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_end_outlives_a_restart_of_the_owner() {
    let world = World::sqlite();
    world.agents.open(false);
    let node = world.node().await;
    let id = node.begin("one").await;
    calls(&world.agents, 1).await;
    node.die().await;
    let node = world.node().await;
    let context = me();
    let wait = node.app.view(&context, id, Some(SOON), true);
    let open = async {
        calls(&world.agents, 2).await;
        world.agents.open(true);
    };
    let (view, ()) = tokio::join!(wait, open);
    assert_eq!(view.unwrap().status(), Status::Completed);
    node.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_the_documents_carry_their_fields() {
    let world = World::sqlite();
    let second = task("b", json!({"after": [0], "expected": duration(Duration::from_secs(7))}));
    let plan = json!({"tasks": [task("a", json!({})), second], "pattern": "supervisor"});
    world.plans.put("documented", plan);
    world.agents.script(|seen, _| match &*seen.task {
        "a" => Act::Answer(json!(1)),
        _ => Act::Wait(json!(2)),
    });
    world.agents.open(false);
    let node = world.node().await;
    let id = node.begin("documented").await;
    calls(&world.agents, 2).await;
    node.command(id, Command::Pause { reason: "look".into() }).await.unwrap();
    world.agents.open(true);
    let events = history(&node, id).await;
    // S3-117..122; workflow, execution and time stand in every event.
    for (kind, fields) in [
        (
            "workflow.execution_started",
            &["orchestration_pattern", "estimated_duration", "allocated_agents"][..],
        ),
        ("agent.assigned", &["agent_id", "task_id", "dependencies", "estimated_duration"]),
        ("checkpoint.created", &["checkpoint_id", "state_snapshot", "recovery_instructions"]),
    ] {
        let event = events.iter().rev().find(|e| e.kind == kind).unwrap();
        assert_eq!(event.execution_id, id);
        for field in fields {
            assert!(event.data.get(field).is_some_and(|v| !v.is_null()), "{kind}.{field}: {}", event.data);
        }
    }
    let of = |kind: &str| &events.iter().rev().find(|e| e.kind == kind).unwrap().data;
    assert_eq!(of("workflow.execution_started")["orchestration_pattern"], "supervisor");
    assert_eq!(of("workflow.execution_started")["allocated_agents"], json!(["worker"]));
    let assigned = of("agent.assigned");
    assert_eq!((&assigned["dependencies"], &assigned["estimated_duration"]), (&json!(["a"]), &json!(7)));
    assert_eq!(of("checkpoint.created")["state_snapshot"]["tasks"]["a"], "completed");
    node.die().await;
}
