//! Backends and builders.

use std::{any::Any, sync::Arc, time::Duration};

use base::{ExecutionId, Tenant, Timestamp, WorkflowId};
use bytes::Bytes;
use store::{
    Journal, PostgresJournal, PostgresOptions, SqliteJournal, SqliteOptions,
    journal::{
        ExecutionInsert, ExecutionUpdate, ExecutionWrite, Group, Item, Join, LogRow, MemberId, Membership,
        Outcome, Summary, Wake,
    },
};

/// A journal of its own with eight shards.
pub(crate) struct Kit {
    pub(crate) journal: Arc<dyn Journal>,
    /// What lives as long as the test: a folder, or the address of a database.
    pub(crate) _home: Box<dyn Any + Send + Sync>,
}

pub(crate) const SHARDS: u16 = 8;
pub(crate) const LEASE: Duration = Duration::from_secs(60);

pub(crate) fn sqlite() -> Kit {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(&SqliteOptions::new(folder.path().join("executor.db"))).unwrap();
    Kit { journal: Arc::new(journal), _home: Box::new(folder) }
}

pub(crate) async fn postgres() -> Kit {
    let url = tokio::task::spawn_blocking(testkit::fresh_database).await.unwrap();
    let journal = PostgresJournal::open(&PostgresOptions::new(&url)).await.unwrap();
    Kit { journal: Arc::new(journal), _home: Box::new(url) }
}

impl Kit {
    /// Joins (again) as `name` with a lease of a minute.
    pub(crate) async fn member(&self, name: &str) -> Membership {
        self.member_for(name, LEASE).await
    }

    /// Joins with a lease of any length; zero is over at once.
    pub(crate) async fn member_for(&self, name: &str, lease: Duration) -> Membership {
        self.journal.ensure_shards(SHARDS).await.unwrap();
        self.journal.join(join(name, lease)).await.unwrap()
    }

    pub(crate) async fn commit(&self, by: &Membership, items: Vec<Item>) -> Vec<Outcome> {
        self.journal.commit(group(by, items)).await.unwrap()
    }

    /// Number of rows in the log of shard 1.
    pub(crate) async fn rows(&self) -> usize {
        self.journal.read_shard_log(1, 0, 1000).await.unwrap().len()
    }
}

pub(crate) fn join(name: &str, lease: Duration) -> Join {
    Join {
        id: MemberId::new(name).unwrap(),
        address: format!("http://{name}:1"),
        lease,
        reads_up_to: 1,
        region: "here".into(),
        cluster: "one".into(),
    }
}

/// Everything is written to shard 1 unless a test says otherwise.
pub(crate) fn group(by: &Membership, items: Vec<Item>) -> Group {
    Group { by: by.clone(), shard: 1, items }
}

pub(crate) fn tenant() -> Tenant {
    Tenant::default()
}

pub(crate) fn id(n: u64) -> ExecutionId {
    ExecutionId::from_key(&tenant(), &n.to_string())
}

pub(crate) fn workflow() -> WorkflowId {
    WorkflowId::from_name(&tenant(), "research")
}

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

pub(crate) fn row(first_seq: i64, pos: i64) -> LogRow {
    let body = Bytes::from(format!("events from {first_seq} at {pos}"));
    LogRow { first_seq, count: 2, pos, schema: 1, body }
}

pub(crate) fn insert(started_ms: i64) -> ExecutionInsert {
    ExecutionInsert {
        workflow_id: workflow(),
        workflow_name: "research".into(),
        workflow_version: "1.0.0".into(),
        status: "executing".into(),
        current_phase: "research".into(),
        request_hash: Some([7; 32]),
        correlation_id: None,
        priority: 5,
        started_at: at(started_ms),
        wake: Wake::Hot,
        completed_at: None,
        summary: Summary::default(),
        exclusive: None,
    }
}

/// The first row of execution `n`, at position `n`, started at `n` ms.
pub(crate) fn start(n: u64) -> Item {
    start_with(n, insert(n as i64))
}

pub(crate) fn start_with(n: u64, insert: ExecutionInsert) -> Item {
    let mut item = Item::new(id(n), tenant());
    item.log = Some(row(1, n as i64));
    item.write = Some(ExecutionWrite::Insert(Box::new(insert)));
    item
}

/// A start that wants to be the only one under `key`.
pub(crate) fn exclusive(n: u64, key: &str) -> Item {
    start_with(n, ExecutionInsert { exclusive: Some(key.into()), ..insert(n as i64) })
}

pub(crate) fn update() -> ExecutionUpdate {
    ExecutionUpdate {
        status: "executing".into(),
        current_phase: None,
        wake: Wake::Hot,
        completed_at: None,
        summary: Summary::default(),
        snapshot: None,
        release_exclusive: None,
        stuck: None,
    }
}

/// The last row of execution `n`: it ends at `ended_ms`.
pub(crate) fn end(n: u64, pos: i64, ended_ms: i64) -> Item {
    let ended = ExecutionUpdate { status: "completed".into(), completed_at: Some(at(ended_ms)), ..update() };
    change(n, Some(row(3, pos)), ended)
}

pub(crate) fn change(n: u64, log: Option<LogRow>, update: ExecutionUpdate) -> Item {
    let mut item = Item::new(id(n), tenant());
    item.log = log;
    item.write = Some(ExecutionWrite::Update(Box::new(update)));
    item
}

/// A later row of execution `n`, without a change of its row in `executions`.
pub(crate) fn events(n: u64, first_seq: i64, pos: i64) -> Item {
    let mut item = Item::new(id(n), tenant());
    item.log = Some(row(first_seq, pos));
    item
}
