//! Edges that close a cycle: the tasks on the cycle become the body of a bounded loop.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value, json};
use workflow::plan::{Case, Edge, Join, NodeKind, OutputSpec};

use crate::{
    check::graph::unknown_task,
    definition::{BackEdge, Body, Dependency, Nesting, Place, Read, Task},
    report::Report,
};

/// Most tasks that are looked at for all loops of a body together.
const STEPS_MAX: usize = 20_000_000;

/// Encloses each declared loop of `body`, in the order of the text.
pub(super) fn enclose(body: &mut Body, outer: &str, report: &mut Report) {
    let loops = std::mem::take(&mut body.places.loops);
    if loops.len().saturating_mul(body.tasks.len()) > STEPS_MAX {
        let at = loops.first().map_or(body.places.at, |back| back.at);
        let message = format!("{} loops among {} tasks are too many", loops.len(), body.tasks.len());
        report.error("limit-loops", at, "loops", message).remedy("split the definition");
        return;
    }
    if !loops.is_empty() {
        super::explicit(body);
    }
    for back in loops {
        one(body, back, outer, report);
    }
}

fn one(body: &mut Body, back: BackEdge, outer: &str, report: &mut Report) {
    let ids: HashMap<String, usize> =
        body.tasks.iter().enumerate().map(|(n, task)| (task.plan.id.clone(), n)).collect();
    let path = if outer.is_empty() { "loops".to_owned() } else { format!("{outer}.loops") };
    let (Some(&from), Some(&to)) = (ids.get(&back.from), ids.get(&back.to)) else {
        for name in [&back.from, &back.to] {
            if !ids.contains_key(name) {
                unknown_task(body, name, back.at, path.clone(), report);
            }
        }
        return;
    };
    // The edge itself may be written at its task too.
    let target = &mut body.tasks[to];
    remove(target, |dependency| dependency.task == back.from);
    let part = part(body, &ids, from, to);
    if part.is_empty() {
        let message = format!("no way leads from `{}` to `{}`: the edge closes no cycle", back.to, back.from);
        report
            .error("bad-value", back.at, path, message)
            .remedy("turn it around, or make it a plain dependency");
        return;
    }
    take_in(body, back, &part);
}

fn remove(task: &mut Task, what: impl Fn(&Dependency) -> bool) {
    let Some(known) = &mut task.depends_on else { return };
    let gone: Vec<bool> = known.iter().map(&what).collect();
    let mut n = 0;
    known.retain(|_| (!gone[n], n += 1).0);
    n = 0;
    task.places.depends_on.retain(|_| (!gone.get(n).copied().unwrap_or(false), n += 1).0);
}

/// The tasks on the ways from `to` to `from`; none when there is no way.
fn part(body: &Body, ids: &HashMap<String, usize>, from: usize, to: usize) -> HashSet<usize> {
    let before = |task: usize| {
        let known = body.tasks[task].depends_on.iter().flatten();
        known.filter_map(|dependency| ids.get(&dependency.task).copied())
    };
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); body.tasks.len()];
    for task in 0..body.tasks.len() {
        before(task).for_each(|source| after[source].push(task));
    }
    let reach = |start: usize, next: &dyn Fn(usize) -> Vec<usize>| {
        let (mut seen, mut stack) = (HashSet::from([start]), vec![start]);
        while let Some(at) = stack.pop() {
            stack.extend(next(at).into_iter().filter(|n| seen.insert(*n)));
        }
        seen
    };
    let forward = reach(to, &|task| after[task].clone());
    let backward = reach(from, &|task| before(task).collect());
    match forward.contains(&from) {
        true => forward.intersection(&backward).copied().collect(),
        false => HashSet::new(),
    }
}

/// Moves `part` into a scope. What others read of it stays under its name, as a task that hands it on.
fn take_in(body: &mut Body, back: BackEdge, part: &HashSet<usize>) {
    let id = back.id.unwrap_or_else(|| format!("loop-{}", back.to));
    let mut scope = Task::scope(id.clone(), back.at);
    let (mut inside, mut outside, mut place) = (Vec::new(), Vec::new(), 0);
    for (n, task) in std::mem::take(&mut body.tasks).into_iter().enumerate() {
        if part.contains(&n) {
            if task.plan.id == back.to {
                place = outside.len();
            }
            inside.push(task);
        } else {
            outside.push(task);
        }
    }
    let names: HashSet<String> = inside.iter().map(|task| task.plan.id.clone()).collect();
    let mut entries: Vec<Dependency> = Vec::new();
    let mut entered: HashMap<String, Vec<Edge>> = HashMap::new();
    for task in &mut inside {
        for dependency in task.depends_on.iter().flatten().filter(|d| !names.contains(&d.task)) {
            let edges = entered.entry(dependency.task.clone()).or_default();
            if !edges.contains(&dependency.edge) {
                edges.push(dependency.edge.clone());
                entries.push(dependency.clone());
            }
        }
        remove(task, |dependency| !names.contains(&dependency.task));
        if task.plan.id == back.to {
            scope.plan.join = match std::mem::take(&mut task.plan.join) {
                Join::All => Join::All,
                join if entries.len() > 1 => join,
                _ => Join::All,
            };
        }
    }
    scope.places.depends_on = vec![back.at; entries.len()];
    scope.depends_on = Some(entries);
    let read = read_outside(body, &outside, &names);
    let handed: Map<String, Value> = read.iter().map(|name| (name.clone(), handed(name))).collect();
    let output = match handed.is_empty() {
        true => OutputSpec::Tasks(vec![back.from.clone()]),
        false => OutputSpec::Template(Value::Object(handed)),
    };
    redirect(&mut outside, &names, &id);
    let mut standing: Vec<Task> =
        inside.iter().filter(|task| read.contains(&task.plan.id)).map(|task| hand_on(task, &id)).collect();
    let mut inner = Body { tasks: inside, output, ..Body::default() };
    (inner.places.tasks, inner.places.at, inner.places.nesting) =
        (body.places.tasks, back.at, Nesting::Enclosed);
    let (of_turn, around) = back.reads.into_iter().partition(|read| matches!(read.place, Place::Turn(_)));
    (inner.places.reads, scope.places.reads) = (of_turn, around);
    scope.body = Some(Box::new(inner));
    if let NodeKind::Scope(kind) = &mut scope.plan.kind {
        kind.mode = back.mode;
    }
    standing.insert(0, scope);
    body.tasks = outside;
    body.tasks.splice(place..place, standing);
}

fn handed(name: &str) -> Value {
    Value::from(format!("${{ tasks[{}].output }}", json!(name)))
}

/// Names of the part that the rest of the body reads or waits for.
fn read_outside(body: &Body, outside: &[Task], names: &HashSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut see = |name: &str| {
        if names.contains(name) && !found.contains(name) {
            found.insert(name.to_owned());
        }
    };
    for task in outside {
        let known = task.depends_on.iter().flatten();
        known.filter(|d| !by_end(&d.edge)).for_each(|d| see(&d.task));
        let inner = task.body.iter().flat_map(|body| all_reads(body));
        for read in task.places.reads.iter().chain(inner).chain(undo_reads(task)) {
            if let [root, name, ..] = read.path.as_slice()
                && root == "tasks"
            {
                see(name);
            }
        }
    }
    for read in &body.places.reads {
        if let [root, name, ..] = read.path.as_slice()
            && root == "tasks"
        {
            see(name);
        }
    }
    if let OutputSpec::Tasks(wanted) = &body.output {
        wanted.iter().for_each(|name| see(name));
    }
    found
}

fn undo_reads(task: &Task) -> impl Iterator<Item = &Read> {
    task.compensate.iter().flat_map(|undo| &undo.places.reads)
}

fn all_reads(body: &Body) -> Vec<&Read> {
    let mut found: Vec<_> = body.places.reads.iter().collect();
    body.walk("", &mut |task, _| found.extend(&task.places.reads));
    found
}

/// Edges that ask how a task ended rather than what it gave.
fn by_end(edge: &Edge) -> bool {
    matches!(edge, Edge::Failed(_) | Edge::Ended)
}

/// A failure inside is a failure of the loop.
fn redirect(outside: &mut [Task], names: &HashSet<String>, scope: &str) {
    for dependency in outside.iter_mut().flat_map(|task| task.depends_on.iter_mut().flatten()) {
        if by_end(&dependency.edge) && names.contains(&dependency.task) {
            dependency.task = scope.to_owned();
        }
    }
}

/// A task of the same name that hands on what the last turn gave; a switch chooses as it chose in the last turn.
fn hand_on(task: &Task, scope: &str) -> Task {
    let name = &task.plan.id;
    let given = format!("tasks[{}].output[{}]", json!(scope), json!(name));
    let mut standing = Task::scope(name.clone(), task.places.id);
    standing.body = None;
    standing.plan.kind = match &task.plan.kind {
        NodeKind::Switch { cases, otherwise, .. } => {
            let labels = cases.iter().map(|case| &case.name).chain(otherwise);
            let chosen = |label: &String| Case {
                name: label.clone(),
                when: format!("{} in {given}.cases", json!(label)),
            };
            NodeKind::Switch { cases: labels.map(chosen).collect(), otherwise: None, many: true }
        }
        _ => NodeKind::Transform { value: format!("${{ {given} }}").into() },
    };
    standing.depends_on = Some(vec![Dependency { task: scope.to_owned(), edge: Edge::Done }]);
    standing.places.depends_on = vec![task.places.id];
    standing
}
