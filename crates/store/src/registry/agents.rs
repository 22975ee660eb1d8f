//! Agents and their instances.

use base::{AgentId, Tenant, Timestamp};

use super::{
    AgentRow, AgentState, AgentWrite, ChangeKind, Expected, InstanceRow, PutAgentError, RegistryStore,
    agent_id,
    changes::{next_revision, record},
    events::{Event, record_event},
};
use crate::{
    db::{Row, Tx, Value},
    error::StoreError,
    journal::{PAGE_MAX, Result},
};

const AGENT: &str =
    "SELECT tenant, agent_id, revision, state, content_hash, definition::text, performance::text,
    created_at, updated_at FROM agents";
const INSTANCE: &str =
    "SELECT tenant, agent_id, instance_id, endpoint, capacity, weight, region, health, score,
    details::text, heartbeat_at FROM instances";

impl RegistryStore {
    /// Stores a definition. The same definition once more is the same agent: nothing changes and the row comes back.
    /// A definition that is put while the agent drains makes it active again.
    pub async fn put_agent(
        &self,
        write: &AgentWrite,
        expected: Expected,
    ) -> std::result::Result<AgentRow, PutAgentError> {
        let mut tx = self.db.begin().await?;
        let revision = next_revision(&mut tx).await?;
        let present = read_agent(&mut tx, &write.tenant, &write.agent_id).await?;
        let same = present
            .as_ref()
            .filter(|row| row.content_hash == write.content_hash && row.state == AgentState::Active);
        match (expected, &present) {
            (Expected::Absent, Some(row)) => {
                return match same {
                    Some(row) => Ok(row.clone()),
                    None => Err(PutAgentError::Exists(Box::new(row.clone()))),
                };
            }
            (Expected::Present | Expected::Revision(_), None) => return Err(PutAgentError::NotFound),
            (Expected::Revision(wanted), Some(row)) if row.revision != wanted => {
                return Err(PutAgentError::Stale { present: row.revision });
            }
            _ => {}
        }
        // Dropping the transaction gives the revision back: nothing changed.
        if let Some(row) = same {
            return Ok(row.clone());
        }
        let sql =
            "INSERT INTO agents (tenant, agent_id, revision, state, content_hash, definition, performance,
                created_at, updated_at) VALUES ($1, $2, $3, 'active', $4, $5::jsonb, '{}', $6, $6)
            ON CONFLICT (tenant, agent_id) DO UPDATE SET revision = excluded.revision, state = excluded.state,
                content_hash = excluded.content_hash, definition = excluded.definition,
                updated_at = excluded.updated_at";
        let values = vec![
            (&write.tenant).into(),
            write.agent_id.as_str().into(),
            revision.into(),
            (&write.content_hash).into(),
            (&write.definition).into(),
            write.at.into(),
        ];
        tx.write(sql, values).await?;
        put_instances(&mut tx, write).await?;
        record(&mut tx, revision, &write.tenant, &write.agent_id, ChangeKind::Put, write.at).await?;
        record_event(&mut tx, revision, &write.event).await?;
        let row = read_agent(&mut tx, &write.tenant, &write.agent_id).await?;
        tx.commit().await?;
        row.ok_or(PutAgentError::NotFound)
    }

    /// One agent.
    pub async fn get_agent(&self, tenant: &Tenant, id: &AgentId) -> Result<Option<AgentRow>> {
        let key: Vec<Value> = vec![tenant.into(), id.as_str().into()];
        let agents = format!("{AGENT} WHERE tenant = $1 AND agent_id = $2");
        let instances = format!("{INSTANCE} WHERE tenant = $1 AND agent_id = $2 ORDER BY instance_id");
        let agents = self.db.read(&agents, key.clone()).await?;
        let instances = self.db.read(&instances, key).await?;
        Ok(assemble(&agents, &instances)?.pop())
    }

    /// Agents of all tenants, by tenant and id, after `after`, at most `limit`.
    pub async fn list_all_agents(
        &self,
        after: Option<(&Tenant, &AgentId)>,
        limit: u32,
    ) -> Result<Vec<AgentRow>> {
        let (tenant, id) = after.map_or(("", ""), |(tenant, id)| (tenant.as_str(), id.as_str()));
        let values: Vec<Value> = vec![tenant.into(), id.into(), limit.min(PAGE_MAX).into()];
        self.list("(tenant, agent_id) > ($1, $2)", values).await
    }

    /// Agents of a tenant, by id, after `after`, at most `limit`.
    pub async fn list_agents(
        &self,
        tenant: &Tenant,
        after: Option<&AgentId>,
        limit: u32,
    ) -> Result<Vec<AgentRow>> {
        let after = after.map_or("", AgentId::as_str);
        let values: Vec<Value> = vec![tenant.into(), after.into(), limit.min(PAGE_MAX).into()];
        self.list("tenant = $1 AND agent_id > $2", values).await
    }

    async fn list(&self, condition: &str, values: Vec<Value>) -> Result<Vec<AgentRow>> {
        let page = format!("WHERE {condition} ORDER BY tenant, agent_id LIMIT $3");
        let agents = self.db.read(&format!("{AGENT} {page}"), values.clone()).await?;
        let instances = format!(
            "{INSTANCE} WHERE (tenant, agent_id) IN (SELECT tenant, agent_id FROM agents {page})
             ORDER BY tenant, agent_id, instance_id"
        );
        let instances = self.db.read(&instances, values).await?;
        assemble(&agents, &instances)
    }

    /// Makes an agent drain, or active again. Gives the row as it is then; `None` when there is none.
    pub async fn set_agent_state(
        &self,
        tenant: &Tenant,
        id: &AgentId,
        state: AgentState,
        event: &Event,
        at: Timestamp,
    ) -> Result<Option<AgentRow>> {
        let mut tx = self.db.begin().await?;
        let revision = next_revision(&mut tx).await?;
        let sql = "UPDATE agents SET state = $3, revision = $4, updated_at = $5
            WHERE tenant = $1 AND agent_id = $2 AND state <> $3";
        let values =
            vec![tenant.into(), id.as_str().into(), state.as_str().into(), revision.into(), at.into()];
        if tx.write(sql, values).await? == 0 {
            return read_agent(&mut tx, tenant, id).await;
        }
        record(&mut tx, revision, tenant, id, ChangeKind::Put, at).await?;
        record_event(&mut tx, revision, event).await?;
        let row = read_agent(&mut tx, tenant, id).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Deletes an agent with its instances. `false` when there is none, or, with `only_in`, when it is in another state.
    pub async fn remove_agent(
        &self,
        tenant: &Tenant,
        id: &AgentId,
        only_in: Option<AgentState>,
        event: &Event,
        at: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let revision = next_revision(&mut tx).await?;
        let state: Value = only_in.map(|state| state.as_str().to_owned()).into();
        let sql =
            "DELETE FROM agents WHERE tenant = $1 AND agent_id = $2 AND ($3::text IS NULL OR state = $3)";
        if tx.write(sql, vec![tenant.into(), id.as_str().into(), state]).await? == 0 {
            return Ok(false);
        }
        let sql = "DELETE FROM instances WHERE tenant = $1 AND agent_id = $2";
        tx.write(sql, vec![tenant.into(), id.as_str().into()]).await?;
        record(&mut tx, revision, tenant, id, ChangeKind::Removed, at).await?;
        record_event(&mut tx, revision, event).await?;
        tx.commit().await?;
        Ok(true)
    }
}

pub(super) async fn read_agent(tx: &mut Tx, tenant: &Tenant, id: &AgentId) -> Result<Option<AgentRow>> {
    let key: Vec<Value> = vec![tenant.into(), id.as_str().into()];
    let agents = tx.read(&format!("{AGENT} WHERE tenant = $1 AND agent_id = $2"), key.clone()).await?;
    let instances = format!("{INSTANCE} WHERE tenant = $1 AND agent_id = $2 ORDER BY instance_id");
    let instances = tx.read(&instances, key).await?;
    Ok(assemble(&agents, &instances)?.pop())
}

async fn put_instances(tx: &mut Tx, write: &AgentWrite) -> Result<()> {
    let key: Vec<Value> = vec![(&write.tenant).into(), write.agent_id.as_str().into()];
    let sql = "SELECT instance_id FROM instances WHERE tenant = $1 AND agent_id = $2";
    for row in tx.read(sql, key.clone()).await? {
        let there: String = row.get(0)?;
        if !write.instances.iter().any(|instance| instance.instance_id == there) {
            let sql = "DELETE FROM instances WHERE tenant = $1 AND agent_id = $2 AND instance_id = $3";
            let mut values = key.clone();
            values.push(there.into());
            tx.write(sql, values).await?;
        }
    }
    let sql = "INSERT INTO instances (tenant, agent_id, instance_id, endpoint, capacity, weight, region, health, score,
            details) VALUES ($1, $2, $3, $4, $5, $6, $7, 'unknown', 0, '{}')
        ON CONFLICT (tenant, agent_id, instance_id) DO UPDATE SET endpoint = excluded.endpoint,
            capacity = excluded.capacity, weight = excluded.weight, region = excluded.region";
    for instance in &write.instances {
        let mut values = key.clone();
        values.extend([
            (&instance.instance_id).into(),
            (&instance.endpoint).into(),
            instance.capacity.into(),
            instance.weight.into(),
            (&instance.region).into(),
        ]);
        tx.write(sql, values).await?;
    }
    Ok(())
}

/// Rows of agents with those of their instances, both in the order of their keys.
fn assemble(agents: &[Row], instances: &[Row]) -> Result<Vec<AgentRow>> {
    let mut read: Vec<AgentRow> = agents.iter().map(agent).collect::<Result<_>>()?;
    for row in instances {
        let (tenant, id): (String, String) = (row.get(0)?, row.get(1)?);
        let owner = read.binary_search_by(|agent| {
            (agent.tenant.as_str(), agent.agent_id.as_str()).cmp(&(tenant.as_str(), id.as_str()))
        });
        // An agent that came between the two reads is not in this page.
        if let Ok(at) = owner {
            read[at].instances.push(instance(row)?);
        }
    }
    Ok(read)
}

fn agent(row: &Row) -> Result<AgentRow> {
    let state: String = row.get(3)?;
    Ok(AgentRow {
        tenant: row.tenant(0)?,
        agent_id: agent_id(row, 1)?,
        revision: row.unsigned(2)?,
        state: match state.as_str() {
            "active" => AgentState::Active,
            "draining" => AgentState::Draining,
            other => {
                return Err(StoreError::Unreadable { table: "agents", why: format!("state {other:?}") });
            }
        },
        content_hash: row.get(4)?,
        definition: row.get(5)?,
        performance: row.get(6)?,
        created_at: row.time(7)?,
        updated_at: row.time(8)?,
        instances: Vec::new(),
    })
}

fn instance(row: &Row) -> Result<InstanceRow> {
    Ok(InstanceRow {
        instance_id: row.get(2)?,
        endpoint: row.get(3)?,
        capacity: row.small(4)?,
        weight: row.small(5)?,
        region: row.get(6)?,
        health: row.get(7)?,
        score: row.small(8)?,
        details: row.get(9)?,
        heartbeat_at: row.get::<Option<i64>>(10)?.map(Timestamp::from_micros),
    })
}
