//! Starts that were decided and could not be made yet.

use base::{ExecutionId, Tenant, Timestamp};
use bytes::Bytes;

use crate::{
    db::Value,
    journal::{PAGE_MAX, Result},
    tables::{Cells, Tables},
};

/// Starts that wait. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HeldStore {
    tables: Tables,
}

/// A start that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldStart {
    /// Its tenant.
    pub tenant: Tenant,
    /// The execution that it starts.
    pub execution_id: ExecutionId,
    /// The shard whose owner tries it.
    pub shard: u16,
    /// When it is tried next.
    pub due_at: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// Why it waits, for people.
    pub reason: String,
    /// The encoded start.
    pub body: Bytes,
}

impl HeldStore {
    /// Over the journal's tables.
    pub fn new(tables: Tables) -> Self {
        Self { tables }
    }

    /// Keeps a start; one of the same execution is replaced.
    pub async fn put(&self, held: &HeldStart) -> Result<()> {
        let sql = "INSERT INTO held_starts (tenant, execution_id, shard, due_at, tries, reason, body)
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, execution_id) DO UPDATE SET
            due_at = excluded.due_at, tries = excluded.tries, reason = excluded.reason";
        let values = vec![
            (&held.tenant).into(),
            held.execution_id.uuid().into(),
            u32::from(held.shard).into(),
            held.due_at.into(),
            held.tries.into(),
            (&held.reason).into(),
            held.body[..].into(),
        ];
        self.tables.write(sql, values).await.map(drop)
    }

    /// Starts of these shards that are due at `now`, the earliest first, at most `limit`.
    pub async fn due(&self, shards: &[u16], now: Timestamp, limit: u32) -> Result<Vec<HeldStart>> {
        if shards.is_empty() {
            return Ok(Vec::new());
        }
        let mut values: Vec<Value> = vec![now.into(), limit.clamp(1, PAGE_MAX).into()];
        let sql = format!(
            "SELECT tenant, execution_id, shard, due_at, tries, reason, body FROM held_starts
             WHERE due_at <= $1 AND shard IN ({}) ORDER BY due_at LIMIT $2",
            crate::tables::places(shards, &mut values)
        );
        self.tables.read(&sql, values).await?.iter().map(held).collect()
    }

    /// Forgets a start that was made or given up.
    pub async fn delete(&self, tenant: &Tenant, execution: ExecutionId) -> Result<()> {
        let sql = "DELETE FROM held_starts WHERE tenant = $1 AND execution_id = $2";
        self.tables.write(sql, vec![tenant.into(), execution.uuid().into()]).await.map(drop)
    }

    /// How many wait in a tenant.
    pub async fn count(&self, tenant: &Tenant) -> Result<u64> {
        let sql = "SELECT count(*) FROM held_starts WHERE tenant = $1";
        self.tables.read(sql, vec![tenant.into()]).await?.first().map_or(Ok(0), |row| row.unsigned(0))
    }
}

fn held(row: &Cells) -> Result<HeldStart> {
    Ok(HeldStart {
        tenant: row.tenant(0)?,
        execution_id: ExecutionId::new(row.id(1)?),
        shard: row.shard(2)?,
        due_at: row.time(3)?,
        tries: row.small(4)?,
        reason: row.text(5)?,
        body: row.bytes(6)?,
    })
}
