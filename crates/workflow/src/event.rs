//! Facts. The log holds these and nothing else; [`crate::State::apply`] folds them.

use std::{sync::Arc, time::Duration};

use base::{AgentId, CheckpointId, Effect, ExecutionId, FailureClass, Payload, Timestamp, WorkflowId};

use crate::{
    facts::{
        Because, ChildOutcome, ChildStart, PlanChange, Seed, Spending, TurnResult, Usage, UserEvent, Verdict,
    },
    plan::{Budget, RetryPolicy},
};

/// One call of a task: the task's index in the execution and the item's index (0 for a task that does not scatter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey {
    /// Index in [`crate::State::tasks`]; the tasks of the plan come first, in their order.
    pub task: u32,
    /// Index of the item.
    pub item: u32,
}

impl CallKey {
    /// The call of item `item` of task `task`.
    pub const fn new(task: u32, item: u32) -> Self {
        Self { task, item }
    }
}

/// A process that makes calls, by member id and incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The replica's stable name.
    pub member: Arc<str>,
    /// Rises with every start of the replica.
    pub incarnation: u64,
}

/// Everything a start decided; it never changes afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// Its name.
    pub workflow_name: Arc<str>,
    /// The version that runs.
    pub workflow_version: Arc<str>,
    /// Input of the execution.
    pub input: Payload,
    /// Higher runs first.
    pub priority: i32,
    /// Wall time from admission; zero = no limit.
    pub timeout: Duration,
    /// Named policy given with the start, for every task; empty = the tasks' own.
    pub retry_policy: Arc<str>,
    /// Calls at once, from `resource_constraints.max_agents`; 0 = no limit.
    pub max_agents: u32,
    /// From `resource_constraints`; 0 = no limit.
    pub max_cpu_millis: u64,
    /// From `resource_constraints`; 0 = no limit.
    pub max_memory_bytes: u64,
    /// Caller's metadata as JSON text; empty = none.
    pub metadata_json: Arc<str>,
    /// A checkpoint is recorded this often; zero = never.
    pub checkpoint_every: Duration,
    /// How long a ready call waits while no agent offers what it needs.
    pub allocation_timeout: Duration,
    /// W3C `traceparent` of the start; empty = none.
    pub trace: Arc<str>,
    /// What ties it to other work of the caller; empty = nothing was given.
    pub correlation_id: Arc<str>,
    /// Who started it.
    pub principal: Arc<str>,
    /// Agents that the pre-check found.
    pub candidates: Vec<Arc<str>>,
    /// Estimate of the plan.
    pub estimated: Duration,
    /// The installation's retry policy when the start was taken.
    pub default_retry: RetryPolicy,
    /// What sub-workflows, events, budgets, sagas and sessions start with.
    pub settings: Settings,
}

/// What an execution starts with beside what every execution has.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How long an event or signal that nobody waits for is kept.
    pub event_ttl: Duration,
    /// Events and signals that are kept at once; more are refused.
    pub events_max: u32,
    /// The task of another execution that started this one.
    pub parent: Option<Arc<Parent>>,
    /// The start's own limits, beside the plan's; the lower one holds. A sub-workflow is given what its parent has left.
    pub budget: Budget,
    /// Time for all compensation together when the plan does not say; zero = no limit.
    pub saga_timeout: Duration,
    /// Session that it belongs to; empty = none.
    pub session: Arc<str>,
    /// First values of variables, after the plan's own: an object. What a session loads arrives here.
    pub vars: Option<Payload>,
    /// The conversation so far, a list; `session.history` in expressions.
    pub history: Option<Payload>,
}

impl Default for Settings {
    /// Events are kept for a day, ten thousand of them at most; nothing else is limited.
    fn default() -> Self {
        Self {
            event_ttl: Duration::from_secs(24 * 3600),
            events_max: 10_000,
            parent: None,
            budget: Budget::default(),
            saga_timeout: Duration::ZERO,
            session: "".into(),
            vars: None,
            history: None,
        }
    }
}

/// Where a sub-workflow comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    /// The execution.
    pub execution: ExecutionId,
    /// Path of its task.
    pub task: Arc<str>,
    /// Depth of the sub-workflow below the first execution, from 1.
    pub depth: u32,
}

/// Where an attempt goes and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The agent.
    pub agent: AgentId,
    /// The instance.
    pub instance: Arc<str>,
    /// The process that makes the call.
    pub caller: Caller,
    /// Hash of the input that is sent.
    pub input_hash: [u8; 32],
    /// The skill that is asked for; empty = the agent decides.
    pub capability: Arc<str>,
    /// Its version.
    pub capability_version: Arc<str>,
    /// What the call may do to the world.
    pub effect: Effect,
    /// Why this instance.
    pub reason: Arc<str>,
}

/// Why a task did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Its `when` was false.
    Condition,
    /// A task it depends on failed (and that was tolerated).
    DependencyFailed,
    /// Everything it depends on was skipped, or none of the edges to it was taken.
    DependenciesSkipped,
}

impl SkipReason {
    /// Text for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Condition => "its condition is false",
            Self::DependencyFailed => "a task it depends on failed",
            Self::DependenciesSkipped => "no way to it was taken",
        }
    }
}

/// How an operator ended a wait for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The call did its work.
    Completed,
    /// It did not and never will.
    Failed,
    /// Call again.
    Retry,
}

/// One event: what happened, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Never before the event that precedes it in the log.
    pub at: Timestamp,
    /// What happened.
    pub kind: Kind,
}

impl Kind {
    /// Index of the task it is about; `None` when it is about the execution as a whole.
    pub fn task(&self) -> Option<u32> {
        match self {
            Self::TaskScheduled { task, .. }
            | Self::TaskSkipped { task, .. }
            | Self::TaskCompleted { task, .. }
            | Self::TurnStarted { scope: task, .. }
            | Self::TurnEnded { scope: task, .. }
            | Self::Routed { task, .. }
            | Self::TaskCancelled { task, .. }
            | Self::Picked { task, .. }
            | Self::WaitOpened { task, .. }
            | Self::ApprovalAsked { task, .. }
            | Self::ApprovalEscalated { task, .. }
            | Self::ApprovalDecided { task, .. }
            | Self::StepGranted { task, .. }
            | Self::EventEmitted { task, .. }
            | Self::EventPublished { task }
            | Self::ChildStarted { task, .. }
            | Self::ChildAccepted { task, .. }
            | Self::ChildEnded { task, .. }
            | Self::TaskCompensating { task }
            | Self::TaskCompensated { task }
            | Self::CompensationFailed { task, .. }
            | Self::ModeSwitched { task, .. } => Some(*task),
            Self::VariablesSet { task, .. } => *task,
            Self::AttemptStarted { call, .. }
            | Self::AttemptBound { call, .. }
            | Self::AttemptAdopted { call, .. }
            | Self::AttemptFailed { call, .. }
            | Self::ItemCompleted { call, .. }
            | Self::TaskFailed { call, .. }
            | Self::InputRequired { call, .. }
            | Self::InputProvided { call, .. }
            | Self::NeedsDecision { call, .. }
            | Self::DecisionMade { call, .. }
            | Self::NoAgent { call, .. }
            | Self::TaskRecovered { call, .. }
            | Self::Spent { call, .. }
            | Self::LateResult { call, .. } => Some(call.task),
            Self::Created(_)
            | Self::Admitted
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::Completed { .. }
            | Self::Failed { .. }
            | Self::Cancelled { .. }
            | Self::Terminated { .. }
            | Self::Checkpoint { .. }
            | Self::EventReceived { .. }
            | Self::EventTaken { .. }
            | Self::SignalReceived { .. }
            | Self::CompensationStarted { .. }
            | Self::Compensated
            | Self::PlanChanged(_)
            | Self::Reset { .. }
            | Self::Seeded { .. }
            | Self::ChildSettled { .. }
            | Self::HistoryWarning { .. } => None,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields say what they are; CallKey and Created carry the units")]
pub enum Kind {
    /// The first event of every log.
    Created(Arc<Created>),
    /// The execution may run.
    Admitted,
    /// A task's dependencies are resolved; it makes `items` calls (a scope over a list: turns), `width` at once.
    TaskScheduled { task: u32, items: u32, width: u32, scattered: bool },
    /// The task will not run.
    TaskSkipped { task: u32, reason: SkipReason },
    /// A call is about to leave.
    AttemptStarted { call: CallKey, attempt: u32, retry: u32, to: Arc<Assignment> },
    /// The agent's own name for the call is known.
    AttemptBound { call: CallKey, agent_task_id: Arc<str>, context_id: Arc<str> },
    /// Another process took the call over.
    AttemptAdopted { call: CallKey, caller: Caller },
    /// The attempt failed; with `retry_at` it will be repeated.
    AttemptFailed {
        call: CallKey,
        class: FailureClass,
        message: Arc<str>,
        outcome_known: bool,
        retry_at: Option<Timestamp>,
        call_us: u64,
    },
    /// One item of a scattered task is done.
    ItemCompleted { call: CallKey, output: Payload, call_us: u64 },
    /// A task is done. A scattered task has no output here: it is gathered from its items.
    TaskCompleted { task: u32, output: Option<Payload>, call_us: u64 },
    /// A task failed for good. `tolerated`: the execution goes on. `spared`: because an edge catches the failure or what
    /// follows can go without it, so it does not count as one of the allowed failures.
    TaskFailed { call: CallKey, class: FailureClass, message: Arc<str>, tolerated: bool, spared: bool },
    /// The agent asks for input.
    InputRequired {
        call: CallKey,
        prompt: Payload,
        agent_task_id: Arc<str>,
        context_id: Arc<str>,
        call_us: u64,
    },
    /// Somebody gave it.
    InputProvided { call: CallKey, input: Payload, by: Arc<str> },
    /// The outcome of a call that must not be repeated is unknown.
    NeedsDecision { call: CallKey, message: Arc<str> },
    /// Somebody decided. `Completed` is followed by the completion, `Failed` by the failure.
    DecisionMade { call: CallKey, decision: Decision, by: Arc<str>, message: Arc<str> },
    /// No agent offers what the call needs; it waits.
    NoAgent { call: CallKey, reason: Arc<str> },
    /// No new call leaves.
    Paused { by: Arc<str>, reason: Arc<str>, checkpoint: CheckpointId },
    /// Calls leave again.
    Resumed { by: Arc<str> },
    /// The end: every task is done.
    Completed { output: Payload },
    /// The end: something failed that was not tolerated.
    Failed { class: FailureClass, message: Arc<str> },
    /// The end: somebody asked; agents are told.
    Cancelled { by: Arc<str>, reason: Arc<str> },
    /// The end: at once.
    Terminated { by: Arc<str>, reason: Arc<str> },
    /// A point to look back to.
    Checkpoint { checkpoint: CheckpointId },
    /// A result that came too late to count.
    LateResult { call: CallKey, what: Arc<str> },
    /// Half of the history limit is used.
    HistoryWarning { events: u64, bytes: u64 },
    /// A turn of a scope begins: one copy of its body joins the tasks of the execution.
    TurnStarted { scope: u32, turn: u32, item: Option<Payload>, carry: Option<Payload> },
    /// A turn ended; what was still open in it is cancelled.
    TurnEnded { scope: u32, turn: u32, result: TurnResult },
    /// A switch chose; it is done.
    Routed { task: u32, cases: Vec<Arc<str>> },
    /// Nobody needs the task any more.
    TaskCancelled { task: u32, reason: Arc<str> },
    /// A failure was answered with a value: the task is done.
    TaskRecovered { call: CallKey, class: FailureClass, message: Arc<str>, output: Payload },
    /// An earlier answer named who does the task.
    Picked { task: u32, name: Arc<str> },
    /// A task waits: for a time, an event (with this correlation key), a signal or an operator.
    WaitOpened { task: u32, until: Option<Timestamp>, key: Option<Arc<str>> },
    /// An event arrived; it is kept until it is taken or expires.
    EventReceived { event: Arc<UserEvent>, expires: Timestamp },
    /// These tasks took a kept event.
    EventTaken { tasks: Vec<u32>, event_id: Arc<str> },
    /// A signal arrived; it is kept until it is taken. `id`: repeats are known by it; empty = none.
    SignalReceived { name: Arc<str>, payload: Payload, id: Arc<str>, by: Arc<str> },
    /// People are asked.
    ApprovalAsked { task: u32, title: Arc<str> },
    /// Nobody answered in time: more people may, from this step of the escalation on (from 0).
    ApprovalEscalated { task: u32, step: u32 },
    /// Somebody decided. The completion or failure follows.
    ApprovalDecided { task: u32, verdict: Verdict, by: Arc<str>, comment: Arc<str>, form: Option<Payload> },
    /// An operator lets a step go on. The completion follows.
    StepGranted { task: u32, by: Arc<str> },
    /// Variables were set: by a `set` task, which is done, or by somebody.
    VariablesSet { task: Option<u32>, vars: Payload, by: Arc<str> },
    /// A task publishes an event.
    EventEmitted { task: u32, event: Arc<UserEvent> },
    /// The event is on its way. The completion follows.
    EventPublished { task: u32 },
    /// A task starts another workflow.
    ChildStarted { task: u32, child: Arc<ChildStart> },
    /// The other workflow has started, in this version.
    ChildAccepted { task: u32, version: Arc<str> },
    /// It ended and spent this. The completion or failure follows.
    ChildEnded { task: u32, outcome: ChildOutcome, spent: Spending },
    /// A sub-workflow that a reset left behind ended and spent this.
    ChildSettled { execution: ExecutionId, spent: Spending },
    /// An agent reported what an attempt cost.
    Spent { call: CallKey, attempt: u32, usage: Usage },
    /// Completed work is undone from now on; what was open is cancelled.
    CompensationStarted { because: Because },
    /// The compensation of a task begins: its task joins the tasks of the execution.
    TaskCompensating { task: u32 },
    /// A task is undone.
    TaskCompensated { task: u32 },
    /// A task could not be undone, or whether it has to be is unknown: an operator has to look at it.
    CompensationFailed { task: u32, class: FailureClass, message: Arc<str> },
    /// The end: all that had to be undone was.
    Compensated,
    /// The rest of the graph is another from now on.
    PlanChanged(Arc<PlanChange>),
    /// These tasks run again, with another input of the execution when it is given.
    Reset { tasks: Vec<u32>, input: Option<Payload>, by: Arc<str>, reason: Arc<str> },
    /// Tasks that are taken over as done from another execution, and its variables.
    Seeded { from: ExecutionId, tasks: Vec<Seed>, vars: Option<Payload> },
    /// A task is driven by events of this topic, or by its edges alone.
    ModeSwitched { task: u32, topic: Option<Arc<str>>, by: Arc<str> },
}
