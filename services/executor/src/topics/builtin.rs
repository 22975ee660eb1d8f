//! Built-in topics: what happens to agents and executions, as user events.
//!
//! Each is read from the log of its owner with a position of its own and published under an id made of that position, so
//! a repetition is a duplicate that changes nothing.

use std::{sync::Arc, time::Duration};

use api::Fault;
use base::{Tenant, Timestamp};
use prost::Message as _;
use proto::{
    event::v1::{EventBatch, LifecycleEvent},
    registry::internal::v1::{
        ReadLogRequest, registry_internal_service_client::RegistryInternalServiceClient as Registry,
    },
};
use runtime::{PeerChannel, RoleContext};
use serde_json::{Value, json};
use store::{journal::ShardPos, topics::NewEvent};

use super::{CLUSTER, Inner, event};
use crate::{cluster::replay, engine::away};

/// What happens to agents: `agent.registered`, `agent.health_changed`, ….
pub const AGENT_STATUS: &str = "agent_status";
/// Results of tasks: `task.completed`, keyed by execution.
pub const DATA_UPDATES: &str = "data_updates";
/// Starts, assignments and ends of executions, keyed by execution.
pub const WORKFLOW_STATUS: &str = "workflow_status";

/// How often the logs are looked at.
const EVERY: Duration = Duration::from_millis(500);
/// Rows of a look.
const ROWS: u32 = 256;
/// The one shard whose owner reads what has one log only.
const LEADER: u16 = 0;

/// Which of them are fed.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltIn {
    /// [`AGENT_STATUS`].
    pub agent_status: bool,
    /// [`DATA_UPDATES`].
    pub data_updates: bool,
    /// [`WORKFLOW_STATUS`].
    pub workflow_status: bool,
}

/// Publishes what happens to agents, until the replica stops.
pub(super) async fn agents(inner: Arc<Inner>, ctx: RoleContext, registry: PeerChannel) {
    let client = Registry::new(registry);
    let mut at: Option<u64> = None;
    loop {
        tokio::select! {
            () = inner.drain.draining() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if !inner.here().contains(&LEADER) {
            at = None;
            continue;
        }
        if let Err(error) = inner.follow_agents(&client, &ctx, &mut at).await {
            tracing::debug!(%error, "events of agents are published later");
        }
    }
}

/// Publishes what happens to executions, until the replica stops.
pub(super) async fn executions(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.drain.draining() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        for shard in inner.here() {
            while inner.follow_shard(shard).await.unwrap_or_else(|error| {
                tracing::debug!(shard, %error, "events of executions are published later");
                false
            }) {}
        }
    }
}

impl Inner {
    async fn stored(&self, consumer: &str, shard: u16) -> Result<Option<i64>, Fault> {
        let stored = self.journal.read_positions(consumer, CLUSTER).await.map_err(away)?;
        Ok(stored.iter().find(|p| p.shard == shard).map(|p| p.pos))
    }

    async fn store(&self, consumer: &str, shard: u16, pos: i64) -> Result<(), Fault> {
        let at = ShardPos { shard, incarnation: 0, pos };
        self.journal.put_positions(consumer, CLUSTER, &[at]).await.map_err(away)
    }

    async fn follow_agents(
        &self,
        client: &Registry<PeerChannel>,
        ctx: &RoleContext,
        at: &mut Option<u64>,
    ) -> Result<(), Fault> {
        let from = match *at {
            Some(from) => from,
            None => self.stored(AGENT_STATUS, LEADER).await?.unwrap_or(0).unsigned_abs(),
        };
        let message = ReadLogRequest { from_pos: from + 1, limit: ROWS };
        let mut request = runtime::call::request(&ctx.own_call(), message);
        request.set_timeout(Duration::from_secs(5));
        let answer =
            { client.clone() }.read_log(request).await.map_err(|s| Fault::from_status(&s))?.into_inner();
        let mut events = Vec::new();
        // What is not kept any more was told to nobody here: going on with what is.
        let mut last = if answer.gone { answer.last_pos } else { from };
        for bytes in answer.batches {
            let Ok(batch) = EventBatch::decode(bytes.as_slice()) else { continue };
            last = last.max(batch.pos);
            events.extend(batch.events.iter().filter_map(|e| self.of_agent(&batch, e)));
        }
        if last > from {
            self.publish_own(events).await?;
            self.store(AGENT_STATUS, LEADER, i64::try_from(last).unwrap_or(i64::MAX)).await?;
        }
        *at = Some(last);
        Ok(())
    }

    fn of_agent(&self, batch: &EventBatch, event: &LifecycleEvent) -> Option<NewEvent> {
        let data: Value = serde_json::from_str(&event.data_json).ok()?;
        let key = data["agent_id"].as_str().unwrap_or_default().to_owned();
        let id = format!("agent-{}-{}", batch.pos, event.r#type);
        let tenant = Tenant::new(&batch.tenant).ok()?;
        Some(self.own_event(&tenant, (AGENT_STATUS, "registry"), id, &event.r#type, key, data))
    }

    /// Publishes a part of a shard's log. `false`: there is no more.
    async fn follow_shard(&self, shard: u16) -> Result<bool, Fault> {
        let last = self.journal.last_pos(shard).await.map_err(away)?;
        let from = match self.stored(DATA_UPDATES, shard).await? {
            Some(from) => from,
            // Switched on now: what was before is not told.
            None => {
                self.store(DATA_UPDATES, shard, last).await?;
                last
            }
        };
        if from >= last {
            return Ok(false);
        }
        let page = replay::rows(self.engine.shared(), shard, from + 1, ROWS).await?;
        let events = page.rows.iter().flat_map(|row| row.events.iter().map(|e| (&row.tenant, e)));
        let events = events.filter_map(|(tenant, e)| self.of_execution(tenant, e)).collect();
        self.publish_own(events).await?;
        self.store(DATA_UPDATES, shard, page.last.max(from)).await?;
        Ok(page.last > from && page.last < last)
    }

    fn of_execution(&self, tenant: &Tenant, event: &crate::engine::PublicEvent) -> Option<NewEvent> {
        let on = self.options.built_in;
        let (topic, kind) = match event.kind {
            "task.completed" if on.data_updates => (DATA_UPDATES, "task.completed".to_owned()),
            "task.completed" => return None,
            _ if !on.workflow_status => return None,
            "workflow.execution_started" => (WORKFLOW_STATUS, "workflow.execution_started".into()),
            "agent.assigned" => (WORKFLOW_STATUS, "agent.task_assigned".into()),
            "error.occurred" => (WORKFLOW_STATUS, "error.occurred".into()),
            "workflow.status_changed" => {
                (WORKFLOW_STATUS, format!("workflow.{}", event.data["status"].as_str().unwrap_or("changed")))
            }
            _ => return None,
        };
        let task = event.data["task_id"].as_str().unwrap_or_default();
        let id = format!("{}-{}-{kind}-{task}", event.execution_id, event.seq);
        let mut data = (*event.data).clone();
        if let Value::Object(members) = &mut data {
            members.insert("execution_id".into(), json!(event.execution_id.to_string()));
            members.insert("workflow_id".into(), json!(event.workflow_id.to_string()));
        }
        Some(self.own_event(tenant, (topic, "executor"), id, &kind, event.execution_id.to_string(), data))
    }

    fn own_event(
        &self,
        tenant: &Tenant,
        (topic, source): (&str, &str),
        mut id: String,
        kind: &str,
        key: String,
        data: Value,
    ) -> NewEvent {
        id.truncate(256);
        NewEvent {
            tenant: tenant.clone(),
            partition: event::partition(tenant, topic, &key, &id, self.options.shards),
            id,
            topic: topic.to_owned(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            key,
            priority: 0,
            media_type: base::payload::JSON.into(),
            payload: data.to_string().into(),
            trace: String::new(),
            at: self.now(),
        }
    }

    async fn publish_own(&self, events: Vec<NewEvent>) -> Result<(), Fault> {
        if events.is_empty() {
            return Ok(());
        }
        self.intake.write(events).await.map(drop)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
