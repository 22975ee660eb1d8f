//! Tasks that hold tasks: how often their body runs, and what it gives.

use std::time::Duration;

use serde_json::Value;
use workflow::plan::{Exhausted, Join, NodeKind, OutputSpec, Rest, Scope, ScopeMode, Spread, TURNS_MAX};

use crate::{
    definition::{Body, BodyPlaces, Dialect, Nesting, Place, Read, Shape, Task},
    shape,
    text::tree::{Data, Key, Node, Pos},
};

use super::{
    Reading,
    fields::{Path, Plain},
};

/// Keys of `loop`.
pub(crate) const LOOP_KEYS: &[&str] =
    &["while", "until", "max", "exhausted", "delay", "start", "carry", "history", "gather"];
/// Keys of `gather` for the turns of a list.
pub(crate) const GATHER_KEYS: &[&str] = &["join", "rest", "partial"];
/// Keys beside `tasks` that say how often they run.
pub(crate) const TURN_KEYS: &[&str] =
    &["loop", "while", "until", "max", "for_each", "items", "max_parallel", "buffer", "ordered", "gather"];

/// How often a body runs, as it is read.
#[derive(Default)]
pub(crate) struct Turns {
    pub(crate) at: Pos,
    /// Turn after turn.
    pub(crate) looped: bool,
    /// What ends it or bounds it was said.
    while_: Option<String>,
    until: Option<String>,
    max: Option<u32>,
    exhausted: Exhausted,
    delay: Option<Duration>,
    start: Option<Value>,
    carry: Option<Value>,
    history: bool,
    list_all: bool,
    pub(crate) list: Option<String>,
    pub(crate) width: Option<u32>,
    ordered: bool,
    gathered: bool,
    join: Join,
    rest: Rest,
    partial: bool,
    /// Reads that see what is around the body.
    pub(crate) reads: Vec<Read>,
    /// Reads that see the tasks of a turn.
    pub(crate) turn_reads: Vec<Read>,
}

impl Turns {
    /// Of an edge that closes a cycle.
    pub(crate) fn of_loop(at: Pos) -> Self {
        Self { at, looped: true, ..Self::default() }
    }
    /// Whether the keys ask for a scope where there is a single call.
    fn wraps_a_call(&self) -> bool {
        self.looped || self.gathered
    }
    /// How branches are gathered.
    pub(crate) fn branches(&self) -> shape::Gather {
        shape::Gather { join: self.join, rest: self.rest, partial: self.partial }
    }
    /// Whether anything was said.
    pub(crate) fn said(&self) -> bool {
        self.looped || self.gathered || self.list.is_some()
    }
}

impl Reading<'_> {
    /// Reads a key that says how often a task's work is done. `scope`: the task has tasks of its own. False when the key
    /// is another.
    pub(super) fn turn_key(
        &mut self,
        turns: &mut Turns,
        key: &Key,
        value: &Node,
        path: Path<'_>,
        scope: bool,
    ) -> bool {
        let here = Path::Key(&path, &key.text);
        match Plain::of(&key.text).as_str() {
            "loop" => {
                turns.looped = true;
                turns.at = value.at;
                for (key, value) in self.entries(value, here) {
                    let at = Path::Key(&here, &key.text);
                    if !self.loop_key(turns, key, value, at) {
                        self.unknown_key(key, here, LOOP_KEYS);
                    }
                }
            }
            "while" | "until" | "max" | "maxiterations" => {
                turns.looped = true;
                turns.at = key.at;
                self.loop_key(turns, key, value, here);
            }
            "gather" => self.gather(turns, value, here),
            "foreach" | "items" if scope => {
                turns.at = value.at;
                turns.list = self.list_of(value, here, Place::ForEach, &mut turns.reads);
            }
            "maxparallel" | "buffer" | "count" if scope => turns.width = self.count(value, here, 1),
            "ordered" if scope => turns.ordered = self.bool(value, here),
            _ => return false,
        }
        true
    }

    /// A key of `loop`. False when it is another.
    pub(super) fn loop_key(&mut self, turns: &mut Turns, key: &Key, value: &Node, here: Path<'_>) -> bool {
        match Plain::of(&key.text).as_str() {
            "while" => turns.while_ = self.expression(value, here, Place::While, &mut turns.reads),
            "until" => {
                turns.until = self.expression(value, here, Place::Turn("loop.until"), &mut turns.turn_reads);
            }
            "max" | "maxiterations" | "maxturns" => {
                turns.max = self.count(value, here, 1);
                if turns.max.is_some_and(|max| max > TURNS_MAX) {
                    let message = format!("a loop makes at most {TURNS_MAX} turns");
                    self.bad_value(value.at, here, message, format!("write {TURNS_MAX} or less"));
                }
            }
            "exhausted" | "onexhausted" => {
                let known = [("fail", Exhausted::Fail), ("stop", Exhausted::Stop)];
                turns.exhausted = self.choice(value, here, &known).unwrap_or_default();
            }
            "delay" => turns.delay = self.duration(value, here),
            "start" => {
                let place = Place::Node("loop.start");
                turns.start = Some(self.template(value, here, place, &mut turns.reads));
            }
            "carry" => {
                let place = Place::Turn("loop.carry");
                turns.carry = Some(self.template(value, here, place, &mut turns.turn_reads));
            }
            "history" => turns.history = self.bool(value, here),
            "gather" => {
                turns.list_all = self.bool(value, here);
                turns.history |= turns.list_all;
            }
            _ => return false,
        }
        true
    }

    /// `gather: {join, rest, partial}`.
    pub(super) fn gather(&mut self, turns: &mut Turns, node: &Node, path: Path<'_>) {
        turns.gathered = true;
        turns.at = node.at;
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            if !self.gather_key(turns, key, value, here) {
                self.unknown_key(key, path, GATHER_KEYS);
            }
        }
    }

    pub(super) fn gather_key(&mut self, turns: &mut Turns, key: &Key, value: &Node, here: Path<'_>) -> bool {
        match Plain::of(&key.text).as_str() {
            "join" => turns.join = self.join(value, here).unwrap_or_default(),
            "rest" => turns.rest = self.rest(value, here).unwrap_or_default(),
            "partial" => turns.partial = self.bool(value, here),
            _ => return false,
        }
        turns.gathered = true;
        true
    }

    /// An expression that gives a list, or a list as it is.
    pub(super) fn list_of(
        &mut self,
        value: &Node,
        path: Path<'_>,
        place: Place,
        reads: &mut Vec<Read>,
    ) -> Option<String> {
        match &value.data {
            Data::List(items) => {
                if items.is_empty() {
                    let message = format!("`{path}` is an empty list: nothing runs");
                    self.report
                        .warning("empty-list", value.at, path, message)
                        .remedy("name what it goes over, or remove the task");
                }
                let text = value.value().to_string();
                let literal = Node { at: value.at, data: Data::Text(text, None) };
                self.expression(&literal, path, place, reads)
            }
            _ => self.expression(value, path, place, reads),
        }
    }

    /// The mode that the keys say. Errors are reported.
    pub(super) fn mode_of(&mut self, turns: &mut Turns, path: Path<'_>) -> ScopeMode {
        match (turns.looped, turns.list.take()) {
            (true, Some(_)) => {
                let message = "a loop and a list both say how often the tasks run";
                self.bad_value(turns.at, path, message, "keep one, or put one inside of the other");
                ScopeMode::Once
            }
            (true, None) => {
                let max = turns.max.unwrap_or_else(|| {
                    self.report
                        .error("unbounded-loop", turns.at, path, "the loop has no `max`")
                        .remedy("add `max: …`, the most turns it may make");
                    1
                });
                if turns.gathered {
                    let message = "`gather` joins the turns of a list, and this is a loop";
                    self.bad_value(
                        turns.at,
                        path,
                        message,
                        "write `loop: {gather: true}` for the list of all turns",
                    );
                }
                // Without a condition the turns are counted, and using them up is the end.
                let counted = turns.while_.is_none() && turns.until.is_none();
                let exhausted = if counted { Exhausted::Stop } else { turns.exhausted };
                ScopeMode::Loop {
                    while_: turns.while_.take(),
                    until: turns.until.take(),
                    max,
                    exhausted,
                    delay: turns.delay,
                    start: turns.start.take(),
                    carry: turns.carry.take(),
                    history: turns.history,
                    gather: turns.list_all,
                }
            }
            (false, Some(list)) => ScopeMode::ForEach {
                list,
                width: turns.width,
                ordered: turns.ordered,
                join: turns.join,
                rest: turns.rest,
                partial: turns.partial,
            },
            (false, None) => ScopeMode::Once,
        }
    }

    /// `tasks` inside of a task.
    pub(super) fn inner_tasks(
        &mut self,
        task: &mut Task,
        key: &Key,
        value: &Node,
        path: Path<'_>,
        dialect: Dialect,
    ) {
        task.places.node = key.at;
        let tasks = match &value.data {
            Data::Map(_) if dialect == Dialect::Graph => self.nodes(value, path),
            _ => self.task_list(value, path, dialect),
        };
        if tasks.is_empty() && !matches!(value.data, Data::Map(_)) {
            let message = format!("`{path}` is empty");
            self.report.error("bad-value", key.at, path, message).remedy("add a task");
        }
        let body = task.body.get_or_insert_with(Box::default);
        body.tasks = tasks;
        body.places.tasks = "tasks";
        body.places.at = key.at;
        if dialect == Dialect::Chain {
            body.shape = Shape::Sequential;
        }
        task.plan.kind = NodeKind::Scope(Box::new(Scope {
            tasks: Vec::new(),
            output: OutputSpec::Sinks,
            mode: ScopeMode::Once,
        }));
    }

    /// `output` of a task with tasks: a template over them.
    pub(super) fn scope_output(&mut self, task: &mut Task, value: &Node, path: Path<'_>) {
        let Some(body) = &mut task.body else { return };
        body.places.output = value.at;
        body.output = OutputSpec::Template(self.template(value, path, Place::Output, &mut body.places.reads));
    }

    pub(super) fn scope_outputs(&mut self, task: &mut Task, value: &Node, path: Path<'_>) {
        let names = self.texts_at(value, path);
        let Some(body) = &mut task.body else { return };
        body.places.outputs = names.iter().map(|(_, at)| *at).collect();
        body.output = OutputSpec::Tasks(names.into_iter().map(|(name, _)| name).collect());
    }

    /// Gives a scope its mode. A call that is repeated or gathered becomes a scope around that call.
    pub(super) fn in_turns(&mut self, mut task: Task, mut turns: Turns, path: Path<'_>) -> Task {
        if task.body.is_none() {
            if !turns.wraps_a_call() {
                return task;
            }
            if !matches!(task.plan.kind, NodeKind::Call) {
                let message = "only calls and tasks with tasks of their own are repeated";
                self.report
                    .error("not-for-node", turns.at, path, message)
                    .remedy("put it into `tasks: [ … ]`");
                return task;
            }
            if let Spread::ForEach { list, .. } = std::mem::take(&mut task.plan.spread) {
                turns.list = Some(list);
                turns.width = task.count.take();
            }
            task = wrap(task);
        }
        let shape = task.body.as_ref().map_or(Shape::Dag, |body| body.shape);
        self.shape_turns(shape, &mut turns);
        let partial_branches = turns.list.is_none() && !turns.looped && turns.gathered;
        if partial_branches && shape != Shape::ScatterGather {
            let message = "`gather` joins the turns of a list, and there is none";
            self.bad_value(
                turns.at,
                path,
                message,
                "add `for_each: …`, or `type: scatter-gather` for the tasks",
            );
        }
        let gather = turns.branches();
        let mode = self.mode_of(&mut turns, path);
        task.places.reads.append(&mut turns.reads);
        if let Some(body) = &mut task.body {
            body.places.reads.append(&mut turns.turn_reads);
            shape::arrange(body, &mode, gather);
        }
        if let NodeKind::Scope(scope) = &mut task.plan.kind {
            scope.mode = mode;
        }
        task
    }

    /// What a `type` says about turns that the keys do not.
    pub(super) fn shape_turns(&mut self, shape: Shape, turns: &mut Turns) {
        match shape {
            Shape::Loop if turns.list.is_some() && !turns.looped => {
                // An item after the other.
                turns.width = turns.width.or(Some(1));
                turns.ordered = true;
            }
            Shape::Loop => turns.looped = true,
            _ => {}
        }
    }
}

/// A scope around a single call, which keeps its id inside.
fn wrap(mut call: Task) -> Task {
    let mut outer = Task::scope(call.plan.id.clone(), call.places.at);
    let (plan, inner) = (&mut outer.plan, &mut call.plan);
    plan.name = inner.name.clone();
    plan.when = inner.when.take();
    plan.join = std::mem::take(&mut inner.join);
    plan.rest = std::mem::take(&mut inner.rest);
    plan.optional = std::mem::take(&mut inner.optional);
    plan.catch = std::mem::take(&mut inner.catch);
    plan.timeouts.total = inner.timeouts.total.take();
    plan.priority = inner.priority;
    plan.width = inner.width.take();
    outer.depends_on = call.depends_on.take();
    outer.on_event = call.on_event.take();
    if let Some(extra) = &mut call.extra {
        let of_outer = outer.extra();
        of_outer.fallbacks = std::mem::take(&mut extra.fallbacks);
        of_outer.compensates = std::mem::take(&mut extra.compensates);
    }
    outer.places.id = call.places.id;
    outer.places.depends_on = std::mem::take(&mut call.places.depends_on);
    outer.places.when = call.places.when;
    outer.places.join = call.places.join;
    outer.places.node = call.places.at;
    let outside = |read: &Read| matches!(read.place, Place::When | Place::ForEach | Place::Caught);
    (outer.places.reads, call.places.reads) = call.places.reads.drain(..).partition(outside);
    let places =
        BodyPlaces { at: call.places.at, tasks: "tasks", nesting: Nesting::Call, ..BodyPlaces::default() };
    outer.body = Some(Box::new(Body { tasks: vec![call], places, ..Body::default() }));
    outer
}
