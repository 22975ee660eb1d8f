//! What reaches an execution from outside, and why a command is refused.

use std::sync::Arc;

use base::{CheckpointId, ExecutionId, FailureClass, Payload, Timestamp};

use crate::{
    compiled::Compiled,
    event::{Assignment, CallKey, Caller},
    facts::{ChildOutcome, Seed, Spending, Usage, UserEvent, Verdict},
};

/// Something that reaches an execution from outside.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields say what they are")]
pub enum Input {
    /// There is room to run.
    Admit,
    /// An instance was chosen for a ready call.
    Assign { call: CallKey, to: Arc<Assignment> },
    /// No agent offers what a ready call needs.
    NoAgent { call: CallKey, reason: Arc<str> },
    /// A ready call cannot be made at all (its input mapping fails, its input breaks the schema).
    CannotCall { call: CallKey, class: FailureClass, message: Arc<str> },
    /// The agent named the call.
    Bound { call: CallKey, attempt: u32, agent_task_id: Arc<str>, context_id: Arc<str> },
    /// The agent answered.
    Answered { call: CallKey, attempt: u32, output: Payload, call_us: u64 },
    /// The attempt failed. `retry_after`: the agent asked to wait until then.
    AttemptFailed {
        call: CallKey,
        attempt: u32,
        class: FailureClass,
        message: Arc<str>,
        outcome_known: bool,
        retry_after: Option<Timestamp>,
        call_us: u64,
    },
    /// The agent asks for input.
    InputRequired {
        call: CallKey,
        attempt: u32,
        prompt: Payload,
        agent_task_id: Arc<str>,
        context_id: Arc<str>,
        call_us: u64,
    },
    /// The process that made the call is gone; `heir` can take it over.
    CallerLost { call: CallKey, lost: Caller, heir: Caller },
    /// Somebody answers an agent's question.
    Answer { call: CallKey, input: Payload, by: Arc<str> },
    /// Somebody decides about a call of unknown outcome.
    Resolve { call: CallKey, decision: Resolution, by: Arc<str> },
    /// No new call.
    Pause { by: Arc<str>, reason: Arc<str>, checkpoint: CheckpointId },
    /// Go on.
    Resume { by: Arc<str> },
    /// End it and tell the agents.
    Cancel { by: Arc<str>, reason: Arc<str> },
    /// End it at once.
    Terminate { by: Arc<str>, reason: Arc<str> },
    /// Something outside of the workflow's control ends it as failed.
    CannotGoOn { class: FailureClass, message: Arc<str> },
    /// Time passed. `checkpoint` names the checkpoint, should one be due.
    Tick { checkpoint: CheckpointId },
    /// The log grew. Warns at half of the limits and fails the execution at the whole.
    Measure { bytes: u64, events_max: u64, bytes_max: u64 },
    /// What an attempt cost, before or after its end. A repeat changes nothing.
    Used { call: CallKey, attempt: u32, usage: Usage },
    /// A user event. One that was received before changes nothing.
    Event { event: Arc<UserEvent> },
    /// A signal. `id`: repeats are known by it; empty = every one is new.
    Signal { name: Arc<str>, payload: Payload, id: Arc<str>, by: Arc<str> },
    /// Sets variables: an object.
    UpdateVars { vars: Payload, by: Arc<str> },
    /// Somebody decides an approval. `names`: all names under which `by` may answer (its own and its groups'). The form
    /// was checked against its schema.
    Decide {
        task: u32,
        verdict: Verdict,
        by: Arc<str>,
        names: Vec<Arc<str>>,
        comment: Arc<str>,
        form: Option<Payload>,
    },
    /// An operator lets a step go on; without a task the one that waits longest.
    GrantStep { task: Option<u32>, by: Arc<str> },
    /// The event of a task is published.
    Published { task: u32 },
    /// The sub-workflow of a task has started.
    ChildAccepted { task: u32, execution: ExecutionId, version: Arc<str> },
    /// It cannot start.
    ChildRefused { task: u32, execution: ExecutionId, class: FailureClass, message: Arc<str> },
    /// It ended.
    ChildEnded { task: u32, execution: ExecutionId, outcome: ChildOutcome, spent: Spending },
    /// Another plan for what has not run yet. `text` is the plan as JSON, `plan` the same compiled.
    ChangePlan { plan: Arc<Compiled>, text: Payload, by: Arc<str>, reason: Arc<str> },
    /// Tasks and all that follows them run again.
    Reset { from: ResetFrom, input: Option<Payload>, by: Arc<str>, reason: Arc<str> },
    /// Tasks are taken over as done; before anything runs.
    Seed { from: ExecutionId, tasks: Vec<Seed>, vars: Option<Payload> },
    /// A task of the plan is driven by events of a topic, or by its edges alone.
    SwitchMode { task: u32, topic: Option<Arc<str>>, by: Arc<str> },
}

/// Where an execution is set back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResetFrom {
    /// These tasks, by index; tasks of the plan, not of a scope's turn.
    Tasks(Vec<u32>),
    /// Everything that began or ended after this event (a checkpoint's number).
    Seq(u64),
}

/// How somebody ends a wait for a decision.
#[derive(Clone, Debug)]
pub enum Resolution {
    /// The call did its work and gave this.
    Completed(Payload),
    /// It did not and never will.
    Failed(Arc<str>),
    /// Call again.
    Retry,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The status does not allow it.
    #[error("cannot {command} an execution that is {status}")]
    Status {
        /// `pause`, `resume`, …
        command: &'static str,
        /// Its status.
        status: &'static str,
    },
    /// The task is not waiting for this.
    #[error("task {task} is {state}, not {wanted}")]
    Task {
        /// Its id.
        task: String,
        /// Where it stands.
        state: &'static str,
        /// Where it would have to stand.
        wanted: &'static str,
    },
    /// There is no such task.
    #[error("there is no task {task}")]
    NoTask {
        /// Index or path.
        task: String,
    },
    /// The principal may not answer.
    #[error("{by} may not decide {task}; ask {}", .who.join(", "))]
    NotAsked {
        /// Who tried.
        by: String,
        /// Path of the task.
        task: String,
        /// Who may.
        who: Vec<String>,
    },
    /// Too many events wait for somebody to take them.
    #[error(
        "the execution keeps {max} events that nobody waits for, its limit; try again when some were taken"
    )]
    EventsFull {
        /// The limit.
        max: u32,
    },
    /// What is given does not fit.
    #[error("{field}: {message}")]
    Invalid {
        /// `vars`, `plan`, `tasks`, …
        field: &'static str,
        /// The rule and the remedy.
        message: String,
    },
    /// A changed plan disagrees with what already ran.
    #[error("task {task}: {what}")]
    Ran {
        /// Its path.
        task: String,
        /// What the change would do to it, and what to do instead.
        what: String,
    },
}
