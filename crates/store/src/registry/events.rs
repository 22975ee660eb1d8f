//! What is published about changes: written with them, read by the publisher and by whoever missed something.

use base::{AgentId, Tenant, Timestamp};

use super::RegistryStore;
use crate::{
    db::{Row, Tx},
    journal::{PAGE_MAX, Result, ShardPos},
};

/// What a change tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name: `agent.registered`.
    pub name: &'static str,
    /// Its fields, JSON.
    pub data: String,
}

/// An event about one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentEvent {
    /// Tenant of the agent.
    pub tenant: Tenant,
    /// The agent.
    pub agent_id: AgentId,
    /// What is told.
    pub event: Event,
}

/// An event as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The change that it tells.
    pub revision: u64,
    /// The change before it that told something, 0 for the first.
    pub previous: u64,
    /// Tenant of the agent.
    pub tenant: Tenant,
    /// Its name.
    pub name: String,
    /// Its fields, JSON.
    pub data: String,
    /// When the change was made.
    pub at: Timestamp,
}

/// Events after a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// In order, at most as many as asked for.
    pub events: Vec<StoredEvent>,
    /// The newest revision that tells something.
    pub last: u64,
    /// Some after the revision were deleted: `events` begins with the oldest that is left.
    pub gone: bool,
}

/// Puts the event beside the change of the same revision.
pub(super) async fn record_event(tx: &mut Tx, revision: i64, event: &Event) -> Result<()> {
    let sql = "UPDATE changes SET event = $2, data = $3, previous = (SELECT told FROM revision)
        WHERE revision = $1";
    tx.write(sql, vec![revision.into(), event.name.into(), (&event.data).into()]).await?;
    tx.write("UPDATE revision SET told = $1", vec![revision.into()]).await.map(drop)
}

impl RegistryStore {
    /// Events of changes above `revision`, in order, at most `limit`.
    pub async fn events_since(&self, revision: u64, limit: u32) -> Result<Events> {
        // One statement, so that floor and newest revision belong to the rows.
        let sql = "SELECT r.floor, r.told, c.revision, c.previous, c.tenant, c.event, c.data, c.at
            FROM revision AS r LEFT JOIN changes AS c ON c.revision > $1 AND c.event <> ''
            ORDER BY c.revision LIMIT $2";
        let rows = self.db.read(sql, vec![revision.into(), limit.clamp(1, PAGE_MAX).into()]).await?;
        let mut read = Events { events: Vec::with_capacity(rows.len()), last: 0, gone: false };
        for row in &rows {
            read.last = row.unsigned(1)?;
            read.gone = row.unsigned(0)? > revision && read.last > revision;
            if row.get::<Option<i64>>(2)?.is_some() {
                read.events.push(event(row)?);
            }
        }
        Ok(read)
    }

    /// Stores how far `consumer` has come.
    pub async fn put_position(&self, consumer: &str, cluster: &str, at: ShardPos) -> Result<()> {
        let mut tx = self.db.begin().await?;
        tx.put_positions(consumer, cluster, &[at]).await?;
        tx.commit().await
    }
}

fn event(row: &Row) -> Result<StoredEvent> {
    Ok(StoredEvent {
        revision: row.unsigned(2)?,
        previous: row.unsigned(3)?,
        tenant: row.tenant(4)?,
        name: row.get(5)?,
        data: row.get(6)?,
        at: row.time(7)?,
    })
}
