//! The source documents' own examples are accepted as they stand, with exactly the findings that are expected.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use std::{path::Path, time::Duration};

use base::{FailureClass, Severity};
use language::{Compiled, Options, compile};
use serde_json::json;
use workflow::plan::{Backoff, InputSpec, OutputSpec, Spread};

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file)).unwrap()
}

/// Compiles an example; its findings are `code path`, in the order of the text.
fn accept(file: &str, want: &[&str]) -> Compiled {
    let outcome = compile(&read(file), &Options::default());
    let found: Vec<_> = outcome.findings.iter().map(|f| format!("{} {}", f.code, f.path)).collect();
    assert_eq!(found, want, "{file}: {}", language::render(&outcome.findings, file, &read(file)));
    outcome.compiled.unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_workflow_of_s0_is_accepted_in_yaml_and_json() {
    let want = ["no-effect-yet constraints.complianceRequired", "no-effect-yet compliance"];
    let yaml = accept("s0/my-workflow.yaml", &want);
    let json = accept("s0/my-workflow.json", &want);
    assert_eq!(yaml.content_hash, json.content_hash, "one definition, two notations");
    let plan = yaml.plan;
    assert_eq!((plan.name.as_str(), plan.version.as_str()), ("my-workflow", "1.0.0"));
    assert_eq!(plan.metadata["display_name"], "My Workflow");
    assert_eq!(plan.metadata["tags"], json!(["analysis", "example"]));
    let task = &plan.tasks[0];
    assert_eq!((task.id.as_str(), task.name.as_str(), task.priority), ("analyze-stage", "Analyze Data", 1));
    assert_eq!(task.need.agent.as_ref().unwrap().as_str(), "my-agent");
    assert_eq!(task.need.capability.as_deref(), Some("analyze"));
    assert_eq!(task.input, InputSpec::Execution);
    assert_eq!(
        task.input_schema,
        Some(json!({"type": "object", "properties": {"data": {"type": "string"}}}))
    );
    assert_eq!(
        task.output_schema,
        Some(json!({"type": "object", "properties": {"result": {"type": "object"}}}))
    );
    assert_eq!(task.timeouts.attempt, Some(10 * SECOND));
    let retry = task.retry.as_ref().unwrap();
    assert_eq!((retry.max_attempts, retry.backoff), (3, Backoff::Exponential));
    assert_eq!((retry.base_delay, retry.max_delay), (SECOND, 5 * SECOND));
    assert_eq!(retry.on, [FailureClass::Error, FailureClass::Timeout]);
    assert_eq!(plan.limits.timeout, Some(30 * SECOND));
    assert_eq!((plan.limits.max_retries, plan.limits.allowed_failures), (Some(3), 0));
    assert_eq!(plan.limits.max_calls, Some(2), "the smaller of the two");
    let limit = plan.limits.resources.unwrap();
    assert_eq!((limit.cpu_millis, limit.memory_bytes, limit.network_mbps), (4000, 8192 << 20, 1000));
    assert_eq!(yaml.definition.resources.memory_bytes, 4096 << 20);
    assert_eq!(yaml.definition.later["compliance"][0]["level"], "silver");
}

#[test]
fn the_workflows_of_s1_are_accepted() {
    let pipeline = accept("s1/development_pipeline.yaml", &[]).plan;
    assert_eq!(pipeline.name, "development_pipeline");
    assert!(
        pipeline.version.starts_with('c') && pipeline.version.len() == 13,
        "derived: {}",
        pipeline.version
    );
    assert_eq!(
        pipeline.tasks[0].need.capability.as_deref(),
        Some("requirement_analysis"),
        "no agent: the type"
    );
    assert_eq!(pipeline.tasks[0].timeouts.attempt, Some(300 * SECOND));
    assert_eq!(pipeline.tasks[1].after, [0]);
    assert_eq!(pipeline.tasks[1].need.agent.as_ref().unwrap().as_str(), "code-agent");
    assert_eq!(pipeline.tasks[1].need.capability, None);
    let review = accept("s1/code_review_workflow.json", &[]).plan;
    assert_eq!(review.tasks.len(), 3);
    assert_eq!(review.tasks[2].need.capability.as_deref(), Some("deployment"));
    assert_eq!(review.tasks[2].after, [1]);
}

#[test]
fn the_workflow_of_s2_is_accepted() {
    let found = ["pattern-as-written orchestration_pattern"];
    let plan = accept("s2/research_and_analysis.yaml", &found).plan;
    assert_eq!(plan.metadata["coordination"]["type"], "hybrid");
    assert_eq!((plan.name.as_str(), plan.version.as_str()), ("research_and_analysis", "1.0"));
    assert_eq!(plan.pattern, "supervisor");
    let ids: Vec<_> = plan.tasks.iter().map(|t| t.id.as_str()).collect();
    assert_eq!(ids, ["decompose", "research", "analyze", "synthesize"]);
    assert_eq!(plan.tasks[1].spread, Spread::Parallel { count: None });
    assert_eq!(plan.tasks[1].need.role.as_deref(), Some("researcher"));
    assert_eq!(plan.tasks[1].need.agent_type, "research_agent");
    assert_eq!(plan.tasks[1].need.capabilities, ["web_search", "data_collection"]);
}

#[test]
fn the_workflow_of_s3_is_accepted_with_and_without_its_wrapper() {
    let found = [
        "pattern-as-written orchestration_pattern",
        "no-effect-yet fault_tolerance.circuit_breaker",
        "nothing-to-compensate saga",
    ];
    let compiled = accept("s3/multi_agent_research.yaml", &found);
    let plan = &compiled.plan;
    assert_eq!(plan.tasks[1].spread, Spread::Parallel { count: Some(3) });
    assert_eq!(plan.tasks[1].resources.cpu_millis, 1000);
    assert_eq!(plan.roles["supervisor"].resources.memory_bytes, 4 << 30);
    assert_eq!(plan.tasks[0].timeouts.attempt, Some(300 * SECOND));
    assert_eq!(plan.tasks[0].retry.as_ref().unwrap().backoff, Backoff::Exponential);
    assert_eq!(plan.tasks[2].after, [1]);
    assert!(plan.saga.on_failure && plan.saga.on_cancel);
    assert_eq!(compiled.definition.later["fault_tolerance"]["circuit_breaker"]["failure_threshold"], 3);
    let body = accept("s3/post-workflows.json", &found[..1]);
    assert_eq!(body.plan.tasks, plan.tasks);
    assert_eq!(body.definition.dialect.as_str(), "canonical");
    assert_eq!(compiled.definition.dialect.as_str(), "workflow");
}

#[test]
fn the_chains_of_s4_are_accepted() {
    let simple = accept("s4/simple_chain.yaml", &[]).plan;
    assert!(simple.name.starts_with("chain-"), "{}", simple.name);
    assert_eq!(simple.limits.timeout, Some(30 * SECOND));
    assert_eq!(
        simple.session.as_ref().unwrap().history,
        20,
        "a chain with a memory hears what was said before"
    );
    assert_eq!(simple.tasks[1].after, [0]);
    assert_eq!(simple.tasks[1].input, InputSpec::Previous);
    assert_eq!(simple.tasks[1].need.capability.as_deref(), Some("step2"), "no agent, no type: the id");
    assert_eq!(simple.tasks[0].retry.as_ref().unwrap().max_attempts, 4, "three retries");
    let plan = accept("s4/configured_chain.yaml", &[]).plan;
    assert_eq!(plan.name, "data-processing-chain");
    assert_eq!(plan.metadata["description"], "Processes and validates data");
    assert_eq!(plan.input_schema, Some(json!({"type": "object", "required": ["data", "config"]})));
    let OutputSpec::Template(output) = &plan.output else { panic!("{:?}", plan.output) };
    assert_eq!(output["result"], "${ tasks[\"step2\"].output[\"result\"] }");
}

#[test]
fn the_graphs_and_the_workflow_of_s4_are_accepted() {
    let graph = accept("s4/graph.yaml", &[]).plan;
    assert_eq!(graph.limits.max_calls, Some(5));
    assert_eq!(graph.output, OutputSpec::Tasks(vec!["storage".into()]));
    let ids: Vec<_> = graph.tasks.iter().map(|t| t.id.as_str()).collect();
    assert_eq!(ids, ["data_processor", "validator", "enricher", "storage"]);
    assert_eq!(graph.tasks[3].need.capability.as_deref(), Some("DataStorage"));
    let named = accept("s4/configured_graph.json", &[]).plan;
    assert_eq!((named.name.as_str(), named.limits.queue_size), ("complex-workflow", Some(100)));
    let workflow = accept("s4/configured_workflow.yaml", &["no-effect-yet task_queue"]).plan;
    assert_eq!(workflow.limits.timeout, Some(1800 * SECOND));
    assert_eq!(workflow.metadata["task_queue"], "processing-queue");
    assert_eq!(workflow.metadata["priority"], "high");
    assert_eq!(workflow.tasks[0].retry.as_ref().unwrap().max_attempts, 11);
}

#[test]
fn the_canonical_form_of_every_example_reads_back_to_the_same_plan() {
    for dir in ["s0", "s1", "s2", "s3", "s4"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(dir);
        for file in std::fs::read_dir(dir).unwrap() {
            let file = file.unwrap().path();
            let source = std::fs::read_to_string(&file).unwrap();
            let first = compile(&source, &Options::default()).compiled.unwrap();
            let again = compile(&first.canonical, &Options::default());
            let again = again.compiled.unwrap_or_else(|| panic!("{}: {:?}", file.display(), again.findings));
            assert_eq!(again.plan.tasks, first.plan.tasks, "{}", file.display());
            assert_eq!(again.plan.limits, first.plan.limits, "{}", file.display());
            assert_eq!(again.canonical, first.canonical, "{}", file.display());
            let errors = compile(&source, &Options::default()).findings;
            assert!(errors.iter().all(|f| f.severity != Severity::Error));
        }
    }
}

#[test]
fn defaults_of_the_installation_fill_in_what_is_not_said() {
    let defaults = language::Defaults {
        chain_timeout: Some(7 * SECOND),
        chain_retries: Some(2),
        graph_max_workers: Some(4),
        graph_parallel: true,
        task_queue: Some("default".into()),
    };
    let run = |source: &str, defaults: &language::Defaults| {
        compile(source, &Options { defaults: defaults.clone(), ..Options::default() }).compiled.unwrap()
    };
    let chain = run("chain: {steps: [a, {id: b, retries: 0}]}", &defaults);
    assert_eq!(chain.plan.limits.timeout, Some(7 * SECOND));
    let attempts: Vec<_> = chain.plan.tasks.iter().map(|t| t.retry.as_ref().unwrap().max_attempts).collect();
    assert_eq!(attempts, [3, 1]);
    assert_eq!(chain.plan.metadata["task_queue"], "default");
    let graph = run("graph: {nodes: [a]}", &defaults);
    assert_eq!((graph.plan.limits.max_calls, graph.plan.limits.timeout), (Some(4), None));
    let alone = run("graph: {nodes: [a]}", &language::Defaults { graph_parallel: false, ..defaults.clone() });
    assert_eq!(alone.plan.limits.max_calls, Some(1));
    let plain = compile("graph: {nodes: [a]}", &Options::default()).compiled.unwrap();
    assert_eq!(plain.content_hash, graph.content_hash, "the content is the same whoever runs it");
}
