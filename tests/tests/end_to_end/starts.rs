//! Starting: keys, inline definitions, exclusive workflows, schemas.

use agent::Effect;
use harness::{Act, Api, TestAgent};
use reqwest::Method;
use serde_json::json;
use testkit::unique_name;

on_both_shapes! {
    a_start_with_a_key_happens_once
    an_exclusive_workflow_refuses_a_second_start
    a_definition_inside_a_start_runs
    an_input_that_breaks_the_schema_is_refused
    a_batch_starts_one_execution_per_input
    an_execution_is_found_by_the_correlation_id_of_its_start
}

async fn a_start_with_a_key_happens_once(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Answer(json!(1))).await;
    let (name, key) = (unique_name("flow"), unique_name("key"));
    api.define(&format!("name: {name}\ntasks: [{{id: one, capability: {}}}]\n", agent.capability)).await;
    api.run(&name, &json!({})).await;
    let start = |input| {
        let path = format!("/workflows/{name}/execute");
        let request = api.request(Method::POST, &path).header("idempotency-key", &key);
        api.send(request.json(&json!({"input": input})))
    };
    let first = start(json!({"n": 1})).await.expect(202);
    let again = start(json!({"n": 1})).await;
    assert!([200, 202].contains(&again.status), "{}", again.body);
    assert_eq!(again.body["execution_id"], first["execution_id"]);
    assert_eq!(again.body["existing"], true);
    let other = start(json!({"n": 2})).await;
    other.problem(409, "already_exists");
    let id = first["execution_id"].as_str().unwrap();
    api.ended(id).await;
    assert_eq!(agent.seen().iter().filter(|s| s.execution == id).count(), 1);
    // The key works after the end too.
    assert_eq!(start(json!({"n": 1})).await.body["execution_id"], id);
}

async fn an_execution_is_found_by_the_correlation_id_of_its_start(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Answer(json!(1))).await;
    let (name, order, key) = (unique_name("flow"), unique_name("order"), unique_name("key"));
    api.define(&format!("name: {name}\ntasks: [{{id: one, capability: {}}}]\n", agent.capability)).await;
    api.run(&name, &json!({})).await;
    let start = |correlation: &str| {
        let path = format!("/workflows/{name}/execute?wait=30s");
        let request = api.request(Method::POST, &path).header("x-correlation-id", correlation);
        api.send(request.header("idempotency-key", &key).json(&json!({"input": {}})))
    };
    let first = start(&order).await.expect(200);
    let id = first["execution_id"].as_str().unwrap();
    // Another correlation id is not another request, and the first one stays.
    assert_eq!(start("another").await.expect(200)["execution_id"], id);
    let shown = api.get(&format!("/executions/{id}")).await.expect(200);
    assert_eq!(shown["correlation_id"], order.as_str(), "{shown}");
    let history = api.get(&format!("/executions/{id}/history")).await.expect(200);
    assert_eq!(history["events"][0]["data"]["correlation_id"], order.as_str(), "{history}");
    for (query, want) in [
        (format!("correlation_id={order}"), 1),
        (format!("correlation_id={order}&status=completed"), 1),
        (format!("correlation_id={order}&status=failed"), 0),
        ("correlation_id=another".to_owned(), 0),
    ] {
        let found = api.get(&format!("/executions?{query}")).await.expect(200);
        let found = found["executions"].as_array().unwrap();
        assert_eq!(found.len(), want, "{query}: {found:?}");
        assert!(found.iter().all(|e| e["execution_id"] == id && e["correlation_id"] == order.as_str()));
    }
}

async fn an_exclusive_workflow_refuses_a_second_start(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Hold(json!(1))).await;
    let name = unique_name("flow");
    api.define(&format!(
        "name: {name}\nconcurrency: 1\ntasks: [{{id: one, capability: {}}}]\n",
        agent.capability
    ))
    .await;
    let first = api.start(&name, &json!({})).await;
    agent.until_asked(1).await;
    let path = format!("/workflows/{name}/execute");
    let refused = api.post(&path, &json!({"input": {}})).await.problem(409, "already_executing");
    assert_eq!(refused["related"], json!([first]), "{refused}");
    agent.release();
    api.ended(&first).await;
    let second = api.run(&name, &json!({})).await;
    assert_eq!(second["status"], "completed");
}

async fn a_definition_inside_a_start_runs(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |seen| Act::Answer(seen.input.clone())).await;
    let name = unique_name("inline");
    let definition = json!({
        "name": name, "version": "1",
        "tasks": [{"id": "one", "capability": agent.capability, "input_from": "execution"}],
    });
    let body = json!({"definition": definition, "input": {"n": 7}});
    let done = testkit::wait_for("the fleet to be known", harness::PATIENCE, async || {
        let got = api.post("/execute?wait=30s", &body).await;
        (got.status != 507).then_some(got)
    });
    let done = done.await.expect(200);
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(done["output"], json!({"n": 7}));
}

async fn an_input_that_breaks_the_schema_is_refused(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Answer(json!(1))).await;
    let name = unique_name("flow");
    api.define(&format!(
        "name: {name}\ninput_schema: {{type: object, required: [q], properties: {{q: {{type: string}}}}}}\ntasks: [{{id: one, capability: {}}}]\n",
        agent.capability
    ))
    .await;
    api.run(&name, &json!({"q": "fine"})).await;
    let path = format!("/workflows/{name}/execute");
    let refused = api.post(&path, &json!({"input": {"q": 5}})).await.problem(400, "invalid_argument");
    assert_eq!(refused["field"], "input/q", "{refused}");
    assert_eq!(agent.count(), 1, "a refused start calls nobody");
}

async fn a_batch_starts_one_execution_per_input(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |seen| Act::Answer(seen.input.clone())).await;
    let name = unique_name("flow");
    api.define(&format!(
        "name: {name}\ntasks: [{{id: one, capability: {}, input_from: execution}}]\n",
        agent.capability
    ))
    .await;
    api.run(&name, &json!({"n": -1})).await;
    let inputs: Vec<_> = (0..20).map(|n| json!({"n": n})).collect();
    let path = format!("/workflows/{name}/execute/batch");
    let answer = api.post(&path, &json!({"inputs": inputs})).await;
    assert!(answer.status < 300, "{}", answer.body);
    assert_eq!(answer.body["started"], 20, "{}", answer.body);
    for (n, result) in answer.body["results"].as_array().unwrap().iter().enumerate() {
        let done = api.ended(result["execution"]["execution_id"].as_str().unwrap()).await;
        assert_eq!(done["output"], json!({"n": n}));
    }
}
