//! Reader connections: a few, each used by one query at a time on a blocking thread.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::classify;
use crate::error::StoreError;

#[derive(Debug, Clone)]
pub(crate) struct Readers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    pub(crate) fn new(path: &Path, connections: usize) -> Self {
        let (path, idle) = (path.to_path_buf(), Mutex::new(Vec::new()));
        Self(Arc::new(Inner { path, idle, permits: Semaphore::new(connections.max(1)) }))
    }

    /// Runs `query` on a reader connection. Waits while all are busy.
    pub(crate) async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let closed = |_| StoreError::Unavailable("the store is closed".into());
        let _permit = self.0.permits.acquire().await.map_err(closed)?;
        let inner = self.0.clone();
        let run = move || {
            let pooled = inner.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let conn = match pooled {
                Some(conn) => conn,
                None => open(&inner.path).map_err(classify)?,
            };
            let result = query(&conn);
            inner.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            result
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(result) => result,
            Err(err) => Err(StoreError::Unavailable(format!("a read was cut off: {err}"))),
        }
    }

    /// No read begins after this; connections are closed.
    pub(crate) fn close(&self) {
        self.0.permits.close();
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.execute_batch("PRAGMA cache_size = -4096; PRAGMA query_only = ON;")?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}
