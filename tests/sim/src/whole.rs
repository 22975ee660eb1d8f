//! Random plans from the whole set of nodes: nested scopes, waits, sub-workflows, sagas, budgets.

use std::time::Duration;

use base::FailureClass;
use serde_json::{Value, json};
use workflow::plan::{
    Approval, Budget, Case, Catch, Child, Edge, Emit, Escalation, Exhausted, InputSpec, Join, Need, NodeKind,
    OutputSpec, Pick, Plan, Rest, RetryPolicy, Saga, Scope, ScopeMode, Spend, Spread, TaskPlan, Wait,
};

use crate::{Rng, plans};

pub(crate) fn plan(rng: &mut Rng, tasks: usize) -> Plan {
    let mut plan = plans::plan(rng, 0);
    plan.tasks = body(rng, tasks, 0, false);
    plan.output = OutputSpec::Sinks;
    plan.vars = rng.sometimes(3, |_| json!({"n": 1}));
    plan.saga = saga(rng);
    if tasks > 2 && rng.one_in(4) {
        plan.event_driven = [("t1".to_owned(), "news".to_owned())].into();
    }
    if rng.one_in(4) {
        plan.limits.budget = Budget { calls: 1 + rng.below(8), tokens: rng.below(60), ..Budget::default() };
    }
    plan
}

fn saga(rng: &mut Rng) -> Saga {
    Saga {
        on_failure: !rng.one_in(3),
        on_cancel: rng.one_in(2),
        classes: if rng.one_in(6) { vec![FailureClass::Error] } else { vec![] },
        not_classes: if rng.one_in(6) { vec![FailureClass::Auth] } else { vec![] },
        timeout: rng.sometimes(4, |r| Duration::from_millis(r.below(9000))),
        retry: rng.sometimes(2, |_| RetryPolicy::none()),
    }
}

pub(crate) fn body(rng: &mut Rng, tasks: usize, depth: u32, wide: bool) -> Vec<TaskPlan> {
    let mut all: Vec<TaskPlan> = Vec::new();
    for index in 0..tasks as u32 {
        let task = task(rng, index, depth, wide, &all);
        all.push(task);
    }
    all
}

fn task(rng: &mut Rng, index: u32, depth: u32, wide: bool, before: &[TaskPlan]) -> TaskPlan {
    let mut task = plans::task(rng, index);
    task.kind = kind(rng, depth);
    if task.kind != NodeKind::Call {
        task.spread = Spread::One;
    } else if rng.one_in(8) {
        let among = [("a".to_owned(), Need::default())].into();
        let by = if rng.one_in(6) { "'b'" } else { "'a'" };
        task.pick = Some(Pick { by: by.into(), among });
    }
    if matches!(task.kind, NodeKind::Wait(_)) && rng.one_in(2) {
        task.timeouts.total = None;
    }
    if !task.after.is_empty() && rng.one_in(3) {
        task.edges = task.after.clone().iter().map(|&t| edge(rng, &before[t as usize])).collect();
    }
    task.join = join(rng, task.after.len() as u32);
    task.rest = if rng.one_in(2) { Rest::Cancel } else { Rest::Keep };
    if rng.one_in(6) {
        let value =
            if rng.one_in(4) { json!("${ error.none }") } else { json!({"caught": "${ error.class }"}) };
        task.catch = vec![Catch { on: vec![], value }];
    }
    if rng.one_in(3) {
        task.compensate = Some(Box::new(undo(rng, depth)));
    }
    if rng.one_in(4) {
        task.spend = Spend { tokens: rng.below(20), ..Spend::default() };
    }
    if matches!(task.kind, NodeKind::Child(_)) && rng.one_in(3) {
        task.spend.calls = 1 + rng.below(3);
    }
    task.width = if wide { rng.sometimes(3, |r| 1 + r.below(2) as u32) } else { None };
    task
}

fn undo(rng: &mut Rng, depth: u32) -> TaskPlan {
    let retry = Some(RetryPolicy { max_attempts: 2, ..RetryPolicy::none() });
    let input = InputSpec::Template(json!({"undo": "${ output }"}));
    let kind = match rng.below(4) {
        0 if depth == 0 => NodeKind::Scope(Box::new(Scope {
            tasks: vec![TaskPlan { id: "t0".into(), ..TaskPlan::default() }],
            output: OutputSpec::Sinks,
            mode: ScopeMode::Once,
        })),
        1 => NodeKind::Transform { value: json!("${ output }") },
        _ => NodeKind::Call,
    };
    TaskPlan { id: "undo".into(), kind, input, retry, ..TaskPlan::default() }
}

fn join(rng: &mut Rng, edges: u32) -> Join {
    match rng.below(8) {
        0 if edges > 0 => Join::Any,
        1 if edges > 0 => Join::Quorum(1 + rng.below(u64::from(edges)) as u32),
        2 => Join::BestEffort,
        _ => Join::All,
    }
}

fn edge(rng: &mut Rng, from: &TaskPlan) -> Edge {
    match (&from.kind, rng.below(6)) {
        (NodeKind::Switch { .. }, 0..4) => Edge::Case(if rng.one_in(2) { "yes" } else { "no" }.into()),
        (_, 0) => Edge::Failed(vec![]),
        (_, 1) => Edge::Failed(vec![FailureClass::Error, FailureClass::Timeout]),
        (_, 2) => Edge::Ended,
        _ => Edge::Done,
    }
}

fn kind(rng: &mut Rng, depth: u32) -> NodeKind {
    match rng.below(24) {
        0 | 1 => NodeKind::Transform { value: json!({"n": "${ input.flag }"}) },
        2 => NodeKind::Switch {
            cases: vec![Case { name: "yes".into(), when: "input.flag".into() }],
            otherwise: Some("no".into()),
            many: rng.one_in(2),
        },
        3 => NodeKind::Set { vars: json!({"n": "${ execution.id }"}) },
        4 if rng.one_in(2) => NodeKind::Fail { message: "no".into(), class: FailureClass::Error },
        5 if rng.one_in(6) => NodeKind::End { output: None },
        6 | 7 => NodeKind::Wait(wait(rng)),
        8 | 9 => NodeKind::Wait(wait(rng)),
        10 => NodeKind::Emit(Emit {
            topic: "news".into(),
            event_type: String::new(),
            payload: json!({"n": 9}),
            key: Some("'k0'".into()),
            priority: 0,
        }),
        11 => {
            NodeKind::Child(Child { workflow: "sub".into(), version: String::new(), detached: rng.one_in(3) })
        }
        12..17 if depth < 2 => {
            let mode = mode(rng);
            let wide = matches!(mode, ScopeMode::ForEach { .. });
            let count = rng.below(4) as usize;
            let tasks = body(rng, count, depth + 1, wide);
            NodeKind::Scope(Box::new(Scope { tasks, output: OutputSpec::Sinks, mode }))
        }
        _ => NodeKind::Call,
    }
}

fn mode(rng: &mut Rng) -> ScopeMode {
    match rng.below(3) {
        0 => ScopeMode::Once,
        1 => ScopeMode::Loop {
            while_: rng.sometimes(3, |_| "loop.index < 2".into()),
            until: rng.sometimes(3, |r| if r.one_in(2) { "loop.index > 0" } else { "false" }.into()),
            max: 1 + rng.below(3) as u32,
            exhausted: if rng.one_in(2) { Exhausted::Stop } else { Exhausted::Fail },
            delay: rng.sometimes(3, |r| Duration::from_millis(r.below(3000))),
            start: rng.sometimes(2, |_| json!(1)),
            carry: rng.sometimes(2, |_| json!({"from": "${ loop.carry }"})),
            history: rng.one_in(2),
            gather: rng.one_in(2),
        },
        _ => ScopeMode::ForEach {
            list: "input.list".into(),
            width: rng.sometimes(2, |r| 1 + r.below(2) as u32),
            ordered: rng.one_in(3),
            join: match rng.below(4) {
                0 => Join::Any,
                1 => Join::Quorum(2),
                2 => Join::BestEffort,
                _ => Join::All,
            },
            rest: if rng.one_in(2) { Rest::Keep } else { Rest::Cancel },
            partial: rng.one_in(3),
        },
    }
}

fn wait(rng: &mut Rng) -> Wait {
    match rng.below(5) {
        0 => Wait::Timer { until: if rng.one_in(8) { "'soon'" } else { "2" }.into() },
        1 => Wait::Event {
            topic: "news".into(),
            filter: rng.sometimes(2, |_| "event.payload.n > 3".into()),
            key: rng.sometimes(2, |_| "'k0'".into()),
            count: 1 + rng.below(2) as u32,
        },
        2 => Wait::Signal { name: "go".into(), schema: None },
        3 => Wait::Approval(Approval {
            title: "ok ${ input.flag }".into(),
            who: if rng.one_in(2) { vec!["ann".into()] } else { vec![] },
            form: None,
            escalate: vec![Escalation { after: Duration::from_millis(500), who: vec!["bob".into()] }],
        }),
        _ => Wait::Step,
    }
}

/// The plan with something changed behind what has begun, or anywhere.
pub(crate) fn changed(rng: &mut Rng, plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    let len = plan.tasks.len();
    match rng.below(4) {
        0 if len > 0 => {
            // The last task goes, when nobody names it.
            plan.tasks.pop();
            plan.event_driven.clear();
        }
        1 if len > 0 => {
            let at = rng.below(len as u64) as usize;
            plan.tasks[at].instructions = "otherwise".into();
        }
        _ => {
            let mut more = plans::task(rng, len as u32);
            more.id = format!("new{}", rng.below(1000));
            more.input = InputSpec::Context;
            more.when = None;
            more.spread = Spread::One;
            plan.tasks.push(more);
        }
    }
    plan
}

/// What an event says.
pub(crate) fn payload(rng: &mut Rng) -> Value {
    if rng.one_in(6) { json!({"other": 1}) } else { json!({"n": rng.below(8)}) }
}
