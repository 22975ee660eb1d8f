//! The REST routes against scripted services; every answer is held against the OpenAPI document.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod agents;
#[path = "../common/mod.rs"]
mod common;
mod refusals;
mod starts;

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
        (&get, "/api/v1/approvals?who=ann&page_size=7&page_token=t", none(), 200),
        (&get, "/api/v1/approvals?execution_id=00000000-0000-0000-0000-000000000000", none(), 404),
        (&get, "/api/v1/approvals?page_size=0", none(), 400),
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
