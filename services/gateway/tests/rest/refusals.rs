//! What is refused, and how it is said.

use reqwest::Method;
use serde_json::json;

use crate::{
    JSON,
    common::{Gateway, executor::some_id},
};

#[tokio::test]
async fn what_is_malformed_is_refused_by_name() {
    let door = Gateway::with(|s| s.gateway.body_max = runtime::config::Bytes::kib(4)).await;
    let execution = format!("/api/v1/executions/{}", some_id());
    let (get, post) = (Method::GET, Method::POST);
    let start = "/api/v1/workflows/x/execute";
    let large = format!("{{\"input\":\"{}\"}}", "x".repeat(5000));
    let deep = format!("{{\"input\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for (method, path, headers, given, status, code, field) in [
        (&post, start, &[JSON][..], "{\"input\": {}\n  oops}", 400, "invalid_argument", "body"),
        (&post, start, &[JSON], "", 400, "invalid_argument", "body"),
        (&post, start, &[JSON], "{}", 400, "invalid_argument", "input"),
        (&post, start, &[JSON], r#"{"input":1,"input_data":1}"#, 400, "invalid_argument", "input_data"),
        (&post, start, &[JSON], r#"{"input":{},"priority":"high"}"#, 400, "invalid_argument", "priority"),
        (&post, start, &[JSON], r#"{"input":{},"colour":"red"}"#, 400, "invalid_argument", "colour"),
        (
            &post,
            start,
            &[JSON],
            r#"{"input":{},"execution_options":{"retry_policy":"often"}}"#,
            400,
            "invalid_argument",
            "execution_options.retry_policy",
        ),
        (
            &post,
            start,
            &[JSON],
            r#"{"input":{},"execution_options":{"timeout":"soon"}}"#,
            400,
            "invalid_argument",
            "execution_options.timeout",
        ),
        (&post, start, &[JSON], &large, 413, "payload_too_large", "body"),
        (&post, start, &[JSON], &deep, 400, "invalid_argument", "input"),
        (
            &post,
            start,
            &[("content-type", "text/plain")],
            "{}",
            415,
            "unsupported_media_type",
            "Content-Type",
        ),
        (
            &post,
            start,
            &[JSON, ("content-encoding", "gzip")],
            "{}",
            415,
            "unsupported_media_type",
            "Content-Encoding",
        ),
        (
            &post,
            start,
            &[JSON, ("idempotency-key", "a")],
            r#"{"input":{},"id":"b"}"#,
            400,
            "invalid_argument",
            "id",
        ),
        (
            &post,
            "/api/v1/workflows/x/execute?wait=1h",
            &[JSON],
            r#"{"input":{}}"#,
            400,
            "invalid_argument",
            "wait",
        ),
        (
            &post,
            "/api/v1/workflows/x/execute?wiat=1s",
            &[JSON],
            r#"{"input":{}}"#,
            400,
            "invalid_argument",
            "query",
        ),
        (&post, "/api/v1/execute", &[JSON], r#"{"input":{}}"#, 400, "invalid_argument", "workflowId"),
        (&post, "/api/v1/execute", &[JSON], "[1,2]", 400, "invalid_argument", "body"),
        (
            &post,
            "/api/v1/workflows/x/execute/batch",
            &[JSON],
            r#"{"inputs":[]}"#,
            400,
            "invalid_argument",
            "inputs",
        ),
        (&post, "/api/v1/workflows", &[JSON], "{\"name\": }", 400, "invalid_argument", "body"),
        (&post, "/api/v1/workflows", &[JSON], "  ", 400, "invalid_argument", "body"),
        (
            &post,
            "/api/v1/workflows",
            &[("content-type", "image/png")],
            "x",
            415,
            "unsupported_media_type",
            "Content-Type",
        ),
        (&post, "/api/v1/agents", &[JSON], r#"{"name":"no id"}"#, 400, "invalid_argument", ""),
        (&post, "/api/v1/agents/import-card", &[JSON], r#"{"url":1}"#, 400, "invalid_argument", "url"),
        (&get, "/api/v1/agents?page_size=0", &[], "", 400, "invalid_argument", "page_size"),
        (&get, "/api/v1/agents?page_size=100000", &[], "", 400, "invalid_argument", "page_size"),
        (&get, "/api/v1/agents?page_size=many", &[], "", 400, "invalid_argument", "query"),
        (&get, "/api/v1/agents?page_token=bad", &[], "", 400, "invalid_argument", "page_token"),
        (&get, "/api/v1/executions?status=complete", &[], "", 400, "invalid_argument", "status"),
        (&get, "/api/v1/executions/not-a-uuid", &[], "", 400, "invalid_argument", "id"),
        (&get, "/api/v1/executions/00000000-0000-0000-0000-000000000000", &[], "", 404, "not_found", ""),
        (&get, &format!("{execution}/history?limit=5000"), &[], "", 400, "invalid_argument", "limit"),
        (&post, &format!("{execution}/tasks/a/resolve"), &[JSON], "{}", 400, "invalid_argument", "completed"),
        (
            &post,
            &format!("{execution}/tasks/a/input"),
            &[JSON],
            r#"{"input":1,"item":-1}"#,
            400,
            "invalid_argument",
            "item",
        ),
        (&get, "/api/v1/metrics?format=xml", &[], "", 400, "invalid_argument", "format"),
        (&get, "/api/v1/nothing", &[], "", 404, "not_found", ""),
        (&get, "/api/v1/execute", &[], "", 405, "method_not_allowed", ""),
        (
            &get,
            "/ws/executions/00000000-0000-0000-0000-000000000000",
            &[],
            "",
            400,
            "invalid_argument",
            "Upgrade",
        ),
        (
            &get,
            &format!("{execution}/events"),
            &[("last-event-id", "x")],
            "",
            400,
            "invalid_argument",
            "Last-Event-ID",
        ),
    ] {
        let given_body = (!given.is_empty()).then(|| given.to_owned());
        let got = door.send(method.clone(), path, headers, given_body).await;
        let what = format!("{method} {path} {}", &given[..given.len().min(60)]);
        assert_eq!(got.status, status, "{what}: {}", got.text);
        let problem = got.json();
        assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)), "{what}");
        assert_eq!(problem["field"].as_str().unwrap_or_default(), field, "{what}: {problem:#}");
        assert_eq!(problem["request_id"], got.header("x-request-id"), "{what}");
        let instance = path.split('?').next().unwrap();
        assert_eq!(problem["instance"], instance, "{what}");
    }
    assert!(door.executor.log().starts.is_empty(), "nothing that is malformed reaches an executor");
}

#[tokio::test]
async fn broken_json_names_its_line_and_column_and_every_wrong_field_is_told() {
    let door = Gateway::start().await;
    let start = "/api/v1/workflows/x/execute";
    let got = door.send(Method::POST, start, &[JSON], Some("{\"input\": {}\n  oops}".into())).await;
    let finding = &got.json()["findings"][0];
    assert_eq!(
        (&finding["code"], &finding["line"], &finding["column"]),
        (&json!("syntax"), &json!(2), &json!(3))
    );
    let two = json!({"input": {}, "priority": "high", "execution_options": {"resource_constraints": {"max_agents": "x"}}});
    let problem = door.post(start, two).await.json();
    let paths: Vec<&str> =
        problem["findings"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap_or("")).collect();
    assert!(
        paths.contains(&"priority") && paths.iter().any(|p| p.starts_with("execution_options")),
        "{problem:#}"
    );
    let got = door.send(Method::GET, "/api/v1/execute", &[], None).await;
    assert_eq!(got.header("allow"), "POST");
}
