//! Pause, resume, cancel, terminate, and what people decide.

use agent::Effect;
use harness::{Act, Api, TestAgent};
use serde_json::{Value, json};
use testkit::unique_name;

on_both_shapes! {
    a_paused_execution_has_a_checkpoint_and_resumes
    cancel_tells_the_agent
    terminate_ends_at_once
    a_question_of_an_agent_is_answered_over_rest
    commands_to_a_workflow_mean_its_only_active_execution
    the_history_tells_everything_in_order
}

/// A workflow of `first` and then `second` on this agent.
async fn two_steps(api: &Api, agent: &TestAgent) -> String {
    let (name, skill) = (unique_name("flow"), &agent.capability);
    api.define(&format!(
        "name: {name}\ntasks:\n  - {{id: first, capability: {skill}}}\n  - {{id: second, capability: {skill}, depends_on: [first]}}\n"
    ))
    .await;
    name
}

async fn a_paused_execution_has_a_checkpoint_and_resumes(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |seen| Act::Hold(json!(seen.task))).await;
    let name = two_steps(&api, &agent).await;
    let id = api.start(&name, &json!({})).await;
    agent.until_asked(1).await;
    let paused = api.post(&format!("/executions/{id}/pause"), &json!({"reason": "lunch"})).await.expect(200);
    assert_eq!(paused["status"], "paused", "{paused}");
    assert!(paused["checkpoint_id"].as_str().is_some_and(|c| c.len() == 36), "{paused}");
    agent.release();
    // What runs finishes and is recorded; nothing new begins.
    let execution = api.until_task(&id, "first", "completed").await;
    assert_eq!(execution["status"], "paused");
    assert_eq!(agent.count(), 1);
    let resumed = api.post(&format!("/executions/{id}/resume"), &json!({})).await.expect(200);
    assert_eq!(resumed["status"], "executing", "{resumed}");
    assert_eq!(api.ended(&id).await["status"], "completed");
    assert_eq!(agent.count(), 2);
    api.post(&format!("/executions/{id}/resume"), &json!({})).await.problem(409, "invalid_state");
}

/// Waits until the agent's own name for the call is known: its first progress comes after it on the same stream.
async fn until_named(api: &Api, id: &str) {
    api.until(id, "progress", |e| Api::task(e, "first")["progress"].as_f64() == Some(0.5)).await;
}

async fn cancel_tells_the_agent(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Never).await;
    let name = two_steps(&api, &agent).await;
    let id = api.start(&name, &json!({})).await;
    agent.until_asked(1).await;
    until_named(&api, &id).await;
    api.post(&format!("/executions/{id}/cancel"), &json!({"reason": "enough"})).await.expect(200);
    assert_eq!(api.ended(&id).await["status"], "cancelled");
    agent.until_cancelled(1).await;
    assert_eq!(agent.count(), 1);
}

async fn terminate_ends_at_once(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Never).await;
    let name = two_steps(&api, &agent).await;
    let id = api.start(&name, &json!({})).await;
    agent.until_asked(1).await;
    until_named(&api, &id).await;
    let ended = api.post(&format!("/executions/{id}/terminate"), &json!({})).await.expect(200);
    assert_eq!(ended["status"], "terminated", "{ended}");
    assert_eq!(api.execution(&id).await["status"], "terminated");
    agent.until_cancelled(1).await;
}

async fn a_question_of_an_agent_is_answered_over_rest(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Ask("Which colour?".into())).await;
    let name = unique_name("flow");
    api.define(&format!("name: {name}\ntasks: [{{id: ask, capability: {}}}]\n", agent.capability)).await;
    let id = api.start(&name, &json!({})).await;
    let waiting = api.until_task(&id, "ask", "input_required").await;
    assert_eq!(waiting["status"], "executing");
    let path = format!("/executions/{id}/tasks/ask/input");
    api.post(&path, &json!({"input": {"colour": "blue"}})).await.expect(200);
    let done = api.ended(&id).await;
    assert_eq!(done["status"], "completed", "{done:#}");
    assert_eq!(done["output"]["answered"], json!({"colour": "blue"}), "{done:#}");
    let history = api.history(&id).await;
    assert!(history.iter().any(|e| e["type"] == "task.input_required" && e["data"]["prompt"].to_string().contains("colour")));
    api.post(&path, &json!({"input": 1})).await.problem(409, "invalid_state");
}

async fn commands_to_a_workflow_mean_its_only_active_execution(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Hold(json!(1))).await;
    let name = two_steps(&api, &agent).await;
    let first = api.start(&name, &json!({})).await;
    api.post(&format!("/workflows/{name}/pause"), &json!({})).await.expect(200);
    assert_eq!(api.execution(&first).await["status"], "paused");
    let second = api.start(&name, &json!({})).await;
    let refused = api.post(&format!("/workflows/{name}/resume"), &json!({})).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let listed: Vec<&Value> = refused.body["related"].as_array().unwrap().iter().collect();
    assert!(listed.contains(&&json!(first)) && listed.contains(&&json!(second)), "{}", refused.body);
    for id in [&first, &second] {
        api.post(&format!("/executions/{id}/terminate"), &json!({})).await.expect(200);
    }
}

async fn the_history_tells_everything_in_order(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |seen| Act::Answer(json!(seen.task))).await;
    let name = two_steps(&api, &agent).await;
    let done = api.run(&name, &json!({})).await;
    let id = done["execution_id"].as_str().unwrap();
    let history = api.history(id).await;
    let kinds: Vec<&str> = history.iter().filter_map(|e| e["type"].as_str()).collect();
    let position =
        |kind: &str| kinds.iter().position(|k| *k == kind).unwrap_or_else(|| panic!("{kind}: {kinds:?}"));
    for pair in [
        ["workflow.execution_started", "agent.assigned"],
        ["agent.assigned", "task.started"],
        ["task.started", "task.completed"],
    ] {
        assert!(position(pair[0]) < position(pair[1]), "{pair:?}: {kinds:?}");
    }
    assert_eq!(kinds.iter().filter(|k| **k == "task.completed").count(), 2);
    let seqs: Vec<u64> = history.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
    // Page after page gives the same.
    let (mut paged, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/executions/{id}/history?after={after}&limit=3");
        let page = api.get(&path).await.expect(200)["events"].as_array().unwrap().clone();
        let Some(last) = page.last() else { break };
        after = last["seq"].as_u64().unwrap();
        paged.extend(page);
    }
    assert_eq!(paged, history);
}
