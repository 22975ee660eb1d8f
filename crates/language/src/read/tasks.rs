//! One task, in the spelling of any dialect: stage, step, task and node are the same thing.

use base::{AgentId, Effect};
use workflow::plan::{InputSpec, NodeKind, Scope, Spread, TaskPlan};

use crate::{
    definition::{Dialect, Extra, Place, Task, TaskPlaces},
    text::tree::{Data, Key, Node},
};

use super::{
    Reading,
    fields::{Path, Plain},
    turns::Turns,
};

/// Keys of a task, for messages and the schema of definitions.
pub(crate) const KEYS: &[&str] = &[
    "id",
    "name",
    "description",
    "instructions",
    "type",
    "agent",
    "agent_id",
    "role",
    "capability",
    "requirements",
    "tags",
    "pick",
    "depends_on",
    "join",
    "rest",
    "on_event",
    "when",
    "input",
    "input_from",
    "input_schema",
    "output",
    "output_schema",
    "for_each",
    "max_parallel",
    "parallel",
    "count",
    "retry",
    "retry_policy",
    "retries",
    "timeout",
    "timeouts",
    "effect",
    "priority",
    "expected_duration",
    "resources",
    "optional",
    "on_error",
    "compensate",
    "spend",
    "cache",
    "concurrency",
    "switch",
    "transform",
    "set",
    "emit",
    "wait",
    "approval",
    "workflow",
    "fail",
    "end",
    "pattern",
    "provider",
    "workflow_type",
    "task_queue",
    "chain",
    "graph",
    "tasks",
    "output_tasks",
    "loops",
    // Spellings of the dialects.
    "agentId",
    "capabilityId",
    "dependencies",
    "dependsOn",
];

/// Keys that say what a task does; it does one thing.
const NODES: &[&str] =
    &["switch", "transform", "set", "emit", "wait", "approval", "workflow", "fail", "end", "tasks"];

/// Keys that only a call to an agent understands, in their plain form.
const CALLS: &[&str] = &[
    "agent",
    "agentid",
    "role",
    "capability",
    "capabilityid",
    "requirements",
    "tags",
    "pick",
    "instructions",
    "outputschema",
    "parallel",
    "retry",
    "retrypolicy",
    "retries",
    "effect",
    "resources",
    "cache",
    "spend",
];

impl Reading<'_> {
    /// Reads a task. `named` is its id where that stands outside of it.
    pub(crate) fn task(
        &mut self,
        node: &Node,
        path: Path<'_>,
        named: Option<&Key>,
        dialect: Dialect,
    ) -> Task {
        let mut task = empty(node, dialect);
        if let Some(key) = named {
            task.plan.id = key.text.clone();
            (task.places.id, task.places.at) = (key.at, key.at);
            self.check_key("task id", &key.text, key.at, path);
        }
        if matches!(dialect, Dialect::Chain | Dialect::Graph) {
            if let Data::Text(text, _) = &node.data {
                task.plan.id.clone_from(text);
                self.check_key("task id", text, node.at, path);
                return task;
            }
            if named.is_some() && matches!(node.data, Data::Null) {
                return task;
            }
        }
        let entries = self.entries(node, path);
        let is_scope = entries.iter().any(|(key, _)| Plain::of(&key.text).as_str() == "tasks");
        if is_scope {
            task.body = Some(Box::default());
        }
        let mut turns = Turns::default();
        for (key, value) in entries {
            if !self.turn_key(&mut turns, key, value, path, is_scope) {
                self.task_key(&mut task, key, value, path, dialect);
            }
        }
        if task.plan.id.is_empty() {
            // A step or node may be known by its name alone.
            if matches!(dialect, Dialect::Chain | Dialect::Graph) && !task.plan.name.is_empty() {
                task.plan.id = task.plan.name.clone();
                let id = task.plan.id.clone();
                self.check_key("task id", &id, task.places.id, path);
            } else if matches!(node.data, Data::Map(_)) {
                let message = format!("`{path}` has no `id`");
                self.report.error("missing-key", node.at, path, message).remedy("add `id: …`");
            }
        }
        self.done_elsewhere(&mut task, entries, path);
        self.one_thing(&task, entries, path);
        if !matches!(task.plan.kind, NodeKind::Call) && task.plan.timeouts.total.is_none() {
            task.plan.timeouts.total = task.plan.timeouts.attempt.take();
        }
        self.in_turns(task, turns, path)
    }

    /// A task does one thing, and says nothing that this thing does not understand.
    fn one_thing(&mut self, task: &Task, entries: &[(Key, Node)], path: Path<'_>) {
        let mut doing: Option<&str> = None;
        for (key, _) in entries {
            let plain = Plain::of(&key.text);
            if NODES.contains(&plain.as_str())
                && let Some(first) = doing.replace(&key.text)
            {
                let message = format!("a task does one thing, and this one has `{first}` and `{}`", key.text);
                let here = Path::Key(&path, &key.text);
                self.bad_value(key.at, here, message, "make two tasks of it");
            }
        }
        let Some(doing) = doing.filter(|_| !matches!(task.plan.kind, NodeKind::Call)) else { return };
        let scope = task.body.is_some();
        for (key, _) in entries {
            let plain = Plain::of(&key.text);
            let spread = matches!(plain.as_str(), "foreach" | "maxparallel" | "count") && !scope;
            // A sub-workflow is lent it.
            let lent = plain.as_str() == "spend" && matches!(task.plan.kind, NodeKind::Child(_));
            if (CALLS.contains(&plain.as_str()) && !lent) || spread {
                let message = format!("`{}` is for calls to agents, and this task has `{doing}`", key.text);
                let here = Path::Key(&path, &key.text);
                self.report.error("not-for-node", key.at, here, message).remedy("remove it");
            }
        }
    }

    pub(super) fn task_key(
        &mut self,
        task: &mut Task,
        key: &Key,
        value: &Node,
        path: Path<'_>,
        dialect: Dialect,
    ) {
        let here = Path::Key(&path, &key.text);
        let plan = &mut task.plan;
        let places = &mut task.places;
        match Plain::of(&key.text).as_str() {
            "id" => {
                places.id = value.at;
                plan.id = self.key("task id", value, here);
            }
            "name" => {
                if places.id == places.at {
                    places.id = value.at;
                }
                plan.name = self.text(value, here);
            }
            "instructions" => plan.instructions = self.text(value, here),
            "description" if plan.instructions.is_empty() => plan.instructions = self.text(value, here),
            "description" => {}
            "type" => match &mut task.body {
                Some(body) => body.shape = self.shape(value, here).unwrap_or_default(),
                None => task.kind = Some(self.text(value, here)),
            },
            "agent" => {
                places.agent = value.at;
                task.agent = Some(self.word(value, here)).filter(|text| !text.is_empty());
            }
            "role" => {
                places.agent = value.at;
                plan.need.role = Some(self.key("role", value, here)).filter(|text| !text.is_empty());
            }
            "agentid" => {
                places.agent = value.at;
                let text = self.key("agent id", value, here);
                plan.need.agent = AgentId::new(text).ok();
            }
            "capability" | "capabilityid" => {
                plan.need.capability = Some(self.word(value, here)).filter(|text| !text.is_empty());
            }
            "requirements" => plan.need.requirements = self.texts(value, here),
            "tags" => plan.need.tags = self.texts(value, here),
            "dependson" | "dependencies" => self.depends_on(task, value, here),
            "join" => {
                places.join = value.at;
                plan.join = self.join(value, here).unwrap_or_default();
            }
            "rest" => plan.rest = self.rest(value, here).unwrap_or_default(),
            "onevent" => {
                let topic = self.text(value, here);
                task.on_event = Some(topic).filter(|topic| !topic.is_empty());
            }
            "onerror" => self.on_error(task, value, here),
            "compensate" => self.compensate(task, value, here, dialect),
            "pick" | "route" => self.pick(task, value, here, dialect),
            "spend" => {
                places.spend = value.at;
                plan.spend = self.spend(value, here);
            }
            "cache" => plan.cache = self.cache(value, here),
            "concurrency" => plan.width = self.count(value, here, 1),
            "switch" => self.switch(task, key, value, here),
            "transform" => self.transform(task, key, value, here),
            "set" => self.set(task, key, value, here),
            "emit" => self.emit(task, key, value, here),
            "wait" => self.wait(task, key, value, here),
            "approval" => self.approval_task(task, key, value, here),
            "workflow" => self.child(task, key, value, here),
            "fail" => self.fail(task, key, value, here),
            "end" => self.end(task, key, value, here),
            "tasks" => self.inner_tasks(task, key, value, here, dialect),
            "loops" if task.body.is_some() => self.back_edges(task, value, here),
            "outputtasks" if task.body.is_some() => self.scope_outputs(task, value, here),
            "output" if task.body.is_some() => self.scope_output(task, value, here),
            "when" => {
                places.when = value.at;
                plan.when = self.expression(value, here, Place::When, &mut places.reads);
            }
            "input" if dialect == Dialect::Stages => self.stage_input(task, value, here),
            "input" => {
                places.input = value.at;
                plan.input = InputSpec::Template(self.template(value, here, Place::Input, &mut places.reads));
            }
            "inputfrom" => {
                let known = [
                    ("context", InputSource::Context),
                    ("execution", InputSource::External),
                    ("previous", InputSource::Previous),
                ];
                if let Some(source) = self.choice(value, here, &known) {
                    plan.input = source.spec();
                }
            }
            "inputschema" => {
                places.input_schema = value.at;
                plan.input_schema = self.schema(value, here);
            }
            "output" => self.task_output(task, value, here),
            "outputschema" => {
                places.output_schema = value.at;
                plan.output_schema = self.schema(value, here);
            }
            "foreach" => self.for_each(task, value, here),
            "maxparallel" => {
                places.spread = key.at;
                task.count = self.count(value, here, 1);
            }
            "parallel" => {
                places.spread = key.at;
                task.parallel = self.bool(value, here);
            }
            "count" => {
                places.spread = key.at;
                task.count = self.count(value, here, 1);
            }
            "retry" | "retrypolicy" => plan.retry = self.retry(value, here),
            "retries" => plan.retry = self.retries(value, here),
            "timeout" => plan.timeouts.attempt = self.duration(value, here),
            "timeouts" => self.timeouts(value, here, &mut plan.timeouts),
            "effect" => {
                let known = [
                    ("pure", Effect::Pure),
                    ("idempotent", Effect::Idempotent),
                    ("compensatable", Effect::Compensatable),
                    ("irreversible", Effect::Irreversible),
                ];
                plan.effect = self.choice(value, here, &known);
            }
            "priority" => plan.priority = self.integer(value, here),
            "expectedduration" => plan.expected = self.duration(value, here),
            "resources" => {
                places.resources = value.at;
                plan.resources = self.resources(value, here);
            }
            "optional" => plan.optional = self.bool(value, here),
            // Expanded before; what is left of it was reported there.
            "pattern" => {}
            _ => {
                let mut said = task.extra.as_mut().and_then(|extra| extra.elsewhere.take());
                if !self.elsewhere_key(&mut said, key, value, here) {
                    self.unknown_key(key, path, KEYS);
                }
                if said.is_some() {
                    task.extra.get_or_insert_default().elsewhere = said;
                }
            }
        }
    }

    /// `for_each: expression`, or a list as it is.
    fn for_each(&mut self, task: &mut Task, value: &Node, path: Path<'_>) {
        task.places.spread = value.at;
        if let Some(list) = self.list_of(value, path, Place::ForEach, &mut task.places.reads) {
            task.plan.spread = Spread::ForEach { list, width: None };
        }
    }

    /// `input: {type, schema, value}` of S0.
    fn stage_input(&mut self, task: &mut Task, node: &Node, path: Path<'_>) {
        task.places.input = node.at;
        let mut source = None;
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "type" => {
                    let known = [
                        ("from_external", InputSource::External),
                        ("from_previous", InputSource::Previous),
                        ("from_stage", InputSource::Previous),
                        ("from_previous_stage", InputSource::Previous),
                        ("constant", InputSource::Constant),
                    ];
                    source = self.choice(value, here, &known);
                }
                "schema" => {
                    task.places.input_schema = value.at;
                    task.plan.input_schema = self.schema(value, here);
                }
                "value" => {
                    let value = self.template(value, here, Place::Input, &mut task.places.reads);
                    task.plan.input = InputSpec::Template(value);
                    source = source.or(Some(InputSource::Constant));
                }
                _ => self.unknown_key(key, path, &["type", "schema", "value"]),
            }
        }
        match source {
            Some(InputSource::Constant) if !matches!(task.plan.input, InputSpec::Template(_)) => {
                let message = "an input of type `constant` has a `value`";
                self.report.error("missing-key", node.at, path, message).remedy("add `value: …`");
            }
            Some(InputSource::Constant) | None => {}
            Some(source) => task.plan.input = source.spec(),
        }
    }

    /// `output: {type, schema}`.
    fn task_output(&mut self, task: &mut Task, node: &Node, path: Path<'_>) {
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "type" => {
                    let text = self.text(value, here);
                    if !matches!(text.as_str(), "data" | "") {
                        self.no_effect(key, here, "every output is data");
                    }
                }
                "schema" => {
                    task.places.output_schema = value.at;
                    task.plan.output_schema = self.schema(value, here);
                }
                _ => self.unknown_key(key, path, &["type", "schema"]),
            }
        }
    }
}

#[derive(Clone, Copy)]
enum InputSource {
    Context,
    External,
    Previous,
    Constant,
}

impl InputSource {
    /// A constant is set from its value.
    fn spec(self) -> InputSpec {
        match self {
            Self::External => InputSpec::Execution,
            Self::Previous => InputSpec::Previous,
            Self::Context | Self::Constant => InputSpec::Context,
        }
    }
}

/// A task that says nothing.
pub(super) fn empty(node: &Node, dialect: Dialect) -> Task {
    let input = match dialect {
        Dialect::Chain | Dialect::Graph => InputSpec::Previous,
        _ => InputSpec::Context,
    };
    let plan = TaskPlan { input, ..TaskPlan::default() };
    let places = TaskPlaces { at: node.at, id: node.at, agent: node.at, ..TaskPlaces::default() };
    Task {
        plan,
        depends_on: None,
        kind: None,
        agent: None,
        parallel: false,
        count: None,
        body: None,
        compensate: None,
        on_event: None,
        extra: None,
        places,
    }
}

impl Task {
    /// What only few tasks say.
    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_with(Box::default)
    }
    /// A scope without tasks, made by the compiler.
    pub(crate) fn scope(id: String, at: crate::text::tree::Pos) -> Self {
        let node = Node { at, data: Data::Null };
        let mut task = empty(&node, Dialect::Canonical);
        task.plan.id = id;
        task.plan.kind = NodeKind::Scope(Box::new(Scope {
            tasks: Vec::new(),
            output: Default::default(),
            mode: Default::default(),
        }));
        task.body = Some(Box::default());
        task
    }
}
