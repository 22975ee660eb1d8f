//! What goes wrong with agents, and what becomes of it.

use agent::Effect;
use harness::{Act, Api, TestAgent};
use serde_json::{Value, json};
use testkit::unique_name;

on_both_shapes! {
    a_retry_goes_to_another_instance_and_says_why
    a_retry_goes_to_another_agent_of_the_capability
    a_failed_execution_keeps_every_cause
    a_class_that_is_not_retried_fails_at_once
    an_output_that_breaks_its_schema_is_a_failure
    an_attempt_that_takes_too_long_is_a_timeout
    an_optional_task_may_fail
}

fn assignments(history: &[Value]) -> Vec<&Value> {
    history.iter().filter(|e| e["type"] == "agent.assigned").map(|e| &e["data"]).collect()
}

async fn a_retry_goes_to_another_instance_and_says_why(api: Api) {
    let script =
        |seen: &harness::Seen| if seen.nth == 1 { Act::Fail("once".into()) } else { Act::Answer(json!(1)) };
    let agent = TestAgent::of_two_instances(&api, Effect::Idempotent, script).await;
    let name = unique_name("flow");
    api.define(&format!(
        "name: {name}\ntasks: [{{id: one, capability: {}, retry: {{max_attempts: 3, base_delay: 10ms}}}}]\n",
        agent.capability
    ))
    .await;
    let done = api.run(&name, &json!({})).await;
    assert_eq!(done["status"], "completed", "{done:#}");
    let seen = agent.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].effect_key, seen[1].effect_key, "the effect is the same over all retries");
    assert_ne!(seen[0].message, seen[1].message, "a retry is another message");
    assert_ne!(seen[0].agent, seen[1].agent, "the second try goes to the other instance");
    let history = api.history(done["execution_id"].as_str().unwrap()).await;
    let assigned = assignments(&history);
    assert_eq!(assigned.len(), 2);
    assert_ne!(assigned[0]["instance_id"], assigned[1]["instance_id"]);
    assert!(assigned[1]["reason"].as_str().is_some_and(|r| !r.is_empty()), "{assigned:?}");
    let failed = history.iter().find(|e| e["type"] == "error.occurred").unwrap();
    assert!(failed["data"]["message"].as_str().unwrap().contains("once"), "{failed}");
}

async fn a_retry_goes_to_another_agent_of_the_capability(api: Api) {
    let script =
        |seen: &harness::Seen| if seen.nth == 1 { Act::Fail("once".into()) } else { Act::Answer(json!(1)) };
    let agent = TestAgent::several(&api, 2, Effect::Idempotent, script).await;
    let name = unique_name("flow");
    api.define(&format!(
        "name: {name}\ntasks: [{{id: one, capability: {}, retry: {{max_attempts: 2, base_delay: 10ms}}}}]\n",
        agent.capability
    ))
    .await;
    // Both agents are known when both have been asked.
    testkit::wait_for("both agents to be asked by one execution", harness::PATIENCE, async || {
        let done = api.run(&name, &json!({})).await;
        assert_eq!(done["status"], "completed", "{done:#}");
        let id = done["execution_id"].as_str().unwrap().to_owned();
        let asked: Vec<_> = agent.seen().into_iter().filter(|s| s.execution == id).map(|s| s.agent).collect();
        (asked.len() == 2 && asked[0] != asked[1]).then_some(())
    })
    .await;
}

async fn a_failed_execution_keeps_every_cause(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |seen| Act::Fail(format!("try {}", seen.nth))).await;
    let name = unique_name("flow");
    api.define(&format!(
        "name: {name}\ntasks: [{{id: one, capability: {}, retry: {{max_attempts: 3, base_delay: 10ms}}}}]\n",
        agent.capability
    ))
    .await;
    let done = api.run(&name, &json!({})).await;
    assert_eq!(done["status"], "failed", "{done:#}");
    let causes = done["error_details"]["causes"].to_string();
    for n in 1..=3 {
        assert!(causes.contains(&format!("try {n}")), "{causes}");
    }
    assert_eq!(agent.count(), 3);
    assert_eq!(Api::task(&done, "one")["state"], "failed");
}

async fn a_class_that_is_not_retried_fails_at_once(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Reject("not mine".into())).await;
    let name = unique_name("flow");
    api.define(&format!(
        "name: {name}\ntasks: [{{id: one, capability: {}, retry: {{max_attempts: 5, base_delay: 10ms}}}}]\n",
        agent.capability
    ))
    .await;
    let done = api.run(&name, &json!({})).await;
    assert_eq!(done["status"], "failed", "{done:#}");
    assert_eq!(agent.count(), 1);
    assert_eq!(done["error_details"]["code"], "rejected", "{done:#}");
}

async fn an_output_that_breaks_its_schema_is_a_failure(api: Api) {
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Answer(json!({"n": "text"}))).await;
    let name = unique_name("flow");
    api.define(&format!(
        "name: {name}\ntasks: [{{id: one, capability: {}, retry: none, output_schema: {{type: object, properties: {{n: {{type: integer}}}}}}}}]\n",
        agent.capability
    ))
    .await;
    let done = api.run(&name, &json!({})).await;
    assert_eq!(done["status"], "failed", "{done:#}");
    assert_eq!(done["error_details"]["code"], "invalid_output", "{done:#}");
}

async fn an_attempt_that_takes_too_long_is_a_timeout(api: Api) {
    let script = |seen: &harness::Seen| if seen.nth == 1 { Act::Never } else { Act::Answer(json!(1)) };
    let agent = TestAgent::of_two_instances(&api, Effect::Idempotent, script).await;
    let name = unique_name("flow");
    api.define(&format!(
        "name: {name}\ntasks: [{{id: one, capability: {}, timeout: 2s, retry: {{max_attempts: 2, base_delay: 10ms}}}}]\n",
        agent.capability
    ))
    .await;
    let done = api.run(&name, &json!({})).await;
    assert_eq!(done["status"], "completed", "{done:#}");
    let history = api.history(done["execution_id"].as_str().unwrap()).await;
    assert!(
        history.iter().any(|e| e["type"] == "error.occurred" && e["data"]["code"] == "timeout"),
        "{history:#?}"
    );
}

async fn an_optional_task_may_fail(api: Api) {
    let script = |seen: &harness::Seen| match seen.task.as_str() {
        "extra" => Act::Fail("never works".into()),
        task => Act::Answer(json!(task)),
    };
    let agent = TestAgent::start(&api, Effect::Pure, script).await;
    let (name, skill) = (unique_name("flow"), &agent.capability);
    api.define(&format!(
        "name: {name}\nretry: none\ntasks:\n  - {{id: extra, capability: {skill}, optional: true}}\n  - {{id: main, capability: {skill}}}\noutput_tasks: [main]\n"
    ))
    .await;
    let done = api.run(&name, &json!({})).await;
    assert_eq!(done["status"], "completed", "{done:#}");
    assert_eq!(Api::task(&done, "extra")["state"], "failed");
}
