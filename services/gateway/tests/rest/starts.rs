//! Starts and commands: what reaches the executor, how often, and under which id.

use base::ErrorCode;
use proto::common::v1::payload::Body;
use reqwest::Method;
use serde_json::json;

use crate::{
    JSON,
    common::{Gateway, executor::some_id},
};

#[tokio::test]
async fn input_and_output_pass_as_the_text_they_are() {
    let door = Gateway::start().await;
    let text = r#"{"input_data": {"b" : 1.50, "a":[1.0000000000000000000001, "\u00e9"]}, "priority": 7, "metadata": {"user":"u"},
        "execution_options": {"timeout": 60, "resource_constraints": {"max_cpu": "4 cores"}}}"#;
    let got =
        door.send(Method::POST, "/api/v1/workflows/x@2/execute?wait=5s", &[JSON], Some(text.into())).await;
    let exact = r#"{"b" : 1.50, "a":[1.0000000000000000000001, "\u00e9"]}"#;
    assert!(got.text.contains(&format!("\"output\":{exact}")), "{}", got.text);
    let log = door.executor.log();
    let start = &log.starts[0];
    assert_eq!(start.input.as_ref().unwrap().body, Some(Body::Json(exact.into())));
    assert_eq!(
        (start.workflow.as_str(), start.priority, start.metadata_json.as_str()),
        ("x@2", 7, r#"{"user":"u"}"#)
    );
    let options = start.options.as_ref().unwrap();
    assert_eq!((options.timeout_ms, options.max_cpu_millis), (60_000, 4000));
    assert!((1..=5000).contains(&start.wait_ms), "{}", start.wait_ms);
    let answer = got.json();
    assert_eq!(
        (&answer["status"], &answer["performance_metrics"]["total_runtime"]),
        (&json!("completed"), &json!(1.234))
    );
    assert_eq!(answer["execution_url"], format!("/api/v1/executions/{}", start.execution_id));
    assert_eq!(got.header("location"), answer["execution_url"].as_str().unwrap());
}

#[tokio::test]
async fn a_start_is_repeated_under_one_id_until_an_executor_takes_it() {
    let door = Gateway::start().await;
    door.executor.refuse(ErrorCode::Unavailable, 2);
    door.executor.refuse(ErrorCode::NotOwner, 1);
    let got = door.post("/api/v1/workflows/x/execute", json!({"input": 1})).await;
    assert_eq!(got.status, 202, "{}", got.text);
    let ids: Vec<String> = door.executor.log().starts.iter().map(|s| s.execution_id.clone()).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(got.json()["execution_id"], *ids[0]);
    assert!(got.json().get("existing").is_none(), "our own repetition is no earlier start");
}

#[tokio::test]
async fn what_may_not_be_repeated_is_repeated_only_when_it_was_not_taken() {
    let door = Gateway::start().await;
    let path = format!("/api/v1/executions/{}/tasks/a/resolve", some_id());
    door.executor.refuse(ErrorCode::NotOwner, 1);
    assert_eq!(door.post(&path, json!({"retry": true})).await.status, 200);
    door.executor.refuse(ErrorCode::Unavailable, 1);
    let got = door.post(&path, json!({"retry": true})).await;
    assert_eq!((got.status, got.header("retry-after")), (503, "1"));
    assert_eq!(door.executor.log().resolutions.len(), 1);
}

#[tokio::test]
async fn a_key_makes_a_repeated_start_the_same_execution() {
    let door = Gateway::start().await;
    let header = ("idempotency-key", "k-1");
    let by_header = door
        .send(Method::POST, "/api/v1/workflows/x/execute", &[JSON, header], Some(r#"{"input":1}"#.into()))
        .await;
    let by_body = door.post("/api/v1/execute", json!({"id": "k-1", "workflowId": "x", "input": 1})).await;
    assert_eq!(by_header.json()["execution_id"], by_body.json()["execution_id"]);
    assert_eq!(by_body.json()["existing"], true);
    assert!(door.executor.log().starts.iter().all(|s| s.key == "k-1" && s.execution_id.is_empty()));
    let batch = json!({"inputs": [1, 2], "key": "b"});
    let batch = door.post("/api/v1/workflows/x/execute/batch", batch).await.json();
    assert_eq!((&batch["started"], &batch["results"][1]["index"]), (&json!(2), &json!(1)));
    let keys: Vec<String> = door.executor.log().starts.iter().skip(2).map(|s| s.key.clone()).collect();
    assert_eq!(keys, ["b/0", "b/1"]);
}

#[tokio::test]
async fn a_command_to_a_workflow_means_its_only_active_execution() {
    let door = Gateway::start().await;
    let paused = door.post("/api/v1/workflows/x/pause", json!({"reason": "lunch"})).await.json();
    assert_eq!(
        (&paused["execution_id"], &paused["status"]),
        (&json!(some_id().to_string()), &json!("paused"))
    );
    assert_eq!(paused["resume_url"], format!("/api/v1/executions/{}/resume", some_id()));
    assert_eq!(paused["checkpoint_id"], "7f1c1c5e-0000-5000-8000-000000000002");
    assert_eq!(door.executor.log().commands[0].reason, "lunch");
    let several = door.post("/api/v1/workflows/two/pause", json!({})).await;
    assert_eq!((several.status, &several.json()["code"]), (409, &json!("conflict")));
    assert_eq!(several.json()["related"], json!([some_id().to_string(), "another"]));
    let ended = door.post("/api/v1/workflows/ended/pause", json!({})).await.json();
    assert_eq!((&ended["code"], &ended["status"]), (&json!("invalid_state"), &json!(409)));
    let status = door.get("/api/v1/workflows/x/status").await.json();
    assert_eq!((&status["status"], &status["error_details"]["code"]), (&json!("failed"), &json!("timeout")));
    assert_eq!(status["agents"][0]["progress"], 0.5);
}
