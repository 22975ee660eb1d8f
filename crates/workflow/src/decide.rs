//! From an input to facts. Reads the state, never changes it.

use std::sync::Arc;

use base::{CheckpointId, ExecutionId, FailureClass, Payload, Timestamp};

use crate::{
    compiled::Compiled,
    event::{Assignment, CallKey, Caller, Decision, Kind},
    facts::{ChildOutcome, Seed, Spending, Usage, UserEvent, Verdict},
    plan::RetryPolicy,
    state::{CallPhase, CallState, State, Status, TaskPhase, Timer},
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

/// Facts that follow from `input` at `now`. Late and repeated inputs give a [`Kind::LateResult`] or nothing; commands
/// that the state does not allow are refused.
pub(crate) fn decide(state: &State, input: &Input, now: Timestamp) -> Result<Vec<Kind>, Refusal> {
    if state.status.is_final() {
        return after_the_end(state, input);
    }
    Ok(match input {
        Input::Admit if state.started_at.is_none() => vec![Kind::Admitted],
        Input::Admit => vec![],
        Input::Assign { call, to } => assign(state, *call, to, now),
        Input::NoAgent { call, reason } => match state.call(*call) {
            Some(c) if may_leave(state, c, now) && c.waiting.as_ref() != Some(reason) => {
                vec![Kind::NoAgent { call: *call, reason: reason.clone() }]
            }
            _ => vec![],
        },
        Input::CannotCall { call, class, message } => match state.call(*call) {
            Some(c) if matches!(c.phase, CallPhase::Ready(_)) => vec![give_up(state, *call, *class, message)],
            _ => vec![],
        },
        Input::Bound { call, attempt, agent_task_id, context_id } => match open(state, *call, *attempt) {
            Some(c) if c.current.as_ref().is_some_and(|a| a.bound.is_none()) => vec![Kind::AttemptBound {
                call: *call,
                agent_task_id: agent_task_id.clone(),
                context_id: context_id.clone(),
            }],
            _ => vec![],
        },
        Input::Answered { call, attempt, output, call_us } => match open(state, *call, *attempt) {
            Some(_) => completed(state, *call, output, *call_us),
            None => late(state, *call, *attempt, "an answer"),
        },
        // A repeat of the failure that counted is no news.
        Input::AttemptFailed { call, attempt, class, message, .. }
            if known_failure(state, *call, *attempt, *class, message) =>
        {
            vec![]
        }
        Input::AttemptFailed { call, attempt, class, message, outcome_known, retry_after, call_us } => {
            match open(state, *call, *attempt) {
                Some(_) => {
                    let failure =
                        Failure { class: *class, message, known: *outcome_known, not_before: *retry_after };
                    failed(state, *call, &failure, *call_us, now)
                }
                None => late(state, *call, *attempt, "a failure"),
            }
        }
        Input::InputRequired { call, attempt, prompt, agent_task_id, context_id, call_us } => {
            match open(state, *call, *attempt) {
                Some(_) => vec![Kind::InputRequired {
                    call: *call,
                    prompt: prompt.clone(),
                    agent_task_id: agent_task_id.clone(),
                    context_id: context_id.clone(),
                    call_us: *call_us,
                }],
                None => late(state, *call, *attempt, "a question"),
            }
        }
        Input::CallerLost { call, lost, heir } => caller_lost(state, *call, lost, heir),
        Input::Answer { call, input, by } => {
            wants(state, *call, CallPhase::Input, "input_required")?;
            vec![Kind::InputProvided { call: *call, input: input.clone(), by: by.clone() }]
        }
        Input::Resolve { call, decision, by } => resolve(state, *call, decision, by)?,
        Input::Pause { by, reason, checkpoint } => match state.status {
            Status::Paused => vec![],
            _ => vec![Kind::Paused { by: by.clone(), reason: reason.clone(), checkpoint: *checkpoint }],
        },
        Input::Resume { by } => match state.status {
            Status::Paused => vec![Kind::Resumed { by: by.clone() }],
            _ => return Err(Refusal::Status { command: "resume", status: state.status.as_str() }),
        },
        Input::Cancel { by, reason } => vec![Kind::Cancelled { by: by.clone(), reason: reason.clone() }],
        Input::Terminate { by, reason } => vec![Kind::Terminated { by: by.clone(), reason: reason.clone() }],
        Input::CannotGoOn { class, message } => {
            vec![Kind::Failed { class: *class, message: message.clone() }]
        }
        Input::Tick { checkpoint } => tick(state, *checkpoint, now),
        Input::Measure { bytes, events_max, bytes_max } => measure(state, *bytes, *events_max, *bytes_max),
        // The nodes that take them come next.
        _ => vec![],
    })
}

fn after_the_end(state: &State, input: &Input) -> Result<Vec<Kind>, Refusal> {
    let status = state.status.as_str();
    match input {
        Input::Pause { .. } => Err(Refusal::Status { command: "pause", status }),
        Input::Resume { .. } => Err(Refusal::Status { command: "resume", status }),
        Input::Cancel { .. } if state.status == Status::Cancelled => Ok(vec![]),
        Input::Cancel { .. } => Err(Refusal::Status { command: "cancel", status }),
        Input::Terminate { .. } if state.status == Status::Terminated => Ok(vec![]),
        Input::Terminate { .. } => Err(Refusal::Status { command: "terminate", status }),
        Input::Answer { .. } => Err(Refusal::Status { command: "answer a task of", status }),
        Input::Resolve { .. } => Err(Refusal::Status { command: "resolve a task of", status }),
        Input::Answered { call, attempt, .. } => Ok(late(state, *call, *attempt, "an answer")),
        _ => Ok(vec![]),
    }
}

/// The call, when its attempt `attempt` is the open one.
fn open(state: &State, key: CallKey, attempt: u32) -> Option<&CallState> {
    state.call(key).filter(|c| c.phase == CallPhase::Running && c.attempt == attempt)
}

fn late(state: &State, call: CallKey, attempt: u32, what: &str) -> Vec<Kind> {
    match state.call(call) {
        // A repeat of the answer that counted is no news; of an attempt that never was, nonsense.
        Some(c) if c.phase == CallPhase::Completed && c.attempt == attempt => vec![],
        Some(c) if (1..=c.attempt).contains(&attempt) => {
            let what: Arc<str> = format!("{what} of attempt {attempt}").into();
            let told = state.late.contains(&(call, what.clone()));
            if told { vec![] } else { vec![Kind::LateResult { call, what }] }
        }
        _ => vec![],
    }
}

fn known_failure(state: &State, call: CallKey, attempt: u32, class: FailureClass, message: &str) -> bool {
    open(state, call, attempt).is_none()
        && state
            .causes
            .iter()
            .rev()
            .any(|c| (c.call, c.attempt, c.class) == (Some(call), attempt, class) && &*c.message == message)
}

/// Whether the call is ready and the execution lets calls leave.
fn may_leave(state: &State, call: &CallState, now: Timestamp) -> bool {
    state.status == Status::Executing && matches!(call.phase, CallPhase::Ready(from) if from <= now)
}

fn assign(state: &State, key: CallKey, to: &Arc<Assignment>, now: Timestamp) -> Vec<Kind> {
    let Some(call) = state.call(key) else { return vec![] };
    if !may_leave(state, call, now) || state.room() == 0 {
        return vec![];
    }
    vec![Kind::AttemptStarted { call: key, attempt: call.attempt + 1, retry: call.retry, to: to.clone() }]
}

fn completed(state: &State, key: CallKey, output: &Payload, call_us: u64) -> Vec<Kind> {
    if state.tasks[key.task as usize].scattered {
        vec![Kind::ItemCompleted { call: key, output: output.clone(), call_us }]
    } else {
        vec![Kind::TaskCompleted { task: key.task, output: Some(output.clone()), call_us }]
    }
}

struct Failure<'a> {
    class: FailureClass,
    message: &'a Arc<str>,
    known: bool,
    not_before: Option<Timestamp>,
}

/// An attempt failed: again, ask somebody, or give up.
fn failed(state: &State, key: CallKey, failure: &Failure<'_>, call_us: u64, now: Timestamp) -> Vec<Kind> {
    let Some(call) = state.call(key) else { return vec![] };
    let policy = state.retry_policy(key.task);
    let effect = call.current.as_ref().map(|a| a.to.effect).unwrap_or_default();
    let mut out = vec![Kind::AttemptFailed {
        call: key,
        class: failure.class,
        message: failure.message.clone(),
        outcome_known: failure.known,
        retry_at: None,
        call_us,
    }];
    if !failure.known && !effect.repeats() {
        let message = format!("the outcome of an {} call is unknown: {}", effect.as_str(), failure.message);
        out.push(Kind::NeedsDecision { call: key, message: message.into() });
        return out;
    }
    if may_retry(state, call, &policy, failure) {
        let delay = policy.delay(call.attempt, salt(state, key, call.attempt));
        let at = failure.not_before.unwrap_or_default().max(now.plus(delay));
        if let Kind::AttemptFailed { retry_at, .. } = &mut out[0] {
            *retry_at = Some(at);
        }
        return out;
    }
    out.push(give_up(state, key, failure.class, failure.message));
    out
}

fn may_retry(state: &State, call: &CallState, policy: &RetryPolicy, failure: &Failure<'_>) -> bool {
    call.attempt < policy.max_attempts
        && policy.covers(failure.class, failure.message)
        && state.plan.plan().limits.max_retries.is_none_or(|max| state.retries < max)
}

pub(crate) fn give_up(state: &State, call: CallKey, class: FailureClass, message: &Arc<str>) -> Kind {
    let plan = state.plan.plan();
    let tolerated = plan.tasks[call.task as usize].optional || state.failures < plan.limits.allowed_failures;
    Kind::TaskFailed { call, class, message: message.clone(), tolerated, spared: false }
}

/// FNV-1a over what names the retry: the jitter is the same on every replica.
fn salt(state: &State, key: CallKey, attempt: u32) -> u64 {
    let words = [u64::from(key.task), u64::from(key.item), u64::from(attempt)];
    let bytes = state.id.as_bytes().iter().copied().chain(words.into_iter().flat_map(u64::to_le_bytes));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The caller died. What the agent has named can be asked for; the rest is sent again with the same message id, or
/// waits for a decision when that could do harm.
fn caller_lost(state: &State, key: CallKey, lost: &Caller, heir: &Caller) -> Vec<Kind> {
    let Some(call) = state.call(key).filter(|c| c.phase == CallPhase::Running) else { return vec![] };
    let Some(attempt) = call.current.as_ref().filter(|a| a.to.caller == *lost) else { return vec![] };
    if attempt.bound.is_some() || attempt.to.effect.repeats() {
        return vec![Kind::AttemptAdopted { call: key, caller: heir.clone() }];
    }
    let message = format!(
        "{} died with this {} call open: whether agent {} did the work is unknown",
        lost.member,
        attempt.to.effect.as_str(),
        attempt.to.agent
    );
    vec![Kind::NeedsDecision { call: key, message: message.into() }]
}

fn wants(state: &State, key: CallKey, phase: CallPhase, wanted: &'static str) -> Result<(), Refusal> {
    if state.call(key).is_some_and(|c| c.phase == phase) {
        return Ok(());
    }
    let id =
        state.plan.plan().tasks.get(key.task as usize).map_or_else(|| key.task.to_string(), |t| t.id.clone());
    let now = state.tasks.get(key.task as usize).map_or("unknown", |t| t.state_text());
    Err(Refusal::Task { task: id, state: now, wanted })
}

fn resolve(state: &State, key: CallKey, decision: &Resolution, by: &Arc<str>) -> Result<Vec<Kind>, Refusal> {
    wants(state, key, CallPhase::Decision, "needs_decision")?;
    let made = |decision, message: &str| Kind::DecisionMade {
        call: key,
        decision,
        by: by.clone(),
        message: message.into(),
    };
    Ok(match decision {
        Resolution::Retry => vec![made(Decision::Retry, "")],
        Resolution::Completed(output) => {
            let mut out = vec![made(Decision::Completed, "")];
            out.extend(completed(state, key, output, 0));
            out
        }
        Resolution::Failed(message) => {
            vec![made(Decision::Failed, message), give_up(state, key, FailureClass::Operator, message)]
        }
    })
}

/// Everything that is due. Each timer is looked at on its own; what one fact changes is seen when its turn comes again.
fn tick(state: &State, checkpoint: CheckpointId, now: Timestamp) -> Vec<Kind> {
    let due = state.timers.iter().take_while(|(at, _)| *at <= now);
    for (_, timer) in due {
        let facts = match timer {
            Timer::Execution => {
                let limit = base::time::show_duration(state.created.timeout);
                vec![Kind::Failed {
                    class: FailureClass::Timeout,
                    message: format!("the execution took longer than {limit}").into(),
                }]
            }
            Timer::Checkpoint => vec![Kind::Checkpoint { checkpoint }],
            Timer::Task(task) => task_overdue(state, *task),
            Timer::Call(call) => call_overdue(state, *call, now),
        };
        if !facts.is_empty() {
            return facts;
        }
    }
    vec![]
}

fn task_overdue(state: &State, task: u32) -> Vec<Kind> {
    if state.tasks[task as usize].phase != TaskPhase::Scheduled {
        return vec![];
    }
    let call = open_item(state, task);
    let limit = state.plan.plan().tasks[task as usize].timeouts.total.unwrap_or_default();
    let message = format!("the task took longer than {}", base::time::show_duration(limit)).into();
    vec![give_up(state, call, FailureClass::Timeout, &message)]
}

fn open_item(state: &State, task: u32) -> CallKey {
    let calls = &state.tasks[task as usize].calls;
    let item = calls.iter().position(|c| !matches!(c.phase, CallPhase::Completed | CallPhase::Failed));
    CallKey::new(task, item.unwrap_or(0) as u32)
}

fn call_overdue(state: &State, key: CallKey, now: Timestamp) -> Vec<Kind> {
    let Some(call) = state.call(key) else { return vec![] };
    match call.phase {
        // The time of a retry has come; leaving is the dispatcher's business.
        CallPhase::Ready(_) if call.attempt > 0 && call.waiting.is_none() => vec![],
        CallPhase::Ready(_) => {
            let (class, message) = match &call.waiting {
                Some(reason) => (FailureClass::NoAgent, format!("no agent in time: {reason}")),
                None => (FailureClass::Timeout, "no instance had room in time".to_owned()),
            };
            vec![give_up(state, key, class, &message.into())]
        }
        CallPhase::Running => {
            let limit = state.plan.plan().tasks[key.task as usize].timeouts.attempt.unwrap_or_default();
            let message = format!("no answer within {}", base::time::show_duration(limit)).into();
            let started = call.current.as_ref().map_or(now, |a| a.started_at);
            let failure =
                Failure { class: FailureClass::Timeout, message: &message, known: false, not_before: None };
            failed(state, key, &failure, now.since(started).as_micros() as u64, now)
        }
        _ => vec![],
    }
}

fn measure(state: &State, bytes: u64, events_max: u64, bytes_max: u64) -> Vec<Kind> {
    if state.seq >= events_max || bytes >= bytes_max {
        let message = format!("the history is over its limit of {events_max} events or {bytes_max} bytes");
        return vec![Kind::Failed { class: FailureClass::Definition, message: message.into() }];
    }
    if !state.warned && (state.seq >= events_max / 2 || bytes >= bytes_max / 2) {
        return vec![Kind::HistoryWarning { events: state.seq, bytes }];
    }
    vec![]
}
