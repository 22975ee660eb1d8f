//! The order of tasks: flat arrays, linear in tasks and dependencies.

use std::collections::HashMap;

use base::finding::nearest;
use workflow::plan::OutputSpec;

use crate::{
    Limits,
    definition::{Definition, Shape},
    report::Report,
    text::tree::Pos,
};

/// Most names that are looked through for a similar one.
const SIMILAR_MAX: usize = 2_000;
/// Most cycles that are named.
const CYCLES_MAX: usize = 10;

/// Who waits for whom, by place in the text, and an order that respects it.
pub(crate) struct Graph {
    starts: Vec<u32>,
    before: Vec<u32>,
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
    pub(crate) fn index(&self, id: &str) -> Option<u32> {
        self.ids.get(id).copied()
    }
    pub(crate) fn similar(&self, def: &Definition, id: &str) -> Option<String> {
        similar(def, id)
    }
}

fn similar(def: &Definition, id: &str) -> Option<String> {
    nearest(id, def.tasks.iter().take(SIMILAR_MAX).map(|task| task.plan.id.as_str())).map(str::to_owned)
}

/// Resolves names and orders the tasks. `None` when there is no order; the report says why.
pub(crate) fn build(def: &Definition, limits: &Limits, report: &mut Report) -> Option<Graph> {
    let ids = ids(def, report);
    let (starts, before) = edges(def, &ids, limits, report)?;
    let mut graph = Graph { starts, before, order: Vec::new(), place: Vec::new(), ids };
    order(&mut graph, def.tasks.len());
    if graph.order.len() < def.tasks.len() {
        name_cycles(def, &graph, report);
        return None;
    }
    graph.place = vec![0; graph.order.len()];
    for (place, &task) in graph.order.iter().enumerate() {
        graph.place[task as usize] = place as u32;
    }
    Some(graph)
}

fn ids(def: &Definition, report: &mut Report) -> HashMap<String, u32> {
    let mut ids: HashMap<String, u32> = HashMap::with_capacity(def.tasks.len());
    for (n, task) in def.tasks.iter().enumerate().filter(|(_, task)| !task.plan.id.is_empty()) {
        if let Some(&first) = ids.get(&task.plan.id) {
            let line = def.tasks[first as usize].places.id.line;
            let path = format!("{}[{n}].id", def.places.tasks);
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
    def: &Definition,
    ids: &HashMap<String, u32>,
    limits: &Limits,
    report: &mut Report,
) -> Option<(Vec<u32>, Vec<u32>)> {
    let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(def.tasks.len());
    let mut apart = vec![false; def.tasks.len()];
    for (source, target, at) in &def.places.edges {
        let ends = [(source, "from"), (target, "to")].map(|(name, end)| {
            let found = ids.get(name).copied();
            if found.is_none() {
                unknown_task(def, name, *at, format!("edges ({end})"), report);
            }
            found
        });
        if let [Some(source), Some(target)] = ends {
            pairs.push((target, source));
            apart[target as usize] = true;
        }
    }
    for (n, task) in def.tasks.iter().enumerate() {
        match &task.depends_on {
            Some(names) => {
                for (k, name) in names.iter().enumerate() {
                    match ids.get(name) {
                        Some(&before) => pairs.push((n as u32, before)),
                        None => {
                            let at = task.places.depends_on.get(k).copied().unwrap_or(task.places.at);
                            let path = format!("{}[{n}].depends_on[{k}]", def.places.tasks);
                            unknown_task(def, name, at, path, report);
                        }
                    }
                }
            }
            None if def.shape == Shape::Sequential && n > 0 && !apart[n] => {
                pairs.push((n as u32, n as u32 - 1))
            }
            None => {}
        }
    }
    if pairs.len() > limits.edges_max {
        let message =
            format!("the definition has {} dependencies, the limit is {}", pairs.len(), limits.edges_max);
        report
            .error("limit-edges", def.places.name, def.places.tasks, message)
            .remedy("split the definition");
        return None;
    }
    Some(flat(def.tasks.len(), &pairs))
}

fn unknown_task(def: &Definition, name: &str, at: Pos, path: String, report: &mut Report) {
    let message = format!("there is no task `{name}`");
    let remedy = match similar(def, name) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "name a task of this definition".into(),
    };
    report.error("unknown-task", at, path, message).remedy(remedy);
}

/// Groups pairs by their first half: counting sort, doubles dropped.
fn flat(tasks: usize, pairs: &[(u32, u32)]) -> (Vec<u32>, Vec<u32>) {
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
    for after in 0..tasks {
        out.push(kept.len() as u32);
        for &task in &before[starts[after] as usize..starts[after + 1] as usize] {
            if std::mem::replace(&mut seen[task as usize], after as u32) != after as u32 {
                kept.push(task);
            }
        }
    }
    out.push(kept.len() as u32);
    (out, kept)
}

/// Kahn's algorithm. What is left out lies on a cycle or behind one.
fn order(graph: &mut Graph, tasks: usize) {
    let turned: Vec<(u32, u32)> = (0..tasks as u32)
        .flat_map(|after| graph.before(after).iter().map(move |&before| (before, after)))
        .collect();
    let (starts, after) = flat(tasks, &turned);
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
fn name_cycles(def: &Definition, graph: &Graph, report: &mut Report) {
    const UNSEEN: u32 = u32::MAX;
    const DONE: u32 = u32::MAX - 1;
    let mut ordered = vec![false; def.tasks.len()];
    graph.order.iter().for_each(|&t| ordered[t as usize] = true);
    // The place on the present path, or one of the two marks.
    let mut mark = vec![UNSEEN; def.tasks.len()];
    let mut found = 0;
    for start in 0..def.tasks.len() as u32 {
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
                            name_cycle(def, &cycle, report);
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
fn name_cycle(def: &Definition, cycle: &[u32], report: &mut Report) {
    let Some(first) = (0..cycle.len()).min_by_key(|&n| cycle[n]) else { return };
    let shown = 12;
    let mut names: Vec<&str> = (0..cycle.len().min(shown))
        .map(|n| def.tasks[cycle[(first + n) % cycle.len()] as usize].plan.id.as_str())
        .collect();
    if cycle.len() > shown {
        names.push("…");
    }
    let start = &def.tasks[cycle[first] as usize];
    names.push(&start.plan.id);
    let second = &def.tasks[cycle[(first + 1) % cycle.len()] as usize].plan.id;
    let at = start
        .depends_on
        .iter()
        .flatten()
        .position(|name| name == second)
        .and_then(|n| start.places.depends_on.get(n).copied())
        .unwrap_or(start.places.id);
    let path = format!("{}[{}].depends_on", def.places.tasks, cycle[first]);
    let message = format!("tasks wait for each other: {}", names.join(" → "));
    report.error("cycle", at, path, message).remedy("remove one of these dependencies");
}

/// Entry points, finish points, and tasks that can never run.
pub(crate) fn check_points(def: &Definition, graph: &Graph, report: &mut Report) {
    if let OutputSpec::Tasks(names) = &def.output {
        for (n, name) in names.iter().enumerate() {
            if graph.index(name).is_none() {
                let at = def.places.outputs.get(n).copied().unwrap_or_default();
                unknown_task(def, name, at, format!("finish[{n}]"), report);
            }
        }
    }
    for (n, task) in def.tasks.iter().enumerate() {
        if task.plan.when.as_deref() == Some("false") {
            let path = format!("{}[{n}].when", def.places.tasks);
            let message = format!("the task `{}` never runs: its condition is always false", task.plan.id);
            report.warning("unreachable-task", task.places.when, path, message).remedy("remove the task");
        }
    }
    let Some(entry) = &def.places.entry else { return };
    let mut reached = vec![false; def.tasks.len()];
    for (n, (name, at)) in entry.iter().enumerate() {
        match graph.index(name) {
            Some(task) => reached[task as usize] = true,
            None => unknown_task(def, name, *at, format!("entry[{n}]"), report),
        }
    }
    for &task in &graph.order {
        let before = graph.before(task);
        reached[task as usize] |= !before.is_empty() && before.iter().all(|&b| reached[b as usize]);
        if !reached[task as usize] {
            let found = &def.tasks[task as usize];
            let message = format!("the task `{}` cannot be reached from the entry points", found.plan.id);
            let path = format!("{}[{task}]", def.places.tasks);
            report
                .error("unreachable-task", found.places.id, path, message)
                .remedy("add an edge that leads to it, or name it in `entry`");
        }
    }
}
