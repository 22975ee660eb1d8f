//! Values in, rows out.

use base::{Tenant, Timestamp};
use sqlx::{
    Decode, Postgres, Sqlite, Type,
    postgres::{PgArguments, PgRow},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use uuid::Uuid;

use crate::{error::StoreError, journal::Result};

/// A value to bind. `None` is SQL's NULL of that type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, and documents (cast them: `$1::jsonb`).
    Text(Option<String>),
    /// A number.
    Int(Option<i64>),
    /// A UUID.
    Id(Option<Uuid>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}
impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}
impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}
impl From<&Tenant> for Value {
    fn from(tenant: &Tenant) -> Self {
        tenant.as_str().into()
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}
impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(Some(number.into()))
    }
}
impl From<u64> for Value {
    /// Numbers above 2^63 - 1 are cut to it.
    fn from(number: u64) -> Self {
        Self::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}
impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Self::Int(Some(at.micros()))
    }
}
impl From<Option<Timestamp>> for Value {
    fn from(at: Option<Timestamp>) -> Self {
        Self::Int(at.map(Timestamp::micros))
    }
}
impl From<Uuid> for Value {
    fn from(id: Uuid) -> Self {
        Self::Id(Some(id))
    }
}
impl From<Option<Uuid>> for Value {
    fn from(id: Option<Uuid>) -> Self {
        Self::Id(id)
    }
}
impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Some(bytes.to_vec()))
    }
}

pub(super) fn bind_sqlite<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    values: &'q [Value],
) -> Query<'q, Sqlite, SqliteArguments> {
    values.iter().fold(query, |query, value| match value {
        Value::Text(text) => query.bind(text.as_deref()),
        Value::Int(number) => query.bind(*number),
        Value::Id(id) => query.bind(*id),
        Value::Bytes(bytes) => query.bind(bytes.as_deref()),
    })
}

pub(crate) fn bind_postgres<'q>(
    query: Query<'q, Postgres, PgArguments>,
    values: &'q [Value],
) -> Query<'q, Postgres, PgArguments> {
    values.iter().fold(query, |query, value| match value {
        Value::Text(text) => query.bind(text.as_deref()),
        Value::Int(number) => query.bind(*number),
        Value::Id(id) => query.bind(*id),
        Value::Bytes(bytes) => query.bind(bytes.as_deref()),
    })
}

/// A row of either database.
pub enum Row {
    /// From SQLite.
    Sqlite(SqliteRow),
    /// From PostgreSQL.
    Postgres(PgRow),
}

/// What a column can be read as: `String`, `i64`, `Uuid`, `Vec<u8>`, `bool`, and options of them.
pub trait Column:
    for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}
impl<T> Column for T where
    T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

impl Row {
    /// Reads a column by its place, from 0.
    ///
    /// # Errors
    /// `Unreadable` when it holds something else.
    pub fn get<T: Column>(&self, column: usize) -> Result<T> {
        let read = match self {
            Self::Sqlite(row) => sqlx::Row::try_get(row, column),
            Self::Postgres(row) => sqlx::Row::try_get(row, column),
        };
        read.map_err(|err| unreadable(column, err))
    }

    /// Reads a number that is never negative.
    pub fn unsigned(&self, column: usize) -> Result<u64> {
        let number: i64 = self.get(column)?;
        u64::try_from(number).map_err(|err| unreadable(column, err))
    }

    /// Reads a number that fits 32 bits.
    pub fn small(&self, column: usize) -> Result<u32> {
        let number: i64 = self.get(column)?;
        u32::try_from(number).map_err(|err| unreadable(column, err))
    }

    /// Reads a time.
    pub fn time(&self, column: usize) -> Result<Timestamp> {
        self.get(column).map(Timestamp::from_micros)
    }

    /// Reads a tenant.
    pub fn tenant(&self, column: usize) -> Result<Tenant> {
        let text: String = self.get(column)?;
        Tenant::new(text).map_err(|err| unreadable(column, err))
    }
}

pub(crate) fn unreadable(column: usize, why: impl std::fmt::Display) -> StoreError {
    StoreError::Unreadable { table: "a query's result", why: format!("column {column}: {why}") }
}
