//! The canonical form: what a definition says, in one spelling, as JSON with sorted keys. The canonical reader reads
//! it back to the same plan.

use std::time::Duration;

use base::{
    time::show_duration,
    units::{Resources, show_cpu, show_memory},
};
use serde_json::{Map, Value, json};
use workflow::plan::{Backoff, InputSpec, Limits, OutputSpec, RetryPolicy, Role, Spread, Timeouts};

use crate::definition::{Body, Definition, Shape, Task};

mod nodes;

/// The canonical text of `def`.
pub(crate) fn text(def: &Definition) -> String {
    let mut out = String::with_capacity(def.body.tasks.len() * 200 + 500);
    write(&value(def), &mut out);
    out
}

/// Writes JSON with sorted keys, whatever order the map type keeps.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (n, (key, member)) in sorted.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// An object under construction: what is empty is left out.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            Value::Bool(b) => !b,
            Value::Number(_) => false,
        };
        if !empty {
            self.0.insert(key.to_owned(), value);
        }
    }
    /// Kept even when it is empty.
    fn keep(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }
    fn duration(&mut self, key: &str, duration: Option<Duration>) {
        self.put(key, duration.map(show_duration));
    }
    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn value(def: &Definition) -> Value {
    let mut out = Fields::default();
    out.put("name", def.name.as_str());
    out.put("version", def.version.clone());
    out.put("orchestration_pattern", def.pattern.as_str());
    let roles: Map<_, _> = def.roles.iter().map(|(name, r)| (name.clone(), role(r))).collect();
    out.put("agents", roles);
    body(&def.body, &mut out);
    out.put("limits", limits(&def.limits));
    out.put("resources", resources(&def.resources));
    out.put("input_schema", def.input_schema.clone());
    out.put("vars", def.vars.clone());
    out.put("saga", def.saga.as_ref().map_or(Value::Null, nodes::saga));
    out.put("session", def.session.as_ref().map_or(Value::Null, nodes::session));
    out.put("triggers", def.triggers.iter().map(nodes::trigger).collect::<Vec<_>>());
    out.put("metadata", def.metadata.clone().into_iter().collect::<Map<_, _>>());
    for (key, kept) in &def.later {
        match key.as_str() {
            // Its home in the canonical form is among the constraints.
            "compliance_required" => out.put("constraints", json!({"compliance_required": kept})),
            _ => out.keep(key, kept.clone()),
        }
    }
    out.done()
}

/// Tasks and what they give, of the definition or of a task.
fn body(body: &Body, out: &mut Fields) {
    if body.shape.in_sequence() {
        out.put("type", Shape::Sequential.as_str());
    }
    out.put("tasks", body.tasks.iter().map(|t| task(body, t)).collect::<Vec<_>>());
    match &body.output {
        OutputSpec::Sinks => {}
        OutputSpec::Tasks(names) => out.put("output_tasks", names.clone()),
        OutputSpec::Template(template) => out.keep("output", template.clone()),
    }
}

fn role(role: &Role) -> Value {
    let mut out = Fields::default();
    out.put("type", role.agent_type.as_str());
    out.put("capabilities", role.capabilities.clone());
    out.put("count", role.count);
    out.put("resources", resources(&role.resources));
    out.done()
}

fn task(body: &Body, task: &Task) -> Value {
    let mut out = call(task);
    out.put("id", task.plan.id.as_str());
    nodes::depends_on(body, task, &mut out);
    if let Some(inner) = &task.body {
        self::body(inner, &mut out);
    }
    nodes::node(task, &mut out);
    if let Some(undo) = &task.compensate {
        // A task without id and order: what it does and what answers its failures are kept as well.
        let mut one = call(undo);
        nodes::node(undo, &mut one);
        out.keep("compensate", one.done());
    }
    out.done()
}

/// What a task says beside its id, order and node.
fn call(task: &Task) -> Fields {
    let plan = &task.plan;
    let need = &plan.need;
    let mut out = Fields::default();
    out.put("name", plan.name.as_str());
    out.put("instructions", plan.instructions.as_str());
    out.put("type", task.kind.clone());
    out.put("role", need.role.clone());
    // Work of another engine names that instead.
    let agent = need.agent.as_ref().filter(|_| plan.remote.is_none());
    out.put("agent_id", agent.map(|agent| agent.as_str()));
    out.put("capability", need.capability.clone());
    out.put("requirements", need.requirements.clone());
    out.put("tags", need.tags.clone());
    out.put("when", plan.when.clone());
    match &plan.input {
        // The default of chains and graphs is another; the canonical reader's is this.
        InputSpec::Context => {}
        InputSpec::Execution => out.put("input_from", "execution"),
        InputSpec::Previous => out.put("input_from", "previous"),
        InputSpec::Template(template) => out.keep("input", template.clone()),
    }
    match &plan.spread {
        Spread::One => {}
        Spread::ForEach { list, width } => {
            out.put("for_each", list.as_str());
            out.put("max_parallel", *width);
        }
        Spread::Parallel { count } => {
            out.put("parallel", true);
            out.put("count", *count);
        }
    }
    out.put("retry", plan.retry.as_ref().map_or(Value::Null, retry));
    out.put("timeouts", timeouts(&plan.timeouts));
    out.put("effect", plan.effect.map(|effect| effect.as_str()));
    if plan.priority != 0 {
        out.put("priority", plan.priority);
    }
    out.put("input_schema", plan.input_schema.clone());
    out.put("output_schema", plan.output_schema.clone());
    out.duration("expected_duration", plan.expected);
    out.put("resources", resources(&plan.resources));
    out.put("optional", plan.optional);
    out
}

fn limits(limits: &Limits) -> Value {
    let mut out = Fields::default();
    out.duration("timeout", limits.timeout);
    out.put("max_retries", limits.max_retries);
    if limits.allowed_failures > 0 {
        out.put("allowed_failures", limits.allowed_failures);
    }
    out.put("max_calls", limits.max_calls);
    out.put("queue_size", limits.queue_size);
    out.put("concurrency", limits.concurrency);
    out.put("resources", limits.resources.as_ref().map_or(Value::Null, resources));
    out.put("budget", nodes::budget(&limits.budget));
    out.done()
}

fn resources(amount: &Resources) -> Value {
    let mut out = Fields::default();
    if amount.cpu_millis > 0 {
        out.put("cpu", show_cpu(amount.cpu_millis));
    }
    if amount.memory_bytes > 0 {
        out.put("memory", show_memory(amount.memory_bytes));
    }
    if amount.network_mbps > 0 {
        out.put("network", amount.network_mbps);
    }
    out.done()
}

fn retry(policy: &RetryPolicy) -> Value {
    let mut out = Fields::default();
    out.put("max_attempts", policy.max_attempts);
    let backoff = match policy.backoff {
        Backoff::Fixed => "fixed",
        Backoff::Linear => "linear",
        Backoff::Exponential => "exponential",
    };
    out.put("backoff", backoff);
    out.duration("base_delay", Some(policy.base_delay));
    out.duration("max_delay", Some(policy.max_delay));
    out.put("retry_on", policy.on.iter().map(|class| class.as_str()).collect::<Vec<_>>());
    out.put("retryable_errors", policy.patterns.clone());
    out.done()
}

fn timeouts(timeouts: &Timeouts) -> Value {
    let mut out = Fields::default();
    out.duration("queue", timeouts.queue);
    out.duration("attempt", timeouts.attempt);
    out.duration("heartbeat", timeouts.heartbeat);
    out.duration("total", timeouts.total);
    out.done()
}
