//! Facts that follow from the state alone: one thing at a time, in a fixed order. What has ended is looked at first, then
//! what may start; each look gives at least one fact, and the fact takes it off the list.

mod nodes;
mod turns;

use std::sync::Arc;

use base::{FailureClass, Payload};
use serde_json::{Map, Value, json};

use crate::{
    decide::{fail_execution, give_up},
    event::{CallKey, Kind, SkipReason},
    facts::{Because, ChildOutcome, TurnResult, Verdict},
    graph::Start,
    input::{EvalError, to_value},
    plan::Rest,
    scope::View,
    state::{Review, State, Status},
    task::TaskPhase,
    wait::Waiting,
};

pub(crate) use turns::next_turn;

/// What follows now; empty = nothing until something comes from outside.
pub(crate) fn follow(state: &State) -> Vec<Kind> {
    if state.status.is_final() {
        return vec![];
    }
    match state.review.front() {
        Some(Review::Task(task)) => return review(state, *task),
        Some(Review::Turn(turn)) => return turns::end(state, *turn),
        Some(Review::Scope(task)) => return turns::advance(state, *task),
        None => {}
    }
    if !state.is_active() {
        return vec![];
    }
    if let Some(begin) = first_vars(state) {
        return vec![begin];
    }
    if !state.agenda.is_empty() {
        // What waits for a loan to come back lets the others pass.
        let Some(&task) = state.agenda.iter().find(|task| !state.starts_later(**task)) else {
            return vec![];
        };
        let max = state.plan.plan().limits.queue_size;
        let room = max.is_none_or(|max| state.waiting_calls < max.max(1));
        return if room { nodes::start(state, task) } else { vec![] };
    }
    match state.status {
        Status::Compensating => undo_next(state),
        _ if state.turns[0].unfinished == 0 => match state.turn_result(0) {
            Ok(output) => vec![Kind::Completed { output }],
            Err(e) => vec![fail_execution(state, FailureClass::Definition, e.to_string().into())],
        },
        _ => vec![],
    }
}

/// The plan's variables, then those of the start, before anything runs.
fn first_vars(state: &State) -> Option<Kind> {
    let given = state.created.settings.vars.as_ref();
    if state.vars_begun || (given.is_none() && state.plan.vars().is_none()) {
        return None;
    }
    let mut all = Map::new();
    if let Some(vars) = state.plan.vars() {
        match state.render("vars", vars, &View::in_turn(0)) {
            Ok(Value::Object(own)) => all.extend(own),
            Ok(_) => return Some(no_object(state)),
            Err(e) => return Some(fail_execution(state, FailureClass::Definition, e.to_string().into())),
        }
    }
    match given.map(to_value) {
        Some(Value::Object(given)) => all.extend(given),
        Some(_) => return Some(no_object(state)),
        None => {}
    }
    let vars = Payload::from_value(&Value::Object(all));
    Some(Kind::VariablesSet { task: None, vars, by: "".into() })
}

fn no_object(state: &State) -> Kind {
    fail_execution(state, FailureClass::Definition, "vars: the variables are not an object".into())
}

/// Words about a failed task, with its path once.
fn words(state: &State, task: u32) -> (FailureClass, Arc<str>) {
    let own = state.tasks[task as usize].error();
    let class = own.map_or(FailureClass::Error, |(class, _)| *class);
    let text = own.map_or("failed", |(_, message)| &**message);
    match text.starts_with("task ") {
        true => (class, text.into()),
        false => (class, format!("task {}: {text}", state.task_path(task)).into()),
    }
}

/// A task that may be complete, or whose failure nobody tolerates.
fn review(state: &State, task: u32) -> Vec<Kind> {
    let own = &state.tasks[task as usize];
    if own.phase == TaskPhase::Scheduled {
        return match own.waiting() {
            None => vec![Kind::TaskCompleted { task, output: None, call_us: 0 }],
            Some(wait) => vec![settle(state, task, wait)],
        };
    }
    let (class, message) = words(state, task);
    let turn = &state.turns[own.turn as usize];
    match turn.scope {
        None => vec![fail_execution(state, class, message)],
        Some(undone) if turn.undo => vec![Kind::CompensationFailed { task: undone, class, message }],
        Some(scope) => {
            let result = TurnResult::Failed { class, message };
            vec![Kind::TurnEnded { scope, turn: turn.number, result }]
        }
    }
}

/// What a task waited for is there.
fn settle(state: &State, task: u32, wait: &Waiting) -> Kind {
    let done =
        |value: Value| Kind::TaskCompleted { task, output: Some(Payload::from_value(&value)), call_us: 0 };
    let gathered = Kind::TaskCompleted { task, output: None, call_us: 0 };
    let call = CallKey::new(task, 0);
    match wait {
        Waiting::Approval(asked) => match &asked.decided {
            Some(d) if d.verdict == Verdict::Rejected => {
                let why = if d.comment.is_empty() { String::new() } else { format!(": {}", d.comment) };
                give_up(state, call, FailureClass::Rejected, &format!("{} said no{why}", d.by).into())
            }
            Some(d) => done(json!({
                "decision": d.verdict.as_str(), "by": &*d.by, "comment": &*d.comment,
                "form": d.form.as_ref().map_or(Value::Null, to_value),
            })),
            None => gathered,
        },
        Waiting::Publish { event, .. } => done(json!({"event_id": &*event.id})),
        // Nobody waits for its end, should it be known already.
        Waiting::Child { child, .. } if child.detached => {
            done(json!({"execution_id": child.execution.to_string()}))
        }
        Waiting::Child { outcome: Some(ChildOutcome::Completed(output)), .. } => {
            Kind::TaskCompleted { task, output: Some(output.clone()), call_us: 0 }
        }
        Waiting::Child { outcome: Some(ChildOutcome::Failed { class, message }), .. } => {
            give_up(state, call, *class, message)
        }
        Waiting::Child { outcome: None, .. }
        | Waiting::Timer { .. }
        | Waiting::Pause { .. }
        | Waiting::Event { .. }
        | Waiting::Signal { .. }
        | Waiting::Step { .. } => gathered,
    }
}

/// The next task to undo, or the end of it.
fn undo_next(state: &State) -> Vec<Kind> {
    let Some(undoing) = state.undone() else { return vec![] };
    if undoing.current.is_some() {
        return vec![];
    }
    if let Some(&task) = undoing.unclear.last() {
        let message = "whether it did its work is unknown, and it has no compensation".into();
        return vec![Kind::CompensationFailed { task, class: FailureClass::Broken, message }];
    }
    if let Some(&task) = undoing.left.last() {
        return vec![Kind::TaskCompensating { task }];
    }
    let failed: Vec<String> =
        undoing.done.iter().filter(|(_, f)| f.is_some()).map(|(t, _)| state.task_path(*t)).collect();
    if failed.is_empty() {
        return vec![Kind::Compensated];
    }
    let (class, why) = match &undoing.because {
        Because::Failed { class, message } => (*class, message.to_string()),
        Because::Cancelled { by, reason } => (FailureClass::Operator, format!("cancelled by {by}: {reason}")),
    };
    vec![Kind::Failed { class, message: format!("{why}; not undone: {}", failed.join(", ")).into() }]
}

/// Tasks that a join which starts now does not need.
fn cancel_rest(state: &State, task: u32) -> impl Iterator<Item = Kind> + use<> {
    let rest = match state.task_plan(task).rest {
        Rest::Keep => Vec::new(),
        Rest::Cancel => state.rest_of(task),
    };
    let reason: Arc<str> = match rest.is_empty() {
        true => "".into(),
        false => format!("{} started without it", state.task_path(task)).into(),
    };
    rest.into_iter().map(move |task| Kind::TaskCancelled { task, reason: reason.clone() })
}

/// What the join of a task on the agenda says, when it does not say to start.
fn held(state: &State, task: u32) -> Option<Kind> {
    match state.start_of(task) {
        Start::Run => None,
        // On the agenda it says something else; a task that never could start would stay there.
        Start::Wait => Some(Kind::TaskSkipped { task, reason: SkipReason::DependenciesSkipped }),
        Start::Skip(reason) => Some(Kind::TaskSkipped { task, reason }),
        Start::TooFew(taken, wanted) => {
            let before = state.before(task).into_iter().rev();
            let class =
                before.filter_map(|t| state.tasks[t as usize].error()).map(|(class, _)| *class).next();
            let words = format!("{taken} of the {wanted} results it needs came, and no more can");
            Some(give_up(state, CallKey::new(task, 0), class.unwrap_or(FailureClass::Error), &words.into()))
        }
    }
}

fn unusable(state: &State, task: u32, e: &EvalError) -> Kind {
    give_up(state, CallKey::new(task, 0), FailureClass::Definition, &e.to_string().into())
}
