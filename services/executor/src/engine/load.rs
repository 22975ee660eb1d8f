//! Executions come into memory from the log and leave it again; shards come and go.

use std::{sync::Arc, time::Duration};

use api::Fault;
use base::{ExecutionId, FailureClass};
use tokio::sync::oneshot;
use workflow::{Caller, Effect, Input, fold};

use super::{
    EngineShared, crash,
    foreign::not_here,
    hot::Hot,
    lane::{Lane, Loading, Shard},
    msg::{Loaded, Msg},
};

/// Executions that are read back at once while a shard is taken.
const LOADS_AT_ONCE: usize = 32;
/// Pause before an execution that could not be read back is tried again.
const LOAD_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Lane {
    /// Reads an execution back. `refused`: the store refused its last events with this reason.
    pub(crate) fn load(&mut self, id: ExecutionId, shard: u16, refused: Option<String>) {
        let known = self.loading.contains_key(&id);
        let entry = self.loading.entry(id);
        let ticket = if known { 0 } else { self.tickets + 1 };
        entry
            .or_insert_with(|| Loading { shard, ticket, waiting: Vec::new(), refused: None, _settling: None })
            .refused = refused;
        if known {
            return;
        }
        self.tickets = ticket;
        let (shared, tx) = (self.shared.clone(), self.tx.clone());
        tokio::spawn(async move {
            let result = shared.read_back(id).await.map(|found| found.map(Box::new));
            let _ = tx.send(Msg::Loaded { id, shard, ticket, result }).await;
        });
    }

    /// It is back in memory: everything that waited for it happens.
    pub(crate) fn loaded(
        &mut self,
        id: ExecutionId,
        shard: u16,
        ticket: u64,
        result: Result<Option<Box<Loaded>>, Fault>,
    ) {
        // The shard may have left and come back since: only the newest reading counts.
        if self.loading.get(&id).is_none_or(|l| l.ticket != ticket) {
            return;
        }
        let Some(loading) = self.loading.remove(&id) else { return };
        if !self.takes(shard) {
            return self.turn_away(loading.waiting, &not_here());
        }
        match result {
            _ if self.hot.contains_key(&id) => {}
            Ok(Some(loaded)) => self.insert_loaded(id, shard, *loaded, loading.refused),
            Ok(None) => {
                for msg in loading.waiting {
                    match msg {
                        Msg::Command { reply, .. } => {
                            drop(reply.send(Err(Fault::not_found("execution", id))));
                        }
                        // Deleted: nobody wants the result any more.
                        Msg::Delivered { reply, .. } => drop(reply.send(Ok(()))),
                        Msg::Start(start) => self.start(*start),
                        _ => {}
                    }
                }
                return;
            }
            Err(error) => {
                tracing::error!(execution = %id, %error, "an execution cannot be read back");
                self.turn_away(loading.waiting, &error);
                // The store or the planner is away, as a rule: it is not forgotten.
                let tx = self.tx.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(LOAD_AGAIN_AFTER).await;
                    let _ = tx.send(Msg::Wake { id, shard }).await;
                });
                return;
            }
        }
        for msg in loading.waiting {
            match msg {
                Msg::Command { .. } => self.command(msg),
                Msg::Call { id, call, attempt, report } => self.call_report(id, call, attempt, report),
                Msg::Delivered { report, reply } => self.delivered(report, reply),
                Msg::Start(start) => self.start(*start),
                Msg::WaitEnd { id, tenant, ended } => self.wait_end(id, &tenant, ended),
                _ => {}
            }
        }
        self.after_release(id);
    }

    fn insert_loaded(&mut self, id: ExecutionId, shard: u16, loaded: Loaded, refused: Option<String>) {
        let Loaded { state, tenant, plan, bytes, request_hash, status, parked, stuck } = loaded;
        let mut hot = Hot::new(state, tenant, shard);
        hot.active = Some(self.shared.metrics.kinds.active(&hot.state));
        hot.waits = super::waits::all(&hot.state);
        // What was put aside had looked for events before.
        let waits: Vec<_> = if parked { Vec::new() } else { hot.waits.events.values().cloned().collect() };
        hot.grouped_seq = hot.state.seq();
        hot.bytes = bytes;
        hot.request_hash = request_hash;
        hot.written = workflow::Status::parse(&status);
        hot.was_parked = true;
        (hot.stuck, hot.told_stuck) = (stuck.clone(), stuck);
        hot.exclusive = plan.exclusive().then(|| exclusive_key(plan.workflow_id));
        let claim = plan.claim(&hot.tenant);
        let outstanding = hot.state.outstanding();
        let final_now = hot.state.status().is_final();
        let started = hot.state.started_at().is_some();
        let priority = hot.state.created().priority;
        self.plans.insert(id, plan);
        if started || final_now {
            hot.admitted = true;
            self.shared.admission.resume(&claim);
        }
        self.hot.insert(id, Box::new(hot));
        if !started && !final_now {
            let place = self.shared.admission.enter(id, claim, priority, true, &self.grants_tx);
            if place == super::admission::Admitted::Now {
                self.admitted(id);
            }
        }
        if let Some(reason) = refused {
            if let Some(hot) = self.hot.get_mut(&id) {
                hot.refused = true;
            }
            let message = format!("the store refused its events: {reason}").into();
            self.feed_fact(id, &Input::CannotGoOn { class: FailureClass::Definition, message });
        }
        for effect in outstanding {
            match effect {
                Effect::Dispatch { call, at } => self.dispatch(id, call, at),
                Effect::Recover(call) => self.find_caller(id, call),
                Effect::Publish { task } => self.publish_event(id, task),
                _ => {}
            }
        }
        self.look_back(id, waits);
        self.arm(id);
    }

    /// Whose call is it? A dead member's, or our own of an earlier life: taken over. A living member's: it brings the
    /// result.
    fn find_caller(&mut self, id: ExecutionId, call: workflow::CallKey) {
        let Some(hot) = self.hot.get_mut(&id) else { return };
        let Some(attempt) = hot.state.call(call).and_then(|c| c.current.as_deref()) else { return };
        let sender = attempt.to.caller.clone();
        if sender == self.caller {
            // We made it while the shard was here before: it runs on, or its result is on its way back.
            if let Some(open) = self.orphans.remove(&(id, call)) {
                hot.open.insert(call, open);
            }
            return;
        }
        if self.shared.is_alive(&sender) {
            hot.foreign.push(call);
            return;
        }
        self.feed_fact(id, &Input::CallerLost { call, lost: sender, heir: self.caller.clone() });
    }

    /// A member died: its calls are taken over.
    pub(crate) fn members_changed(&mut self) {
        let waiting: Vec<(ExecutionId, Vec<workflow::CallKey>)> = self
            .hot
            .iter_mut()
            .filter(|(_, hot)| !hot.foreign.is_empty())
            .map(|(id, hot)| (*id, std::mem::take(&mut hot.foreign)))
            .collect();
        for (id, calls) in waiting {
            for call in calls {
                self.find_caller(id, call);
            }
        }
    }

    /// The shard is ours: everything in it that moves is read back.
    pub(crate) fn acquire_shard(
        &mut self,
        number: u16,
        next_pos: i64,
        hot: Vec<ExecutionId>,
        stuck: &[(String, u64)],
        settling: &Arc<super::Settling>,
    ) {
        let shard = Shard {
            next_pos,
            in_flight: false,
            dirty: Vec::new(),
            unread: Vec::new(),
            release: None,
            stuck: super::stuck::counts_of(stuck),
            late: Vec::new(),
        };
        self.shared.metrics.stuck.add(&shard.stuck, 1);
        self.shards.insert(number, shard);
        let (shared, tx) = (self.shared.clone(), self.tx.clone());
        self.tickets += 1;
        let ticket = self.tickets;
        for id in &hot {
            let _settling = Some(settling.clone());
            let loading = Loading { shard: number, ticket, waiting: Vec::new(), refused: None, _settling };
            self.loading.insert(*id, loading);
        }
        tokio::spawn(async move {
            use futures::StreamExt as _;
            let loads = futures::stream::iter(hot).map(|id| {
                let (shared, tx) = (shared.clone(), tx.clone());
                async move {
                    let result = shared.read_back(id).await.map(|found| found.map(Box::new));
                    let _ = tx.send(Msg::Loaded { id, shard: number, ticket, result }).await;
                }
            });
            loads.buffer_unordered(LOADS_AT_ONCE).collect::<Vec<()>>().await;
        });
    }

    /// Nothing new happens in the shard; the reply comes when what happened is on disk.
    pub(crate) fn release_shard(&mut self, number: u16, reply: oneshot::Sender<()>) {
        let Some(shard) = self.shards.get_mut(&number) else {
            let _ = reply.send(());
            return;
        };
        shard.release = Some(reply);
        if !shard.in_flight && shard.dirty.is_empty() {
            self.finish_release(number);
        }
    }

    pub(crate) fn finish_release(&mut self, number: u16) {
        crash::point("in-handover");
        let Some(shard) = self.shards.remove(&number) else { return };
        self.shared.metrics.stuck.add(&shard.stuck, -1);
        let gone: Vec<ExecutionId> = self.hot.values().filter(|h| h.shard == number).map(|h| h.id).collect();
        for id in gone {
            if let Some(mut hot) = self.hot.remove(&id) {
                // Calls of this process go on; their results are brought to the new owner.
                for (call, open) in hot.open.drain() {
                    self.orphans.insert((id, call), open);
                }
                for effect in hot.state.outstanding() {
                    if let Effect::Dispatch { call, .. } = effect {
                        self.shared.dispatcher.forget(id, call);
                    }
                }
                if let Some(plan) = self.plans.get(&id).filter(|_| hot.admitted) {
                    self.shared.admission.departs(&plan.claim(&hot.tenant));
                }
                self.drop_place(&hot);
            }
        }
        let loading: Vec<ExecutionId> =
            self.loading.iter().filter(|(_, l)| l.shard == number).map(|(id, _)| *id).collect();
        for id in loading {
            if let Some(loading) = self.loading.remove(&id) {
                self.turn_away(loading.waiting, &not_here());
            }
        }
        for report in shard.late {
            self.bring(report);
        }
        if let Some(reply) = shard.release {
            let _ = reply.send(());
        }
    }

    /// Looks whether the execution waits for nothing but time or people.
    pub(crate) fn after_release(&mut self, id: ExecutionId) {
        let now = self.now();
        let Some(hot) = self.hot.get_mut(&id) else { return };
        // Its row says that it is put aside, or it had ended before it was read back for a command: the memory is
        // given back.
        if hot.settled() && (hot.parking || hot.state.status().is_final()) {
            if let Some(hot) = self.hot.remove(&id) {
                self.drop_place(&hot);
            }
            return;
        }
        let dispatched = hot.state.outstanding_dispatch();
        let idle =
            hot.settled() && hot.open.is_empty() && hot.state.in_flight() == 0 && !dispatched && hot.admitted;
        let idle = idle && hot.errands == 0;
        if idle {
            hot.idle_since.get_or_insert(now);
            self.idle.insert(id);
        }
    }

    /// Puts executions aside that have waited long enough for something far away.
    pub(crate) fn park_idle(&mut self) {
        let now = self.now();
        let after = self.shared.limits.park_after;
        let soon = now.plus(Duration::from_secs(5));
        let ready: Vec<ExecutionId> = self
            .idle
            .iter()
            .filter(|id| {
                self.hot.get(*id).is_some_and(|hot| {
                    let rested = hot.idle_since.is_some_and(|since| now.since(since) >= after);
                    let wakes = hot.state.next_timer(hot.fired_to);
                    // Who holds one of its workflow's few places stays where they are counted.
                    let limited = self.plans.get(*id).is_some_and(|plan| plan.concurrency().is_some());
                    // Who follows or waits keeps it here for as long as he does.
                    let alone = hot.watchers.iter().all(|w| w.is_closed())
                        && hot.waiters.iter().all(|w| w.is_closed());
                    alone
                        && rested
                        && !limited
                        && hot.settled()
                        && hot.errands == 0
                        && wakes.is_none_or(|at| at > soon)
                })
            })
            .copied()
            .collect();
        self.give_back();
        for id in ready {
            self.idle.remove(&id);
            let stuck = self.why_stuck(id);
            if let Some(hot) = self.hot.get_mut(&id) {
                hot.stuck = stuck;
                hot.parking = true;
                hot.pending.row = true;
            }
            self.mark(id);
        }
    }
}

/// Room that a map keeps whatever it holds.
const ROOM_KEPT: usize = 1024;

impl Lane {
    /// Maps that held many executions let go of the room when most have left.
    fn give_back(&mut self) {
        let kept = (self.hot.len() * 2).max(ROOM_KEPT);
        if self.hot.capacity() > kept * 2 {
            self.hot.shrink_to(kept);
            self.plans.shrink_to(kept);
        }
    }
}

/// The unique key of `concurrency: 1`.
pub(crate) fn exclusive_key(workflow: base::WorkflowId) -> String {
    workflow.to_string()
}

impl EngineShared {
    pub(crate) fn is_alive(&self, caller: &Caller) -> bool {
        self.members.load().get(&*caller.member).is_some_and(|incarnation| *incarnation == caller.incarnation)
    }

    /// Folds an execution from its log. `None`: it is not there.
    pub(crate) async fn read_back(&self, id: ExecutionId) -> Result<Option<Loaded>, Fault> {
        let Some(read) = self.read(id).await? else { return Ok(None) };
        let (bytes, (row, events)) = (read.bytes(), read.events());
        let plan = self.plan_by_id(&row.tenant, row.workflow_id, &row.workflow_version).await?;
        let state = fold(id, plan.compiled.clone(), &events).ok_or_else(|| {
            Fault::new(base::ErrorCode::Internal, format!("the log of {id} has no beginning"))
        })?;
        let plan = match state.revision() {
            0 => plan,
            _ => Arc::new(plan.changed(state.plan()).map_err(|e| Fault::new(base::ErrorCode::Internal, e))?),
        };
        Ok(Some(Loaded {
            state,
            tenant: row.tenant,
            plan,
            bytes,
            request_hash: row.request_hash,
            parked: row.wake != store::journal::Wake::Hot,
            stuck: row.stuck,
            status: row.status,
        }))
    }
}
