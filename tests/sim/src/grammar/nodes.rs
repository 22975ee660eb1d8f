//! Tasks of every kind, and how they hang together.

use serde_json::{Map, Value, json};

use super::{DEPTH_MAX, Grammar, Known, Place, object};

impl Grammar {
    /// The tasks of one body.
    pub(super) fn tasks(&mut self, count: usize, place: Place) -> (Value, Vec<Known>) {
        let (mut tasks, mut known): (Vec<Map<String, Value>>, Vec<Known>) = (Vec::new(), Vec::new());
        for _ in 0..count.max(1) {
            let id = self.id("t");
            let mut task = object(json!({"id": id}));
            let (before, plain) = self.order(&mut task, &known, place);
            let kind = self.kind(&mut task, &before, place);
            self.joins(&mut task, plain, before.len(), place);
            self.maybe(&mut task, 6, "when", |g| json!(g.condition(&before, place)));
            self.maybe(&mut task, 6, "on_error", Self::catches);
            self.maybe(&mut task, 8, "optional", |_| json!(true));
            self.maybe(&mut task, 8, "priority", |g| json!(g.rng.below(3)));
            let compensates = !matches!(kind, "switch" | "fail" | "end");
            if compensates {
                self.maybe(&mut task, 3, "compensate", |g| g.undo(place));
            }
            known.push(Known { id, cases: cases(&task) });
            tasks.push(task);
        }
        self.forward(&mut tasks, place);
        lower_quorums(&mut tasks);
        (Value::Array(tasks.into_iter().map(Value::Object).collect()), known)
    }

    /// What a task waits for: the ids, and how many edges may be counted by a quorum.
    fn order(
        &mut self,
        task: &mut Map<String, Value>,
        known: &[Known],
        place: Place,
    ) -> (Vec<String>, usize) {
        if place.spread {
            return (Vec::new(), 0);
        }
        if place.sequence && !self.rng.one_in(6) {
            return (known.last().map(|k| k.id.clone()).into_iter().collect(), 0);
        }
        let (mut ids, mut edges, mut plain) = (Vec::new(), Vec::new(), 0);
        for other in known {
            if !self.rng.one_in(3) {
                continue;
            }
            ids.push(other.id.clone());
            let edge = match self.rng.below(8) {
                _ if !other.cases.is_empty() && !self.rng.one_in(3) => {
                    let at = self.rng.below(other.cases.len() as u64) as usize;
                    json!({"task": other.id, "case": other.cases[at]})
                }
                0 => json!({"task": other.id, "on": "failed"}),
                1 => json!({"task": other.id, "on": "failed", "classes": ["error", "timeout"]}),
                2 => json!({"task": other.id, "on": "ended"}),
                _ => json!(other.id),
            };
            plain += usize::from(edge.get("case").is_none());
            edges.push(edge);
        }
        if !edges.is_empty() || place.sequence {
            task.insert("depends_on".into(), json!(edges));
        }
        (ids, plain)
    }

    fn joins(&mut self, task: &mut Map<String, Value>, plain: usize, edges: usize, place: Place) {
        if plain == 0 || plain < edges || place.sequence {
            return;
        }
        let join = match self.rng.below(8) {
            0 | 1 => json!("any"),
            2 => json!({"quorum": 1 + self.rng.below(plain as u64)}),
            3 => json!("best_effort"),
            _ => return,
        };
        if join != json!("best_effort") {
            self.maybe(task, 2, "rest", |g| json!(g.one_of(&["cancel", "keep"])));
        }
        task.insert("join".into(), join);
    }

    /// Cases that lead to later tasks, and fallbacks that stand later.
    fn forward(&mut self, tasks: &mut [Map<String, Value>], place: Place) {
        let ids: Vec<String> = tasks.iter().map(|t| t["id"].as_str().unwrap().to_owned()).collect();
        for at in 0..tasks.len() {
            // Where a task follows the one before it, a second edge would only repeat that.
            let later: Vec<&String> = ids.iter().skip(at + 1).collect();
            let Some(target) = self.rng.pick(later.iter()).filter(|_| !place.sequence && !place.spread)
            else {
                continue;
            };
            let free = |tasks: &[Map<String, Value>]| {
                let target = tasks.iter().find(|t| t["id"] == ***target).unwrap();
                let named = target
                    .get("depends_on")
                    .is_some_and(|d| d.to_string().contains(&format!("\"{}\"", ids[at])));
                !named && target.get("join").is_none_or(|join| !join.is_object())
            };
            if !free(&*tasks) {
                continue;
            }
            if let Some(Value::Object(switch)) = tasks[at].get_mut("switch") {
                let case = switch["cases"][0].as_object_mut().unwrap();
                case.insert("then".into(), json!(target));
            } else if self.rng.one_in(8) && tasks[at].get("switch").is_none() {
                let answer = json!([{"classes": ["timeout", "rejected"], "task": target}]);
                tasks[at].insert("on_error".into(), answer);
            }
        }
    }

    fn catches(&mut self) -> Value {
        match self.rng.below(6) {
            0 => json!("continue"),
            1 => json!("fail"),
            2 => json!("compensate"),
            3 => {
                json!([{"classes": ["rejected", "error"], "value": {"caught": "${ error.class }"}}, {"classes": ["auth"], "fail": true}, {"value": null}])
            }
            4 => json!([{"classes": ["broken"], "compensate": true}, {"value": "${ error.message }"}]),
            _ => json!([{"classes": ["timeout", "unavailable", "definition"], "value": "${ error.class }"}]),
        }
    }

    fn undo(&mut self, place: Place) -> Value {
        match self.rng.below(5) {
            0 => json!("undo"),
            1 => json!({"transform": "${ output }"}),
            2 if place.depth == 0 => {
                json!({"workflow": "undo", "input": "${ output }"})
            }
            3 => {
                json!({"capability": "undo", "input": {"of": "${ output }"}, "retry": {"max_attempts": 2, "base_delay": "1s"}, "timeout": "8s"})
            }
            _ => json!({"agent": "bob", "instructions": "stop it", "retry": "none"}),
        }
    }

    /// Puts in what the task does; its kind.
    fn kind(&mut self, task: &mut Map<String, Value>, before: &[String], place: Place) -> &'static str {
        let kind = match self.rng.below(26) {
            _ if self.parent && self.rng.one_in(3) => "workflow",
            0 | 1 => "transform",
            2 | 3 => "switch",
            4 => "set",
            5 if self.rng.one_in(2) => "fail",
            6 if self.rng.one_in(5) => "end",
            7..10 => "wait",
            10 => "approval",
            11 => "emit",
            12 => "workflow",
            13..18 if place.depth < DEPTH_MAX => "tasks",
            18 if place.depth < DEPTH_MAX => "pattern",
            _ => "call",
        };
        match kind {
            "transform" => drop(task.insert(kind.into(), self.template(before, place))),
            "set" => drop(task.insert(kind.into(), json!({"n": 1 + self.rng.below(3), "seen": "${ size(input.list) }"}))),
            "switch" => drop(task.insert(kind.into(), self.switch(before, place))),
            "fail" => {
                let class = self.one_of(&["error", "rejected", "auth"]);
                task.insert(kind.into(), json!({"message": "no ${ execution.id }", "class": class}));
            }
            "end" => drop(task.insert(kind.into(), json!({"output": {"early": true}}))),
            "wait" => self.wait(task, place),
            "approval" => self.approval(task),
            "emit" => drop(task.insert(
                kind.into(),
                json!({"topic": "told", "type": "said", "payload": {"n": 9}, "key": "'k0'", "priority": "high"}),
            )),
            "workflow" => {
                let detached = self.rng.one_in(3);
                task.insert(kind.into(), json!({"name": "other", "version": "^1", "detached": detached}));
                task.insert("input".into(), self.template(before, place));
            }
            "tasks" => self.body(task, before, place),
            "pattern" => {
                let (name, with) = self.pattern();
                task.insert(kind.into(), json!({"name": name, "with": with}));
                task.insert("input".into(), self.template(before, place));
            }
            _ => self.call(task, before, place),
        }
        if kind == "workflow" {
            self.maybe(task, 4, "spend", |g| json!({"calls": 1 + g.rng.below(4)}));
        }
        if matches!(kind, "workflow" | "tasks" | "pattern") {
            self.maybe(task, 5, "timeout", |g| json!(g.millis(20_000)));
        }
        kind
    }

    fn switch(&mut self, before: &[String], place: Place) -> Value {
        let when = self.condition(before, place);
        let mut cases = vec![json!({"name": "yes", "when": when})];
        if self.rng.one_in(2) {
            cases.push(json!({"name": "maybe", "when": "size(input.list) > 2"}));
        }
        let mut switch = object(json!({"cases": cases}));
        self.maybe(&mut switch, 2, "otherwise", |_| json!("no"));
        self.maybe(&mut switch, 3, "many", |_| json!(true));
        Value::Object(switch)
    }

    fn wait(&mut self, task: &mut Map<String, Value>, place: Place) {
        let wait = match self.rng.below(8) {
            0 => json!(self.millis(5000)),
            1 => json!({"until": if place.in_items { "index" } else { "2" }}),
            2 | 3 => {
                let mut event = object(json!({"topic": "news"}));
                self.maybe(&mut event, 2, "filter", |_| json!("event.payload.n > 3"));
                self.maybe(&mut event, 2, "key", |_| json!("'k0'"));
                self.maybe(&mut event, 3, "count", |_| json!(2));
                json!({"event": event})
            }
            4 => json!({"signal": "go"}),
            5 => json!({"signal": {"name": "go", "schema": {}}}),
            6 => json!({"step": true}),
            _ => json!({"event": "news"}),
        };
        task.insert("wait".into(), wait);
        self.maybe(task, 3, "timeout", |g| json!(g.millis(9000)));
    }

    fn approval(&mut self, task: &mut Map<String, Value>) {
        let mut approval = object(json!({"title": "Go on with ${ size(input.list) }?"}));
        self.maybe(&mut approval, 2, "who", |_| json!(["ann", "bob"]));
        self.maybe(&mut approval, 2, "escalate", |_| json!([{"after": "500ms", "who": ["staff"]}]));
        self.maybe(&mut approval, 3, "timeout", |g| json!(g.millis(9000)));
        task.insert("approval".into(), Value::Object(approval));
    }

    fn body(&mut self, task: &mut Map<String, Value>, before: &[String], place: Place) {
        let mut inner = Place {
            depth: place.depth + 1,
            in_scope: true,
            sequence: false,
            spread: false,
            per_item: false,
            ..place
        };
        match self.rng.below(4) {
            0 => {
                task.insert("loop".into(), self.turns());
                inner.in_loop = true;
            }
            1 => {
                task.insert("for_each".into(), self.list(before));
                (inner.in_items, inner.per_item) = (true, true);
                self.maybe(task, 2, "max_parallel", |g| json!(1 + g.rng.below(2)));
                self.maybe(task, 3, "ordered", |_| json!(true));
                self.maybe(task, 2, "gather", Self::gather);
            }
            2 => self.shape(task, &mut inner, false),
            _ => {}
        }
        let count = 1 + self.rng.below(3) as usize;
        let (tasks, known) = self.tasks(count, inner);
        task.insert("tasks".into(), tasks);
        self.maybe(task, 2, "input", |g| g.template(before, place));
        if !inner.spread && task.get("type").is_none_or(|t| t != "pipeline") {
            let last = known.last().map(|k| k.id.clone()).unwrap_or_default();
            self.maybe(task, 3, "output", |_| json!({"last": format!("${{ tasks.{last}.status }}")}));
        }
    }

    fn gather(&mut self) -> Value {
        let join = match self.rng.below(4) {
            0 => json!("any"),
            1 => json!({"quorum": 2}),
            2 => json!("best_effort"),
            _ => json!("all"),
        };
        let mut gather = object(json!({"join": join}));
        if gather["join"] == "any" || gather["join"].is_object() {
            self.maybe(&mut gather, 2, "rest", |g| json!(g.one_of(&["cancel", "keep"])));
        }
        self.maybe(&mut gather, 2, "partial", |_| json!(true));
        Value::Object(gather)
    }

    fn call(&mut self, task: &mut Map<String, Value>, before: &[String], place: Place) {
        match self.rng.below(7) {
            0 => drop(task.insert("agent".into(), json!("bob"))),
            1 => drop(task.insert("role".into(), json!("carol"))),
            2 => drop(task.insert("agent_id".into(), json!("someone"))),
            3 => drop(task.insert("requirements".into(), json!(["x"]))),
            4 if !before.is_empty() => {
                let by = format!("tasks.{}.output.next", before[0]);
                task.insert("pick".into(), json!({"by": by, "among": ["ann", "bob", "carol"]}));
            }
            _ => drop(task.insert("capability".into(), json!("x"))),
        }
        match self.rng.below(8) {
            0 => {
                task.insert("for_each".into(), self.list(before));
                self.maybe(task, 2, "max_parallel", |g| json!(1 + g.rng.below(3)));
                self.maybe(task, 3, "gather", Self::gather);
            }
            1 => {
                task.insert("parallel".into(), json!(true));
                task.insert("count".into(), json!(1 + self.rng.below(3)));
            }
            2 => drop(task.insert("loop".into(), self.turns())),
            _ => {}
        }
        match self.rng.below(3) {
            0 => drop(task.insert("input".into(), self.template(before, place))),
            1 => drop(
                task.insert("input_from".into(), json!(self.one_of(&["context", "execution", "previous"]))),
            ),
            _ => {}
        }
        self.maybe(task, 2, "retry", Self::retry);
        self.maybe(task, 4, "timeout", |g| json!(g.millis(8000)));
        self.maybe(
            task,
            5,
            "timeouts",
            |g| json!({"queue": g.millis(9000), "total": format!("{}ms", 9000 + g.rng.below(20_000))}),
        );
        self.maybe(task, 3, "effect", |g| {
            json!(g.one_of(&["pure", "idempotent", "compensatable", "irreversible"]))
        });
        self.maybe(task, 4, "spend", |g| json!({"tokens": 1 + g.rng.below(20)}));
        self.maybe(task, 8, "cache", |_| json!(true));
        self.maybe(task, 6, "expected_duration", |g| json!(g.millis(5000)));
        if place.per_item {
            self.maybe(task, 3, "concurrency", |g| json!(1 + g.rng.below(2)));
        }
    }
}

/// A switch takes one case, so of the tasks behind its cases fewer may end than a quorum further on asks for, which is
/// refused: beside a switch a quorum asks for one.
fn lower_quorums(tasks: &mut [Map<String, Value>]) {
    if !tasks.iter().any(|task| task.contains_key("switch")) {
        return;
    }
    for join in tasks.iter_mut().filter_map(|task| task.get_mut("join")) {
        if let Some(quorum) = join.get_mut("quorum") {
            *quorum = json!(1);
        }
    }
}

/// The names of the cases, of a switch.
fn cases(task: &Map<String, Value>) -> Vec<String> {
    let Some(switch) = task.get("switch") else { return Vec::new() };
    let cases = switch["cases"].as_array().into_iter().flatten();
    cases.filter_map(|c| c["name"].as_str()).chain(switch["otherwise"].as_str()).map(str::to_owned).collect()
}
