//! Agents: read, changed, sent back, shown with every field.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{JSON, YAML, common::Gateway};

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
