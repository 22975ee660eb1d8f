//! Graphs: order, scatter and gather, conditions, mapping.

use agent::Effect;
use harness::{Act, Api, TestAgent};
use serde_json::json;
use testkit::unique_name;

on_both_shapes! {
    a_definition_runs_to_its_result
    a_scattered_task_gathers_its_items_in_order
    a_condition_that_is_false_skips_its_task
    expressions_map_inputs_and_the_output
}

async fn a_definition_runs_to_its_result(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |seen| Act::Answer(json!({"did": seen.task}))).await;
    let (name, skill) = (unique_name("flow"), &agent.capability);
    let workflow = api
        .define(&format!(
            "name: {name}\ntasks:\n  - {{id: first, capability: {skill}}}\n  - {{id: second, capability: {skill}, depends_on: [first]}}\n"
        ))
        .await;
    // Once the fleet is known everywhere a start answers with the result.
    api.run(&name, &json!({})).await;
    let path = format!("/workflows/{name}/execute?wait=30s");
    let done = api.post(&path, &json!({"input": {"n": 1}})).await.expect(200);
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(done["output"], json!({"did": "second"}));
    let id = done["execution_id"].as_str().unwrap();
    let execution = api.execution(id).await;
    assert_eq!(execution["workflow_id"], workflow.as_str());
    assert_eq!(Api::task(&execution, "first")["state"], "completed");
    let asked: Vec<_> = agent.seen().into_iter().filter(|s| s.execution == id).map(|s| s.task).collect();
    assert_eq!(asked, ["first", "second"]);
    let status = api.get(&format!("/workflows/{name}/status")).await.expect(200);
    assert_eq!(status["execution_id"], id, "the status of a workflow is its newest execution's");
}

async fn a_scattered_task_gathers_its_items_in_order(api: Api) {
    let agent = TestAgent::several(&api, 2, Effect::Pure, |seen| {
        Act::Answer(json!({"twice": seen.input["n"].as_i64().unwrap_or(0) * 2}))
    })
    .await;
    let (name, skill) = (unique_name("flow"), &agent.capability);
    api.define(&format!(
        "name: {name}\ntasks:\n  - id: each\n    capability: {skill}\n    for_each: input.numbers\n    max_parallel: 3\n    input: {{n: '${{ item }}', at: '${{ index }}'}}\n"
    ))
    .await;
    let done = api.run(&name, &json!({"numbers": [5, 3, 8, 1, 9, 2, 7]})).await;
    assert_eq!(done["status"], "completed", "{done:#}");
    let twice: Vec<i64> =
        done["output"].as_array().unwrap().iter().map(|o| o["twice"].as_i64().unwrap()).collect();
    assert_eq!(twice, [10, 6, 16, 2, 18, 4, 14]);
    assert_eq!(agent.count(), 7);
    assert_eq!(Api::task(&done, "each")["items"].as_array().map(Vec::len), Some(7));
}

async fn a_condition_that_is_false_skips_its_task(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |seen| Act::Answer(json!({"did": seen.task}))).await;
    let (name, skill) = (unique_name("flow"), &agent.capability);
    api.define(&format!(
        "name: {name}\ntasks:\n  - {{id: always, capability: {skill}}}\n  - {{id: maybe, capability: {skill}, depends_on: [always], when: input.wanted}}\n  - {{id: last, capability: {skill}, depends_on: [always]}}\noutput: {{last: '${{ tasks.last.output.did }}'}}\n"
    ))
    .await;
    let without = api.run(&name, &json!({"wanted": false})).await;
    assert_eq!(without["status"], "completed", "{without:#}");
    assert_eq!(Api::task(&without, "maybe")["state"], "skipped");
    assert_eq!(without["output"], json!({"last": "last"}));
    assert!(agent.seen().iter().all(|s| s.task != "maybe"));
    let with = api.run(&name, &json!({"wanted": true})).await;
    assert_eq!(Api::task(&with, "maybe")["state"], "completed");
}

async fn expressions_map_inputs_and_the_output(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |seen| Act::Answer(seen.input.clone())).await;
    let (name, skill) = (unique_name("flow"), &agent.capability);
    api.define(&format!(
        r#"
name: {name}
tasks:
  - id: left
    capability: {skill}
    input: {{title: "About ${{ input.topic }}", size: "${{ size(input.words) }}"}}
  - id: right
    capability: {skill}
    depends_on: [left]
    input: {{long: "${{ input.words.filter(w, size(w) > 3) }}", title: "${{ tasks.left.output.title }}"}}
output: {{size: "${{ tasks.left.output.size }}", long: "${{ tasks.right.output.long }}", from: "${{ workflow.name }}"}}
"#
    ))
    .await;
    let done = api.run(&name, &json!({"topic": "rust", "words": ["a", "long", "word"]})).await;
    assert_eq!(done["output"], json!({"size": 3, "long": ["long", "word"], "from": name}), "{done:#}");
    assert_eq!(agent.seen()[0].input, json!({"title": "About rust", "size": 3}));
    assert_eq!(agent.seen()[1].input["title"], "About rust");
}

/// The figures of a process: a cluster has one page for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_and_graphs_have_figures_of_their_own_under_the_prefix() {
    let system = harness::System::shared(harness::Shape::OneProcess);
    let _logs = system.shown_on_failure();
    let api = system.api();
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Answer(json!(1))).await;
    let names = [unique_name("chain"), unique_name("graph")];
    let (skill, [chain, graph]) = (&agent.capability, &names);
    api.define(&format!("chain: {{name: {chain}, version: '1', steps: [{{name: a, type: {skill}}}]}}\n"))
        .await;
    api.define(&format!(
        "graph: {{name: {graph}, version: '1', nodes: {{a: {{type: {skill}}}, b: {{type: {skill}}}}}, edges: [[a, b]], entry: [a], finish: [b]}}\n"
    ))
    .await;
    for name in &names {
        assert_eq!(api.run(name, &json!({})).await["status"], "completed");
    }
    let page = reqwest::get(format!("{}/metrics", api.base())).await.unwrap().text().await.unwrap();
    let value = |name: &str| {
        let line = page.lines().find(|l| !l.starts_with('#') && l.starts_with(name));
        line.and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    for name in ["chain_executions_total", "graph_executions_total", "chain_duration", "graph_nodes"] {
        let name = format!("orchestra_{name}");
        assert!(page.lines().any(|l| l.starts_with(&name)), "{name} in {page}");
    }
    assert!(value("orchestra_chain_executions_total") >= 1.0, "{page}");
    assert!(value("orchestra_graph_executions_total") >= 1.0, "{page}");
}
