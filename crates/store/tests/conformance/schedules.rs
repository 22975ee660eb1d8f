//! Schedules as rows.

use store::{
    schedules::{ScheduleRow, ScheduleStore},
    topics::SyncedPlan,
};
use uuid::Uuid;

use crate::kit::*;

fn schedule(name: &str, shard: u16, wake_ms: i64) -> ScheduleRow {
    ScheduleRow {
        tenant: tenant(),
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()),
        name: name.into(),
        workflow: "w".into(),
        workflow_version: String::new(),
        shard,
        spec: "{\"cron\": \"* * * * *\"}".into(),
        input: Some("[1.0]".into()),
        priority: -2,
        paused: false,
        wake_at: Some(at(wake_ms)),
        state: "{}".into(),
        revision: 1,
        created_at: at(1),
        updated_at: at(1),
    }
}

async fn a_schedule_is_found_when_it_is_due(kit: Kit) {
    let store = ScheduleStore::new(kit.journal.tables());
    for row in
        [schedule("a", 1, 30), schedule("b", 2, 10), ScheduleRow { wake_at: None, ..schedule("c", 1, 0) }]
    {
        assert!(store.insert(&row).await.unwrap());
    }
    assert!(!store.insert(&schedule("a", 1, 5)).await.unwrap(), "its name is taken");
    assert_eq!(store.get(&tenant(), schedule("a", 1, 0).id).await.unwrap(), Some(schedule("a", 1, 30)));
    assert_eq!(store.find(&tenant(), "b").await.unwrap(), Some(schedule("b", 2, 10)));
    assert_eq!(store.due(&[1, 2], at(20), 10).await.unwrap(), [schedule("b", 2, 10)]);
    assert_eq!(store.due(&[1, 2], at(30), 10).await.unwrap().len(), 2);
    assert_eq!(store.due(&[3], at(30), 10).await.unwrap(), []);
    assert_eq!(store.next_wake(&[1]).await.unwrap(), Some(at(30)));
    assert_eq!((store.next_wake(&[3]).await.unwrap(), store.next_wake(&[]).await.unwrap()), (None, None));
    let names = |rows: Vec<ScheduleRow>| rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
    assert_eq!(names(store.list(&tenant(), "", 2).await.unwrap()), ["a", "b"]);
    assert_eq!(names(store.list(&tenant(), "b", 2).await.unwrap()), ["c"]);
    assert!(store.delete(&tenant(), schedule("a", 1, 0).id).await.unwrap());
    assert!(!store.delete(&tenant(), schedule("a", 1, 0).id).await.unwrap());
}

async fn of_two_who_change_a_schedule_one_is_told_to_look_again(kit: Kit) {
    let store = ScheduleStore::new(kit.journal.tables());
    let row = schedule("a", 1, 30);
    store.insert(&row).await.unwrap();
    let paused = ScheduleRow { paused: true, wake_at: None, ..row.clone() };
    let fired = ScheduleRow { state: "{\"n\": 1}".into(), wake_at: Some(at(90)), ..row.clone() };
    assert!(store.update(&paused).await.unwrap());
    assert!(!store.update(&fired).await.unwrap(), "it read the schedule before it was paused");
    let found = store.get(&tenant(), row.id).await.unwrap().unwrap();
    assert_eq!((found.paused, found.wake_at, found.revision), (true, None, 2));
    assert!(store.due(&[1], at(999), 10).await.unwrap().is_empty());
}

async fn the_schedules_of_a_plan_keep_how_far_they_are(kit: Kit) {
    let store = ScheduleStore::new(kit.journal.tables());
    let plan = |version: &str| SyncedPlan { tenant: tenant(), workflow: "w".into(), version: version.into() };
    let of = |name: &str, version: &str, spec: &str| ScheduleRow {
        workflow_version: version.into(),
        spec: spec.into(),
        ..schedule(name, 1, 30)
    };
    store.insert(&schedule("own", 1, 30)).await.unwrap();
    store.sync(&plan("1"), &[of("a", "1", "x"), of("b", "1", "x"), of("c", "1", "x")]).await.unwrap();
    for name in ["a", "b"] {
        let row = store.find(&tenant(), name).await.unwrap().unwrap();
        let state = "{\"n\": 7}".to_owned();
        assert!(store.update(&ScheduleRow { state, wake_at: Some(at(70)), ..row }).await.unwrap());
    }
    store.sync(&plan("2"), &[of("a", "2", "x"), of("b", "2", "y")]).await.unwrap();
    let a = store.find(&tenant(), "a").await.unwrap().unwrap();
    let b = store.find(&tenant(), "b").await.unwrap().unwrap();
    assert_eq!((a.state.as_str(), a.wake_at, a.workflow_version.as_str()), ("{\"n\": 7}", Some(at(70)), "2"));
    assert_eq!((b.state.as_str(), b.wake_at, b.spec.as_str()), ("{}", Some(at(30)), "y"));
    assert_eq!(store.find(&tenant(), "c").await.unwrap(), None);
    assert!(store.find(&tenant(), "own").await.unwrap().is_some());
}

on_every_backend!(
    a_schedule_is_found_when_it_is_due,
    of_two_who_change_a_schedule_one_is_told_to_look_again,
    the_schedules_of_a_plan_keep_how_far_they_are,
);
