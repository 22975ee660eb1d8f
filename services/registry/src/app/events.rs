//! Lifecycle events of agents on the bus: registered, updated, draining, health_changed, removed.
//!
//! One replica publishes. It compares what it published last with what is there now, so a publisher that was slow tells
//! the outcome, not every step. How far it came is stored; after a restart agents that changed since are told once more
//! as updated: at least once, as everything on the bus.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bus::{Bus, Keys, Message, PublishError, header};
use prost::Message as _;
use proto::event::v1::{EventBatch, LifecycleEvent};
use serde_json::{Value, json};
use store::{StoreError, journal::ShardPos, registry::Changes};

use super::{AgentKey, App, Known};

/// All events of the registry go to one partition: they have one order.
pub(crate) const PARTITION: u32 = 0;
const KIND: &str = "orchestra.event.v1.EventBatch";
const CONSUMER: &str = "registry-events";
/// How often the position is stored while events flow.
const STORE_EVERY: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(1);

type View = BTreeMap<AgentKey, Arc<Known>>;

/// What is published about one agent.
#[derive(Debug, PartialEq)]
struct Event {
    key: AgentKey,
    kind: &'static str,
    data: Value,
}

fn view(app: &App) -> View {
    app.feed.select(|_| true).into_iter().map(|k| (k.key(), k)).collect()
}

/// Tells other replicas that the list of changes grew. It carries nothing: whoever reads events passes over it.
pub(crate) async fn nudge(bus: &dyn Bus) -> Result<(), PublishError> {
    let message = Message::new(EventBatch::default().encode_to_vec()).with_header(header::KIND, KIND);
    bus.publish(&Keys::default().events(PARTITION), &[message]).await.map(drop)
}

/// Publishes until the process stops.
pub(crate) async fn run(app: Arc<App>) -> anyhow::Result<()> {
    let mut head = app.feed.head();
    let mut told: Option<View> = None;
    let (mut published, mut stored) = (0, 0);
    let mut store_at = tokio::time::Instant::now();
    let mut failing = false;
    loop {
        let revision = *head.borrow_and_update();
        let done = match app.ring.leads(CONSUMER) {
            false => {
                told = None;
                Ok(())
            }
            true => app.tell(&mut told, &mut stored, revision).await,
        };
        match done {
            Ok(()) => {
                published = revision;
                failing = false;
            }
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
        let behind = told.is_some() && published > stored;
        if behind && tokio::time::Instant::now() >= store_at {
            stored = app.store_position(published, stored).await;
            store_at = tokio::time::Instant::now() + STORE_EVERY;
        }
        tokio::select! {
            moved = head.changed() => if moved.is_err() { break },
            () = tokio::time::sleep_until(store_at), if told.is_some() && published > stored => {}
            () = app.drain.stopped() => break,
        }
    }
    if told.is_some() && published > stored {
        app.store_position(published, stored).await;
    }
    Ok(())
}

impl App {
    /// Publishes what is different from what was told.
    async fn tell(&self, told: &mut Option<View>, stored: &mut u64, revision: u64) -> Result<(), String> {
        let now = view(self);
        let events = match told {
            Some(before) => compare(before, &now),
            None => {
                let (events, position) = self.missed(&now).await.map_err(|e| e.to_string())?;
                *stored = position;
                events
            }
        };
        self.publish(&events, revision).await?;
        *told = Some(now);
        Ok(())
    }

    /// What changed since the stored position, and that position.
    async fn missed(&self, now: &View) -> Result<(Vec<Event>, u64), StoreError> {
        let positions = self.repo.store().db().read_positions(CONSUMER, &self.options.cluster).await?;
        let position = positions.first().and_then(|p| u64::try_from(p.pos).ok()).unwrap_or(0);
        let mut keys: BTreeSet<AgentKey> = BTreeSet::new();
        let mut after = position;
        loop {
            match self.repo.changes(after).await? {
                Changes::Gone => {
                    keys.extend(now.keys().cloned());
                    break;
                }
                Changes::Since(page) => {
                    let Some(last) = page.last() else { break };
                    after = last.revision;
                    keys.extend(page.into_iter().map(|c| (c.tenant, c.agent_id)));
                }
            }
        }
        let events = keys.into_iter().map(|key| match now.get(&key) {
            Some(known) => Event { data: describe(known), kind: "agent.updated", key },
            None => Event { data: json!({"agent_id": key.1.as_str()}), kind: "agent.removed", key },
        });
        Ok((events.collect(), position))
    }

    async fn publish(&self, events: &[Event], revision: u64) -> Result<(), String> {
        let messages: Vec<Message> = events.iter().map(|event| self.message(event, revision)).collect();
        for chunk in messages.chunks(256) {
            self.bus.0.publish(&Keys::default().events(PARTITION), chunk).await.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn message(&self, event: &Event, revision: u64) -> Message {
        let one = LifecycleEvent {
            r#type: event.kind.into(),
            seq: revision,
            timestamp: self.now().rfc3339(),
            data_json: event.data.to_string(),
            ..LifecycleEvent::default()
        };
        let batch = EventBatch {
            tenant: event.key.0.to_string(),
            cluster: self.options.cluster.clone(),
            events: vec![one],
            ..EventBatch::default()
        };
        Message::new(batch.encode_to_vec())
            .with_header(header::TENANT, event.key.0.to_string())
            .with_header(header::KIND, KIND)
    }

    /// Stores how far events were published; gives what is stored then.
    async fn store_position(&self, published: u64, stored: u64) -> u64 {
        let pos = i64::try_from(published).unwrap_or(i64::MAX);
        let at = [ShardPos { shard: 0, incarnation: 0, pos }];
        match self.repo.store().record_performance(&[], CONSUMER, &self.options.cluster, &at).await {
            Ok(()) => published,
            Err(error) => {
                tracing::debug!(%error, "the position of published events was not stored");
                stored
            }
        }
    }
}

/// What callers want to know of an agent in an event.
fn describe(known: &Known) -> Value {
    let d = &known.entry.definition;
    let capabilities: Vec<&str> = d.capabilities.iter().map(|c| c.id.as_str()).collect();
    json!({
        "agent_id": known.id.as_str(), "name": d.name, "type": d.agent_type, "version": d.version,
        "revision": known.entry.revision, "state": known.entry.state.as_str(), "capabilities": capabilities,
        "health": known.entry.status().as_str(), "score": known.entry.score(),
        "reason": known.entry.health.overall.reason,
    })
}

/// One event for each agent that is different; what weighs most names it.
fn compare(before: &View, now: &View) -> Vec<Event> {
    let mut events = Vec::new();
    for (key, known) in now {
        let kind = match before.get(key) {
            Some(old) if Arc::ptr_eq(old, known) => continue,
            None => "agent.registered",
            Some(old) if known.is_draining() && !old.is_draining() => "agent.draining",
            Some(old)
                if old.content_hash != known.content_hash || old.is_draining() != known.is_draining() =>
            {
                "agent.updated"
            }
            Some(old) if known.entry.health.status_differs(&old.entry.health) => "agent.health_changed",
            Some(_) => continue,
        };
        let mut data = describe(known);
        if let Some(old) = before.get(key) {
            data["previous_health"] = json!(old.entry.status().as_str());
        }
        events.push(Event { key: key.clone(), kind, data });
    }
    let gone = before.iter().filter(|(key, _)| !now.contains_key(*key));
    events.extend(gone.map(|(key, old)| Event {
        key: key.clone(),
        kind: "agent.removed",
        data: describe(old),
    }));
    events
}
