//! What is refused, and how it is said.

use agent::Effect;
use harness::{Act, Api, TestAgent};
use reqwest::Method;
use serde_json::json;
use testkit::unique_name;

on_both_shapes! {
    what_does_not_exist_is_a_problem
    a_broken_definition_is_refused_with_line_and_column
    a_capability_nobody_has_is_507
    a_workflow_is_not_deleted_while_it_runs
    an_unknown_field_of_a_start_is_named
}

async fn what_does_not_exist_is_a_problem(api: Api) {
    let nobody = "0190b7a4-7c5e-7d5e-8f00-0000000000ff";
    for path in [
        format!("/executions/{nobody}"),
        format!("/executions/{nobody}/history"),
        "/workflows/never-defined".to_owned(),
        "/agents/never-registered".to_owned(),
        "/no-such-route".to_owned(),
    ] {
        let problem = api.get(&path).await.problem(404, "not_found");
        assert!(problem["type"].as_str().is_some_and(|t| t.ends_with("not_found")), "{problem}");
        assert!(problem["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{problem}");
    }
    for path in [format!("/executions/{nobody}/pause"), "/workflows/never-defined/execute".to_owned()] {
        let body = if path.ends_with("execute") { json!({"input": {}}) } else { json!({}) };
        api.post(&path, &body).await.problem(404, "not_found");
    }
}

async fn a_broken_definition_is_refused_with_line_and_column(api: Api) {
    let name = unique_name("flow");
    let text = format!(
        "name: {name}\ntasks:\n  - id: a\n    depends_on: [b]\n  - id: b\n    depends_on: [a]\n    tmeout: 5\n"
    );
    let request = api.request(Method::POST, "/workflows").header("content-type", "application/yaml");
    let refused = api.send(request.body(text)).await.problem(422, "invalid_definition");
    let findings = refused["findings"].as_array().unwrap();
    let of = |code: &str| {
        findings.iter().find(|f| f["code"] == code).unwrap_or_else(|| panic!("{code}: {refused:#}"))
    };
    assert_eq!(of("unknown-key")["line"], 7);
    assert!(of("unknown-key")["remedy"].as_str().is_some_and(|r| r.contains("timeout")), "{refused:#}");
    api.get(&format!("/workflows/{name}")).await.problem(404, "not_found");
}

async fn a_capability_nobody_has_is_507(api: Api) {
    let name = unique_name("flow");
    api.define(&format!("name: {name}\ntasks: [{{id: one, capability: nobody-has-this}}]\n")).await;
    let path = format!("/workflows/{name}/execute");
    let refused = api.post(&path, &json!({"input": {}})).await.problem(507, "insufficient_resources");
    assert!(refused.to_string().contains("nobody-has-this"), "{refused}");
    let none = api.get(&format!("/executions?workflow={name}&status=all")).await.expect(200);
    assert_eq!(none["executions"], json!([]), "nothing was started: {none}");
}

async fn a_workflow_is_not_deleted_while_it_runs(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Hold(json!(1))).await;
    let name = unique_name("flow");
    api.define(&format!("name: {name}\ntasks: [{{id: one, capability: {}}}]\n", agent.capability)).await;
    let id = api.start(&name, &json!({})).await;
    agent.until_asked(1).await;
    let refused = api.delete(&format!("/workflows/{name}")).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    agent.release();
    api.ended(&id).await;
    api.delete(&format!("/workflows/{name}")).await.expect(200);
    api.get(&format!("/workflows/{name}")).await.problem(404, "not_found");
}

async fn an_unknown_field_of_a_start_is_named(api: Api) {
    let body = json!({"workflowId": "x", "inptu": {}});
    let refused = api.post("/execute", &body).await.problem(400, "invalid_argument");
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains("inptu")), "{refused}");
}
