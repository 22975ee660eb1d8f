//! The definition around its tasks, in every dialect: they differ in the name of the task list, the unit of bare
//! durations and a few keys.

use std::collections::BTreeMap;

use base::time::BareUnit;
use serde_json::Value;
use workflow::plan::{Limits, NodeKind, OutputSpec, RetryPolicy, Role, ScopeMode};

use crate::{
    definition::{Body, Definition, Dialect, Elsewhere, Place, Places, Shape, Task},
    shape,
    text::tree::{Data, Key, Node, Pos},
};

use super::{
    Reading,
    fields::{Path, Plain, slug},
    limits::lower,
    turns::Turns,
};

/// Keys around the tasks, for messages and the schema of definitions.
pub(crate) const KEYS: &[&str] = &[
    "id",
    "name",
    "version",
    "type",
    "orchestration_pattern",
    "pattern",
    "with",
    "description",
    "tags",
    "owner",
    "category",
    "agents",
    "roles",
    "input",
    "input_schema",
    "output",
    "output_tasks",
    "vars",
    "timeout",
    "retry",
    "retry_policy",
    "retries",
    "concurrency",
    "max_workers",
    "max_concurrency",
    "queue_size",
    "limits",
    "constraints",
    "budget",
    "resources",
    "dependencies",
    "loops",
    "switch",
    "loop",
    "while",
    "until",
    "max",
    "for_each",
    "items",
    "max_parallel",
    "buffer",
    "ordered",
    "gather",
    "join",
    "rest",
    "partial",
    "coordination",
    "triggers",
    "saga",
    "session",
    "memory",
    "fault_tolerance",
    "compliance",
    "provider",
    "workflow_type",
    "task_queue",
    "metadata",
];
/// Keys of a role.
pub(crate) const ROLE_KEYS: &[&str] = &["type", "capabilities", "count", "resources"];

/// The task list's key and what others call it.
fn list_key(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Canonical | Dialect::Workflow => "tasks",
        Dialect::Stages => "stages",
        Dialect::Steps | Dialect::Chain => "steps",
        Dialect::Graph => "nodes",
    }
}

/// What is only known when the whole is read.
#[derive(Default)]
struct Pending {
    id: Option<(String, Pos)>,
    name: Option<(String, Pos)>,
    /// Retry policy of tasks that have none.
    retry: Option<RetryPolicy>,
    output_keys: Option<(Vec<String>, Pos)>,
    finish: Option<Vec<(String, Pos)>>,
    has_tasks: bool,
    /// The list of tasks is there and empty.
    no_tasks: bool,
    /// How often the tasks run, for the types that say it.
    turns: Turns,
    /// The switch of the workflow itself; it joins the tasks after those of the text, which keep their numbers.
    switch: Option<Task>,
    /// Who runs the whole of it.
    elsewhere: Option<Box<Elsewhere>>,
}

/// Reads a definition.
pub(crate) fn read(reading: &mut Reading<'_>, node: &Node, dialect: Dialect) -> Option<Definition> {
    reading.bare = match dialect {
        Dialect::Stages | Dialect::Steps => BareUnit::Millis,
        _ => BareUnit::Seconds,
    };
    let mut def = Definition {
        dialect,
        name: String::new(),
        version: None,
        shape: if dialect == Dialect::Chain { Shape::Sequential } else { Shape::Dag },
        pattern: String::new(),
        roles: BTreeMap::new(),
        body: Body::default(),
        limits: Limits::default(),
        resources: Default::default(),
        input_schema: None,
        vars: None,
        saga: None,
        session: None,
        triggers: Vec::new(),
        metadata: BTreeMap::new(),
        later: BTreeMap::new(),
        places: Places { name: node.at, ..Places::default() },
    };
    def.body.places.tasks = list_key(dialect);
    def.body.places.at = node.at;
    let mut pending = Pending::default();
    for (key, value) in reading.entries(node, Path::Root) {
        reading.workflow_key(&mut def, &mut pending, key, value);
    }
    reading.close(&mut def, pending, node);
    Some(def)
}

impl Reading<'_> {
    fn workflow_key(&mut self, def: &mut Definition, pending: &mut Pending, key: &Key, value: &Node) {
        let root = Path::Root;
        let here = Path::Key(&root, &key.text);
        let links = matches!(def.dialect, Dialect::Chain | Dialect::Graph);
        let graph = def.dialect == Dialect::Graph;
        match Plain::of(&key.text).as_str() {
            "id" => pending.id = Some((self.word(value, here), value.at)),
            "name" => pending.name = Some((self.word(value, here), value.at)),
            "version" => def.version = Some(self.version(value, here)).filter(|v| !v.is_empty()),
            "type" => def.shape = self.shape(value, here).unwrap_or(def.shape),
            "orchestrationpattern" | "pattern" => def.pattern = self.text(value, here),
            name @ ("description" | "owner" | "category") => {
                let text = self.text(value, here);
                def.metadata.insert(name.to_owned(), text.into());
            }
            "tags" => {
                let tags = self.texts(value, here);
                def.metadata.insert("tags".into(), tags.into());
            }
            "metadata" => {
                let read = self.entries(value, here).iter().map(|(k, v)| (k.text.clone(), v.value()));
                def.metadata.extend(read);
            }
            "agents" | "roles" => self.roles(def, value, here),
            name if name == list_key(def.dialect) => {
                pending.has_tasks = true;
                pending.no_tasks = match &value.data {
                    Data::List(items) => items.is_empty(),
                    Data::Map(entries) => entries.is_empty(),
                    _ => matches!(value.data, Data::Null),
                };
                self.tasks(def, value, here);
            }
            "edges" if graph => self.edges(def, value, here),
            "entry" | "entrypoint" | "entrypoints" if graph => {
                def.body.places.entry = Some(self.points(value, here))
            }
            "finish" | "finishpoint" | "finishpoints" if graph => {
                pending.finish = Some(self.points(value, here))
            }
            "parallel" | "parallelexecution" if graph => {
                if !self.bool(value, here) {
                    def.limits.max_calls = Some(1);
                }
            }
            "inputkeys" if links => self.input_keys(def, value, here),
            "outputkeys" if links => pending.output_keys = Some((self.texts(value, here), value.at)),
            "inputschema" => {
                def.places.input_schema = value.at;
                def.input_schema = self.schema(value, here);
            }
            "input" => self.workflow_input(def, value, here),
            "output" => {
                def.body.places.output = value.at;
                let reads = &mut def.body.places.reads;
                def.body.output = OutputSpec::Template(self.template(value, here, Place::Output, reads));
            }
            "outputtasks" => pending.finish = Some(self.points(value, here)),
            "timeout" | "workflowtimeout" => def.limits.timeout = self.duration(value, here),
            "retry" | "retrypolicy" => pending.retry = self.retry(value, here),
            "retries" => pending.retry = self.retries(value, here),
            "concurrency" => def.limits.concurrency = self.count(value, here, 1),
            "maxworkers" | "maxconcurrency" => {
                lower(&mut def.limits.max_calls, self.count(value, here, 1));
            }
            "queuesize" => def.limits.queue_size = self.count(value, here, 1),
            "limits" | "constraints" => {
                def.places.limits = value.at;
                self.limits(def, value, here);
            }
            "resources" => self.workflow_resources(def, value, here),
            "dependencies" => self.workflow_dependencies(def, key, value, here),
            "budget" => self.budget(def, value, here),
            "vars" => self.vars(def, value, here),
            "saga" => self.saga(def, value, here),
            "session" => self.session(def, value, here, false),
            "memory" => self.session(def, value, here, true),
            "triggers" => self.triggers(def, value, here),
            "loops" => def.body.places.loops = self.back_edges_of(value, here),
            "switch" => {
                let mut task = Task::scope("switch".into(), key.at);
                task.body = None;
                task.depends_on = Some(Vec::new());
                self.switch(&mut task, key, value, here);
                pending.switch = Some(task);
            }
            "join" | "rest" | "partial" => {
                pending.turns.at = key.at;
                self.gather_key(&mut pending.turns, key, value, here);
            }
            "coordination" => self.coordination(def, value, here),
            "faulttolerance" => self.fault_tolerance(def, value, here),
            "compliance" => {
                self.no_effect(key, here, "no policy is checked");
                self.compliance(value, here, &mut def.later);
            }
            _ if self.turn_key(&mut pending.turns, key, value, root, true) => {}
            "provider" | "workflowtype" | "taskqueue" => {
                self.elsewhere_key(&mut pending.elsewhere, key, value, here);
            }
            _ => {
                let mut known: Vec<&str> = vec![list_key(def.dialect)];
                known.extend(KEYS);
                if graph {
                    known.extend(["edges", "entry", "finish", "parallel"]);
                }
                if links {
                    known.extend(["input_keys", "output_keys"]);
                }
                self.unknown_key(key, Path::Root, &known);
            }
        }
    }

    fn version(&mut self, node: &Node, path: Path<'_>) -> String {
        let text = self.word(node, path);
        self.check_key("version", &text, node.at, path);
        text
    }

    /// `type`, in any spelling.
    pub(super) fn shape(&mut self, node: &Node, path: Path<'_>) -> Option<Shape> {
        let text = self.text(node, path);
        let plain = Plain::of(&text);
        let found = Shape::ALL.iter().find(|shape| Plain::of(shape.as_str()).as_str() == plain.as_str());
        if found.is_none() && !text.is_empty() {
            let names: Vec<&str> = Shape::ALL.iter().map(|shape| shape.as_str()).collect();
            let remedy = match base::finding::nearest(&text, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("types are {}", names.join(", ")),
            };
            let message = format!("there is no type {text:?}");
            self.report.error("unsupported-pattern", node.at, path, message).remedy(remedy);
        }
        found.copied()
    }

    fn roles(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            self.check_key("role", &key.text, key.at, here);
            let role = self.role(value, here);
            def.places.roles.insert(key.text.clone(), key.at);
            def.roles.insert(key.text.clone(), role);
        }
    }

    fn role(&mut self, node: &Node, path: Path<'_>) -> Role {
        let mut role = Role::default();
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            match Plain::of(&key.text).as_str() {
                "type" => role.agent_type = self.text(value, here),
                "capabilities" => role.capabilities = self.texts(value, here),
                "count" => role.count = self.count(value, here, 1),
                "resources" => role.resources = self.resources(value, here),
                _ => self.unknown_key(key, path, ROLE_KEYS),
            }
        }
        role
    }

    fn tasks(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        let tasks = match def.dialect {
            Dialect::Graph => self.nodes(node, path),
            dialect => self.task_list(node, path, dialect),
        };
        def.body.tasks.extend(tasks);
    }

    /// A list of tasks, within the limit over all bodies.
    pub(super) fn task_list(&mut self, node: &Node, path: Path<'_>, dialect: Dialect) -> Vec<Task> {
        let items = self.items(node, path);
        let mut tasks = Vec::with_capacity(items.len().min(self.limits.tasks_max));
        for (n, item) in items.iter().enumerate() {
            if self.tasks >= self.limits.tasks_max {
                if self.tasks == self.limits.tasks_max {
                    let limit = self.limits.tasks_max;
                    let message = format!("the definition has more tasks than the limit of {limit}");
                    self.report.error("limit-tasks", item.at, path, message).remedy("split the definition");
                    self.tasks += 1;
                }
                break;
            }
            self.tasks += 1;
            tasks.push(self.task(item, Path::Index(&path, n), None, dialect));
        }
        tasks
    }

    /// `input: {schema}` of the workflow.
    fn workflow_input(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        for (key, value) in self.entries(node, path) {
            match Plain::of(&key.text).as_str() {
                "schema" => {
                    def.places.input_schema = value.at;
                    def.input_schema = self.schema(value, Path::Key(&path, &key.text));
                }
                _ => self.unknown_key(key, path, &["schema"]),
            }
        }
    }

    /// `dependencies` of S0: order between stages as `{from, to}`; names of other workflows are kept.
    fn workflow_dependencies(&mut self, def: &mut Definition, key: &Key, node: &Node, path: Path<'_>) {
        let items = self.items(node, path);
        if items.iter().any(|item| item.text().is_some()) {
            self.no_effect(key, path, "other workflows are not waited for");
            let names = self.texts(node, path);
            def.later.insert("dependencies".into(), names.into());
            return;
        }
        self.edges(def, node, path);
    }

    fn close(&mut self, def: &mut Definition, pending: Pending, node: &Node) {
        self.name(def, pending.id, pending.name, node);
        if self.whole_elsewhere(def, pending.elsewhere, node, pending.has_tasks) {
            if let (Some(retry), Some(task)) = (pending.retry, def.body.tasks.first_mut()) {
                task.plan.retry = Some(retry);
            }
            return;
        }
        def.body.tasks.extend(pending.switch);
        self.coordinate(def);
        if let Some((keys, at)) = pending.output_keys {
            self.output_keys(def, &keys, at);
        }
        if let Some(finish) = pending.finish {
            def.body.places.outputs = finish.iter().map(|(_, at)| *at).collect();
            def.body.output = OutputSpec::Tasks(finish.into_iter().map(|(name, _)| name).collect());
        }
        if let Some(retry) = pending.retry {
            def.body.each_mut(&mut |task| {
                if matches!(task.plan.kind, NodeKind::Call) && task.plan.retry.is_none() {
                    task.plan.retry = Some(retry.clone());
                }
            });
        }
        if !pending.has_tasks {
            let list = list_key(def.dialect);
            let message = format!("the definition has no `{list}`");
            self.report.error("missing-key", node.at, list, message).remedy(format!("add `{list}:`"));
        } else if pending.no_tasks {
            let message = format!("`{}` is empty", list_key(def.dialect));
            self.report.error("bad-value", node.at, list_key(def.dialect), message).remedy("add a task");
        }
        self.arrange(def, pending.turns);
    }

    /// Arranges the tasks as the type of the workflow says.
    fn arrange(&mut self, def: &mut Definition, mut turns: Turns) {
        def.body.shape = def.shape;
        let id = match def.shape {
            Shape::Pipeline => "pipeline",
            Shape::Loop => "loop",
            Shape::ScatterGather => "scatter",
            _ => "",
        };
        if id.is_empty() {
            if turns.said() {
                let message = format!("a workflow of type `{}` runs its tasks once", def.shape.as_str());
                let remedy =
                    "write `type: loop`, `pipeline` or `scatter-gather`, or put the tasks into a task";
                self.bad_value(turns.at, Path::Root, message, remedy);
            }
            return;
        }
        if turns.at == Pos::default() {
            turns.at = def.places.name;
        }
        self.shape_turns(def.shape, &mut turns);
        let gather = turns.branches();
        let mode = self.mode_of(&mut turns, Path::Root);
        def.body.places.reads.append(&mut turns.turn_reads);
        shape::arrange(&mut def.body, &mode, gather);
        if mode != ScopeMode::Once {
            shape::enclose(&mut def.body, id, mode, turns.reads);
        }
    }

    /// The key of the workflow: `id`, or `name` when there is no `id`. A `name` beside an `id` is for people.
    fn name(
        &mut self,
        def: &mut Definition,
        id: Option<(String, Pos)>,
        name: Option<(String, Pos)>,
        node: &Node,
    ) {
        let root = Path::Root;
        match (id, name) {
            (Some((id, at)), shown) => {
                self.check_key("workflow name", &id, at, Path::Key(&root, "id"));
                def.name = id;
                def.places.name = at;
                if let Some((shown, _)) = shown {
                    def.metadata.insert("display_name".into(), Value::from(shown));
                }
            }
            (None, Some((name, at))) => {
                def.places.name = at;
                if slug(&name).is_none() || base::ids::check_key("workflow name", &name).is_err() {
                    self.check_key("workflow name", &name, at, Path::Key(&root, "name"));
                }
                def.name = name;
            }
            // The sources' own chains and graphs have no name; one is made from the content.
            (None, None) if matches!(def.dialect, Dialect::Chain | Dialect::Graph) => {}
            (None, None) => {
                let message = "the definition has no `name`";
                self.report.error("missing-key", node.at, "name", message).remedy("add `name: …`");
            }
        }
    }
}
