//! The definition around its tasks, in every dialect: they differ in the name of the task list, the unit of bare
//! durations and a few keys.

use std::collections::BTreeMap;

use base::{time::BareUnit, units};
use serde_json::Value;
use workflow::plan::{Limits, OutputSpec, RetryPolicy, Role};

use crate::{
    definition::{Definition, Dialect, Place, Places, Shape},
    text::tree::{Data, Key, Node, Pos},
};

use super::{
    Reading,
    fields::{Path, Plain, slug},
};

const KEYS: &[&str] = &[
    "id",
    "name",
    "version",
    "type",
    "orchestration_pattern",
    "description",
    "tags",
    "owner",
    "agents",
    "roles",
    "input",
    "input_schema",
    "output",
    "output_tasks",
    "timeout",
    "retry",
    "retry_policy",
    "retries",
    "concurrency",
    "max_workers",
    "queue_size",
    "limits",
    "constraints",
    "resources",
    "dependencies",
    "coordination",
    "fault_tolerance",
    "compliance",
    "memory",
    "task_queue",
    "metadata",
];

/// Patterns whose graphs run as they stand, though nobody decides at run time yet.
const RUNS_AS_GRAPH: &[&str] = &["supervisor"];
/// Patterns and types that are known and do not run yet.
const KNOWN_PATTERNS: &[&str] = &["hierarchical", "handoff", "swarm", "network", "custom"];
const KNOWN_TYPES: &[&str] = &["pipeline", "fanout", "scatter_gather", "conditional", "loop", "event_driven"];

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
        tasks: Vec::new(),
        limits: Limits::default(),
        resources: Default::default(),
        input_schema: None,
        output: OutputSpec::Sinks,
        metadata: BTreeMap::new(),
        later: BTreeMap::new(),
        places: Places { tasks: list_key(dialect), name: node.at, ..Places::default() },
    };
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
            "type" => self.shape(def, value, here),
            "orchestrationpattern" | "pattern" => self.pattern(def, key, value, here),
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
                def.places.entry = Some(self.points(value, here))
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
                def.places.output = value.at;
                let mut reads = Vec::new();
                def.output = OutputSpec::Template(self.template(value, here, Place::Output, &mut reads));
                def.places.output_reads = reads;
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
            "coordination" => self.coordination(value, here, &mut def.later),
            "faulttolerance" => self.fault_tolerance(value, here, &mut def.later),
            "compliance" => {
                self.no_effect(key, here, "no policy is checked");
                self.compliance(value, here, &mut def.later);
            }
            "memory" => {
                self.no_effect(key, here, "nothing is remembered between executions");
                self.memory(value, here, &mut def.later);
            }
            "taskqueue" => {
                self.no_effect(key, here, "there is one queue");
                let queue = self.text(value, here);
                def.metadata.insert("task_queue".into(), queue.into());
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

    fn shape(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        let text = self.text(node, path);
        let plain = Plain::of(&text);
        match plain.as_str() {
            "sequential" => def.shape = Shape::Sequential,
            "parallel" => def.shape = Shape::Parallel,
            "dag" | "" => def.shape = Shape::Dag,
            word if KNOWN_TYPES.iter().any(|known| Plain::of(known).as_str() == word) => {
                let message = format!("the type `{text}` does not run yet");
                self.report
                    .error("unsupported-pattern", node.at, path, message)
                    .remedy("types that run are sequential, parallel and dag");
            }
            _ => {
                let message = format!("there is no type {text:?}");
                let remedy = match base::finding::nearest(&text, ["sequential", "parallel", "dag"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "types that run are sequential, parallel and dag".into(),
                };
                self.report.error("unsupported-pattern", node.at, path, message).remedy(remedy);
            }
        }
    }

    fn pattern(&mut self, def: &mut Definition, key: &Key, node: &Node, path: Path<'_>) {
        def.pattern = self.text(node, path);
        if def.pattern.is_empty() {
            return;
        }
        if RUNS_AS_GRAPH.contains(&def.pattern.as_str()) {
            let message = format!(
                "the pattern `{}` runs the graph as it is written; nobody routes at run time yet",
                def.pattern
            );
            self.report.note("no-effect-yet", key.at, path, message);
            return;
        }
        let known = KNOWN_PATTERNS.contains(&def.pattern.as_str());
        let message = match known {
            true => format!("the pattern `{}` does not run yet", def.pattern),
            false => format!("there is no pattern {:?}", def.pattern),
        };
        let near =
            if known { None } else { base::finding::nearest(&def.pattern, RUNS_AS_GRAPH.iter().copied()) };
        let remedy = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "leave it out to run the graph as it is written, or write `supervisor`".into(),
        };
        self.report.error("unsupported-pattern", node.at, path, message).remedy(remedy);
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
                _ => self.unknown_key(key, path, &["type", "capabilities", "count", "resources"]),
            }
        }
        role
    }

    fn tasks(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        if def.dialect == Dialect::Graph {
            return self.nodes(def, node, path);
        }
        let items = self.items(node, path);
        def.tasks.reserve(items.len().min(self.limits.tasks_max));
        for (n, item) in items.iter().enumerate() {
            if n >= self.limits.tasks_max {
                let message = format!("the definition has {} tasks, the limit is {n}", items.len());
                self.report.error("limit-tasks", item.at, path, message).remedy("split the definition");
                return;
            }
            let task = self.task(item, Path::Index(&path, n), None, def.dialect);
            def.tasks.push(task);
        }
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

    /// `limits` of the canonical form and `constraints` of S0.
    fn limits(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        const KNOWN: &[&str] = &[
            "timeout",
            "max_retries",
            "allowed_failures",
            "max_calls",
            "queue_size",
            "concurrency",
            "resources",
            "max_execution_time",
            "resource_limits",
            "compliance_required",
        ];
        for (key, value) in self.entries(node, path) {
            let here = Path::Key(&path, &key.text);
            let limits = &mut def.limits;
            match Plain::of(&key.text).as_str() {
                "timeout" | "maxexecutiontime" => limits.timeout = self.duration(value, here),
                "maxretries" => limits.max_retries = self.count(value, here, 0),
                "allowedfailures" => limits.allowed_failures = self.count(value, here, 0).unwrap_or(0),
                "maxcalls" => lower(&mut limits.max_calls, self.count(value, here, 1)),
                "queuesize" => limits.queue_size = self.count(value, here, 1),
                "concurrency" => limits.concurrency = self.count(value, here, 1),
                "resources" | "resourcelimits" => {
                    let (resources, calls) = self.resources_and_calls(value, here);
                    limits.resources = Some(resources);
                    lower(&mut limits.max_calls, calls);
                }
                "compliancerequired" => {
                    let required = self.bool(value, here);
                    if required {
                        self.no_effect(key, here, "no policy is checked");
                    }
                    def.later.insert("compliance_required".into(), required.into());
                }
                _ => self.unknown_key(key, path, KNOWN),
            }
        }
    }

    fn workflow_resources(&mut self, def: &mut Definition, node: &Node, path: Path<'_>) {
        let (resources, calls) = self.resources_and_calls(node, path);
        def.resources = resources;
        def.places.resources = node.at;
        lower(&mut def.limits.max_calls, calls);
    }

    /// `{cpu, memory, network, maxConcurrency}` of S0.
    fn resources_and_calls(&mut self, node: &Node, path: Path<'_>) -> (units::Resources, Option<u32>) {
        let mut calls = None;
        let Data::Map(entries) = &node.data else { return (self.resources(node, path), None) };
        let is_calls = |key: &Key| Plain::of(&key.text).as_str() == "maxconcurrency";
        for (key, value) in entries.iter().filter(|(key, _)| is_calls(key)) {
            calls = self.count(value, Path::Key(&path, &key.text), 1);
        }
        let rest = entries.iter().filter(|(key, _)| !is_calls(key)).cloned().collect();
        (self.resources(&Node { at: node.at, data: Data::Map(rest) }, path), calls)
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
        if let Some((keys, at)) = pending.output_keys {
            self.output_keys(def, &keys, at);
        }
        if let Some(finish) = pending.finish {
            def.places.outputs = finish.iter().map(|(_, at)| *at).collect();
            def.output = OutputSpec::Tasks(finish.into_iter().map(|(name, _)| name).collect());
        }
        if let Some(retry) = pending.retry {
            for task in def.tasks.iter_mut().filter(|task| task.plan.retry.is_none()) {
                task.plan.retry = Some(retry.clone());
            }
        }
        if !pending.has_tasks {
            let list = list_key(def.dialect);
            let message = format!("the definition has no `{list}`");
            self.report.error("missing-key", node.at, list, message).remedy(format!("add `{list}:`"));
        } else if pending.no_tasks {
            let message = format!("`{}` is empty", list_key(def.dialect));
            self.report.error("bad-value", node.at, list_key(def.dialect), message).remedy("add a task");
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

/// The smaller of two limits.
fn lower(limit: &mut Option<u32>, other: Option<u32>) {
    *limit = match (*limit, other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}
