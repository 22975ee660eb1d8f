//! Scopes go on: the next turn, another look at the condition, the end.

use base::{FailureClass, Payload};
use serde_json::Value;

use super::{unusable, words};
use crate::{
    decide::give_up,
    event::{CallKey, Kind},
    facts::TurnResult,
    input::EvalError,
    plan::{Exhausted, Join, ScopeMode},
    scope::View,
    state::State,
    task::TaskPhase,
    turn::{Turn, TurnPhase},
};

type Planned = Result<Vec<Kind>, EvalError>;

/// A turn whose tasks have all ended.
pub(super) fn end(state: &State, turn: u32) -> Vec<Kind> {
    let own = &state.turns[turn as usize];
    let Some(scope) = own.scope else { return vec![] };
    if own.undo {
        return vec![Kind::TaskCompensated { task: scope }];
    }
    let result = match state.turn_result(turn) {
        Ok(output) => TurnResult::Output(output),
        Err(e) => {
            let message = format!("task {}: {e}", state.task_path(scope)).into();
            TurnResult::Failed { class: FailureClass::Definition, message }
        }
    };
    vec![Kind::TurnEnded { scope, turn: own.number, result }]
}

/// A scope that can start a turn or end.
pub(super) fn advance(state: &State, task: u32) -> Vec<Kind> {
    let planned = match state.scope_mode(task) {
        Some(ScopeMode::ForEach { .. }) => over_list(state, task),
        Some(ScopeMode::Loop { .. }) => looped(state, task),
        Some(ScopeMode::Once) | None => Ok(once(state, task)),
    };
    planned.unwrap_or_else(|e| vec![unusable(state, task, &e)])
}

fn completed(task: u32) -> Vec<Kind> {
    vec![Kind::TaskCompleted { task, output: None, call_us: 0 }]
}

fn last_turn(state: &State, task: u32) -> Option<&Turn> {
    let turns = &state.tasks[task as usize].turns()?.turns;
    turns.last().map(|turn| &state.turns[*turn as usize])
}

/// The scope fails as its turn did.
fn fails(state: &State, task: u32, turn: &Turn) -> Vec<Kind> {
    let (class, message) = match &turn.error {
        Some(error) => (error.0, error.1.clone()),
        None => words(state, task),
    };
    vec![give_up(state, CallKey::new(task, 0), class, &message)]
}

fn once(state: &State, task: u32) -> Vec<Kind> {
    match last_turn(state, task) {
        None => vec![Kind::TurnStarted { scope: task, turn: 0, item: None, carry: None }],
        Some(turn) if turn.phase == TurnPhase::Completed => completed(task),
        Some(turn) => fails(state, task, turn),
    }
}

fn looped(state: &State, task: u32) -> Planned {
    let Some(ScopeMode::Loop { until, while_, max, exhausted, delay, .. }) = state.scope_mode(task) else {
        return Ok(vec![]);
    };
    let extra = state.plan.at(state.tasks[task as usize].node).extra.as_ref();
    let last = last_turn(state, task);
    let next = last.map_or(0, |turn| turn.number + 1);
    if let Some(turn) = last {
        if turn.phase != TurnPhase::Completed {
            return Ok(fails(state, task, turn));
        }
        if let Some(until) = extra.and_then(|x| x.until.as_ref()) {
            let view = after_turn(state, task, turn.number);
            if state.eval_bool("until", until, &view)? {
                return Ok(completed(task));
            }
        }
    }
    if let Some(condition) = extra.and_then(|x| x.while_.as_ref()) {
        let view = before_turn(state, task, next)?;
        if !state.eval_bool("while", condition, &view)? {
            return Ok(completed(task));
        }
    }
    if next >= *max {
        // Without a condition it was asked to make so many turns.
        let counted = until.is_none() && while_.is_none();
        if counted || *exhausted == Exhausted::Stop {
            return Ok(completed(task));
        }
        let message = format!("the loop made its {max} turns and its condition still holds").into();
        return Ok(vec![give_up(state, CallKey::new(task, 0), FailureClass::Error, &message)]);
    }
    match delay.filter(|d| next > 0 && !d.is_zero()) {
        Some(delay) => Ok(vec![Kind::WaitOpened { task, until: Some(state.time.plus(delay)), key: None }]),
        None => begin(state, task, next),
    }
}

/// The next turn of a loop, after its pause.
pub(crate) fn next_turn(state: &State, task: u32) -> Vec<Kind> {
    if state.tasks[task as usize].phase != TaskPhase::Scheduled {
        return vec![];
    }
    let next = last_turn(state, task).map_or(0, |turn| turn.number + 1);
    begin(state, task, next).unwrap_or_else(|e| vec![unusable(state, task, &e)])
}

fn begin(state: &State, task: u32, next: u32) -> Planned {
    let carry = carry(state, task, next)?;
    Ok(vec![Kind::TurnStarted { scope: task, turn: next, item: None, carry }])
}

/// `loop.carry` of turn `next`.
fn carry(state: &State, task: u32, next: u32) -> Result<Option<Payload>, EvalError> {
    let Some(extra) = &state.plan.at(state.tasks[task as usize].node).extra else { return Ok(None) };
    let rendered = match (last_turn(state, task), &extra.carry) {
        (None, _) => match &extra.start {
            Some(start) => Some(state.render("start", start, &View::of(state, task))?),
            None => None,
        },
        (Some(turn), Some(carry)) => {
            debug_assert_eq!(turn.number + 1, next);
            Some(state.render("carry", carry, &after_turn(state, task, turn.number))?)
        }
        (Some(turn), None) => return Ok(turn.carry.clone()),
    };
    Ok(rendered.map(|v| Payload::from_value(&v)))
}

/// What the end of turn `number` sees: its tasks, and its own output as the last.
fn after_turn(state: &State, task: u32, number: u32) -> View {
    let turns = state.tasks[task as usize].turns().map(|s| s.turns.as_slice()).unwrap_or_default();
    let turn = turns.get(number as usize).copied().unwrap_or(0);
    View::in_turn(turn).with("loop", state.loop_value(task, number, true))
}

/// What stands before turn `next`: the tasks around the loop, and what the turn would see of `loop`.
fn before_turn(state: &State, task: u32, next: u32) -> Result<View, EvalError> {
    let carry = carry(state, task, next)?;
    let mut own = state.loop_value(task, next, false);
    own["carry"] = carry.as_ref().map_or(Value::Null, crate::input::to_value);
    let view = match last_turn(state, task) {
        Some(turn) => after_turn(state, task, turn.number),
        None => View::of(state, task),
    };
    Ok(view.with("loop", own))
}

fn over_list(state: &State, task: u32) -> Planned {
    let Some(own) = state.tasks[task as usize].turns() else { return Ok(vec![]) };
    match state.verdict_of(task) {
        Some(true) => return Ok(completed(task)),
        Some(false) => return Ok(too_few(state, task)),
        None => {}
    }
    let next = own.turns.len() as u32;
    let list = state.list(task)?;
    let item = list.as_ref().and_then(|l| l.get(next as usize));
    let item = Some(Payload::from_value(item.unwrap_or(&Value::Null)));
    Ok(vec![Kind::TurnStarted { scope: task, turn: next, item, carry: None }])
}

fn too_few(state: &State, task: u32) -> Vec<Kind> {
    let Some(own) = state.tasks[task as usize].turns() else { return vec![] };
    let mut failed = own.turns.iter().rev().map(|t| &state.turns[*t as usize]);
    let failed = failed.find(|t| t.phase == TurnPhase::Failed);
    let whole = matches!(state.scope_mode(task), Some(ScopeMode::ForEach { join: Join::All, .. }));
    if let (true, Some(turn)) = (whole, failed) {
        return fails(state, task, turn);
    }
    let class = failed.and_then(|t| t.error.as_ref()).map_or(FailureClass::Error, |e| e.0);
    let (done, all) = (own.completed, own.items);
    let message = format!("{done} of {all} turns completed, which is too few").into();
    vec![give_up(state, CallKey::new(task, 0), class, &message)]
}
