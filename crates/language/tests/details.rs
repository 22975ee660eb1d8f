//! Values in all the forms they may have, and wrong ones of every kind.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use base::Finding;
use language::{Compiled, Format, Options, analyse, compile, explain, render};
use serde_json::{Value, json};

fn ok(source: &str) -> Compiled {
    let outcome = compile(source, &Options::default());
    outcome.compiled.unwrap_or_else(|| panic!("{}", render(&outcome.findings, "x", source)))
}

fn codes(source: &str) -> Vec<String> {
    let errors = |f: &&Finding| f.is_error();
    compile(source, &Options::default()).findings.iter().filter(errors).map(|f| f.code.clone()).collect()
}

/// The metadata `x` of a definition that holds `yaml` there.
fn value(yaml: &str) -> Value {
    ok(&format!("name: w\ntasks: [{{id: a}}]\nmetadata:\n  x: {yaml}\n")).plan.metadata["x"].clone()
}

#[test]
fn yaml_values_read_as_yaml_1_2_says() {
    for (yaml, want) in [
        ("~", json!(null)),
        ("null", json!(null)),
        ("True", json!(true)),
        ("FALSE", json!(false)),
        ("yes", json!("yes")),
        ("on", json!("on")),
        ("12", json!(12)),
        ("+12", json!(12)),
        ("-7", json!(-7)),
        ("0x1F", json!(31)),
        ("0o17", json!(15)),
        ("0xZZ", json!("0xZZ")),
        ("18446744073709551615", json!(18446744073709551615u64)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000.0)),
        (".5", json!(0.5)),
        (".inf", json!(".inf")),
        ("1.2.3", json!("1.2.3")),
        ("2026-01-02", json!("2026-01-02")),
        ("!!str 12", json!("12")),
        ("!!int 12", json!(12)),
        ("\"a\\nb\"", json!("a\nb")),
        ("'it''s'", json!("it's")),
        ("|\n    a\n    b", json!("a\nb\n")),
        (">-\n    a\n    b", json!("a b")),
        ("{true: 1, null: 2, 3: 4}", json!({"true": 1, "null": 2, "3": 4})),
        ("[[1, [2]], {a: b}]", json!([[1, [2]], {"a": "b"}])),
    ] {
        assert_eq!(value(yaml), want, "{yaml}");
    }
}

#[test]
fn anchors_and_merges_stand_for_what_they_name() {
    let source = "name: w
metadata:
  base: &base {timeout: 5s, priority: 3}
  more: &more {priority: 4, optional: true}
tasks:
  - {id: a, <<: *base}
  - {<<: [*base, *more], id: b, timeout: 7s}
";
    let plan = ok(source).plan;
    let seconds = |n: usize| plan.tasks[n].timeouts.attempt.unwrap().as_secs();
    assert_eq!((seconds(0), plan.tasks[0].priority), (5, 3));
    assert_eq!((seconds(1), plan.tasks[1].priority, plan.tasks[1].optional), (7, 3, true));
    for bad in ["<<: 1", "<<: [1]", "? [a]\n: b", "x: &x [*x]"] {
        assert_eq!(codes(&format!("name: w\ntasks: [{{id: a}}]\n{bad}\n")), ["syntax"], "{bad}");
    }
}

#[test]
fn a_version_is_taken_as_it_is_written() {
    for (written, want) in [("1.10", "1.10"), ("\"1.0\"", "1.0"), ("7", "7"), ("1.0.0-rc.1", "1.0.0-rc.1")] {
        assert_eq!(ok(&format!("name: w\nversion: {written}\ntasks: [{{id: a}}]")).plan.version, want);
    }
}

#[test]
fn keys_may_be_written_in_any_spelling() {
    let plain = "name: w\norchestration_pattern: supervisor\nmax_workers: 3\ntasks:\n- {id: a, expected_duration: 1s, max_parallel: 2, for_each: [1, 2], retry_policy: fixed}";
    let others = plain.replace("max_workers", "maxWorkers").replace("for_each", "forEach");
    let others = others.replace("expected_duration", "expected-duration").replace("max_parallel", "count");
    assert_eq!(ok(plain).content_hash, ok(&others).content_hash);
}

#[test]
fn everything_a_task_may_say_arrives_in_the_plan_and_survives_the_canonical_form() {
    let source = "name: w
version: '2'
type: sequential
description: d
owner: o
category: c
tags: [x]
agents: {r: {type: t, capabilities: [c1], count: 2, resources: {network: 1Gbps}}}
input_schema: {type: object}
limits: {timeout: 1h, max_retries: 9, allowed_failures: 1, max_calls: 5, queue_size: 7, concurrency: 2, resources: {cpu: 8, memory: 16GB, network: 2000}}
dependencies: [{from: one, to: three}]
tasks:
- id: one
  name: First
  instructions: do it
  agent: r
  capability: c2
  requirements: [q]
  tags: [g]
  when: input.go
  input: {a: ['${ input.x }', 1, 1.5, true, null]}
  retry: {max_attempts: 2, backoff: linear, base_delay: 2s, max_delay: 9s, retry_on: [timeout], retryable_errors: [busy]}
  timeouts: {queue: 1s, attempt: 2s, heartbeat: 3s, total: 4m}
  effect: irreversible
  priority: -2
  output: {schema: {type: object}}
  expected_duration: 90s
  resources: {cpu: 500m}
  optional: true
- {id: two, role: r, parallel: true, input_from: previous, depends_on: []}
- {id: three, agent_id: someone, for_each: tasks.one.output, max_parallel: 4, input_from: execution}
- {id: four, type: kind, description: words}
output: {all: '${ tasks }', first: '${ tasks.one.status }'}
";
    let first = ok(source);
    let plan = &first.plan;
    assert_eq!(plan.tasks.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["one", "two", "three", "four"]);
    assert_eq!(plan.tasks[1].after, [0u32; 0], "an empty list waits for nothing, in a sequence too");
    assert_eq!(plan.tasks[2].after, [0], "the edge that stands apart replaces the sequence");
    assert_eq!(plan.tasks[3].instructions, "words");
    assert_eq!(plan.tasks[3].need.capability.as_deref(), Some("kind"));
    assert_eq!(plan.limits.concurrency, Some(2));
    let again = ok(&first.canonical);
    assert_eq!(again.canonical, first.canonical);
    assert_eq!(again.plan.tasks, plan.tasks);
    assert_eq!(again.plan.output, plan.output);
    let analysis = analyse(plan, None);
    assert_eq!((analysis.unknown_durations, analysis.duration.as_secs()), (3, 90));
    assert_eq!(analysis.agents, 4, "two of the role, the pinned one and the one of the capability");
    let explained = explain(plan, None);
    assert_eq!(explained["tasks"][0]["name"], "First");
    assert_eq!(explained["tasks"][0]["when"], "input.go");
    assert_eq!(explained["tasks"][0]["expected_ms"], 90_000);
    assert_eq!(first.definition.shape.as_str(), "sequential");
}

#[test]
fn every_dialect_and_shape_has_its_name() {
    for (source, dialect, shape) in [
        ("name: w\ntasks: [{id: a}]", "canonical", "dag"),
        ("workflow: {name: w, type: parallel, tasks: [{id: a}]}", "workflow", "parallel"),
        ("id: w\ntype: sequential\nstages: [{id: a}]", "stages", "sequential"),
        ("id: w\nsteps: [{id: a}]", "steps", "dag"),
        ("name: w\nnodes: [a]", "graph", "dag"),
        ("chain: {steps: [a]}", "chain", "sequential"),
        ("graph: {nodes: {a: ~}, parallel: false}", "graph", "dag"),
    ] {
        let def = ok(source).definition;
        assert_eq!((def.dialect.as_str(), def.shape.as_str()), (dialect, shape), "{source}");
    }
    assert_eq!(ok("graph: {nodes: {a: ~}, parallel: false}").plan.limits.max_calls, Some(1));
}

#[test]
fn formats_are_named_or_found_out() {
    for (text, want) in [
        ("yaml", Some(Format::Yaml)),
        ("YML", Some(Format::Yaml)),
        ("application/json", Some(Format::Json)),
        ("toml", None),
    ] {
        assert_eq!(Format::parse(text), want);
    }
    assert_eq!((Format::Yaml.as_str(), Format::Json.as_str()), ("yaml", "json"));
    let flow = "{name: w, tasks: [{id: a}]}";
    assert!(
        compile(flow, &Options::default()).compiled.is_some(),
        "a flow mapping of YAML is no JSON and is read"
    );
    let named = compile(flow, &Options { format: Some(Format::Json), ..Options::default() });
    assert_eq!(named.findings[0].code, "syntax");
    assert_eq!(compile("\u{feff}name: w\ntasks: [{id: a}]", &Options::default()).findings, []);
    for broken in [
        "{\"name\": [1,]}",
        "{\"name\": \"w\" \"x\"}",
        "{\"name\": \"\\u00e",
        "{\"name\": \"\\u00zz\"}",
        "{\"tasks\": [1 2]}",
        "{\"tasks\": tru}",
        "{\"a\": 1} x",
        "{\"a\": \"\\\n\"}",
        "",
    ] {
        let outcome = compile(broken, &Options { format: Some(Format::Json), ..Options::default() });
        assert_eq!(outcome.findings[0].code, "syntax", "{broken}");
    }
    assert_eq!(codes("{\"a\": 1} x"), ["syntax"], "neither of the two");
    let escaped = ok("{\"name\": \"w\", \"tasks\": [{\"id\": \"a\", \"name\": \"\\u00e9 \\\"q\\\"\"}]}");
    assert_eq!(escaped.plan.tasks[0].name, "é \"q\"");
}

/// Every key with a value of a wrong kind is one finding, never a panic.
#[test]
fn a_wrong_kind_of_value_is_found_at_every_key() {
    for key in [
        "orchestration_pattern",
        "description",
        "agents",
        "input_schema",
        "input",
        "retry",
        "retries",
        "limits",
        "resources",
        "coordination",
        "fault_tolerance",
        "compliance",
        "memory",
        "task_queue",
        "metadata",
        "concurrency",
        "max_workers",
        "queue_size",
        "dependencies",
        "timeout",
        "version",
        "type",
        "id",
    ] {
        let wrong = match key {
            "timeout" | "retry" | "memory" | "metadata" | "limits" | "agents" | "coordination"
            | "fault_tolerance" | "resources" | "input" | "concurrency" | "max_workers" | "queue_size"
            | "retries" => "[true]",
            "dependencies" => "[7]",
            _ => "{a: [1]}",
        };
        let source = format!("name: w\ntasks: [{{id: a}}]\n{key}: {wrong}\n");
        let wrongs = codes(&source);
        // A mapping is a schema; this one has an unknown keyword, which is allowed.
        assert_eq!(wrongs.is_empty(), key == "input_schema", "{key}: {wrongs:?}");
    }
    for key in [
        "name",
        "instructions",
        "agent",
        "role",
        "agent_id",
        "capability",
        "requirements",
        "tags",
        "depends_on",
        "when",
        "input_schema",
        "output",
        "output_schema",
        "for_each",
        "max_parallel",
        "parallel",
        "count",
        "retry",
        "retries",
        "timeout",
        "timeouts",
        "effect",
        "priority",
        "expected_duration",
        "resources",
        "optional",
        "input_from",
        "type",
    ] {
        let source = format!("name: w\ntasks:\n- id: a\n  {key}: {{x: [1]}}\n");
        let wrongs = codes(&source);
        assert_eq!(wrongs.is_empty(), key.ends_with("_schema"), "{key}: {wrongs:?}");
    }
}

#[test]
fn wrong_parts_of_larger_values_are_named() {
    for (source, want) in [
        ("coordination: {kind: x}", "unknown-key"),
        ("fault_tolerance: {breaker: {}}", "unknown-key"),
        ("fault_tolerance: {circuit_breaker: {limit: 1}}", "unknown-key"),
        ("fault_tolerance: {circuit_breaker: {timeout_seconds: soon}}", "bad-duration"),
        ("fault_tolerance: {saga_pattern: {undo: true}}", "unknown-key"),
        ("fault_tolerance: {saga_pattern: {rollback_on_failure: maybe}}", "bad-type"),
        ("compliance: [{levels: gold}]", "unknown-key"),
        ("compliance: [{validation: {during: []}}]", "unknown-key"),
        ("limits: {calls: 1}", "unknown-key"),
        ("limits: {max_retries: 1.5}", "bad-value"),
        ("limits: {max_retries: -1}", "bad-value"),
        ("input: {scheme: {}}", "unknown-key"),
        ("resources: {cpu: [1]}", "bad-type"),
        ("dependencies: [{before: a, to: a}]", "unknown-key"),
        ("dependencies: [{from: a, to: b}]", "unknown-task"),
        ("retry: {max: 1}", "unknown-key"),
        ("retry: sometimes", "bad-value"),
        ("type: [x]", "bad-type"),
        ("type: something", "unsupported-pattern"),
        ("orchestration_pattern: superviser", "unsupported-pattern"),
        ("very_long_key_that_is_longer_than_any_key_that_is_known_to_anybody: 1", "unknown-key"),
        ("resource_limits: {cpu: 1}", "unknown-key"),
    ] {
        let found = codes(&format!("name: w\ntasks: [{{id: a}}]\n{source}\n"));
        assert!(found.contains(&want.to_owned()), "{source}: {found:?}");
    }
    for (task, want) in [
        ("timeouts: {first: 1s}", "unknown-key"),
        ("output: {kind: x}", "unknown-key"),
        ("retry: {backoff: cubic}", "bad-value"),
        ("retry: {retry_on: [sunday]}", "bad-value"),
        ("effect: '?'", "bad-value"),
        ("input_from: nowhere", "bad-value"),
        ("when: '   '", ""),
        ("for_each: '${ input.list }'", ""),
        ("for_each: [1, {a: 'b'}]", ""),
        ("when: true", ""),
        ("input: 'a ${ input.x } b ${ input.y }'", ""),
        ("depends_on: ~", ""),
        ("output: {type: file}", ""),
    ] {
        let found = codes(&format!("name: w\ntasks:\n- id: a\n  {task}\n"));
        assert_eq!(found.first().map_or("", String::as_str), want, "{task}: {found:?}");
    }
    for (stage, want) in [
        ("input: {kind: x}", "unknown-key"),
        ("input: {value: 5}", ""),
        ("input: {type: constant, value: {a: '${ input.b }'}}", ""),
        ("input: {type: from_previous}", ""),
    ] {
        let found = codes(&format!("id: w\nstages:\n- id: a\n  {stage}\n"));
        assert_eq!(found.first().map_or("", String::as_str), want, "{stage}: {found:?}");
    }
    for (source, want) in [
        ("chain: {steps: [{name: 'a b'}]}", "bad-name"),
        ("chain: {steps: [{}]}", "missing-key"),
        ("graph: {nodes: 7}", "bad-type"),
        ("graph: {nodes: [a], edges: [{frm: a, to: a}]}", "unknown-key"),
        ("graph: {nodes: [a], edges: [7]}", "bad-type"),
        ("graph: {nodes: [a], entry: [b]}", "unknown-task"),
        ("graph: {node: [a]}", "unknown-key"),
        ("chain: {output_keys: [x], steps: []}", "bad-value"),
    ] {
        let found = codes(source);
        assert!(found.contains(&want.to_owned()), "{source}: {found:?}");
    }
}

#[test]
fn a_long_cycle_is_cut_and_many_cycles_are_not_all_named() {
    let ring: String =
        (0..30).map(|n| format!("- {{id: t{n}, depends_on: [t{}]}}\n", (n + 1) % 30)).collect();
    let outcome = compile(&format!("name: w\ntasks:\n{ring}"), &Options::default());
    assert!(outcome.findings[0].message.contains('…'), "{}", outcome.findings[0].message);
    let pairs: String = (0..30).map(|n| format!("- {{id: t{n}, depends_on: [t{}]}}\n", n ^ 1)).collect();
    assert_eq!(codes(&format!("name: w\ntasks:\n{pairs}")).len(), 10);
}

#[test]
fn what_expressions_read_is_checked_in_every_place() {
    for (source, want) in [
        ("name: w\noutput: '${ tasks.a.result }'\ntasks: [{id: a}]", "unknown-variable"),
        ("name: w\noutput: '${ nothing }'\ntasks: [{id: a}]", "unknown-variable"),
        ("name: w\noutput: '${ workflow.owner }'\ntasks: [{id: a}]", "unknown-variable"),
        ("name: w\noutput: '${ tasks.a.output.x + tasks.a.status }'\ntasks: [{id: a}]", ""),
        (
            "name: w\ntasks: [{id: a}, {id: b, depends_on: [a]}, {id: c, depends_on: [b], when: 'tasks.a.output > 1'}]",
            "",
        ),
        (
            "name: w\ntasks: [{id: a}, {id: b}, {id: c, depends_on: [b], when: 'tasks.a.output > 1'}]",
            "not-a-dependency",
        ),
        (
            "name: w\ntasks: [{id: b, when: 'tasks.a.output > 1'}, {id: a, depends_on: [b]}]",
            "not-a-dependency",
        ),
        ("name: w\ntasks: [{id: a, when: 'tasks.a.output > 1'}]", "not-a-dependency"),
        ("name: w\ntasks: [{id: a, when: 'tasks[input.name].output > 1'}]", ""),
        ("name: w\ntasks: [{id: a, for_each: input.l, input: {i: '${ item.x + index + count }'}}]", ""),
        ("name: w\ntasks: [{id: a, for_each: input.l, when: 'index > 1'}]", "unknown-variable"),
        ("name: w\ntasks: [{id: a, parallel: true, input: {n: '${ itme }'}}]", "unknown-variable"),
        (
            "name: w\ninput_schema: {type: object, properties: {a: {}}}\ntasks: [{id: x, when: 'input.b > 1'}]",
            "schema-mismatch",
        ),
        ("name: w\ninput_schema: {type: string}\ntasks: [{id: x, for_each: 'input.b'}]", "schema-mismatch"),
        (
            "name: w\ninput_schema: {type: object, properties: {a: {}}, additionalProperties: true}\ntasks: [{id: x, when: 'input.b > 1'}]",
            "",
        ),
        (
            "name: w\ninput_schema: {type: object, properties: {a: {}}, patternProperties: {b: {}}}\ntasks: [{id: x, when: 'input.b > 1'}]",
            "",
        ),
        ("name: w\ninput_schema: {oneOf: [{type: string}]}\ntasks: [{id: x, when: 'input.b > 1'}]", ""),
    ] {
        let found = codes(source);
        assert_eq!(found.first().map_or("", String::as_str), want, "{source}: {found:?}");
    }
}

#[test]
fn schemas_of_several_inputs_are_compared_too() {
    for (input, want) in [
        // What several tasks before it give, by id.
        ("input_from: previous\n  input_schema: {required: [a, b]}", ""),
        ("input_from: previous\n  input_schema: {required: [c]}", "schema-mismatch"),
        // What a task with dependencies is given: the input and the outputs.
        ("input_schema: {required: [input, dependencies]}", ""),
        ("input_schema: {properties: {dependencies: {required: [z]}}}", "schema-mismatch"),
        (
            "input: {n: 1, f: 1.5, t: x, b: true, l: [], z: ~, m: 'a ${ input.q }', o: '${ input.q }'}\n  input_schema: {properties: {n: {type: integer}, f: {type: number}, t: {type: string}, b: {type: boolean}, l: {type: array}, z: {type: 'null'}, m: {type: string}, o: {type: object}}}",
            "",
        ),
        (
            "input: {m: 'a ${ input.q } ${ input.r }'}\n  input_schema: {properties: {m: {type: integer}}}",
            "schema-mismatch",
        ),
        (
            "input: {m: '${ tasks.a.output.x }'}\n  input_schema: {properties: {m: {type: [integer, 'null']}}}",
            "schema-mismatch",
        ),
        ("input: {m: '${ tasks.b.output[0].y }'}\n  input_schema: {properties: {m: {type: integer}}}", ""),
        (
            "input: '${ tasks.b.output }'\n  input_schema: {type: array, items: {type: string}}",
            "schema-mismatch",
        ),
    ] {
        let source = format!(
            "name: w\ntasks:\n- {{id: a, output_schema: {{type: object, properties: {{x: {{type: string}}}}}}}}\n- {{id: b, for_each: input.l, output_schema: {{type: integer}}}}\n- id: c\n  depends_on: [a, b]\n  {input}\n"
        );
        let found = codes(&source);
        assert_eq!(found.first().map_or("", String::as_str), want, "{source}: {found:?}");
    }
    let execution = "name: w\ninput_schema: {type: object, properties: {a: {type: string}}}\ntasks: [{id: t, input_from: execution, input_schema: {properties: {a: {type: integer}}}}]";
    assert_eq!(codes(execution), ["schema-mismatch"]);
}

#[test]
fn a_finding_without_a_place_prints_its_path_and_long_lines_are_cut() {
    let finding = Finding::new(base::Severity::Warning, "c", "tasks[1]", "m").remedy("r");
    assert_eq!(render(&[finding], "f", ""), "warning[c]: m\n --> f: tasks[1]\n = help: r\n\n");
    let long = format!(
        "{{\"name\": \"w\", \"x\": \"{}\", \"tasks\": [{{\"id\": \"a\", \"dep\": 1}}]}}",
        "y".repeat(300)
    );
    let outcome = compile(&long, &Options::default());
    let printed = render(&outcome.findings, "f", &long);
    assert!(printed.contains("| …") && printed.lines().all(|line| line.chars().count() < 400), "{printed}");
}
