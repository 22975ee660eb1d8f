//! What every service gets from [`store::Db`].

use std::time::Duration;

use base::{Tenant, Timestamp};
use bytes::Bytes;
use store::{
    Database, DatabaseOptions, Db, OpenError, StoreError,
    journal::{DeadLetter, LetterState},
    migrate::{PLANNER, REGISTRY},
};
use uuid::Uuid;

async fn opening_twice_migrates_once_and_a_newer_schema_is_refused(database: Database) {
    let first = Db::open(&database, &REGISTRY, &DatabaseOptions::default()).await.unwrap();
    first.ping().await.unwrap();
    // Services share no history: another schema lives beside it.
    Db::open(&database, &PLANNER, &DatabaseOptions::default()).await.unwrap().ping().await.unwrap();
    if let Database::Folder(_) = &database {
        let refused = Db::open(&database, &REGISTRY, &DatabaseOptions::default()).await.unwrap_err();
        assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    }
    let later = match &database {
        Database::Folder(_) => "INSERT INTO schema_migrations VALUES (9, 'later', 'x', 0)",
        Database::Postgres(_) => "INSERT INTO schema_migrations VALUES (9, 'later', 'x')",
    };
    first.write(later, Vec::new()).await.unwrap();
    first.close().await;
    assert!(matches!(first.ping().await, Err(StoreError::Unavailable(_))));
    drop(first);
    let refused = Db::open(&database, &REGISTRY, &DatabaseOptions::default()).await.unwrap_err();
    assert!(matches!(refused, OpenError::NewerSchema { found: 9, .. }), "{refused}");
}

async fn a_dropped_transaction_writes_nothing(database: Database) {
    let db = Db::open(&database, &REGISTRY, &DatabaseOptions::default()).await.unwrap();
    let sql = "INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, $3)";
    let mut tx = db.begin().await.unwrap();
    tx.write(sql, vec!["a".into(), "x".into(), 5i64.into()]).await.unwrap();
    drop(tx);
    assert!(db.read("SELECT name FROM leases", Vec::new()).await.unwrap().is_empty());
    let twice = async {
        db.write(sql, vec!["a".into(), "x".into(), 5i64.into()]).await?;
        db.write(sql, vec!["a".into(), "y".into(), 5i64.into()]).await
    };
    assert!(matches!(twice.await, Err(StoreError::Refused(_))));
}

async fn a_lease_has_one_holder_at_a_time(database: Database) {
    let db = Db::open(&database, &REGISTRY, &DatabaseOptions::default()).await.unwrap();
    let minute = Duration::from_secs(60);
    assert!(db.lease("probe/1", "a", minute).await.unwrap());
    assert!(db.lease("probe/1", "a", minute).await.unwrap());
    assert!(!db.lease("probe/1", "b", minute).await.unwrap());
    assert!(db.lease("probe/2", "b", Duration::ZERO).await.unwrap());
    assert!(db.lease("probe/2", "a", minute).await.unwrap(), "it had run out");
    assert!(db.lease("other", "b", minute).await.unwrap());
    let held = |name: &str| (name.to_owned(), "a".to_owned());
    assert_eq!(db.leases("probe/").await.unwrap(), [held("probe/1"), held("probe/2")]);
    db.release_leases("a").await.unwrap();
    assert!(db.leases("probe/").await.unwrap().is_empty());
    assert!(db.lease("probe/1", "b", minute).await.unwrap());
}

async fn dead_letters_are_kept_by_every_service(database: Database) {
    let db = Db::open(&database, &REGISTRY, &DatabaseOptions::default()).await.unwrap();
    let tenant = Tenant::default();
    let letter = |n: u128| DeadLetter {
        id: Uuid::from_u128(n),
        tenant: Tenant::default(),
        stream: "orchestra:events:1".into(),
        consumer: "registry".into(),
        reason: "does not decode".into(),
        body: Bytes::from_static(b"\0\xff"),
        deliveries: 5,
        created_at: Timestamp::from_millis(1),
        state: LetterState::Waiting,
    };
    for n in [2, 1, 1] {
        db.put_dead_letter(&letter(n)).await.unwrap();
    }
    assert_eq!(db.list_dead_letters(&tenant, None, 10).await.unwrap(), [letter(1), letter(2)]);
    assert_eq!(db.list_dead_letters(&tenant, Some(Uuid::from_u128(1)), 10).await.unwrap(), [letter(2)]);
    assert!(db.mark_dead_letter(&tenant, Uuid::from_u128(1), LetterState::Redriven).await.unwrap());
    let marked = db.get_dead_letter(&tenant, Uuid::from_u128(1)).await.unwrap().unwrap();
    assert_eq!(marked.state, LetterState::Redriven);
    assert!(db.delete_dead_letter(&tenant, Uuid::from_u128(1)).await.unwrap());
    assert!(!db.delete_dead_letter(&tenant, Uuid::from_u128(1)).await.unwrap());
}

on_every_database!(
    opening_twice_migrates_once_and_a_newer_schema_is_refused,
    a_dropped_transaction_writes_nothing,
    a_lease_has_one_holder_at_a_time,
    dead_letters_are_kept_by_every_service,
);
