//! The journal on SQLite: one file, one writer, a few readers.
//!
//! WAL with `synchronous=FULL`: a commit is one fsync of the WAL. The writer thread joins all groups that wait.

mod commit;
mod cuts;
mod executions;
mod lock;
mod log;
mod mail;
mod members;
mod readers;
mod rows;
mod waits;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use base::Timestamp;
use rusqlite::{Connection, ErrorCode};

use crate::{
    error::{OpenError, StoreError},
    journal::{Journal, Result, Swept},
    migrate,
    tables::Tables,
};

pub(crate) use lock::FileLock;
pub(crate) use readers::Readers;
pub(crate) use writer::Writer;

/// Settings of [`SqliteJournal`].
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The database file; created when missing, its folder must exist.
    pub path: PathBuf,
    /// Reader connections.
    pub readers: usize,
    /// Groups that may wait for the writer; more wait outside.
    pub queue: usize,
    /// Items that one transaction takes before it is committed. Not a limit of a group.
    pub batch_items: usize,
    /// Body bytes that one transaction takes before it is committed. Not a limit of a group.
    pub batch_bytes: usize,
    /// Largest size of the database file in bytes; beyond it a write fails as on a full disk, which ends the process.
    /// `None` = as large as the disk.
    pub file_bytes_max: Option<u64>,
}

impl SqliteOptions {
    /// Defaults: 4 readers, a queue of 1,024 groups, transactions of about 4,096 items or 8 MiB.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            readers: 4,
            queue: 1024,
            batch_items: 4096,
            batch_bytes: 8 << 20,
            file_bytes_max: None,
        }
    }
}

/// The journal in one SQLite file.
#[derive(Debug)]
pub struct SqliteJournal {
    writer: Arc<writer::Writer>,
    readers: readers::Readers,
}

impl SqliteJournal {
    /// Locks the file, opens it and brings its schema up to date. Blocks for as long as a migration takes.
    pub fn open(options: &SqliteOptions) -> std::result::Result<Self, OpenError> {
        let lock = FileLock::acquire(&options.path)?;
        let what = || options.path.display().to_string();
        let mut conn = open_writer(&options.path)
            .map_err(|err| OpenError::Failed { what: what(), why: err.to_string() })?;
        migrate::migrate_sqlite(&mut conn, &migrate::EXECUTOR)?;
        if let Some(bytes) = options.file_bytes_max {
            let pages = i64::try_from(bytes / 4096).unwrap_or(i64::MAX);
            conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                .map_err(|err| OpenError::Failed { what: what(), why: err.to_string() })?;
        }
        let bounds = writer::Bounds { items: options.batch_items, bytes: options.batch_bytes };
        let writer = writer::Writer::start(conn, lock, options.queue, bounds)
            .map_err(|err| OpenError::Failed { what: "a thread".into(), why: err.to_string() })?;
        let readers = readers::Readers::new(&options.path, options.readers);
        Ok(Self { writer: Arc::new(writer), readers })
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    fn backend(&self) -> &'static str {
        "sqlite"
    }

    fn tables(&self) -> Tables {
        Tables::sqlite(self.writer.clone(), self.readers.clone())
    }

    async fn ping(&self) -> Result<()> {
        self.writer.write(|tx| tx.query_row("SELECT 1", (), |_| Ok(())).map_err(classify)).await
    }

    async fn sweep(&self, ended_before: Timestamp, limit: u32) -> Result<Swept> {
        self.writer.write(move |tx| log::sweep(tx, ended_before, limit).map_err(classify)).await
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close();
    }
}

pub(crate) fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    // Read the mode back: a file system that cannot do WAL must not silently get another durability.
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::ToSqlConversionFailure(
            format!("this file system cannot hold a WAL database (journal_mode stays {mode})").into(),
        ));
    }
    conn.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4000;",
    )?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Tells failures of the disk from refusals.
pub(crate) fn classify(err: rusqlite::Error) -> StoreError {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, FileLockingProtocolFailed,
        NotADatabase, OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure,
    };
    match err.sqlite_error_code() {
        Some(
            SystemIoFailure
            | DiskFull
            | DatabaseCorrupt
            | NotADatabase
            | CannotOpen
            | ReadOnly
            | PermissionDenied
            | FileLockingProtocolFailed
            | OutOfMemory,
        ) => StoreError::Fatal(err.to_string()),
        Some(DatabaseBusy | DatabaseLocked) => StoreError::Unavailable(err.to_string()),
        _ => StoreError::Refused(err.to_string()),
    }
}

/// Incarnations are drawn from a counter that starts at 1: they fit.
pub(crate) fn i64_of(incarnation: u64) -> i64 {
    i64::try_from(incarnation).unwrap_or(i64::MAX)
}
