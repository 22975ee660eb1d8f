//! Measured health and performance.

use std::collections::BTreeSet;
use std::fmt::Write;

use base::{AgentId, Tenant, Timestamp};

use super::{
    ChangeKind, HealthWrite, RegistryStore,
    changes::{next_revision, record},
};
use crate::{
    db::{Tx, Value},
    journal::{Result, ShardPos},
};

/// Rows in one statement.
const ROWS_MAX: usize = 500;

impl RegistryStore {
    /// Writes the health of instances, many in one statement. With `announce` every agent among them gets a new
    /// revision, so that watches see it: for changes, not for the regular confirmation that all is as it was.
    pub async fn record_health(&self, writes: &[HealthWrite], announce: bool, at: Timestamp) -> Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        if announce {
            let agents: BTreeSet<(&Tenant, &AgentId)> =
                writes.iter().map(|w| (&w.tenant, &w.agent_id)).collect();
            for (tenant, agent) in agents {
                let revision = next_revision(&mut tx).await?;
                let sql = "UPDATE agents SET revision = $3 WHERE tenant = $1 AND agent_id = $2";
                let values = vec![tenant.into(), agent.as_str().into(), revision.into()];
                // Revisions have no gaps: an agent that is gone meanwhile is told as gone once more.
                let kind = match tx.write(sql, values).await? {
                    0 => ChangeKind::Removed,
                    _ => ChangeKind::Put,
                };
                record(&mut tx, revision, tenant, agent, kind, at).await?;
            }
        }
        for chunk in writes.chunks(ROWS_MAX) {
            update(&mut tx, chunk).await?;
        }
        tx.commit().await
    }

    /// Writes what was learnt from events about agents' performance (JSON, the whole document each), together with
    /// how far the events have been read.
    pub async fn record_performance(
        &self,
        figures: &[(Tenant, AgentId, String)],
        consumer: &str,
        cluster: &str,
        positions: &[ShardPos],
    ) -> Result<()> {
        let mut tx = self.db.begin().await?;
        for (tenant, agent, json) in figures {
            let sql = "UPDATE agents SET performance = $3::jsonb WHERE tenant = $1 AND agent_id = $2";
            tx.write(sql, vec![tenant.into(), agent.as_str().into(), json.into()]).await?;
        }
        tx.put_positions(consumer, cluster, positions).await?;
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
