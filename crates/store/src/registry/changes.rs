//! The list of changes: numbered without gaps, visible in order.

use base::{AgentId, Tenant, Timestamp};

use super::{Change, ChangeKind, Changes, RegistryStore, agent_id};
use crate::{
    db::{Row, Tx},
    journal::{PAGE_MAX, Result},
};

impl ChangeKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Removed => "removed",
        }
    }
}

/// Draws the next revision. From here to the commit every other writer waits, so revisions are committed in order.
/// Called first in a transaction: writers that locked something else before could wait for each other in a circle.
pub(super) async fn next_revision(tx: &mut Tx) -> Result<i64> {
    let rows = tx.read("UPDATE revision SET last = last + 1 RETURNING last", Vec::new()).await?;
    rows.first().map_or(Ok(0), |row| row.get(0))
}

pub(super) async fn record(
    tx: &mut Tx,
    revision: i64,
    tenant: &Tenant,
    agent: &AgentId,
    kind: ChangeKind,
    at: Timestamp,
) -> Result<()> {
    let sql = "INSERT INTO changes (revision, tenant, agent_id, kind, at) VALUES ($1, $2, $3, $4, $5)";
    let values = vec![revision.into(), tenant.into(), agent.as_str().into(), kind.as_str().into(), at.into()];
    tx.write(sql, values).await.map(drop)
}

impl RegistryStore {
    /// The newest revision. Read it before the agents of a snapshot, and follow the changes from it: what changed while
    /// the snapshot was read comes once more.
    pub async fn revision(&self) -> Result<u64> {
        let rows = self.db.read("SELECT last FROM revision", Vec::new()).await?;
        rows.first().map_or(Ok(0), |row| row.unsigned(0))
    }

    /// Changes above `revision`, in order, at most `limit`.
    pub async fn changes_since(&self, revision: u64, limit: u32) -> Result<Changes> {
        // One statement, so that the floor belongs to the rows.
        let sql = "SELECT r.floor, c.revision, c.tenant, c.agent_id, c.kind FROM revision AS r
            LEFT JOIN changes AS c ON c.revision > $1 ORDER BY c.revision LIMIT $2";
        let rows = self.db.read(sql, vec![revision.into(), limit.clamp(1, PAGE_MAX).into()]).await?;
        let mut changes = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.unsigned(0)? > revision {
                return Ok(Changes::Gone);
            }
            if row.get::<Option<i64>>(1)?.is_some() {
                changes.push(change(row)?);
            }
        }
        Ok(Changes::Since(changes))
    }

    /// Deletes changes made before `before`, up to the revision `published`: what is not on the bus stays. A watch that
    /// has not read them starts again with a snapshot.
    pub async fn forget_changes(&self, before: Timestamp, published: u64) -> Result<u64> {
        let mut tx = self.db.begin().await?;
        let floor = "UPDATE revision SET floor = coalesce((SELECT max(revision) FROM changes WHERE at < $1 AND revision <= $2), floor)";
        tx.write(floor, vec![before.into(), published.into()]).await?;
        let sql = "DELETE FROM changes WHERE revision <= (SELECT floor FROM revision)";
        let forgotten = tx.write(sql, Vec::new()).await?;
        tx.commit().await?;
        Ok(forgotten)
    }
}

fn change(row: &Row) -> Result<Change> {
    let kind: String = row.get(4)?;
    let kind = if kind == "removed" { ChangeKind::Removed } else { ChangeKind::Put };
    Ok(Change { revision: row.unsigned(1)?, tenant: row.tenant(2)?, agent_id: agent_id(row, 3)?, kind })
}
