//! A row of either database, read by place.

use base::{Tenant, Timestamp};
use bytes::Bytes;
use rusqlite::types::ValueRef;
use sqlx::{Column as _, Row as _, TypeInfo as _, postgres::PgRow};
use uuid::Uuid;

use crate::{error::StoreError, journal::Result};

/// One value.
#[derive(Clone, Debug)]
enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Bytes),
    Id(Uuid),
}

/// The values of a row.
#[derive(Clone, Debug)]
pub(crate) struct Cells(Vec<Cell>);

impl Cells {
    pub(super) fn of_sqlite(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let columns = row.as_ref().column_count();
        (0..columns).map(|i| Ok(cell(row.get_ref(i)?))).collect::<rusqlite::Result<_>>().map(Self)
    }

    pub(crate) fn of_postgres(row: &PgRow) -> Result<Self> {
        let read = |i: usize, kind: &str| -> sqlx::Result<Cell> {
            Ok(match kind {
                "INT8" => row.try_get::<Option<i64>, _>(i)?.map_or(Cell::Null, Cell::Int),
                "INT4" => row.try_get::<Option<i32>, _>(i)?.map_or(Cell::Null, |n| Cell::Int(n.into())),
                "INT2" => row.try_get::<Option<i16>, _>(i)?.map_or(Cell::Null, |n| Cell::Int(n.into())),
                "UUID" => row.try_get::<Option<Uuid>, _>(i)?.map_or(Cell::Null, Cell::Id),
                "BYTEA" => {
                    let bytes = row.try_get::<Option<Vec<u8>>, _>(i)?;
                    bytes.map_or(Cell::Null, |b| Cell::Bytes(b.into()))
                }
                _ => row.try_get::<Option<String>, _>(i)?.map_or(Cell::Null, Cell::Text),
            })
        };
        let cells = row
            .columns()
            .iter()
            .enumerate()
            .map(|(i, column)| read(i, column.type_info().name()).map_err(|err| unreadable(i, err)));
        cells.collect::<Result<_>>().map(Self)
    }

    fn at(&self, column: usize) -> &Cell {
        self.0.get(column).unwrap_or(&Cell::Null)
    }

    pub(crate) fn is_null(&self, column: usize) -> bool {
        matches!(self.at(column), Cell::Null)
    }
    pub(crate) fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        match self.at(column) {
            Cell::Null => Ok(None),
            Cell::Int(n) => Ok(Some(*n)),
            _ => Err(unreadable(column, "not a number")),
        }
    }
    pub(crate) fn int(&self, column: usize) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(|| unreadable(column, "null"))
    }
    pub(crate) fn small(&self, column: usize) -> Result<u32> {
        u32::try_from(self.int(column)?).map_err(|err| unreadable(column, err))
    }
    pub(crate) fn unsigned(&self, column: usize) -> Result<u64> {
        u64::try_from(self.int(column)?).map_err(|err| unreadable(column, err))
    }
    pub(crate) fn shard(&self, column: usize) -> Result<u16> {
        u16::try_from(self.int(column)?).map_err(|err| unreadable(column, err))
    }
    pub(crate) fn signed(&self, column: usize) -> Result<i32> {
        i32::try_from(self.int(column)?).map_err(|err| unreadable(column, err))
    }
    pub(crate) fn time(&self, column: usize) -> Result<Timestamp> {
        self.int(column).map(Timestamp::from_micros)
    }
    pub(crate) fn opt_time(&self, column: usize) -> Result<Option<Timestamp>> {
        Ok(self.opt_int(column)?.map(Timestamp::from_micros))
    }
    pub(crate) fn opt_text(&self, column: usize) -> Result<Option<String>> {
        match self.at(column) {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text.clone())),
            _ => Err(unreadable(column, "not a text")),
        }
    }
    pub(crate) fn text(&self, column: usize) -> Result<String> {
        self.opt_text(column)?.ok_or_else(|| unreadable(column, "null"))
    }
    pub(crate) fn tenant(&self, column: usize) -> Result<Tenant> {
        Tenant::new(self.text(column)?).map_err(|err| unreadable(column, err))
    }
    pub(crate) fn bytes(&self, column: usize) -> Result<Bytes> {
        match self.at(column) {
            Cell::Bytes(bytes) => Ok(bytes.clone()),
            _ => Err(unreadable(column, "not bytes")),
        }
    }
    pub(crate) fn id(&self, column: usize) -> Result<Uuid> {
        match self.at(column) {
            Cell::Id(id) => Ok(*id),
            Cell::Bytes(bytes) => Uuid::from_slice(bytes).map_err(|err| unreadable(column, err)),
            _ => Err(unreadable(column, "not an id")),
        }
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(n) => Cell::Int(n),
        ValueRef::Real(n) => Cell::Text(n.to_string()),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Bytes(Bytes::copy_from_slice(bytes)),
    }
}

fn unreadable(column: usize, why: impl std::fmt::Display) -> StoreError {
    StoreError::Unreadable { table: "a query's result", why: format!("column {column}: {why}") }
}
