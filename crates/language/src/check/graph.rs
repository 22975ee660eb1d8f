//! The order of tasks: flat arrays, linear in tasks and dependencies.

use std::collections::HashMap;

use base::finding::nearest;
use workflow::plan::{Edge, OutputSpec};

use crate::{Limits, definition::Body, report::Report, text::tree::Pos};

/// Most names that are looked through for a similar one.
const SIMILAR_MAX: usize = 2_000;
/// Most cycles that are named.
const CYCLES_MAX: usize = 10;

/// Who waits for whom, by place in the text, and an order that respects it.
pub(crate) struct Graph {
    starts: Vec<u32>,
    before: Vec<u32>,
    /// When each of `before` is taken; empty = all when they are done.
    edges: Vec<Edge>,
    /// Tasks in topological order; tasks that are ready together keep the order of the text.
    pub(crate) order: Vec<u32>,
    /// Where a task stands in [`Graph::order`].
    pub(crate) place: Vec<u32>,
    ids: HashMap<String, u32>,
}

impl Graph {
    /// Tasks that `task` waits for.
    pub(crate) fn before(&self, task: u32) -> &[u32] {
        let at = task as usize;
        &self.before[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
    /// When the edges from [`Graph::before`] are taken.
    pub(crate) fn edge(&self, task: u32, n: usize) -> &Edge {
        self.edges.get(self.starts[task as usize] as usize + n).unwrap_or(&Edge::Done)
    }
    /// Whether any edge has a label.
    pub(crate) fn is_labelled(&self) -> bool {
        !self.edges.is_empty()
    }
    pub(crate) fn index(&self, id: &str) -> Option<u32> {
        self.ids.get(id).copied()
    }
    /// Who waits for each task: starts and list.
    pub(crate) fn turned(&self) -> (Vec<u32>, Vec<u32>) {
        let tasks = self.starts.len() - 1;
        let turned: Vec<(u32, u32)> = (0..tasks as u32)
            .flat_map(|after| self.before(after).iter().map(move |&before| (before, after)))
            .collect();
        let (starts, after, _) = flat(tasks, &turned);
        (starts, after)
    }
}

/// The most similar id of a body.
pub(crate) fn similar(body: &Body, id: &str) -> Option<String> {
    nearest(id, body.tasks.iter().take(SIMILAR_MAX).map(|task| task.plan.id.as_str())).map(str::to_owned)
}

/// Resolves names and orders the tasks of a body; `outer` is the path of the task around it. `None` when there is no
/// order; the report says why.
pub(crate) fn build(body: &Body, outer: &str, limits: &Limits, report: &mut Report) -> Option<Graph> {
    let ids = ids(body, outer, report);
    let mut graph = edges(body, outer, ids, limits, report)?;
    order(&mut graph, body.tasks.len());
    if graph.order.len() < body.tasks.len() {
        name_cycles(body, outer, &graph, report);
        return None;
    }
    graph.place = vec![0; graph.order.len()];
    for (place, &task) in graph.order.iter().enumerate() {
        graph.place[task as usize] = place as u32;
    }
    Some(graph)
}

fn ids(body: &Body, outer: &str, report: &mut Report) -> HashMap<String, u32> {
    let mut ids: HashMap<String, u32> = HashMap::with_capacity(body.tasks.len());
    for (n, task) in body.tasks.iter().enumerate().filter(|(_, task)| !task.plan.id.is_empty()) {
        if let Some(&first) = ids.get(&task.plan.id) {
            let line = body.tasks[first as usize].places.id.line;
            let path = format!("{}.id", body.places.path(outer, n));
            let message = format!("the id `{}` is used twice, first in line {line}", task.plan.id);
            report.error("duplicate-id", task.places.id, path, message).remedy("give each task its own id");
        } else {
            ids.insert(task.plan.id.clone(), n as u32);
        }
    }
    ids
}

/// Dependencies as one list of pairs (after, before), then as a flat array.
fn edges(
    body: &Body,
    outer: &str,
    ids: HashMap<String, u32>,
    limits: &Limits,
    report: &mut Report,
) -> Option<Graph> {
    let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(body.tasks.len());
    let mut labels: HashMap<(u32, u32), &Edge> = HashMap::new();
    for (n, task) in body.tasks.iter().enumerate() {
        match &task.depends_on {
            Some(found) => {
                for (k, dependency) in found.iter().enumerate() {
                    let Some(&before) = ids.get(&dependency.task) else {
                        let at = task.places.depends_on.get(k).copied().unwrap_or(task.places.at);
                        let path = format!("{}.depends_on[{k}]", body.places.path(outer, n));
                        unknown_task(body, &dependency.task, at, path, report);
                        continue;
                    };
                    pairs.push((n as u32, before));
                    if dependency.edge != Edge::Done {
                        labels.insert((n as u32, before), &dependency.edge);
                    }
                }
            }
            None if body.shape.in_sequence() && n > 0 => pairs.push((n as u32, n as u32 - 1)),
            None => {}
        }
    }
    if pairs.len() > limits.edges_max {
        let message =
            format!("the definition has {} dependencies, the limit is {}", pairs.len(), limits.edges_max);
        report
            .error("limit-edges", body.places.at, body.places.tasks, message)
            .remedy("split the definition");
        return None;
    }
    let (starts, before, after) = flat(body.tasks.len(), &pairs);
    let edges = match labels.is_empty() {
        true => Vec::new(),
        false => {
            let of = |pair| labels.get(&pair).copied().cloned().unwrap_or_default();
            after.iter().zip(&before).map(|(&after, &before)| of((after, before))).collect()
        }
    };
    Some(Graph { starts, before, edges, order: Vec::new(), place: Vec::new(), ids })
}

pub(crate) fn unknown_task(body: &Body, name: &str, at: Pos, path: String, report: &mut Report) {
    let message = format!("there is no task `{name}`");
    let remedy = match similar(body, name) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "name a task of this definition".into(),
    };
    report.error("unknown-task", at, path, message).remedy(remedy);
}

/// Groups pairs by their first half: counting sort, doubles dropped. Gives where each group starts, the second halves,
/// and the first half of each.
fn flat(tasks: usize, pairs: &[(u32, u32)]) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; tasks + 1];
    for &(after, _) in pairs {
        starts[after as usize + 1] += 1;
    }
    for at in 0..tasks {
        starts[at + 1] += starts[at];
    }
    let mut next = starts.clone();
    let mut before = vec![0u32; pairs.len()];
    for &(after, task) in pairs {
        before[next[after as usize] as usize] = task;
        next[after as usize] += 1;
    }
    // Doubles stand within one group: `seen` holds the group a task was last met in.
    let mut seen = vec![u32::MAX; tasks];
    let (mut kept, mut out) = (Vec::with_capacity(before.len()), Vec::with_capacity(tasks + 1));
    let mut firsts = Vec::with_capacity(before.len());
    for after in 0..tasks {
        out.push(kept.len() as u32);
        for &task in &before[starts[after] as usize..starts[after + 1] as usize] {
            if std::mem::replace(&mut seen[task as usize], after as u32) != after as u32 {
                kept.push(task);
                firsts.push(after as u32);
            }
        }
    }
    out.push(kept.len() as u32);
    (out, kept, firsts)
}

/// Kahn's algorithm. What is left out lies on a cycle or behind one.
fn order(graph: &mut Graph, tasks: usize) {
    let (starts, after) = graph.turned();
    let mut waits: Vec<u32> = (0..tasks as u32).map(|t| graph.before(t).len() as u32).collect();
    let mut order: Vec<u32> = (0..tasks as u32).filter(|&t| waits[t as usize] == 0).collect();
    let mut at = 0;
    while let Some(&task) = order.get(at) {
        at += 1;
        for &next in &after[starts[task as usize] as usize..starts[task as usize + 1] as usize] {
            waits[next as usize] -= 1;
            if waits[next as usize] == 0 {
                order.push(next);
            }
        }
    }
    graph.order = order;
}

/// Walks back from task to dependency among the tasks that have no order, and names each cycle it closes.
fn name_cycles(body: &Body, outer: &str, graph: &Graph, report: &mut Report) {
    const UNSEEN: u32 = u32::MAX;
    const DONE: u32 = u32::MAX - 1;
    let mut ordered = vec![false; body.tasks.len()];
    graph.order.iter().for_each(|&t| ordered[t as usize] = true);
    // The place on the present path, or one of the two marks.
    let mut mark = vec![UNSEEN; body.tasks.len()];
    let mut found = 0;
    for start in 0..body.tasks.len() as u32 {
        if ordered[start as usize] || mark[start as usize] != UNSEEN {
            continue;
        }
        let mut path: Vec<(u32, usize)> = vec![(start, 0)];
        mark[start as usize] = 0;
        while let Some((task, next)) = path.last_mut() {
            let task = *task;
            match graph.before(task).get(*next) {
                None => {
                    mark[task as usize] = DONE;
                    path.pop();
                }
                Some(&before) => {
                    *next += 1;
                    if ordered[before as usize] {
                        continue;
                    }
                    match mark[before as usize] {
                        UNSEEN => {
                            mark[before as usize] = path.len() as u32;
                            path.push((before, 0));
                        }
                        DONE => {}
                        place => {
                            let cycle: Vec<u32> = path[place as usize..].iter().map(|(t, _)| *t).collect();
                            name_cycle(body, outer, &cycle, report);
                            found += 1;
                            if found >= CYCLES_MAX {
                                return;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `a → b → a`: each waits for the one after the arrow. It starts with the task that stands first in the text.
fn name_cycle(body: &Body, outer: &str, cycle: &[u32], report: &mut Report) {
    let Some(first) = (0..cycle.len()).min_by_key(|&n| cycle[n]) else { return };
    let shown = 12;
    let mut names: Vec<&str> = (0..cycle.len().min(shown))
        .map(|n| body.tasks[cycle[(first + n) % cycle.len()] as usize].plan.id.as_str())
        .collect();
    if cycle.len() > shown {
        names.push("…");
    }
    let start = &body.tasks[cycle[first] as usize];
    names.push(&start.plan.id);
    let second = &body.tasks[cycle[(first + 1) % cycle.len()] as usize].plan.id;
    let at = start
        .depends_on
        .iter()
        .flatten()
        .position(|dependency| dependency.task == *second)
        .and_then(|n| start.places.depends_on.get(n).copied())
        .unwrap_or(start.places.id);
    let path = format!("{}.depends_on", body.places.path(outer, cycle[first] as usize));
    let message = format!("tasks wait for each other: {}", names.join(" → "));
    report
        .error("cycle", at, path, message)
        .remedy("remove one of these dependencies, or declare it under `loops` with a `max`");
}

/// Entry points, finish points, and tasks that can never run.
pub(crate) fn check_points(body: &Body, outer: &str, graph: &Graph, report: &mut Report) {
    if let OutputSpec::Tasks(names) = &body.output {
        for (n, name) in names.iter().enumerate() {
            if graph.index(name).is_none() {
                let at = body.places.outputs.get(n).copied().unwrap_or_default();
                unknown_task(body, name, at, format!("finish[{n}]"), report);
            }
        }
    }
    for (n, task) in body.tasks.iter().enumerate() {
        if task.plan.when.as_deref() == Some("false") {
            let path = format!("{}.when", body.places.path(outer, n));
            let message = format!("the task `{}` never runs: its condition is always false", task.plan.id);
            report.warning("unreachable-task", task.places.when, path, message).remedy("remove the task");
        }
    }
    let Some(entry) = &body.places.entry else { return };
    let mut reached = vec![false; body.tasks.len()];
    for (n, (name, at)) in entry.iter().enumerate() {
        match graph.index(name) {
            Some(task) => reached[task as usize] = true,
            None => unknown_task(body, name, *at, format!("entry[{n}]"), report),
        }
    }
    for &task in &graph.order {
        let before = graph.before(task);
        reached[task as usize] |= !before.is_empty() && before.iter().all(|&b| reached[b as usize]);
        if !reached[task as usize] {
            let found = &body.tasks[task as usize];
            let message = format!("the task `{}` cannot be reached from the entry points", found.plan.id);
            let path = body.places.path(outer, task as usize);
            report
                .error("unreachable-task", found.places.id, path, message)
                .remedy("add an edge that leads to it, or name it in `entry`");
        }
    }
}
