//! Calls: leaving, results, failures, lost callers, decisions.

use std::sync::Arc;

use base::{FailureClass, Payload, Timestamp};
use serde_json::{Value, json};

use super::{Refusal, Resolution};
use crate::{
    event::{Assignment, CallKey, Caller, Decision, Kind},
    graph,
    input::EvalError,
    plan::RetryPolicy,
    scope::View,
    state::State,
    task::{CallPhase, CallState},
};

/// The call, when its attempt `attempt` is the open one.
pub(super) fn open(state: &State, key: CallKey, attempt: u32) -> Option<&CallState> {
    state.call(key).filter(|c| c.phase == CallPhase::Running && c.attempt == attempt)
}

pub(super) fn late(state: &State, call: CallKey, attempt: u32, what: &str) -> Vec<Kind> {
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

pub(super) fn known_failure(
    state: &State,
    call: CallKey,
    attempt: u32,
    class: FailureClass,
    message: &str,
) -> bool {
    open(state, call, attempt).is_none()
        && state
            .causes
            .iter()
            .rev()
            .any(|c| (c.call, c.attempt, c.class) == (Some(call), attempt, class) && &*c.message == message)
}

/// Whether the call is ready and the execution lets calls leave.
pub(super) fn may_leave(state: &State, call: &CallState, now: Timestamp) -> bool {
    state.is_active() && matches!(call.phase, CallPhase::Ready(from) if from <= now)
}

pub(super) fn assign(state: &State, key: CallKey, to: &Arc<Assignment>, now: Timestamp) -> Vec<Kind> {
    let Some(call) = state.call(key) else { return vec![] };
    if !may_leave(state, call, now) || !state.has_room(key) {
        return vec![];
    }
    if let Some(words) = state.overspent(key.task) {
        return vec![give_up(state, key, FailureClass::Budget, &words.into())];
    }
    vec![Kind::AttemptStarted { call: key, attempt: call.attempt + 1, retry: call.retry, to: to.clone() }]
}

pub(super) fn completed(state: &State, key: CallKey, output: &Payload, call_us: u64) -> Vec<Kind> {
    if state.tasks[key.task as usize].scattered {
        vec![Kind::ItemCompleted { call: key, output: output.clone(), call_us }]
    } else {
        vec![Kind::TaskCompleted { task: key.task, output: Some(output.clone()), call_us }]
    }
}

pub(super) struct Failure<'a> {
    pub(super) class: FailureClass,
    pub(super) message: &'a Arc<str>,
    pub(super) known: bool,
    pub(super) not_before: Option<Timestamp>,
}

/// An attempt failed: again, ask somebody, or give up.
pub(super) fn failed(
    state: &State,
    key: CallKey,
    failure: &Failure<'_>,
    call_us: u64,
    now: Timestamp,
) -> Vec<Kind> {
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
    if !failure.known && !effect.repeats() && is_undone(state, key.task, effect, failure.class) {
        out.push(give_up(state, key, failure.class, failure.message));
        return out;
    }
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

pub(super) fn may_retry(
    state: &State,
    call: &CallState,
    policy: &RetryPolicy,
    failure: &Failure<'_>,
) -> bool {
    call.attempt < policy.max_attempts
        && policy.covers(failure.class, failure.message)
        && state.plan.plan().limits.max_retries.is_none_or(|max| state.retries < max)
}

/// A task fails for good, unless a value answers the failure.
pub(crate) fn give_up(state: &State, call: CallKey, class: FailureClass, message: &Arc<str>) -> Kind {
    match recovered(state, call, class, message) {
        Some(Ok(output)) => Kind::TaskRecovered {
            call,
            class,
            message: message.clone(),
            output: Payload::from_value(&output),
        },
        Some(Err(e)) => failure(state, call, FailureClass::Definition, format!("{message}; {e}").into()),
        None => failure(state, call, class, message.clone()),
    }
}

/// What the first catch that fits says.
fn recovered(
    state: &State,
    call: CallKey,
    class: FailureClass,
    message: &str,
) -> Option<Result<Value, EvalError>> {
    let plan = state.task_plan(call.task);
    let fits = |c: &crate::plan::Catch| c.on.is_empty() || c.on.contains(&class);
    let at = plan.catch.iter().position(fits)?;
    let template = state.plan.at(state.tasks[call.task as usize].node).extra.as_ref()?.catch.get(at)?;
    let error = json!({"class": class.as_str(), "message": message});
    let view = View::of(state, call.task).with("error", error);
    Some(state.render("catch", template, &view))
}

/// The failure of a task: tolerated when it is optional, caught, needed by nobody or still allowed.
fn failure(state: &State, call: CallKey, class: FailureClass, message: Arc<str>) -> Kind {
    let own = &state.tasks[call.task as usize];
    let undo = state.turns[own.turn as usize].undo;
    let spared = !undo && (graph::caught(&state.plan, own.node, class) || state.can_go_without(call.task));
    let allowed = state.failures < state.plan.plan().limits.allowed_failures;
    let tolerated = !undo && (spared || state.task_plan(call.task).optional || allowed);
    Kind::TaskFailed { call, class, message, tolerated, spared }
}

/// Whether the unknown outcome of a call needs nobody's decision, because its task is undone if the execution fails of it.
fn is_undone(state: &State, task: u32, effect: base::Effect, class: FailureClass) -> bool {
    effect == base::Effect::Compensatable
        && state.plan.at(state.tasks[task as usize].node).undo.is_some()
        && state.plan.plan().saga.covers(class)
}

/// FNV-1a over what names the retry: the jitter is the same on every replica.
pub(super) fn salt(state: &State, key: CallKey, attempt: u32) -> u64 {
    let words = [u64::from(key.task), u64::from(key.item), u64::from(attempt)];
    let bytes = state.id.as_bytes().iter().copied().chain(words.into_iter().flat_map(u64::to_le_bytes));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The caller died. What the agent has named can be asked for; the rest is sent again with the same message id, or
/// waits for a decision when that could do harm.
pub(super) fn caller_lost(state: &State, key: CallKey, lost: &Caller, heir: &Caller) -> Vec<Kind> {
    let Some(call) = state.call(key).filter(|c| c.phase == CallPhase::Running) else { return vec![] };
    let Some(attempt) = call.current.as_ref().filter(|a| a.to.caller == *lost) else { return vec![] };
    if attempt.bound.is_some() || attempt.to.effect.repeats() {
        return vec![Kind::AttemptAdopted { call: key, caller: heir.clone() }];
    }
    let effect = attempt.to.effect;
    if is_undone(state, key.task, effect, FailureClass::Broken) {
        let message: Arc<str> = format!("{} died with this call open", lost.member).into();
        let failed =
            Failure { class: FailureClass::Broken, message: &message, known: false, not_before: None };
        return self::failed(state, key, &failed, 0, state.time);
    }
    let message = format!(
        "{} died with this {} call open: whether agent {} did the work is unknown",
        lost.member,
        attempt.to.effect.as_str(),
        attempt.to.agent
    );
    vec![Kind::NeedsDecision { call: key, message: message.into() }]
}

pub(super) fn wants(
    state: &State,
    key: CallKey,
    phase: CallPhase,
    wanted: &'static str,
) -> Result<(), Refusal> {
    if state.call(key).is_some_and(|c| c.phase == phase) {
        return Ok(());
    }
    let now = state.tasks.get(key.task as usize).map_or("unknown", |t| t.state_text());
    Err(Refusal::Task { task: state.task_path(key.task), state: now, wanted })
}

pub(super) fn resolve(
    state: &State,
    key: CallKey,
    decision: &Resolution,
    by: &Arc<str>,
) -> Result<Vec<Kind>, Refusal> {
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
