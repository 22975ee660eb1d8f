//! Lifecycle events of agents on the bus: registered, updated, draining, health_changed, removed.
//!
//! An event is written with the change that it tells, under the revision of that change; the list of changes is the
//! outbox. One replica publishes it in order. How far it came is stored now and then, so after a restart a few events
//! come again: every message carries its revision and that of the event before it, by which consumers drop what they
//! have and see what they miss. What they miss they read with `ReadLog`.

use std::{sync::Arc, time::Duration};

use bus::{Bus, Keys, Message, Position, PublishError, header};
use catalog::AgentEntry;
use prost::Message as _;
use proto::event::v1::{EventBatch, LifecycleEvent};
use serde_json::json;
use store::{
    StoreError,
    journal::ShardPos,
    registry::{Event, StoredEvent},
};

use super::App;

/// All events of the registry go to one partition: they have one order.
pub(crate) const PARTITION: u32 = 0;
const KIND: &str = "orchestra.event.v1.EventBatch";
const CONSUMER: &str = "registry-events";
/// Events read and published at once.
const BATCH: u32 = 256;
/// How often the position is stored while events flow.
const STORE_EVERY: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(1);

/// What a change of an agent tells: `after` as it is then, `before` as it was.
pub(crate) fn tells(name: &'static str, before: Option<&AgentEntry>, after: &AgentEntry) -> Event {
    let d = &after.definition;
    let capabilities: Vec<&str> = d.capabilities.iter().map(|c| c.id.as_str()).collect();
    let mut data = json!({
        "agent_id": d.id.as_str(), "name": d.name, "type": d.agent_type, "version": d.version,
        "revision": after.revision, "state": after.state.as_str(), "capabilities": capabilities,
        "health": after.status().as_str(), "score": after.score(), "reason": after.health.overall.reason,
    });
    if let Some(before) = before {
        data["previous_health"] = json!(before.status().as_str());
    }
    Event { name, data: data.to_string() }
}

/// Tells other replicas that the list of changes grew. It carries nothing and has no position: whoever reads events
/// passes over it.
pub(crate) async fn nudge(bus: &dyn Bus) -> Result<(), PublishError> {
    let message = Message::new(EventBatch::default().encode_to_vec()).with_header(header::KIND, KIND);
    bus.publish(&Keys::default().events(PARTITION), &[message]).await.map(drop)
}

/// Events from a revision on, as they were or would have been published.
#[derive(Debug)]
pub(crate) struct LogPage {
    pub(crate) batches: Vec<EventBatch>,
    /// Nothing is told beyond this revision.
    pub(crate) last: u64,
    /// Some of those that were asked for are not kept any more.
    pub(crate) gone: bool,
}

/// How far the publisher has come.
#[derive(Clone, Copy, Debug)]
struct Progress {
    published: u64,
    stored: u64,
}

/// Publishes until the process stops.
pub(crate) async fn run(app: Arc<App>) -> anyhow::Result<()> {
    let mut head = app.feed.head();
    let mut at: Option<Progress> = None;
    let mut store_at = tokio::time::Instant::now();
    let mut failing = false;
    loop {
        head.borrow_and_update();
        let done = match app.ring.leads(CONSUMER) {
            false => {
                at = None;
                Ok(())
            }
            true => app.publish(&mut at).await,
        };
        match done {
            Ok(()) => failing = false,
            Err(why) => {
                // Said once, not every second for as long as the bus is away.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%why, "events of agents were not published; trying again");
                }
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => continue,
                    () = app.drain.stopped() => break,
                }
            }
        }
        if tokio::time::Instant::now() >= store_at && app.store_position(&mut at).await {
            store_at = tokio::time::Instant::now() + STORE_EVERY;
        }
        let behind = at.is_some_and(|at| at.published > at.stored);
        tokio::select! {
            moved = head.changed() => if moved.is_err() { break },
            () = tokio::time::sleep_until(store_at), if behind => {}
            () = app.drain.stopped() => break,
        }
    }
    app.store_position(&mut at).await;
    Ok(())
}

impl App {
    /// How far events were published, as it is stored.
    pub(crate) async fn published(&self) -> Result<u64, StoreError> {
        let positions = self.repo.store().db().read_positions(CONSUMER, &self.options.cluster).await?;
        Ok(positions.first().and_then(|p| u64::try_from(p.pos).ok()).unwrap_or(0))
    }

    /// Events of a replica that published before, from `from` on, in order.
    pub(crate) async fn read_log(&self, from: u64, limit: u32) -> Result<LogPage, StoreError> {
        let read = self.repo.store().events_since(from.saturating_sub(1), limit).await?;
        let batches = read.events.iter().map(|event| self.batch(event)).collect();
        Ok(LogPage { batches, last: read.last, gone: read.gone })
    }

    /// Publishes what is written and not published.
    async fn publish(&self, at: &mut Option<Progress>) -> Result<(), String> {
        let progress = match at {
            Some(progress) => progress,
            None => {
                let stored = self.published().await.map_err(|e| e.to_string())?;
                at.insert(Progress { published: stored, stored })
            }
        };
        loop {
            let read = self.repo.store().events_since(progress.published, BATCH).await;
            let read = read.map_err(|e| e.to_string())?;
            let Some(last) = read.events.last() else { return Ok(()) };
            let messages: Vec<Message> = read.events.iter().map(|event| self.message(event)).collect();
            let stream = Keys::default().events(PARTITION);
            self.bus.0.publish(&stream, &messages).await.map_err(|e| e.to_string())?;
            progress.published = last.revision;
        }
    }

    fn batch(&self, event: &StoredEvent) -> EventBatch {
        let one = LifecycleEvent {
            r#type: event.name.clone(),
            seq: event.revision,
            timestamp: event.at.rfc3339(),
            data_json: event.data.clone(),
            ..LifecycleEvent::default()
        };
        EventBatch {
            tenant: event.tenant.to_string(),
            cluster: self.options.cluster.clone(),
            shard: Position::REGISTRY,
            incarnation: 0,
            pos: event.revision,
            previous_pos: event.previous,
            events: vec![one],
        }
    }

    fn message(&self, event: &StoredEvent) -> Message {
        let batch = self.batch(event);
        let position = Position {
            cluster: batch.cluster.as_str().into(),
            shard: batch.shard,
            incarnation: batch.incarnation,
            pos: batch.pos,
            previous: batch.previous_pos,
        };
        Message::new(batch.encode_to_vec())
            .with_header(header::TENANT, batch.tenant)
            .with_header(header::KIND, KIND)
            .at(position)
    }

    /// Stores how far events were published; `false` when that has to be tried again.
    async fn store_position(&self, at: &mut Option<Progress>) -> bool {
        let Some(at) = at.as_mut().filter(|at| at.published > at.stored) else { return true };
        let pos = i64::try_from(at.published).unwrap_or(i64::MAX);
        let stored = ShardPos { shard: 0, incarnation: 0, pos };
        match self.repo.store().put_position(CONSUMER, &self.options.cluster, stored).await {
            Ok(()) => {
                at.stored = at.published;
                true
            }
            Err(error) => {
                tracing::debug!(%error, "the position of published events was not stored");
                false
            }
        }
    }
}
