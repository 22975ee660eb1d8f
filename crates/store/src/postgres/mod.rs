//! The journal on PostgreSQL: a few committers with a connection each, and a pool for everything else.
//!
//! A group is one autocommit statement, never BEGIN … COMMIT: a process that is stopped in between would hold its locks.

mod committer;
mod cuts;
mod executions;
mod fences;
pub(crate) mod link;
mod log;
mod mail;
mod members;
mod rows;
mod statement;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    error::{OpenError, StoreError},
    journal::{Group, Journal, Outcome, Result, Swept},
    migrate,
    tables::Tables,
};
use committer::{Bounds, Committer, Job};
use fences::Fences;
use link::{Link, retrying};

/// Settings of [`PostgresJournal`].
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. Tables lie in the schema `executor`.
    pub url: String,
    /// Committers, 1 to 4, each with a connection of its own.
    pub committers: usize,
    /// Connections for reads and everything else.
    pub connections: u32,
    /// How long a read waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a committer waits for the server's answer before it takes the connection for lost.
    pub commit_timeout: Duration,
    /// Groups that may wait for one committer; more wait outside.
    pub queue: usize,
    /// Items that one statement takes. Not a limit of a group.
    pub batch_items: usize,
    /// Body bytes that one statement takes. Not a limit of a group.
    pub batch_bytes: usize,
    /// Runs even with `fsync=off` or `synchronous_commit=off`: for tests that may lose what they wrote.
    pub allow_unsafe_durability: bool,
}

impl PostgresOptions {
    /// Defaults: 2 committers, 8 connections, 5 s to get one, 10 s for a commit, a queue of 1,024 groups, statements of
    /// about 2,048 items or 8 MiB, safe durability only.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            committers: 2,
            connections: 8,
            acquire_timeout: Duration::from_secs(5),
            commit_timeout: Duration::from_secs(10),
            queue: 1024,
            batch_items: 2048,
            batch_bytes: 8 << 20,
            allow_unsafe_durability: false,
        }
    }
}

/// The journal in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresJournal {
    pool: PgPool,
    /// Empty once closed.
    committers: Mutex<Vec<mpsc::Sender<Job>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    closing: watch::Sender<bool>,
    commit_timeout: Duration,
    warnings: Vec<String>,
}

impl PostgresJournal {
    /// Connects, checks the server's durability and brings the schema up to date.
    pub async fn open(options: &PostgresOptions) -> std::result::Result<Self, OpenError> {
        let link = Link::new(&options.url, migrate::EXECUTOR.name)?;
        let failed = |err: sqlx::Error| OpenError::Failed { what: link.server(), why: err.to_string() };
        let mut conn = link.connect().await.map_err(failed)?;
        let warnings = check_durability(&mut conn, options.allow_unsafe_durability, &link).await?;
        migrate::migrate_postgres(&mut conn, &migrate::EXECUTOR).await?;
        conn.close().await.map_err(failed)?;

        let (mut committers, mut tasks) = (Vec::new(), Vec::new());
        let bounds = Bounds {
            items: options.batch_items,
            bytes: options.batch_bytes,
            patience: options.commit_timeout,
        };
        let fences = Arc::new(Fences::default());
        let (closing, closed) = watch::channel(false);
        for _ in 0..options.committers.clamp(1, 4) {
            let conn = Some(link.committer().await.map_err(failed)?);
            let (jobs, waiting) = mpsc::channel(options.queue.max(1));
            let committer = Committer {
                link: link.clone(),
                fences: fences.clone(),
                bounds,
                conn,
                closing: closed.clone(),
            };
            tasks.push(tokio::spawn(committer.run(waiting)));
            committers.push(jobs);
        }
        let pool = link.pool(options.connections, options.acquire_timeout);
        Ok(Self {
            pool,
            committers: Mutex::new(committers),
            tasks: Mutex::new(tasks),
            closing,
            commit_timeout: options.commit_timeout,
            warnings,
        })
    }

    /// What an operator should know about the server: to be logged at the start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(crate) async fn commit_group(&self, group: Group) -> Result<Vec<Outcome>> {
        let closed = || StoreError::Unavailable("the store is closed".into());
        let committer = {
            let all = self.committers.lock().unwrap_or_else(PoisonError::into_inner);
            let at = usize::from(group.shard).checked_rem(all.len()).ok_or_else(closed)?;
            all[at].clone()
        };
        let (answer, outcome) = oneshot::channel();
        committer.send(Job { group, answer }).await.map_err(|_| closed())?;
        drop(committer);
        outcome.await.map_err(|_| closed())?
    }
}

#[async_trait]
impl Journal for PostgresJournal {
    fn backend(&self) -> &'static str {
        "postgres"
    }

    fn tables(&self) -> Tables {
        Tables::postgres(self.pool.clone())
    }

    async fn ping(&self) -> Result<()> {
        retrying(&self.pool, |pool| async move { sqlx::query("SELECT 1").execute(&pool).await.map(drop) })
            .await
    }

    async fn sweep(&self, ended_before: Timestamp, limit: u32) -> Result<Swept> {
        log::sweep(&self.pool, ended_before, limit).await
    }

    async fn close(&self) {
        self.committers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let deadline = tokio::time::Instant::now() + self.commit_timeout;
        for mut task in tasks {
            let ended = match tokio::time::timeout_at(deadline, &mut task).await {
                Ok(ended) => ended,
                Err(_) => {
                    self.closing.send_replace(true);
                    task.await
                }
            };
            if ended.is_err() {
                tracing::error!("a committer ended by a panic");
            }
        }
        self.pool.close().await;
    }
}

async fn check_durability(
    conn: &mut PgConnection,
    allow_unsafe: bool,
    link: &Link,
) -> std::result::Result<Vec<String>, OpenError> {
    let failed = |err: sqlx::Error| OpenError::Failed { what: link.server(), why: err.to_string() };
    let (fsync, commit, standbys, waits_for): (String, String, i64, String) = sqlx::query_as(
        "SELECT current_setting('fsync'), current_setting('synchronous_commit'),
             (SELECT count(*) FROM pg_stat_replication), current_setting('synchronous_standby_names')",
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    let mut warnings = Vec::new();
    for (setting, value) in [("fsync", fsync), ("synchronous_commit", commit)] {
        if value != "off" {
            continue;
        }
        if !allow_unsafe {
            return Err(OpenError::UnsafeDurability { setting });
        }
        warnings.push(format!("PostgreSQL runs with {setting}=off: acknowledged work can be lost"));
    }
    if standbys > 0 && waits_for.is_empty() {
        warnings.push(
            "PostgreSQL has a standby but synchronous_standby_names is empty: a failover can lose acknowledged work"
                .to_owned(),
        );
    }
    Ok(warnings)
}

/// Incarnations are drawn from a bigint sequence: they fit.
pub(crate) fn i64_of(incarnation: u64) -> i64 {
    i64::try_from(incarnation).unwrap_or(i64::MAX)
}

pub(crate) fn shard_array(shards: &[u16]) -> Vec<i16> {
    shards.iter().filter_map(|shard| i16::try_from(*shard).ok()).collect()
}
