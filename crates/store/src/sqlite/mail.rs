//! Inbox, publishing positions and dead letters.

use async_trait::async_trait;
use base::Tenant;
use rusqlite::{OptionalExtension, Transaction};
use uuid::Uuid;

use super::{SqliteJournal, classify, executions::shard_list, i64_of};
use crate::journal::{DeadLetter, InboxRow, LetterState, Mail, PAGE_MAX, Result, ShardPos, columns};

const LETTER: &str = "SELECT tenant, id, stream, consumer, reason, body, deliveries, created_at, state
    FROM dead_letters WHERE tenant = ?1 AND id = ?2";
const LETTERS: &str = "SELECT tenant, id, stream, consumer, reason, body, deliveries, created_at, state
    FROM dead_letters WHERE tenant = ?1 AND id > ?2 ORDER BY id LIMIT ?3";

/// Leaves a row in an inbox, unless it is there.
pub(super) fn put(tx: &Transaction<'_>, row: &InboxRow) -> rusqlite::Result<()> {
    let sql = "INSERT INTO inbox (shard, command_id, tenant, execution_id, kind, body, created_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
    let mut put = tx.prepare_cached(sql)?;
    put.execute((
        row.shard,
        row.command_id.as_bytes(),
        row.tenant.as_str(),
        row.execution_id.as_bytes(),
        &row.kind,
        &row.body[..],
        row.created_at.micros(),
    ))?;
    Ok(())
}

#[async_trait]
impl Mail for SqliteJournal {
    async fn put_inbox(&self, row: InboxRow) -> Result<()> {
        self.writer.write(move |tx| put(tx, &row).map_err(classify)).await
    }

    async fn read_inbox(&self, shards: &[u16], limit: u32) -> Result<Vec<InboxRow>> {
        let shards = shard_list(shards);
        let sql = "SELECT shard, command_id, tenant, execution_id, kind, body, created_at FROM inbox
            WHERE shard IN (SELECT value FROM json_each(?1)) ORDER BY created_at, command_id LIMIT ?2";
        self.rows(sql, move |q| {
            q.query_map((shards, limit.min(PAGE_MAX)), |row| columns::inbox(row))?.collect()
        })
        .await
    }

    async fn put_published(&self, positions: &[ShardPos]) -> Result<()> {
        let positions = positions.to_vec();
        let put = move |tx: &Transaction<'_>| -> rusqlite::Result<()> {
            let mut upsert = tx.prepare_cached(
                "INSERT INTO published (shard, incarnation, pos) VALUES (?1, ?2, ?3)
                 ON CONFLICT (shard) DO UPDATE SET incarnation = excluded.incarnation, pos = excluded.pos
                 WHERE excluded.pos > published.pos",
            )?;
            for at in &positions {
                upsert.execute((at.shard, i64_of(at.incarnation), at.pos))?;
            }
            Ok(())
        };
        self.writer.write(move |tx| put(tx).map_err(classify)).await
    }

    async fn read_published(&self, shards: &[u16]) -> Result<Vec<ShardPos>> {
        let shards = shard_list(shards);
        let sql = "SELECT shard, incarnation, pos FROM published
            WHERE shard IN (SELECT value FROM json_each(?1)) ORDER BY shard";
        self.rows(sql, move |q| q.query_map([shards], |row| columns::shard_pos(row))?.collect()).await
    }

    async fn put_positions(&self, consumer: &str, cluster: &str, positions: &[ShardPos]) -> Result<()> {
        let (consumer, cluster, positions) = (consumer.to_owned(), cluster.to_owned(), positions.to_vec());
        let put = move |tx: &Transaction<'_>| -> rusqlite::Result<()> {
            let mut upsert = tx.prepare_cached(
                "INSERT INTO consumer_positions (consumer, cluster, shard, incarnation, pos)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET
                 incarnation = excluded.incarnation, pos = excluded.pos",
            )?;
            for at in &positions {
                upsert.execute((&consumer, &cluster, at.shard, i64_of(at.incarnation), at.pos))?;
            }
            Ok(())
        };
        self.writer.write(move |tx| put(tx).map_err(classify)).await
    }

    async fn read_positions(&self, consumer: &str, cluster: &str) -> Result<Vec<ShardPos>> {
        let (consumer, cluster) = (consumer.to_owned(), cluster.to_owned());
        let sql = "SELECT shard, incarnation, pos FROM consumer_positions
            WHERE consumer = ?1 AND cluster = ?2 ORDER BY shard";
        self.rows(sql, move |q| q.query_map((consumer, cluster), |row| columns::shard_pos(row))?.collect())
            .await
    }

    async fn put_dead_letter(&self, letter: DeadLetter) -> Result<()> {
        let put = move |tx: &Transaction<'_>| {
            tx.prepare_cached(
                "INSERT INTO dead_letters (tenant, id, stream, consumer, reason, body, deliveries, created_at,
                 state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
            )?
            .execute((
                letter.tenant.as_str(),
                letter.id.as_bytes(),
                &letter.stream,
                &letter.consumer,
                &letter.reason,
                &letter.body[..],
                letter.deliveries,
                letter.created_at.micros(),
                letter.state.as_str(),
            ))
        };
        self.writer.write(move |tx| put(tx).map(drop).map_err(classify)).await
    }

    async fn list_dead_letters(
        &self,
        tenant: &Tenant,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>> {
        let tenant = tenant.clone();
        self.rows(LETTERS, move |q| {
            let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_bytes());
            q.query_map((tenant.as_str(), after, limit.min(PAGE_MAX)), |row| columns::dead_letter(row))?
                .collect()
        })
        .await
    }

    async fn get_dead_letter(&self, tenant: &Tenant, id: Uuid) -> Result<Option<DeadLetter>> {
        let tenant = tenant.clone();
        self.rows(LETTER, move |q| {
            q.query_row((tenant.as_str(), id.as_bytes()), |row| columns::dead_letter(row)).optional()
        })
        .await
    }

    async fn mark_dead_letter(&self, tenant: &Tenant, id: Uuid, state: LetterState) -> Result<bool> {
        let tenant = tenant.clone();
        let sql = "UPDATE dead_letters SET state = ?3 WHERE tenant = ?1 AND id = ?2";
        self.writer
            .write(move |tx| {
                let marked = tx.execute(sql, (tenant.as_str(), id.as_bytes(), state.as_str()));
                marked.map(|n| n == 1).map_err(classify)
            })
            .await
    }

    async fn delete_dead_letter(&self, tenant: &Tenant, id: Uuid) -> Result<bool> {
        let tenant = tenant.clone();
        self.writer
            .write(move |tx| {
                let sql = "DELETE FROM dead_letters WHERE tenant = ?1 AND id = ?2";
                tx.execute(sql, (tenant.as_str(), id.as_bytes())).map(|n| n == 1).map_err(classify)
            })
            .await
    }
}
