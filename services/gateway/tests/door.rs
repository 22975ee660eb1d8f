//! The door itself: ids, origins, hosts, metadata from outside, public gRPC, the page with the documentation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

mod common;

use base::ErrorCode;
use common::{
    Gateway, eventually,
    executor::{FakeExecutor, some_id},
};
use proto::{
    executor::{
        internal::v1::{
            ListShardsRequest, Member, executor_internal_service_client::ExecutorInternalServiceClient,
        },
        v1::{GetExecutionRequest, executor_service_client::ExecutorServiceClient},
    },
    registry::v1::{GetAgentRequest, ListAgentsRequest, registry_service_client::RegistryServiceClient},
};
use reqwest::Method;
use runtime::config::PeerAddress;
use serde_json::json;
use tonic::{Code, Request, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn ids_are_echoed_and_travel_and_claims_about_the_caller_do_not() {
    let door = Gateway::start().await;
    door.post("/api/v1/agents", json!({"id": "a", "name": "A"})).await;
    let claims = [
        ("x-request-id", "r-1"),
        ("x-correlation-id", "c-1"),
        ("traceparent", TRACE),
        ("x-orchestra-tenant", "acme"),
        ("x-orchestra-principal", "root"),
    ];
    let got = door.send(Method::GET, "/api/v1/agents/a", &claims, None).await;
    assert_eq!((got.header("x-request-id"), got.header("x-correlation-id")), ("r-1", "c-1"));
    let seen = door.registry.seen.lock().unwrap().last().cloned().unwrap();
    assert_eq!(
        (seen.request_id.as_str(), seen.tenant.as_str(), seen.principal.as_str()),
        ("r-1", "default", "")
    );
    assert_eq!(&seen.trace[3..35], &TRACE[3..35], "the caller's trace goes on");
    assert!(seen.deadline.is_some());
    let bad = [("x-request-id", "two words"), ("traceparent", "nonsense")];
    let got = door.send(Method::GET, "/api/v1/agents/a", &bad, None).await;
    let made = got.header("x-request-id");
    assert!(!made.is_empty() && made != "two words");
    assert_eq!(got.header("x-correlation-id"), made);
}

#[tokio::test]
async fn a_start_keeps_the_correlation_id_it_was_sent_with_and_lists_filter_by_it() {
    let door = Gateway::start().await;
    let body = json!({"input": {}});
    for (headers, want) in [
        (vec![("x-correlation-id", "order-1")], "order-1"),
        // Made by us, or not to be used: it names one request, not the caller's work.
        (vec![("x-request-id", "r-1")], ""),
        (vec![("x-correlation-id", "two words")], ""),
    ] {
        door.send(Method::POST, "/api/v1/workflows/w/execute", &headers, Some(body.to_string())).await;
        let seen = door.executor.log().starts.last().cloned().unwrap();
        assert_eq!(seen.correlation_id, want, "{headers:?}");
    }
    door.get("/api/v1/executions?correlation_id=order-1").await;
    let list = door.executor.log().lists.last().cloned().unwrap();
    assert_eq!((list.correlation_id.as_str(), list.statuses.len()), ("order-1", 0));
    door.get("/api/v1/executions?stuck_reason=no_agent,%20signal").await;
    let list = door.executor.log().lists.last().cloned().unwrap();
    assert_eq!((list.stuck, list.stuck_reasons), (false, vec!["no_agent".to_owned(), "signal".to_owned()]));
    door.get("/api/v1/executions?stuck=true").await;
    let list = door.executor.log().lists.last().cloned().unwrap();
    assert_eq!((list.stuck, list.stuck_reasons.len()), (true, 0));
}

#[tokio::test]
async fn pages_of_other_origins_and_rebound_names_are_refused() {
    let door = Gateway::with(|s| s.gateway.allowed_origins = vec!["https://app.example.com".into()]).await;
    let own = format!("http://{}", door.http());
    let agents = "/api/v1/agents";
    for (headers, want) in [
        (vec![], 200),
        (vec![("origin", own.as_str())], 200),
        (vec![("origin", "https://app.example.com")], 200),
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("host", "evil.example")], 403),
        (vec![("host", "localhost:1")], 200),
    ] {
        let got = door.send(Method::GET, agents, &headers, None).await;
        assert_eq!(got.status, want, "{headers:?}: {}", got.text);
        if want == 403 {
            assert_eq!(got.json()["code"], "permission_denied", "{headers:?}");
            assert_eq!(got.header("access-control-allow-origin"), "", "{headers:?}");
        }
    }
    let allowed = ("origin", "https://app.example.com");
    let got = door.send(Method::GET, agents, &[allowed], None).await;
    assert_eq!((got.header("access-control-allow-origin"), got.header("vary")), (allowed.1, "origin"));
    let ask = ("access-control-request-method", "POST");
    let preflight = door.send(Method::OPTIONS, agents, &[allowed, ask], None).await;
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-methods").contains("POST"));
    assert!(preflight.header("access-control-allow-headers").contains("idempotency-key"));
    let foreign = door.send(Method::OPTIONS, agents, &[("origin", "http://evil.example"), ask], None).await;
    assert_eq!(foreign.status, 403);
}

#[tokio::test]
async fn the_documentation_works_offline_under_the_origin_rule() {
    let door = Gateway::start().await;
    let own = format!("http://{}", door.http());
    for (path, holds) in [
        ("/docs/", "swagger-ui"),
        ("/docs/swagger-ui-bundle.js", "SwaggerUI"),
        ("/docs/swagger-initializer.js", "/api/v1/openapi.json"),
    ] {
        let response = door.open(path, &[("origin", &own)]).await;
        assert_eq!(response.status(), 200, "{path}");
        let text = response.text().await.unwrap();
        assert!(text.contains(holds), "{path}");
        for line in text.lines().filter(|line| path == "/docs/" && line.contains("<")) {
            assert!(
                !line.contains("http://") && !line.contains("https://"),
                "{path} loads from elsewhere: {line}"
            );
        }
    }
    let document = door.get("/api/v1/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document, serde_json::from_str::<serde_json::Value>(&gateway::openapi_json()).unwrap());
}

#[tokio::test]
async fn public_grpc_passes_on_the_public_contracts_and_nothing_else() {
    let door = Gateway::start().await;
    let channel = Endpoint::from_shared(door.grpc()).unwrap().connect().await.unwrap();
    door.post("/api/v1/agents", json!({"id": "a", "name": "A"})).await;
    let mut registry = RegistryServiceClient::new(channel.clone());
    let mut request = Request::new(GetAgentRequest { agent_id: "a".into() });
    request.metadata_mut().insert("x-orchestra-tenant", "acme".parse().unwrap());
    request.metadata_mut().insert("x-orchestra-principal", "root".parse().unwrap());
    request.metadata_mut().insert("x-request-id", "r-2".parse().unwrap());
    assert_eq!(registry.get_agent(request).await.unwrap().into_inner().agent_id, "a");
    let seen = door.registry.seen.lock().unwrap().last().cloned().unwrap();
    assert_eq!(
        (seen.request_id.as_str(), seen.tenant.as_str(), seen.principal.as_str()),
        ("r-2", "default", "")
    );
    assert_eq!(
        registry.list_agents(ListAgentsRequest::default()).await.unwrap().into_inner().agents.len(),
        1
    );
    let mut executor = ExecutorServiceClient::new(channel.clone());
    let missing = GetExecutionRequest { execution_id: "x".into(), ..Default::default() };
    let status = executor.get_execution(missing).await.unwrap_err();
    assert_eq!(api::Fault::from_status(&status).code, ErrorCode::NotFound, "details pass unchanged");
    let mut internal = ExecutorInternalServiceClient::new(channel.clone());
    let refused = internal.list_shards(ListShardsRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(door.executor.log().maps_read, 0);

    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let mut answers = reflection.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let mut names: Vec<String> = list.service.into_iter().map(|s| s.name).collect();
    names.retain(|name| name.starts_with("orchestra."));
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "orchestra.executor.v1.BudgetService",
            "orchestra.executor.v1.CacheService",
            "orchestra.executor.v1.ControlService",
            "orchestra.executor.v1.EventService",
            "orchestra.executor.v1.ExecutorService",
            "orchestra.executor.v1.HookService",
            "orchestra.executor.v1.ScheduleService",
            "orchestra.executor.v1.SessionService",
            "orchestra.planner.v1.PatternService",
            "orchestra.planner.v1.PlannerService",
            "orchestra.registry.v1.RegistryService"
        ]
    );
    let mut health = HealthClient::new(channel);
    for service in ["gateway", "registry", "planner", "executor"] {
        let check = HealthCheckRequest { service: service.into() };
        let status =
            health.check(check).await.unwrap_or_else(|e| panic!("{service}: {e}")).into_inner().status;
        assert_eq!(status, 1, "{service}");
    }
}

#[tokio::test]
async fn a_call_goes_to_the_owner_and_follows_it_when_it_moves() {
    let (a, b) = (FakeExecutor::elsewhere().await, FakeExecutor::elsewhere().await);
    let owned_by = |owner: &str, other: &str| {
        let all: Vec<u32> = (0..64).collect();
        vec![
            Member { address: owner.into(), shards: all, ..Default::default() },
            Member { address: other.into(), ..Default::default() },
        ]
    };
    let tell = |owner: &str, other: &str| {
        for one in [&a, &b] {
            one.fake.log().members = owned_by(owner, other);
        }
    };
    tell(&a.address, &b.address);
    let addresses = vec![a.address.clone(), b.address.clone()];
    let door = Gateway::with(|s| s.peers.executor = PeerAddress::At(addresses)).await;
    let start = || door.post("/api/v1/workflows/x/execute", json!({"input": 1}));
    for _ in 0..6 {
        assert_eq!(start().await.status, 202);
    }
    assert_eq!((a.fake.log().starts.len(), b.fake.log().starts.len()), (6, 0), "all go to the owner");
    let read = a.fake.log().maps_read + b.fake.log().maps_read;
    assert_eq!(read, 1, "the map is kept");
    tell(&b.address, &a.address);
    // As often as it takes: a map that was just read is not read again at once.
    a.fake.refuse(ErrorCode::NotOwner, 100);
    assert_eq!(start().await.status, 202);
    assert_eq!(b.fake.log().starts.len(), 1, "the refusal made it read the map anew");
    assert_eq!(a.fake.log().starts.last().unwrap().execution_id, b.fake.log().starts[0].execution_id);
    let read = door.get(&format!("/api/v1/executions/{}", some_id())).await;
    assert_eq!(read.status, 200);
}

#[tokio::test]
async fn a_start_survives_the_death_of_the_owner() {
    let (a, b) = (FakeExecutor::elsewhere().await, FakeExecutor::elsewhere().await);
    let all: Vec<u32> = (0..64).collect();
    let (address_a, address_b) = (a.address.clone(), b.address.clone());
    b.fake.log().members =
        vec![Member { address: address_b.clone(), shards: all.clone(), ..Default::default() }];
    a.fake.log().members = vec![Member { address: address_a.clone(), shards: all, ..Default::default() }];
    // The gateway learns the map from `a` first.
    let addresses = vec![address_a.clone(), address_b];
    let door = Gateway::with(|s| s.peers.executor = PeerAddress::At(addresses)).await;
    while a.fake.log().starts.is_empty() && b.fake.log().starts.is_empty() {
        assert_eq!(door.post("/api/v1/workflows/x/execute", json!({"input": 1})).await.status, 202);
    }
    drop(a);
    let got = door.post("/api/v1/workflows/x/execute", json!({"input": 2})).await;
    assert_eq!(got.status, 202, "{}", got.text);
    let fake = b.fake.clone();
    eventually("the other executor has it", || !fake.log().starts.is_empty()).await;
}

#[tokio::test]
async fn an_error_of_a_service_reaches_the_caller_with_all_it_says() {
    let door = Gateway::start().await;
    let full = door.post("/api/v1/workflows/full/execute", json!({"input": 1})).await;
    assert_eq!((full.status, full.header("retry-after")), (429, "3"));
    let busy = door.post("/api/v1/workflows/busy/execute", json!({"input": 1})).await.json();
    assert_eq!((&busy["code"], &busy["related"]), (&json!("already_executing"), &json!(["e1"])));
    assert_eq!(busy["type"], "urn:orchestra:problem:already_executing");
}
