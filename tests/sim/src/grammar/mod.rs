//! Random definitions from the whole language, as text. What they say fits together, so that the compiler accepts each.

mod dialects;
mod expressions;
mod nodes;
mod patterns;

use serde_json::{Map, Value, json};

use crate::Rng;

pub use patterns::PATTERNS;

/// Deepest nesting of tasks.
const DEPTH_MAX: u32 = 2;

/// A random definition, and what it may be changed to while it runs.
pub struct Text {
    /// The definition, in JSON.
    pub source: String,
    /// The same with something changed.
    pub others: Vec<String>,
    /// What its sub-workflows run.
    pub subs: Vec<String>,
}

impl Text {
    /// The definition of a seed, with up to `size` tasks at its top.
    pub fn new(seed: u64, size: usize) -> Self {
        let mut rng = Rng::new(seed ^ 0x7e57_ab1e);
        let parent = rng.one_in(4);
        let mut grammar = Grammar { rng, ids: 0, parent };
        let whole = grammar.definition(size);
        let others = (0..2).filter_map(|_| grammar.changed(&whole)).map(|other| other.to_string()).collect();
        let subs = (0..2).map(|_| grammar.definition(1 + size / 2).to_string()).collect();
        Self { source: whole.to_string(), others, subs }
    }
}

/// A task that stands in the same body, as far as later ones have to know it.
struct Known {
    id: String,
    /// Names of the cases, of a switch.
    cases: Vec<String>,
}

/// Where a task stands.
#[derive(Clone, Copy, Default)]
struct Place {
    depth: u32,
    in_items: bool,
    in_loop: bool,
    in_scope: bool,
    /// Whether each task follows the one before it.
    sequence: bool,
    /// Whether all tasks run at once.
    spread: bool,
    /// Whether the body itself runs once per item.
    per_item: bool,
}

struct Grammar {
    rng: Rng,
    ids: u32,
    /// Whether many tasks are sub-workflows.
    parent: bool,
}

/// An object of some members.
fn object(members: Value) -> Map<String, Value> {
    match members {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

impl Grammar {
    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.rng.below(all.len() as u64) as usize]
    }

    fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}{}", self.ids)
    }

    fn millis(&mut self, most: u64) -> String {
        format!("{}ms", 1 + self.rng.below(most))
    }

    fn definition(&mut self, size: usize) -> Value {
        match self.rng.below(14) {
            0 => self.chain(size),
            1 => self.graph(size),
            2 => self.stages(size),
            3 => self.steps(size),
            4 => json!({"workflow": self.canonical(size)}),
            _ => self.canonical(size),
        }
    }

    fn canonical(&mut self, size: usize) -> Value {
        let mut whole = object(json!({"name": "sim", "version": "1"}));
        whole.insert(
            "agents".into(),
            json!({"ann": {"capabilities": ["x"]}, "bob": {"count": 2}, "carol": {}, "lead": {}}),
        );
        let mut place = Place::default();
        if self.rng.one_in(10) {
            let (name, with) = self.pattern();
            whole.insert("orchestration_pattern".into(), json!(name));
            whole.insert("with".into(), with);
        } else {
            self.shape(&mut whole, &mut place, true);
        }
        let (tasks, known) = self.tasks(size, place);
        let plain = !whole.contains_key("type") && !whole.contains_key("orchestration_pattern");
        let target = tasks.as_array().into_iter().flatten().find(|t| t.get("join").is_none());
        if let Some(target) = target.filter(|_| plain && self.rng.one_in(8)) {
            whole.insert("type".into(), json!("conditional"));
            whole.insert("switch".into(), json!({"cases": [{"when": "input.flag", "then": target["id"]}]}));
        }
        let waits = self.event_driven(&tasks, place);
        whole.insert("tasks".into(), tasks);
        whole.insert("coordination".into(), json!({"type": "hybrid", "event_driven": waits}));
        self.options(&mut whole, &known, place);
        Value::Object(whole)
    }

    /// A type and its keys, for a definition or a task with tasks.
    fn shape(&mut self, whole: &mut Map<String, Value>, place: &mut Place, top: bool) {
        let kind = match self.rng.below(12) {
            0 => "sequential",
            1 => "parallel",
            2 => "fanout",
            3 => "pipeline",
            4 => "scatter-gather",
            5 => "loop",
            6 if top => "event-driven",
            7 => "dag",
            _ => return,
        };
        whole.insert("type".into(), json!(kind));
        match kind {
            "sequential" => place.sequence = true,
            "pipeline" => {
                place.sequence = true;
                if !self.rng.one_in(3) {
                    (place.in_items, place.in_scope, place.per_item) = (true, true, true);
                    whole.insert("items".into(), json!("input.list"));
                    self.maybe(whole, 2, "buffer", |g| json!(1 + g.rng.below(2)));
                    self.maybe(whole, 2, "ordered", |_| json!(true));
                }
            }
            "scatter-gather" => {
                place.spread = true;
                if self.rng.one_in(2) {
                    (place.in_items, place.in_scope, place.per_item) = (true, true, true);
                    whole.insert("items".into(), json!([1, 2, 3]));
                    self.maybe(whole, 2, "buffer", |g| json!(1 + g.rng.below(2)));
                }
                match (self.rng.one_in(2), top) {
                    (true, true) => drop(whole.insert("partial".into(), json!(true))),
                    (true, false) => drop(whole.insert("gather".into(), json!({"partial": true}))),
                    _ => {}
                }
            }
            "loop" => {
                (place.in_loop, place.in_scope, place.sequence) = (true, true, true);
                whole.insert("loop".into(), self.turns());
            }
            "event-driven" => {
                let triggers = json!([{"event": "news", "filter": "event.payload.n > 3", "input": "${ event.payload }"}, {"every": "5m"}]);
                whole.insert("triggers".into(), triggers);
            }
            _ => {}
        }
    }

    /// Puts `key` in, one time in `n`.
    fn maybe(
        &mut self,
        into: &mut Map<String, Value>,
        n: u64,
        key: &str,
        make: impl FnOnce(&mut Self) -> Value,
    ) {
        if self.rng.one_in(n) {
            let value = make(self);
            into.insert(key.into(), value);
        }
    }

    /// The keys of a loop.
    fn turns(&mut self) -> Value {
        let mut keys = object(json!({"max": 1 + self.rng.below(4)}));
        self.maybe(&mut keys, 3, "while", |_| json!("loop.index < 2"));
        self.maybe(&mut keys, 2, "until", |g| {
            json!(g.one_of(&[
                "loop.index > 0",
                "input.flag && loop.index >= 1",
                "has(vars.n) && vars.n == 2"
            ]))
        });
        self.maybe(&mut keys, 3, "exhausted", |g| json!(g.one_of(&["stop", "fail"])));
        self.maybe(&mut keys, 4, "delay", |g| json!(g.millis(3000)));
        self.maybe(&mut keys, 3, "history", |_| json!(true));
        self.maybe(&mut keys, 4, "gather", |_| json!(true));
        if self.rng.one_in(3) {
            keys.insert("start".into(), json!(0));
            keys.insert("carry".into(), json!("${ loop.index + 1 }"));
        }
        Value::Object(keys)
    }

    /// Tasks that an event starts, beside the topics.
    fn event_driven(&mut self, tasks: &Value, place: Place) -> Value {
        let mut topics = vec![json!("news"), json!("data_updates")];
        let first = tasks[0]["id"].as_str().filter(|_| !place.in_scope && self.rng.one_in(8));
        topics.extend(first.map(|id| json!({id: "news"})));
        json!(topics)
    }

    fn options(&mut self, whole: &mut Map<String, Value>, known: &[Known], place: Place) {
        self.maybe(whole, 2, "vars", |_| json!({"n": 1}));
        self.maybe(whole, 3, "retry", Self::retry);
        self.maybe(whole, 5, "timeout", |g| json!(g.millis(90_000)));
        self.maybe(whole, 4, "max_workers", |g| json!(1 + g.rng.below(3)));
        self.maybe(whole, 6, "queue_size", |g| json!(1 + g.rng.below(4)));
        self.maybe(
            whole,
            5,
            "limits",
            |g| json!({"max_retries": g.rng.below(4), "allowed_failures": g.rng.below(3)}),
        );
        self.maybe(
            whole,
            5,
            "budget",
            |g| json!({"calls": 1 + g.rng.below(9), "tokens": 20 + g.rng.below(60), "depth": 2}),
        );
        let any = whole["tasks"].to_string().contains("compensate\":true")
            || whole["tasks"].to_string().contains(":\"compensate\"");
        self.maybe(whole, 2, "saga", |g| g.saga(any));
        self.maybe(whole, 8, "session", |_| json!({"id": "'s' + string(size(input.list))", "history": 3}));
        if !whole.contains_key("budget") {
            // A workflow that may start itself says how deep.
            whole.insert("budget".into(), json!({"depth": 3}));
        }
        if place.in_scope || whole.contains_key("orchestration_pattern") {
            return;
        }
        let last = known.last().map(|k| k.id.clone()).filter(|_| self.rng.one_in(5));
        if let Some(id) = last {
            let output = if self.rng.one_in(2) {
                ("output", json!({"last": format!("${{ tasks.{id}.status }}"), "flag": "${ input.flag }"}))
            } else {
                ("output_tasks", json!([id]))
            };
            whole.insert(output.0.into(), output.1);
        }
    }

    /// `any`: a task asks for compensation whatever the class.
    fn saga(&mut self, any: bool) -> Value {
        let mut saga = object(json!({"on_failure": !self.rng.one_in(4), "on_cancel": self.rng.one_in(2)}));
        self.maybe(&mut saga, 5, "classes", |_| json!(["error", "rejected"]));
        if !any {
            self.maybe(&mut saga, 5, "not_classes", |_| json!(["auth"]));
        }
        self.maybe(&mut saga, 4, "timeout", |g| json!(g.millis(9000)));
        self.maybe(&mut saga, 2, "retry", Self::retry);
        Value::Object(saga)
    }

    fn retry(&mut self) -> Value {
        match self.rng.below(5) {
            0 => json!("none"),
            1 => json!(self.one_of(&["exponential_backoff", "linear_backoff", "fixed"])),
            _ => {
                let mut retry = object(json!({
                    "max_attempts": 1 + self.rng.below(4), "backoff": self.one_of(&["exponential", "linear", "fixed"]),
                    "base_delay": self.millis(2000), "max_delay": "5s",
                }));
                self.maybe(&mut retry, 4, "retry_on", |_| json!(["error", "rejected", "timeout"]));
                self.maybe(&mut retry, 8, "retryable_errors", |_| json!(["broke"]));
                Value::Object(retry)
            }
        }
    }

    /// The definition with something changed; `None` when its dialect has no plain list of tasks.
    fn changed(&mut self, whole: &Value) -> Option<Value> {
        let mut whole = whole.clone();
        let tasks = whole.get_mut("tasks")?.as_array_mut()?;
        match self.rng.below(3) {
            0 => {
                let at = self.rng.below(tasks.len().max(1) as u64) as usize;
                let task = tasks.get_mut(at)?.as_object_mut()?;
                task.insert("name".into(), json!("Otherwise"));
            }
            1 => {
                let id = self.id("new");
                tasks.push(json!({"id": id, "agent": "ann", "depends_on": []}));
            }
            _ => {
                let id = self.id("new");
                tasks.push(json!({"id": id, "depends_on": [], "tasks": [{"id": "inner", "transform": 1}], "for_each": [1, 2]}));
            }
        }
        Some(whole)
    }
}
