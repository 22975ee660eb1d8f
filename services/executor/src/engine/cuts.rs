//! Calls that are cut: whatever happens to this process, their agents are told that nobody wants the result.
//!
//! A call that is over for good is written down with the event that cut it, told to its agent, and deleted then; the
//! next owner of the shard tells what was left. Executions that end with no call open write nothing. An agent is
//! told by its own name for the call. While that is not known the call is left running, unheard, until it is; after a
//! crash the agent is asked for it. The message is never sent again to find it out.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use balance::breaker;
use base::{ExecutionId, Tenant, Timestamp};
use store::{
    Journal, StoreError,
    journal::{CutRow, CutWrite},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::AbortHandle,
};
use uuid::Uuid;
use workflow::{Attempt, CallKey, CallPhase, Effect, Status, Usage};

use super::{
    EngineShared,
    calls::message_id,
    crash,
    dispatch::Permit,
    hot::{Hot, OpenCall},
    lane::Lane,
    msg::{CallReport, Msg},
};
use crate::{
    call::{CallOutcome, CallRequest, CancelRequest, Told},
    providers::provider_of,
};

/// Agents that are told at once.
const TOLD_AT_ONCE: usize = 64;
/// First and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Rows that are deleted at once.
const DELETED_AT_ONCE: usize = 500;
/// Pause before rows are deleted again after the store was away.
const AWAY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a call that runs shares with its lane.
pub(crate) struct CallCell {
    instance: Arc<str>,
    message_id: String,
    trace: Arc<str>,
    permit: Mutex<Option<Permit>>,
    cut: AtomicBool,
    /// It ended with an outcome that leaves nothing open at the agent.
    settled: AtomicBool,
    /// What it has cost, as the agent says.
    usage: Mutex<Option<Usage>>,
}

impl CallCell {
    pub(crate) fn new(request: &CallRequest, permit: Permit) -> Arc<Self> {
        Arc::new(Self {
            instance: permit.instance_key(),
            message_id: request.message_id.clone(),
            trace: request.trace.clone(),
            permit: Mutex::new(Some(permit)),
            cut: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            usage: Mutex::default(),
        })
    }

    pub(crate) fn used(&self, usage: Usage) {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some(usage);
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_slot_back(&self) {
        drop(self.permit.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The call has ended. `false`: nobody wants to hear of it.
    pub(crate) fn ended(&self, outcome: &CallOutcome) -> bool {
        let over = match outcome {
            CallOutcome::Completed(_) => true,
            CallOutcome::Failed { outcome_known, .. } => *outcome_known,
            CallOutcome::InputRequired { .. } => false,
        };
        self.settled.store(over, Ordering::Release);
        let permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(permit) = permit {
            permit.ended(matches!(outcome, CallOutcome::Failed { class, .. } if breaker::counts(*class)));
        }
        !self.is_cut()
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }
}

impl OpenCall {
    /// Nobody wants it any more: its slot is free, and it goes on only so that the agent's name for it can be learned.
    fn cut(self) -> Running {
        self.cell.cut.store(true, Ordering::Release);
        self.cell.give_slot_back();
        Running { task: self.task, cell: self.cell }
    }
}

/// A cut call that still runs in this process. It ends with this.
struct Running {
    task: AbortHandle,
    cell: Arc<CallCell>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A call to be told of.
pub(crate) struct Cut {
    execution: ExecutionId,
    /// `agent/instance`.
    instance: Arc<str>,
    message_id: String,
    agent_task_id: Option<Arc<str>>,
    trace: Arc<str>,
    at: Timestamp,
    running: Option<Running>,
    /// Its row, when it is over for good.
    row: Option<(u16, Uuid)>,
    /// Where what it has cost is told; of a call that is over for good.
    bill: Option<Bill>,
    /// It is tried again, under the same message id: a later cancel could hit the next attempt.
    once: bool,
    /// Another living process made it and was asked to end it.
    elsewhere: bool,
    /// The execution was terminated.
    at_once: bool,
    /// Its tenant, when whether it was terminated stands in its row.
    ask: Option<Tenant>,
}

/// Whose lane is told what a call has cost.
struct Bill {
    lane: mpsc::Sender<Msg>,
    call: CallKey,
    attempt: u32,
}

impl Lane {
    /// Ends a call that nobody wants any more, here, at the process that made it, and at its agent.
    pub(crate) fn abort(&mut self, id: ExecutionId, call: CallKey, attempt: &Attempt, number: u32) {
        let Some(hot) = self.hot.get_mut(&id) else { return };
        // The next attempt may wait there by now: it was assigned while the end of this one was on its way to the disk.
        let never_sent = hot.waits_to_leave(call, number);
        if never_sent {
            hot.outbox.remove(&call);
        }
        let own = match hot.open.get(&call) {
            Some(open) if open.attempt == number => hot.open.remove(&call),
            _ => None,
        };
        let maker = &attempt.to.caller;
        let links = self.shared.links.get().filter(|_| *maker != self.caller && self.shared.is_alive(maker));
        if let Some(links) = links {
            links.elsewhere.abort(&maker.member, id, call, number);
        }
        let Some(message_id) = message_id(&hot.state, call).filter(|_| !never_sent) else { return };
        let over = is_over(hot, call);
        let cut = Cut {
            execution: id,
            instance: attempt.to.instance.clone(),
            agent_task_id: attempt.bound.as_ref().map(|(task, _)| task.clone()),
            trace: hot.state.created().trace.clone(),
            at: hot.state.time(),
            running: own.map(OpenCall::cut).filter(|_| over),
            row: over.then_some((hot.shard, message_id)),
            bill: over.then(|| Bill { lane: self.tx.clone(), call, attempt: number }),
            once: !over,
            message_id: message_id.to_string(),
            elsewhere: links.is_some(),
            at_once: hot.state.status() == Status::Terminated,
            ask: None,
        };
        self.shared.tell(cut);
    }

    /// Ends a call whose execution is elsewhere and no longer wants it.
    pub(crate) fn abort_orphan(&mut self, id: ExecutionId, call: CallKey, attempt: u32) {
        if self.orphans.get(&(id, call)).is_none_or(|open| open.attempt != attempt) {
            return;
        }
        let Some(open) = self.orphans.remove(&(id, call)) else { return };
        let cell = open.cell.clone();
        self.shared.tell(Cut {
            execution: id,
            instance: cell.instance.clone(),
            message_id: cell.message_id.clone(),
            agent_task_id: None,
            trace: cell.trace.clone(),
            at: self.now(),
            running: Some(open.cut()),
            row: None,
            bill: Some(Bill { lane: self.tx.clone(), call, attempt }),
            once: false,
            elsewhere: false,
            at_once: false,
            ask: None,
        });
    }
}

/// Whether nothing more is made of the call: no attempt follows this one.
fn is_over(hot: &Hot, call: CallKey) -> bool {
    let phase = hot.state.call(call).map(|c| c.phase);
    !matches!(phase, Some(CallPhase::Waiting | CallPhase::Ready(_) | CallPhase::Running))
}

/// The calls that these effects cut for good and that may have reached an agent: written with the events behind them.
pub(crate) fn cuts_of(hot: &Hot, effects: &[Effect]) -> Vec<CutWrite> {
    let cut = |effect: &Effect| {
        let Effect::Abort { call, attempt, number } = effect else { return None };
        if hot.waits_to_leave(*call, *number) || !is_over(hot, *call) {
            return None;
        }
        Some(CutWrite {
            call: message_id(&hot.state, *call)?,
            instance: attempt.to.instance.to_string(),
            agent_task_id: attempt.bound.as_ref().map(|(task, _)| task.to_string()),
            cut_at: hot.state.time(),
        })
    };
    effects.iter().filter_map(cut).collect()
}

/// What was cut and is being told.
pub(crate) struct Teller {
    /// Rows of calls that are being told by this process.
    telling: Mutex<HashSet<(u16, Uuid)>>,
    at_once: Semaphore,
    done: mpsc::UnboundedSender<(u16, Uuid)>,
    stop: watch::Receiver<bool>,
}

impl Teller {
    /// `stop`: nothing is told any more once it is true.
    pub(crate) fn new(journal: Arc<dyn Journal>, stop: watch::Receiver<bool>) -> Self {
        let (done, told) = mpsc::unbounded_channel();
        tokio::spawn(forget(journal, told, stop.clone()));
        Self { telling: Mutex::default(), at_once: Semaphore::new(TOLD_AT_ONCE), done, stop }
    }

    fn begin(&self, row: (u16, Uuid)) -> bool {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner).insert(row)
    }

    fn end(&self, row: (u16, Uuid)) {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner).remove(&row);
        let _ = self.done.send(row);
    }

    async fn stopped(&self) {
        let _ = self.stop.clone().wait_for(|stopped| *stopped).await;
    }
}

/// Deletes the rows of calls that were told.
async fn forget(
    journal: Arc<dyn Journal>,
    mut told: mpsc::UnboundedReceiver<(u16, Uuid)>,
    mut stop: watch::Receiver<bool>,
) {
    let mut rows = Vec::new();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return,
            n = told.recv_many(&mut rows, DELETED_AT_ONCE) => if n == 0 { return },
        }
        while let Err(error) = journal.delete_cuts(&rows).await {
            // They stay at worst: the next owner tells the agents once more.
            tracing::warn!(%error, "calls that were told could not be forgotten");
            if !matches!(error, StoreError::Unavailable(_)) || *stop.borrow() {
                break;
            }
            tokio::time::sleep(AWAY_AGAIN_AFTER).await;
        }
        rows.clear();
    }
}

/// How the telling of one call ended.
enum End {
    Told,
    /// It had ended by itself.
    Settled,
    /// The process that made it ends it.
    Elsewhere,
    GivenUp(String),
}

impl EngineShared {
    /// Cut calls of a shard that was just taken are told by this process now.
    pub(crate) async fn read_cuts(&self, shard: u16) -> Result<Vec<CutRow>, StoreError> {
        let mut all: Vec<CutRow> = Vec::new();
        loop {
            let page = self.journal.read_cuts(shard, all.last().map(|c| c.cut.call), 1000).await?;
            let done = page.len() < 1000;
            all.extend(page);
            if done {
                return Ok(all);
            }
        }
    }

    pub(crate) fn tell_rows(self: &Arc<Self>, rows: Vec<CutRow>) {
        for CutRow { shard, tenant, execution_id, cut } in rows {
            self.tell(Cut {
                execution: execution_id,
                instance: cut.instance.into(),
                message_id: cut.call.to_string(),
                agent_task_id: cut.agent_task_id.map(Into::into),
                trace: Arc::from(""),
                at: cut.cut_at,
                running: None,
                row: Some((shard, cut.call)),
                // Which attempt of which call it was is not written: what it cost is known to the agent alone.
                bill: None,
                once: false,
                elsewhere: false,
                at_once: false,
                ask: Some(tenant),
            });
        }
    }

    /// Whether the execution was terminated, for those who tell that from a cancel.
    async fn was_terminated(&self, cut: &Cut, agent: &catalog::AgentEntry) -> bool {
        let Some(tenant) = cut.ask.as_ref().filter(|_| provider_of(agent.id()).is_some()) else {
            return cut.at_once;
        };
        let row = self.journal.get_execution(tenant, cut.execution).await;
        row.is_ok_and(|row| row.is_some_and(|row| row.status == Status::Terminated.as_str()))
    }

    fn tell(self: &Arc<Self>, cut: Cut) {
        if cut.row.is_some_and(|row| !self.teller.begin(row)) {
            return;
        }
        let shared = self.clone();
        tokio::spawn(async move {
            crash::point("cut-not-told");
            let end = tokio::select! {
                () = shared.teller.stopped() => return,
                end = shared.tell_until_told(&cut) => end,
            };
            match &end {
                End::Told => shared.metrics.told(),
                End::Settled | End::Elsewhere => {}
                End::GivenUp(why) if cut.once => {
                    tracing::debug!(execution = %cut.execution, why, "a call that is tried again was not cancelled");
                }
                End::GivenUp(why) => {
                    shared.metrics.not_told();
                    tracing::warn!(
                        execution = %cut.execution, agent = &*cut.instance, message = cut.message_id, why,
                        "an agent could not be told that a call was cut"
                    );
                }
            }
            if let Some(row) = cut.row {
                shared.teller.end(row);
            }
        });
    }

    async fn tell_until_told(&self, cut: &Cut) -> End {
        self.dispatcher.fleet_known().await;
        let Some((agent, instance)) = self.dispatcher.find(&cut.instance) else {
            return End::GivenUp("it is not registered any more".into());
        };
        let at_once = self.was_terminated(cut, &agent).await;
        let request = CancelRequest {
            agent,
            instance,
            at_once,
            execution_id: cut.execution,
            message_id: cut.message_id.clone(),
            agent_task_id: cut.agent_task_id.clone(),
            trace: cut.trace.clone(),
        };
        let mut pause = PAUSE.0;
        loop {
            // Looked at before the agent is asked: what the call learned until its end counts.
            let runs = cut.running.as_ref().is_some_and(|r| !r.task.is_finished());
            let settled = cut.running.as_ref().is_some_and(|r| r.cell.settled.load(Ordering::Acquire));
            if settled {
                return End::Settled;
            }
            let told = match self.teller.at_once.acquire().await {
                Ok(_permit) => self.caller.cancel(request.clone()).await,
                Err(_) => return End::GivenUp("this process stops".into()),
            };
            let why = match told {
                Told::Yes => return End::Told,
                Told::Spent(usage) => {
                    if let Some(Bill { lane, call, attempt }) = &cut.bill {
                        let report = CallReport::Used { usage };
                        let (id, call, attempt) = (cut.execution, *call, *attempt);
                        let _ = lane.send(Msg::Call { id, call, attempt, report }).await;
                    }
                    return End::Told;
                }
                Told::Unnamed(_) if cut.elsewhere => return End::Elsewhere,
                Told::Unnamed(why) if !runs => return End::GivenUp(why),
                Told::Unnamed(why) | Told::Away(why) => why,
            };
            if cut.once || self.clock.now().since(cut.at) >= self.limits.cancel_within {
                return End::GivenUp(why);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}
