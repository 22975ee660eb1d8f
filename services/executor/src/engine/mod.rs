//! The engine: shards, lanes, executions in memory. Log first: nothing leaves before its facts are on disk.

mod admission;
mod asked;
mod calls;
mod command;
pub mod crash;
mod cuts;
mod dispatch;
mod foreign;
mod group;
mod hooked;
mod hot;
mod kinds;
mod lane;
mod links;
mod load;
mod mail;
mod measured;
mod metrics;
mod msg;
mod operations;
mod outside;
mod present;
mod read;
mod remember;
mod start;
mod stuck;
mod upgrade;
mod view;
mod waits;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use api::Fault;
use arc_swap::ArcSwap;
use base::{AgentId, Clock, ExecutionId, Tenant, WorkflowId};
use catalog::Snapshot;
use futures::stream::FuturesUnordered;
use store::{Journal, journal::Membership};
use tokio::sync::{mpsc, oneshot, watch};
use workflow::Caller;

use crate::{
    call::AgentCaller,
    plans::{PlanEntry, PlanSource},
};
use admission::{Admission, Quota};
use dispatch::Dispatcher;
use lane::{Inbox, Lane};
pub(crate) use msg::away;
use msg::{Msg, stopping};

pub use admission::Settling;
pub(crate) use admission::{Claim, PlaceDemand};
pub(crate) use asked::Asked;
pub(crate) use calls::message_id;
pub use command::{ChildNews, Command};
pub(crate) use command::{compiled, input_of, refused};
pub use dispatch::{NeedClass, Preference};
pub use hot::CallProgress;
pub(crate) use hot::Live;
pub use links::LeaseGate;
pub(crate) use links::{Elsewhere, ForeignReport, Links};
pub(crate) use load::exclusive_key;
pub(crate) use mail::{CHILD, LETTER, START, USAGE};
pub use metrics::EngineMetrics;
pub(crate) use msg::{CallReport, Start};
pub use msg::{Commanded, Started};
pub use outside::{ChildOrder, Children, CountsUsage, Events};
pub use present::PublicEvent;
pub(crate) use present::{present, stream_name};
pub(crate) use read::ReadBack;
pub(crate) use remember::FROM_CACHE;
pub(crate) use stuck::StuckView;
pub(crate) use view::{AgentView, TaskView, view};
pub use view::{ExecutionView, WaitView};

/// Bounds of the engine. Every one is a setting.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Shards in all.
    pub shards: u16,
    /// Tasks that own shards; 0 = as many as cores.
    pub lanes: usize,
    /// Messages that wait for a lane.
    pub lane_queue: usize,
    /// Executions at once.
    pub concurrent_max: u32,
    /// Starts that wait for a place.
    pub start_queue_max: u32,
    /// Executions of one tenant at once; 0 = as many as there are places.
    pub tenant_concurrent_max: u32,
    /// Starts of one tenant that wait for a place; 0 = as many as the queue holds.
    pub tenant_queue_max: u32,
    /// Calls that wait for a slot.
    pub call_queue_max: usize,
    /// Rows of one group.
    pub group_rows_max: usize,
    /// A group that has reached this many bytes takes no further row.
    pub group_bytes_max: usize,
    /// Payloads above this are rows of their own.
    pub payload_inline_bytes_max: usize,
    /// Payloads above this are refused.
    pub payload_bytes_max: usize,
    /// Events of one execution.
    pub history_events_max: u64,
    /// Bytes of one execution's log.
    pub history_bytes_max: u64,
    /// Longest attempt of a task that sets no limit.
    pub attempt_timeout: Duration,
    /// Calls expected to be shorter are sent and waited for.
    pub short_call: Duration,
    /// Rest after which a waiting execution leaves memory.
    pub park_after: Duration,
    /// Rest after which an execution is marked as stuck.
    pub stuck_after: Duration,
    /// How long an agent is told again and again that a call was cut, from the cut on.
    pub cancel_within: Duration,
    /// When an instance that fails is left alone, and for how long.
    pub breaker: balance::breaker::Rule,
    /// Where this replica stands; empty = not stated.
    pub region: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shards: 64,
            lanes: 0,
            lane_queue: 4096,
            concurrent_max: 1000,
            start_queue_max: 10_000,
            tenant_concurrent_max: 0,
            tenant_queue_max: 0,
            call_queue_max: 1_000_000,
            group_rows_max: 1024,
            group_bytes_max: 4 << 20,
            payload_inline_bytes_max: 64 << 10,
            payload_bytes_max: 8 << 20,
            history_events_max: 50_000,
            history_bytes_max: 50 << 20,
            attempt_timeout: Duration::from_secs(600),
            short_call: Duration::from_secs(2),
            park_after: Duration::from_secs(10),
            stuck_after: Duration::from_secs(10),
            cancel_within: Duration::from_secs(300),
            breaker: balance::breaker::Rule {
                failures: 5,
                open_min: Duration::from_secs(1),
                open_max: Duration::from_secs(30),
            },
            region: String::new(),
        }
    }
}

/// What a commit leaves to be published.
pub trait Publisher: Send + Sync + 'static {
    /// A row of `shard` at `pos` is on disk. Never blocks; what does not fit is read from the log later.
    fn committed(&self, shard: u16, pos: i64, tenant: &Tenant, events: &Arc<Vec<PublicEvent>>);
    /// Whether it wants the events themselves; without it rows may come with none.
    fn wants(&self) -> bool {
        true
    }
}

/// Everything the engine works with.
pub struct Parts {
    /// The log.
    pub journal: Arc<dyn Journal>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Calls agents.
    pub caller: Arc<dyn AgentCaller>,
    /// Gives plans.
    pub plans: Arc<dyn PlanSource>,
    /// Follows the log.
    pub publisher: Option<Arc<dyn Publisher>>,
    /// Bounds.
    pub limits: Limits,
    /// Who we are.
    pub me: Membership,
    /// Counts.
    pub metrics: Arc<EngineMetrics>,
    /// Ends the process at once.
    pub fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

pub(crate) struct EngineShared {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) caller: Arc<dyn AgentCaller>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<EngineMetrics>,
    pub(crate) members: ArcSwap<HashMap<Arc<str>, u64>>,
    pub(crate) fatal: Arc<dyn Fn(&str) + Send + Sync>,
    publisher: Option<Arc<dyn Publisher>>,
    pub(crate) links: OnceLock<Links>,
    /// Told when an execution of a session has ended.
    pub(crate) session_ended: Arc<tokio::sync::Notify>,
    pub(crate) hooks: OnceLock<hooked::HookLink>,
    pub(crate) cache: OnceLock<Arc<crate::cache::ResultCache>>,
    pub(crate) events: OnceLock<Arc<dyn Events>>,
    spans: OnceLock<runtime::Spans>,
    children: OnceLock<Arc<dyn Children>>,
    usage: OnceLock<Arc<dyn CountsUsage>>,
    pub(crate) teller: cuts::Teller,
    pub(crate) log_schemas: upgrade::Schemas,
    pub(crate) measured: measured::Measured,
    pub(crate) schemas: crate::plans::CapabilitySchemas,
    owned: std::sync::atomic::AtomicI32,
    plans: crate::plan_cache::PlanCache,
}

impl EngineShared {
    /// The shard of an execution.
    pub(crate) fn shard_of(&self, id: ExecutionId) -> u16 {
        id.shard(u32::from(self.limits.shards)) as u16
    }
    pub(crate) fn publishes(&self) -> bool {
        self.publisher.is_some() || self.hooks.get().is_some_and(|hooks| hooks.tap.wants())
    }
    pub(crate) fn committed_rows(
        &self,
        shard: u16,
        pos: i64,
        tenant: &Tenant,
        events: &Arc<Vec<PublicEvent>>,
    ) {
        if let Some(publisher) = &self.publisher {
            publisher.committed(shard, pos, tenant, events);
        }
        if let Some(hooks) = self.hooks.get() {
            hooks.tap.committed(shard, pos, tenant, events);
        }
    }
    pub(crate) async fn plan_by_id(
        &self,
        tenant: &Tenant,
        workflow: WorkflowId,
        version: &str,
    ) -> Result<Arc<PlanEntry>, Fault> {
        self.plans.version(tenant, workflow, version).await
    }
}

struct LaneHandle {
    inputs: mpsc::Sender<Msg>,
    starts: mpsc::Sender<Msg>,
}

/// The engine of one replica.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<EngineShared>,
    lanes: Arc<Vec<LaneHandle>>,
    stop: Arc<watch::Sender<bool>>,
}

impl Engine {
    /// Starts the lanes. They own no shard before [`Engine::acquire`].
    pub fn start(parts: Parts) -> Self {
        let Parts { journal, clock, caller, plans, publisher, limits, me, metrics, fatal } = parts;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let lanes =
            if limits.lanes == 0 { cores } else { limits.lanes }.min(usize::from(limits.shards).max(1));
        let own: Caller = Caller { member: me.id.as_str().into(), incarnation: me.incarnation };
        let members = HashMap::from([(own.member.clone(), own.incarnation)]);
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(EngineShared {
            teller: cuts::Teller::new(journal.clone(), stopped),
            log_schemas: upgrade::Schemas::new(limits.shards),
            journal,
            dispatcher: Arc::new(Dispatcher::new(
                limits.call_queue_max,
                &limits.region,
                limits.breaker,
                clock.clone(),
            )),
            clock,
            caller,
            admission: Arc::new(Admission::new(
                limits.concurrent_max,
                limits.start_queue_max,
                Quota { running: limits.tenant_concurrent_max, queued: limits.tenant_queue_max },
            )),
            members: ArcSwap::from_pointee(members),
            links: OnceLock::new(),
            session_ended: Arc::default(),
            hooks: OnceLock::new(),
            cache: OnceLock::new(),
            events: OnceLock::new(),
            spans: OnceLock::new(),
            children: OnceLock::new(),
            usage: OnceLock::new(),
            measured: measured::Measured::default(),
            schemas: crate::plans::CapabilitySchemas::default(),
            owned: std::sync::atomic::AtomicI32::new(0),
            plans: crate::plan_cache::PlanCache::new(plans),
            limits,
            metrics,
            fatal,
            publisher,
        });
        let handles = (0..lanes).map(|_| spawn_lane(&shared, &me, &own, &stop)).collect();
        Self { shared, lanes: Arc::new(handles), stop: Arc::new(stop) }
    }

    pub(crate) fn shared(&self) -> &Arc<EngineShared> {
        &self.shared
    }

    /// Puts hooks before calls and behind commits; only the first time counts.
    pub(crate) fn use_hooks(&self, gate: Arc<dyn crate::hooks::gate::CallGate>, tap: Arc<dyn Publisher>) {
        let _ = self.shared.hooks.set(hooked::HookLink::new(gate, tap));
    }

    fn lane(&self, shard: u16) -> &LaneHandle {
        &self.lanes[usize::from(shard) % self.lanes.len()]
    }

    async fn send(&self, shard: u16, msg: Msg) -> Result<(), Fault> {
        self.lane(shard).inputs.send(msg).await.map_err(|_| stopping())
    }

    /// Ties it to the other replicas; only the first time counts. Before the first [`Engine::acquire`].
    pub(crate) fn connect(&self, links: Links) {
        let _ = self.shared.links.set(links);
    }

    /// Told whenever an execution of a session has ended here; its end is on disk.
    pub(crate) fn session_ended(&self) -> Arc<tokio::sync::Notify> {
        self.shared.session_ended.clone()
    }

    /// Remembers answers of pure capabilities in `cache`; only the first time counts. Before the first
    /// [`Engine::acquire`].
    pub fn use_cache(&self, cache: Arc<crate::cache::ResultCache>) {
        let _ = self.shared.cache.set(cache);
    }

    /// User events that executions publish and wait for; only the first time counts.
    pub fn use_events(&self, events: Arc<dyn Events>) {
        let _ = self.shared.events.set(events);
    }

    /// What starts sub-workflows; only the first time counts.
    pub fn use_children(&self, children: Arc<dyn Children>) {
        let _ = self.shared.children.set(children);
    }

    /// Set once, before the first shard is acquired: who counts what executions spend.
    pub fn use_budgets(&self, usage: Arc<dyn CountsUsage>) {
        let _ = self.shared.usage.set(usage);
    }

    /// Counts again what an execution spent that has ended.
    pub(crate) async fn count_usage(&self, tenant: &base::Tenant, id: ExecutionId) -> Result<(), Fault> {
        match self.shared.usage.get() {
            Some(usage) => usage.count_again(tenant, id).await,
            None => Err(Fault::unavailable("this replica has no budgets yet")),
        }
    }

    /// Starts a sub-workflow of an own shard.
    pub(crate) async fn start_child(&self, order: ChildOrder) -> Result<WorkflowId, Fault> {
        match self.shared.children.get() {
            Some(children) => children.start_child(order).await,
            None => Err(Fault::unavailable("this replica starts no sub-workflows yet")),
        }
    }

    /// This replica's part of the places grows and shrinks with its shards.
    fn share(&self, by: i32) {
        let owned = self.shared.owned.fetch_add(by, std::sync::atomic::Ordering::Relaxed) + by;
        self.shared.admission.set_share(owned.max(0) as u32, u32::from(self.shared.limits.shards));
    }

    /// Several shards are about to be taken. Hold it until the last [`Engine::acquire`] has returned: only then are
    /// waiting executions of any of them let in.
    pub fn settling(&self) -> Arc<Settling> {
        self.shared.admission.settle()
    }

    /// Takes a shard that the store says is ours: reads what moves in it back.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn acquire(&self, shard: u16) -> Result<(), Fault> {
        let settling = self.settling();
        let next_pos = self.shared.journal.last_pos(shard).await.map_err(away)? + 1;
        let mut hot = Vec::new();
        loop {
            let page =
                self.shared.journal.hot_executions(shard, hot.last().copied(), 1000).await.map_err(away)?;
            let done = page.len() < 1000;
            hot.extend(page);
            if done {
                break;
            }
        }
        let cuts = self.shared.read_cuts(shard).await.map_err(away)?;
        let stuck = self.shared.journal.count_stuck(shard).await.map_err(away)?;
        self.share(1);
        self.send(shard, Msg::Acquire { shard, next_pos, hot, stuck, settling }).await?;
        self.shared.tell_rows(cuts);
        Ok(())
    }

    /// Lets a shard go: returns when nothing of it is in memory and all that happened is on disk.
    pub async fn release(&self, shard: u16) {
        self.share(-1);
        let (reply, done) = oneshot::channel();
        if self.send(shard, Msg::Release { shard, reply }).await.is_ok() {
            let _ = done.await;
        }
    }

    /// Who is alive, by member id and incarnation, ourselves included.
    pub async fn set_members(&self, alive: HashMap<Arc<str>, u64>) {
        self.shared.members.store(Arc::new(alive));
        for lane in self.lanes.iter() {
            let _ = lane.inputs.send(Msg::Members).await;
        }
    }

    /// Every living member reads the log up to this schema: facts of later ones are held back.
    pub(crate) async fn set_reads_up_to(&self, schema: u16) {
        self.shared.log_schemas.all_read(schema);
        for lane in self.lanes.iter() {
            let _ = lane.inputs.send(Msg::Members).await;
        }
    }

    /// Whether this build reads the log of a shard, as far as it was read.
    pub(crate) fn reads(&self, shard: u16) -> bool {
        self.shared.log_schemas.readable(shard)
    }

    /// The schema that an owner of the shard has to read, as far as this replica knows.
    pub(crate) fn needs(&self, shard: u16) -> u16 {
        self.shared.log_schemas.needs(shard)
    }

    /// Waits until a shard turns out to hold what this build cannot read.
    pub(crate) async fn beyond(&self) {
        self.shared.log_schemas.noticed().await;
    }

    /// The fleet as the registry tells it.
    pub fn set_fleet(&self, fleet: Arc<Snapshot>) {
        self.shared.dispatcher.set_fleet(fleet);
    }

    /// The fleet that calls go to.
    pub fn fleet(&self) -> Arc<Snapshot> {
        self.shared.dispatcher.fleet()
    }

    /// Instances that are left alone here because calls failed in a row.
    pub fn breakers_open(&self) -> usize {
        self.shared.dispatcher.broken_now()
    }

    /// Executions in which nothing goes on, by reason, of the shards that are looked after here.
    pub fn stuck(&self) -> Vec<(&'static str, i64)> {
        self.shared.metrics.stuck()
    }

    /// Places in the start queue, from 1, of those executions that stand in it here.
    pub(crate) fn queue_places(&self, ids: &[ExecutionId]) -> HashMap<ExecutionId, u32> {
        self.shared.admission.positions(ids)
    }

    /// Calls in flight by agent.
    pub fn in_flight(&self) -> BTreeMap<AgentId, u32> {
        self.shared.dispatcher.in_flight().into_iter().collect()
    }

    /// What calls cost since this was last asked, by instance.
    pub(crate) fn take_measured(&self) -> Vec<proto::registry::internal::v1::AgentUse> {
        self.shared.measured.take()
    }

    /// Starts an execution. Refused at once when the lane's starts are full.
    pub(crate) async fn begin(
        &self,
        start: Start,
        started: oneshot::Receiver<Result<Started, Fault>>,
    ) -> Result<Started, Fault> {
        let lane = self.lane(self.shared.shard_of(start.id));
        lane.starts.try_send(Msg::Start(Box::new(start))).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => {
                Fault::new(base::ErrorCode::ResourceExhausted, "too many starts at once; try again")
                    .retry_after_ms(200)
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        started.await.map_err(|_| stopping())?
    }

    /// Sends a command; answered after its commit.
    pub(crate) async fn command(
        &self,
        tenant: &Tenant,
        id: ExecutionId,
        command: Command,
        by: &str,
    ) -> Result<Commanded, Fault> {
        let (reply, done) = oneshot::channel();
        let msg = Msg::Command { id, tenant: tenant.clone(), command, by: by.into(), inbox: None, reply };
        self.send(self.shared.shard_of(id), msg).await?;
        done.await.map_err(|_| stopping())?
    }

    /// A command that waits in the inbox: its row is deleted by the commit that answers it.
    pub(crate) async fn command_of_inbox(
        &self,
        tenant: &Tenant,
        id: ExecutionId,
        command: Command,
        by: &str,
        row: uuid::Uuid,
    ) -> Result<Commanded, Fault> {
        let (reply, done) = oneshot::channel();
        let msg =
            Msg::Command { id, tenant: tenant.clone(), command, by: by.into(), inbox: Some(row), reply };
        self.send(self.shared.shard_of(id), msg).await?;
        done.await.map_err(|_| stopping())?
    }

    /// The execution from memory, as it is on disk; `None` when it is not in memory.
    pub(crate) async fn hot_view(
        &self,
        tenant: &Tenant,
        id: ExecutionId,
        tasks: bool,
    ) -> Result<Option<Arc<ExecutionView>>, Fault> {
        let (reply, seen) = oneshot::channel();
        self.send(self.shared.shard_of(id), Msg::Get { id, tenant: tenant.clone(), tasks, reply }).await?;
        // The lane drops the reply with an execution that was refused: it is not there.
        Ok(seen.await.unwrap_or(None))
    }

    /// Told at the end of the execution; dropped at once when it is not in memory.
    pub(crate) async fn until_end(
        &self,
        tenant: &Tenant,
        id: ExecutionId,
    ) -> Result<oneshot::Receiver<Arc<ExecutionView>>, Fault> {
        let (ended, end) = oneshot::channel();
        self.send(self.shared.shard_of(id), Msg::WaitEnd { id, tenant: tenant.clone(), ended }).await?;
        Ok(end)
    }

    /// Follows an execution: the newest event on disk, then everything later. `None`: it is not in memory.
    pub(crate) async fn follow(
        &self,
        tenant: &Tenant,
        id: ExecutionId,
    ) -> Result<Option<(u64, mpsc::Receiver<Live>)>, Fault> {
        let (watcher, live) = mpsc::channel(256);
        let (reply, seq) = oneshot::channel();
        self.send(self.shared.shard_of(id), Msg::Watch { id, tenant: tenant.clone(), watcher, reply })
            .await?;
        Ok(seq.await.unwrap_or(None).map(|seq| (seq, live)))
    }

    /// Follows all executions of a workflow on this replica: what is not sent is in the log when this returns.
    pub(crate) async fn follow_workflow(&self, workflow: WorkflowId) -> Result<mpsc::Receiver<Live>, Fault> {
        let (watcher, live) = mpsc::channel(1024);
        let (begun, mut all_begun) = mpsc::channel(1);
        for lane in self.lanes.iter() {
            let msg = Msg::WatchWorkflow { workflow, watcher: watcher.clone(), begun: begun.clone() };
            lane.inputs.send(msg).await.map_err(|_| stopping())?;
        }
        drop(begun);
        // Nothing is ever sent: it ends when the last lane has let go.
        let _ = all_begun.recv().await;
        Ok(live)
    }

    /// Brings an execution into memory whose timer has passed.
    pub(crate) async fn wake(&self, id: ExecutionId, shard: u16) -> Result<(), Fault> {
        self.send(shard, Msg::Wake { id, shard }).await
    }

    /// What a call reported that was made before its shard moved. Answered when what follows from it is on disk, or
    /// when the execution has moved on.
    ///
    /// # Errors
    /// `not_owner` when the shard is not here.
    pub(crate) async fn deliver(&self, report: ForeignReport) -> Result<(), Fault> {
        let (reply, done) = oneshot::channel();
        self.send(self.shared.shard_of(report.id), Msg::Delivered { report, reply }).await?;
        done.await.map_err(|_| stopping())?
    }

    /// Ends a call that this process made for a shard that has moved on.
    pub(crate) async fn abort_call(&self, id: ExecutionId, call: workflow::CallKey, attempt: u32) {
        let _ = self.send(self.shared.shard_of(id), Msg::AbortCall { id, call, attempt }).await;
    }

    /// How many slots of instances other replicas lend to this one; `None` = it is alone and uses them all.
    pub(crate) fn set_lent(&self, lent: Option<HashMap<(AgentId, Arc<str>), u32>>) {
        self.shared.dispatcher.set_lent(lent);
    }

    /// Slots in use and calls that would like one, by `agent/instance`.
    pub(crate) fn demand(&self) -> Vec<(AgentId, Arc<str>, u32, u32)> {
        self.shared.dispatcher.demand()
    }

    /// Waits until a call waits for a slot, or an execution for a place, that this replica was not lent; or until it
    /// needs a place no longer.
    pub(crate) async fn wanting(&self) {
        tokio::select! {
            () = self.shared.dispatcher.wanting() => {}
            () = self.shared.admission.wanting() => {}
        }
    }

    /// How many places of workflows that limit themselves other replicas lend to this one; `None` = it is alone and
    /// uses them all.
    pub(crate) fn set_lent_places(&self, lent: Option<HashMap<WorkflowId, u32>>) {
        self.shared.admission.set_lent(lent);
    }

    /// Places of workflows that limit themselves: in use, wanted and held. From now on they are shared with others.
    /// Executions whose shard left longer than `departed` ago do not count here any more. `None` while executions are
    /// being read back.
    pub(crate) fn share_places(&self, departed: Duration) -> Option<HashMap<WorkflowId, PlaceDemand>> {
        self.shared.admission.share_places(departed)
    }

    /// Whether an execution waits for a place that others may lend.
    pub(crate) fn waits_for_others(&self) -> bool {
        self.shared.admission.waits_for_others()
    }

    /// The plan of a start.
    pub(crate) async fn plan(
        &self,
        context: &base::CallContext,
        workflow: &str,
    ) -> Result<Arc<PlanEntry>, Fault> {
        self.shared.plans.newest(context, workflow).await
    }

    /// The plan that a definition would have, as JSON. Nothing is stored.
    pub(crate) async fn draft_plan(
        &self,
        context: &base::CallContext,
        text: &str,
        format: &str,
    ) -> Result<String, Fault> {
        self.shared.plans.draft(context, text, format).await
    }

    /// The plan of an inline definition, which is stored first.
    pub(crate) async fn inline_plan(
        &self,
        context: &base::CallContext,
        text: &str,
        format: &str,
    ) -> Result<Arc<PlanEntry>, Fault> {
        self.shared.plans.inline(context, text, format).await
    }

    /// Active, maximum, queued, queue maximum, calls in flight, calls waiting.
    pub fn load(&self) -> [u32; 6] {
        let (active, max, queued, queue_max) = self.shared.admission.load();
        let (calls, waiting) = self.shared.dispatcher.load();
        [active, max, queued, queue_max, calls, waiting]
    }

    /// No new starts.
    pub async fn drain(&self) {
        for lane in self.lanes.iter() {
            let _ = lane.inputs.send(Msg::Drain).await;
        }
    }

    /// Stops the lanes; what is not on disk was never answered.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

fn spawn_lane(
    shared: &Arc<EngineShared>,
    me: &Membership,
    own: &Caller,
    stop: &watch::Sender<bool>,
) -> LaneHandle {
    let (inputs_tx, inputs) = mpsc::channel(shared.limits.lane_queue.max(16));
    let (starts_tx, starts) = mpsc::channel(shared.limits.lane_queue.max(16));
    let (grants_tx, grants) = mpsc::unbounded_channel();
    let lane = Lane {
        shared: shared.clone(),
        me: me.clone(),
        caller: own.clone(),
        tx: inputs_tx.clone(),
        grants_tx,
        shards: HashMap::new(),
        hot: HashMap::new(),
        plans: HashMap::new(),
        loading: HashMap::new(),
        wheel: std::collections::BTreeSet::new(),
        idle: std::collections::BTreeSet::new(),
        workflow_watchers: HashMap::new(),
        orphans: HashMap::new(),
        commits: FuturesUnordered::new(),
        tickets: 0,
        writes_up_to: api::log::LOG_SCHEMA,
        draining: false,
    };
    tokio::spawn(lane.run(Inbox { inputs, starts, grants, stop: stop.subscribe() }));
    LaneHandle { inputs: inputs_tx, starts: starts_tx }
}
