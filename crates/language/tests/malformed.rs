//! Every kind of mistake is found, named and pointed at.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use base::{ErrorCode, Finding, units::Resources};
use language::{Candidate, Chance, Format, Limits, Offer, Offers, Options, Shortage, compile, render};
use workflow::plan::Need;

fn findings(source: &str) -> Vec<Finding> {
    let all = compile(source, &Options::default()).findings;
    // A finding without a way out only annoys.
    assert!(all.iter().all(|f| !f.remedy.is_empty()), "{all:#?}");
    all
}

/// `code line:column` of every finding that is an error.
fn errors(source: &str) -> Vec<String> {
    findings(source)
        .iter()
        .filter(|f| f.is_error())
        .map(|f| format!("{} {}:{}", f.code, f.line, f.column))
        .collect()
}

/// Lines of a definition around `tasks`, which start in line 3.
fn with_tasks(tasks: &str) -> String {
    format!("name: w\ntasks:\n{tasks}")
}

#[test]
fn mistakes_of_the_text_have_their_place() {
    for (name, source, want) in [
        ("empty", "", vec!["syntax 1:1"]),
        ("only a comment", "# nothing\n", vec!["syntax 1:1"]),
        ("a list", "- a\n", vec!["bad-type 1:1"]),
        ("a text", "hello", vec!["bad-type 1:1"]),
        ("unclosed flow", "name: [a\n", vec!["syntax 1:7"]),
        ("tab as indent", "name: w\ntasks:\n\t- id: a\n", vec!["syntax 3:2"]),
        ("two documents", "name: w\n---\nname: v\n", vec!["syntax 2:1"]),
        ("unknown alias", "name: *w\n", vec!["syntax 1:7"]),
        ("key twice", "name: w\nname: v\ntasks: [{id: a}]\n", vec!["duplicate-key 2:1"]),
        ("json: trailing comma", "{\"name\": \"w\",}", vec!["syntax 1:14"]),
        ("json: no colon", "{\"name\" \"w\"}", vec!["syntax 1:9"]),
        ("json: cut off", "{\"name\": \"w", vec!["syntax 1:12"]),
        (
            "json: key twice",
            "{\"name\": \"w\", \"tasks\": [{\"id\": \"a\"}], \"metadata\": {\n \"é\": 1, \"é\": 2}}",
            vec!["duplicate-key 2:10"],
        ),
        ("json: bad escape", "{\"name\": \"\\q\"}", vec!["syntax 1:13"]),
        ("json: control", "{\"name\": \"a\nb\"}", vec!["syntax 1:12"]),
        ("json: bad number", "{\"name\": 1.}", vec!["syntax 1:10"]),
        ("local tag", "name: !thing w\ntasks: [{id: a}]\n", vec!["syntax 1:14"]),
    ] {
        let options = match name.starts_with("json") {
            true => Options { format: Some(Format::Json), ..Options::default() },
            false => Options::default(),
        };
        let outcome = compile(source, &options);
        let got: Vec<_> = outcome
            .findings
            .iter()
            .filter(|f| f.is_error())
            .map(|f| format!("{} {}:{}", f.code, f.line, f.column))
            .collect();
        let got: Vec<_> = got.into_iter().take(want.len()).collect();
        assert_eq!(got, want, "{name}: {:?}", outcome.findings);
        assert!(outcome.compiled.is_none(), "{name}");
    }
}

#[test]
fn mistakes_of_keys_and_types_have_their_place() {
    for (source, want) in [
        ("tasks: [{id: a}]", vec!["missing-key 1:1"]),
        ("name: w", vec!["missing-key 1:1"]),
        ("name: w\ntasks: []", vec!["bad-value 1:1"]),
        ("name: w\ntasks: {a: 1}", vec!["bad-type 2:8"]),
        ("name: my flow\ntasks: [{id: a}]", vec!["bad-name 1:7"]),
        ("name: w\nversion: a b\ntasks: [{id: a}]", vec!["bad-name 2:10"]),
        ("name: w\ntype: pipelin\ntasks: [{id: a}]", vec!["unsupported-pattern 2:7"]),
        ("name: w\ntype: sequental\ntasks: [{id: a}]", vec!["unsupported-pattern 2:7"]),
        ("name: w\norchestration_pattern: swarms\ntasks: [{id: a}]", vec!["unsupported-pattern 2:24"]),
        ("name: w\ntaks: []\ntasks: [{id: a}]", vec!["unknown-key 2:1"]),
        ("name: w\ntimeout: soon\ntasks: [{id: a}]", vec!["bad-duration 2:10"]),
        ("name: w\ntimeout: 0\ntasks: [{id: a}]", vec!["bad-duration 2:10"]),
        ("name: w\nconcurrency: 0\ntasks: [{id: a}]", vec!["bad-value 2:14"]),
        ("name: w\nconcurrency: many\ntasks: [{id: a}]", vec!["bad-type 2:14"]),
        ("name: w\nagents: {r: {resources: {cpu: lots}}}\ntasks: [{id: a}]", vec!["bad-resource 2:31"]),
        ("name: w\nagents: {r: {tpe: x}}\ntasks: [{id: a}]", vec!["unknown-key 2:14"]),
        ("name: w\ninput_schema: {type: strin}\ntasks: [{id: a}]", vec!["bad-schema 2:15"]),
        ("name: w\ncoordination: {type: chaos}\ntasks: [{id: a}]", vec!["bad-value 2:22"]),
        (
            "name: w\nfault_tolerance: {circuit_breaker: {failure_threshold: x}}\ntasks: [{id: a}]",
            vec!["bad-type 2:56"],
        ),
        ("name: w\ncompliance: [{level: tin}]\ntasks: [{id: a}]", vec!["bad-value 2:22"]),
        ("name: w\noutput_tasks: [b]\ntasks: [{id: a}]", vec!["unknown-task 2:16"]),
        ("name: w\noutput: ${ tasks.b.output }\ntasks: [{id: a}]", vec!["unknown-variable 2:12"]),
    ] {
        assert_eq!(errors(source), want, "{source}: {:?}", findings(source));
    }
}

#[test]
fn mistakes_of_tasks_have_their_place() {
    for (tasks, want) in [
        ("  - id: a\n    depend_on: [b]\n", vec!["unknown-key 4:5"]),
        ("  - id: a\n  - id: a\n", vec!["duplicate-id 4:9"]),
        ("  - name: a\n", vec!["missing-key 3:5"]),
        ("  - id: a b\n", vec!["bad-name 3:9"]),
        ("  - 7\n", vec!["bad-type 3:5"]),
        ("  - id: a\n    depends_on: [c]\n", vec!["unknown-task 4:18"]),
        ("  - id: a\n    depends_on: [a]\n", vec!["cycle 4:18"]),
        ("  - id: a\n    depends_on: [b]\n  - id: b\n    depends_on: [a]\n", vec!["cycle 4:18"]),
        ("  - id: a\n    role: r\n", vec!["unknown-role 4:11"]),
        ("  - id: a\n    timeout: 5 lightyears\n", vec!["bad-duration 4:14"]),
        ("  - id: a\n    timeouts: {attempt: 5m, total: 1m}\n", vec!["bad-value 4:15"]),
        ("  - id: a\n    retry: {max_attempts: 0}\n", vec!["bad-value 4:27"]),
        ("  - id: a\n    retry: {base_delay: 5s, max_delay: 1s}\n", vec!["bad-value 4:40"]),
        ("  - id: a\n    retry: {retry_on: [eror]}\n", vec!["bad-value 4:24"]),
        ("  - id: a\n    retry_policy: exponental\n", vec!["bad-value 4:19"]),
        ("  - id: a\n    effect: harmless\n", vec!["bad-value 4:13"]),
        ("  - id: a\n    priority: high\n", vec!["bad-type 4:15"]),
        ("  - id: a\n    when: input.x >\n", vec!["bad-expression 4:20"]),
        ("  - id: a\n    when: '  now() > 1'\n", vec!["unknown-function 4:14"]),
        ("  - id: a\n    when: inptu.x\n", vec!["unknown-variable 4:11"]),
        ("  - id: a\n    when: item > 1\n", vec!["unknown-variable 4:11"]),
        ("  - id: a\n    input: {x: '${ tasks.b.output }'}\n", vec!["unknown-variable 4:20"]),
        ("  - id: a\n    input: {x: '${ 1 + '}\n", vec!["bad-expression 4:17"]),
        ("  - id: a\n    input: {x: \"${ 1 + }\"}\n", vec!["bad-expression 4:23"]),
        ("  - id: a\n  - id: b\n    input: ${ tasks.a.output }\n", vec!["not-a-dependency 5:15"]),
        (
            "  - id: a\n  - id: b\n    depends_on: [a]\n    input: ${ tasks.a.result }\n",
            vec!["unknown-variable 6:15"],
        ),
        (
            "  - id: a-b\n  - id: b\n    depends_on: [a-b]\n    when: tasks.a-b.output\n",
            vec!["unknown-variable 6:11", "unknown-variable 6:11"],
        ),
        ("  - id: a\n    when: execution.name == ''\n", vec!["unknown-variable 4:11"]),
        ("  - id: a\n    for_each: input.list\n    parallel: true\n", vec!["bad-value 5:5"]),
        ("  - id: a\n    count: 3\n", vec!["bad-value 4:5"]),
        ("  - id: a\n    output_schema: {type: [1]}\n", vec!["bad-schema 4:20"]),
        ("  - id: a\n    resources: {memory: 1 elephant}\n", vec!["bad-resource 4:25"]),
        ("  - id: a\n    agent: b c\n", vec!["bad-name 4:12"]),
    ] {
        let source = with_tasks(tasks);
        assert_eq!(errors(&source), want, "{source}: {:?}", findings(&source));
    }
}

#[test]
fn mistakes_of_stages_steps_and_graphs_have_their_place() {
    for (source, want) in [
        ("id: w\nstages:\n- id: a\n  input: {type: from_nowhere}\n", vec!["bad-value 4:17"]),
        ("id: w\nstages:\n- id: a\n  input: {type: constant}\n", vec!["missing-key 4:10"]),
        ("id: w\nsteps:\n- id: a\n  dependencies: [x]\n", vec!["unknown-task 4:18"]),
        ("graph:\n  nodes: [a, b]\n  edges: [[a, c]]\n", vec!["unknown-task 3:15"]),
        ("graph:\n  nodes: [a, b]\n  edges: [[a]]\n", vec!["bad-type 3:11"]),
        ("graph:\n  nodes: [a, b]\n  edges: [{from: a}]\n", vec!["bad-type 3:11"]),
        ("graph:\n  nodes: [a, b]\n  entry: [a]\n", vec!["unreachable-task 2:14"]),
        ("graph:\n  nodes: [a, b]\n  edges: [[a, b], [b, a]]\n", vec!["cycle 3:23"]),
        ("graph:\n  nodes: [a]\n  finish: [z]\n", vec!["unknown-task 3:12"]),
        ("chain:\n  steps: [a, a]\n", vec!["duplicate-id 2:14"]),
        ("chain:\n  max_worker: 2\n  steps: [a]\n", vec!["unknown-key 2:3"]),
    ] {
        assert_eq!(errors(source), want, "{source}: {:?}", findings(source));
    }
}

#[test]
fn the_remedy_names_what_was_probably_meant() {
    for (source, part) in [
        (with_tasks("  - id: a\n    depend_on: []\n"), "did you mean `depends_on`?"),
        (with_tasks("  - id: collect\n  - id: b\n    depends_on: [colect]\n"), "did you mean `collect`?"),
        ("name: w\nagents: {writer: {}}\ntasks: [{id: a, agent: writter}]".into(), "did you mean `writer`?"),
        (with_tasks("  - id: a\n    when: inptu.x\n"), "did you mean `input`?"),
        (
            with_tasks("  - id: a-b\n  - id: b\n    depends_on: [a-b]\n    when: tasks.a-b.output == 1\n"),
            "tasks[\"a-b\"]",
        ),
        ("name: My Flow!\ntasks: [{id: a}]".into(), "write `my-flow`"),
        ("name: w\nversion: 1\ntype: paralel\ntasks: [{id: a}]".into(), "did you mean `parallel`?"),
    ] {
        let found = findings(&source);
        assert!(found.iter().any(|f| f.remedy.contains(part)), "{part}: {found:?}");
    }
}

#[test]
fn a_cycle_is_named_from_task_to_task() {
    let source = with_tasks(
        "  - id: x\n  - id: a\n    depends_on: [x, b]\n  - id: b\n    depends_on: [c]\n  - id: c\n    depends_on: [a]\n",
    );
    let found = findings(&source);
    assert_eq!(found[0].message, "tasks wait for each other: a → b → c → a");
    assert_eq!((found[0].line, found[0].column), (5, 21), "at the dependency that closes it");
    assert_eq!(found.len(), 1, "tasks behind a cycle are not reported again: {found:?}");
}

#[test]
fn schemas_are_compared_along_edges() {
    let flow = |output: &str, input: &str, mapping: &str| {
        with_tasks(&format!(
            "  - id: a\n    output_schema: {output}\n  - id: b\n    depends_on: [a]\n    input_schema: {input}\n{mapping}"
        ))
    };
    let wants = "{type: object, required: [findings], properties: {findings: {type: array}}}";
    let previous = "    input_from: previous\n";
    for (source, part) in [
        (
            flow("{type: object, properties: {summary: {}}}", wants, previous),
            Some("required field `findings` is missing"),
        ),
        (
            flow("{type: object, properties: {findings: {type: string}}}", wants, previous),
            Some("`findings` is string where array is wanted"),
        ),
        (flow("{type: string}", wants, previous), Some("the value is string where object is wanted")),
        (flow("{type: object, properties: {findings: {type: array}}}", wants, previous), None),
        (flow("{type: object}", wants, previous), None),
        (
            flow(
                "{type: object, properties: {n: {type: integer}}}",
                "{properties: {n: {type: number}}}",
                previous,
            ),
            None,
        ),
        (
            flow(
                "{type: object, properties: {x: {}}}",
                wants,
                "    input: {findings: '${ tasks.a.output.y }'}\n",
            ),
            Some("has no field `y`"),
        ),
        (
            flow(
                "{type: object, properties: {x: {type: string}}}",
                wants,
                "    input: {findings: '${ tasks.a.output.x }'}\n",
            ),
            Some("`findings` is string where array is wanted"),
        ),
        (
            flow(
                "{type: object, properties: {x: {type: array}}}",
                wants,
                "    input: {findings: '${ tasks.a.output.x }'}\n",
            ),
            None,
        ),
        (
            flow("{type: object, properties: {x: {type: array}}}", wants, "    input: {finding: 1}\n"),
            Some("required field `findings` is missing"),
        ),
        (flow("{anyOf: [{type: string}]}", wants, previous), None),
        (
            flow(
                "{type: object, properties: {findings: {type: array}}}",
                "{type: array}",
                "    input_from: previous\n",
            )
            .replace("  - id: a\n", "  - id: a\n    parallel: true\n"),
            None,
        ),
    ] {
        let found = findings(&source);
        match part {
            Some(part) => assert!(
                found.iter().any(|f| f.code == "schema-mismatch" && f.message.contains(part)),
                "{part}: {source}{found:?}"
            ),
            None => assert!(found.is_empty(), "{source}{found:?}"),
        }
    }
}

#[test]
fn limits_trip_early() {
    let bomb = format!(
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n{}name: w\ntasks: [{{id: a}}]\n",
        (b'b'..=b'j').fold(String::new(), |text, c| {
            let (name, last) = (c as char, (c - 1) as char);
            text + &format!("{name}: &{name} [{}]\n", vec![format!("*{last}"); 10].join(","))
        })
    );
    let deep = format!("name: w\nmetadata: {}{}\ntasks: [{{id: a}}]", "[".repeat(100), "]".repeat(100));
    let deep_json = format!("{{\"name\": \"w\", \"metadata\": {}{}}}", "[".repeat(100), "]".repeat(100));
    let deep_block = (0..200).fold("name: w\n".to_owned(), |text, n| text + &" ".repeat(n) + "k:\n");
    let tasks = "name: w\ntasks:\n".to_owned() + &"- id: x\n".repeat(200);
    let small = Limits {
        tasks_max: 100,
        edges_max: 2,
        nodes_max: 3000,
        alias_nodes_max: 500,
        source_bytes_max: 50_000,
        ..Limits::default()
    };
    let edges = with_tasks("  - id: a\n  - id: b\n  - id: c\n  - id: d\n    depends_on: [a, b, c]\n");
    let long = format!("name: w\n{}", "# x\n".repeat(20_000));
    let wide = format!("name: w\nmetadata: {{x: [{}]}}\ntasks: [{{id: a}}]", "1,".repeat(4000));
    let expression = with_tasks(&format!("  - id: a\n    when: {} > 1\n", vec!["1"; 300].join(" + ")));
    for (source, want) in [
        (bomb, "limit-aliases"),
        (deep, "limit-depth"),
        (deep_json, "limit-depth"),
        (deep_block, "limit-depth"),
        (tasks, "limit-tasks"),
        (edges, "limit-edges"),
        (long, "limit-size"),
        (wide, "limit-nodes"),
        (expression, "limit-expression"),
    ] {
        let outcome = compile(&source, &Options { limits: small, ..Options::default() });
        assert!(outcome.findings.iter().any(|f| f.code == want), "{want}: {:?}", outcome.findings);
    }
    let many = "name: w\ntasks:\n".to_owned() + &"- id: x\n  nope: 1\n".repeat(90);
    let few = Limits { findings_max: 5, ..Limits::default() };
    let found = compile(&many, &Options { limits: few, ..Options::default() }).findings;
    assert_eq!((found.len(), found[5].code.as_str()), (6, "limit-findings"), "the rest is counted");
    assert!(found[5].message.starts_with("174 "), "{}", found[5].message);
}

struct Fleet;
impl Offers for Fleet {
    fn total(&self) -> Option<Resources> {
        Some(Resources { cpu_millis: 8000, memory_bytes: u64::MAX, network_mbps: u64::MAX })
    }
    fn offer(&self, need: &Need, resources: &Resources) -> Offer {
        let shortage = match need.capability.as_deref() {
            Some("fly") => Some(Shortage::Capability { name: "fly".into(), nearest: Some("fry".into()) }),
            Some("rest") => Some(Shortage::Agent { why: "the pinned agent is gone".into() }),
            _ if resources.cpu_millis > 1000 => {
                Some(Shortage::TooSmall { why: "it needs 4 cores, the largest has 1 core".into() })
            }
            _ => None,
        };
        let candidates = match shortage {
            None => {
                vec![Candidate { agent_id: base::AgentId::new("pan").unwrap(), reason: "offers it".into() }]
            }
            Some(_) => Vec::new(),
        };
        let chance = |candidate: &Candidate| Chance {
            agent_id: candidate.agent_id.clone(),
            expected: Some(std::time::Duration::from_secs(2)),
            cost: 1.5,
            capacity: 8,
        };
        Offer { choices: candidates.iter().map(chance).collect(), candidates, shortage }
    }
}

#[test]
fn the_fleet_is_asked_for_every_need() {
    let source = with_tasks("  - id: fly\n  - id: rest\n  - id: cook\n");
    let outcome = compile(&source, &Options { offers: Some(&Fleet), ..Options::default() });
    let codes: Vec<_> = outcome.findings.iter().map(|f| (f.code.as_str(), f.line, f.is_error())).collect();
    assert_eq!(codes, [("missing-capability", 3, false), ("missing-agent", 4, false)], "they may come later");
    assert!(outcome.findings[0].remedy.contains("fry"));
    assert_eq!(outcome.error_code(), None);
    let plan = outcome.compiled.unwrap().plan;
    let explained = language::explain(&plan, Some(&Fleet));
    assert_eq!(explained["tasks"][2]["candidates"][0]["agent_id"], "pan");
    assert_eq!(explained["tasks"][0]["shortage"], "no agent offers the capability `fly`");
    assert_eq!(explained["estimated_duration_ms"], 2000);
    assert_eq!(explained["estimated_cost"], 1.5);
    let given = serde_json::json!(
        {"agent_id": "pan", "cost": 1.5, "start_ms": 0, "duration_ms": 2000, "slack_ms": 0}
    );
    assert_eq!(explained["tasks"][2]["allocation"], given);
    assert!(explained["tasks"][0].get("allocation").is_none(), "nobody can do it");
    // What calls nobody asks nobody.
    let waits =
        with_tasks("  - {id: gate, wait: {signal: go}}\n  - {id: sum, transform: {n: 1}}\n  - id: cook\n");
    let plan = compile(&waits, &Options::default()).compiled.unwrap().plan;
    let explained = language::explain(&plan, Some(&Fleet));
    let kinds: Vec<_> = (0..3).map(|t| explained["tasks"][t]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["wait", "transform", "call"]);
    for task in [0, 1] {
        assert!(explained["tasks"][task].get("candidates").is_none(), "{explained}");
        assert!(explained["tasks"][task].get("shortage").is_none(), "{explained}");
    }
    assert_eq!(
        (&explained["unknown_durations"], &explained["estimated_resources"]["agents"]),
        (&1.into(), &1.into())
    );
    let huge = "name: w\nresources: {cpu: 9}\ntasks: [{id: cook}]";
    let outcome = compile(huge, &Options { offers: Some(&Fleet), ..Options::default() });
    assert_eq!(outcome.error_code(), Some(ErrorCode::InsufficientResources), "{:?}", outcome.findings);
    let large = with_tasks("  - id: cook\n    resources: {cpu: 4}\n");
    let outcome = compile(&large, &Options { offers: Some(&Fleet), ..Options::default() });
    assert_eq!(outcome.error_code(), Some(ErrorCode::InsufficientResources));
    assert!(
        outcome.findings[0].message.contains("can never fit: it needs 4 cores"),
        "{}",
        outcome.findings[0].message
    );
}

#[test]
fn a_refusal_has_the_code_of_its_kind() {
    for (source, want) in [
        ("name: w\norchestration_pattern: swarms\ntasks: [{id: a}]", Some(ErrorCode::UnsupportedPattern)),
        ("name: w\ntype: loop\nx: 1\ntasks: [{id: a}]", Some(ErrorCode::InvalidDefinition)),
        (
            "name: w\nlimits: {resources: {cpu: 1}}\nresources: {cpu: 2}\ntasks: [{id: a}]",
            Some(ErrorCode::InsufficientResources),
        ),
        (
            "name: w\nlimits: {resources: {cpu: 1}}\ntasks: [{id: a, resources: {cpu: 2}}]",
            Some(ErrorCode::InsufficientResources),
        ),
        ("name: w\ntasks: [{id: a}]", None),
    ] {
        assert_eq!(compile(source, &Options::default()).error_code(), want, "{source}");
    }
}

#[test]
fn findings_print_like_a_compilers() {
    let source = "name: w\ntasks:\n  - id: a\n    depend_on: [b]\n    timeout: \"soon\"\n";
    let printed = render(&findings(source), "flow.yaml", source);
    let want = "\
error[unknown-key]: `depend_on` is not known here
 --> flow.yaml:4:5
  |
4 |     depend_on: [b]
  |     ^^^^^^^^^
  = help: did you mean `depends_on`?

error[bad-duration]: \"soon\" is not a duration: write a number with a unit: 250ms, 30s, 5m, 2h, 1d or a sum such as 1h30m
 --> flow.yaml:5:14
  |
5 |     timeout: \"soon\"
  |              ^^^^^^
  = help: write a number with a unit: 250ms, 30s, 5m, 2h

";
    assert_eq!(printed, want);
    let long = format!("name: w\n{}nope: 1\ntasks: [{{id: a}}]", " ".repeat(0));
    assert!(render(&findings(&long), "", &long).contains("definition:2:1"));
}
