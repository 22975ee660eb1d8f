//! Waits for events and approvals, written with the log.

use rusqlite::Transaction;

use crate::journal::{Item, WaitWrite};

const OPEN: &str =
    "INSERT INTO waits (tenant, execution_id, task, topic, key, since, asked) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (tenant, execution_id, task) DO UPDATE SET topic = excluded.topic, key = excluded.key,
    since = excluded.since, asked = excluded.asked";
const CLOSE: &str = "DELETE FROM waits WHERE tenant = ?1 AND execution_id = ?2 AND task = ?3";
const CLOSE_ALL: &str = "DELETE FROM waits WHERE tenant = ?1 AND execution_id = ?2";

/// Opens and closes the waits of an item.
pub(super) fn write(tx: &Transaction<'_>, item: &Item) -> rusqlite::Result<()> {
    let (tenant, id) = (item.tenant.as_str(), item.execution_id.as_bytes());
    for wait in &item.waits {
        match wait {
            WaitWrite::Open { task, topic, key, since } => {
                let asked = None::<&str>;
                tx.prepare_cached(OPEN)?.execute((tenant, id, task, topic, key, since.micros(), asked))?;
            }
            WaitWrite::Ask { task, since, asked } => {
                tx.prepare_cached(OPEN)?.execute((tenant, id, task, "", "", since.micros(), asked))?;
            }
            WaitWrite::Close { task } => {
                tx.prepare_cached(CLOSE)?.execute((tenant, id, task))?;
            }
            WaitWrite::CloseAll => {
                tx.prepare_cached(CLOSE_ALL)?.execute((tenant, id))?;
            }
        }
    }
    Ok(())
}
