//! The runner for SQLite. The caller holds the file's lock, so nobody else migrates.

use rusqlite::{Connection, Result};

use super::{Applied, Schema, checksum};
use crate::error::OpenError;

/// Brings the file up to date; running it again changes nothing.
pub(crate) fn migrate(conn: &mut Connection, schema: &Schema) -> std::result::Result<(), OpenError> {
    let failed = |err: rusqlite::Error| OpenError::Failed {
        what: format!("the {} schema", schema.name),
        why: err.to_string(),
    };
    let applied = applied(conn).map_err(failed)?;
    for migration in schema.missing(&applied, |m| m.sqlite)? {
        let tx = conn.transaction().map_err(failed)?;
        tx.execute_batch(migration.sqlite).map_err(failed)?;
        tx.execute(
            "INSERT INTO schema_migrations VALUES (?1, ?2, ?3, unixepoch())",
            (migration.version, migration.name, checksum(migration.sqlite)),
        )
        .map_err(failed)?;
        tx.commit().map_err(failed)?;
    }
    Ok(())
}

fn applied(conn: &Connection) -> Result<Vec<Applied>> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
            version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL
        ) STRICT",
    )?;
    let mut rows = conn.prepare("SELECT version, checksum FROM schema_migrations ORDER BY version")?;
    rows.query_map((), |row| Ok(Applied { version: row.get(0)?, checksum: row.get(1)? }))?.collect()
}
