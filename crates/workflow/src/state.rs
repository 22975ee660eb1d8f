//! State of one execution, and how facts fold into it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use base::{CheckpointId, ExecutionId, FailureClass, Payload, Timestamp};
use serde_json::Value;

use crate::{
    compiled::Compiled,
    event::{CallKey, Created},
    facts::Spending,
    mailbox::Mailbox,
    plan::RetryPolicy,
    saga::Undoing,
    task::{CallState, TaskPhase, TaskState},
    turn::{Span, Turn, TurnPhase},
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

/// One reason why something failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// The call; `None` for the execution as a whole.
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
    /// What a task waits for by itself: its timer, or the pause before a loop's next turn.
    Wait(u32),
    /// The next step of an approval's escalation.
    Escalation(u32),
    /// The time for all compensation.
    Saga,
}

/// Something that may be complete, fail, go on or start the end; looked at one by one, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Review {
    /// A task that may be complete, or failed and is not tolerated.
    Task(u32),
    /// A turn whose tasks have all ended.
    Turn(u32),
    /// A scope that can start a turn or end.
    Scope(u32),
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
    /// Those of the plan first, in their order; then those of each turn.
    pub(crate) tasks: Vec<TaskState>,
    /// The execution itself, then every turn of every scope.
    pub(crate) turns: Vec<Turn>,
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
    /// Looked at by `follow`.
    pub(crate) review: VecDeque<Review>,
    /// Variables; `None` until the first are set.
    pub(crate) vars: Option<Arc<Value>>,
    /// Whether the plan's and the start's own variables were set.
    pub(crate) vars_begun: bool,
    /// Inputs that resets gave, with the numbers of their events.
    pub(crate) inputs: Vec<(u64, Payload)>,
    /// Tasks as they stood before a reset, with the numbers of their events: what began before it sees them so.
    pub(crate) past: Vec<(u64, u32, TaskState)>,
    pub(crate) mailbox: Mailbox,
    /// Tasks that wait for events.
    pub(crate) listeners: BTreeSet<u32>,
    /// Tasks whose mode was switched.
    pub(crate) modes: BTreeMap<u32, Option<Arc<str>>>,
    /// What was spent, by this execution and those below it.
    pub(crate) spent: Spending,
    /// What open attempts may still spend.
    pub(crate) reserved: Spending,
    /// What sub-workflows under way were given, with their tasks.
    pub(crate) loans: BTreeMap<ExecutionId, (u32, Spending)>,
    pub(crate) undoing: Option<Box<Undoing>>,
    /// How often the plan was changed.
    pub(crate) revision: u32,
}

impl PartialEq for State {
    fn eq(&self, o: &Self) -> bool {
        self.id == o.id
            && self.created == o.created
            && (self.status, self.before_pause, self.seq, self.time)
                == (o.status, o.before_pause, o.seq, o.time)
            && (self.created_at, self.started_at, self.ended_at) == (o.created_at, o.started_at, o.ended_at)
            && self.tasks == o.tasks
            && self.turns == o.turns
            && (self.completed, self.in_flight) == (o.completed, o.in_flight)
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
            && (&self.vars, self.vars_begun) == (&o.vars, o.vars_begun)
            && (&self.inputs, &self.past) == (&o.inputs, &o.past)
            && (&self.mailbox, &self.listeners, &self.modes) == (&o.mailbox, &o.listeners, &o.modes)
            && (self.spent, self.reserved, self.revision) == (o.spent, o.reserved, o.revision)
            && self.undoing == o.undoing
            && self.loans == o.loans
    }
}

impl State {
    /// The state after the first event.
    pub(crate) fn begin(id: ExecutionId, plan: Arc<Compiled>, created: Arc<Created>, at: Timestamp) -> Self {
        let each = plan.plan().tasks.iter().zip(0..);
        let mut tasks: Vec<TaskState> =
            each.map(|(t, node)| TaskState::new(node, 0, t.after.len() as u32, 0)).collect();
        let agenda: VecDeque<u32> =
            (0..tasks.len() as u32).filter(|&t| tasks[t as usize].missing == 0).collect();
        for &task in &agenda {
            tasks[task as usize].queued = true;
        }
        let whole = Turn {
            scope: None,
            undo: false,
            number: 0,
            phase: TurnPhase::Running,
            item: None,
            carry: None,
            output: None,
            error: None,
            started_at: at,
            ended_at: None,
            block: 0,
            tasks: Span::From(0),
            unfinished: tasks.len() as u32,
        };
        Self {
            id,
            status: Status::Planning,
            before_pause: Status::Planning,
            seq: 1,
            time: at,
            created_at: at,
            started_at: None,
            ended_at: None,
            completed: 0,
            turns: vec![whole],
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
            vars: None,
            vars_begun: false,
            inputs: Vec::new(),
            past: Vec::new(),
            mailbox: Mailbox::default(),
            listeners: BTreeSet::new(),
            modes: BTreeMap::new(),
            spent: Spending::default(),
            reserved: Spending::default(),
            loans: BTreeMap::new(),
            undoing: None,
            revision: 0,
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
    /// Its tasks: those of the plan first, in their order, then those of each turn as it began.
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
        let own = self.tasks.get(task as usize).map_or(0, |t| self.plan.node(t.node).priority);
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
        let state = self.tasks.get(task as usize);
        let own = state.and_then(|t| self.plan.node(t.node).retry.as_ref());
        let undo = state.is_some_and(|t| self.undo_of(t.turn).is_some());
        let saga = self.plan.plan().saga.retry.as_ref().filter(|_| undo);
        let own = own.or(saga).unwrap_or(&self.created.default_retry);
        match &*self.created.retry_policy {
            "" => own.clone(),
            name => own.named(name).unwrap_or_else(|| own.clone()),
        }
    }

    /// Whether tasks are scheduled and calls may leave.
    pub fn is_active(&self) -> bool {
        matches!(self.status, Status::Executing | Status::Compensating)
    }

    /// Paths of the tasks that run, or the status: what `current_phase` shows.
    pub fn current_phase(&self) -> String {
        if self.status != Status::Executing {
            return self.status.as_str().into();
        }
        let running = (0..self.tasks.len() as u32).filter(|&t| {
            let task = &self.tasks[t as usize];
            task.phase == TaskPhase::Scheduled && task.turns().is_none()
        });
        let mut names = running.map(|t| self.task_path(t));
        let shown: Vec<String> = names.by_ref().take(3).collect();
        match (shown.is_empty(), names.next()) {
            (true, _) => "executing".into(),
            (false, None) => shown.join(", "),
            (false, Some(_)) => format!("{}, …", shown.join(", ")),
        }
    }
}
