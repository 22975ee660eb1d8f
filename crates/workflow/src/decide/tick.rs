//! What is due when time passes.

use std::sync::Arc;

use base::{CheckpointId, FailureClass, Timestamp};

use super::{
    calls::{Failure, failed, give_up},
    fail_execution,
};
use crate::{
    event::{CallKey, Kind},
    follow::next_turn,
    plan::NodeKind,
    state::{State, Timer},
    task::{CallPhase, TaskPhase},
};

/// Everything that is due. Each timer is looked at on its own; what one fact changes is seen when its turn comes again.
pub(super) fn tick(state: &State, checkpoint: CheckpointId, now: Timestamp) -> Vec<Kind> {
    let due = state.timers.iter().take_while(|(at, _)| *at <= now);
    for (_, timer) in due {
        let facts = match timer {
            Timer::Execution => {
                let limit = base::time::show_duration(state.created.timeout);
                let words = format!("the execution took longer than {limit}");
                vec![fail_execution(state, FailureClass::Timeout, words.into())]
            }
            Timer::Checkpoint => vec![Kind::Checkpoint { checkpoint }],
            Timer::Task(task) => task_overdue(state, *task),
            Timer::Call(call) => call_overdue(state, *call, now),
            Timer::Wait(task) => wait_over(state, *task),
            Timer::Escalation(task) => escalate(state, *task),
            Timer::Saga => saga_overdue(state),
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
    let limit = state.task_plan(task).timeouts.total.unwrap_or_default();
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
            let limit = state.task_plan(key.task).timeouts.attempt.unwrap_or_default();
            let message = format!("no answer within {}", base::time::show_duration(limit)).into();
            let started = call.current.as_ref().map_or(now, |a| a.started_at);
            let failure =
                Failure { class: FailureClass::Timeout, message: &message, known: false, not_before: None };
            failed(state, key, &failure, now.since(started).as_micros() as u64, now)
        }
        _ => vec![],
    }
}

/// A timer is over, or the pause before a loop's next turn.
fn wait_over(state: &State, task: u32) -> Vec<Kind> {
    match &state.task_plan(task).kind {
        NodeKind::Scope(_) => next_turn(state, task),
        _ => vec![Kind::TaskCompleted { task, output: Some(base::Payload::null()), call_us: 0 }],
    }
}

fn escalate(state: &State, task: u32) -> Vec<Kind> {
    let step = state.approval(task).map_or(0, |asked| asked.escalated);
    vec![Kind::ApprovalEscalated { task, step }]
}

/// The time for compensation is over: what is not undone yet is reported.
fn saga_overdue(state: &State) -> Vec<Kind> {
    let Some(undoing) = state.undone() else { return vec![] };
    let current = undoing.current.map(|(task, _)| task);
    let words: Arc<str> = "the time for compensation was over before it was undone".into();
    let late = current.into_iter().chain(undoing.left.iter().rev().copied());
    late.map(|task| Kind::CompensationFailed { task, class: FailureClass::Timeout, message: words.clone() })
        .collect()
}
