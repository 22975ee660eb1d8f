//! The event log, payloads and retention.

use async_trait::async_trait;
use base::{ExecutionId, Tenant, Timestamp};
use sqlx::{AssertSqlSafe, PgPool, Row};

use super::{PostgresJournal, executions::find, link::retrying};
use crate::journal::{
    Group, Log, LogEntry, MEMBER_KEPT_US, Outcome, PAGE_BYTES, PAGE_MAX, PayloadRow, Recorded, Result, Swept,
    columns,
};

/// The log of one execution.
pub(super) const OF_EXECUTION: &str =
    "SELECT execution_id, first_seq, count, shard, pos, tenant, schema, body FROM log
    WHERE execution_id = $1 ORDER BY first_seq";

#[async_trait]
impl Log for PostgresJournal {
    async fn commit(&self, group: Group) -> Result<Vec<Outcome>> {
        self.commit_group(group).await
    }

    async fn put_payloads(&self, rows: Vec<PayloadRow>) -> Result<()> {
        let rows = &rows;
        retrying(&self.pool, |pool| async move {
            sqlx::query(
                "INSERT INTO payloads (tenant, execution_id, hash, media_type, body)
                 SELECT * FROM unnest($1::text[], $2::uuid[], $3::bytea[], $4::text[], $5::bytea[])
                 ON CONFLICT DO NOTHING",
            )
            .bind(rows.iter().map(|r| r.tenant.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.execution_id.uuid()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| &r.hash[..]).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| r.media_type.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|r| &r.body[..]).collect::<Vec<_>>())
            .execute(&pool)
            .await
            .map(drop)
        })
        .await
    }

    async fn read_payload(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        hash: [u8; 32],
    ) -> Result<Option<PayloadRow>> {
        retrying(&self.pool, |pool| async move {
            let sql = "SELECT tenant, execution_id, hash, media_type, body FROM payloads
                WHERE tenant = $1 AND execution_id = $2 AND hash = $3";
            let query = sqlx::query(sql).bind(tenant.as_str()).bind(execution.uuid()).bind(hash.to_vec());
            query.fetch_optional(&pool).await?.as_ref().map(columns::payload).transpose()
        })
        .await
    }

    async fn read_recorded(&self, execution: ExecutionId) -> Result<Option<Recorded>> {
        retrying(&self.pool, |pool| async move {
            let id = execution.uuid();
            let mut conn = pool.acquire().await?;
            let found = sqlx::query(AssertSqlSafe(find())).bind(id).fetch_optional(&mut *conn).await?;
            let Some(row) = found.as_ref().map(columns::execution).transpose()? else { return Ok(None) };
            let log = sqlx::query(OF_EXECUTION).bind(id).fetch_all(&mut *conn).await?;
            let sql = "SELECT tenant, execution_id, hash, media_type, body FROM payloads
                WHERE tenant = $1 AND execution_id = $2";
            let payloads = sqlx::query(sql).bind(row.tenant.as_str()).bind(id).fetch_all(&mut *conn).await?;
            Ok(Some(Recorded {
                row,
                log: log.iter().map(columns::log_entry).collect::<sqlx::Result<_>>()?,
                payloads: payloads.iter().map(columns::payload).collect::<sqlx::Result<_>>()?,
            }))
        })
        .await
    }

    async fn read_shard_log(&self, shard: u16, from_pos: i64, limit: u32) -> Result<Vec<LogEntry>> {
        retrying(&self.pool, |pool| async move {
            // The sum runs over the rows before: a page holds at least one, however large.
            let sql = "SELECT execution_id, first_seq, count, shard, pos, tenant, schema, body FROM (
                    SELECT *, sum(length(body)) OVER (ORDER BY pos) - length(body) AS before
                    FROM (SELECT * FROM log WHERE shard = $1 AND pos >= $2 ORDER BY pos LIMIT $3) AS page
                ) AS page WHERE before < $4 ORDER BY pos";
            let query = sqlx::query(sql)
                .bind(shard as i16)
                .bind(from_pos)
                .bind(i64::from(limit.min(PAGE_MAX)))
                .bind(PAGE_BYTES as i64);
            query.fetch_all(&pool).await?.iter().map(columns::log_entry).collect()
        })
        .await
    }

    async fn last_pos(&self, shard: u16) -> Result<i64> {
        retrying(&self.pool, |pool| async move {
            let sql = "SELECT greatest((SELECT max(pos) FROM log WHERE shard = $1),
                (SELECT pos FROM published WHERE shard = $1), 0)";
            sqlx::query_scalar(sql).bind(shard as i16).fetch_one(&pool).await
        })
        .await
    }
}

/// Ended executions are looked for by start, oldest first, over the index that lists them: an execution ends after it
/// starts, so all old enough lie before that time. Those still open or not yet published are passed over.
const SWEEP: &str = "
WITH old AS MATERIALIZED (
    SELECT execution_id FROM executions AS e
    WHERE tenant = $1 AND started_at < $2 AND completed_at < $2
        AND NOT EXISTS (SELECT 1 FROM log WHERE log.execution_id = e.execution_id AND log.pos >
            coalesce((SELECT pos FROM published WHERE published.shard = e.shard), 0))
    ORDER BY started_at LIMIT $3 FOR UPDATE SKIP LOCKED
), p AS (
    DELETE FROM payloads USING old WHERE tenant = $1 AND payloads.execution_id = old.execution_id
), c AS (
    DELETE FROM checkpoints USING old WHERE tenant = $1 AND checkpoints.execution_id = old.execution_id
), w AS (
    DELETE FROM waits USING old WHERE tenant = $1 AND waits.execution_id = old.execution_id
), l AS (
    DELETE FROM log USING old WHERE log.execution_id = old.execution_id
), e AS (
    DELETE FROM executions USING old WHERE executions.execution_id = old.execution_id
)
SELECT count(*) FROM old";

pub(super) async fn sweep(pool: &PgPool, ended_before: Timestamp, limit: u32) -> Result<Swept> {
    let limit = i64::from(limit.clamp(1, PAGE_MAX));
    retrying(pool, |pool| async move {
        let (mut swept, mut after) = (0, String::new());
        while swept < limit {
            let tenant: Option<String> = sqlx::query("SELECT min(tenant) FROM executions WHERE tenant > $1")
                .bind(&after)
                .fetch_one(&pool)
                .await?
                .try_get(0)?;
            let Some(tenant) = tenant else { break };
            swept += sqlx::query_scalar::<_, i64>(SWEEP)
                .bind(&tenant)
                .bind(ended_before.micros())
                .bind(limit - swept)
                .fetch_one(&pool)
                .await?;
            after = tenant;
        }
        sqlx::query(
            "DELETE FROM members WHERE expires_at < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $1
                 AND NOT EXISTS (SELECT 1 FROM shards WHERE shards.member = members.id)",
        )
        .bind(MEMBER_KEPT_US)
        .execute(&pool)
        .await?;
        Ok(Swept { executions: swept as u32, more: swept == limit })
    })
    .await
}
