//! Schedules over real stores: each time starts once, whoever dies.

use std::sync::Arc;

use base::{Clock as _, ErrorCode, Timestamp};
use proto::executor::v1::{self as pb, schedule_service_server::ScheduleService};
use store::{
    Journal,
    journal::ExecutionFilter,
    schedules::{ScheduleRow, ScheduleStore},
};
use testkit::wait_for;
use tonic::Request;
use uuid::Uuid;

use crate::{
    beside::{Doors, Whole, whole},
    kit::{SHARDS, SOON, World},
};

fn now() -> Timestamp {
    runtime::SystemClock.now()
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_micros(now().micros() - seconds * 1_000_000)
}

async fn count(journal: &Arc<dyn Journal>) -> usize {
    let filter = ExecutionFilter { tenant: base::Tenant::default(), ..ExecutionFilter::default() };
    journal.list_executions(&filter, None, 1000).await.unwrap().rows.len()
}

/// A schedule that has been due every second since `since` seconds ago.
async fn overdue(whole: &Whole, name: &str, since: i64, overlap: &str) -> Uuid {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
    let start = ago(since);
    let row = ScheduleRow {
        tenant: base::Tenant::default(),
        id,
        name: name.into(),
        workflow: "w@1".into(),
        workflow_version: String::new(),
        shard: base::ExecutionId::new(id).shard(u32::from(SHARDS)) as u16,
        spec: serde_json::json!({
            "every_us": 1_000_000, "end_at": now().micros(), "start_at": start.micros(),
            "overlap": overlap, "queue_max": 100, "catch_up_us": 3_600_000_000u64, "jitter_us": 0,
        })
        .to_string(),
        input: None,
        priority: 0,
        paused: false,
        wake_at: Some(start),
        state: serde_json::json!({"state": {"next": start.micros()}}).to_string(),
        revision: 1,
        created_at: start,
        updated_at: start,
    };
    assert!(ScheduleStore::new(whole.replica.journal.tables()).insert(&row).await.unwrap());
    id
}

async fn done(whole: &Whole, name: &str) -> serde_json::Value {
    let store = ScheduleStore::new(whole.replica.journal.tables());
    wait_for("the schedule to end", SOON, async || {
        let row = store.find(&base::Tenant::default(), name).await.unwrap().unwrap();
        row.wake_at.is_none().then(|| serde_json::from_str(&row.state).unwrap())
    })
    .await
}

async fn what_was_missed_is_made_up_for_once(world: World) {
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    overdue(&a, "late", 20, "allow").await;
    let state = done(&a, "late").await;
    let started = state["started"].as_u64().unwrap() as usize;
    assert!((20..=21).contains(&started), "{state}");
    assert_eq!(count(&a.replica.journal).await, started);
    a.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_made_up_for_once_on_sqlite() {
    what_was_missed_is_made_up_for_once(World::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_made_up_for_once_on_postgres() {
    what_was_missed_is_made_up_for_once(World::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_between_start_and_store_starts_nothing_twice() {
    let world = World::postgres().await;
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    let id = overdue(&a, "late", 10, "allow").await;
    let state = done(&a, "late").await;
    let before = count(&a.replica.journal).await;
    // As it was before anything was stored: the starts are decided again.
    let store = ScheduleStore::new(a.replica.journal.tables());
    let row = store.get(&base::Tenant::default(), id).await.unwrap().unwrap();
    let start = row.created_at;
    let old = serde_json::json!({"state": {"next": start.micros()}}).to_string();
    a.schedules.stop();
    assert!(store.update(&ScheduleRow { state: old, wake_at: Some(start), ..row }).await.unwrap());
    a.die().await;
    let b = whole(&world, &doors, "b").await;
    b.replica.owns(usize::from(SHARDS)).await;
    let again = done(&b, "late").await;
    assert_eq!(again["started"], state["started"]);
    assert_eq!(count(&b.replica.journal).await, before);
    b.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overlap_is_decided_by_the_execution_that_runs() {
    let world = World::sqlite();
    world.agents.open(false);
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    overdue(&a, "skipping", 10, "skip").await;
    let state = done(&a, "skipping").await;
    assert_eq!((&state["started"], count(&a.replica.journal).await), (&1.into(), 1), "{state}");
    overdue(&a, "queueing", 3, "queue").await;
    wait_for("one to run", SOON, async || (count(&a.replica.journal).await == 2).then_some(())).await;
    world.agents.open(true);
    let state = done(&a, "queueing").await;
    assert!(state["started"].as_u64().unwrap() >= 3, "they go one by one: {state}");
    overdue(&a, "cancelling", 3, "cancel_other").await;
    let state = done(&a, "cancelling").await;
    assert_eq!(state["started"], 1, "{state}");
    a.die().await;
}

fn create(name: &str, timing: pb::Timing) -> pb::CreateScheduleRequest {
    pb::CreateScheduleRequest {
        name: name.into(),
        workflow: "w".into(),
        timing: Some(timing),
        ..Default::default()
    }
}

fn cron(text: &str) -> pb::Timing {
    pb::Timing { cron: text.into(), time_zone: "Europe/Berlin".into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_made_shown_paused_triggered_and_deleted() {
    let world = World::sqlite();
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    let door = a.schedules.door();
    let made =
        door.create_schedule(Request::new(create("nightly", cron("0 3 * * *")))).await.unwrap().into_inner();
    assert_eq!((made.next_times.len(), made.paused), (5, false));
    let again =
        door.create_schedule(Request::new(create("nightly", cron("0 3 * * *")))).await.unwrap().into_inner();
    assert_eq!(again.id, made.id);
    let other = door.create_schedule(Request::new(create("nightly", cron("0 4 * * *")))).await.unwrap_err();
    assert_eq!(api::Fault::from_status(&other).code, ErrorCode::AlreadyExists);
    let wrong = door.create_schedule(Request::new(create("x", cron("0 3 * *")))).await.unwrap_err();
    assert_eq!(api::Fault::from_status(&wrong).field, "timing.cron");
    let pause = |paused| pb::PauseScheduleRequest { r#ref: "nightly".into(), paused };
    let paused = door.pause_schedule(Request::new(pause(true))).await.unwrap().into_inner();
    assert!(paused.paused && paused.next_times.is_empty());
    assert!(
        !door.pause_schedule(Request::new(pause(false))).await.unwrap().into_inner().next_times.is_empty()
    );
    let at = "2026-01-02T03:00:00Z".to_owned();
    for _ in 0..2 {
        let request = pb::TriggerScheduleRequest { r#ref: made.id.clone(), at: at.clone() };
        door.trigger_schedule(Request::new(request)).await.unwrap();
    }
    assert_eq!(count(&a.replica.journal).await, 1);
    let backfill = |to: &str| pb::BackfillScheduleRequest {
        r#ref: "nightly".into(),
        from: "2026-03-01T00:00:00Z".into(),
        to: to.into(),
    };
    let filled =
        door.backfill_schedule(Request::new(backfill("2026-03-05T00:00:00Z"))).await.unwrap().into_inner();
    assert_eq!(filled.execution_ids.len(), 4);
    let much = door.backfill_schedule(Request::new(backfill("2027-03-05T00:00:00Z"))).await.unwrap_err();
    assert!(much.message().contains("schedules.backfill_max"), "{much}");
    assert_eq!(count(&a.replica.journal).await, 5);
    let list =
        door.list_schedules(Request::new(pb::ListSchedulesRequest::default())).await.unwrap().into_inner();
    assert_eq!(list.schedules.len(), 1);
    let of = |name: &str| pb::DeleteScheduleRequest { r#ref: name.into() };
    door.delete_schedule(Request::new(of("nightly"))).await.unwrap();
    assert!(door.delete_schedule(Request::new(of("nightly"))).await.is_err());
    a.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_fires_once_soon_after() {
    let world = World::sqlite();
    let doors = Arc::new(Doors::default());
    let a = whole(&world, &doors, "a").await;
    let timing = pb::Timing { delay_ms: 300, ..Default::default() };
    let door = a.schedules.door();
    let made = door.create_schedule(Request::new(create("soon", timing))).await.unwrap().into_inner();
    assert_eq!(made.next_times.len(), 1);
    let state = done(&a, "soon").await;
    assert_eq!((&state["started"], count(&a.replica.journal).await), (&1.into(), 1));
    a.die().await;
}
