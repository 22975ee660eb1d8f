//! Members, shards and leases. The clock is the server's.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{PgPool, Row};

use super::{PostgresJournal, i64_of, link, link::retrying, rows};
use crate::{
    error::{OpenError, StoreError},
    journal::{Join, MemberId, Members, Membership, Result, Roster, SHARDS_MAX, columns},
};

fn micros(lease: Duration) -> i64 {
    i64::try_from(lease.as_micros()).unwrap_or(i64::MAX / 4)
}

/// Ends a dead member's incarnation. Its row is locked by every statement it has in flight, so this waits for them.
const END: &str = "
WITH me AS MATERIALIZED (
    SELECT 1 FROM members WHERE id = $1 AND incarnation = $2 FOR KEY SHARE
), ended AS (
    UPDATE members AS dead SET incarnation = nextval('incarnations'), fence = 0 FROM me
    WHERE dead.id = $3 AND dead.id <> $1
        AND dead.expires_at <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    RETURNING dead.incarnation
)
SELECT (SELECT count(*) FROM me), (SELECT incarnation FROM ended)";

/// Moves its shards, unless it has come back meanwhile.
const MOVE: &str = "
WITH me AS MATERIALIZED (
    SELECT 1 FROM members WHERE id = $1 AND incarnation = $2 FOR KEY SHARE
), dead AS MATERIALIZED (
    SELECT 1 FROM members WHERE id = $3 AND incarnation = $4 FOR KEY SHARE
), moved AS (
    UPDATE shards SET member = $1 FROM me, dead
    WHERE shards.member = $3
        AND shards.shard IN (SELECT shard FROM shards WHERE member = $3 ORDER BY shard LIMIT $5)
    RETURNING shards.shard
)
SELECT (SELECT count(*) FROM me), ARRAY(SELECT shard FROM moved ORDER BY shard)";

async fn ensure(pool: &PgPool, count: u16) -> sqlx::Result<i64> {
    // Two replicas may do this at once: the rows are the same.
    sqlx::query(
        "INSERT INTO shards (shard) SELECT generate_series(0, $1 - 1)::smallint
             WHERE NOT EXISTS (SELECT 1 FROM shards) ON CONFLICT DO NOTHING",
    )
    .bind(i32::from(count))
    .execute(pool)
    .await?;
    sqlx::query_scalar("SELECT count(*) FROM shards").fetch_one(pool).await
}

async fn roster(pool: &PgPool) -> sqlx::Result<Roster> {
    let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let members = sqlx::query(
        "SELECT id, incarnation, address, expires_at,
             expires_at > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, reads_up_to, region, cluster
         FROM members ORDER BY id",
    )
    .fetch_all(&mut *tx)
    .await?;
    let shards = sqlx::query("SELECT member FROM shards ORDER BY shard").fetch_all(&mut *tx).await?;
    tx.commit().await?;
    let owner = |row: &sqlx::postgres::PgRow| match row.try_get::<Option<&str>, _>(0)? {
        Some(_) => columns::member_id(row, 0).map(Some),
        None => Ok(None),
    };
    Ok(Roster {
        members: members.iter().map(rows::member).collect::<sqlx::Result<_>>()?,
        shards: shards.iter().map(owner).collect::<sqlx::Result<_>>()?,
    })
}

#[async_trait]
impl Members for PostgresJournal {
    async fn ensure_shards(&self, count: u16) -> std::result::Result<(), OpenError> {
        let count = count.clamp(1, SHARDS_MAX);
        let found = retrying(&self.pool, |pool| async move { ensure(&pool, count).await })
            .await
            .map_err(|err| OpenError::Failed { what: "the table of shards".into(), why: err.to_string() })?;
        if found == i64::from(count) {
            return Ok(());
        }
        Err(OpenError::ShardCount { found: u16::try_from(found).unwrap_or(u16::MAX), wanted: count })
    }

    async fn join(&self, join: Join) -> Result<Membership> {
        let wanted = &join;
        // Repeated after a lost connection it begins one more incarnation, which harms nobody.
        let incarnation: i64 = retrying(&self.pool, |pool| async move {
            sqlx::query_scalar(
                "INSERT INTO members (id, incarnation, address, expires_at, reads_up_to, region, cluster)
                 VALUES ($1, nextval('incarnations'), $2,
                     (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $3, $4, $5, $6)
                 ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation, fence = 0,
                     address = excluded.address, expires_at = excluded.expires_at,
                     reads_up_to = excluded.reads_up_to, region = excluded.region, cluster = excluded.cluster
                 RETURNING incarnation",
            )
            .bind(wanted.id.as_str())
            .bind(&wanted.address)
            .bind(micros(wanted.lease))
            .bind(i32::from(wanted.reads_up_to))
            .bind(&wanted.region)
            .bind(&wanted.cluster)
            .fetch_one(&pool)
            .await
        })
        .await?;
        Ok(Membership { id: join.id, incarnation: incarnation.unsigned_abs() })
    }

    async fn renew(&self, by: &Membership, lease: Duration) -> Result<()> {
        let renewed = retrying(&self.pool, |pool| async move {
            sqlx::query(
                "UPDATE members SET expires_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $3
                 WHERE id = $1 AND incarnation = $2",
            )
            .bind(by.id.as_str())
            .bind(i64_of(by.incarnation))
            .bind(micros(lease))
            .execute(&pool)
            .await
        })
        .await?;
        if renewed.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Fenced) }
    }

    async fn roster(&self) -> Result<Roster> {
        retrying(&self.pool, |pool| async move { roster(&pool).await }).await
    }

    async fn claim(&self, by: &Membership, shard: u16) -> Result<bool> {
        let sql = "WITH me AS MATERIALIZED (
                SELECT 1 FROM members WHERE id = $1 AND incarnation = $2 FOR KEY SHARE
            ), claimed AS (
                UPDATE shards SET member = $1 FROM me
                WHERE shard = $3 AND (member IS NULL OR member = $1) RETURNING 1
            ) SELECT (SELECT count(*) FROM me), (SELECT count(*) FROM claimed)";
        let (me, claimed): (i64, i64) = retrying(&self.pool, |pool| async move {
            sqlx::query_as(sql)
                .bind(by.id.as_str())
                .bind(i64_of(by.incarnation))
                .bind(shard as i16)
                .fetch_one(&pool)
                .await
        })
        .await?;
        if me == 1 { Ok(claimed == 1) } else { Err(StoreError::Fenced) }
    }

    async fn take_over(&self, by: &Membership, dead: &MemberId, limit: u16) -> Result<Vec<u16>> {
        let (me, ended): (i64, Option<i64>) = retrying(&self.pool, |pool| async move {
            sqlx::query_as(END)
                .bind(by.id.as_str())
                .bind(i64_of(by.incarnation))
                .bind(dead.as_str())
                .fetch_one(&pool)
                .await
        })
        .await?;
        let ended = match (me, ended) {
            (1, Some(incarnation)) => incarnation,
            (1, None) => return Ok(Vec::new()),
            _ => return Err(StoreError::Fenced),
        };
        let (me, moved): (i64, Vec<i16>) = retrying(&self.pool, |pool| async move {
            sqlx::query_as(MOVE)
                .bind(by.id.as_str())
                .bind(i64_of(by.incarnation))
                .bind(dead.as_str())
                .bind(ended)
                .bind(i64::from(limit))
                .fetch_one(&pool)
                .await
        })
        .await?;
        if me == 1 {
            Ok(moved.into_iter().map(|shard| shard as u16).collect())
        } else {
            Err(StoreError::Fenced)
        }
    }

    async fn hand_over(&self, by: &Membership, shard: u16, to: &MemberId) -> Result<bool> {
        // Not repeated: after a lost answer the roster tells who owns the shard.
        let (me, moved): (i64, i64) = sqlx::query_as(
            "WITH me AS MATERIALIZED (
                SELECT 1 FROM members WHERE id = $1 AND incarnation = $2 FOR KEY SHARE
            ), heir AS MATERIALIZED (
                SELECT 1 FROM members WHERE id = $4
                    AND expires_at > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FOR KEY SHARE
            ), moved AS (
                UPDATE shards SET member = $4 FROM me, heir WHERE shard = $3 AND member = $1 RETURNING 1
            ) SELECT (SELECT count(*) FROM me), (SELECT count(*) FROM moved)",
        )
        .bind(by.id.as_str())
        .bind(i64_of(by.incarnation))
        .bind(shard as i16)
        .bind(to.as_str())
        .fetch_one(&self.pool)
        .await
        .map_err(link::classify)?;
        if me == 1 { Ok(moved == 1) } else { Err(StoreError::Fenced) }
    }

    async fn leave(&self, by: &Membership) -> Result<()> {
        let gone: i64 = sqlx::query_scalar(
            "WITH gone AS (
                DELETE FROM members WHERE id = $1 AND incarnation = $2 RETURNING id
            ), freed AS (
                UPDATE shards SET member = NULL FROM gone WHERE shards.member = gone.id
            ) SELECT count(*) FROM gone",
        )
        .bind(by.id.as_str())
        .bind(i64_of(by.incarnation))
        .fetch_one(&self.pool)
        .await
        .map_err(link::classify)?;
        if gone == 1 { Ok(()) } else { Err(StoreError::Fenced) }
    }
}
