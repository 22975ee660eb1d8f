//! Measured health and performance.

use std::fmt::Write;

use base::Timestamp;

use super::{
    AgentEvent, ChangeKind, HealthWrite, RegistryStore,
    changes::{next_revision, record},
    events::record_event,
};
use crate::{
    db::{Tx, Value},
    journal::Result,
};

/// Rows in one statement.
const ROWS_MAX: usize = 500;

impl RegistryStore {
    /// Writes the health of instances, many in one statement. Every agent of `events` gets a new revision, so that
    /// watches see it: for changes, not for the regular confirmation that all is as it was.
    pub async fn record_health(
        &self,
        writes: &[HealthWrite],
        events: &[AgentEvent],
        at: Timestamp,
    ) -> Result<()> {
        if writes.is_empty() && events.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        for AgentEvent { tenant, agent_id, event } in events {
            let revision = next_revision(&mut tx).await?;
            let sql = "UPDATE agents SET revision = $3 WHERE tenant = $1 AND agent_id = $2";
            let values = vec![tenant.into(), agent_id.as_str().into(), revision.into()];
            if tx.write(sql, values).await? > 0 {
                record(&mut tx, revision, tenant, agent_id, ChangeKind::Put, at).await?;
                record_event(&mut tx, revision, event).await?;
            } else {
                // Revisions have no gaps: an agent that is gone meanwhile is a change that tells nothing.
                record(&mut tx, revision, tenant, agent_id, ChangeKind::Removed, at).await?;
            }
        }
        for chunk in writes.chunks(ROWS_MAX) {
            update(&mut tx, chunk).await?;
        }
        tx.commit().await
    }
}

async fn update(tx: &mut Tx, writes: &[HealthWrite]) -> Result<()> {
    let mut rows = String::new();
    let mut values: Vec<Value> = Vec::with_capacity(writes.len() * 7);
    for (n, write) in writes.iter().enumerate() {
        let p = n * 7;
        let comma = if n == 0 { "" } else { ", " };
        let _ = write!(
            rows,
            "{comma}(${}, ${}, ${}, ${}, ${}::bigint, ${}, ${}::bigint)",
            p + 1,
            p + 2,
            p + 3,
            p + 4,
            p + 5,
            p + 6,
            p + 7
        );
        values.extend([
            (&write.tenant).into(),
            write.agent_id.as_str().into(),
            (&write.instance_id).into(),
            (&write.health).into(),
            write.score.into(),
            (&write.details).into(),
            write.heartbeat_at.into(),
        ]);
    }
    let sql = format!(
        "UPDATE instances SET health = v.column4, score = v.column5, details = v.column6::jsonb,
             heartbeat_at = coalesce(v.column7, heartbeat_at)
         FROM (VALUES {rows}) AS v
         WHERE tenant = v.column1 AND agent_id = v.column2 AND instance_id = v.column3"
    );
    tx.write(&sql, values).await.map(drop)
}
