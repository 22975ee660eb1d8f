//! What expressions read: variables that exist there, tasks that are done by then.

use base::finding::nearest;
use workflow::plan::{ScopeMode, Spread};

use crate::{
    definition::{Definition, Place, Read, Task},
    report::Report,
};

use super::{
    Level,
    graph::{Graph, similar},
};

const ROOTS: &[&str] = &["input", "tasks", "execution", "workflow", "metadata", "vars", "session"];
const ITEM_ROOTS: &[&str] = &["item", "index", "count"];
const LOOP_MEMBERS: &[&str] = &["index", "last", "carry", "history"];
/// Most steps spent on looking whether a task that is read is waited for, for one body.
const STEPS_MAX: u64 = 20_000_000;

/// Who reads: a task, or the body itself after its tasks.
#[derive(Clone, Copy)]
enum Reader<'a> {
    Task(u32, &'a Task),
    Body,
    /// What undoes the task.
    Undo(u32, &'a Task),
}

pub(crate) fn check(level: &Level<'_>, report: &mut Report) {
    let mut walk = Walk { seen: Vec::new(), steps: 0, stack: Vec::new() };
    for (n, task) in level.body.tasks.iter().enumerate() {
        let n = n as u32;
        for read in &task.places.reads {
            let path = format!("{}.{}", level.path(n), read.place.key());
            one(level, Reader::Task(n, task), read, path, &mut walk, report);
        }
        for read in task.compensate.iter().flat_map(|undo| &undo.places.reads) {
            let path = format!("{}.compensate.{}", level.path(n), read.place.key());
            one(level, Reader::Undo(n, task), read, path, &mut walk, report);
        }
    }
    for read in &level.body.places.reads {
        let path = level.path_of(read.place.key());
        one(level, Reader::Body, read, path, &mut walk, report);
    }
}

/// What is asked before an execution starts, or outside of its graph: `vars`, `session`, triggers.
pub(crate) fn check_starts(def: &Definition, report: &mut Report) {
    for (key, read) in &def.places.reads {
        let Some(root) = read.path.first().map(String::as_str) else { continue };
        let roots: &[&str] = match read.place {
            Place::Filter => &["event", "workflow"],
            Place::Output => ROOTS,
            _ => &["input", "metadata", "session", "workflow"],
        };
        if !roots.contains(&root) {
            unknown(root, roots, read, (*key).to_owned(), report);
        }
    }
}

fn unknown(root: &str, roots: &[&str], read: &Read, path: String, report: &mut Report) {
    let remedy = match (root, nearest(root, roots.iter().copied())) {
        ("item" | "index" | "count", _) => {
            "it exists in the input of a task with `for_each` or `parallel`, and in tasks that run for each item".into()
        }
        ("loop", _) => "it exists in the tasks of a loop".into(),
        ("scope", _) => "it exists in tasks that stand inside of a task".into(),
        ("event", _) => "it exists in the filter of an event and in triggers".into(),
        ("error", _) => "it exists in `value` of `on_error`".into(),
        ("output", _) => "it exists in `compensate`".into(),
        (_, Some(near)) => format!("did you mean `{near}`?"),
        (_, None) => format!("variables are {}", roots.join(", ")),
    };
    let message = format!("there is no variable `{root}` here");
    report.error("unknown-variable", read.at, path, message).remedy(remedy);
}

/// Whether the place where `read` stands sees `root`.
fn sees(level: &Level<'_>, reader: Reader<'_>, read: &Read, root: &str) -> bool {
    if ROOTS.contains(&root) {
        return true;
    }
    let around = |level: &Level<'_>| in_body(level, root);
    match (reader, read.place) {
        (_, Place::Filter) if root == "event" => true,
        (_, Place::Caught) if root == "error" => true,
        (Reader::Undo(..), _) if root == "output" => true,
        (Reader::Task(_, task), _) if root == "event" && task.on_event.is_some() => true,
        (Reader::Task(_, task) | Reader::Undo(_, task), Place::Input)
            if task.plan.spread != Spread::One && ITEM_ROOTS.contains(&root) =>
        {
            true
        }
        // Asked about the turns of this task: sees its loop.
        (Reader::Task(..), Place::While) if root == "loop" => true,
        _ => around(level),
    }
}

/// Variables of the scopes around a body.
fn in_body(level: &Level<'_>, root: &str) -> bool {
    let Some((outer, _)) = level.around else { return false };
    let here = match level.mode() {
        ScopeMode::Once => root == "scope",
        ScopeMode::Loop { .. } => matches!(root, "scope" | "loop"),
        ScopeMode::ForEach { .. } => root == "scope" || ITEM_ROOTS.contains(&root),
    };
    here || in_body(outer, root)
}

fn roots(level: &Level<'_>, reader: Reader<'_>, read: &Read) -> Vec<&'static str> {
    let others = ["scope", "loop", "event", "error", "output"];
    let more = ITEM_ROOTS.iter().chain(&others).copied().filter(|root| sees(level, reader, read, root));
    ROOTS.iter().copied().chain(more).collect()
}

fn one(
    level: &Level<'_>,
    reader: Reader<'_>,
    read: &Read,
    path: String,
    walk: &mut Walk,
    report: &mut Report,
) {
    let Some(root) = read.path.first().map(String::as_str) else { return };
    if !sees(level, reader, read, root) {
        return unknown(root, &roots(level, reader, read), read, path, report);
    }
    let members: &[&str] = match root {
        "execution" => &["id", "priority"],
        "workflow" => &["name", "version"],
        "loop" => LOOP_MEMBERS,
        "scope" => &["input"],
        "error" => &["class", "message"],
        "tasks" => return task_read(level, reader, read, path, walk, report),
        _ => return,
    };
    if let Some(member) = read.path.get(1).filter(|member| !members.contains(&member.as_str())) {
        let message = format!("`{root}` has no member `{member}`");
        let remedy = format!("its members are {}", members.join(", "));
        report.error("unknown-variable", read.at, path, message).remedy(remedy);
    }
}

fn task_read(
    level: &Level<'_>,
    reader: Reader<'_>,
    read: &Read,
    path: String,
    walk: &mut Walk,
    report: &mut Report,
) {
    // `tasks[name]`: known only when it runs.
    let Some(id) = read.path.get(1) else { return };
    // The body's own tasks first, then those around it.
    let (mut at, mut reader_there) = (
        level,
        match reader {
            Reader::Task(n, _) | Reader::Undo(n, _) => Some(n),
            Reader::Body => None,
        },
    );
    let other = loop {
        match (at.graph.index(id), at.around) {
            (Some(other), _) => break Some(other),
            (None, Some((outer, n))) => (at, reader_there) = (outer, Some(n)),
            (None, None) => break None,
        }
    };
    let Some(other) = other else {
        let here = level.body.tasks.iter();
        let dashed =
            here.map(|t| &t.plan.id).find(|t| t.strip_prefix(id).is_some_and(|r| r.starts_with(['-', '.'])));
        let remedy = match (dashed, similar(level.body, id)) {
            (Some(dashed), _) => format!("write `tasks[\"{dashed}\"]`: a `-` subtracts"),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => "name a task of this definition that stands here or around".into(),
        };
        let message = format!("there is no task `{id}`");
        report.error("unknown-variable", read.at, path, message).remedy(remedy);
        return;
    };
    if let Some(member) = read.path.get(2).filter(|m| !matches!(m.as_str(), "output" | "status" | "error")) {
        let message = format!("a task has no member `{member}`");
        let remedy = match nearest(member, ["output", "status", "error"]) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write `tasks.{id}.output.{member}`"),
        };
        report.error("unknown-variable", read.at, path, message).remedy(remedy);
        return;
    }
    let Some(task) = reader_there else { return };
    if matches!(reader, Reader::Undo(..)) && task == other {
        return;
    }
    if !walk.waits_for(&at.graph, task, other) {
        let reader = &at.body.tasks[task as usize].plan.id;
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
        if self.seen.len() < graph.place.len() {
            self.seen.resize(graph.place.len(), false);
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
