//! Events that are waited for: somebody emits them, and not only after the wait.

use std::collections::{HashMap, HashSet};

use workflow::plan::{NodeKind, Wait};

use crate::{
    definition::{Body, Definition, Task},
    report::Report,
    text::tree::Pos,
};

/// Most emitters of a topic that are looked at.
const EMITTERS_MAX: usize = 100;
/// Most tasks that are looked at for all waits together; beyond it nothing is said.
const STEPS_MAX: usize = 20_000_000;

/// A task by the places of the tasks around it, outermost first.
type Way = Vec<usize>;

#[derive(Default)]
struct Found {
    /// Topic, way, place in the text, path, whether it is a wait with the given key.
    waits: Vec<(String, Way, Pos, String)>,
    emitters: HashMap<String, Vec<Way>>,
    /// An emitter whose topic is only known when it runs.
    any: bool,
}

pub(crate) fn check(def: &Definition, report: &mut Report) {
    let mut found = Found::default();
    collect(&def.body, "", &mut Vec::new(), &mut found);
    let mut steps = 0;
    for (topic, way, at, path) in &found.waits {
        let outside = def.places.topics.contains_key(topic) || is_built_in(topic);
        if outside || found.any {
            continue;
        }
        match found.emitters.get(topic) {
            None => {
                let message = format!("no task of this workflow emits `{topic}`");
                let remedy = format!(
                    "when it comes from outside, say so: `coordination: {{event_driven: [{topic}]}}`"
                );
                report.warning("nobody-emits", *at, path, message).remedy(remedy);
            }
            Some(emitters)
                if emitters
                    .iter()
                    .take(EMITTERS_MAX)
                    .all(|emitter| is_later(&def.body, way, emitter, &mut steps)) =>
            {
                let message =
                    format!("it waits for `{topic}`, and every task that emits it waits for this one");
                let remedy =
                    "let another task emit it, or declare the topic under `coordination: {event_driven: …}`";
                report.error("deadlock", *at, path, message).remedy(remedy);
            }
            Some(_) => {}
        }
    }
}

fn is_built_in(topic: &str) -> bool {
    crate::read::coordination::BUILT_IN_TOPICS.contains(&topic)
}

fn collect(body: &Body, outer: &str, way: &mut Way, found: &mut Found) {
    for (n, task) in body.tasks.iter().enumerate() {
        way.push(n);
        let at = if task.places.node == Pos::default() { task.places.id } else { task.places.node };
        match &task.plan.kind {
            NodeKind::Wait(Wait::Event { topic, .. }) => {
                let path = format!("{}.wait", body.places.path(outer, n));
                found.waits.push((topic.clone(), way.clone(), at, path));
            }
            NodeKind::Emit(emit) if emit.topic.contains("${") => found.any = true,
            NodeKind::Emit(emit) => {
                found.emitters.entry(emit.topic.clone()).or_default().push(way.clone());
            }
            _ => {}
        }
        if let Some(topic) = &task.on_event {
            let path = format!("{}.on_event", body.places.path(outer, n));
            found.waits.push((topic.clone(), way.clone(), at, path));
        }
        if let Some(inner) = &task.body {
            collect(inner, &body.places.path(outer, n), way, found);
        }
        way.pop();
    }
}

/// Whether `emitter` only runs after `wait` ended.
fn is_later(body: &Body, wait: &[usize], emitter: &[usize], steps: &mut usize) -> bool {
    match (wait, emitter) {
        ([a, wait @ ..], [b, emitter @ ..]) if a == b => match &body.tasks[*a].body {
            Some(inner) => is_later(inner, wait, emitter, steps),
            None => false,
        },
        ([a, ..], [b, ..]) => {
            *steps += body.tasks.len();
            *steps <= STEPS_MAX && waits_for(body, *b, *a)
        }
        _ => false,
    }
}

/// Whether `task` waits for `other`, by whatever edges.
fn waits_for(body: &Body, task: usize, other: usize) -> bool {
    let ids: HashMap<&str, usize> =
        body.tasks.iter().enumerate().map(|(n, t)| (t.plan.id.as_str(), n)).collect();
    let before = |n: usize, task: &Task| -> Vec<usize> {
        match &task.depends_on {
            Some(known) => known.iter().filter_map(|d| ids.get(d.task.as_str()).copied()).collect(),
            None if body.shape.in_sequence() && n > 0 => vec![n - 1],
            None => Vec::new(),
        }
    };
    let (mut seen, mut stack) = (HashSet::from([task]), vec![task]);
    while let Some(at) = stack.pop() {
        for source in before(at, &body.tasks[at]) {
            if source == other {
                return true;
            }
            if seen.insert(source) {
                stack.push(source);
            }
        }
    }
    false
}
