//! Rows of PostgreSQL as the journal reads them.

use sqlx::{Column as _, Error, Result, Row as _, TypeInfo as _, postgres::PgRow};
use uuid::Uuid;

use crate::journal::{
    MemberRow,
    columns::{Columns, member_id, number, time},
};

impl Columns for PgRow {
    type Error = Error;

    fn int(&self, column: usize) -> Result<Option<i64>> {
        match self.try_column(column)?.type_info().name() {
            "INT2" => Ok(self.try_get::<Option<i16>, _>(column)?.map(i64::from)),
            "INT4" => Ok(self.try_get::<Option<i32>, _>(column)?.map(i64::from)),
            _ => self.try_get(column),
        }
    }
    fn text(&self, column: usize) -> Result<Option<&str>> {
        self.try_get(column)
    }
    fn bytes(&self, column: usize) -> Result<Option<&[u8]>> {
        self.try_get(column)
    }
    fn uuid(&self, column: usize) -> Result<Uuid> {
        self.try_get(column)
    }
    fn bad(column: usize, why: String) -> Error {
        Error::Decode(format!("column {column}: {why}").into())
    }
}

/// id, incarnation, address, expires_at, alive, reads_up_to, region, cluster
pub(super) fn member(row: &PgRow) -> Result<MemberRow> {
    Ok(MemberRow {
        id: member_id(row, 0)?,
        incarnation: number(row, 1)?,
        address: row.try_get(2)?,
        expires_at: time(row, 3)?,
        alive: row.try_get(4)?,
        reads_up_to: number(row, 5)?,
        region: row.try_get(6)?,
        cluster: row.try_get(7)?,
    })
}
