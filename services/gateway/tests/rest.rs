//! The REST routes against scripted services; every answer is held against the OpenAPI document.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod common;

use base::ErrorCode;
use common::{Gateway, executor::some_id};
use proto::common::v1::payload::Body;
use reqwest::Method;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const YAML: (&str, &str) = ("content-type", "application/yaml");

fn body(value: &Value) -> Option<String> {
    Some(value.to_string())
}

#[tokio::test]
async fn every_route_answers_as_its_document_says() {
    let door = Gateway::start().await;
    let agent = json!({"id": "my-agent", "name": "My Agent", "type": "analyzer"});
    let id = some_id();
    let execution = format!("/api/v1/executions/{id}");
    let none = || None;
    let start = || body(&json!({"input_data": {"q": 1}}));
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    for (method, path, given, want) in [
        (&post, "/api/v1/agents", body(&agent), 201),
        (&get, "/api/v1/agents?capability=analyze&health=healthy&type=analyzer&page_size=2", none(), 200),
        (&get, "/api/v1/agents/my-agent", none(), 200),
        (&get, "/api/v1/agents/nobody", none(), 404),
        (&put, "/api/v1/agents/my-agent", body(&agent), 200),
        (&post, "/api/v1/agents/import-card", body(&json!({"url": "http://a", "id": "imported"})), 201),
        (&post, "/api/v1/agents/my-agent/heartbeat", body(&json!({"inFlight": 3})), 200),
        (&post, "/api/v1/agents/my-agent/heartbeat", none(), 200),
        (&delete, "/api/v1/agents/my-agent?force=true", none(), 202),
        (&post, "/api/v1/workflows", body(&json!({"name": "x"})), 201),
        (&post, "/api/v1/workflows", body(&json!({"name": "broken"})), 422),
        (&post, "/api/v1/workflows", body(&json!({"name": "unsupported"})), 400),
        (&post, "/api/v1/workflows", body(&json!({"name": "too-big"})), 507),
        (&post, "/api/v1/workflows/validate?file=x.yaml", body(&json!({"name": "broken"})), 200),
        (&post, "/api/v1/workflows/plan", body(&json!({"name": "x"})), 200),
        (&post, "/api/v1/patterns?file=p.yaml", body(&json!({"pattern": "review"})), 201),
        (&post, "/api/v1/patterns", body(&json!({"pattern": "broken"})), 422),
        (&get, "/api/v1/patterns/available", none(), 200),
        (&get, "/api/v1/patterns/review@1.0.0", none(), 200),
        (&get, "/api/v1/patterns/missing", none(), 404),
        (&delete, "/api/v1/patterns/review", none(), 200),
        (&delete, "/api/v1/patterns/busy", none(), 409),
        (&get, "/api/v1/schemas/workflow.json", none(), 200),
        (&get, "/api/v1/workflows", none(), 200),
        (&get, "/api/v1/workflows/x@1.0", none(), 200),
        (&get, "/api/v1/workflows/missing", none(), 404),
        (&get, "/api/v1/workflows/x/plan", none(), 200),
        (&get, "/api/v1/workflows/x/status", none(), 200),
        (&get, "/api/v1/workflows/missing/status", none(), 404),
        (&get, "/api/v1/workflows/never/status", none(), 404),
        (&delete, "/api/v1/workflows/x", none(), 200),
        (&delete, "/api/v1/workflows/busy", none(), 409),
        (&post, "/api/v1/workflows/x/execute", start(), 202),
        (&post, "/api/v1/workflows/x/execute?wait=1s", start(), 200),
        (&post, "/api/v1/workflows/missing/execute", start(), 404),
        (&post, "/api/v1/workflows/busy/execute", start(), 409),
        (&post, "/api/v1/workflows/huge/execute", start(), 507),
        (&post, "/api/v1/workflows/full/execute", start(), 429),
        (&post, "/api/v1/workflows/x/execute/batch", body(&json!({"inputs": [1, {"a": 2}]})), 200),
        (&post, "/api/v1/workflows/missing/execute/batch", body(&json!({"inputs": [1]})), 404),
        (&post, "/api/v1/workflows/x/pause", none(), 200),
        (&post, "/api/v1/workflows/x/resume", none(), 200),
        (&post, "/api/v1/workflows/x/cancel", body(&json!({"reason": "enough"})), 200),
        (&post, "/api/v1/workflows/x/terminate", none(), 200),
        (&post, "/api/v1/workflows/missing/pause", none(), 404),
        (&post, "/api/v1/workflows/ended/pause", none(), 409),
        (
            &post,
            "/api/v1/execute",
            body(&json!({"id": "req-001", "workflowId": "my-workflow", "input": {"data": "d"},
            "priority": 1, "metadata": {"user": "u", "origin": "api-call", "traceId": "t", "context": {}}})),
            202,
        ),
        (&post, "/api/v1/execute", body(&json!({"definition": "name: x", "input": {}})), 202),
        (&get, "/api/v1/executions", none(), 200),
        (&get, "/api/v1/executions?status=all&workflow=x", none(), 200),
        (&get, &execution, none(), 200),
        (&get, &format!("{execution}?wait=10ms&summary=true"), none(), 200),
        (&get, &format!("{execution}/history?after=4&limit=2"), none(), 200),
        (&post, &format!("{execution}/pause"), none(), 200),
        (&post, &format!("{execution}/resume"), none(), 200),
        (&post, &format!("{execution}/cancel"), none(), 200),
        (&post, &format!("{execution}/terminate"), none(), 200),
        (&post, &format!("{execution}/tasks/a/input"), body(&json!({"input": "yes"})), 200),
        (
            &post,
            &format!("{execution}/tasks/a/resolve"),
            body(&json!({"completed": {"r": 1}, "item": 2})),
            200,
        ),
        (&get, "/api/v1/dead-letters?page_size=10", none(), 200),
        (&get, "/api/v1/dead-letters/1", none(), 200),
        (&get, "/api/v1/dead-letters/missing", none(), 404),
        (
            &post,
            "/api/v1/events",
            body(&json!({"topic": "orders", "payload": {"n": 1}, "priority": "high"})),
            200,
        ),
        (&post, "/api/v1/events", body(&json!({"topic": "full"})), 429),
        (&post, "/api/v1/events", body(&json!({"topic": "t", "key": "a", "correlation_id": "b"})), 400),
        (&post, "/api/v1/events", body(&json!({"topic": "t", "priority": "urgent"})), 400),
        (&post, "/api/v1/events/batch", body(&json!({"events": [{"topic": "a"}, {"topic": "b"}]})), 200),
        (
            &get,
            "/api/v1/events?type=workflow:completed,x&correlation_id=k&since=2026-01-01T00:00:00Z",
            none(),
            200,
        ),
        (&get, "/api/v1/events?from=0&topic=orders", none(), 200),
        (&get, "/api/v1/events?colour=red", none(), 400),
        (&get, "/api/v1/events/stats", none(), 200),
        (&get, "/api/v1/events/e1", none(), 200),
        (&get, "/api/v1/events/missing", none(), 404),
        (
            &post,
            "/api/v1/triggers",
            body(&json!({"name": "t", "workflow": "w", "topic": "orders", "input": {"a": 1}})),
            201,
        ),
        (&get, "/api/v1/triggers", none(), 200),
        (&get, "/api/v1/triggers/1", none(), 200),
        (&get, "/api/v1/triggers/missing", none(), 404),
        (&post, "/api/v1/triggers/1/pause", none(), 200),
        (&post, "/api/v1/triggers/1/resume", none(), 200),
        (&delete, "/api/v1/triggers/1", none(), 204),
        (&post, "/api/v1/schedules", body(&json!({"name": "n", "workflow": "w", "every": "15m"})), 201),
        (&post, "/api/v1/schedules", body(&json!({"name": "n", "workflow": "w", "every": "soon"})), 400),
        (&post, "/api/v1/schedules", body(&json!({"name": "n", "workflow": "w", "cron": "nonsense"})), 400),
        (&get, "/api/v1/schedules", none(), 200),
        (&get, "/api/v1/schedules/n", none(), 200),
        (&get, "/api/v1/schedules/missing", none(), 404),
        (&post, "/api/v1/schedules/n/pause", none(), 200),
        (&post, "/api/v1/schedules/n/resume", none(), 200),
        (&post, "/api/v1/schedules/n/trigger", none(), 200),
        (
            &post,
            "/api/v1/schedules/n/backfill",
            body(&json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"})),
            200,
        ),
        (&delete, "/api/v1/schedules/n", none(), 204),
        (&post, "/api/v1/dead-letters/1/redrive", none(), 200),
        (&post, "/api/v1/dead-letters/missing/redrive", none(), 404),
        (&put, "/api/v1/budgets", body(&json!({"period": "day", "limits": {"calls": 10}})), 200),
        (&put, "/api/v1/budgets", body(&json!({"period": "week", "limits": {"calls": 10}})), 400),
        (&get, "/api/v1/budgets", none(), 200),
        (&delete, "/api/v1/budgets?period=day", none(), 204),
        (&delete, "/api/v1/budgets?period=total&workflow=w", none(), 404),
        (&post, "/api/v1/sessions", none(), 201),
        (&post, "/api/v1/sessions", body(&json!({"session_id": "s"})), 409),
        (&get, "/api/v1/sessions?prefix=s&page_size=1", none(), 200),
        (&get, "/api/v1/sessions/s", none(), 200),
        (&get, "/api/v1/sessions/nobody", none(), 404),
        (&put, "/api/v1/sessions/s/variables/v", body(&json!({"value": null, "expected_version": 3})), 200),
        (&put, "/api/v1/sessions/s/variables/v", body(&json!({"value": 1, "expected_version": 2})), 409),
        (&put, "/api/v1/sessions/s/variables/v", body(&json!({"expected_version": 2})), 400),
        (&get, "/api/v1/sessions/s/variables/v", none(), 200),
        (&delete, "/api/v1/sessions/s/variables/v?expected_version=3", none(), 204),
        (&get, "/api/v1/sessions/s/history?page_size=2", none(), 200),
        (&post, "/api/v1/sessions/s/history", body(&json!({"role": "system", "content": "hi"})), 201),
        (&get, "/api/v1/sessions/s/executions", none(), 200),
        (&delete, "/api/v1/sessions/s", none(), 204),
        (&put, "/api/v1/cache/n/user:1", body(&json!({"value": {"a": 1}, "ttl_ms": 5})), 200),
        (&put, "/api/v1/cache/n/user:1", body(&json!({"ttl_ms": 5})), 400),
        (&get, "/api/v1/cache/n/user:1", none(), 200),
        (&get, "/api/v1/cache/n/nobody", none(), 404),
        (&get, "/api/v1/cache", none(), 200),
        (&post, "/api/v1/cache/n/invalidate", body(&json!({"pattern": "user:2"})), 200),
        (&post, "/api/v1/cache/n/invalidate", body(&json!({"pattern": "("})), 400),
        (&post, "/api/v1/cache/n/invalidate", none(), 200),
        (&delete, "/api/v1/cache/n/user:1", none(), 200),
        (
            &post,
            "/api/v1/hooks",
            body(&json!({"name": "format", "trigger": "post_edit", "command": "builtin:format"})),
            201,
        ),
        (
            &post,
            "/api/v1/hooks",
            body(&json!({"name": "format", "trigger": "sometimes", "command": "builtin:format"})),
            400,
        ),
        (&post, "/api/v1/hooks", body(&json!({"name": "format", "colour": "red"})), 400),
        (&get, "/api/v1/hooks?trigger=post_edit&enabled=true&name_prefix=f", none(), 200),
        (&get, "/api/v1/hooks/format", none(), 200),
        (&get, "/api/v1/hooks/missing", none(), 404),
        (
            &put,
            "/api/v1/hooks/format",
            body(
                &json!({"name": "format", "trigger": "post_edit", "command": "builtin:format", "revision": 3}),
            ),
            200,
        ),
        (
            &put,
            "/api/v1/hooks/format",
            body(
                &json!({"name": "format", "trigger": "post_edit", "command": "builtin:format", "revision": 2}),
            ),
            409,
        ),
        (&get, "/api/v1/hooks/runs?hook=format&state=completed&since=2026-01-01T00:00:00Z", none(), 200),
        (&get, "/api/v1/hooks/runs/r1", none(), 200),
        (&get, "/api/v1/hooks/runs/missing", none(), 404),
        (&delete, "/api/v1/hooks/format", none(), 204),
        (&get, "/api/v1/health", none(), 200),
        (&get, "/api/v1/metrics", none(), 200),
        (&get, "/api/v1/metrics?format=prometheus", none(), 200),
        (&get, "/api/v1/openapi.json", none(), 200),
        (&get, "/health", none(), 200),
        (&get, "/ready", none(), 200),
        (&get, "/metrics", none(), 200),
        (&get, "/workflow-capacity", none(), 200),
    ] {
        let headers: &[(&str, &str)] = if given.is_some() { &[JSON] } else { &[] };
        let got = door.send(method.clone(), path, headers, given.clone()).await;
        assert_eq!(got.status, want, "{method} {path}: {}", got.text);
        if path.starts_with("/api/v1/") && want != 201 {
            let again = path.replacen("/api/v1/", "/api/v1/orchestra/", 1);
            let got = door.send(method.clone(), &again, headers, given).await;
            // An agent that is gone is gone on both.
            assert_eq!(got.status, want, "{method} {again}: {}", got.text);
        }
    }
    common::control::every_route(&door).await;
    assert_eq!(door.uncovered(), Vec::<String>::new());
}

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

#[tokio::test]
async fn an_agent_can_be_read_changed_and_sent_back_and_a_lost_update_is_refused() {
    let door = Gateway::start().await;
    let made = door.post("/api/v1/agents", json!({"id": "a", "name": "A"})).await;
    assert_eq!((made.header("etag"), made.header("location")), ("\"1\"", "/api/v1/agents/a"));
    let mut read = door.get("/api/v1/agents/a").await.json();
    assert_eq!((&read["revision"], &read["healthStatus"]["score"]), (&json!(1), &json!(50)));
    read["name"] = json!("B");
    let put = |headers: &'static [(&str, &str)], given: Value| {
        door.send(Method::PUT, "/api/v1/agents/a", headers, Some(given.to_string()))
    };
    let changed = put(&[JSON], read.clone()).await;
    assert_eq!(
        (changed.status, &changed.json()["name"], changed.header("etag")),
        (200, &json!("B"), "\"2\"")
    );
    assert_eq!(put(&[JSON], read.clone()).await.status, 409, "the body names revision 1");
    assert_eq!(put(&[JSON, ("if-match", "\"1\"")], json!({"id": "a", "name": "C"})).await.status, 409);
    assert_eq!(put(&[JSON, ("if-match", "\"2\"")], json!({"id": "a", "name": "C"})).await.status, 200);
    let stored = door.registry.agents.lock().unwrap()["a"].0.clone();
    assert_eq!(stored, json!({"id": "a", "name": "C"}));
    let yaml = door.send(Method::POST, "/api/v1/agents", &[YAML], Some("id: from-yaml\n".into())).await;
    assert_eq!(yaml.status, 201, "{}", yaml.text);
}

#[tokio::test]
async fn an_agent_is_shown_with_every_field_of_the_document() {
    let door = Gateway::start().await;
    let agent = json!({
        "id": "my-agent", "name": "My Agent", "type": "analyzer", "version": "1.0.0",
        "endpoint": "http://localhost:3001",
        "capabilities": [{
            "id": "analyze", "name": "Analyze Data", "description": "Performs data analysis",
            "inputSchema": {"type": "object", "properties": {"data": {"type": "string"}}},
            "outputSchema": {"type": "object", "properties": {"result": {"type": "object"}}},
            "performance": {
                "responseTime": {"target": 1000, "max": 3000}, "throughput": {"target": 100, "max": 200},
                "errorRate": {"max": 5}, "availability": {"target": 99.9}
            },
            "compliance": ["silver"], "dependencies": []
        }],
        "resources": {"cpu": {"min": 1, "max": 4}, "memory": {"min": 1024, "max": 8192},
            "network": {"bandwidth": 1000, "latency": 10}},
        "metadata": {"tags": ["analysis"], "owner": "team-name", "created": "2026-01-01T00:00:00Z",
            "updated": "2026-01-01T00:00:00Z", "priority": 5, "environment": "production"}
    });
    assert_eq!(door.post("/api/v1/orchestra/agents", agent.clone()).await.status, 201);
    let shown = door.get("/api/v1/orchestra/agents/my-agent").await.json();
    for path in [
        "/id",
        "/name",
        "/type",
        "/version",
        "/endpoint",
        "/capabilities/0/id",
        "/capabilities/0/inputSchema/type",
        "/capabilities/0/outputSchema/type",
        "/capabilities/0/performance/responseTime/max",
        "/capabilities/0/performance/availability/target",
        "/capabilities/0/compliance/0",
        "/metadata/tags/0",
        "/metadata/owner",
        "/metadata/priority",
        "/metadata/environment",
        "/resources/network/bandwidth",
    ] {
        assert_eq!(shown.pointer(path), agent.pointer(path), "{path}: {shown:#}");
    }
    for path in [
        "/resources/cpu/max",
        "/resources/memory/min",
        "/healthStatus/status",
        "/healthStatus/score",
        "/healthStatus/checks",
    ] {
        assert!(shown.pointer(path).is_some(), "{path}: {shown:#}");
    }
}

#[tokio::test]
async fn a_definition_reaches_the_planner_as_it_was_written() {
    let door = Gateway::start().await;
    let text = "workflow:\n  name: x # a comment\n";
    let made = door.send(Method::POST, "/api/v1/workflows?file=x.yaml", &[YAML], Some(text.into())).await;
    let answer = made.json();
    assert_eq!(
        (&answer["status"], &answer["validation_report"]["valid"]),
        (&json!("validated"), &json!(true))
    );
    assert_eq!(
        (&answer["validation_report"]["warnings"], &answer["estimated_resources"]["agents"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(door.planner.sources.lock().unwrap()[0], (text.to_owned(), "yaml".to_owned()));
    let list = door.get("/api/v1/workflows").await.json();
    assert!(list["workflows"][0].get("definition").is_none() && list["workflows"][0].get("source").is_none());
    assert_eq!(door.get("/api/v1/workflows/x").await.json()["definition"]["name"], "x");
    let refused = door.post("/api/v1/workflows", json!({"name": "broken"})).await.json();
    let finding = &refused["findings"][0];
    assert_eq!((&finding["line"], &finding["path"]), (&json!(3), &json!("tasks[0].agent")));
    let inline = json!({"definition": {"name": "x"}, "input": {}});
    assert_eq!(door.post("/api/v1/execute", inline).await.status, 202);
    let log = door.executor.log();
    assert_eq!(
        (log.starts[0].inline_source.as_str(), log.starts[0].inline_format.as_str()),
        (r#"{"name":"x"}"#, "json")
    );
}

#[tokio::test]
async fn the_metrics_are_those_of_the_process() {
    let door = Gateway::start().await;
    for _ in 0..3 {
        door.get("/api/v1/agents/nobody").await;
    }
    let shown = door.get("/api/v1/metrics").await.json();
    assert!(
        shown["throughput"].as_f64().unwrap() >= 3.0 && shown["memoryUsage"].as_f64().unwrap() > 1.0,
        "{shown}"
    );
    assert_eq!(shown["errorRate"], 0.0, "what a client did wrong is no error of ours");
    let text = door.get("/api/v1/metrics?format=prometheus").await.text;
    let line = text.lines().find(|l| l.starts_with("orchestra_http_requests_total") && l.contains("4xx"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(r#"route="/api/v1/agents/{id}""#) && line.ends_with(" 3"), "{line}");
    let capacity = door.get("/workflow-capacity").await.json();
    assert_eq!((&capacity["max_concurrent"], &capacity["executors"]), (&json!(1000), &json!(1)));
}

#[tokio::test]
async fn a_value_of_the_cache_comes_back_as_it_was_given() {
    let door = Gateway::start().await;
    let path = "/api/v1/cache/summaries/summarise@1%2F0a";
    let text = r#"{"value": {"b": 1.00, "a": [null]}, "ttl": 60000}"#;
    let put = door.send(Method::PUT, path, &[JSON], Some(text.into())).await;
    assert_eq!((put.status, &put.json()["key"]), (200, &json!("summarise@1/0a")), "{}", put.text);
    assert_eq!(put.json()["expires_at"], "in 60000 ms");
    let got = door.get(path).await;
    assert!(got.text.contains(r#"{"b": 1.00, "a": [null]}"#), "{}", got.text);
    assert!(got.json().get("expires_at").is_none());
    let gone = door.post("/api/v1/cache/summaries/invalidate", json!({"pattern": "summarise@1"})).await;
    assert_eq!(gone.json(), json!({"removed": 1}));
    assert_eq!(door.get(path).await.status, 404);
}

#[tokio::test]
async fn events_and_schedules_reach_the_executor_as_they_were_asked_for() {
    let door = Gateway::start().await;
    let event = json!({"id": "e", "topic": "orders", "type": "order.placed", "correlation_id": "k",
        "priority": "low", "data": {"n": 1.00}, "volatile": true});
    let told = door.post("/api/v1/events", event).await.json();
    assert_eq!(told, json!({"id": "e", "duplicate": false, "durable": false}));
    let drawn = door.post("/api/v1/events", json!({"topic": "orders"})).await.json();
    assert_eq!(drawn["id"].as_str().unwrap().len(), 36, "drawn before the first try");
    door.get("/api/v1/events?type=a:b,c&key=k&from=7&page_size=3").await;
    let schedule = json!({"name": "n", "workflow": "w", "cron": "0 9 * * *", "time_zone": "Europe/Berlin",
        "catch_up": "10m", "jitter": "30s", "overlap": "queue"});
    door.post("/api/v1/schedules", schedule).await;
    let refused =
        door.post("/api/v1/schedules", json!({"name": "n", "workflow": "w", "cron": "nonsense"})).await;
    assert_eq!(refused.json()["field"], "cron", "the body has it flat");
    let fake = door.executor.log().events.clone();
    let asked = fake.0.lock().unwrap();
    let first = &asked.published[0];
    assert_eq!((first.key.as_str(), first.priority, first.r#type.as_str()), ("k", -10, "order.placed"));
    assert_eq!(first.payload.clone().unwrap().body, Some(Body::Json("{\"n\":1.0}".into())));
    let list = &asked.lists[0];
    assert_eq!(
        (list.from.as_str(), list.filter.clone().unwrap().types),
        ("7", vec!["a:b".into(), "c".into()])
    );
    let timing = &asked.timings[0];
    assert_eq!((timing.catch_up_ms, timing.jitter_ms, timing.every_ms), (Some(600_000), 30_000, 0));
}
