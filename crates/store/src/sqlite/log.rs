//! The event log, payloads and retention.

use async_trait::async_trait;
use base::{ExecutionId, Tenant, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::{SqliteJournal, classify, executions, members};
use crate::{
    error::StoreError,
    journal::{
        Group, Log, LogEntry, Outcome, PAGE_BYTES, PAGE_MAX, PayloadRow, Recorded, Result, Swept, columns,
    },
};

const COLUMNS: &str = "SELECT execution_id, first_seq, count, shard, pos, tenant, schema, body FROM log";

/// The log of one execution.
pub(super) fn of_execution() -> String {
    format!("{COLUMNS} WHERE execution_id = ?1 ORDER BY first_seq")
}

#[async_trait]
impl Log for SqliteJournal {
    async fn commit(&self, group: Group) -> Result<Vec<Outcome>> {
        self.writer.commit(group).await
    }

    async fn put_payloads(&self, rows: Vec<PayloadRow>) -> Result<()> {
        let put = move |tx: &Transaction<'_>| {
            let mut insert = tx.prepare_cached(
                "INSERT INTO payloads (tenant, execution_id, hash, media_type, body)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            )?;
            for row in &rows {
                let id = row.execution_id.as_bytes();
                insert.execute((row.tenant.as_str(), id, row.hash, &row.media_type, &row.body[..]))?;
            }
            Ok(())
        };
        self.writer.write(move |tx| put(tx).map_err(classify)).await
    }

    async fn read_payload(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        hash: [u8; 32],
    ) -> Result<Option<PayloadRow>> {
        let tenant = tenant.clone();
        let sql = "SELECT tenant, execution_id, hash, media_type, body FROM payloads
                   WHERE tenant = ?1 AND execution_id = ?2 AND hash = ?3";
        self.rows(sql, move |q| {
            q.query_row((tenant.as_str(), execution.as_bytes(), hash), |row| columns::payload(row)).optional()
        })
        .await
    }

    async fn read_recorded(&self, execution: ExecutionId) -> Result<Option<Recorded>> {
        self.readers.read(move |conn| recorded(conn, execution).map_err(classify)).await
    }

    async fn read_shard_log(&self, shard: u16, from_pos: i64, limit: u32) -> Result<Vec<LogEntry>> {
        self.readers.read(move |conn| shard_page(conn, shard, from_pos, limit)).await
    }

    async fn last_pos(&self, shard: u16) -> Result<i64> {
        let sql = "SELECT max(coalesce((SELECT max(pos) FROM log WHERE shard = ?1), 0),
                              coalesce((SELECT pos FROM published WHERE shard = ?1), 0))";
        self.rows(sql, move |q| q.query_row([shard], |row| row.get(0))).await
    }
}

impl SqliteJournal {
    /// Runs one prepared query on a reader.
    pub(super) async fn rows<T: Send + 'static>(
        &self,
        sql: &'static str,
        read: impl FnOnce(&mut rusqlite::CachedStatement<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.readers
            .read(move |conn| {
                let mut query = conn.prepare_cached(sql).map_err(classify)?;
                read(&mut query).map_err(classify)
            })
            .await
    }
}

fn recorded(conn: &Connection, execution: ExecutionId) -> rusqlite::Result<Option<Recorded>> {
    let id = execution.as_bytes();
    let mut find = conn.prepare_cached(&executions::find())?;
    let Some(row) = find.query_row([id], |row| columns::execution(row)).optional()? else { return Ok(None) };
    let mut log = conn.prepare_cached(&of_execution())?;
    let log = log.query_map([id], |row| columns::log_entry(row))?.collect::<rusqlite::Result<_>>()?;
    let sql = "SELECT tenant, execution_id, hash, media_type, body FROM payloads
               WHERE tenant = ?1 AND execution_id = ?2";
    let mut payloads = conn.prepare_cached(sql)?;
    let payloads = payloads.query_map((row.tenant.as_str(), id), |row| columns::payload(row))?;
    Ok(Some(Recorded { payloads: payloads.collect::<rusqlite::Result<_>>()?, row, log }))
}

fn shard_page(
    conn: &Connection,
    shard: u16,
    from_pos: i64,
    limit: u32,
) -> std::result::Result<Vec<LogEntry>, StoreError> {
    let read = || -> rusqlite::Result<Vec<LogEntry>> {
        let sql = format!("{COLUMNS} WHERE shard = ?1 AND pos >= ?2 ORDER BY pos LIMIT ?3");
        let mut query = conn.prepare_cached(&sql)?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        for entry in query.query_map((shard, from_pos, limit.min(PAGE_MAX)), |row| columns::log_entry(row))? {
            let entry = entry?;
            bytes += entry.row.body.len();
            page.push(entry);
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(page)
    };
    read().map_err(classify)
}

/// Ended executions are looked for by start, oldest first, over the index that lists them: an execution ends after it
/// starts, so all old enough lie before that time. Those still open or not yet published are passed over.
const OLD: &str = "SELECT execution_id, tenant FROM executions AS e
    WHERE tenant = ?1 AND started_at < ?2 AND completed_at < ?2
      AND NOT EXISTS (SELECT 1 FROM log WHERE log.execution_id = e.execution_id AND log.pos >
          coalesce((SELECT pos FROM published WHERE published.shard = e.shard), 0))
    ORDER BY started_at LIMIT ?3";

pub(super) fn sweep(tx: &Transaction<'_>, ended_before: Timestamp, limit: u32) -> rusqlite::Result<Swept> {
    let limit = limit.clamp(1, PAGE_MAX);
    let mut old: Vec<(ExecutionId, String)> = Vec::new();
    let mut tenant = next_tenant(tx, "")?;
    while let Some(name) = tenant.filter(|_| old.len() <= limit as usize) {
        let room = limit as usize + 1 - old.len();
        let mut query = tx.prepare_cached(OLD)?;
        for row in query.query_map((&name, ended_before.micros(), room as i64), |row| {
            Ok((columns::execution_id(row)?, row.get(1)?))
        })? {
            old.push(row?);
        }
        tenant = next_tenant(tx, &name)?;
    }
    let more = old.len() > limit as usize;
    old.truncate(limit as usize);
    for (id, tenant) in &old {
        let id = id.as_bytes();
        for sql in [
            "DELETE FROM payloads WHERE tenant = ?1 AND execution_id = ?2",
            "DELETE FROM checkpoints WHERE tenant = ?1 AND execution_id = ?2",
            "DELETE FROM waits WHERE tenant = ?1 AND execution_id = ?2",
            "DELETE FROM log WHERE tenant = ?1 AND execution_id = ?2",
            "DELETE FROM executions WHERE tenant = ?1 AND execution_id = ?2",
        ] {
            tx.prepare_cached(sql)?.execute((tenant, id))?;
        }
    }
    members::forget_dead(tx)?;
    Ok(Swept { executions: old.len() as u32, more })
}

fn next_tenant(tx: &Transaction<'_>, after: &str) -> rusqlite::Result<Option<String>> {
    tx.prepare_cached("SELECT min(tenant) FROM executions WHERE tenant > ?1")?
        .query_row([after], |row| row.get(0))
}
