//! Whether the parts of a body fit together: cases and edges, joins that can be satisfied, loops that end.

use std::collections::{BTreeSet, HashMap, HashSet};

use base::finding::nearest;
use workflow::plan::{Case, Child, Edge, Exhausted, Join, NodeKind, Rest, ScopeMode, Spread};

use crate::{
    definition::{Place, Task},
    report::Report,
    text::tree::Pos,
};

use super::Level;

/// Most names that are looked through for a similar one.
const NAMES_MAX: usize = 1_000;

/// Labels of each switch that an edge comes from; `None` = it is no switch.
type Labels<'a> = HashMap<u32, Option<BTreeSet<&'a str>>>;

pub(crate) fn check(level: &Level<'_>, report: &mut Report) {
    let mut known = Labels::new();
    for (n, task) in level.body.tasks.iter().enumerate() {
        let n = n as u32;
        if level.graph.is_labelled() {
            cases(level, n, task, &mut known, report);
        }
        join(level, n, task, report);
        placed(level, n, task, report);
        agents(level, n, task, report);
        match &task.plan.kind {
            NodeKind::Scope(scope) => turns(level, n, task, &scope.mode, report),
            NodeKind::Child(child) => recursion(level, n, task, child, report),
            NodeKind::Switch { cases, .. } => dead_cases(level, n, task, cases, report),
            _ => {}
        }
    }
}

fn place(at: Pos, other: Pos) -> Pos {
    if at == Pos::default() { other } else { at }
}

/// Labels of edges: the task before is a switch, and has the case.
fn cases<'a>(level: &Level<'a>, n: u32, task: &Task, known: &mut Labels<'a>, report: &mut Report) {
    for (k, &before) in level.graph.before(n).iter().enumerate() {
        let Edge::Case(label) = level.graph.edge(n, k) else { continue };
        let source = &level.body.tasks[before as usize];
        let labels = known.entry(before).or_insert_with(|| match &source.plan.kind {
            NodeKind::Switch { cases, otherwise, .. } => {
                Some(cases.iter().map(|case| case.name.as_str()).chain(otherwise.as_deref()).collect())
            }
            _ => None,
        });
        if labels.as_ref().is_some_and(|labels| labels.contains(label.as_str())) {
            continue;
        }
        let at = task.depends_on.iter().flatten().position(|d| d.task == source.plan.id);
        let at = at.and_then(|at| task.places.depends_on.get(at).copied()).unwrap_or(task.places.id);
        let (message, remedy) = match labels {
            None => (
                format!("`{}` is no switch and has no case `{label}`", source.plan.id),
                "wait for a task with `switch`, or remove `case`".to_owned(),
            ),
            Some(labels) => (
                format!("the switch `{}` has no case `{label}`", source.plan.id),
                match nearest(label, labels.iter().copied().take(NAMES_MAX)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        let shown: Vec<_> = labels.iter().copied().take(10).collect();
                        format!("its cases are {}", shown.join(", "))
                    }
                },
            ),
        };
        report.error("unknown-case", at, format!("{}.depends_on", level.path(n)), message).remedy(remedy);
    }
}

/// Cases that are never chosen.
fn dead_cases(level: &Level<'_>, n: u32, task: &Task, cases: &[Case], report: &mut Report) {
    for case in cases.iter().filter(|case| case.when == "false") {
        let path = format!("{}.switch", level.path(n));
        let message = format!("the case `{}` is never chosen: its condition is always false", case.name);
        report.warning("unreachable-task", task.places.node, path, message).remedy("remove the case");
    }
}

/// Joins that can never be satisfied, and words about joins that change nothing.
fn join(level: &Level<'_>, n: u32, task: &Task, report: &mut Report) {
    let edges = level.graph.before(n).len();
    let at = place(task.places.join, task.places.id);
    let path = || format!("{}.join", level.path(n));
    if let Join::Quorum(wanted) = task.plan.join {
        let most = most_taken(level, n);
        if wanted as usize > most {
            let message = match most == edges {
                true => format!("`{}` waits for {wanted} edges and has {edges}", task.plan.id),
                false => format!(
                    "`{}` waits for {wanted} edges, and at most {most} of its {edges} can be taken: a switch takes one case",
                    task.plan.id
                ),
            };
            report
                .error("impossible-join", at, path(), message)
                .remedy(format!("lower the quorum to {most} or less, or add dependencies"));
        }
    }
    if task.plan.rest == Rest::Cancel && matches!(task.plan.join, Join::All | Join::BestEffort) {
        let message = "the join waits for all, so nothing is left to cancel";
        report
            .warning("useless-rest", at, path(), message)
            .remedy("write `join: any` or a quorum, or remove `rest`");
    }
    for (k, &before) in level.graph.before(n).iter().enumerate() {
        let source = &level.body.tasks[before as usize];
        let ends = match (&source.plan.kind, level.graph.edge(n, k)) {
            (NodeKind::End { .. }, Edge::Done | Edge::Ended) => "ends the execution",
            (NodeKind::Fail { .. }, Edge::Done) if source.plan.catch.is_empty() => "always fails",
            _ => continue,
        };
        if matches!(task.plan.join, Join::All) || edges == 1 {
            let message =
                format!("the task `{}` never runs: `{}` before it {ends}", task.plan.id, source.plan.id);
            report
                .warning("unreachable-task", task.places.id, level.path(n), message)
                .remedy("remove this dependency");
        }
    }
}

/// How many edges into `n` can be taken at once: of the cases of one switch only one.
fn most_taken(level: &Level<'_>, n: u32) -> usize {
    let mut taken = 0;
    let mut switches: HashSet<&str> = HashSet::new();
    for (k, &before) in level.graph.before(n).iter().enumerate() {
        // A second case of a switch comes through a task of its own.
        let source = &level.body.tasks[before as usize];
        let through = match (level.graph.edge(n, k), source.depends_on.as_deref()) {
            (Edge::Case(_), _) => Some(source.plan.id.as_str()),
            (Edge::Done, Some([only])) if matches!(only.edge, Edge::Case(_)) => Some(only.task.as_str()),
            _ => None,
        };
        let switch = through.and_then(|id| level.graph.index(id)).map(|s| &level.body.tasks[s as usize]);
        match switch.map(|switch| (&switch.plan.kind, switch.plan.id.as_str())) {
            Some((NodeKind::Switch { many: false, .. }, id)) => {
                taken += usize::from(switches.insert(id));
            }
            _ => taken += 1,
        }
    }
    taken
}

/// Keys that only have a meaning elsewhere.
fn placed(level: &Level<'_>, n: u32, task: &Task, report: &mut Report) {
    let streams = matches!(level.mode(), ScopeMode::ForEach { .. });
    if task.plan.width.is_some() && !streams {
        let message = "`concurrency` bounds how many items are in a task, and no items come by here";
        report
            .error("not-for-node", task.places.id, format!("{}.concurrency", level.path(n)), message)
            .remedy(
                "use it in a task that runs for each item; `max_parallel` bounds the calls of a spread task",
            );
    }
    if task.on_event.is_some() && level.around.is_some() {
        let message = "events start tasks of the workflow itself, not of a body";
        report
            .error("not-for-node", task.places.id, format!("{}.on_event", level.path(n)), message)
            .remedy("write `wait: {event: …}` as a task of its own");
    }
}

/// A spread that is wider than its role.
fn agents(level: &Level<'_>, n: u32, task: &Task, report: &mut Report) {
    let Spread::Parallel { count: Some(asked) } = task.plan.spread else { return };
    let role = task.plan.need.role.as_ref().and_then(|role| Some((role, level.def.roles.get(role)?.count?)));
    if let Some((role, have)) = role.filter(|(_, have)| asked > *have) {
        let message =
            format!("`{}` is spread over {asked} agents and the role `{role}` has {have}", task.plan.id);
        report
            .warning("too-few-agents", task.places.spread, level.path(n), message)
            .remedy(format!("write `count: {have}` or less, or raise the role's `count`"));
    }
}

/// Loops that never end by themselves, joins of turns that cannot be satisfied.
fn turns(level: &Level<'_>, n: u32, task: &Task, mode: &ScopeMode, report: &mut Report) {
    let at = place(task.places.node, task.places.id);
    match mode {
        ScopeMode::Loop { while_, until, exhausted, .. } => {
            if *exhausted == Exhausted::Stop {
                return;
            }
            let Some(body) = &task.body else { return };
            let path = format!("{}.loop", level.path(n));
            let constant = until.as_deref() == Some("false") || while_.as_deref() == Some("true");
            let alone = while_.is_none() || until.is_none();
            let asked = task.places.reads.iter().filter(|read| read.place == Place::While);
            let asked =
                asked.chain(body.places.reads.iter().filter(|r| r.place == Place::Turn("loop.until")));
            let mut reads = asked.map(|read| read.path.first().map(String::as_str)).peekable();
            let read = reads.peek().is_some();
            let changes = reads.any(|root| matches!(root, Some("tasks" | "loop" | "vars" | "session")));
            if alone && (constant || (read && !changes)) {
                let message = format!(
                    "the loop `{}` never ends before its turns are used up: its condition does not change",
                    task.plan.id
                );
                report
                    .warning("endless-loop", at, path, message)
                    .remedy("let the condition read a task of the body, or write `exhausted: stop`");
            }
        }
        ScopeMode::ForEach { list, join: Join::Quorum(wanted), .. } => {
            let items = serde_json::from_str::<Vec<serde_json::Value>>(list).ok().map(|items| items.len());
            if let Some(items) = items.filter(|items| *wanted as usize > *items) {
                let message = format!("`{}` waits for {wanted} of {items} items", task.plan.id);
                report
                    .error("impossible-join", at, format!("{}.gather", level.path(n)), message)
                    .remedy(format!("lower the quorum to {items} or less"));
            }
        }
        ScopeMode::Once | ScopeMode::ForEach { .. } => {}
    }
}

/// A workflow that starts itself.
fn recursion(level: &Level<'_>, n: u32, task: &Task, child: &Child, report: &mut Report) {
    if child.workflow == level.def.name && !child.workflow.is_empty() && level.def.limits.budget.depth == 0 {
        let message = format!("`{}` starts the workflow it belongs to, without end", task.plan.id);
        report
            .error("recursive-workflow", task.places.node, format!("{}.workflow", level.path(n)), message)
            .remedy("bound it with `budget: {depth: …}`, or start another workflow");
    }
}
