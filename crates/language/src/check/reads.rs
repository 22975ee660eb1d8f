//! What expressions read: variables that exist, tasks that are done by then.

use base::finding::nearest;
use workflow::plan::Spread;

use crate::{
    definition::{Definition, Place, Read},
    report::Report,
};

use super::graph::Graph;

const ROOTS: &[&str] = &["input", "tasks", "execution", "workflow", "metadata"];
const ITEM_ROOTS: &[&str] = &["item", "index", "count"];
/// Most steps spent on looking whether a task that is read is waited for.
const STEPS_MAX: u64 = 20_000_000;

pub(crate) fn check(def: &Definition, graph: &Graph, report: &mut Report) {
    let mut walk = Walk { seen: vec![false; def.tasks.len()], steps: 0, stack: Vec::new() };
    for (n, task) in def.tasks.iter().enumerate() {
        for read in &task.places.reads {
            let path = format!("{}[{n}].{}", def.places.tasks, key_of(read.place));
            one(def, graph, Some(n as u32), read, path, &mut walk, report);
        }
    }
    for read in &def.places.output_reads {
        one(def, graph, None, read, "output".into(), &mut walk, report);
    }
}

fn key_of(place: Place) -> &'static str {
    match place {
        Place::When => "when",
        Place::ForEach => "for_each",
        Place::Input => "input",
        Place::Output => "output",
    }
}

fn one(
    def: &Definition,
    graph: &Graph,
    task: Option<u32>,
    read: &Read,
    path: String,
    walk: &mut Walk,
    report: &mut Report,
) {
    let Some(root) = read.path.first().map(String::as_str) else { return };
    let spread = task.is_some_and(|t| def.tasks[t as usize].plan.spread != Spread::One);
    let sees_item = spread && read.place == Place::Input;
    let known = |root: &str| ROOTS.contains(&root) || (sees_item && ITEM_ROOTS.contains(&root));
    if !known(root) {
        let remedy = match nearest(root, ROOTS.iter().chain(ITEM_ROOTS.iter().filter(|_| sees_item)).copied())
        {
            _ if ITEM_ROOTS.contains(&root) => {
                "it exists in the input of a task with `for_each` or `parallel`".into()
            }
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("variables are {}", ROOTS.join(", ")),
        };
        let message = format!("there is no variable `{root}` here");
        report.error("unknown-variable", read.at, path, message).remedy(remedy);
        return;
    }
    let members: &[&str] = match root {
        "execution" => &["id", "priority"],
        "workflow" => &["name", "version"],
        "tasks" => return task_read(def, graph, task, read, path, walk, report),
        _ => return,
    };
    if let Some(member) = read.path.get(1).filter(|member| !members.contains(&member.as_str())) {
        let message = format!("`{root}` has no member `{member}`");
        let remedy = format!("its members are {}", members.join(", "));
        report.error("unknown-variable", read.at, path, message).remedy(remedy);
    }
}

fn task_read(
    def: &Definition,
    graph: &Graph,
    task: Option<u32>,
    read: &Read,
    path: String,
    walk: &mut Walk,
    report: &mut Report,
) {
    // `tasks[name]`: known only when it runs.
    let Some(id) = read.path.get(1) else { return };
    let Some(other) = graph.index(id) else {
        let dashed =
            def.tasks.iter().find(|t| t.plan.id.strip_prefix(id).is_some_and(|r| r.starts_with(['-', '.'])));
        let remedy = match (dashed, graph.similar(def, id)) {
            (Some(dashed), _) => format!("write `tasks[\"{}\"]`: a `-` subtracts", dashed.plan.id),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => "name a task of this definition".into(),
        };
        let message = format!("there is no task `{id}`");
        report.error("unknown-variable", read.at, path, message).remedy(remedy);
        return;
    };
    if let Some(member) = read.path.get(2).filter(|m| !matches!(m.as_str(), "output" | "status")) {
        let message = format!("a task has no member `{member}`");
        let remedy = match nearest(member, ["output", "status"]) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write `tasks.{id}.output.{member}`"),
        };
        report.error("unknown-variable", read.at, path, message).remedy(remedy);
        return;
    }
    let Some(task) = task else { return };
    if !walk.waits_for(graph, task, other) {
        let reader = &def.tasks[task as usize].plan.id;
        let message = format!("`{reader}` reads `{id}` and does not wait for it");
        let remedy = format!("add `{id}` to `depends_on`");
        report.error("not-a-dependency", read.at, path, message).remedy(remedy);
    }
}

/// Walks back along dependencies. The marks are shared by all questions and wiped after each.
struct Walk {
    seen: Vec<bool>,
    steps: u64,
    stack: Vec<u32>,
}

impl Walk {
    /// Whether `other` is done when `task` starts. When answering all such questions takes too long, the rest of them
    /// are answered yes: a read of a task that is not done fails at run time.
    fn waits_for(&mut self, graph: &Graph, task: u32, other: u32) -> bool {
        if graph.before(task).contains(&other) {
            return true;
        }
        let bound = graph.place[other as usize];
        if bound >= graph.place[task as usize] {
            return false;
        }
        self.stack.clear();
        self.stack.push(task);
        let mut visited = Vec::new();
        let mut found = false;
        while let Some(at) = self.stack.pop() {
            for &before in graph.before(at) {
                self.steps += 1;
                if before == other || self.steps > STEPS_MAX {
                    found = true;
                    self.stack.clear();
                    break;
                }
                // What stands before `other` in the order cannot lead to it.
                if graph.place[before as usize] > bound && !self.seen[before as usize] {
                    self.seen[before as usize] = true;
                    visited.push(before);
                    self.stack.push(before);
                }
            }
        }
        visited.iter().for_each(|&t| self.seen[t as usize] = false);
        found
    }
}
