//! Inbox, publishing positions and dead letters.

use async_trait::async_trait;
use base::Tenant;
use uuid::Uuid;

use super::{PostgresJournal, i64_of, link::retrying, shard_array};
use crate::journal::{DeadLetter, InboxRow, LetterState, Mail, PAGE_MAX, Result, ShardPos, columns};

struct Positions {
    shards: Vec<i16>,
    incarnations: Vec<i64>,
    pos: Vec<i64>,
}

fn columns(positions: &[ShardPos]) -> Positions {
    Positions {
        shards: positions.iter().map(|at| at.shard as i16).collect(),
        incarnations: positions.iter().map(|at| i64_of(at.incarnation)).collect(),
        pos: positions.iter().map(|at| at.pos).collect(),
    }
}

#[async_trait]
impl Mail for PostgresJournal {
    async fn put_inbox(&self, row: InboxRow) -> Result<()> {
        let row = &row;
        retrying(&self.pool, |pool| async move {
            sqlx::query(
                "INSERT INTO inbox (shard, command_id, tenant, execution_id, kind, body, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            )
            .bind(row.shard as i16)
            .bind(row.command_id)
            .bind(row.tenant.as_str())
            .bind(row.execution_id.uuid())
            .bind(&row.kind)
            .bind(&row.body[..])
            .bind(row.created_at.micros())
            .execute(&pool)
            .await
            .map(drop)
        })
        .await
    }

    async fn read_inbox(&self, shards: &[u16], limit: u32) -> Result<Vec<InboxRow>> {
        retrying(&self.pool, |pool| async move {
            let sql = "SELECT shard, command_id, tenant, execution_id, kind, body, created_at FROM inbox
                WHERE shard = ANY($1) ORDER BY created_at, command_id LIMIT $2";
            let query = sqlx::query(sql).bind(shard_array(shards)).bind(i64::from(limit.min(PAGE_MAX)));
            query.fetch_all(&pool).await?.iter().map(columns::inbox).collect()
        })
        .await
    }

    async fn put_published(&self, positions: &[ShardPos]) -> Result<()> {
        retrying(&self.pool, |pool| async move {
            let rows = columns(positions);
            sqlx::query(
                "INSERT INTO published AS p (shard, incarnation, pos)
                 SELECT DISTINCT ON (shard) * FROM unnest($1::smallint[], $2::bigint[], $3::bigint[])
                     AS n(shard, incarnation, pos) ORDER BY shard, pos DESC
                 ON CONFLICT (shard) DO UPDATE SET incarnation = excluded.incarnation, pos = excluded.pos
                 WHERE excluded.pos > p.pos",
            )
            .bind(rows.shards)
            .bind(rows.incarnations)
            .bind(rows.pos)
            .execute(&pool)
            .await
            .map(drop)
        })
        .await
    }

    async fn read_published(&self, shards: &[u16]) -> Result<Vec<ShardPos>> {
        retrying(&self.pool, |pool| async move {
            let sql = "SELECT shard, incarnation, pos FROM published WHERE shard = ANY($1) ORDER BY shard";
            let rows = sqlx::query(sql).bind(shard_array(shards)).fetch_all(&pool).await?;
            rows.iter().map(columns::shard_pos).collect()
        })
        .await
    }

    async fn put_positions(&self, consumer: &str, cluster: &str, positions: &[ShardPos]) -> Result<()> {
        retrying(&self.pool, |pool| async move {
            let rows = columns(positions);
            sqlx::query(
                "INSERT INTO consumer_positions (consumer, cluster, shard, incarnation, pos)
                 SELECT DISTINCT ON (shard) $1, $2, * FROM unnest($3::smallint[], $4::bigint[], $5::bigint[])
                     AS n(shard, incarnation, pos) ORDER BY shard, pos DESC
                 ON CONFLICT (consumer, cluster, shard) DO UPDATE SET incarnation = excluded.incarnation,
                     pos = excluded.pos",
            )
            .bind(consumer)
            .bind(cluster)
            .bind(rows.shards)
            .bind(rows.incarnations)
            .bind(rows.pos)
            .execute(&pool)
            .await
            .map(drop)
        })
        .await
    }

    async fn read_positions(&self, consumer: &str, cluster: &str) -> Result<Vec<ShardPos>> {
        retrying(&self.pool, |pool| async move {
            let sql = "SELECT shard, incarnation, pos FROM consumer_positions
                WHERE consumer = $1 AND cluster = $2 ORDER BY shard";
            let rows = sqlx::query(sql).bind(consumer).bind(cluster).fetch_all(&pool).await?;
            rows.iter().map(columns::shard_pos).collect()
        })
        .await
    }

    async fn put_dead_letter(&self, letter: DeadLetter) -> Result<()> {
        let letter = &letter;
        retrying(&self.pool, |pool| async move {
            sqlx::query(
                "INSERT INTO dead_letters (tenant, id, stream, consumer, reason, body, deliveries, created_at, state)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            )
            .bind(letter.tenant.as_str())
            .bind(letter.id)
            .bind(&letter.stream)
            .bind(&letter.consumer)
            .bind(&letter.reason)
            .bind(&letter.body[..])
            .bind(letter.deliveries as i32)
            .bind(letter.created_at.micros())
            .bind(letter.state.as_str())
            .execute(&pool)
            .await
            .map(drop)
        })
        .await
    }

    async fn list_dead_letters(
        &self,
        tenant: &Tenant,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>> {
        retrying(&self.pool, |pool| async move {
            let sql = "SELECT tenant, id, stream, consumer, reason, body, deliveries, created_at, state
                FROM dead_letters WHERE tenant = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3";
            let query =
                sqlx::query(sql).bind(tenant.as_str()).bind(after).bind(i64::from(limit.min(PAGE_MAX)));
            query.fetch_all(&pool).await?.iter().map(columns::dead_letter).collect()
        })
        .await
    }

    async fn get_dead_letter(&self, tenant: &Tenant, id: Uuid) -> Result<Option<DeadLetter>> {
        retrying(&self.pool, |pool| async move {
            let sql = "SELECT tenant, id, stream, consumer, reason, body, deliveries, created_at, state
                FROM dead_letters WHERE tenant = $1 AND id = $2";
            let row = sqlx::query(sql).bind(tenant.as_str()).bind(id).fetch_optional(&pool).await?;
            row.as_ref().map(columns::dead_letter).transpose()
        })
        .await
    }

    async fn mark_dead_letter(&self, tenant: &Tenant, id: Uuid, state: LetterState) -> Result<bool> {
        retrying(&self.pool, |pool| async move {
            let sql = "UPDATE dead_letters SET state = $3 WHERE tenant = $1 AND id = $2";
            let query = sqlx::query(sql).bind(tenant.as_str()).bind(id).bind(state.as_str());
            query.execute(&pool).await.map(|done| done.rows_affected() == 1)
        })
        .await
    }

    async fn delete_dead_letter(&self, tenant: &Tenant, id: Uuid) -> Result<bool> {
        retrying(&self.pool, |pool| async move {
            let sql = "DELETE FROM dead_letters WHERE tenant = $1 AND id = $2";
            let query = sqlx::query(sql).bind(tenant.as_str()).bind(id);
            query.execute(&pool).await.map(|done| done.rows_affected() == 1)
        })
        .await
    }
}
