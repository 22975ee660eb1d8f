//! Sessions: one winner for every change, and nothing of an execution saved twice.

use std::sync::Arc;

use base::{ExecutionId, Tenant, Timestamp};
use store::{
    Database, DatabaseOptions, Journal,
    sessions::{SavedExecution, SessionChange, SessionRow, SessionStore, TurnRow},
};
use uuid::Uuid;

async fn open(database: &Database) -> (SessionStore, Arc<dyn Journal>) {
    let (journal, _) = database.open_journal(&DatabaseOptions::default()).await.unwrap();
    (SessionStore::new(journal.tables()), journal)
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn execution(n: u128) -> ExecutionId {
    ExecutionId::new(Uuid::from_u128(n))
}

fn tenant() -> Tenant {
    Tenant::default()
}

/// The row with one more turn of ten bytes.
fn with_turn(mut row: SessionRow, vars: &str, saved: Option<u128>) -> SessionChange {
    let turn = TurnRow {
        turn: row.turns_next,
        role: "user".into(),
        parts: "[1]".into(),
        execution_id: saved.map(execution),
        at: at(5),
        bytes: 10,
        ends: row.turns_total + 10,
    };
    row.vars = vars.into();
    row.turns_next += 1;
    row.turns_count += 1;
    row.turns_bytes += 10;
    row.turns_total += 10;
    row.updated_at = at(5);
    let saved = saved.map(|n| SavedExecution {
        execution_id: execution(n),
        status: "completed".into(),
        note: String::new(),
    });
    SessionChange { row, turns: vec![turn], keep_from: 0, saved }
}

async fn a_change_of_an_old_version_writes_nothing(database: Database) {
    let (store, _journal) = open(&database).await;
    assert!(store.create(&tenant(), "s", at(1)).await.unwrap());
    assert!(!store.create(&tenant(), "s", at(2)).await.unwrap());
    let read = store.get(&tenant(), "s").await.unwrap().unwrap();
    assert_eq!((read.version, &*read.vars, read.turns_next, read.created_at), (1, "{}", 1, at(1)));
    store.join(&tenant(), "s", execution(7), "w", at(2)).await.unwrap();
    assert!(store.change(&with_turn(read.clone(), "{\"a\":1}", None), Uuid::from_u128(1)).await.unwrap());
    assert!(!store.change(&with_turn(read, "{\"b\":1}", Some(7)), Uuid::from_u128(2)).await.unwrap());
    let now = store.get(&tenant(), "s").await.unwrap().unwrap();
    assert_eq!((now.version, &*now.vars, now.turns_count, now.updated_at), (2, "{\"a\":1}", 1, at(5)));
    assert_eq!(store.turns(&tenant(), "s", 0, 10).await.unwrap().len(), 1);
    let member = store.member(&tenant(), execution(7)).await.unwrap().unwrap();
    assert_eq!((member.saved_at, &*member.workflow, member.joined_at), (None, "w", at(2)));
    let other = Tenant::new("other").unwrap();
    assert!(store.get(&other, "s").await.unwrap().is_none());
    assert!(store.member(&other, execution(7)).await.unwrap().is_none());
}

async fn of_many_that_change_one_session_each_wins_once(database: Database) {
    let (store, _journal) = open(&database).await;
    store.create(&tenant(), "s", at(1)).await.unwrap();
    let changes = (0..8u128).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                let row = store.get(&tenant(), "s").await.unwrap().unwrap();
                if store.change(&with_turn(row, "{}", None), Uuid::from_u128(n + 1)).await.unwrap() {
                    return true;
                }
            }
            false
        })
    });
    for changed in futures::future::join_all(changes).await {
        assert!(changed.unwrap(), "somebody always wins");
    }
    let turns = store.turns(&tenant(), "s", 0, 100).await.unwrap();
    assert_eq!(turns.iter().map(|t| t.turn).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert_eq!(store.get(&tenant(), "s").await.unwrap().unwrap().version, 9);
}

async fn what_is_saved_of_an_execution_is_marked_in_the_same_write(database: Database) {
    let (store, _journal) = open(&database).await;
    store.create(&tenant(), "s", at(1)).await.unwrap();
    for n in [3, 1, 2] {
        store.join(&tenant(), "s", execution(n), "w", at(n as i64)).await.unwrap();
        store.join(&tenant(), "other", execution(n), "w", at(9)).await.unwrap();
    }
    let row = store.get(&tenant(), "s").await.unwrap().unwrap();
    assert!(store.change(&with_turn(row, "{}", Some(2)), Uuid::from_u128(1)).await.unwrap());
    let row = store.get(&tenant(), "s").await.unwrap().unwrap();
    assert!(!store.change(&with_turn(row, "{}", Some(2)), Uuid::from_u128(2)).await.unwrap(), "once");
    assert_eq!(store.turns(&tenant(), "s", 0, 10).await.unwrap().len(), 1);
    let members = store.members(&tenant(), "s", None, 10).await.unwrap();
    let shown: Vec<_> = members.iter().map(|m| (m.execution_id, m.saved_at, m.status.as_str())).collect();
    assert_eq!(
        shown,
        [(execution(1), None, ""), (execution(2), Some(at(5)), "completed"), (execution(3), None, "")]
    );
    let second = store.members(&tenant(), "s", Some((at(1), execution(1))), 1).await.unwrap();
    assert_eq!(second[0].execution_id, execution(2));
    assert!(
        store.members(&tenant(), "other", None, 10).await.unwrap().is_empty(),
        "the first session counts"
    );
    assert!(store.unsaved(&tenant(), "s", 10).await.unwrap().is_empty(), "none has ended");
    assert!(store.unsaved_of_all(10).await.unwrap().is_empty());
    store.forget_never_started(at(3)).await.unwrap();
    let left = store.members(&tenant(), "s", None, 10).await.unwrap();
    assert_eq!(left.iter().map(|m| m.execution_id).collect::<Vec<_>>(), [execution(2), execution(3)]);
}

async fn old_turns_go_and_their_numbers_are_not_used_again(database: Database) {
    let (store, _journal) = open(&database).await;
    store.create(&tenant(), "s", at(1)).await.unwrap();
    for n in 1..=5u128 {
        let row = store.get(&tenant(), "s").await.unwrap().unwrap();
        let mut change = with_turn(row, "{}", None);
        if n == 5 {
            change.keep_from = 3;
            change.row.turns_count = 3;
        }
        assert!(store.change(&change, Uuid::from_u128(n)).await.unwrap());
    }
    let numbers = |turns: Vec<TurnRow>| turns.iter().map(|t| t.turn).collect::<Vec<_>>();
    assert_eq!(numbers(store.turns(&tenant(), "s", 0, 10).await.unwrap()), [3, 4, 5]);
    assert_eq!(numbers(store.turns(&tenant(), "s", 3, 1).await.unwrap()), [4]);
    assert_eq!(numbers(store.newest_turns(&tenant(), "s", 2).await.unwrap()), [4, 5]);
    let kept = |turn, total| {
        let store = store.clone();
        async move { store.first_kept(&tenant(), "s", turn, total).await.unwrap().map(|t| t.turn) }
    };
    assert_eq!((kept(4, 0).await, kept(1, 25).await, kept(1, 41).await), (Some(4), Some(4), None));
}

async fn sessions_are_listed_by_id_and_go_with_all_they_have(database: Database) {
    let (store, _journal) = open(&database).await;
    for id in ["b", "a:2", "a:1"] {
        store.create(&tenant(), id, at(1)).await.unwrap();
    }
    store.create(&Tenant::new("other").unwrap(), "a:3", at(1)).await.unwrap();
    let ids = |rows: Vec<SessionRow>| rows.into_iter().map(|row| row.session_id).collect::<Vec<_>>();
    assert_eq!(ids(store.list(&tenant(), "", "", 10).await.unwrap()), ["a:1", "a:2", "b"]);
    assert_eq!(ids(store.list(&tenant(), "a:", "a:1", 10).await.unwrap()), ["a:2"]);
    let row = store.get(&tenant(), "a:1").await.unwrap().unwrap();
    store.join(&tenant(), "a:1", execution(1), "w", at(1)).await.unwrap();
    assert!(store.change(&with_turn(row, "{}", None), Uuid::from_u128(1)).await.unwrap());
    let idle = store.idle(at(100), 10).await.unwrap();
    assert_eq!(idle.len(), 3, "an open execution holds its session: {idle:?}");
    assert_eq!(store.idle(at(1), 10).await.unwrap().len(), 0);
    assert!(store.delete(&tenant(), "a:1").await.unwrap() && !store.delete(&tenant(), "a:1").await.unwrap());
    assert!(store.turns(&tenant(), "a:1", 0, 10).await.unwrap().is_empty());
    assert!(store.member(&tenant(), execution(1)).await.unwrap().is_none());
}

on_every_database!(
    a_change_of_an_old_version_writes_nothing,
    of_many_that_change_one_session_each_wins_once,
    what_is_saved_of_an_execution_is_marked_in_the_same_write,
    old_turns_go_and_their_numbers_are_not_used_again,
    sessions_are_listed_by_id_and_go_with_all_they_have,
);
