//! A task on the agenda starts: what its node does first.

use std::sync::Arc;

use base::{
    ExecutionId, FailureClass, Payload, Timestamp,
    time::{BareUnit, parse_duration},
};
use serde_json::Value;
use uuid::Uuid;

use super::{cancel_rest, held, unusable};
use crate::{
    compiled::Extra,
    decide::{fits, give_up},
    event::{CallKey, Kind, SkipReason},
    facts::{ChildStart, UserEvent},
    input::EvalError,
    plan::{Case, Child, Emit, NodeKind, Wait},
    scope::View,
    state::State,
};

type Planned = Result<Vec<Kind>, EvalError>;

/// What becomes of the first task of the agenda.
pub(super) fn start(state: &State, task: u32) -> Vec<Kind> {
    if let Some(kind) = held(state, task) {
        return vec![kind];
    }
    if state.untriggered(task).is_some() {
        return listen(state, task, None);
    }
    let planned = state.condition(task).and_then(|run| match run {
        true => begin(state, task),
        false => Ok(vec![Kind::TaskSkipped { task, reason: SkipReason::Condition }]),
    });
    let mut facts = planned.unwrap_or_else(|e| vec![unusable(state, task, &e)]);
    facts.extend(cancel_rest(state, task));
    facts
}

fn begin(state: &State, task: u32) -> Planned {
    let node = state.plan.at(state.tasks[task as usize].node);
    let none = Extra::default();
    let extra = node.extra.as_deref().unwrap_or(&none);
    match &state.task_plan(task).kind {
        NodeKind::Call => call(state, task, extra),
        NodeKind::Scope(_) => scattered(state, task),
        NodeKind::Transform { .. } => value(state, task, extra, "value").map(|output| done(task, output)),
        NodeKind::Set { .. } => set(state, task, extra),
        NodeKind::Switch { cases, otherwise, many } => {
            switch(state, task, extra, cases, otherwise.as_ref(), *many)
        }
        NodeKind::Fail { class, .. } => {
            let message = text(state, task, extra, "message")?;
            Ok(vec![give_up(state, CallKey::new(task, 0), *class, &message.into())])
        }
        NodeKind::End { .. } => end(state, task, extra),
        NodeKind::Emit(emit) => emitted(state, task, extra, emit),
        NodeKind::Child(child) => started(state, task, extra, child),
        NodeKind::Wait(wait) => waiting(state, task, extra, wait),
    }
}

fn value(state: &State, task: u32, extra: &Extra, place: &'static str) -> Result<Value, EvalError> {
    match &extra.value {
        Some(template) => state.render(place, template, &View::of(state, task)),
        None => Ok(Value::Null),
    }
}

fn text(state: &State, task: u32, extra: &Extra, place: &'static str) -> Result<String, EvalError> {
    Ok(match value(state, task, extra, place)? {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    })
}

fn done(task: u32, output: Value) -> Vec<Kind> {
    vec![Kind::TaskCompleted { task, output: Some(Payload::from_value(&output)), call_us: 0 }]
}

fn bad(place: &'static str, message: impl Into<String>) -> EvalError {
    EvalError { place, message: message.into() }
}

fn scattered(state: &State, task: u32) -> Planned {
    let s = state.scatter(task)?;
    Ok(vec![Kind::TaskScheduled { task, items: s.items, width: s.width, scattered: s.scattered }])
}

fn call(state: &State, task: u32, extra: &Extra) -> Planned {
    let mut facts = Vec::new();
    if let (Some(by), Some(pick)) = (&extra.pick, &state.task_plan(task).pick) {
        let name = match state.eval("pick", by, &View::of(state, task))? {
            Value::String(name) => name,
            other => return Err(bad("pick", format!("gives {other}, not a name"))),
        };
        if !pick.among.contains_key(&name) {
            let known: Vec<&str> = pick.among.keys().map(String::as_str).collect();
            return Err(bad("pick", format!("names {name:?}, allowed are {}", known.join(", "))));
        }
        facts.push(Kind::Picked { task, name: name.into() });
    }
    facts.extend(scattered(state, task)?);
    Ok(facts)
}

fn set(state: &State, task: u32, extra: &Extra) -> Planned {
    match value(state, task, extra, "vars")? {
        vars @ Value::Object(_) => {
            let vars = Payload::from_value(&vars);
            Ok(vec![Kind::VariablesSet { task: Some(task), vars, by: "".into() }])
        }
        _ => Err(bad("vars", "the variables are not an object")),
    }
}

fn switch(
    state: &State,
    task: u32,
    extra: &Extra,
    cases: &[Case],
    otherwise: Option<&String>,
    many: bool,
) -> Planned {
    let mut chosen: Vec<Arc<str>> = Vec::new();
    for (case, when) in cases.iter().zip(&extra.cases) {
        if state.eval_bool("case", when, &View::of(state, task))? {
            chosen.push(case.name.as_str().into());
            if !many {
                break;
            }
        }
    }
    if chosen.is_empty() {
        chosen.extend(otherwise.map(|name| Arc::from(name.as_str())));
    }
    Ok(vec![Kind::Routed { task, cases: chosen }])
}

/// The whole execution ends as completed.
fn end(state: &State, task: u32, extra: &Extra) -> Planned {
    let output = match &extra.value {
        Some(template) => Payload::from_value(&state.render("output", template, &View::of(state, task))?),
        None => {
            let before =
                state.before(task).into_iter().filter_map(|t| state.tasks[t as usize].output.clone());
            let outputs: Vec<Payload> = before.collect();
            match outputs.as_slice() {
                [only] => only.clone(),
                _ => state.call_input(CallKey::new(task, 0))?,
            }
        }
    };
    let own = Kind::TaskCompleted { task, output: Some(output.clone()), call_us: 0 };
    Ok(vec![own, Kind::Completed { output }])
}

/// An id that is the same whenever it is made for this run of the task.
fn stable(state: &State, task: u32, what: &str) -> Uuid {
    let generation = state.tasks[task as usize].generation();
    let name = format!("{what}/{}/{generation}", state.task_path(task));
    Uuid::new_v5(&state.id.uuid(), name.as_bytes())
}

fn key_of(
    state: &State,
    task: u32,
    extra: &Extra,
    own: &[(&'static str, Value)],
) -> Result<Option<Arc<str>>, EvalError> {
    let Some(key) = &extra.key else { return Ok(None) };
    let mut view = View::of(state, task);
    for (name, value) in own {
        view = view.with(name, value.clone());
    }
    Ok(Some(match state.eval("key", key, &view)? {
        Value::String(key) => key.into(),
        Value::Null => return Err(bad("key", "gives null, not a correlation key")),
        other => other.to_string().into(),
    }))
}

fn emitted(state: &State, task: u32, extra: &Extra, emit: &Emit) -> Planned {
    let topic = match &extra.topic {
        Some(topic) => state.render_text("topic", topic, &View::of(state, task))?,
        None => emit.topic.clone(),
    };
    if topic.is_empty() {
        return Err(bad("topic", "gives an empty topic"));
    }
    let event = UserEvent {
        id: stable(state, task, "event").to_string().into(),
        topic: topic.into(),
        event_type: emit.event_type.as_str().into(),
        source: format!("{}/{}", state.created.workflow_name, state.task_path(task)).into(),
        key: key_of(state, task, extra, &[])?.unwrap_or_else(|| "".into()),
        payload: Payload::from_value(&value(state, task, extra, "payload")?),
        at: state.time,
        priority: emit.priority,
    };
    Ok(vec![Kind::EventEmitted { task, event: Arc::new(event) }])
}

fn started(state: &State, task: u32, extra: &Extra, plan: &Child) -> Planned {
    let workflow = text(state, task, extra, "workflow")?;
    if workflow.is_empty() {
        return Err(bad("workflow", "gives no name"));
    }
    let depth = state.created.settings.parent.as_ref().map_or(0, |p| p.depth) + 1;
    let budget = state.budget();
    if budget.depth > 0 && depth > budget.depth {
        let words = format!("a sub-workflow would stand {depth} deep, the budget allows {}", budget.depth);
        return Ok(vec![give_up(state, CallKey::new(task, 0), FailureClass::Budget, &words.into())]);
    }
    let Some(left) = state.loan(task) else {
        let words: Arc<str> = "the budget is spent".into();
        return Ok(vec![give_up(state, CallKey::new(task, 0), FailureClass::Budget, &words)]);
    };
    let child = ChildStart {
        execution: ExecutionId::new(stable(state, task, "child")),
        workflow: workflow.into(),
        version: plan.version.as_str().into(),
        input: state.call_input(CallKey::new(task, 0))?,
        detached: plan.detached,
        budget: left,
        depth,
        lent: true,
    };
    Ok(vec![Kind::ChildStarted { task, child: Arc::new(child) }])
}

fn waiting(state: &State, task: u32, extra: &Extra, wait: &Wait) -> Planned {
    Ok(match wait {
        Wait::Timer { .. } => {
            let Some(until) = &extra.until else { return Err(bad("until", "is missing")) };
            let until = moment(state, &state.eval("until", until, &View::of(state, task))?)?;
            vec![Kind::WaitOpened { task, until: Some(until), key: None }]
        }
        Wait::Event { .. } => listen(state, task, key_of(state, task, extra, &[])?),
        Wait::Signal { .. } | Wait::Step => vec![Kind::WaitOpened { task, until: None, key: None }],
        Wait::Approval(_) => {
            vec![Kind::ApprovalAsked { task, title: text(state, task, extra, "title")?.into() }]
        }
    })
}

/// A duration from now, a number of seconds, or a point in time.
fn moment(state: &State, value: &Value) -> Result<Timestamp, EvalError> {
    let wrong =
        || bad("until", format!("gives {value}, not a duration, a number of seconds or a point in time"));
    match value {
        Value::Number(n) => match n.as_f64() {
            Some(seconds) if (0.0..=1e10).contains(&seconds) => {
                Ok(state.time.plus(std::time::Duration::from_secs_f64(seconds)))
            }
            _ => Err(wrong()),
        },
        Value::String(text) => match Timestamp::parse_rfc3339(text) {
            Some(at) => Ok(at),
            None => match parse_duration(text, BareUnit::Seconds) {
                Ok(d) => Ok(state.time.plus(d)),
                Err(_) => Err(wrong()),
            },
        },
        _ => Err(wrong()),
    }
}

/// The task listens from now on, and takes what is kept for it.
fn listen(state: &State, task: u32, key: Option<Arc<str>>) -> Vec<Kind> {
    let wanted = match &state.task_plan(task).kind {
        NodeKind::Wait(Wait::Event { count, .. }) if state.untriggered(task).is_none() => *count as usize,
        _ => 1,
    };
    let kept = state.mailbox.events.iter().filter(|(expires, _)| *expires > state.time);
    let fitting = kept.filter(|(_, event)| fits(state, task, key.as_ref(), event));
    let taken: Vec<Kind> = fitting
        .take(wanted)
        .map(|(_, event)| Kind::EventTaken { tasks: vec![task], event_id: event.id.clone() })
        .collect();
    let mut facts = vec![Kind::WaitOpened { task, until: None, key }];
    facts.extend(taken);
    facts
}
