//! Facts. The log holds these and nothing else; [`crate::State::apply`] folds them.

use std::{sync::Arc, time::Duration};

use base::{AgentId, CheckpointId, Effect, FailureClass, Payload, Timestamp, WorkflowId};

use crate::plan::RetryPolicy;

/// One call of a task: the task's index in the plan and the item's index (0 for a task that does not scatter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey {
    /// Index in [`crate::plan::Plan::tasks`].
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
    /// Who started it.
    pub principal: Arc<str>,
    /// Agents that the pre-check found.
    pub candidates: Vec<Arc<str>>,
    /// Estimate of the plan.
    pub estimated: Duration,
    /// The installation's retry policy when the start was taken.
    pub default_retry: RetryPolicy,
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
    /// Everything it depends on was skipped.
    DependenciesSkipped,
}

impl SkipReason {
    /// Text for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Condition => "its condition is false",
            Self::DependencyFailed => "a task it depends on failed",
            Self::DependenciesSkipped => "every task it depends on was skipped",
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
            | Self::TaskCompleted { task, .. } => Some(*task),
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
    /// A task's dependencies are resolved; it makes `items` calls, `width` at once.
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
    /// A task failed for good. `tolerated`: the execution goes on.
    TaskFailed { call: CallKey, class: FailureClass, message: Arc<str>, tolerated: bool },
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
}
