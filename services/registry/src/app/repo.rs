//! Between rows and the catalog's types.
//!
//! The stored document is `{"generation": n, "definition": {…}}`: the generation rises with every change of the
//! definition and is what callers see as the revision, so that a change of health between a read and an update is no
//! conflict. The row's own revision is the position in the list of changes.

use std::collections::BTreeMap;

use base::{AgentId, Tenant, Timestamp};
use catalog::{
    AgentDefinition, AgentEntry, AgentState, Assessment, Status,
    snapshot::{HealthReport, InstanceHealth},
};
use serde_json::{Value, json};
use store::{
    StoreError,
    registry::{
        AgentEvent, AgentRow, AgentState as RowState, AgentWrite, Changes, Event, Expected, HealthWrite,
        InstanceRow, InstanceWrite, PutAgentError, RegistryStore,
    },
};

use super::{board::AgentKey, events::tells};

/// Rows read one by one; above it all rows are read in pages.
const SINGLE_READS_MAX: usize = 200;
/// Rows of a page.
pub(crate) const PAGE: u32 = 1000;

/// One agent as memory knows it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) tenant: Tenant,
    pub(crate) id: AgentId,
    /// Position in the list of changes.
    pub(crate) changed: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Names the definition, times aside.
    pub(crate) content_hash: String,
    pub(crate) entry: AgentEntry,
}

impl Known {
    pub(crate) fn key(&self) -> AgentKey {
        (self.tenant.clone(), self.id.clone())
    }
    /// Whether the agent is being removed.
    pub(crate) fn is_draining(&self) -> bool {
        self.entry.state == AgentState::Draining
    }
    /// The JSON of S0, measured health included, with the times of the row.
    pub(crate) fn to_value(&self) -> Value {
        let mut value = self.entry.to_value();
        let metadata = &mut value["metadata"];
        if metadata["created"].is_null() {
            metadata["created"] = json!(self.created_at.rfc3339());
        }
        metadata["updated"] = json!(self.updated_at.rfc3339());
        value
    }
}

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Put {
    /// The agent is as wanted.
    Done,
    /// Another definition is there.
    Exists(Box<Known>),
    /// The agent changed meanwhile, or is gone: look again.
    Again,
}

/// The registry's tables.
#[derive(Clone, Debug)]
pub(crate) struct Repo(RegistryStore);

impl Repo {
    pub(crate) fn new(store: RegistryStore) -> Self {
        Self(store)
    }

    /// Leases, positions, watchers.
    pub(crate) fn store(&self) -> &RegistryStore {
        &self.0
    }

    /// Stores a definition that is not there yet. The same one again is `Done`.
    pub(crate) async fn insert(
        &self,
        tenant: &Tenant,
        definition: &AgentDefinition,
        at: Timestamp,
    ) -> Result<Put, StoreError> {
        let entry = AgentEntry::new(definition.clone(), 1, AgentState::Active, HealthReport::default());
        let event = tells("agent.registered", None, &entry);
        self.put(write(tenant, &entry, event, at), Expected::Absent).await
    }

    /// Replaces the definition of exactly the agent that `known` shows; one that drains becomes active again.
    pub(crate) async fn update(
        &self,
        known: &Known,
        definition: &AgentDefinition,
        at: Timestamp,
    ) -> Result<Put, StoreError> {
        let old = &known.entry;
        let entry =
            AgentEntry::new(definition.clone(), old.revision + 1, AgentState::Active, old.health.clone());
        let event = tells("agent.updated", Some(old), &entry);
        self.put(write(&known.tenant, &entry, event, at), Expected::Revision(known.changed)).await
    }

    async fn put(&self, write: AgentWrite, expected: Expected) -> Result<Put, StoreError> {
        match self.0.put_agent(&write, expected).await {
            Ok(_) => Ok(Put::Done),
            Err(PutAgentError::Exists(row)) => match known(*row) {
                Some(known) => Ok(Put::Exists(Box::new(known))),
                None => Err(StoreError::Unreadable {
                    table: "agents",
                    why: "the stored definition is broken".into(),
                }),
            },
            Err(PutAgentError::NotFound | PutAgentError::Stale { .. }) => Ok(Put::Again),
            Err(PutAgentError::Store(error)) => Err(error),
        }
    }

    /// Lets the agent drain.
    pub(crate) async fn drain(&self, known: &Known, at: Timestamp) -> Result<(), StoreError> {
        let after = AgentEntry { state: AgentState::Draining, ..known.entry.clone() };
        let event = tells("agent.draining", Some(&known.entry), &after);
        self.0.set_agent_state(&known.tenant, &known.id, RowState::Draining, &event, at).await.map(drop)
    }

    /// Deletes the agent; with `only_draining` not when it became active again.
    pub(crate) async fn remove(
        &self,
        known: &Known,
        only_draining: bool,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let only_in = only_draining.then_some(RowState::Draining);
        let event = tells("agent.removed", Some(&known.entry), &known.entry);
        self.0.remove_agent(&known.tenant, &known.id, only_in, &event, at).await
    }

    /// Writes measured health: one statement per 500 instances. Watches see the agents of `events`.
    pub(crate) async fn put_health(
        &self,
        reports: &[(AgentKey, HealthReport)],
        events: &[AgentEvent],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let rows: Vec<HealthWrite> =
            reports.iter().flat_map(|(key, report)| health_rows(key, report)).collect();
        self.0.record_health(&rows, events, at).await
    }

    pub(crate) async fn head(&self) -> Result<u64, StoreError> {
        self.0.revision().await
    }

    pub(crate) async fn changes(&self, after: u64) -> Result<Changes, StoreError> {
        self.0.changes_since(after, PAGE).await
    }

    /// A page of all agents after `after`; the last key says where the next page begins, `None` at the end.
    pub(crate) async fn page(
        &self,
        after: Option<&AgentKey>,
    ) -> Result<(Vec<Known>, Option<AgentKey>), StoreError> {
        let rows = self.0.list_all_agents(after.map(|(t, i)| (t, i)), PAGE).await?;
        let whole = rows.len() < PAGE as usize;
        let next = rows.last().filter(|_| !whole).map(|r| (r.tenant.clone(), r.agent_id.clone()));
        Ok((rows.into_iter().filter_map(known).collect(), next))
    }

    /// These agents, as far as they exist.
    pub(crate) async fn rows<'a>(
        &self,
        keys: impl ExactSizeIterator<Item = &'a AgentKey>,
    ) -> Result<Vec<Known>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        if keys.len() <= SINGLE_READS_MAX {
            for (tenant, id) in keys {
                found.extend(self.0.get_agent(tenant, id).await?.and_then(known));
            }
            return Ok(found);
        }
        let mut after = None;
        loop {
            let (page, next) = self.page(after.as_ref()).await?;
            found.extend(page);
            match next {
                Some(key) => after = Some(key),
                None => return Ok(found),
            }
        }
    }
}

/// Names a definition; the times that its owner wrote do not count, since they differ at every start.
pub(crate) fn content_hash(definition: &AgentDefinition) -> String {
    let mut value = definition.to_value();
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("created");
        metadata.remove("updated");
    }
    blake3::hash(value.to_string().as_bytes()).to_hex().to_string()
}

fn write(tenant: &Tenant, entry: &AgentEntry, event: Event, at: Timestamp) -> AgentWrite {
    let definition = &entry.definition;
    let instances = definition.instances().into_iter().map(|i| InstanceWrite {
        instance_id: i.id,
        endpoint: i.endpoint,
        capacity: i.capacity,
        // Thousandths: the column is a whole number.
        weight: (i.weight * 1000.0).round() as u32,
        region: i.region,
    });
    AgentWrite {
        tenant: tenant.clone(),
        agent_id: definition.id.clone(),
        content_hash: content_hash(definition),
        definition: json!({"generation": entry.revision, "definition": definition.to_value()}).to_string(),
        instances: instances.collect(),
        event,
        at,
    }
}

fn health_rows(key: &AgentKey, report: &HealthReport) -> Vec<HealthWrite> {
    let rows = report.checks.iter().map(|(id, check)| HealthWrite {
        tenant: key.0.clone(),
        agent_id: key.1.clone(),
        instance_id: id.clone(),
        health: check.assessment.status.as_str().into(),
        score: u32::from(check.assessment.score),
        details: details(check).to_string(),
        heartbeat_at: check.last_check,
    });
    rows.collect()
}

fn details(check: &InstanceHealth) -> Value {
    json!({"message": check.assessment.reason, "calls": check.calls, "failures": check.failures, "meanMs": check.mean_ms})
}

/// A row that does not read back is left out and reported: one bad row must not hide all other agents.
fn known(row: AgentRow) -> Option<Known> {
    let document: Value = serde_json::from_str(&row.definition).unwrap_or_default();
    let generation = document["generation"].as_u64().unwrap_or(1);
    let state = match row.state {
        RowState::Active => AgentState::Active,
        RowState::Draining => AgentState::Draining,
    };
    let definition = match AgentDefinition::from_stored(&document["definition"]) {
        Ok(definition) => definition,
        Err(why) => {
            tracing::error!(tenant = %row.tenant, agent = %row.agent_id, error = %why, "an agent's row cannot be read");
            return None;
        }
    };
    let checks: BTreeMap<String, InstanceHealth> = row.instances.iter().filter_map(health).collect();
    let report = HealthReport { checks, ..HealthReport::default() };
    Some(Known {
        entry: AgentEntry::new(definition, generation, state, report),
        tenant: row.tenant,
        id: row.agent_id,
        changed: row.revision,
        created_at: row.created_at,
        updated_at: row.updated_at,
        content_hash: row.content_hash,
    })
}

/// `None` when nothing was measured yet.
fn health(row: &InstanceRow) -> Option<(String, InstanceHealth)> {
    let details: Value = serde_json::from_str(&row.details).ok()?;
    details.get("calls")?;
    let assessment = Assessment {
        status: Status::parse(&row.health)?,
        score: u8::try_from(row.score.min(100)).ok()?,
        reason: details["message"].as_str().unwrap_or_default().to_owned().into(),
    };
    let health = InstanceHealth {
        assessment,
        last_check: row.heartbeat_at,
        calls: details["calls"].as_u64().unwrap_or(0),
        failures: details["failures"].as_u64().unwrap_or(0),
        mean_ms: details["meanMs"].as_f64(),
    };
    Some((row.instance_id.clone(), health))
}
