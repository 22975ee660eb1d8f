//! A lane: one task that owns some shards and everything in them. No locks, no IO; it decides, and what leaves the
//! process waits for the commit.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use api::Fault;
use base::{ErrorCode, ExecutionId, Timestamp};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use store::journal::Membership;
use tokio::sync::{mpsc, watch};
use workflow::{CallKey, Caller, Input, Step};

use super::{
    EngineShared,
    hot::{Hot, Live, OpenCall, Watcher},
    links::ForeignReport,
    msg::Msg,
};

/// A shard of this lane.
pub(crate) struct Shard {
    pub(crate) next_pos: i64,
    pub(crate) in_flight: bool,
    /// Executions with something to write.
    pub(crate) dirty: Vec<ExecutionId>,
    /// Executions that would write what a living member cannot read.
    pub(crate) unread: Vec<ExecutionId>,
    /// Somebody waits for it to come to rest: nothing new is taken.
    pub(crate) release: Option<tokio::sync::oneshot::Sender<()>>,
    /// Its executions in which nothing goes on.
    pub(crate) stuck: super::stuck::Counts,
    /// What calls reported since then; brought to the next owner.
    pub(crate) late: Vec<super::links::ForeignReport>,
}

/// An execution that is being read back, and what waits for it.
pub(crate) struct Loading {
    pub(crate) shard: u16,
    pub(crate) ticket: u64,
    pub(crate) waiting: Vec<Msg>,
    /// The store refused its last events.
    pub(crate) refused: Option<String>,
    /// It is one of a shard that was just taken.
    pub(crate) _settling: Option<Arc<super::Settling>>,
}

/// One lane.
pub(crate) struct Lane {
    pub(crate) shared: Arc<EngineShared>,
    pub(crate) me: Membership,
    pub(crate) caller: Caller,
    pub(crate) tx: mpsc::Sender<Msg>,
    pub(crate) grants_tx: mpsc::UnboundedSender<Msg>,
    pub(crate) shards: HashMap<u16, Shard>,
    /// Boxed: a map that grows moves what it holds, and keeps the room for it.
    pub(crate) hot: HashMap<ExecutionId, Box<Hot>>,
    pub(crate) plans: HashMap<ExecutionId, Arc<crate::plans::PlanEntry>>,
    pub(crate) loading: HashMap<ExecutionId, Loading>,
    pub(crate) wheel: BTreeSet<(Timestamp, ExecutionId, Option<CallKey>)>,
    /// Executions with nothing going on, to be put aside.
    pub(crate) idle: BTreeSet<ExecutionId>,
    pub(crate) workflow_watchers: HashMap<base::WorkflowId, Vec<Watcher>>,
    /// Calls of this process whose shard has moved on.
    pub(crate) orphans: HashMap<(ExecutionId, CallKey), OpenCall>,
    /// Groups on their way to the disk. The lane itself waits for them: a task for each would wake another thread.
    pub(crate) commits: FuturesUnordered<BoxFuture<'static, Msg>>,
    /// Number of the last load.
    pub(crate) tickets: u64,
    pub(crate) draining: bool,
    /// Up to which schema the last groups could be written.
    pub(crate) writes_up_to: u16,
}

/// Where a lane's work comes from.
pub(crate) struct Inbox {
    /// Results, timers, commands: never refused.
    pub(crate) inputs: mpsc::Receiver<Msg>,
    /// Starts: refused when full.
    pub(crate) starts: mpsc::Receiver<Msg>,
    /// Slots that became free. Bounded by the calls that wait.
    pub(crate) grants: mpsc::UnboundedReceiver<Msg>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Messages taken at once before a group is closed.
const BATCH: usize = 256;
/// How often idle executions are put aside.
const PARK_EVERY: Duration = Duration::from_secs(1);

/// Stands still while the lease is not held. `false`: stopped meanwhile.
async fn lease_held(shared: &EngineShared, stop: &mut watch::Receiver<bool>) -> bool {
    let Some(links) = shared.links.get() else { return true };
    if links.lease.is_valid() {
        return true;
    }
    tokio::select! {
        _ = stop.changed() => false,
        () = links.lease.valid() => true,
    }
}

impl Lane {
    /// Runs until stopped.
    pub(crate) async fn run(mut self, mut inbox: Inbox) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut parking = false;
        let mut park = tokio::time::interval(PARK_EVERY);
        park.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                _ = inbox.stop.changed() => return,
                // Before all else: a group leaves when it is first looked at here.
                Some(done) = self.commits.next(), if !self.commits.is_empty() => batch.push(done),
                n = inbox.inputs.recv_many(&mut batch, BATCH) => if n == 0 { return },
                Some(msg) = inbox.grants.recv() => batch.push(msg),
                Some(msg) = inbox.starts.recv() => batch.push(msg),
                () = wake => {}
                _ = park.tick() => parking = true,
            }
            // What arrived in the same moment joins the same group.
            while batch.len() < BATCH {
                // The wake-up that this look would take from a commit is asked for again by the next round's.
                let done = self.commits.next().now_or_never().flatten();
                let more = done
                    .or_else(|| inbox.inputs.try_recv().ok())
                    .or_else(|| inbox.grants.try_recv().ok())
                    .or_else(|| inbox.starts.try_recv().ok());
                match more {
                    Some(msg) => batch.push(msg),
                    None => break,
                }
            }
            if !lease_held(&self.shared.clone(), &mut inbox.stop).await {
                return;
            }
            for msg in batch.drain(..) {
                self.handle(msg);
            }
            if std::mem::take(&mut parking) {
                self.park_idle();
                self.shared.dispatcher.try_broken();
                self.notice_stuck();
            }
            self.fire_timers();
            self.commit_dirty();
        }
    }

    fn next_wake(&self) -> impl Future<Output = ()> + use<> {
        let at = self.wheel.first().map(|(at, ..)| at.since(self.shared.clock.now()));
        async move {
            match at {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn handle(&mut self, msg: Msg) {
        match msg {
            Msg::Start(start) => self.start(*start),
            Msg::Call { id, call, attempt, report } => {
                self.reported(ForeignReport { id, call, attempt, report })
            }
            Msg::Delivered { report, reply } => self.delivered(report, reply),
            Msg::Recover { id, call, attempt } => self.recover_now(id, call, attempt),
            Msg::AbortCall { id, call, attempt } => self.abort_orphan(id, call, attempt),
            Msg::Committed { shard, result, flights } => self.committed(shard, result, flights),
            Msg::Errand { id, errand } => self.errand_done(id, errand),
            Msg::Granted { id, call, permit } => self.granted(id, call, permit),
            Msg::Gated { id, call, input_hash, pass } => self.gated(id, call, input_hash, pass),
            Msg::Get { id, tenant, tasks, reply } => self.get(id, &tenant, tasks, reply),
            Msg::WaitEnd { id, tenant, ended } => self.wait_end(id, &tenant, ended),
            Msg::Watch { id, tenant, watcher, reply } => self.watch(id, &tenant, watcher, reply),
            Msg::WatchWorkflow { workflow, watcher, begun } => {
                self.watch_workflow(workflow, watcher, &begun);
            }
            Msg::Command { .. } => self.command(msg),
            Msg::Loaded { id, shard, ticket, result } => self.loaded(id, shard, ticket, result),
            Msg::Acquire { shard, next_pos, hot, stuck, settling } => {
                self.acquire_shard(shard, next_pos, hot, &stuck, &settling);
            }
            Msg::Release { shard, reply } => self.release_shard(shard, reply),
            Msg::Admitted { id, claim } => match self.hot.contains_key(&id) {
                true => self.admitted(id),
                // It ended while it waited: the place goes to the next.
                false => self.shared.admission.leave(&claim),
            },
            Msg::Wake { id, shard } => {
                if self.takes(shard) && !self.hot.contains_key(&id) {
                    self.load(id, shard, None);
                }
            }
            Msg::Members => self.members_changed(),
            Msg::Drain => self.draining = true,
        }
    }

    fn watch(
        &mut self,
        id: ExecutionId,
        tenant: &base::Tenant,
        watcher: Watcher,
        reply: tokio::sync::oneshot::Sender<Option<u64>>,
    ) {
        let Some(hot) = self.hot.get_mut(&id).filter(|h| h.tenant == *tenant) else {
            let _ = reply.send(None);
            return;
        };
        // What is on disk now is read from the log by the caller; what comes later is sent.
        hot.watchers.retain(|w| !w.is_closed());
        hot.watchers.push(watcher);
        let on_disk = if hot.in_group { None } else { Some(hot.grouped_seq) };
        match on_disk {
            Some(seq) => {
                let _ = reply.send(Some(seq));
            }
            None => hot.pending.after.push({
                let seq = hot.grouped_seq;
                Box::new(move || {
                    let _ = reply.send(Some(seq));
                })
            }),
        }
        if !hot.pending.is_empty() {
            self.mark(id);
        }
    }

    pub(crate) fn wait_end(
        &mut self,
        id: ExecutionId,
        tenant: &base::Tenant,
        ended: tokio::sync::oneshot::Sender<Arc<super::ExecutionView>>,
    ) {
        if let Some(hot) = self.hot.get_mut(&id).filter(|h| h.tenant == *tenant) {
            hot.waiters.push(ended);
        } else if let Some(loading) = self.loading.get_mut(&id) {
            loading.waiting.push(Msg::WaitEnd { id, tenant: tenant.clone(), ended });
        }
    }

    /// `begun` is dropped once all that is not sent to the watcher can be read from the log: groups on their way were
    /// closed before anybody followed.
    fn watch_workflow(&mut self, workflow: base::WorkflowId, watcher: Watcher, begun: &mpsc::Sender<()>) {
        let watchers = self.workflow_watchers.entry(workflow).or_default();
        watchers.retain(|w| !w.is_closed());
        watchers.push(watcher);
        let of_it = |h: &&mut Box<Hot>| h.in_group && h.state.created().workflow_id == workflow;
        let mut waits = Vec::new();
        for hot in self.hot.values_mut().filter(of_it) {
            let begun = begun.clone();
            hot.when_durable(Box::new(move || drop(begun)));
            waits.push(hot.id);
        }
        waits.into_iter().for_each(|id| self.mark(id));
    }

    /// The execution has something to write.
    pub(crate) fn mark(&mut self, id: ExecutionId) {
        let Some(hot) = self.hot.get_mut(&id) else { return };
        if let Some(shard) = self.shards.get_mut(&hot.shard)
            && !std::mem::replace(&mut hot.dirty, true)
        {
            shard.dirty.push(id);
        }
    }

    /// Feeds an input to an execution and takes in what follows.
    pub(crate) fn feed(&mut self, id: ExecutionId, input: &Input) -> Result<(), workflow::Refusal> {
        let now = self.now();
        let Some(hot) = self.hot.get_mut(&id) else { return Ok(()) };
        let step = hot.state.step(input, now)?;
        self.absorb(id, step);
        Ok(())
    }

    /// As [`Lane::feed`], for inputs that the state machine never refuses.
    pub(crate) fn feed_fact(&mut self, id: ExecutionId, input: &Input) {
        if let Err(refusal) = self.feed(id, input) {
            tracing::debug!(execution = %id, %refusal, "an input was refused");
        }
    }

    fn absorb(&mut self, id: ExecutionId, step: Step) {
        if step.events.is_empty() && step.effects.is_empty() {
            return;
        }
        let mut dispatch = Vec::new();
        if step.effects.contains(&workflow::Effect::PlanChanged) {
            self.derive_plan(id);
        }
        if let Some(hot) = self.hot.get_mut(&id) {
            hot.pending.events.extend(step.events);
            hot.pending.checkpoints.extend(step.checkpoints);
            hot.idle_since = None;
            hot.parking = false;
            for effect in step.effects {
                match effect {
                    workflow::Effect::Dispatch { call, at } => dispatch.push((call, at)),
                    workflow::Effect::Ended => {
                        hot.pending.ended = true;
                        hot.pending.effects.push(workflow::Effect::Ended);
                    }
                    other => hot.pending.effects.push(other),
                }
            }
        }
        self.idle.remove(&id);
        self.stirred(id);
        self.mark(id);
        for (call, at) in dispatch {
            self.dispatch(id, call, at);
        }
        self.release_held(id);
        self.arm(id);
    }

    /// The plan has changed: what is needed to run it changes with it.
    pub(crate) fn derive_plan(&mut self, id: ExecutionId) {
        let (Some(hot), Some(plan)) = (self.hot.get(&id), self.plans.get(&id)) else { return };
        match plan.changed(hot.state.plan()) {
            Ok(changed) => drop(self.plans.insert(id, Arc::new(changed))),
            // It was derived once before it was accepted.
            Err(error) => tracing::error!(execution = %id, error, "a changed plan cannot be derived"),
        }
    }

    /// Puts the execution's next deadline into the wheel.
    pub(crate) fn arm(&mut self, id: ExecutionId) {
        let Some(hot) = self.hot.get_mut(&id) else { return };
        // A deadline that has passed already fires with the next round.
        let Some(at) = hot.state.next_timer(hot.fired_to) else { return };
        if hot.armed.is_none_or(|armed| at < armed) {
            hot.armed = Some(at);
            self.wheel.insert((at, id, None));
        }
    }

    fn fire_timers(&mut self) {
        let now = self.now();
        while let Some((at, ..)) = self.wheel.first() {
            if *at > now {
                return;
            }
            let Some((at, id, call)) = self.wheel.pop_first() else { return };
            match call {
                Some(call) => self.dispatch(id, call, at),
                None => self.fire(id, at, now),
            }
        }
    }

    fn fire(&mut self, id: ExecutionId, at: Timestamp, now: Timestamp) {
        if !self.takes(self.shared.shard_of(id)) {
            return;
        }
        let Some(hot) = self.hot.get_mut(&id) else { return };
        if hot.armed == Some(at) {
            hot.armed = None;
        }
        self.feed_fact(id, &Input::Tick { checkpoint: base::CheckpointId::new(uuid::Uuid::now_v7()) });
        // Timers that stay (a retry whose time has come) must not fire again.
        if let Some(hot) = self.hot.get_mut(&id) {
            hot.fired_to = now;
        }
        self.arm(id);
    }

    /// Ends the process: the disk or the fence says so.
    pub(crate) fn fatal(&self, why: &str) {
        (self.shared.fatal)(why);
    }

    pub(crate) fn send_live(watchers: &mut Vec<Watcher>, live: &Live) {
        // A follower that lags loses its stream and resumes from the log: memory stays bounded and nothing is missed.
        watchers.retain(|w| w.try_send(live.clone()).is_ok());
    }

    pub(crate) fn refuse_draining(&self) -> Option<Fault> {
        self.draining.then(|| {
            Fault::new(ErrorCode::Unavailable, "this replica is stopping; try again").retry_after_ms(1000)
        })
    }
}
