//! The JSON Schema of definitions, for editors. It says the same keys as the readers: a test compares the two.

use serde_json::{Map, Value, json};

use crate::{
    Shape,
    read::{coordination, extras, flow, kinds, limits, options, tasks, turns, waits, workflow},
};

/// The JSON Schema (2020-12) of definitions in every dialect. Keys are in it in snake, camel and kebab case.
pub fn definition_schema() -> Value {
    let mut defs = Map::new();
    let mut define = |name: &str, schema: Value| defs.insert(name.to_owned(), schema);
    define("template", json!({"description": "Any value; its texts may hold ${ expression }"}));
    define(
        "expression",
        json!({"type": ["string", "boolean"], "description": "CEL, with or without ${ } around it"}),
    );
    define(
        "duration",
        json!({"type": ["string", "number"], "description": "250ms, 30s, 5m, 2h, 1d; a bare number has the unit of its dialect"}),
    );
    define("schema", json!({"type": ["object", "boolean"], "description": "A JSON Schema"}));
    define(
        "key",
        json!({"type": ["string", "number"], "description": "Letters, digits, '.', '_', '-'; at most 128"}),
    );
    define("count", json!({"type": "number", "minimum": 1}));
    define("texts", json!({"anyOf": [{"type": "string"}, list(json!({"type": ["string", "number"]}))]}));
    define("amount", json!({"type": ["string", "number"]}));
    define("classes", classes());
    define(
        "type",
        json!({"enum": Shape::ALL.iter().map(|shape| shape.as_str()).chain(["scatter_gather", "event_driven"]).collect::<Vec<_>>()}),
    );
    define(
        "join",
        json!({"anyOf": [{"enum": ["all", "any", "best_effort"]}, of("count"), object(&["quorum"], &[], &[])]}),
    );
    define("rest", json!({"enum": ["keep", "cancel"]}));
    define("resources", object(&["cpu", "memory", "network", "max_concurrency"], &[], &[]));
    define(
        "retry",
        json!({"anyOf": [{"type": ["string", "null"]}, object(options::RETRY_KEYS, &["attempts", "backoff_type", "backoff_strategy", "on", "patterns", "policy"], &[])]}),
    );
    define("timeouts", object(&["queue", "attempt", "heartbeat", "total"], &[], &[]));
    define("dependencies", dependencies());
    define("loop", object(turns::LOOP_KEYS, &["max_iterations", "max_turns", "on_exhausted"], &[]));
    define("case", object(kinds::CASE_KEYS, &["if", "case"], &[]));
    define(
        "switch",
        json!({"anyOf": [list(of("case")), object(kinds::SWITCH_KEYS, &["default", "else"], &[])]}),
    );
    define(
        "approval",
        json!({"anyOf": [{"type": ["string", "boolean"]}, object(waits::APPROVAL_KEYS, &["question", "approvers", "escalation"], &[])]}),
    );
    define(
        "wait",
        json!({"anyOf": [{"type": ["string", "number"]}, object(waits::WAIT_KEYS, &["correlation_key", "correlation_id"], &[])]}),
    );
    define("pick", object(kinds::PICK_KEYS, &[], &[]));
    define(
        "pattern",
        json!({"anyOf": [{"type": "string"}, object(&["name", "version", "with"], &[], &["name"])]}),
    );
    define("role", object(workflow::ROLE_KEYS, &[], &[]));
    define("budget", object(extras::BUDGET_KEYS, &[], &[]));
    define("limits", object(limits::KEYS, &[], &[]));
    define(
        "saga",
        json!({"anyOf": [{"type": "boolean"}, object(extras::SAGA_KEYS, &["retry_policy"], &[])]}),
    );
    define(
        "session",
        json!({"anyOf": [{"type": ["boolean", "string"]}, object(extras::SESSION_KEYS, &["kind"], &[])]}),
    );
    define(
        "trigger",
        json!({"anyOf": [{"type": "string"}, object(extras::TRIGGER_KEYS, &["zone", "interval", "start_key"], &[])]}),
    );
    define("coordination", object(coordination::KEYS, &[], &[]));
    let mut in_loops = turns::LOOP_KEYS.to_vec();
    in_loops.extend(flow::BACK_EDGE_KEYS);
    define("loops", list(object(&in_loops, &[], &["from", "to"])));
    define("task", task());
    define(
        "tasks",
        json!({"anyOf": [list(json!({"anyOf": [{"type": "string"}, of("task")]})), {"type": "object", "additionalProperties": {"anyOf": [{"type": ["null", "string"]}, of("task")]}}]}),
    );
    define("definition", definition());
    let wrapped = |key: &str| json!({"type": "object", "required": [key], "additionalProperties": false, "properties": {key: of("definition")}});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Orchestra workflow",
        "anyOf": [of("definition"), wrapped("workflow"), wrapped("chain"), wrapped("graph")],
        "$defs": defs,
    })
}

fn of(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

fn classes() -> Value {
    let names: Vec<&str> = base::FailureClass::ALL.iter().map(|class| class.as_str()).collect();
    json!({"anyOf": [{"enum": names.clone()}, {"type": "array", "items": {"enum": names}}]})
}

fn dependencies() -> Value {
    let edge = object(flow::DEPENDENCY_KEYS, &["id", "cases", "from", "to"], &[]);
    json!({"anyOf": [{"type": ["null", "string"]}, edge.clone(), list(json!({"anyOf": [{"type": ["string", "number"]}, edge]}))]})
}

fn task() -> Value {
    let mut keys = tasks::KEYS.to_vec();
    keys.extend(turns::TURN_KEYS);
    keys.push("with");
    object(&keys, &["max_iterations", "route"], &[])
}

fn definition() -> Value {
    let mut keys = workflow::KEYS.to_vec();
    keys.extend([
        "tasks",
        "stages",
        "steps",
        "nodes",
        "edges",
        "entry",
        "finish",
        "parallel",
        "input_keys",
        "output_keys",
    ]);
    let more = [
        "entry_point",
        "entry_points",
        "finish_point",
        "finish_points",
        "parallel_execution",
        "workflow_timeout",
        "max_iterations",
    ];
    object(&keys, &more, &[])
}

/// An object with these keys in every spelling, and no others.
fn object(keys: &[&str], more: &[&str], required: &[&str]) -> Value {
    let mut properties = Map::new();
    for key in keys.iter().chain(more) {
        for spelling in spellings(key) {
            properties.insert(spelling, value_of(key));
        }
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// `max_attempts`, `maxAttempts`, `max-attempts`.
fn spellings(key: &str) -> Vec<String> {
    let mut camel = String::with_capacity(key.len());
    for (n, part) in key.split(['_', '-']).enumerate() {
        let mut letters = part.chars();
        match letters.next() {
            Some(first) if n > 0 => camel.extend(first.to_uppercase()),
            Some(first) => camel.push(first),
            None => {}
        }
        camel.extend(letters);
    }
    let mut all = vec![key.to_owned(), key.replace('_', "-"), camel];
    all.sort_unstable();
    all.dedup();
    all
}

/// What a key holds. Where the same key means different things in different places, everything that it may be.
fn value_of(key: &str) -> Value {
    match key {
        "name"
        | "id"
        | "version"
        | "agent"
        | "agent_id"
        | "agentId"
        | "role"
        | "capability"
        | "capabilityId"
        | "on_event"
        | "case"
        | "task"
        | "zone"
        | "time_zone"
        | "cron"
        | "title"
        | "question"
        | "message"
        | "namespace"
        | "topic"
        | "from"
        | "to"
        | "orchestration_pattern"
        | "otherwise"
        | "default"
        | "else" => of("key"),
        "description" | "owner" | "category" | "instructions" | "task_queue" | "provider"
        | "workflow_type" => json!({"type": "string"}),
        "type" => json!({"anyOf": [of("type"), {"type": "string"}]}),
        "pattern" => of("pattern"),
        "with" => json!({"type": "object"}),
        "tags" | "capabilities" | "requirements" | "output_tasks" | "input_keys" | "output_keys"
        | "entry" | "finish" | "entry_point" | "entry_points" | "finish_point" | "finish_points" | "who"
        | "approvers" | "load" | "retryable_errors" | "patterns" => of("texts"),
        "agents" | "roles" => {
            json!({"type": "object", "additionalProperties": {"anyOf": [{"type": "null"}, of("role")]}})
        }
        "tasks" | "stages" | "steps" | "nodes" => of("tasks"),
        "depends_on" | "dependencies" | "dependsOn" => of("dependencies"),
        "timeout" | "workflow_timeout" | "base_delay" | "max_delay" | "delay" | "expected_duration"
        | "queue" | "attempt" | "heartbeat" | "total" | "ttl" | "every" | "interval" | "catch_up"
        | "time" | "max_execution_time" => of("duration"),
        "timeouts" => of("timeouts"),
        "retry" | "retry_policy" => of("retry"),
        "retries" => json!({"anyOf": [{"type": "number", "minimum": 0}, of("retry")]}),
        "input_schema" | "output_schema" | "form" | "schema" => of("schema"),
        "resources" | "resource_limits" => of("resources"),
        "cpu" | "network" => of("amount"),
        "join" => of("join"),
        "rest" => of("rest"),
        "switch" => of("switch"),
        "wait" => of("wait"),
        "approval" => of("approval"),
        "pick" | "route" => of("pick"),
        "loop" => of("loop"),
        "loops" => of("loops"),
        "budget" => of("budget"),
        "limits" | "constraints" => of("limits"),
        "saga" => of("saga"),
        "session" => of("session"),
        "triggers" => list(of("trigger")),
        "coordination" => of("coordination"),
        "classes" | "not_classes" | "retry_on" => of("classes"),
        "class" => json!({"type": "string"}),
        "effect" => json!({"enum": ["pure", "idempotent", "compensatable", "irreversible"]}),
        "input_from" => json!({"enum": ["context", "execution", "previous"]}),
        "exhausted" | "on_exhausted" => json!({"enum": ["fail", "stop"]}),
        "overlap" => json!({"enum": ["skip", "queue", "allow", "cancel"]}),
        "optional"
        | "ordered"
        | "partial"
        | "many"
        | "detached"
        | "on_failure"
        | "on_cancel"
        | "compliance_required" => json!({"type": "boolean"}),
        "max" | "max_iterations" | "max_turns" | "max_parallel" | "buffer" | "concurrency"
        | "max_workers" | "max_concurrency" | "queue_size" | "max_calls" | "max_attempts" | "attempts"
        | "quorum" | "depth" | "calls" | "tokens" => of("count"),
        "max_retries" | "allowed_failures" => json!({"type": "number", "minimum": 0}),
        "while" | "until" | "when" | "if" | "filter" | "by" => {
            json!({"anyOf": [of("expression"), {"type": "number"}]})
        }
        "metadata" | "vars" | "set" | "save" | "chain" | "graph" => json!({"type": "object"}),
        "edges" => json!({"type": "array", "items": {"anyOf": [
            {"type": "array", "minItems": 2, "maxItems": 2, "items": of("key")},
            object(&["from", "to", "case", "on", "classes"], &["source", "target", "source_node", "target_node"], &[]),
        ]}}),
        // Templates, and keys that hold one thing here and another there.
        _ => of("template"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key that the readers name stands in the part of the schema for it.
    #[test]
    fn every_key_of_the_readers_is_in_the_schema() {
        let schema = definition_schema();
        let keys = |name: &str, keys: &[&str]| {
            let part = &schema["$defs"][name];
            let text = part.to_string();
            for key in keys {
                let bare = part["properties"].get(*key).is_some() || text.contains(&format!("\"{key}\":"));
                assert!(bare, "{key} is not in {name}");
            }
        };
        keys("task", tasks::KEYS);
        keys("task", turns::TURN_KEYS);
        keys("definition", workflow::KEYS);
        keys("role", workflow::ROLE_KEYS);
        keys("limits", limits::KEYS);
        keys("retry", options::RETRY_KEYS);
        keys("loop", turns::LOOP_KEYS);
        keys("loops", flow::BACK_EDGE_KEYS);
        keys("dependencies", flow::DEPENDENCY_KEYS);
        keys("switch", kinds::SWITCH_KEYS);
        keys("case", kinds::CASE_KEYS);
        keys("wait", waits::WAIT_KEYS);
        keys("approval", waits::APPROVAL_KEYS);
        keys("saga", extras::SAGA_KEYS);
        keys("budget", extras::BUDGET_KEYS);
        keys("session", extras::SESSION_KEYS);
        keys("trigger", extras::TRIGGER_KEYS);
        keys("coordination", coordination::KEYS);
        keys("pick", kinds::PICK_KEYS);
    }

    #[test]
    fn the_schema_is_one_and_every_reference_in_it_leads_somewhere() {
        let schema = definition_schema();
        assert!(jsonschema::meta::validate(&schema).is_ok());
        let text = schema.to_string();
        for part in text.split("#/$defs/").skip(1) {
            let name = part.split('"').next().unwrap_or_default();
            assert!(schema["$defs"].get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_key_has_three_spellings() {
        assert_eq!(spellings("max_calls"), ["max-calls", "maxCalls", "max_calls"]);
        assert_eq!(spellings("id"), ["id"]);
    }
}
