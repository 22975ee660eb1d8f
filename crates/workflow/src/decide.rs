//! From an input to facts. Reads the state, never changes it.

mod calls;
mod change;
mod inputs;
mod tick;
mod waits;

use std::sync::Arc;

use base::{FailureClass, Timestamp};

use crate::{
    event::{CallKey, Kind},
    facts::{Because, Usage},
    state::{State, Status},
    task::CallPhase,
};

pub(crate) use calls::give_up;
use calls::{
    Failure, assign, caller_lost, completed, failed, known_failure, late, may_leave, open, resolve, wants,
};
pub use inputs::{Input, Refusal, ResetFrom, Resolution};
use tick::tick;
pub(crate) use waits::fits;

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
        Input::Cancel { by, reason } => cancel(state, by, reason)?,
        Input::Terminate { by, reason } => vec![Kind::Terminated { by: by.clone(), reason: reason.clone() }],
        Input::CannotGoOn { class, message } => vec![fail_execution(state, *class, message.clone())],
        Input::Tick { checkpoint } => tick(state, *checkpoint, now),
        Input::Measure { bytes, events_max, bytes_max } => measure(state, *bytes, *events_max, *bytes_max),
        Input::Used { call, attempt, usage } => used(state, *call, *attempt, *usage),
        Input::Event { event } => waits::event(state, event, now)?,
        Input::Signal { name, payload, id, by } => waits::signal(state, (name, payload, id, by), now)?,
        Input::UpdateVars { vars, by } => waits::update_vars(state, vars, by)?,
        Input::Decide { task, verdict, by, names, comment, form } => {
            waits::decided(state, *task, names, *verdict, (by, comment, form.as_ref()))?
        }
        Input::GrantStep { task, by } => waits::grant(state, *task, by)?,
        Input::Published { task } => waits::published(state, *task),
        Input::ChildAccepted { task, execution, version } => {
            waits::child_accepted(state, *task, *execution, version)
        }
        Input::ChildRefused { task, execution, class, message } => {
            waits::child_refused(state, *task, *execution, *class, message)
        }
        Input::ChildEnded { task, execution, outcome, spent } => {
            waits::child_ended(state, *task, *execution, outcome, *spent)
        }
        Input::ChangePlan { plan, text, by, reason } => change::plan(state, plan, text, (by, reason))?,
        Input::Reset { from, input, by, reason } => change::reset(state, from, input.as_ref(), (by, reason))?,
        Input::Seed { from, tasks, vars } => change::seed(state, *from, tasks, vars.as_ref())?,
        Input::SwitchMode { task, topic, by } => change::switch_mode(state, *task, topic.as_ref(), by)?,
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
        Input::Used { call, attempt, usage } => Ok(used(state, *call, *attempt, *usage)),
        Input::ChildEnded { task, execution, outcome, spent } => {
            Ok(waits::child_ended(state, *task, *execution, outcome, *spent))
        }
        Input::ChildRefused { task, execution, class, message } => {
            Ok(waits::child_refused(state, *task, *execution, *class, message))
        }
        Input::Signal { .. } => Err(Refusal::Status { command: "signal", status }),
        Input::Event { .. } => Ok(vec![]),
        Input::UpdateVars { .. } => Err(Refusal::Status { command: "set variables of", status }),
        Input::Decide { .. } => Err(Refusal::Status { command: "decide an approval of", status }),
        Input::GrantStep { .. } => Err(Refusal::Status { command: "let a step go on of", status }),
        Input::ChangePlan { .. } => Err(Refusal::Status { command: "change", status }),
        Input::Reset { .. } => Err(Refusal::Status { command: "reset (fork it instead)", status }),
        Input::Seed { .. } => Err(Refusal::Status { command: "seed", status }),
        Input::SwitchMode { .. } => Err(Refusal::Status { command: "switch a mode of", status }),
        _ => Ok(vec![]),
    }
}

/// The end of an execution that failed: at once, or after what it did is undone.
pub(crate) fn fail_execution(state: &State, class: FailureClass, message: Arc<str>) -> Kind {
    let because = Because::Failed { class, message: message.clone() };
    match state.undone() {
        None if state.compensates(&because) => Kind::CompensationStarted { because },
        _ => Kind::Failed { class, message },
    }
}

fn cancel(state: &State, by: &Arc<str>, reason: &Arc<str>) -> Result<Vec<Kind>, Refusal> {
    let because = Because::Cancelled { by: by.clone(), reason: reason.clone() };
    Ok(vec![match state.undone() {
        Some(_) => return Err(Refusal::Status { command: "cancel", status: state.status.as_str() }),
        None if state.compensates(&because) => Kind::CompensationStarted { because },
        None => Kind::Cancelled { by: by.clone(), reason: reason.clone() },
    }])
}

/// What an attempt cost counts once, late or not.
fn used(state: &State, key: CallKey, attempt: u32, usage: Usage) -> Vec<Kind> {
    match state.call(key) {
        Some(call) if (call.billed + 1..=call.attempt).contains(&attempt) && usage != Usage::default() => {
            vec![Kind::Spent { call: key, attempt, usage }]
        }
        _ => vec![],
    }
}

fn measure(state: &State, bytes: u64, events_max: u64, bytes_max: u64) -> Vec<Kind> {
    // Undoing what was done may take half as much again.
    let more = if state.undone().is_some() { 2 } else { 0 };
    let (events_end, bytes_end) = (events_max + events_max / 4 * more, bytes_max + bytes_max / 4 * more);
    if state.seq >= events_end || bytes >= bytes_end {
        let message = format!("the history is over its limit of {events_max} events or {bytes_max} bytes");
        return vec![fail_execution(state, FailureClass::Definition, message.into())];
    }
    if !state.warned && (state.seq >= events_max / 2 || bytes >= bytes_max / 2) {
        return vec![Kind::HistoryWarning { events: state.seq, bytes }];
    }
    vec![]
}
