//! The executor's tables beside the journal: SQL written once, over the journal's own connections.
//!
//! On SQLite everything is written by the journal's writer thread, so its file keeps one writer. SQL is PostgreSQL's with
//! `$1` placeholders, each place at most once in the order of its number or repeated; the casts `::text`, `::jsonb`, `::bigint` and
//! `::uuid` are cut out for SQLite. Numbers are 64 bits wide.

mod row;

use std::sync::Arc;

use rusqlite::{Transaction, params_from_iter, types::Value as Sql};
use sqlx::{AssertSqlSafe, PgPool, Postgres, postgres::PgArguments, query::Query};

use crate::{
    db::Value,
    journal::Result,
    postgres::link::{classify, retrying},
    sqlite::{Readers, Writer, classify as classify_sqlite},
};

pub(crate) use row::Cells;

/// Tables of the executor's schema. Cheap to clone; usable until the journal is closed.
#[derive(Clone, Debug)]
pub struct Tables(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Sqlite { writer: Arc<Writer>, readers: Readers },
    Postgres(PgPool),
}

/// One statement with its values.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    pub(crate) fn new(sql: impl Into<String>, values: Vec<Value>) -> Self {
        Self { sql: sql.into(), values }
    }
}

impl Tables {
    pub(crate) fn sqlite(writer: Arc<Writer>, readers: Readers) -> Self {
        Self(Inner::Sqlite { writer, readers })
    }
    pub(crate) fn postgres(pool: PgPool) -> Self {
        Self(Inner::Postgres(pool))
    }
    /// The pool, on PostgreSQL.
    pub(crate) fn pool(&self) -> Option<&PgPool> {
        match &self.0 {
            Inner::Sqlite { .. } => None,
            Inner::Postgres(pool) => Some(pool),
        }
    }

    /// Rows of one query.
    pub(crate) async fn read(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Cells>> {
        match &self.0 {
            Inner::Sqlite { readers, .. } => {
                let sql = sqlite_sql(sql);
                readers
                    .read(move |conn| {
                        let run = || {
                            let mut query = conn.prepare_cached(&sql)?;
                            let rows = query.query_map(params_from_iter(bound(&values)), Cells::of_sqlite)?;
                            rows.collect::<rusqlite::Result<Vec<_>>>()
                        };
                        run().map_err(classify_sqlite)
                    })
                    .await
            }
            Inner::Postgres(pool) => {
                let values = &values;
                let rows =
                    retrying(pool, |pool| async move { query(sql, values).fetch_all(&pool).await }).await?;
                rows.iter().map(Cells::of_postgres).collect()
            }
        }
    }

    /// One write, its own transaction; gives what its RETURNING says. On PostgreSQL it is one autocommit statement that
    /// may be sent again when its connection was lost: only writes that are safe to repeat.
    pub(crate) async fn write(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Cells>> {
        match &self.0 {
            Inner::Sqlite { .. } => {
                let mut done = self.write_all(vec![Statement::new(sql, values)]).await?;
                Ok(done.pop().unwrap_or_default())
            }
            Inner::Postgres(_) => self.read(sql, values).await,
        }
    }

    /// All statements in one transaction, or none; gives what the RETURNING of each says. A lost connection leaves open
    /// which: only what is safe to repeat.
    pub(crate) async fn write_all(&self, statements: Vec<Statement>) -> Result<Vec<Vec<Cells>>> {
        match &self.0 {
            Inner::Sqlite { writer, .. } => {
                writer
                    .write(move |tx| {
                        statements
                            .iter()
                            .map(|s| run(tx, s))
                            .collect::<rusqlite::Result<_>>()
                            .map_err(classify_sqlite)
                    })
                    .await
            }
            Inner::Postgres(pool) => {
                let mut tx = retrying(pool, |pool| async move { pool.begin().await }).await?;
                let mut done = Vec::with_capacity(statements.len());
                for Statement { sql, values } in &statements {
                    let rows = query(sql, values).fetch_all(&mut *tx).await.map_err(classify)?;
                    done.push(rows.iter().map(Cells::of_postgres).collect::<Result<_>>()?);
                }
                tx.commit().await.map_err(classify)?;
                Ok(done)
            }
        }
    }
}

fn query<'q>(sql: &str, values: &'q [Value]) -> Query<'q, Postgres, PgArguments> {
    crate::db::bind_postgres(sqlx::query(AssertSqlSafe(sql.to_owned())), values)
}

fn run(tx: &Transaction<'_>, statement: &Statement) -> rusqlite::Result<Vec<Cells>> {
    let mut prepared = tx.prepare_cached(&sqlite_sql(&statement.sql))?;
    let values = params_from_iter(bound(&statement.values));
    if prepared.column_count() == 0 {
        prepared.execute(values)?;
        return Ok(Vec::new());
    }
    prepared.query_map(values, Cells::of_sqlite)?.collect()
}

fn bound(values: &[Value]) -> impl Iterator<Item = Sql> {
    values.iter().map(|value| match value {
        Value::Text(text) => text.clone().map_or(Sql::Null, Sql::Text),
        Value::Int(number) => number.map_or(Sql::Null, Sql::Integer),
        Value::Id(id) => id.map_or(Sql::Null, |id| Sql::Blob(id.as_bytes().to_vec())),
        Value::Bytes(bytes) => bytes.clone().map_or(Sql::Null, Sql::Blob),
    })
}

/// PostgreSQL's text as SQLite reads it.
fn sqlite_sql(sql: &str) -> String {
    let mut text = sql.replace('$', "?");
    for cast in ["::text", "::bigint", "::uuid", "::jsonb"] {
        text = text.replace(cast, "");
    }
    text
}

/// Adds the shards to `values` and gives their places, for `IN (…)`.
pub(crate) fn places(shards: &[u16], values: &mut Vec<Value>) -> String {
    let place = |shard: &u16| {
        values.push(u32::from(*shard).into());
        format!("${}", values.len())
    };
    shards.iter().map(place).collect::<Vec<_>>().join(", ")
}
