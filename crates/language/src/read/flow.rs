//! How tasks hang together: edges with labels, joins, what happens on failure, edges that close a cycle.

use base::FailureClass;
use workflow::plan::{Catch, Edge, Join, Rest};

use crate::{
    definition::{BackEdge, Dependency, Place, Task},
    text::tree::{Data, Node},
};

use super::{
    Reading,
    fields::{Path, Plain},
    turns::Turns,
};

/// Keys of an element of `depends_on`.
pub(crate) const DEPENDENCY_KEYS: &[&str] = &["task", "case", "on", "classes"];
/// Keys of an element of `on_error`.
pub(crate) const ON_ERROR_KEYS: &[&str] = &["classes", "task", "value", "compensate", "fail"];
/// Keys of an element of `loops`, beside those of `loop`.
pub(crate) const BACK_EDGE_KEYS: &[&str] = &["from", "to", "id"];

impl Reading<'_> {
    /// `depends_on`: ids, or `{task, case}`, `{task, on: failed | ended | done, classes}`.
    pub(crate) fn depends_on(&mut self, task: &mut Task, node: &Node, path: Path<'_>) {
        let mut found = Vec::new();
        match &node.data {
            Data::List(items) if items.iter().any(|item| item.map().is_some()) => {
                for (n, item) in items.iter().enumerate() {
                    let here = Path::Index(&path, n);
                    match item.map() {
                        Some(_) => self.dependency(item, here, &mut found),
                        None => {
                            let id = self.word(item, here);
                            found.push((Dependency { task: id, edge: Edge::Done }, item.at));
                        }
                    }
                }
            }
            Data::Map(_) => self.dependency(node, path, &mut found),
            _ => {
                let names = self.texts_at(node, path).into_iter();
                found.extend(names.map(|(id, at)| (Dependency { task: id, edge: Edge::Done }, at)));
            }
        }
        found.retain(|(dependency, _)| !dependency.task.is_empty());
        task.places.depends_on = found.iter().map(|(_, at)| *at).collect();
        task.depends_on = Some(found.into_iter().map(|(dependency, _)| dependency).collect());
    }

    fn dependency(
        &mut self,
        node: &Node,
        path: Path<'_>,
        found: &mut Vec<(Dependency, crate::text::tree::Pos)>,
    ) {
        let (mut task, mut at) = (String::new(), node.at);
        let mut label = Label::default();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "task" | "id" => (task, at) = (self.word(value, here), value.at),
                _ if self.label_key(&mut label, &key.text, value, here) => {}
                _ => self.unknown_key(key, path, DEPENDENCY_KEYS),
            }
        }
        if task.is_empty() {
            let message = format!("`{path}` names no task");
            self.report.error("missing-key", node.at, path, message).remedy("add `task: …`");
        }
        found.extend(
            self.edges_of(label, node, path)
                .into_iter()
                .map(|edge| (Dependency { task: task.clone(), edge }, at)),
        );
    }

    /// `case`, `on` and `classes` of an edge. False when the key is another.
    pub(crate) fn label_key(&mut self, label: &mut Label, key: &str, value: &Node, path: Path<'_>) -> bool {
        match Plain::of(key).as_str() {
            "case" | "cases" => label.cases = self.texts(value, path),
            "classes" => label.classes = self.failure_classes(value, path),
            "on" => {
                let known = [("done", On::Done), ("failed", On::Failed), ("ended", On::Ended)];
                label.on = self.choice(value, path, &known);
            }
            _ => return false,
        }
        true
    }

    pub(crate) fn edges_of(&mut self, label: Label, node: &Node, path: Path<'_>) -> Vec<Edge> {
        let on = label.on.unwrap_or(if label.classes.is_empty() { On::Done } else { On::Failed });
        if !label.cases.is_empty() {
            if label.on.is_some() || !label.classes.is_empty() {
                let message = "an edge is taken by a case or by how the task ended, not by both";
                self.bad_value(node.at, path, message, "keep `case`, or `on` and `classes`");
            }
            return label.cases.into_iter().map(Edge::Case).collect();
        }
        vec![match on {
            On::Failed => Edge::Failed(label.classes),
            On::Done | On::Ended if !label.classes.is_empty() => {
                let message = "classes are those of a failure";
                self.bad_value(node.at, path, message, "write `on: failed`, or remove `classes`");
                Edge::Done
            }
            On::Done => Edge::Done,
            On::Ended => Edge::Ended,
        }]
    }

    /// `join: all | any | best_effort | {quorum: n}`.
    pub(crate) fn join(&mut self, node: &Node, path: Path<'_>) -> Option<Join> {
        match &node.data {
            Data::Number(..) => self.count(node, path, 1).map(Join::Quorum),
            Data::Map(_) => {
                let mut join = None;
                for (key, value) in self.entries(node, path) {
                    let here = Path::Key(&path, &key.text);
                    match Plain::of(&key.text).as_str() {
                        "quorum" => join = self.count(value, here, 1).map(Join::Quorum),
                        _ => self.unknown_key(key, path, &["quorum"]),
                    }
                }
                join
            }
            _ => {
                let known = [("all", Join::All), ("any", Join::Any), ("best_effort", Join::BestEffort)];
                self.choice(node, path, &known)
            }
        }
    }

    /// `rest: keep | cancel`.
    pub(crate) fn rest(&mut self, node: &Node, path: Path<'_>) -> Option<Rest> {
        self.choice(node, path, &[("keep", Rest::Keep), ("cancel", Rest::Cancel)])
    }

    /// `on_error`: what answers failures, class by class; the first entry that fits.
    pub(crate) fn on_error(&mut self, task: &mut Task, node: &Node, path: Path<'_>) {
        let mut left: Vec<FailureClass> = FailureClass::ALL.to_vec();
        match &node.data {
            Data::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    self.one_error(task, item, Path::Index(&path, n), &mut left);
                }
            }
            Data::Null => {}
            _ => self.one_error(task, node, path, &mut left),
        }
    }

    fn one_error(&mut self, task: &mut Task, node: &Node, path: Path<'_>, left: &mut Vec<FailureClass>) {
        if node.text().is_some() {
            let known = [("continue", 0), ("compensate", 1), ("fail", 2)];
            let answer = match self.choice(node, path, &known) {
                Some(0) => Answer::Value(serde_json::Value::Null),
                Some(1) => Answer::Compensate,
                _ => Answer::Fail,
            };
            return answered(task, these(&[], left), answer);
        }
        let (mut classes, mut answer) = (Vec::new(), None);
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            let found = match Plain::of(&key.text).as_str() {
                "classes" | "class" | "on" => {
                    classes = self.failure_classes(value, here);
                    continue;
                }
                "task" | "fallback" => Answer::Task(self.word(value, here), value.at),
                "value" => Answer::Value(self.template(value, here, Place::Caught, &mut task.places.reads)),
                "compensate" if self.bool(value, here) => Answer::Compensate,
                "fail" if self.bool(value, here) => Answer::Fail,
                "compensate" | "fail" => continue,
                _ => {
                    self.unknown_key(key, path, ON_ERROR_KEYS);
                    continue;
                }
            };
            if answer.replace(found).is_some() {
                let message = "a failure is answered in one way";
                self.bad_value(key.at, here, message, "keep one of task, value, compensate and fail");
            }
        }
        let Some(answer) = answer else {
            let message = format!("`{path}` does not say what happens");
            let remedy = "add `task: …`, `value: …`, `compensate: true` or `fail: true`";
            self.report.error("missing-key", node.at, path, message).remedy(remedy);
            return;
        };
        let all =
            left.is_empty() || (!classes.is_empty() && classes.iter().all(|class| !left.contains(class)));
        if all {
            let message = "an entry before this one answers these failures already";
            self.report
                .warning("unreachable-handler", node.at, path, message)
                .remedy("put the narrower classes first, or remove it");
        }
        let on = these(&classes, left);
        if !all {
            answered(task, on, answer);
        }
    }

    /// `loops` of a task's body.
    pub(crate) fn back_edges(&mut self, task: &mut Task, node: &Node, path: Path<'_>) {
        let loops = self.back_edges_of(node, path);
        if let Some(body) = &mut task.body {
            body.places.loops = loops;
        }
    }

    /// `loops: [{from, to, while | until, max}]`: edges that close a cycle, each a bounded loop.
    pub(crate) fn back_edges_of(&mut self, node: &Node, path: Path<'_>) -> Vec<BackEdge> {
        let mut loops = Vec::new();
        for (n, item) in self.items(node, path).iter().enumerate() {
            let here = Path::Index(&path, n);
            let (mut from, mut to, mut id) = (None, None, None);
            let mut turns = Turns::of_loop(item.at);
            for (key, value) in self.entries(item, here) {
                let at = Path::Key(&here, &key.text);
                match Plain::of(&key.text).as_str() {
                    "from" => from = Some(self.word(value, at)),
                    "to" => to = Some(self.word(value, at)),
                    "id" => id = Some(self.key("task id", value, at)),
                    _ if self.loop_key(&mut turns, key, value, at) => {}
                    _ => self.unknown_key(key, here, BACK_EDGE_KEYS),
                }
            }
            let (Some(from), Some(to)) = (from, to) else {
                let message = "an edge that closes a cycle has `from` and `to`";
                self.report.error("missing-key", item.at, here, message).remedy("add `from: …` and `to: …`");
                continue;
            };
            let mode = self.mode_of(&mut turns, here);
            let mut reads = turns.reads;
            reads.extend(turns.turn_reads);
            loops.push(BackEdge { from, to, id, mode, at: item.at, reads });
        }
        loops
    }
}

/// Labels of an edge while they are read.
#[derive(Default)]
pub(crate) struct Label {
    cases: Vec<String>,
    on: Option<On>,
    classes: Vec<FailureClass>,
}

#[derive(Clone, Copy)]
enum On {
    Done,
    Failed,
    Ended,
}

enum Answer {
    Value(serde_json::Value),
    Task(String, crate::text::tree::Pos),
    Compensate,
    Fail,
}

/// The classes an entry answers: those it names and no entry before it does; none = every class.
fn these(named: &[FailureClass], left: &mut Vec<FailureClass>) -> Vec<FailureClass> {
    let whole = left.len() == FailureClass::ALL.len();
    let on: Vec<_> = match named {
        [] if whole => Vec::new(),
        [] => left.clone(),
        named => named.iter().copied().filter(|class| left.contains(class)).collect(),
    };
    match named {
        [] => left.clear(),
        named => left.retain(|class| !named.contains(class)),
    }
    on
}

fn answered(task: &mut Task, on: Vec<FailureClass>, answer: Answer) {
    match answer {
        Answer::Value(value) => task.plan.catch.push(Catch { on, value }),
        Answer::Task(name, at) if !name.is_empty() => task.extra().fallbacks.push((on, name, at)),
        Answer::Compensate => {
            let classes = if on.is_empty() { FailureClass::ALL.to_vec() } else { on };
            task.extra().compensates.extend(classes);
        }
        Answer::Task(..) | Answer::Fail => {}
    }
}
