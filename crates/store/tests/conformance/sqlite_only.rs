//! What only concerns the file.

use store::{
    Journal, OpenError, SqliteJournal, SqliteOptions, StoreError,
    journal::{ExecutionFilter, Executions, Log, Members, Outcome, Swept},
    topics::{AskedFilter, AskedPlace, AskedStore},
};

use crate::kit::*;

fn options(folder: &tempfile::TempDir) -> SqliteOptions {
    SqliteOptions::new(folder.path().join("executor.db"))
}

#[tokio::test]
async fn a_second_opener_is_told_who_holds_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let first = SqliteJournal::open(&options(&folder)).unwrap();
    let refused = SqliteJournal::open(&options(&folder)).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    first.close().await;
    drop(first);
    SqliteJournal::open(&options(&folder)).unwrap();
}

#[tokio::test]
async fn everything_is_there_after_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(&options(&folder)).unwrap();
    journal.ensure_shards(SHARDS).await.unwrap();
    let first = journal.join(join("a", LEASE)).await.unwrap();
    journal.commit(group(&first, vec![start(1)])).await.unwrap();
    // No orderly close: dropping is what a crash leaves.
    drop(journal);
    let journal = SqliteJournal::open(&options(&folder)).unwrap();
    assert_eq!(journal.last_pos(1).await.unwrap(), 1);
    let second = journal.join(join("a", LEASE)).await.unwrap();
    assert!(second.incarnation > first.incarnation);
    assert_eq!(journal.commit(group(&second, vec![events(1, 3, 2)])).await.unwrap(), [Outcome::Committed]);
    assert_eq!(journal.sweep(at(1), 1).await.unwrap(), Swept::default());
    journal.ping().await.unwrap();
}

#[tokio::test]
async fn a_file_of_a_newer_build_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteJournal::open(&options(&folder)).unwrap());
    let newer = rusqlite::Connection::open(options(&folder).path).unwrap();
    newer.execute("INSERT INTO schema_migrations VALUES (99, 'later', 'x', 0)", ()).unwrap();
    let refused = SqliteJournal::open(&options(&folder)).unwrap_err();
    assert!(matches!(refused, OpenError::NewerSchema { found: 99, .. }), "{refused}");
}

#[tokio::test]
async fn a_missing_folder_and_a_foreign_file_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = SqliteOptions::new(folder.path().join("no/such/executor.db"));
    let refused = SqliteJournal::open(&nowhere).unwrap_err().to_string();
    assert!(refused.contains("no/such/executor.db"), "{refused}");
    std::fs::write(options(&folder).path, "this is a text, not a database, and long enough").unwrap();
    let refused = SqliteJournal::open(&options(&folder)).unwrap_err().to_string();
    assert!(refused.contains("not a database"), "{refused}");
}

#[tokio::test]
async fn a_failing_disk_ends_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let small = SqliteOptions { file_bytes_max: Some(1 << 20), ..options(&folder) };
    let journal = SqliteJournal::open(&small).unwrap();
    journal.ensure_shards(SHARDS).await.unwrap();
    let me = journal.join(join("a", LEASE)).await.unwrap();
    let mut failed = None;
    for n in 1..200u64 {
        let mut item = start(n);
        let big = bytes::Bytes::from(vec![0u8; 100_000]);
        item.log = Some(store::journal::LogRow { body: big, ..row(1, n as i64) });
        if let Err(err) = journal.commit(group(&me, vec![item])).await {
            failed = Some(err);
            break;
        }
    }
    assert!(matches!(failed, Some(StoreError::Fatal(_))), "{failed:?}");
    // Nothing is accepted after that, not even what would fit.
    assert!(matches!(journal.ping().await, Err(StoreError::Fatal(_))));
    assert!(matches!(journal.commit(group(&me, vec![events(1, 9, 999)])).await, Err(StoreError::Fatal(_))));
}

#[tokio::test]
async fn lists_statuses_and_timers_walk_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(&options(&folder)).unwrap();
    let all = ExecutionFilter::default;
    let after = Some(store::journal::Cursor { started_at: at(1), execution_id: id(1) });
    let status = vec!["executing".to_owned()];
    for (filter, index) in [
        (all(), "executions_started"),
        (ExecutionFilter { statuses: status, ..all() }, "executions_status"),
        (ExecutionFilter { workflow_id: Some(workflow()), ..all() }, "executions_workflow"),
        (ExecutionFilter { correlation_id: Some("order-1".into()), ..all() }, "executions_correlation"),
        (ExecutionFilter { stuck: vec!["signal".into()], ..all() }, "executions_stuck"),
    ] {
        let plan = journal.explain_list(&filter, after).await.unwrap().join("; ");
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
    let several =
        ExecutionFilter { statuses: vec!["paused".into(), "executing".into()], ..ExecutionFilter::default() };
    let plan = journal.explain_list(&several, None).await.unwrap().join("; ");
    assert_eq!(plan.matches("executions_status").count(), 2, "{plan}");
    let several = ExecutionFilter { stuck: vec!["signal".into(), "event".into()], ..all() };
    let plan = journal.explain_list(&several, after).await.unwrap().join("; ");
    assert_eq!(plan.matches("executions_stuck").count(), 2, "{plan}");
    let asked = AskedStore::new(journal.tables());
    let place = AskedPlace { since: at(1), execution_id: id(1), task: 0 };
    for after in [None, Some(place)] {
        let filter = AskedFilter { who: Some("ann".into()), ..AskedFilter::default() };
        let plan = asked.explain(&filter, after).await.unwrap().join("; ");
        assert!(plan.contains("waits_asked") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
    let plan = journal.explain_due().await.unwrap().join("; ");
    assert!(plan.contains("executions_open (shard=? AND wake_at<?)"), "{plan}");
    let plans = journal.explain_status().await.unwrap();
    assert_eq!(plans.len(), 2, "{plans:?}");
    assert!(
        plans.iter().all(|plan| plan.starts_with("SEARCH") && plan.contains("execution_id=?")),
        "{plans:?}"
    );
    assert!(journal.find_execution(id(1)).await.unwrap().is_none());
}
