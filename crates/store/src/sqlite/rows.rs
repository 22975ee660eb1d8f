//! Rows of SQLite as the journal reads them.

use base::Timestamp;
use rusqlite::{
    Error, Result, Row,
    types::{FromSqlError, Type},
};
use uuid::Uuid;

use crate::journal::{
    MemberRow,
    columns::{Columns, member_id, number, time},
};

fn unlike(column: usize, kind: Type, why: FromSqlError) -> Error {
    Error::FromSqlConversionFailure(column, kind, Box::new(why))
}

impl Columns for Row<'_> {
    type Error = Error;

    fn int(&self, column: usize) -> Result<Option<i64>> {
        self.get_ref(column)?.as_i64_or_null().map_err(|why| unlike(column, Type::Integer, why))
    }
    fn text(&self, column: usize) -> Result<Option<&str>> {
        self.get_ref(column)?.as_str_or_null().map_err(|why| unlike(column, Type::Text, why))
    }
    fn bytes(&self, column: usize) -> Result<Option<&[u8]>> {
        self.get_ref(column)?.as_blob_or_null().map_err(|why| unlike(column, Type::Blob, why))
    }
    fn uuid(&self, column: usize) -> Result<Uuid> {
        let bytes = self.get_ref(column)?.as_blob().map_err(|why| unlike(column, Type::Blob, why))?;
        Uuid::from_slice(bytes)
            .map_err(|why| Error::FromSqlConversionFailure(column, Type::Blob, Box::new(why)))
    }
    fn bad(column: usize, why: String) -> Error {
        Error::FromSqlConversionFailure(column, Type::Text, why.into())
    }
}

/// id, incarnation, address, expires_at, reads_up_to, region, cluster
pub(crate) fn member(row: &Row<'_>, now: Timestamp) -> Result<MemberRow> {
    let expires_at = time(row, 3)?;
    Ok(MemberRow {
        id: member_id(row, 0)?,
        incarnation: number(row, 1)?,
        address: row.get(2)?,
        expires_at,
        alive: expires_at > now,
        reads_up_to: number(row, 4)?,
        region: row.get(5)?,
        cluster: row.get(6)?,
    })
}
