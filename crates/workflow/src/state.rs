//! State of one execution, and how facts fold into it.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, OnceLock},
    time::Duration,
};

use base::{CheckpointId, ExecutionId, FailureClass, Payload, Timestamp};
use serde_json::Value;

use crate::{
    compiled::Compiled,
    event::{Assignment, CallKey, Created, SkipReason},
    plan::RetryPolicy,
};

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Committed, not admitted yet (queued).
    Planning,
    /// Running.
    Executing,
    /// No new call leaves.
    Paused,
    /// Done.
    Completed,
    /// Over: something failed.
    Failed,
    /// Over: cancelled.
    Cancelled,
    /// Over: stopped at once.
    Terminated,
    /// Completed work is being undone.
    Compensating,
    /// Over: it failed or was cancelled, and what it had done is undone.
    Compensated,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Planning,
        Self::Executing,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Terminated,
        Self::Compensating,
        Self::Compensated,
    ];
    /// The text form of every door.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Executing => "executing",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Terminated => "terminated",
            Self::Compensating => "compensating",
            Self::Compensated => "compensated",
        }
    }
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
    /// Whether nothing can follow.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Cancelled | Self::Terminated | Self::Compensated
        )
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskPhase {
    /// Waits for others.
    Pending,
    /// Its calls are under way.
    Scheduled,
    /// Done.
    Completed,
    /// Failed for good.
    Failed,
    /// Did not run.
    Skipped(SkipReason),
    /// The execution ended before it did.
    Cancelled,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPhase {
    /// Behind other items of its task.
    Waiting,
    /// May leave from this point in time on.
    Ready(Timestamp),
    /// An attempt is open.
    Running,
    /// The agent waits for input.
    Input,
    /// Somebody has to decide.
    Decision,
    /// Done.
    Completed,
    /// Failed for good, or its task or execution ended.
    Failed,
}

/// One open or finished attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Where it went.
    pub to: Arc<Assignment>,
    /// When it started.
    pub started_at: Timestamp,
    /// The agent's task and context id, once known.
    pub bound: Option<(Arc<str>, Arc<str>)>,
    /// Answer to the agent's question that has to be sent.
    pub answer: Option<Payload>,
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallState {
    /// Where it stands.
    pub phase: CallPhase,
    /// Attempts so far, the open one included.
    pub attempt: u32,
    /// Rises only after a committed, known failure: it is part of the message id.
    pub retry: u32,
    /// The newest attempt.
    pub current: Option<Box<Attempt>>,
    /// Instances that failed, newest last.
    pub tried: Vec<Arc<str>>,
    /// Output, of a scattered task's item.
    pub output: Option<Payload>,
    /// Why the last attempt failed.
    pub error: Option<Arc<(FailureClass, Arc<str>)>>,
    /// Why it waits: no agent, or the agent's question.
    pub waiting: Option<Arc<str>>,
    /// What the agent asks.
    pub prompt: Option<Payload>,
    /// When it completed or failed for good.
    pub ended_at: Option<Timestamp>,
    /// The timer that is set for it.
    pub(crate) timer: Option<Timestamp>,
}

impl CallState {
    fn new() -> Self {
        Self {
            phase: CallPhase::Waiting,
            attempt: 0,
            retry: 0,
            current: None,
            tried: Vec::new(),
            output: None,
            error: None,
            waiting: None,
            prompt: None,
            ended_at: None,
            timer: None,
        }
    }
}

/// One task.
#[derive(Clone, Debug)]
pub struct TaskState {
    /// Where it stands.
    pub phase: TaskPhase,
    /// Whether its output is gathered from items.
    pub scattered: bool,
    /// Its calls; empty before it is scheduled.
    pub calls: Vec<CallState>,
    /// Output, once completed.
    pub output: Option<Payload>,
    /// When it was scheduled.
    pub scheduled_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    pub(crate) missing: u32,
    pub(crate) skipped_before: u32,
    pub(crate) failed_before: bool,
    /// Calls not done yet.
    pub(crate) open: u32,
    /// The next item that may become ready.
    pub(crate) next_item: u32,
    /// Number of the event that scheduled it; 0 before.
    pub(crate) scheduled_seq: u64,
    /// Number of the event that ended it; 0 before.
    pub(crate) ended_seq: u64,
    /// The scattered list, derived once from the state; not part of it.
    pub(crate) list: OnceLock<Option<Arc<Vec<Value>>>>,
}

impl PartialEq for TaskState {
    fn eq(&self, o: &Self) -> bool {
        (
            self.phase,
            self.scattered,
            self.missing,
            self.skipped_before,
            self.failed_before,
            self.open,
            self.next_item,
        ) == (o.phase, o.scattered, o.missing, o.skipped_before, o.failed_before, o.open, o.next_item)
            && (self.scheduled_at, self.ended_at) == (o.scheduled_at, o.ended_at)
            && (self.scheduled_seq, self.ended_seq) == (o.scheduled_seq, o.ended_seq)
            && self.calls == o.calls
            && self.output == o.output
    }
}

/// One reason why something failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// The task's index; `None` for the execution as a whole.
    pub call: Option<CallKey>,
    /// Which attempt.
    pub attempt: u32,
    /// Class.
    pub class: FailureClass,
    /// Words.
    pub message: Arc<str>,
    /// The agent, when one was involved.
    pub agent: Option<Arc<str>>,
    /// When.
    pub at: Timestamp,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A call: queue or allocation (ready), retry (ready later) or attempt (running).
    Call(CallKey),
    /// A task's total time.
    Task(u32),
    /// The execution's time.
    Execution,
    /// The next checkpoint.
    Checkpoint,
}

/// State of one execution. Equality is that of the folded log: what is cached or handed to the shell does not count.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) id: ExecutionId,
    pub(crate) plan: Arc<Compiled>,
    pub(crate) created: Arc<Created>,
    pub(crate) status: Status,
    pub(crate) before_pause: Status,
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) tasks: Vec<TaskState>,
    pub(crate) unfinished: u32,
    pub(crate) completed: u32,
    pub(crate) agenda: VecDeque<u32>,
    pub(crate) timers: BTreeSet<(Timestamp, Timer)>,
    pub(crate) in_flight: u32,
    /// Calls whose agent waits for input.
    pub(crate) asking: u32,
    pub(crate) waiting_calls: u32,
    pub(crate) busy_since: Option<Timestamp>,
    pub(crate) busy: Duration,
    pub(crate) agent_us: u64,
    pub(crate) retries: u32,
    pub(crate) failures: u32,
    pub(crate) causes: Vec<Cause>,
    pub(crate) output: Option<Payload>,
    pub(crate) last_checkpoint: Option<CheckpointId>,
    pub(crate) warned: bool,
    pub(crate) agents: BTreeSet<Arc<str>>,
    /// Results that came too late: each is told once.
    pub(crate) late: BTreeSet<(CallKey, Arc<str>)>,
    /// Calls that became ready since the shell last asked.
    pub(crate) fresh: Vec<CallKey>,
    /// Tasks that may be complete, fail or start the end; looked at by `follow`.
    pub(crate) review: VecDeque<u32>,
}

impl PartialEq for State {
    fn eq(&self, o: &Self) -> bool {
        self.id == o.id
            && self.created == o.created
            && (self.status, self.before_pause, self.seq, self.time)
                == (o.status, o.before_pause, o.seq, o.time)
            && (self.created_at, self.started_at, self.ended_at) == (o.created_at, o.started_at, o.ended_at)
            && self.tasks == o.tasks
            && (self.unfinished, self.completed, self.in_flight) == (o.unfinished, o.completed, o.in_flight)
            && self.asking == o.asking
            && self.late == o.late
            && (self.waiting_calls, self.busy_since, self.busy) == (o.waiting_calls, o.busy_since, o.busy)
            && (self.agent_us, self.retries, self.failures) == (o.agent_us, o.retries, o.failures)
            && self.agenda == o.agenda
            && self.review == o.review
            && self.timers == o.timers
            && self.causes == o.causes
            && self.output == o.output
            && (self.last_checkpoint, self.warned) == (o.last_checkpoint, o.warned)
            && self.agents == o.agents
    }
}

impl State {
    /// The state after the first event.
    pub(crate) fn begin(id: ExecutionId, plan: Arc<Compiled>, created: Arc<Created>, at: Timestamp) -> Self {
        let tasks: Vec<TaskState> =
            plan.plan().tasks.iter().map(|t| TaskState::new(t.after.len() as u32)).collect();
        let agenda = (0..tasks.len() as u32).filter(|&t| tasks[t as usize].missing == 0).collect();
        Self {
            id,
            status: Status::Planning,
            before_pause: Status::Planning,
            seq: 1,
            time: at,
            created_at: at,
            started_at: None,
            ended_at: None,
            unfinished: tasks.len() as u32,
            completed: 0,
            tasks,
            agenda,
            timers: BTreeSet::new(),
            in_flight: 0,
            asking: 0,
            waiting_calls: 0,
            busy_since: None,
            busy: Duration::ZERO,
            agent_us: 0,
            retries: 0,
            failures: 0,
            causes: Vec::new(),
            output: None,
            last_checkpoint: None,
            warned: false,
            agents: BTreeSet::new(),
            late: BTreeSet::new(),
            fresh: Vec::new(),
            review: VecDeque::new(),
            plan,
            created,
        }
    }

    /// The execution.
    pub fn id(&self) -> ExecutionId {
        self.id
    }
    /// The plan it runs.
    pub fn plan(&self) -> &Arc<Compiled> {
        &self.plan
    }
    /// What its start decided.
    pub fn created(&self) -> &Arc<Created> {
        &self.created
    }
    /// Where it stands.
    pub fn status(&self) -> Status {
        self.status
    }
    /// Sequence number of the newest event, from 1.
    pub fn seq(&self) -> u64 {
        self.seq
    }
    /// Time of the newest event.
    pub fn time(&self) -> Timestamp {
        self.time
    }
    /// When it was created.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }
    /// When it was admitted.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }
    /// When it ended.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }
    /// Its tasks, by index in the plan.
    pub fn tasks(&self) -> &[TaskState] {
        &self.tasks
    }
    /// One call.
    pub fn call(&self, key: CallKey) -> Option<&CallState> {
        self.tasks.get(key.task as usize)?.calls.get(key.item as usize)
    }
    /// Output, when completed.
    pub fn output(&self) -> Option<&Payload> {
        self.output.as_ref()
    }
    /// Everything that went wrong, in order.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }
    /// Attempts open at agents.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }
    /// Calls that are ready (or will be, at the time of their retry) and have not left.
    pub fn waiting_calls(&self) -> u32 {
        self.waiting_calls
    }
    /// Retries so far, over all tasks.
    pub fn retries(&self) -> u32 {
        self.retries
    }
    /// Tasks completed so far.
    pub fn completed_tasks(&self) -> u32 {
        self.completed
    }
    /// The newest checkpoint.
    pub fn last_checkpoint(&self) -> Option<CheckpointId> {
        self.last_checkpoint
    }
    /// Agents that were called.
    pub fn agents(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.agents.iter()
    }
    /// Sum of all calls' durations, in microseconds.
    pub fn agent_us(&self) -> u64 {
        self.agent_us
    }

    /// Time in which at least one agent worked, up to `now`.
    pub fn busy(&self, now: Timestamp) -> Duration {
        self.busy + self.busy_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Wall time from the start to the end, or to `now`.
    pub fn runtime(&self, now: Timestamp) -> Duration {
        self.ended_at.unwrap_or(now).since(self.created_at)
    }

    /// Share of the runtime in which no agent worked, 0 to 1.
    pub fn coordination_overhead(&self, now: Timestamp) -> f64 {
        let runtime = self.runtime(now).as_secs_f64();
        let idle = runtime - self.busy(self.ended_at.unwrap_or(now)).as_secs_f64();
        if runtime <= 0.0 { 0.0 } else { (idle / runtime).clamp(0.0, 1.0) }
    }

    /// Calls at once that the plan and the start allow.
    pub fn calls_max(&self) -> u32 {
        let of_start = if self.created.max_agents == 0 { u32::MAX } else { self.created.max_agents };
        self.plan.plan().limits.max_calls.unwrap_or(u32::MAX).max(1).min(of_start)
    }

    /// Calls that may still leave now under [`State::calls_max`]. A call whose agent asks for input keeps its place: it
    /// goes on once it is answered.
    pub fn room(&self) -> u32 {
        self.calls_max().saturating_sub(self.in_flight + self.asking)
    }

    /// Priority of the calls of `task`: the task's own on top of the execution's. Higher runs first.
    pub fn priority(&self, task: u32) -> i32 {
        let own = self.plan.plan().tasks.get(task as usize).map_or(0, |t| t.priority);
        self.created.priority.saturating_add(own)
    }

    /// The next deadline later than `after`.
    pub fn next_timer(&self, after: Timestamp) -> Option<Timestamp> {
        let from =
            (Timestamp::from_micros(after.micros().saturating_add(1)), Timer::Call(CallKey::new(0, 0)));
        self.timers.range(from..).next().map(|(at, _)| *at)
    }

    /// Calls that became ready since the last time this was asked.
    pub fn take_fresh(&mut self) -> Vec<CallKey> {
        std::mem::take(&mut self.fresh)
    }

    /// The retry policy that holds for `task`.
    pub fn retry_policy(&self, task: u32) -> RetryPolicy {
        let own = self.plan.plan().tasks.get(task as usize).and_then(|t| t.retry.as_ref());
        let own = own.unwrap_or(&self.created.default_retry);
        match &*self.created.retry_policy {
            "" => own.clone(),
            name => own.named(name).unwrap_or_else(|| own.clone()),
        }
    }

    /// Ids of the tasks that run, or the status: what `current_phase` shows.
    pub fn current_phase(&self) -> String {
        if self.status != Status::Executing {
            return self.status.as_str().into();
        }
        let running = self.tasks.iter().zip(&self.plan.plan().tasks);
        let mut names = running.filter(|(t, _)| t.phase == TaskPhase::Scheduled).map(|(_, p)| p.id.as_str());
        let shown: Vec<&str> = names.by_ref().take(3).collect();
        match (shown.is_empty(), names.next()) {
            (true, _) => "executing".into(),
            (false, None) => shown.join(", "),
            (false, Some(_)) => format!("{}, …", shown.join(", ")),
        }
    }
}

impl TaskState {
    fn new(missing: u32) -> Self {
        Self {
            phase: TaskPhase::Pending,
            scattered: false,
            calls: Vec::new(),
            output: None,
            scheduled_at: None,
            ended_at: None,
            missing,
            skipped_before: 0,
            failed_before: false,
            open: 0,
            next_item: 0,
            scheduled_seq: 0,
            ended_seq: 0,
            list: OnceLock::new(),
        }
    }

    /// `items` calls, all of them waiting; the first `width` are about to be made ready.
    pub(crate) fn schedule(&mut self, items: u32, width: u32, scattered: bool, at: Timestamp, seq: u64) {
        self.phase = TaskPhase::Scheduled;
        self.scattered = scattered;
        self.scheduled_at = Some(at);
        self.scheduled_seq = seq;
        self.open = items;
        self.next_item = width.min(items);
        self.calls = (0..items).map(|_| CallState::new()).collect();
    }
}
