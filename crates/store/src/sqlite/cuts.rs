//! Calls that were cut and whose agents are to be told.

use async_trait::async_trait;
use base::Timestamp;
use rusqlite::Transaction;
use uuid::Uuid;

use super::{SqliteJournal, classify};
use crate::journal::{CutRow, CutWrite, Cuts, Item, PAGE_MAX, Result, columns};

const PUT: &str = "INSERT INTO cuts (shard, call, tenant, execution_id, instance, agent_task_id, cut_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";

/// Writes the cuts of an item.
pub(super) fn write(tx: &Transaction<'_>, shard: u16, item: &Item) -> rusqlite::Result<()> {
    for cut in &item.cuts {
        let CutWrite { call, instance, agent_task_id, cut_at } = cut;
        tx.prepare_cached(PUT)?.execute((
            shard,
            call.as_bytes(),
            item.tenant.as_str(),
            item.execution_id.as_bytes(),
            instance,
            agent_task_id,
            Timestamp::micros(*cut_at),
        ))?;
    }
    Ok(())
}

#[async_trait]
impl Cuts for SqliteJournal {
    async fn read_cuts(&self, shard: u16, after: Option<Uuid>, limit: u32) -> Result<Vec<CutRow>> {
        let sql = "SELECT shard, call, tenant, execution_id, instance, agent_task_id, cut_at FROM cuts
            WHERE shard = ?1 AND call > ?2 ORDER BY call LIMIT ?3";
        self.rows(sql, move |q| {
            let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_bytes());
            q.query_map((shard, after, limit.min(PAGE_MAX)), |row| columns::cut(row))?.collect()
        })
        .await
    }

    async fn delete_cuts(&self, calls: &[(u16, Uuid)]) -> Result<()> {
        let calls = calls.to_vec();
        let delete = move |tx: &Transaction<'_>| -> rusqlite::Result<()> {
            let mut delete = tx.prepare_cached("DELETE FROM cuts WHERE shard = ?1 AND call = ?2")?;
            for (shard, call) in &calls {
                delete.execute((shard, call.as_bytes()))?;
            }
            Ok(())
        };
        self.writer.write(move |tx| delete(tx).map_err(classify)).await
    }
}
