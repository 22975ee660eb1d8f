//! Events start executions: once for each trigger, whatever dies meanwhile.

use std::{collections::BTreeSet, sync::Arc};

use api::Fault;
use base::{CallContext, ErrorCode, ExecutionId, Tenant, Timestamp};
use bus::{RedisBus, RedisOptions};
use executor::topics::BuiltIn;
use futures::StreamExt as _;
use prost::Message as _;
use proto::{event::v1::Delivery, executor::v1 as pb};
use store::{
    Journal,
    journal::{ExecutionFilter, Group, Item, LogRow, WaitWrite},
    topics::{EventStore, HeldStore, TriggerRow, TriggerStore},
};
use testkit::wait_for;
use uuid::Uuid;

use crate::{
    beside::{Doors, Whole, order, topic_options, whole, whole_with},
    kit::{SHARDS, SOON, World},
};

fn tenant() -> Tenant {
    Tenant::default()
}

async fn trigger(journal: &Arc<dyn Journal>, name: &str, change: impl FnOnce(&mut TriggerRow)) -> TriggerRow {
    let mut row = TriggerRow {
        tenant: tenant(),
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()),
        name: name.into(),
        workflow: "w@1".into(),
        workflow_version: String::new(),
        topic: "orders".into(),
        filter: String::new(),
        key: String::new(),
        input: None,
        priority: None,
        on_busy: "wait".into(),
        paused: false,
        since: Timestamp::default(),
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    change(&mut row);
    TriggerStore::new(journal.tables()).put(&row).await.unwrap();
    row
}

async fn executions(journal: &Arc<dyn Journal>) -> BTreeSet<ExecutionId> {
    let filter = ExecutionFilter { tenant: tenant(), ..ExecutionFilter::default() };
    let page = journal.list_executions(&filter, None, 1000).await.unwrap();
    page.rows.into_iter().map(|row| row.execution_id).collect()
}

async fn started(journal: &Arc<dyn Journal>, n: usize) -> BTreeSet<ExecutionId> {
    wait_for(&format!("{n} executions"), SOON, async || {
        Some(executions(journal).await).filter(|e| e.len() >= n)
    })
    .await
}

/// Everything was handled.
async fn at_rest(whole: &Whole) {
    let events = EventStore::new(whole.replica.journal.tables());
    wait_for("the queue to be empty", SOON, async || {
        let stats = events.stats(&tenant(), ["triggers", "waits"]).await.unwrap();
        (stats.queue_size == 0).then_some(())
    })
    .await;
}

async fn each_event_starts_each_trigger_once(world: World) {
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    trigger(&a.replica.journal, "all", |_| {}).await;
    trigger(&a.replica.journal, "some", |row| row.filter = "event.payload.n >= 7".into()).await;
    trigger(&a.replica.journal, "other", |row| row.topic = "stock".into()).await;
    trigger(&a.replica.journal, "joined", |row| row.key = "event.key".into()).await;
    let events = || (0..10).map(|n| order(&format!("e{n}"), n)).collect::<Vec<_>>();
    let first = a.publish(events()).await;
    assert!(first.iter().all(|p| p.durable && !p.duplicate));
    assert!(a.publish(events()).await.iter().all(|p| p.duplicate), "the same ids again");
    // 10 of `all`, 3 of `some`, one for each of 5 keys of `joined`.
    started(&a.replica.journal, 18).await;
    at_rest(&a).await;
    assert_eq!(executions(&a.replica.journal).await.len(), 18);
    a.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_starts_each_trigger_once_on_sqlite() {
    each_event_starts_each_trigger_once(World::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_starts_each_trigger_once_on_postgres() {
    each_event_starts_each_trigger_once(World::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_consumer_and_an_emptied_redis_lose_and_double_nothing() {
    let redis = testkit::Redis::start();
    let mut world = World::postgres().await;
    world.bus = Arc::new(RedisBus::new(&redis.url(), RedisOptions::default()).unwrap());
    let doors = Arc::new(Doors::default());
    let (a, b) = (whole(&world, &doors, "a").await, whole(&world, &doors, "b").await);
    a.replica.owns(usize::from(SHARDS / 2)).await;
    b.replica.owns(usize::from(SHARDS / 2)).await;
    trigger(&a.replica.journal, "all", |_| {}).await;
    for round in 0..5u32 {
        let events = (0..20).map(|n| order(&format!("e{round}-{n}"), n)).collect();
        a.publish(events).await;
        redis.command(&["FLUSHALL"]);
    }
    // In mid-run, whatever it had begun.
    b.die().await;
    for round in 5..8u32 {
        a.publish((0..20).map(|n| order(&format!("e{round}-{n}"), n)).collect()).await;
    }
    redis.command(&["FLUSHALL"]);
    started(&a.replica.journal, 160).await;
    at_rest(&a).await;
    assert_eq!(executions(&a.replica.journal).await.len(), 160);
    a.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_dies_before_its_position_is_stored_repeats_without_effect() {
    let world = World::postgres().await;
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    trigger(&a.replica.journal, "all", |_| {}).await;
    a.publish((0..10).map(|n| order(&format!("e{n}"), n)).collect()).await;
    let before = started(&a.replica.journal, 10).await;
    at_rest(&a).await;
    // As if no position had ever been stored.
    for consumer in ["triggers", "waits"] {
        let stored = a.replica.journal.read_positions(consumer, "topics").await.unwrap();
        let begin: Vec<_> = stored.into_iter().map(|p| store::journal::ShardPos { pos: 0, ..p }).collect();
        a.replica.journal.put_positions(consumer, "topics", &begin).await.unwrap();
    }
    a.die().await;
    let b = whole(&world, &doors, "b").await;
    b.replica.owns(usize::from(SHARDS)).await;
    b.publish(vec![order("last", 1)]).await;
    let after = started(&b.replica.journal, 11).await;
    at_rest(&b).await;
    assert!(after.is_superset(&before));
    assert_eq!(executions(&b.replica.journal).await.len(), 11);
    assert!(doors.asked.lock().unwrap().len() >= 21, "they were asked for again");
    b.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_becomes_a_dead_letter_that_can_be_redriven() {
    let world = World::sqlite();
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    trigger(&a.replica.journal, "all", |_| {}).await;
    doors.refusals.lock().unwrap().push(Fault::bad("input", "breaks the schema"));
    a.publish(vec![order("bad", 1)]).await;
    let letter = wait_for("a dead letter", SOON, async || {
        a.replica.journal.list_dead_letters(&tenant(), None, 10).await.unwrap().pop()
    })
    .await;
    assert!(
        letter.reason.contains("breaks the schema") && letter.reason.contains("trigger all"),
        "{}",
        letter.reason
    );
    at_rest(&a).await;
    let context = CallContext::default();
    let shown = a.replica.app.dead_letter(&context, &letter.id.to_string()).await.unwrap();
    assert_eq!((shown.state.as_str(), shown.group.as_str()), ("waiting", "triggers"));
    let done = a.replica.app.redrive(&context, &letter.id.to_string()).await.unwrap();
    assert_eq!(done.state, "redriven");
    assert_eq!(executions(&a.replica.journal).await.len(), 1);
    assert_eq!(a.replica.app.dead_letter(&context, "x").await.unwrap_err().code, ErrorCode::InvalidArgument);
    a.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_a_busy_workflow_or_is_skipped() {
    let world = World::sqlite();
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    let busy = || Fault::new(ErrorCode::AlreadyExecuting, "it runs");
    trigger(&a.replica.journal, "patient", |_| {}).await;
    doors.refusals.lock().unwrap().extend([busy(), busy(), busy()]);
    a.publish(vec![order("one", 1)]).await;
    started(&a.replica.journal, 1).await;
    let held = HeldStore::new(a.replica.journal.tables());
    wait_for("nothing to be held", SOON, async || (held.count(&tenant()).await.unwrap() == 0).then_some(()))
        .await;
    trigger(&a.replica.journal, "patient", |row| row.on_busy = "skip".into()).await;
    doors.refusals.lock().unwrap().push(busy());
    a.publish(vec![order("two", 1)]).await;
    a.publish(vec![order("three", 1)]).await;
    started(&a.replica.journal, 2).await;
    at_rest(&a).await;
    assert_eq!(executions(&a.replica.journal).await.len(), 2, "the second was skipped");
    a.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_for_a_while_holds_its_partition_and_loses_nothing() {
    let world = World::sqlite();
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    trigger(&a.replica.journal, "all", |_| {}).await;
    doors.refusals.lock().unwrap().extend((0..6).map(|_| Fault::unavailable("the planner is away")));
    a.publish((0..4).map(|n| order(&format!("e{n}"), n)).collect()).await;
    started(&a.replica.journal, 4).await;
    at_rest(&a).await;
    assert!(a.replica.journal.list_dead_letters(&tenant(), None, 10).await.unwrap().is_empty());
    a.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_the_inbox_of_who_waits_for_it_once() {
    let world = World::sqlite();
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    let id = a.replica.start("k0").await;
    let shard = id.shard(u32::from(SHARDS)) as u16;
    // What the engine writes when a wait opens, by a journal's own hand: the execution has ended, nobody else writes.
    crate::kit::all_completed(&a.replica.journal, &[id]).await;
    let pos = a.replica.journal.last_pos(shard).await.unwrap();
    let me = a.replica.journal.roster().await.unwrap().members.remove(0);
    let mut item = Item::new(id, tenant());
    let body = bytes::Bytes::new();
    item.log = Some(LogRow { first_seq: 900, count: 1, pos: pos + 1, schema: 99, body });
    item.waits = vec![WaitWrite::Open {
        task: 2,
        topic: "orders".into(),
        key: "k1".into(),
        since: Timestamp::default(),
    }];
    let by = store::journal::Membership { id: me.id, incarnation: me.incarnation };
    a.replica.journal.commit(Group { by, shard, items: vec![item] }).await.unwrap();
    a.publish(vec![order("not", 2), order("this", 1), order("this", 1)]).await;
    at_rest(&a).await;
    // Until the engine knows the kind, its rows become dead letters: what arrived is in their bodies.
    let letters = wait_for("the delivery", SOON, async || {
        let letters = a.replica.journal.list_dead_letters(&tenant(), None, 10).await.unwrap();
        let inbox = a.replica.journal.read_inbox(&[shard], 10).await.unwrap();
        Some(
            inbox
                .into_iter()
                .map(|row| row.body)
                .chain(letters.into_iter().map(|l| l.body))
                .collect::<Vec<_>>(),
        )
        .filter(|found| !found.is_empty())
    })
    .await;
    // One that is on its way from the inbox to the letters is in both.
    let bodies: BTreeSet<_> = letters.into_iter().collect();
    assert_eq!(bodies.len(), 1);
    let delivery = Delivery::decode(bodies.into_iter().next().unwrap()).unwrap();
    assert_eq!((delivery.task, delivery.event.unwrap().id.as_str()), (2, "this"));
    a.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volatile_events_start_and_are_not_kept() {
    let world = World::sqlite();
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    trigger(&a.replica.journal, "pulse", |row| row.topic = "pulse".into()).await;
    let pulse = pb::NewEvent { id: "p1".into(), topic: "pulse".into(), ..pb::NewEvent::default() };
    let told = a.publish(vec![pulse.clone(), pulse]).await;
    assert!(told.iter().all(|p| !p.durable));
    started(&a.replica.journal, 1).await;
    let events = EventStore::new(a.replica.journal.tables());
    assert_eq!(events.get(&tenant(), "p1").await.unwrap(), None);
    assert_eq!(executions(&a.replica.journal).await.len(), 1);
    a.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_or_switched_off_is_refused_as_a_whole() {
    let world = World::sqlite();
    let doors = Arc::new(Doors::default());
    let options = executor::topics::Options { rate_max: 5, batch_max: 10, ..topic_options(&world, "a") };
    let a = whole_with(&world, &doors, "a", options).await;
    let publish = async |n: u32| {
        let events = (0..n).map(|n| order("", n)).collect();
        a.topics.publish(&CallContext::default(), events).await
    };
    assert_eq!(publish(11).await.unwrap_err().field, "events");
    assert_eq!(publish(0).await.unwrap_err().field, "events");
    publish(5).await.unwrap();
    let refused = publish(5).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ResourceExhausted);
    assert!(refused.retry_after_ms > 0);
    a.die().await;
    let options = executor::topics::Options { enabled: false, ..topic_options(&world, "b") };
    let b = whole_with(&world, &doors, "b", options).await;
    let refused = b.topics.publish(&CallContext::default(), vec![order("x", 1)]).await.unwrap_err();
    assert!(refused.message.contains("topics.enabled"), "{refused}");
    b.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_tasks_are_events_of_a_built_in_topic() {
    let world = World::sqlite();
    let doors = Arc::new(Doors::default());
    let built_in = BuiltIn { data_updates: true, workflow_status: true, agent_status: false };
    let a =
        whole_with(&world, &doors, "a", executor::topics::Options { built_in, ..topic_options(&world, "a") })
            .await;
    let events = EventStore::new(a.replica.journal.tables());
    // A shard is followed from its first look on.
    wait_for("every shard to be followed", SOON, async || {
        let stored = a.replica.journal.read_positions("data_updates", "topics").await.unwrap();
        (stored.len() == usize::from(SHARDS)).then_some(())
    })
    .await;
    let id = a.replica.start("k0").await;
    let mut kinds = wait_for("the end to be told", SOON, async || {
        let all = events.read_all(0, 100).await.unwrap();
        let kinds: Vec<String> = all.iter().map(|row| row.event.kind.clone()).collect();
        assert!(all.iter().all(|row| row.event.key == id.to_string()));
        kinds.contains(&"workflow.completed".to_owned()).then_some(kinds)
    })
    .await;
    kinds.retain(|kind| kind == "task.completed");
    assert_eq!(kinds.len(), 3);
    a.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_where_it_was() {
    let world = World::sqlite();
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    a.publish(vec![order("before", 1)]).await;
    let door = a.topics.door(runtime::Drain::default());
    let watch = async |from: &str| {
        let filter = pb::EventFilter { types: vec!["order:placed".into()], ..pb::EventFilter::default() };
        let request = pb::WatchEventsRequest { filter: Some(filter), from: from.into() };
        let stream = proto::executor::v1::event_service_server::EventService::watch_events(
            &door,
            tonic::Request::new(request),
        );
        Box::pin(stream.await.unwrap().into_inner())
    };
    let mut live = watch("").await;
    a.publish(vec![order("one", 1), order("two", 2)]).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let message = tokio::time::timeout(SOON, live.next()).await.unwrap().unwrap().unwrap();
        seen.extend(message.events);
    }
    assert_eq!(seen.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    let mut again = watch(&seen[0].cursor).await;
    let message = tokio::time::timeout(SOON, again.next()).await.unwrap().unwrap().unwrap();
    assert_eq!((message.events.len(), message.events[0].id.as_str()), (1, "two"));
    let mut all = watch("0").await;
    let message = tokio::time::timeout(SOON, all.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(message.events[0].id, "before");
    a.die().await;
}
