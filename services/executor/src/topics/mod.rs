//! User events: published, kept, matched by triggers, delivered to executions that wait.
//!
//! The table of events is the record. An event is acknowledged once its group is on disk; the stream
//! `orchestra:topics:{partition}` announces it. The owner of a shard handles the partition of the same number, in the order
//! of the positions for every correlation key. What it does is safe to repeat: a start has an id made of trigger and
//! event, a delivery one made of event and task.

mod builtin;
mod consume;
mod deliver;
mod event;
mod executions;
mod fire;
pub(crate) mod grpc;
mod intake;
mod matcher;
mod names;
mod order;
mod rate;
mod triggers;
mod watch;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use api::Fault;
use arc_swap::ArcSwap;
use base::{CallContext, Clock, ErrorCode};
use bus::{Bus, Keys, PublishError};
use proto::executor::v1::{self as pb, event_service_server::EventService};
use runtime::{Drain, Metrics, PeerChannel, RoleContext};
use store::{
    Journal,
    topics::{
        EventFilter, EventRow, EventStats, EventStore, HeldStore, NewEvent, Stored, TriggerStore, WaitStore,
    },
};
use tokio::{
    sync::{Mutex, broadcast, mpsc, watch as latest},
    task::JoinSet,
};

use crate::{
    cluster::Cluster,
    engine::{Engine, away},
    plan_sync::PlanSync,
    starts::Starts,
};
use intake::Intake;
use matcher::Matcher;

pub use builtin::{AGENT_STATUS, BuiltIn, DATA_UPDATES, WORKFLOW_STATUS};
pub use deliver::INBOX_KIND;
pub(crate) use triggers::compile;

/// The consumers of every partition, as their positions name them.
pub(crate) const TRIGGERS: &str = "triggers";
const WAITS: &str = "waits";
/// What positions of partitions are stored under.
const CLUSTER: &str = "topics";
/// The consumer group of the streams.
const GROUP: &str = "executor";
/// Nudges that wait for the bus; more are left out, the table has the events.
const NUDGES_MAX: usize = 64;
/// Volatile events that wait for a slow watcher.
const VOLATILE_MAX: usize = 1024;
/// How often old events are looked for, and how many go at once.
const FORGET: (Duration, u32) = (Duration::from_secs(30), 5000);

/// Bounds and names. Every one is a setting.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether events are taken at all.
    pub enabled: bool,
    /// Name of this replica.
    pub member_id: String,
    /// Shards of the cluster, and partitions of the events.
    pub shards: u16,
    /// Names of the streams.
    pub keys: Keys,
    /// Built-in topics that are fed.
    pub built_in: BuiltIn,
    /// Topics whose events are not written; `metrics.*` means all that begin so.
    pub volatile: Vec<String>,
    /// Largest payload, in bytes.
    pub payload_max: usize,
    /// Most events of one request.
    pub batch_max: usize,
    /// Events that may wait to be written.
    pub queue_max: u32,
    /// Most events of one group.
    pub group_rows_max: usize,
    /// Events a tenant may publish in a second; 0 = no limit.
    pub rate_max: u32,
    /// Starts and deliveries at the same time in one partition.
    pub concurrency: usize,
    /// How often new events are looked for without a nudge.
    pub poll_interval: Duration,
    /// How often watchers look for events of other replicas.
    pub watch_interval: Duration,
    /// First pause before a start is tried again that found its workflow busy.
    pub busy_retry: Duration,
    /// Events are kept this long, and until they are handled.
    pub retention: Duration,
    /// A message that was not acknowledged for this long is handed out again.
    pub claim_after: Duration,
    /// Deliveries of a message before it is given up.
    pub deliveries_max: u32,
}

/// What topics need from the rest of the replica.
pub struct Parts {
    /// The journal and its tables.
    pub journal: Arc<dyn Journal>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// Who owns which shard.
    pub cluster: Cluster,
    /// The engine, for the log of executions.
    pub engine: Engine,
    /// Starts executions.
    pub starts: Arc<dyn Starts>,
    /// Keeps triggers of definitions in step; `None` = there are none.
    pub plans: Option<PlanSync>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ends with the process.
    pub drain: Drain,
    /// Where counters go.
    pub metrics: Metrics,
    /// Ends the process: its disk failed.
    pub fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

struct Counts {
    published: runtime::Counter,
    duplicates: runtime::Counter,
    started: runtime::Counter,
    skipped: runtime::Counter,
    failed: runtime::Counter,
    delivered: runtime::Counter,
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        Self {
            published: metrics.counter("orchestra.events.published", "User events that were taken"),
            duplicates: metrics.counter("orchestra.events.duplicates", "User events that were known already"),
            started: metrics.counter("orchestra.triggers.started", "Executions that events started"),
            skipped: metrics.counter("orchestra.triggers.skipped", "Events that found their workflow busy"),
            failed: metrics
                .counter("orchestra.triggers.failed", "Starts of triggers that became dead letters"),
            delivered: metrics.counter("orchestra.events.delivered", "Events handed to tasks that waited"),
        }
    }
}

struct Inner {
    options: Options,
    journal: Arc<dyn Journal>,
    events: EventStore,
    triggers: TriggerStore,
    waits: WaitStore,
    held: HeldStore,
    bus: Arc<dyn Bus>,
    cluster: Cluster,
    engine: Engine,
    starts: Arc<dyn Starts>,
    plans: Option<PlanSync>,
    clock: Arc<dyn Clock>,
    drain: Drain,
    counts: Counts,
    rates: rate::Rates,
    intake: Intake,
    wanted: consume::Wanted,
    matcher: ArcSwap<Matcher>,
    /// Held while triggers are read anew.
    reading: Mutex<()>,
    head: latest::Sender<i64>,
    volatile: broadcast::Sender<Arc<EventRow>>,
}

/// The events of this replica. Cheap to clone.
#[derive(Clone)]
pub struct Topics(Arc<Inner>, Arc<std::sync::Mutex<JoinSet<()>>>);

impl Topics {
    /// Makes the parts and starts what works beside requests. With topics switched off nothing works and events are
    /// refused; what was kept can be read.
    pub fn start(options: Options, parts: Parts) -> Self {
        let Parts { journal, bus, cluster, engine, starts, plans, clock, drain, metrics, fatal } = parts;
        let tables = journal.tables();
        let events = EventStore::new(tables.clone());
        let (nudges, waiting) = mpsc::channel(NUDGES_MAX);
        let owner: Arc<OnceLock<std::sync::Weak<Inner>>> = Arc::default();
        let committed: intake::Committed = {
            let owner = owner.clone();
            Arc::new(move |rows| {
                if let Some(inner) = owner.get().and_then(std::sync::Weak::upgrade) {
                    inner.committed(rows, &nudges);
                }
            })
        };
        let rows_max = options.group_rows_max;
        let (intake, writer) = Intake::new(events.clone(), options.queue_max, rows_max, committed, fatal);
        let inner = Arc::new(Inner {
            triggers: TriggerStore::new(tables.clone()),
            waits: WaitStore::new(tables.clone()),
            held: HeldStore::new(tables),
            counts: Counts::new(&metrics),
            rates: rate::Rates::new(options.rate_max),
            wanted: consume::Wanted::default(),
            matcher: ArcSwap::from_pointee(Matcher::new(-1, Vec::new())),
            reading: Mutex::default(),
            head: latest::channel(0).0,
            volatile: broadcast::channel(VOLATILE_MAX).0,
            options,
            journal,
            events,
            bus,
            cluster,
            engine,
            starts,
            plans,
            clock,
            drain,
            intake,
        });
        let _ = owner.set(Arc::downgrade(&inner));
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.run());
        if inner.options.enabled {
            tasks.spawn(announce(inner.clone(), waiting));
            tasks.spawn(consume::run(inner.clone()));
            tasks.spawn(consume::listen(inner.clone()));
            tasks.spawn(watch::follow_head(inner.clone()));
            tasks.spawn(keep(inner.clone()));
            if inner.options.built_in.data_updates || inner.options.built_in.workflow_status {
                tasks.spawn(builtin::executions(inner.clone()));
            }
        }
        Self(inner, Arc::new(std::sync::Mutex::new(tasks)))
    }

    /// Feeds the topic of agents from the registry's log.
    pub fn follow_registry(&self, ctx: RoleContext, registry: PeerChannel) {
        if self.0.options.enabled && self.0.options.built_in.agent_status {
            self.tasks().spawn(builtin::agents(self.0.clone(), ctx, registry));
        }
    }

    /// The public contract over these events; watches end when `drain` begins.
    pub fn door(&self, drain: Drain) -> impl EventService + Clone + use<> {
        grpc::EventDoor::new(self.clone(), drain)
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Ends what works beside requests, at once. Nothing is lost: the next owner goes on where this one stopped.
    pub fn stop(&self) {
        self.tasks().abort_all();
    }

    /// Publishes events; answered when those that are durable are on disk. `emit` takes the same way.
    ///
    /// # Errors
    /// `invalid_argument` and `payload_too_large` naming the event, `resource_exhausted` with a retry time: nothing was
    /// taken. `invalid_state` when topics are switched off.
    pub async fn publish(
        &self,
        context: &CallContext,
        events: Vec<pb::NewEvent>,
    ) -> Result<Vec<pb::Published>, Fault> {
        let inner = &self.0;
        let o = &inner.options;
        self.on()?;
        if events.is_empty() {
            return Err(Fault::bad("events", "is empty; give at least one"));
        }
        if events.len() > o.batch_max {
            let rule = format!(
                "has {} events, at most {} fit a request (topics.batch_max)",
                events.len(),
                o.batch_max
            );
            return Err(Fault::bad("events", rule));
        }
        let now = inner.clock.now();
        let source = if context.principal.is_empty() { "anonymous" } else { &context.principal };
        let door = event::Door {
            tenant: &context.tenant,
            source,
            trace: &context.trace,
            now,
            shards: o.shards,
            payload_max: o.payload_max,
        };
        let (mut durable, mut volatile, mut answer) = (Vec::new(), Vec::new(), Vec::new());
        for (index, event) in events.into_iter().enumerate() {
            let passing = event.volatile || is_volatile(&o.volatile, &event.topic);
            let event = door.read(index, event)?;
            answer.push(pb::Published { id: event.id.clone(), duplicate: false, durable: !passing });
            if passing { volatile.push(event) } else { durable.push(event) }
        }
        inner.rates.take(&context.tenant, answer.len(), now).map_err(|wait| {
            let text = format!("the tenant is above {} events a second (topics.rate_max)", o.rate_max);
            Fault::new(ErrorCode::ResourceExhausted, text).retry_after_ms(wait.as_millis() as u64 + 1)
        })?;
        let mut stored = match durable.is_empty() {
            true => Vec::new(),
            false => inner.intake.write(durable).await?,
        }
        .into_iter();
        inner.pass_on(volatile).await?;
        for published in answer.iter_mut().filter(|p| p.durable) {
            published.duplicate = stored.next() == Some(Stored::Duplicate);
            if published.duplicate {
                inner.counts.duplicates.add(1)
            }
        }
        inner.counts.published.add(answer.len() as u64);
        Ok(answer)
    }

    fn on(&self) -> Result<(), Fault> {
        if self.0.options.enabled {
            return Ok(());
        }
        Err(Fault::new(
            ErrorCode::InvalidState,
            "topics are switched off (topics.enabled); events are not taken",
        ))
    }

    /// One event that is kept.
    async fn get(&self, context: &CallContext, id: &str) -> Result<EventRow, Fault> {
        let found = self.0.events.get(&context.tenant, id).await.map_err(away)?;
        found.ok_or_else(|| Fault::not_found("event", id))
    }

    async fn list(
        &self,
        context: &CallContext,
        filter: &EventFilter,
        (newest_below, oldest_above): (Option<i64>, Option<i64>),
        limit: u32,
    ) -> Result<Vec<EventRow>, Fault> {
        self.0.events.list(&context.tenant, filter, newest_below, oldest_above, limit).await.map_err(away)
    }

    async fn stats(&self, context: &CallContext) -> Result<(EventStats, u64), Fault> {
        let stats = self.0.events.stats(&context.tenant, [TRIGGERS, WAITS]).await.map_err(away)?;
        Ok((stats, self.0.held.count(&context.tenant).await.map_err(away)?))
    }

    /// Makes the start that a dead letter of a trigger tells of.
    ///
    /// # Errors
    /// Those of the start; `invalid_state` when its trigger is gone.
    pub async fn redrive(&self, body: bytes::Bytes) -> Result<(), Fault> {
        let matcher = self.0.matcher_now().await?;
        self.0.redrive(&matcher, body).await
    }
}

impl Inner {
    /// A group is on disk: those who look after its events, and those who look on, are told.
    fn committed(&self, rows: Vec<EventRow>, nudges: &mpsc::Sender<Vec<EventRow>>) {
        let Some(last) = rows.last().map(|row| row.pos) else { return };
        self.wanted.look(rows.iter().map(|row| row.event.partition));
        self.saw(last);
        // With many waiting the owner is nudged all the same, and finds these as well.
        let _ = nudges.try_send(rows);
    }

    /// Volatile events are where they go once the bus has them.
    async fn pass_on(&self, events: Vec<NewEvent>) -> Result<(), Fault> {
        for event in events {
            let stream = self.options.keys.topics(u32::from(event.partition));
            let message = event::message(&EventRow { pos: 0, event });
            self.bus.publish(&stream, &[message]).await.map_err(|error| match error {
                PublishError::Full { .. } => {
                    let text = "the stream of the topic is full; slow down";
                    Fault::new(ErrorCode::ResourceExhausted, text).retry_after_ms(500)
                }
                error => {
                    tracing::warn!(%error, "a volatile event could not be published");
                    Fault::unavailable("the bus is away; try again").retry_after_ms(1000)
                }
            })?;
        }
        Ok(())
    }

    /// The triggers as they are now, those of definitions included.
    async fn matcher_now(&self) -> Result<Arc<Matcher>, Fault> {
        if let Some(plans) = &self.plans {
            plans.now().await?;
        }
        let revision = self.triggers.revision().await.map_err(away)?;
        let known = self.matcher.load_full();
        if known.revision == revision {
            return Ok(known);
        }
        let _one = self.reading.lock().await;
        let known = self.matcher.load_full();
        if known.revision == revision {
            return Ok(known);
        }
        // The number first: what changes meanwhile is read again with the next one.
        let revision = self.triggers.revision().await.map_err(away)?;
        let rows = self.triggers.all_running().await.map_err(away)?;
        let matcher = Arc::new(Matcher::new(revision, rows));
        self.matcher.store(matcher.clone());
        Ok(matcher)
    }
}

/// Puts committed events on their streams, until the replica stops.
async fn announce(inner: Arc<Inner>, mut waiting: mpsc::Receiver<Vec<EventRow>>) {
    while let Some(rows) = waiting.recv().await {
        let mut by_partition: std::collections::BTreeMap<u16, Vec<bus::Message>> = Default::default();
        for row in &rows {
            by_partition.entry(row.event.partition).or_default().push(event::message(row));
        }
        for (partition, messages) in by_partition {
            let stream = inner.options.keys.topics(u32::from(partition));
            if let Err(error) = inner.bus.publish(&stream, &messages).await {
                tracing::debug!(%error, "events were not announced; they are looked for");
            }
        }
    }
}

/// Tries starts on hold, and forgets what was kept long enough, until the replica stops.
async fn keep(inner: Arc<Inner>) {
    let mut held = tokio::time::interval(inner.options.busy_retry.max(Duration::from_millis(20)));
    let mut old = tokio::time::interval(FORGET.0);
    for interval in [&mut held, &mut old] {
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            () = inner.drain.draining() => return,
            _ = held.tick() => {
                let here: Vec<u16> = inner.here().into_iter().collect();
                inner.try_held(&here, inner.clock.now()).await;
            }
            _ = old.tick() => inner.forget().await,
        }
    }
}

impl Inner {
    async fn forget(&self) {
        if !self.here().contains(&0) {
            return;
        }
        let kept = i64::try_from(self.options.retention.as_micros()).unwrap_or(i64::MAX);
        let before = base::Timestamp::from_micros(self.clock.now().micros().saturating_sub(kept));
        loop {
            match self.events.forget(before, [TRIGGERS, WAITS], FORGET.1).await {
                Ok(gone) if gone == u64::from(FORGET.1) => {}
                Ok(_) => return,
                Err(error) => return tracing::warn!(%error, "old events could not be deleted"),
            }
        }
    }
}

fn is_volatile(patterns: &[String], topic: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => topic.starts_with(prefix),
        None => pattern == topic,
    })
}
