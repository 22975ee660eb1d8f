//! Hooks: definitions, the queue of occasions, the log of runs.

use std::{sync::Arc, time::Duration};

use base::{ExecutionId, Tenant, Timestamp};
use store::{
    Database, DatabaseOptions, Journal,
    hooks::{
        Claim, Claimant, HookError, HookFilter, HookRow, HookStore, NO_PARTITION, RequestRow, RunFilter,
        RunRow,
    },
    journal::ShardPos,
};
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(60);

async fn open(database: &Database) -> (HookStore, Arc<dyn Journal>) {
    let (journal, _) = database.open_journal(&DatabaseOptions::default()).await.unwrap();
    (HookStore::new(journal.tables()), journal)
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn hook(n: u128, name: &str) -> HookRow {
    HookRow {
        tenant: Tenant::default(),
        hook_id: Uuid::from_u128(n),
        name: name.into(),
        trigger: "pre_task".into(),
        command: "/bin/cat".into(),
        args: vec!["-".into(), "ü".into()],
        always_run: true,
        timeout_ms: 30_000,
        enabled: true,
        priority: -3,
        on_failure: Some("warn".into()),
        condition: "task.id == 'a'".into(),
        revision: 1,
        created_at: at(1),
        updated_at: at(1),
    }
}

fn request(n: u128, ms: i64) -> RequestRow {
    RequestRow {
        tenant: Tenant::default(),
        request_id: Uuid::from_u128(n),
        partition: 3,
        trigger: "post_task".into(),
        execution_id: Some(ExecutionId::new(Uuid::from_u128(77))),
        task_id: Some("a".into()),
        item: Some(2),
        hooks: vec![Uuid::from_u128(1), Uuid::from_u128(2)],
        document: "{\"a\": 1}".into(),
        requested_at: at(ms),
    }
}

fn run(n: u128, request: u128, ms: i64) -> RunRow {
    RunRow {
        tenant: Tenant::default(),
        run_id: Uuid::from_u128(n),
        request_id: Uuid::from_u128(request),
        hook_id: Uuid::from_u128(1),
        hook_name: "one".into(),
        trigger: "post_task".into(),
        action: "command".into(),
        execution_id: Some(ExecutionId::new(Uuid::from_u128(77))),
        task_id: None,
        item: None,
        state: "completed".into(),
        decision: "allow".into(),
        message: String::new(),
        settings: "{}".into(),
        output: "out".into(),
        started_at: at(ms),
        finished_at: at(ms + 1),
    }
}

fn me(incarnation: u64) -> Claimant {
    Claimant { member: "a".into(), incarnation }
}

async fn a_hook_reads_back_as_written_and_changes_by_revision(database: Database) {
    let (store, _journal) = open(&database).await;
    let tenant = Tenant::default();
    let first = hook(1, "one");
    store.put_hook(&first, 2).await.unwrap();
    store.put_hook(&first, 2).await.unwrap();
    for key in [first.hook_id.to_string(), "one".into()] {
        assert_eq!(store.get_hook(&tenant, &key).await.unwrap(), Some(first.clone()));
    }
    let before = store.hooks_revision().await.unwrap();
    let change = HookRow { enabled: false, on_failure: None, updated_at: at(9), ..first.clone() };
    let stored =
        store.replace_hook(&HookRow { created_at: at(99), ..change.clone() }, Some(1)).await.unwrap();
    assert_eq!(stored, HookRow { revision: 2, ..change.clone() });
    assert!(store.hooks_revision().await.unwrap() > before);
    assert!(matches!(store.replace_hook(&change, Some(1)).await, Err(HookError::Changed(2))));
    assert!(matches!(store.delete_hook(&tenant, first.hook_id, Some(1)).await, Err(HookError::Changed(2))));
    assert!(matches!(store.replace_hook(&hook(9, "x"), None).await, Err(HookError::NotFound)));
    assert!(matches!(store.put_hook(&first, 2).await, Err(HookError::Changed(2))));
    store.delete_hook(&tenant, first.hook_id, None).await.unwrap();
    assert_eq!(store.get_hook(&tenant, "one").await.unwrap(), None);
    assert!(matches!(store.delete_hook(&tenant, first.hook_id, None).await, Err(HookError::NotFound)));
}

async fn names_are_unique_within_a_tenant_and_hooks_are_bounded(database: Database) {
    let (store, _journal) = open(&database).await;
    store.put_hook(&hook(1, "one"), 2).await.unwrap();
    assert!(matches!(store.put_hook(&hook(2, "one"), 2).await, Err(HookError::NameTaken(_))));
    let foreign = HookRow { tenant: Tenant::new("acme").unwrap(), ..hook(3, "one") };
    store.put_hook(&foreign, 2).await.unwrap();
    store.put_hook(&hook(2, "two"), 2).await.unwrap();
    assert!(matches!(store.put_hook(&hook(4, "three"), 2).await, Err(HookError::Full(2))));
    let renamed = HookRow { name: "one".into(), ..hook(2, "two") };
    assert!(matches!(store.replace_hook(&renamed, None).await, Err(HookError::NameTaken(_))));
    assert_eq!(store.get_hook(&foreign.tenant, "one").await.unwrap().unwrap().hook_id, foreign.hook_id);
}

async fn hooks_are_listed_by_name_in_pages(database: Database) {
    let (store, _journal) = open(&database).await;
    for (n, name) in ["d", "a", "c", "b1", "b2"].into_iter().enumerate() {
        let row = HookRow { enabled: name != "c", ..hook(n as u128 + 1, name) };
        store.put_hook(&row, 100).await.unwrap();
    }
    let other = HookRow { trigger: "post_task".into(), ..hook(20, "z") };
    store.put_hook(&other, 100).await.unwrap();
    let names = async |filter: HookFilter, after: Option<&str>, limit| {
        let rows = store.list_hooks(&filter, after, limit).await.unwrap();
        rows.into_iter().map(|row| row.name).collect::<Vec<_>>()
    };
    assert_eq!(names(HookFilter::default(), None, 2).await, ["a", "b1"]);
    assert_eq!(names(HookFilter::default(), Some("b1"), 2).await, ["b2", "c"]);
    let by = |trigger: &str| HookFilter { trigger: Some(trigger.into()), ..HookFilter::default() };
    assert_eq!(names(by("post_task"), None, 9).await, ["z"]);
    assert_eq!(names(HookFilter { enabled: Some(false), ..HookFilter::default() }, None, 9).await, ["c"]);
    assert_eq!(names(HookFilter { enabled: Some(true), ..by("pre_task") }, None, 9).await.len(), 4);
    let prefix = HookFilter { name_prefix: Some("b".into()), ..HookFilter::default() };
    assert_eq!(names(prefix, None, 9).await, ["b1", "b2"]);
    assert_eq!(store.enabled_hooks().await.unwrap().len(), 5);
}

async fn an_occasion_that_is_found_twice_is_one_request(database: Database) {
    let (store, journal) = open(&database).await;
    let place = |pos| [ShardPos { shard: 4, incarnation: 1, pos }];
    store.put_requests(&[request(1, 10), request(2, 20)], "hooks", "c", &place(7)).await.unwrap();
    let again = RequestRow { document: "{}".into(), ..request(1, 99) };
    store.put_requests(&[again], "hooks", "c", &place(8)).await.unwrap();
    let read = journal.read_positions("hooks", "c").await.unwrap();
    assert_eq!(read.iter().map(|p| (p.shard, p.pos)).collect::<Vec<_>>(), [(4, 8)]);
    let tenant = Tenant::default();
    let claimed = store.claim(&tenant, Uuid::from_u128(1), &me(1), LEASE).await.unwrap();
    assert_eq!(claimed, Claim::Yours(Box::new(request(1, 10)), vec![]));
}

async fn one_replica_at_a_time_runs_a_request_and_the_next_sees_what_ended(database: Database) {
    let (store, _journal) = open(&database).await;
    let (tenant, id) = (Tenant::default(), Uuid::from_u128(1));
    let other = Claimant { member: "b".into(), incarnation: 5 };
    assert_eq!(store.claim(&tenant, id, &me(1), LEASE).await.unwrap(), Claim::Gone);
    let claimed = store.request_and_claim(&request(1, 10), &me(1), LEASE).await.unwrap();
    assert!(matches!(claimed, Claim::Yours(..)));
    assert_eq!(store.claim(&tenant, id, &other, LEASE).await.unwrap(), Claim::Busy);
    assert_eq!(store.claim(&tenant, id, &me(1), LEASE).await.unwrap(), Claim::Busy);
    store.put_run(&run(11, 1, 10)).await.unwrap();
    store.put_run(&RunRow { output: "again".into(), ..run(11, 1, 99) }).await.unwrap();
    // The same replica after a restart need not wait for its own lease.
    let claimed = store.claim(&tenant, id, &me(2), LEASE).await.unwrap();
    assert_eq!(claimed, Claim::Yours(Box::new(request(1, 10)), vec![run(11, 1, 10)]));
    assert!(!store.extend(&tenant, id, &me(1), LEASE).await.unwrap());
    assert!(!store.finish(&tenant, id, &me(1), "{}", at(50)).await.unwrap());
    // A lease that has run out frees it for anybody.
    assert!(store.extend(&tenant, id, &me(2), Duration::ZERO).await.unwrap());
    assert!(matches!(store.claim(&tenant, id, &other, LEASE).await.unwrap(), Claim::Yours(..)));
    assert!(store.finish(&tenant, id, &other, "{\"v\":1}", at(50)).await.unwrap());
    assert_eq!(store.claim(&tenant, id, &me(3), LEASE).await.unwrap(), Claim::Done("{\"v\":1}".into()));
}

async fn what_nobody_runs_is_due(database: Database) {
    let (store, _journal) = open(&database).await;
    let rows =
        [request(1, 30), request(2, 10), request(3, 20), RequestRow { partition: 4, ..request(4, 10) }];
    store.put_requests(&rows, "hooks", "c", &[]).await.unwrap();
    let due = async |by: Claimant, before| {
        let found = store.due_requests(3, &by, at(before), 10).await.unwrap();
        found.into_iter().map(|(_, id, _)| id.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(due(me(1), 100).await, [2, 3, 1]);
    assert_eq!(due(me(1), 20).await, [2, 3]);
    let tenant = Tenant::default();
    store.claim(&tenant, Uuid::from_u128(2), &me(1), LEASE).await.unwrap();
    assert_eq!(due(me(1), 100).await, [3, 1]);
    assert_eq!(due(me(2), 100).await, [2, 3, 1], "its own of an earlier life");
    store.claim(&tenant, Uuid::from_u128(3), &me(1), LEASE).await.unwrap();
    store.finish(&tenant, Uuid::from_u128(3), &me(1), "{}", at(40)).await.unwrap();
    assert_eq!(due(me(1), 100).await, [1]);
}

async fn runs_are_listed_newest_first_by_hook_execution_and_time(database: Database) {
    let (store, _journal) = open(&database).await;
    for (n, ms) in [(1, 10), (2, 20), (3, 20), (4, 30)] {
        let mut row = run(n, 1, ms);
        if n == 4 {
            row.hook_id = Uuid::from_u128(9);
            row.execution_id = None;
            row.state = "failed".into();
            row.trigger = "pre_task".into();
        }
        store.put_run(&row).await.unwrap();
    }
    let ids = async |filter: RunFilter, before, limit| {
        let rows = store.list_runs(&filter, before, limit).await.unwrap();
        rows.into_iter().map(|row| row.run_id.as_u128()).collect::<Vec<_>>()
    };
    let any = RunFilter::default;
    assert_eq!(ids(any(), None, 2).await, [4, 3]);
    assert_eq!(ids(any(), Some((at(20), Uuid::from_u128(3))), 9).await, [2, 1]);
    assert_eq!(ids(RunFilter { hook: Some(Uuid::from_u128(9)), ..any() }, None, 9).await, [4]);
    let execution = Some(ExecutionId::new(Uuid::from_u128(77)));
    assert_eq!(ids(RunFilter { execution, ..any() }, None, 9).await, [3, 2, 1]);
    assert_eq!(ids(RunFilter { state: Some("failed".into()), ..any() }, None, 9).await, [4]);
    assert_eq!(ids(RunFilter { trigger: Some("pre_task".into()), ..any() }, None, 9).await, [4]);
    let between = RunFilter { since: Some(at(20)), until: Some(at(30)), ..any() };
    assert_eq!(ids(between, None, 9).await, [3, 2]);
    assert_eq!(store.get_run(&Tenant::default(), Uuid::from_u128(1)).await.unwrap(), Some(run(1, 1, 10)));
    assert_eq!(store.get_run(&Tenant::new("acme").unwrap(), Uuid::from_u128(1)).await.unwrap(), None);
}

async fn old_runs_and_finished_requests_go_and_open_requests_stay(database: Database) {
    let (store, _journal) = open(&database).await;
    let tenant = Tenant::default();
    store.put_requests(&[request(1, 10), request(2, 10), request(3, 10)], "hooks", "c", &[]).await.unwrap();
    for (id, ended) in [(1, 100), (2, 200)] {
        store.claim(&tenant, Uuid::from_u128(id), &me(1), LEASE).await.unwrap();
        store.finish(&tenant, Uuid::from_u128(id), &me(1), "{}", at(ended)).await.unwrap();
        store.put_run(&run(id + 10, id, ended - 1)).await.unwrap();
    }
    let held = RequestRow { partition: NO_PARTITION, ..request(4, 10) };
    store.put_requests(&[held], "hooks", "c", &[]).await.unwrap();
    assert_eq!(store.sweep_hooks(at(150), 100).await.unwrap(), 3);
    assert_eq!(store.sweep_hooks(at(150), 100).await.unwrap(), 0);
    assert_eq!(store.claim(&tenant, Uuid::from_u128(1), &me(1), LEASE).await.unwrap(), Claim::Gone);
    assert!(matches!(store.claim(&tenant, Uuid::from_u128(2), &me(1), LEASE).await.unwrap(), Claim::Done(_)));
    assert!(matches!(
        store.claim(&tenant, Uuid::from_u128(3), &me(1), LEASE).await.unwrap(),
        Claim::Yours(..)
    ));
    assert_eq!(store.list_runs(&RunFilter::default(), None, 9).await.unwrap().len(), 1);
}

on_every_database!(
    a_hook_reads_back_as_written_and_changes_by_revision,
    names_are_unique_within_a_tenant_and_hooks_are_bounded,
    hooks_are_listed_by_name_in_pages,
    an_occasion_that_is_found_twice_is_one_request,
    one_replica_at_a_time_runs_a_request_and_the_next_sees_what_ended,
    what_nobody_runs_is_due,
    runs_are_listed_newest_first_by_hook_execution_and_time,
    old_runs_and_finished_requests_go_and_open_requests_stay,
);
