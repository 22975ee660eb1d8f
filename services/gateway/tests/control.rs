//! Commands on running executions over REST, against scripted services.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod common;

use common::{Gateway, executor::some_id};
use proto::{common::v1::payload::Body, executor::v1::decide_approval_request::Verdict};
use reqwest::Method;
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");

fn at(rest: &str) -> String {
    format!("/api/v1/executions/{}/{rest}", some_id())
}

#[tokio::test]
async fn commands_reach_the_executor_as_they_were_given() {
    let door = Gateway::start().await;
    let text = r#"{"payload": {"b": 1.50}, "id": "s1"}"#;
    let told = door.send(Method::POST, &at("signals/go%20on"), &[JSON], Some(text.into())).await;
    assert_eq!(told.json()["status"], "executing", "{}", told.text);
    let decision = json!({"verdict": "answered", "form": {"ok": true}, "comment": "fine"});
    door.post(&at("tasks/improve%5B2%5D.draft/decide"), decision).await;
    door.post(&at("tasks/improve%5B2%5D.draft/step"), json!({})).await;
    door.send(Method::PUT, &at("variables"), &[JSON], Some(r#"{"vars": {"n": 1.0}}"#.into())).await;
    door.post(&at("reset"), json!({"checkpoint_id": "c", "reason": "again"})).await;
    door.post(&at("mode"), json!({"task_id": "a", "topic": "orders"})).await;
    let control = door.executor.log().control.clone();
    let asked = control.0.lock().unwrap();
    let signal = &asked.signals[0];
    assert_eq!((signal.name.as_str(), signal.id.as_str()), ("go on", "s1"));
    assert_eq!(signal.payload.clone().unwrap().body, Some(Body::Json("{\"b\": 1.50}".into())));
    let decided = &asked.decisions[0];
    assert_eq!((decided.task_id.as_str(), decided.verdict()), ("improve[2].draft", Verdict::Answered));
    assert_eq!((decided.comment.as_str(), decided.form.is_some()), ("fine", true));
    assert_eq!(asked.steps[0].task_id, "improve[2].draft");
    assert_eq!(asked.vars[0].vars.clone().unwrap().body, Some(Body::Json("{\"n\": 1.0}".into())));
    let reset = &asked.resets[0];
    assert_eq!(
        (reset.checkpoint_id.as_str(), reset.reason.as_str(), reset.input.is_none()),
        ("c", "again", true)
    );
    assert_eq!((asked.modes[0].task_id.as_str(), asked.modes[0].topic.as_str()), ("a", "orders"));
}

#[tokio::test]
async fn a_command_is_repeated_only_when_that_is_safe() {
    let door = Gateway::start().await;
    let control = door.executor.log().control.clone();
    let away = |times: usize| control.0.lock().unwrap().away = times;
    away(2);
    assert_eq!(door.post(&at("signals/go"), json!({})).await.status, 200);
    away(1);
    assert_eq!(door.post(&at("reset"), json!({"task_ids": ["a"]})).await.status, 503);
    away(1);
    assert_eq!(door.post(&at("fork"), json!({})).await.status, 503);
    away(1);
    let forked = door.post(&at("fork"), json!({"id": "k"})).await;
    assert_eq!((forked.status, &forked.json()["existing"]), (202, &json!(true)));
    assert_eq!(forked.header("location"), forked.json()["execution_url"].as_str().unwrap());
    let asked = control.0.lock().unwrap();
    assert!(asked.signals.iter().all(|s| s.id == asked.signals[0].id && s.id.len() == 36), "one drawn id");
    assert_eq!((asked.signals.len(), asked.resets.len(), asked.forks.len()), (3, 1, 3));
}

#[tokio::test]
async fn a_plan_is_changed_to_that_of_a_workflow_a_definition_or_a_revision() {
    let door = Gateway::start().await;
    let put = |given: serde_json::Value| {
        let path = at("plan");
        let door = &door;
        async move { door.send(Method::PUT, &path, &[JSON], Some(given.to_string())).await }
    };
    assert_eq!(put(json!({"workflow": "x@2", "reason": "better"})).await.json()["added"], json!(["b"]));
    put(json!({"definition": "name: x\n"})).await;
    put(json!({"revert_to": 0})).await;
    let dry = put(json!({"plan": {"tasks": []}, "dry_run": true})).await.json();
    assert_eq!(dry["refused"], json!([{"code": "conflict", "message": "a has run", "task_id": "a"}]));
    assert_eq!(put(json!({"plan": {}})).await.json()["field"], "plan", "as the request calls it");
    let control = door.executor.log().control.clone();
    let asked = control.0.lock().unwrap();
    let plans: Vec<(&str, &str, &str, Option<u32>, bool)> = asked
        .plans
        .iter()
        .map(|p| (p.workflow.as_str(), p.definition.as_str(), p.plan_json.as_str(), p.revert_to, p.dry_run))
        .collect();
    assert_eq!(
        plans,
        [
            ("x@2", "", "", None, false),
            ("", "name: x\n", "", None, false),
            ("", "", "", Some(0), false),
            ("", "", r#"{"tasks":[]}"#, None, true),
            ("", "", "{}", None, false)
        ]
    );
    assert_eq!(asked.plans[0].reason, "better");
}

#[tokio::test]
async fn a_query_shows_what_the_execution_waits_for_and_the_command_that_frees_it() {
    let door = Gateway::start().await;
    let got = door.get(&at("query?task=a")).await;
    assert!(
        got.text.contains(r#""output":{"n": 1.50}"#) && got.text.contains(r#""vars":{"round": 2}"#),
        "{}",
        got.text
    );
    let shown = got.json();
    assert_eq!(shown["waits"][0]["what"], "Ship it?");
    assert_eq!((&shown["stuck"][0]["command"], &shown["spent"]["tokens"]), (&json!("approve"), &json!(40)));
    assert_eq!(
        shown["stuck"].as_array().unwrap()[1..],
        [
            json!({"reason": "breaker_open", "item": 0, "agents": ["painter"], "until": "2026-01-01T00:00:09Z"}),
            json!({"reason": "provider_away", "item": 0, "provider": "temporal", "since": "2026-01-01T00:00:01Z",
                "error": "connection refused"}),
        ]
    );
    assert_eq!(shown["budget"]["calls"], 0);
    assert!(door.get(&at("query")).await.json().get("output").is_none());
    assert_eq!(door.get(&at("query?task=nobody")).await.json()["field"], "task");
    let revisions = door.get(&at("plan/revisions")).await.json();
    assert_eq!(
        revisions["revisions"][0],
        json!({"revision": 0, "by": "ann", "at": "2026-01-01T00:00:00Z", "tasks": 2})
    );
}
