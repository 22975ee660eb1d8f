//! Brings what is written apart to the tasks it is about: edges, cases, fallbacks, edges that close a cycle.

use std::collections::HashMap;

use base::FailureClass;
use serde_json::json;
use workflow::plan::{Edge, NodeKind, Saga};

use crate::{
    check::graph::unknown_task,
    definition::{Body, Definition, Dependency, Link, Task},
    report::Report,
    text::tree::Pos,
};

mod cycles;

/// Lowers `def`: afterwards every edge stands at the task it leads to, and every cycle is a scope.
pub(crate) fn lower(def: &mut Definition, report: &mut Report) {
    body(&mut def.body, "", report);
    settle_saga(def);
}

fn body(here: &mut Body, outer: &str, report: &mut Report) {
    let Body { tasks, places, .. } = here;
    for (n, task) in tasks.iter_mut().enumerate() {
        if let Some(inner) = &mut task.body {
            body(inner, &places.path(outer, n), report);
        }
    }
    links(here, report);
    cycles::enclose(here, outer, report);
    doubles(here, outer, report);
}

/// What is said apart, as dependencies of the tasks it leads to.
fn links(body: &mut Body, report: &mut Report) {
    let mut found = std::mem::take(&mut body.places.edges);
    let mut soft: Vec<Link> = Vec::new();
    for task in &mut body.tasks {
        let Some(extra) = &mut task.extra else { continue };
        for (label, to, at, is_label) in std::mem::take(&mut extra.thens) {
            let link = Link { from: task.plan.id.clone(), to, edge: Edge::Case(label), at };
            if is_label { soft.push(link) } else { found.push(link) }
        }
        for (classes, to, at) in std::mem::take(&mut extra.fallbacks) {
            found.push(Link { from: task.plan.id.clone(), to, edge: Edge::Failed(classes), at });
        }
    }
    if found.is_empty() && soft.is_empty() {
        return;
    }
    let mut ids: HashMap<String, usize> = HashMap::with_capacity(body.tasks.len());
    for (n, task) in body.tasks.iter().enumerate() {
        ids.entry(task.plan.id.clone()).or_insert(n);
    }
    // `otherwise` may be the name of a task or a mere label of edges.
    found.extend(soft.into_iter().filter(|link| ids.contains_key(&link.to)));
    // What each task that a link leads to waits for already, so that many links to one task stay linear.
    let mut known: HashMap<usize, HashMap<String, Vec<usize>>> = HashMap::new();
    for link in found {
        for (name, end) in [(&link.from, "from"), (&link.to, "to")] {
            if !ids.contains_key(name) {
                unknown_task(body, name, link.at, format!("edges ({end})"), report);
            }
        }
        let (Some(&to), true) = (ids.get(&link.to), ids.contains_key(&link.from)) else { continue };
        let task = &mut body.tasks[to];
        let waits = task.depends_on.get_or_insert_with(Vec::new);
        let places = known.entry(to).or_insert_with(|| {
            let mut places: HashMap<String, Vec<usize>> = HashMap::new();
            for (n, dependency) in waits.iter().enumerate() {
                places.entry(dependency.task.clone()).or_default().push(n);
            }
            places
        });
        let same = places.entry(link.from.clone()).or_default();
        // Written at both ends it is one edge, and the label counts.
        if let Some(&plain) = same.iter().find(|n| waits[**n].edge == Edge::Done) {
            waits[plain].edge = link.edge;
        } else if !same.iter().any(|n| waits[*n].edge == link.edge) {
            same.push(waits.len());
            waits.push(Dependency { task: link.from, edge: link.edge });
            task.places.depends_on.resize(waits.len() - 1, task.places.id);
            task.places.depends_on.push(link.at);
        }
    }
}

/// Two edges from one task to another: of two cases, one goes through a task that does nothing; everything else is a
/// mistake.
fn doubles(body: &mut Body, outer: &str, report: &mut Report) {
    let mut between: Vec<Task> = Vec::new();
    for (n, task) in body.tasks.iter_mut().enumerate() {
        let Some(known) = &mut task.depends_on else { continue };
        if known.iter().all(|d| d.edge == Edge::Done) {
            continue;
        }
        let mut seen: HashMap<String, Edge> = HashMap::new();
        for (k, dependency) in known.iter_mut().enumerate() {
            let at = task.places.depends_on.get(k).copied().unwrap_or(task.places.at);
            match (seen.get(&dependency.task), &dependency.edge) {
                (None, edge) => {
                    seen.insert(dependency.task.clone(), edge.clone());
                }
                (Some(Edge::Case(first)), Edge::Case(case)) if first != case => {
                    let id = format!("{}.{}.{case}", task.plan.id, dependency.task);
                    let switch = std::mem::replace(&mut dependency.task, id.clone());
                    let edge = std::mem::take(&mut dependency.edge);
                    between.push(step(id, switch, edge, at));
                }
                (Some(first), edge) if first != edge => {
                    let message = format!("two edges lead from `{}` to `{}`", dependency.task, task.plan.id);
                    let path = format!("{}.depends_on[{k}]", body.places.path(outer, n));
                    report.error("bad-value", at, path, message).remedy("keep one; `on: ended` is both");
                }
                (Some(_), _) => {}
            }
        }
    }
    if body.shape.in_sequence() && !between.is_empty() {
        explicit(body);
    }
    body.tasks.extend(between);
}

/// A task that does nothing, behind a case.
fn step(id: String, switch: String, edge: Edge, at: Pos) -> Task {
    let mut task = Task::scope(id, at);
    task.body = None;
    let value = format!("${{ tasks[{}].output }}", json!(switch));
    task.plan.kind = NodeKind::Transform { value: value.into() };
    task.depends_on = Some(vec![Dependency { task: switch, edge }]);
    task.places.depends_on = vec![at];
    task
}

/// Writes down what a sequence leaves unsaid.
pub(crate) fn explicit(body: &mut Body) {
    if !body.shape.in_sequence() {
        return;
    }
    body.shape = crate::Shape::Dag;
    let mut last: Option<String> = None;
    for task in &mut body.tasks {
        if task.depends_on.is_none() {
            task.places.depends_on = last.iter().map(|_| task.places.id).collect();
            let names = last.iter().map(|id| Dependency { task: id.clone(), edge: Edge::Done });
            task.depends_on = Some(names.collect());
        }
        last = Some(task.plan.id.clone());
    }
}

/// A task that can be undone, or a failure that asks for it, turns compensation on unless the definition says otherwise.
fn settle_saga(def: &mut Definition) {
    let (mut undoes, mut classes) = (false, Vec::<FailureClass>::new());
    def.body.walk("", &mut |task, _| {
        undoes |= task.compensate.is_some();
        classes.extend(task.extra.iter().flat_map(|extra| &extra.compensates));
    });
    classes.sort_unstable_by_key(|class| class.as_str());
    classes.dedup();
    match &mut def.saga {
        None if !classes.is_empty() => {
            def.saga = Some(Saga { on_failure: true, on_cancel: true, classes, ..Saga::default() });
        }
        None if undoes => def.saga = Some(Saga { on_failure: true, on_cancel: true, ..Saga::default() }),
        Some(saga) if !classes.is_empty() => {
            if !saga.on_failure {
                (saga.on_failure, saga.classes) = (true, classes);
            } else if !saga.classes.is_empty() {
                saga.classes.extend(classes);
                saga.classes.sort_unstable_by_key(|class| class.as_str());
                saga.classes.dedup();
            }
        }
        _ => {}
    }
}
