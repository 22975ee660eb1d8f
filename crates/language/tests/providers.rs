//! Work of other engines: where it is said, what it becomes, and what is refused. Kinds that are switched off.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use base::ErrorCode;
use language::{Compiled, Kinds, Options, Outcome, Provider, compile};
use serde_json::json;
use workflow::plan::{Capabilities, InputSpec, NodeKind, PLAN_SCHEMA, Remote, Work};

fn ok(source: &str) -> Compiled {
    let outcome = compile(source, &Options::default());
    assert_eq!(outcome.findings, [], "{source}");
    outcome.compiled.unwrap()
}

fn codes(outcome: &Outcome) -> Vec<String> {
    outcome.findings.iter().map(|f| format!("{} {}:{}", f.code, f.line, f.column)).collect()
}

fn remote(compiled: &Compiled) -> Remote {
    *compiled.plan.tasks[0].remote.clone().unwrap()
}

#[test]
fn a_task_or_a_whole_definition_is_done_elsewhere() {
    let task = ok(
        "name: w\ntasks:\n- {id: a, provider: temporal, workflow_type: Charge, task_queue: pay, input: {n: 1}}\n",
    );
    let whole = ok("name: w\nprovider: temporal\nworkflow_type: Charge\ntask_queue: pay\nretries: 2\n");
    for compiled in [&task, &whole] {
        let wanted = Remote {
            provider: "temporal".into(),
            work: Work::Workflow("Charge".into()),
            task_queue: Some("pay".into()),
        };
        assert_eq!(remote(compiled), wanted);
        assert_eq!(compiled.plan.schema, PLAN_SCHEMA, "an older build would take it for a call to an agent");
        let plan = workflow::Compiled::new(compiled.plan.clone());
        assert!(plan.is_ok(), "{plan:?}");
    }
    let run = &whole.plan.tasks[0];
    assert_eq!((run.id.as_str(), &run.input), ("run", &InputSpec::Execution));
    assert_eq!(run.retry.as_ref().unwrap().max_attempts, 3);
    assert_eq!(run.need.agent.as_ref().unwrap().as_str(), "provider.temporal");
    // The canonical form says the same.
    for compiled in [&task, &whole] {
        let again = ok(&compiled.canonical);
        assert_eq!((&again.plan, &again.canonical), (&compiled.plan, &compiled.canonical));
    }
}

#[test]
fn chains_and_graphs_are_handed_over_as_they_stand() {
    let chain = ok("chain:\n  provider: orchestra\n  steps: [{id: a, capability: x}, b]\n  timeout: 60\n");
    let document = json!({"steps": [{"id": "a", "capability": "x"}, "b"], "timeout": 60});
    assert_eq!(remote(&chain).work, Work::Chain(document));
    assert_eq!(chain.plan.limits.timeout.unwrap().as_secs(), 60);
    let graph = ok("graph:\n  provider: orchestra\n  nodes: {a: null, b: null}\n  edges: [[a, b]]\n");
    assert_eq!(
        remote(&graph).work,
        Work::Graph(json!({"nodes": {"a": null, "b": null}, "edges": [["a", "b"]]}))
    );
    let again = ok(&graph.canonical);
    assert_eq!(again.plan, graph.plan);
}

#[test]
fn the_built_in_engine_may_be_named() {
    let plain = ok("chain: {name: c, version: \"1\", steps: [{id: a, capability: x}]}");
    let named = ok("chain: {name: c, version: \"1\", provider: builtin, steps: [{id: a, capability: x}]}");
    assert_eq!(plain.plan, named.plan);
    let child = ok("name: w\ntasks: [{id: a, provider: builtin, workflow_type: other}]\n");
    assert!(matches!(&child.plan.tasks[0].kind, NodeKind::Child(c) if c.workflow == "other"));
}

#[test]
fn what_an_engine_cannot_do_is_refused_at_its_place() {
    let task = |keys: &str| format!("name: w\ntasks:\n- {{id: a, {keys}}}\n");
    for (source, want, said) in [
        (task("provider: tempral, workflow_type: W"), "unknown-provider 3:11", "did you mean `temporal`?"),
        (
            task("provider: airflow, workflow_type: W"),
            "unknown-provider 3:11",
            "builtin, temporal, orchestra",
        ),
        (task("provider: temporal, chain: {steps: [a]}"), "provider-cannot 3:11", "`workflow_type` each"),
        ("chain: {provider: temporal, steps: [a]}".into(), "provider-cannot 1:9", "`workflow_type` each"),
        (
            "graph: {provider: temporal, nodes: {a: null}}".into(),
            "provider-cannot 1:9",
            "leave `provider` out",
        ),
        (
            task("provider: orchestra, workflow_type: W, task_queue: q"),
            "provider-cannot 3:11",
            "remove `task_queue`",
        ),
        (
            task("provider: temporal, workflow_type: W, timeouts: {heartbeat: 5s}"),
            "provider-cannot 3:11",
            "with `timeout`",
        ),
        (task("provider: temporal"), "missing-key 3:11", "workflow_type"),
        (task("workflow_type: W"), "missing-key 3:11", "add `provider: …`"),
        (task("provider: temporal, workflow_type: W, chain: {}"), "bad-value 3:49", "keep one"),
        (task("provider: temporal, workflow_type: W, agent_id: x"), "not-for-node 3:49", "remove it"),
        (task("provider: builtin, chain: {steps: [a]}"), "bad-value 3:30", "under `tasks`"),
        (
            "name: w\nprovider: temporal\ntasks: [{id: a}]\n".into(),
            "bad-value 2:1",
            "put `provider` on the tasks",
        ),
    ] {
        let outcome = compile(&source, &Options::default());
        assert_eq!(codes(&outcome), [want], "{source}: {:?}", outcome.findings);
        assert!(outcome.findings[0].remedy.contains(said), "{source}: {:?}", outcome.findings);
    }
}

#[test]
fn an_installation_says_which_engines_it_has() {
    let mut known = Provider::shipped();
    known[0].lacks = Some("providers.temporal_address".into());
    known.push(Provider {
        name: "own".into(),
        can: Capabilities { chains: true, ..Capabilities::default() },
        lacks: None,
    });
    let options = Options { providers: Some(&known), ..Options::default() };
    let off = compile("name: w\nprovider: temporal\nworkflow_type: W\n", &options);
    assert_eq!(codes(&off), ["provider-off 2:1"]);
    assert!(off.findings[0].remedy.contains("providers.temporal_address"));
    let chain = compile("chain: {provider: own, steps: [a]}", &options);
    assert_eq!(chain.findings, [], "registered by name, and it runs chains");
    let workflow = compile("name: w\nprovider: own\nworkflow_type: W\n", &options);
    assert_eq!(codes(&workflow), ["provider-cannot 2:1"]);
}

#[test]
fn work_without_a_queue_gets_the_installations_where_there_are_queues() {
    let mut options = Options::default();
    options.defaults.task_queue = Some("beluga-workflows".into());
    for (provider, queue) in [("temporal", Some("beluga-workflows".to_owned())), ("orchestra", None)] {
        let source = format!("name: w\nprovider: {provider}\nworkflow_type: W\n");
        assert_eq!(remote(&compile(&source, &options).compiled.unwrap()).task_queue, queue);
    }
}

#[test]
fn a_kind_that_is_switched_off_is_refused_with_its_setting() {
    let (chain, graph, workflow) =
        ("chain: {steps: [a]}", "graph: {nodes: {a: null}}", "name: w\ntasks: [{id: a}]\n");
    for (kinds, refused, setting) in [
        (Kinds { chains: false, ..Kinds::default() }, chain, "planner.chains"),
        (Kinds { graphs: false, ..Kinds::default() }, graph, "planner.graphs"),
        (Kinds { workflows: false, ..Kinds::default() }, workflow, "planner.workflows"),
    ] {
        for source in [chain, graph, workflow] {
            let outcome = compile(source, &Options { kinds, ..Options::default() });
            assert_eq!(outcome.compiled.is_none(), source == refused, "{source}");
            if source == refused {
                assert_eq!(outcome.findings[0].code, "kind-off");
                assert!(outcome.findings[0].message.contains(setting), "{:?}", outcome.findings);
                assert_eq!(outcome.error_code(), Some(ErrorCode::InvalidState));
            }
        }
    }
}
