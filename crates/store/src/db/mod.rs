//! A database for services with little traffic: SQL written once, for SQLite and for PostgreSQL.
//!
//! SQL is PostgreSQL's with `$1` placeholders; every place may be named more than once. For SQLite the casts `::jsonb`,
//! `::text`, `::bigint` and `::uuid` are cut out and `strpos` becomes `instr`. Documents are bound as text and cast
//! (`$3::jsonb`), and read as text (`definition::text`). Numbers are 64 bits wide in every table.

mod lease;
mod letters;
mod positions;
mod value;

use std::{path::Path, path::PathBuf, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, PgPool, Postgres, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    database::{Database, DatabaseOptions},
    error::{OpenError, StoreError},
    journal::Result,
    migrate::{self, Schema},
    postgres::link::{self, Link, retrying},
    sqlite::{FileLock, open_writer},
};
pub(crate) use value::bind_postgres;
pub use value::{Column, Row, Value};

/// How long SQLite waits for a lock of the file.
const BUSY: Duration = Duration::from_secs(5);

/// An open database with one service's schema. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Sqlite { writer: SqlitePool, readers: SqlitePool, _lock: Arc<FileLock> },
    Postgres(PgPool),
}

impl Db {
    /// Opens the database and brings `schema` up to date. On SQLite the file is `<folder>/<schema>.db`, held by a lock.
    pub async fn open(
        database: &Database,
        schema: &'static Schema,
        options: &DatabaseOptions,
    ) -> std::result::Result<Self, OpenError> {
        match database {
            Database::Folder(folder) => {
                open_sqlite(&folder.join(format!("{}.db", schema.name)), schema, options).await.map(Self)
            }
            Database::Postgres(url) => open_postgres(url, schema, options).await.map(Self),
        }
    }

    /// Whether this process alone writes to it: what it has read stays true until it writes itself.
    pub fn is_own(&self) -> bool {
        matches!(self.0, Inner::Sqlite { .. })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.read("SELECT 1", Vec::new()).await.map(drop)
    }

    /// Rows of one query. On PostgreSQL it is sent again when its connection turns out to be dead.
    pub async fn read(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>> {
        match &self.0 {
            Inner::Sqlite { readers, .. } => {
                let query = value::bind_sqlite(sqlx::query(AssertSqlSafe(sqlite_sql(sql))), &values);
                let rows = query.fetch_all(readers).await.map_err(sqlite_error)?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Inner::Postgres(pool) => {
                let values = &values;
                let rows = retrying(pool, |pool| async move {
                    let query = sqlx::query(AssertSqlSafe(sql.to_owned()));
                    value::bind_postgres(query, values).fetch_all(&pool).await
                })
                .await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// Begins a transaction that writes. Dropping it undoes it.
    pub async fn begin(&self) -> Result<Tx> {
        match &self.0 {
            Inner::Sqlite { writer, .. } => {
                // Taking the write lock at once: a read that turned into a write could not be repeated.
                writer.begin_with("BEGIN IMMEDIATE").await.map(Tx::Sqlite).map_err(sqlite_error)
            }
            Inner::Postgres(pool) => {
                retrying(pool, |pool| async move { pool.begin().await }).await.map(Tx::Postgres)
            }
        }
    }

    /// One write in a transaction of its own; gives the number of rows it touched.
    pub async fn write(&self, sql: &str, values: Vec<Value>) -> Result<u64> {
        let mut tx = self.begin().await?;
        let touched = tx.write(sql, values).await?;
        tx.commit().await?;
        Ok(touched)
    }

    /// Closes all connections; later calls are `Unavailable`.
    pub async fn close(&self) {
        match &self.0 {
            Inner::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Inner::Postgres(pool) => pool.close().await,
        }
    }
}

/// A transaction. What it read is not shown to change by others before it ends only where it locked: writers of the same
/// row wait for each other, on SQLite all writers do.
#[derive(Debug)]
pub enum Tx {
    /// On SQLite.
    Sqlite(Transaction<'static, Sqlite>),
    /// On PostgreSQL (read committed).
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    /// Rows of one query, or of a write with `RETURNING`.
    pub async fn read(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>> {
        match self {
            Self::Sqlite(tx) => {
                let query = value::bind_sqlite(sqlx::query(AssertSqlSafe(sqlite_sql(sql))), &values);
                let rows = query.fetch_all(&mut **tx).await.map_err(sqlite_error)?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(tx) => {
                let query = value::bind_postgres(sqlx::query(AssertSqlSafe(sql.to_owned())), &values);
                let rows = query.fetch_all(&mut **tx).await.map_err(link::classify)?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// One write; gives the number of rows it touched.
    pub async fn write(&mut self, sql: &str, values: Vec<Value>) -> Result<u64> {
        match self {
            Self::Sqlite(tx) => {
                let query = value::bind_sqlite(sqlx::query(AssertSqlSafe(sqlite_sql(sql))), &values);
                query.execute(&mut **tx).await.map(|done| done.rows_affected()).map_err(sqlite_error)
            }
            Self::Postgres(tx) => {
                let query = value::bind_postgres(sqlx::query(AssertSqlSafe(sql.to_owned())), &values);
                query.execute(&mut **tx).await.map(|done| done.rows_affected()).map_err(link::classify)
            }
        }
    }

    /// The database's clock, microseconds since 1970: the moment of the call, not of the transaction's begin.
    pub async fn now_us(&mut self) -> Result<i64> {
        let sql = match self {
            Self::Sqlite(_) => "SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
            Self::Postgres(_) => "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
        };
        self.read(sql, Vec::new()).await?.first().map_or(Ok(0), |row| row.get(0))
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// `Unavailable` when the connection is lost: it may have been committed all the same.
    pub async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await.map_err(sqlite_error),
            Self::Postgres(tx) => tx.commit().await.map_err(link::classify),
        }
    }
}

async fn open_sqlite(
    path: &Path,
    schema: &'static Schema,
    with: &DatabaseOptions,
) -> std::result::Result<Inner, OpenError> {
    let what = || path.display().to_string();
    let lock = Arc::new(FileLock::acquire(path)?);
    let file: PathBuf = path.to_path_buf();
    let prepare = move || {
        let failed = |err: rusqlite::Error| OpenError::Failed {
            what: file.display().to_string(),
            why: err.to_string(),
        };
        let mut conn = open_writer(&file).map_err(failed)?;
        migrate::migrate_sqlite(&mut conn, schema)
    };
    tokio::task::spawn_blocking(prepare)
        .await
        .map_err(|err| OpenError::Failed { what: what(), why: err.to_string() })??;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(false)
        .busy_timeout(BUSY)
        .optimize_on_close(false, None);
    let pool = |connections| {
        SqlitePoolOptions::new().max_connections(connections).acquire_timeout(with.acquire_timeout)
    };
    let readers = u32::try_from(with.readers.max(1)).unwrap_or(u32::MAX);
    let writer = pool(1).connect_lazy_with(options.clone());
    let readers = pool(readers).connect_lazy_with(options.pragma("query_only", "ON"));
    Ok(Inner::Sqlite { writer, readers, _lock: lock })
}

async fn open_postgres(
    url: &str,
    schema: &'static Schema,
    with: &DatabaseOptions,
) -> std::result::Result<Inner, OpenError> {
    let link = Link::new(url, schema.name)?;
    let mut conn = link
        .connect()
        .await
        .map_err(|err| OpenError::Failed { what: link.server(), why: err.to_string() })?;
    migrate::migrate_postgres(&mut conn, schema).await?;
    drop(conn);
    Ok(Inner::Postgres(link.pool(with.connections, with.acquire_timeout)))
}

/// PostgreSQL's text as SQLite reads it.
fn sqlite_sql(sql: &str) -> String {
    let mut text = sql.replace("strpos(", "instr(");
    for cast in ["::jsonb", "::text", "::bigint", "::uuid"] {
        text = text.replace(cast, "");
    }
    text
}

fn sqlite_error(err: sqlx::Error) -> StoreError {
    let sqlx::Error::Database(cause) = &err else {
        return match err {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                StoreError::Unavailable(err.to_string())
            }
            sqlx::Error::Io(_) => StoreError::Fatal(err.to_string()),
            _ => StoreError::Refused(err.to_string()),
        };
    };
    let code = cause.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0) & 0xff;
    match code {
        // Busy, locked.
        5 | 6 => StoreError::Unavailable(cause.to_string()),
        // Permission, memory, read-only, IO, corrupt, full, cannot open, protocol, not a database.
        3 | 7 | 8 | 10 | 11 | 13 | 14 | 15 | 26 => StoreError::Fatal(cause.to_string()),
        _ => StoreError::Refused(cause.to_string()),
    }
}
