//! Registering, reading, changing and listing agents, on both databases.
#![allow(clippy::unwrap_used)] // a helper that fails is a test that fails

mod common;

use std::time::Duration;

use api::Fault;
use base::ErrorCode;
use common::{FakeAgent, Home, Registry, agent, card};
use proto::{
    common::v1::PageRequest,
    registry::v1::{
        DeleteAgentRequest, ImportCardRequest, ListAgentsRequest, RegisterAgentRequest, UpdateAgentRequest,
    },
};
use serde_json::{Value, json};
use tonic::Code;

fn definition(agent: &proto::registry::v1::Agent) -> Value {
    serde_json::from_str(&agent.definition_json).unwrap()
}

async fn update(
    registry: &Registry,
    id: &str,
    definition: Value,
    expected_revision: u64,
) -> Result<u64, Fault> {
    let request = UpdateAgentRequest {
        agent_id: id.into(),
        definition: definition.to_string(),
        format: "json".into(),
        expected_revision,
    };
    let answer = registry.client().update_agent(request).await.map_err(|s| Fault::from(&s))?;
    Ok(answer.into_inner().revision)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_registered_read_changed_and_kept_over_a_restart() {
    for home in Home::both() {
        let name = home.name();
        let registry = Registry::blind(&home).await;
        let first = registry
            .register(agent("a", json!({"metadata": {"created": "2026-01-02T03:04:05.000Z"}})))
            .await
            .unwrap();
        assert_eq!(
            (first.revision, first.state.as_str(), first.health.as_str(), first.score),
            (1, "active", "unknown", 50),
            "{name}"
        );
        assert_eq!(definition(&first)["metadata"]["created"], "2026-01-02T03:04:05.000Z", "{name}");
        assert_eq!(definition(&first)["healthStatus"]["checks"][0]["instance"], "default", "{name}");

        let again = registry
            .register(agent("a", json!({"metadata": {"created": "2026-09-09T00:00:00.000Z"}})))
            .await
            .unwrap();
        assert_eq!(
            again.revision, 1,
            "{name}: the same definition is the same agent, whenever its owner made it"
        );
        let taken = registry.register(agent("a", json!({"name": "Other"}))).await.unwrap_err();
        assert_eq!((taken.code, taken.related), (ErrorCode::AlreadyExists, vec!["a".to_owned()]), "{name}");

        assert_eq!(update(&registry, "a", agent("a", json!({"name": "New"})), 1).await.unwrap(), 2, "{name}");
        let stale = update(&registry, "a", agent("a", json!({"name": "Newer"})), 1).await.unwrap_err();
        assert_eq!(
            (stale.code, stale.field.as_str()),
            (ErrorCode::Conflict, "expected_revision"),
            "{name}: {stale}"
        );
        assert!(stale.message.contains("revision 2"), "{name}: {stale}");
        assert_eq!(
            update(&registry, "a", agent("a", json!({"name": "Newer"})), 0).await.unwrap(),
            3,
            "{name}"
        );
        assert_eq!(
            update(&registry, "a", agent("a", json!({"name": "Newer"})), 3).await.unwrap(),
            3,
            "{name}: no change"
        );
        let missing = update(&registry, "b", agent("b", json!({})), 0).await.unwrap_err();
        assert_eq!(missing.code, ErrorCode::NotFound, "{name}");
        let renamed = update(&registry, "a", agent("z", json!({})), 0).await.unwrap_err();
        assert!(renamed.message.contains("an id never changes"), "{name}: {renamed}");

        registry.stop().await;
        let registry = Registry::blind(&home).await;
        let kept = registry.get("a").await.unwrap();
        assert_eq!((kept.revision, definition(&kept)["name"].as_str()), (3, Some("Newer")), "{name}");
        assert_eq!(registry.get("nobody").await.unwrap_err().code, ErrorCode::NotFound, "{name}");
        assert_eq!(registry.get("not an id").await.unwrap_err().field, "agent_id", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_health_between_read_and_update_is_no_conflict() {
    for home in Home::both() {
        let there = FakeAgent::start(&card()).await;
        let registry = Registry::start(&home).await;
        let read = registry.register(agent("a", json!({"endpoint": there.url}))).await.unwrap();
        registry.until_health("a", "healthy").await;
        let changed = agent("a", json!({"endpoint": there.url, "name": "New"}));
        assert_eq!(update(&registry, "a", changed, read.revision).await.unwrap(), 2, "{}", home.name());
        assert_eq!(
            registry.get("a").await.unwrap().health,
            "healthy",
            "{}: what was measured stays",
            home.name()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_definitions_are_refused_with_their_field_and_nothing_is_half_registered() {
    for home in Home::both() {
        let registry = Registry::blind(&home).await;
        let before = registry.watch(0).await.revision;
        let huge = "x".repeat(2 << 20);
        for (name, text, format, code, field) in [
            ("not JSON", "{".to_owned(), "json", ErrorCode::InvalidDefinition, ""),
            ("not YAML", "a: [".to_owned(), "yaml", ErrorCode::InvalidDefinition, ""),
            ("an unknown format", "{}".to_owned(), "xml", ErrorCode::InvalidArgument, "format"),
            ("too large", huge, "json", ErrorCode::InvalidArgument, "definition"),
            ("empty", String::new(), "", ErrorCode::InvalidDefinition, ""),
            ("no id", json!({"endpoint": "http://h"}).to_string(), "", ErrorCode::InvalidDefinition, "id"),
            (
                "an id of another engine",
                agent("provider.temporal", json!({})).to_string(),
                "",
                ErrorCode::InvalidDefinition,
                "id",
            ),
            (
                "a bad endpoint",
                agent("a", json!({"endpoint": "gopher://h"})).to_string(),
                "",
                ErrorCode::InvalidDefinition,
                "endpoint",
            ),
            (
                "an unknown key",
                agent("a", json!({"capabilites": []})).to_string(),
                "",
                ErrorCode::InvalidDefinition,
                "capabilites",
            ),
            (
                "a broken schema",
                agent("a", json!({"capabilities": [{"id": "c", "inputSchema": {"type": 3}}]})).to_string(),
                "",
                ErrorCode::InvalidDefinition,
                "capabilities[0].inputSchema",
            ),
            (
                "the second of two instances is broken",
                agent("a", json!({"instances": [{"id": "i"}, {"id": "j", "capacity": 0}]})).to_string(),
                "",
                ErrorCode::InvalidDefinition,
                "instances[1].capacity",
            ),
        ] {
            let request = RegisterAgentRequest { definition: text, format: format.into() };
            let status = registry.client().register_agent(request).await.unwrap_err();
            let fault = Fault::from(&status);
            assert_eq!((fault.code, fault.field.as_str()), (code, field), "{name}: {fault}");
            assert_eq!(status.code(), Code::InvalidArgument, "{name}");
            assert_eq!(fault.findings.is_empty(), code == ErrorCode::InvalidArgument, "{name}: {fault:?}");
        }
        assert!(registry.list(ListAgentsRequest::default()).await.is_empty(), "{}", home.name());
        let mut watch = registry.watch(0).await;
        watch.step().await;
        assert!(watch.agents.is_empty() && watch.revision == before, "{}: no revision was used", home.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_paged_in_a_stable_order_and_filtered() {
    for home in Home::both() {
        let registry = Registry::blind(&home).await;
        for i in 0..25 {
            let environment = if i % 2 == 0 { "production" } else { "staging" };
            let over = json!({
                "type": if i < 5 { "analyzer" } else { "finder" },
                "capabilities": [{"id": format!("cap-{}", i % 3), "tags": [format!("t{}", i % 4)]}],
                "metadata": {"environment": environment, "tags": ["all"]}
            });
            registry.register(agent(&format!("agent-{i:02}"), over)).await.unwrap();
        }
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let page = PageRequest { page_size: 7, page_token: token };
            let request = ListAgentsRequest { page: Some(page), ..ListAgentsRequest::default() };
            let answer = registry.client().list_agents(request).await.unwrap().into_inner();
            seen.extend(answer.agents.into_iter().map(|a| a.agent_id));
            // A row that comes behind the cursor moves nothing.
            let _ = registry.register(agent("agent-00-late", json!({}))).await;
            token = answer.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let want: Vec<String> = (0..25).map(|i| format!("agent-{i:02}")).collect();
        assert_eq!(seen, want, "{}", home.name());

        let all = ListAgentsRequest { tag: "all".into(), ..ListAgentsRequest::default() };
        for (name, request, want) in [
            ("capability", ListAgentsRequest { capability: "cap-2".into(), ..all.clone() }, 8),
            ("tag of a capability", ListAgentsRequest { tag: "t1".into(), ..all.clone() }, 6),
            ("environment", ListAgentsRequest { environment: "staging".into(), ..all.clone() }, 12),
            ("type", ListAgentsRequest { r#type: "analyzer".into(), ..all.clone() }, 5),
            ("health", ListAgentsRequest { health: "healthy".into(), ..all.clone() }, 0),
            ("unknown health", ListAgentsRequest { health: "unknown".into(), ..all.clone() }, 25),
            (
                "two at once",
                ListAgentsRequest {
                    environment: "production".into(),
                    r#type: "analyzer".into(),
                    ..all.clone()
                },
                3,
            ),
        ] {
            assert_eq!(registry.list(request).await.len(), want, "{}: {name}", home.name());
        }
        for (field, request) in [
            ("health", ListAgentsRequest { health: "fine".into(), ..all.clone() }),
            (
                "page.page_size",
                ListAgentsRequest {
                    page: Some(PageRequest { page_size: 1001, page_token: String::new() }),
                    ..all.clone()
                },
            ),
            (
                "page.page_size",
                ListAgentsRequest {
                    page: Some(PageRequest { page_size: -1, page_token: String::new() }),
                    ..all.clone()
                },
            ),
            (
                "page.page_token",
                ListAgentsRequest {
                    page: Some(PageRequest { page_size: 1, page_token: "a b".into() }),
                    ..all.clone()
                },
            ),
        ] {
            let fault = Fault::from(&registry.client().list_agents(request).await.unwrap_err());
            assert_eq!((fault.code, fault.field.as_str()), (ErrorCode::InvalidArgument, field), "{fault}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_is_imported_and_refreshed() {
    let home = Home::sqlite();
    let registry = Registry::start(&home).await;
    let there = FakeAgent::start(&card()).await;
    let import = |url: String, agent_id: &str| {
        let request = ImportCardRequest { url, agent_id: agent_id.into(), capacity: 0 };
        let mut client = registry.client();
        async move {
            client.import_card(request).await.map(tonic::Response::into_inner).map_err(|s| Fault::from(&s))
        }
    };
    let agent = import(there.url.clone(), "").await.unwrap();
    let d = definition(&agent);
    assert_eq!(
        (agent.agent_id.as_str(), d["type"].as_str(), d["capacity"].as_u64()),
        ("web-searcher", Some("finder"), Some(3))
    );
    assert_eq!(d["endpoint"], format!("{}/a2a", there.url));
    assert_eq!(
        (d["interface"]["binding"].as_str(), d["interface"]["streaming"].as_bool()),
        (Some("JSONRPC"), Some(true))
    );
    assert_eq!(
        (d["capabilities"][0]["effect"].as_str(), d["capabilities"][0]["version"].as_str()),
        (Some("pure"), Some("7"))
    );
    assert_eq!(import(there.url.clone(), "").await.unwrap().revision, 1, "the same card is the same agent");
    assert_eq!(
        import(format!("{}/.well-known/agent-card.json", there.url), "mine").await.unwrap().agent_id,
        "mine"
    );
    registry.until_health("web-searcher", "healthy").await;

    let garbage = FakeAgent::start("this is not a card").await;
    let nothing = FakeAgent::start(&json!({"name": "x", "supportedInterfaces": [{"url": "http://h", "protocolBinding": "SOAP", "protocolVersion": "1.0"}]}).to_string()).await;
    let large = FakeAgent::start(&format!("{{\"name\": \"{}\"}}", "x".repeat(2 << 20))).await;
    let sick = FakeAgent::start(&card()).await;
    sick.answer(500);
    let free = testkit::free_port();
    for (name, url, code, field) in [
        ("nobody there", format!("http://127.0.0.1:{free}"), ErrorCode::Unavailable, "url"),
        ("never answers", format!("{}/never.json", there.url), ErrorCode::Unavailable, "url"),
        ("answers 500", sick.url.clone(), ErrorCode::Unavailable, "url"),
        ("garbage", garbage.url.clone(), ErrorCode::InvalidArgument, "url"),
        ("too large", large.url.clone(), ErrorCode::InvalidArgument, "url"),
        (
            "no interface that is spoken",
            nothing.url.clone(),
            ErrorCode::InvalidDefinition,
            "supportedInterfaces",
        ),
        ("no URL", "agent".into(), ErrorCode::InvalidArgument, "url"),
        ("a file", "file:///etc/passwd".into(), ErrorCode::InvalidArgument, "url"),
        ("credentials", "http://u:p@127.0.0.1/".into(), ErrorCode::InvalidArgument, "url"),
    ] {
        let fault = import(url, "broken").await.expect_err(name);
        assert_eq!((fault.code, fault.field.as_str()), (code, field), "{name}: {fault}");
    }
    let reserved = import(there.url.clone(), "provider.mine").await.unwrap_err();
    assert_eq!((reserved.code, reserved.field.as_str()), (ErrorCode::InvalidDefinition, "id"));
    assert_eq!(reserved.findings[0].code, "reserved-id");
    assert_eq!(registry.list(ListAgentsRequest::default()).await, ["mine", "web-searcher"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_drains_until_no_executor_uses_the_agent() {
    for home in Home::both() {
        let name = home.name();
        let registry = Registry::blind(&home).await;
        let delete = async |id: &str, force, refuse_if_busy| {
            let request = DeleteAgentRequest { agent_id: id.into(), force, refuse_if_busy };
            registry
                .client()
                .delete_agent(request)
                .await
                .map(|a| a.into_inner().state)
                .map_err(|s| Fault::from(&s))
        };
        for id in ["a", "b", "c"] {
            registry.register(agent(id, json!({}))).await.unwrap();
        }
        let mut watch = registry.watch(0).await;
        watch.step().await;
        registry.report("executor-1", watch.revision, &[("a", 2), ("c", 1)]).await;
        let busy = delete("a", false, true).await.unwrap_err();
        assert_eq!(busy.code, ErrorCode::InvalidState, "{name}: {busy}");
        assert!(busy.message.contains("2 calls in flight"), "{name}: {busy}");
        assert_eq!(delete("a", true, true).await.unwrap_err().field, "force", "{name}");

        // An executor that reports is waited for, until it has seen the drain and has no call.
        assert_eq!(delete("a", false, false).await.unwrap(), "draining", "{name}");
        watch.until("draining is seen", |w| w.agents["a"].state == "draining").await;
        let refused = update(&registry, "a", agent("a", json!({"name": "x"})), 0).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidState, "{name}: {refused}");
        let until = tokio::time::Instant::now() + Duration::from_millis(1500);
        while tokio::time::Instant::now() < until {
            registry.report("executor-1", watch.revision, &[("a", 1)]).await;
            assert_eq!(registry.get("a").await.unwrap().state, "draining", "{name}: a call is running");
        }
        registry.report("executor-1", watch.revision, &[]).await;
        registry.until_gone("a").await;
        watch.until("gone is seen", |w| !w.agents.contains_key("a")).await;

        // One that falls silent is not waited for for ever.
        registry.report("executor-1", watch.revision, &[("b", 1)]).await;
        delete("b", false, false).await.unwrap();
        registry.until_gone("b").await;

        // Forced: gone at once.
        registry.report("executor-1", watch.revision, &[("c", 1)]).await;
        delete("c", true, false).await.unwrap();
        assert_eq!(registry.get("c").await.unwrap_err().code, ErrorCode::NotFound, "{name}");
        assert_eq!(delete("c", false, false).await.unwrap_err().code, ErrorCode::NotFound, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_being_removed_comes_back_when_it_is_registered_again() {
    let home = Home::sqlite();
    let registry = Registry::blind(&home).await;
    registry.register(agent("a", json!({}))).await.unwrap();
    registry.report("executor-1", 99, &[("a", 1)]).await;
    let request = DeleteAgentRequest { agent_id: "a".into(), force: false, refuse_if_busy: false };
    registry.client().delete_agent(request).await.unwrap();
    let back = registry.register(agent("a", json!({}))).await.unwrap();
    assert_eq!((back.state.as_str(), back.revision), ("active", 2));
}
