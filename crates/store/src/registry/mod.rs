//! The registry's tables: agents, instances, the changes a watch follows, and who watches.

mod agents;
mod changes;
mod events;
mod health;
mod watchers;

use base::{AgentId, Tenant, Timestamp};

use crate::{
    database::{Database, DatabaseOptions},
    db::{Db, Row},
    error::{OpenError, StoreError},
    journal::Result,
    migrate,
};
pub use events::{AgentEvent, Event, Events, StoredEvent};

/// The registry's store.
#[derive(Clone, Debug)]
pub struct RegistryStore {
    db: Db,
}

/// Whether new calls go to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// Yes.
    Active,
    /// No: it is gone when nobody has a call at it any more.
    Draining,
}

impl AgentState {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
        }
    }
}

/// An agent as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// Its tenant.
    pub tenant: Tenant,
    /// Its key.
    pub agent_id: AgentId,
    /// Rises with every change of the agent or of its health.
    pub revision: u64,
    /// Whether new calls go to it.
    pub state: AgentState,
    /// Hash of the definition.
    pub content_hash: String,
    /// The definition, JSON.
    pub definition: String,
    /// Measured performance, JSON; changes without a new revision.
    pub performance: String,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When the definition or state changed last.
    pub updated_at: Timestamp,
    /// Where it runs, by instance id.
    pub instances: Vec<InstanceRow>,
}

/// An instance of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRow {
    /// Its id within the agent.
    pub instance_id: String,
    /// Where it is called.
    pub endpoint: String,
    /// Calls at once.
    pub capacity: u32,
    /// Share among instances.
    pub weight: u32,
    /// Region.
    pub region: String,
    /// `healthy`, `degraded`, `unhealthy` or `unknown`.
    pub health: String,
    /// 0 to 100.
    pub score: u32,
    /// What probes and heartbeats measured, JSON.
    pub details: String,
    /// Last sign of life.
    pub heartbeat_at: Option<Timestamp>,
}

/// A definition to be stored.
#[derive(Clone, Debug)]
pub struct AgentWrite {
    /// Its tenant.
    pub tenant: Tenant,
    /// Its key.
    pub agent_id: AgentId,
    /// Hash of the definition.
    pub content_hash: String,
    /// The definition, JSON.
    pub definition: String,
    /// Where it runs. Instances that stay keep their measured health; those that are missing here go.
    pub instances: Vec<InstanceWrite>,
    /// What is told about it.
    pub event: Event,
    /// Now.
    pub at: Timestamp,
}

/// An instance in a definition.
#[derive(Clone, Debug)]
pub struct InstanceWrite {
    /// Its id within the agent.
    pub instance_id: String,
    /// Where it is called.
    pub endpoint: String,
    /// Calls at once.
    pub capacity: u32,
    /// Share among instances.
    pub weight: u32,
    /// Region.
    pub region: String,
}

/// What the writer of a definition believes to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: it registers the agent.
    Absent,
    /// The agent in any revision.
    Present,
    /// The agent at this revision.
    Revision(u64),
}

/// A definition that was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutAgentError {
    /// The key is taken by another definition. (The same definition again is no error.)
    #[error("an agent with this id exists with another definition")]
    Exists(Box<AgentRow>),
    /// There is no such agent.
    #[error("no such agent")]
    NotFound,
    /// Somebody changed it meanwhile.
    #[error("the agent is at revision {present}")]
    Stale {
        /// Its present revision.
        present: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The measured health of an instance.
#[derive(Clone, Debug)]
pub struct HealthWrite {
    /// Tenant of the agent.
    pub tenant: Tenant,
    /// The agent.
    pub agent_id: AgentId,
    /// The instance.
    pub instance_id: String,
    /// `healthy`, `degraded`, `unhealthy` or `unknown`.
    pub health: String,
    /// 0 to 100.
    pub score: u32,
    /// What was measured, JSON.
    pub details: String,
    /// Last sign of life.
    pub heartbeat_at: Option<Timestamp>,
}

/// What happened to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was registered or changed: read it.
    Put,
    /// It is gone.
    Removed,
}

/// An entry of the list that watches follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number; they have no gaps and become visible in their order.
    pub revision: u64,
    /// Tenant of the agent.
    pub tenant: Tenant,
    /// The agent.
    pub agent_id: AgentId,
    /// What happened.
    pub kind: ChangeKind,
}

/// Changes after a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// In order, at most as many as asked for; empty when there are none.
    Since(Vec<Change>),
    /// They were deleted meanwhile: start again with a snapshot.
    Gone,
}

/// Somebody who watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watcher {
    /// Its name.
    pub member: String,
    /// Every change up to this one has reached it.
    pub acked_revision: u64,
    /// Agents it has calls at, as a JSON object: `{"<tenant>/<agent id>": calls}`.
    pub in_flight: String,
}

impl RegistryStore {
    /// Opens the database and brings its schema up to date.
    pub async fn open(
        database: &Database,
        options: &DatabaseOptions,
    ) -> std::result::Result<Self, OpenError> {
        Ok(Self { db: Db::open(database, &migrate::REGISTRY, options).await? })
    }

    /// The database: leases, dead letters, positions, ping and close.
    pub fn db(&self) -> &Db {
        &self.db
    }
}

fn agent_id(row: &Row, column: usize) -> Result<AgentId> {
    let text: String = row.get(column)?;
    AgentId::new(text)
        .map_err(|err| StoreError::Unreadable { table: "agents", why: format!("column {column}: {err}") })
}
