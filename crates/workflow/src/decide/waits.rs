//! What comes from outside for tasks that wait: events, signals, answers of people, ends of sub-workflows.

use std::sync::Arc;

use base::{ExecutionId, FailureClass, Payload, Timestamp};
use serde_json::Value;

use super::{Refusal, give_up};
use crate::{
    event::{CallKey, Kind},
    facts::{ChildOutcome, Spending, UserEvent, Verdict},
    input::to_value,
    plan::{NodeKind, Wait},
    scope::View,
    state::State,
    task::TaskPhase,
    wait::Waiting,
};

/// An event: kept, and taken by every task that waits for it. One that nobody waits for stays kept.
pub(super) fn event(state: &State, event: &Arc<UserEvent>, now: Timestamp) -> Result<Vec<Kind>, Refusal> {
    if state.mailbox.knows(&event.id) {
        return Ok(vec![]);
    }
    let takers: Vec<u32> = state.listeners.iter().copied().filter(|&t| takes(state, t, event)).collect();
    if takers.is_empty() {
        has_room(state, now)?;
    }
    let expires = now.plus(state.created.settings.event_ttl);
    let mut facts = vec![Kind::EventReceived { event: event.clone(), expires }];
    if !takers.is_empty() {
        facts.push(Kind::EventTaken { tasks: takers, event_id: event.id.clone() });
    }
    Ok(facts)
}

fn has_room(state: &State, now: Timestamp) -> Result<(), Refusal> {
    let max = state.created.settings.events_max;
    if state.mailbox.len(now) >= max as usize { Err(Refusal::EventsFull { max }) } else { Ok(()) }
}

/// Whether the task waits for this event. A filter that cannot be evaluated on it does not fit it.
pub(crate) fn takes(state: &State, task: u32, event: &UserEvent) -> bool {
    let key = match state.tasks[task as usize].waiting() {
        Some(Waiting::Event { key, .. }) => key.as_ref(),
        _ => None,
    };
    fits(state, task, key, event)
}

impl State {
    /// Whether some task waits for this event now.
    pub fn awaits(&self, event: &UserEvent) -> bool {
        self.listeners.iter().any(|&task| takes(self, task, event))
    }
}

/// Whether the event fits the wait of `task` with this correlation key.
pub(crate) fn fits(state: &State, task: u32, key: Option<&Arc<str>>, event: &UserEvent) -> bool {
    if let Some(topic) = state.untriggered(task) {
        return *topic == *event.topic;
    }
    let NodeKind::Wait(Wait::Event { topic, .. }) = &state.task_plan(task).kind else { return false };
    if **topic != *event.topic || key.is_some_and(|k| *k != event.key) {
        return false;
    }
    let extra = state.plan.at(state.tasks[task as usize].node).extra.as_ref();
    let Some(filter) = extra.and_then(|x| x.filter.as_ref()) else { return true };
    let view = View::of(state, task).with("event", event.to_value());
    state.eval_bool("filter", filter, &view).unwrap_or(false)
}

pub(super) fn signal(
    state: &State,
    (name, payload, id, by): (&Arc<str>, &Payload, &Arc<str>, &Arc<str>),
    now: Timestamp,
) -> Result<Vec<Kind>, Refusal> {
    if !id.is_empty() && state.mailbox.knows_signal(id) {
        return Ok(vec![]);
    }
    if !state.awaited_signals().any(|(_, n)| *n == **name) {
        has_room(state, now)?;
    }
    let (name, payload, id, by) = (name.clone(), payload.clone(), id.clone(), by.clone());
    Ok(vec![Kind::SignalReceived { name, payload, id, by }])
}

pub(super) fn update_vars(state: &State, vars: &Payload, by: &Arc<str>) -> Result<Vec<Kind>, Refusal> {
    let begins = state.plan.vars().is_some() || state.created.settings.vars.is_some();
    if state.started_at.is_none() || (begins && !state.vars_begun) {
        return Err(Refusal::Status { command: "set variables of", status: state.status.as_str() });
    }
    if !matches!(to_value(vars), Value::Object(_)) {
        let message = "must be an object of variables by name".into();
        return Err(Refusal::Invalid { field: "vars", message });
    }
    // The empty name is the machine's own.
    let by = if by.is_empty() { Arc::from("unknown") } else { by.clone() };
    Ok(vec![Kind::VariablesSet { task: None, vars: vars.clone(), by }])
}

fn waiting<'a>(state: &'a State, task: u32, wanted: &'static str) -> Result<&'a Waiting, Refusal> {
    let Some(own) = state.tasks.get(task as usize) else {
        return Err(Refusal::NoTask { task: task.to_string() });
    };
    let wait = own.waiting().filter(|_| own.phase == TaskPhase::Scheduled);
    wait.ok_or_else(|| Refusal::Task { task: state.task_path(task), state: own.state_text(), wanted })
}

pub(super) fn decided(
    state: &State,
    task: u32,
    names: &[Arc<str>],
    verdict: Verdict,
    (by, comment, form): (&Arc<str>, &Arc<str>, Option<&Payload>),
) -> Result<Vec<Kind>, Refusal> {
    const WANTED: &str = "waiting for an approval";
    let Waiting::Approval(asked) = waiting(state, task, WANTED)? else {
        let now = state.tasks[task as usize].state_text();
        return Err(Refusal::Task { task: state.task_path(task), state: now, wanted: WANTED });
    };
    if asked.decided.is_some() {
        return Ok(vec![]);
    }
    let who = state.may_answer(task);
    let may = who.is_empty() || who.iter().any(|w| **w == **by || names.iter().any(|n| **w == **n));
    if !may {
        return Err(Refusal::NotAsked { by: by.to_string(), task: state.task_path(task), who });
    }
    let (by, comment) = (by.clone(), comment.clone());
    Ok(vec![Kind::ApprovalDecided { task, verdict, by, comment, form: form.cloned() }])
}

pub(super) fn grant(state: &State, task: Option<u32>, by: &Arc<str>) -> Result<Vec<Kind>, Refusal> {
    let since = |t: u32| match state.tasks[t as usize].waiting() {
        Some(Waiting::Step { since, granted: false }) => Some((*since, t)),
        _ => None,
    };
    let open = |t: &u32| state.tasks[*t as usize].phase == TaskPhase::Scheduled;
    let longest = || (0..state.tasks.len() as u32).filter(open).filter_map(since).min().map(|(_, t)| t);
    let Some(task) = task.or_else(longest) else {
        return Err(Refusal::Invalid { field: "task", message: "no step waits to be let on".into() });
    };
    waiting(state, task, "waiting for an operator")?;
    match since(task) {
        Some(_) => Ok(vec![Kind::StepGranted { task, by: by.clone() }]),
        None => Ok(vec![]),
    }
}

pub(super) fn published(state: &State, task: u32) -> Vec<Kind> {
    match waiting(state, task, "") {
        Ok(Waiting::Publish { done: false, .. }) => vec![Kind::EventPublished { task }],
        _ => vec![],
    }
}

/// The sub-workflow of a task, when it is this one and its end is not known.
fn child(state: &State, task: u32, execution: ExecutionId) -> Option<&Waiting> {
    let wait = state.tasks.get(task as usize)?.waiting()?;
    match wait {
        Waiting::Child { child, outcome: None, .. } if child.execution == execution => Some(wait),
        _ => None,
    }
}

pub(super) fn child_accepted(
    state: &State,
    task: u32,
    execution: ExecutionId,
    version: &Arc<str>,
) -> Vec<Kind> {
    let open = state.tasks.get(task as usize).is_some_and(|t| t.phase == TaskPhase::Scheduled);
    match child(state, task, execution) {
        Some(Waiting::Child { version: None, .. }) if open => {
            vec![Kind::ChildAccepted { task, version: version.clone() }]
        }
        _ => vec![],
    }
}

pub(super) fn child_refused(
    state: &State,
    task: u32,
    execution: ExecutionId,
    class: FailureClass,
    message: &Arc<str>,
) -> Vec<Kind> {
    let outcome = ChildOutcome::Failed { class, message: message.clone() };
    let mut facts = child_ended(state, task, execution, &outcome, Spending::default());
    let open = state.tasks.get(task as usize).is_some_and(|t| t.phase == TaskPhase::Scheduled);
    if open && child(state, task, execution).is_some() {
        facts.push(give_up(state, CallKey::new(task, 0), class, message));
    }
    facts
}

pub(super) fn child_ended(
    state: &State,
    task: u32,
    execution: ExecutionId,
    outcome: &ChildOutcome,
    spent: Spending,
) -> Vec<Kind> {
    match child(state, task, execution) {
        Some(_) => vec![Kind::ChildEnded { task, outcome: outcome.clone(), spent }],
        None if state.loans.contains_key(&execution) => vec![Kind::ChildSettled { execution, spent }],
        None => vec![],
    }
}
