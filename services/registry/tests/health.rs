//! Probes, heartbeats, measured calls, metrics and events.
#![allow(clippy::unwrap_used)] // a helper that fails is a test that fails

mod common;

use std::{sync::atomic::Ordering, time::Duration};

use api::Fault;
use base::ErrorCode;
use bus::{Bus as _, Keys};
use common::{FakeAgent, Home, LONG, Registry, agent, card};
use prost::Message as _;
use proto::{
    event::v1::EventBatch,
    registry::{
        internal::v1::{AgentUse, ReportUseRequest},
        v1::{DeleteAgentRequest, HeartbeatRequest},
    },
};
use serde_json::{Value, json};

fn health(agent: &proto::registry::v1::Agent) -> Value {
    serde_json::from_str::<Value>(&agent.definition_json).unwrap()["healthStatus"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_follow_an_agent_down_and_up_again() {
    for home in Home::both() {
        let registry = Registry::start(&home).await;
        let there = FakeAgent::start(&card()).await;
        registry.register(agent("a", json!({"endpoint": there.url}))).await.unwrap();
        let mut watch = registry.watch(0).await;
        let is = |health: &'static str| {
            move |w: &common::Follower| w.agents.get("a").is_some_and(|a| a.health == health)
        };
        watch.until("healthy", is("healthy")).await;
        assert_eq!(watch.agents["a"].score, 100);
        there.answer(503);
        watch.until("unhealthy", is("unhealthy")).await;
        let agent = registry.until_health("a", "unhealthy").await;
        assert!(
            health(&agent)["message"].as_str().unwrap().contains("probes in a row failed"),
            "{}",
            health(&agent)
        );
        there.answer(200);
        watch.until("healthy again", is("healthy")).await;
        assert!(there.asked.load(Ordering::SeqCst) > 3);
        // An agent without a card is alive as long as it answers.
        there.answer(404);
        let asked = there.asked.load(Ordering::SeqCst);
        testkit::wait_for("two more probes", LONG, async || {
            (there.asked.load(Ordering::SeqCst) > asked + 4).then_some(())
        })
        .await;
        assert_eq!(registry.get("a").await.unwrap().health, "healthy", "{}", home.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_path_must_answer_well_and_instances_are_judged_one_by_one() {
    let home = Home::sqlite();
    let registry = Registry::start(&home).await;
    let (good, bad) = (FakeAgent::start("fine").await, FakeAgent::start("fine").await);
    bad.answer(404);
    let instances = json!([{"id": "good", "endpoint": good.url}, {"id": "bad", "endpoint": bad.url}]);
    registry.register(agent("a", json!({"healthPath": "/health", "instances": instances}))).await.unwrap();
    let agent = testkit::wait_for("both judged", LONG, async || {
        let agent = registry.get("a").await.unwrap();
        let checks = health(&agent)["checks"].clone();
        let by = |id: &str| {
            checks.as_array().unwrap().iter().find(|c| c["instance"] == id).unwrap()["status"].clone()
        };
        (by("good") == "healthy" && by("bad") == "unhealthy").then_some(agent)
    })
    .await;
    assert_eq!(agent.health, "degraded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_keep_an_instance_well_until_they_stop() {
    for home in Home::both() {
        let registry = Registry::blind(&home).await;
        registry.register(agent("a", json!({"instances": [{"id": "i"}]}))).await.unwrap();
        let beat = async |instance: &str, status: &str| {
            let request = HeartbeatRequest {
                agent_id: "a".into(),
                instance_id: instance.into(),
                status: status.into(),
                in_flight: 0,
            };
            registry
                .client()
                .heartbeat(request)
                .await
                .map(|a| a.into_inner().expires_in_ms)
                .map_err(|s| Fault::from(&s))
        };
        assert_eq!(beat("", "").await.unwrap(), 1000);
        registry.until_health("a", "healthy").await;
        beat("i", "degraded").await.unwrap();
        registry.until_health("a", "degraded").await;
        let gone = registry.until_health("a", "unhealthy").await;
        assert_eq!(health(&gone)["message"], "its heartbeat expired", "{}", home.name());
        beat("i", "healthy").await.unwrap();
        registry.until_health("a", "healthy").await;

        let stranger = beat("j", "").await.unwrap_err();
        assert_eq!(stranger.code, ErrorCode::NotFound, "{stranger}");
        assert!(stranger.message.contains("instances: i"), "{stranger}");
        assert_eq!(beat("i", "splendid").await.unwrap_err().field, "status");
        let nobody = HeartbeatRequest { agent_id: "nobody".into(), ..HeartbeatRequest::default() };
        assert_eq!(
            Fault::from(&registry.client().heartbeat(nobody).await.unwrap_err()).code,
            ErrorCode::NotFound
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_executors_measure_moves_the_score_and_outlives_a_restart() {
    for home in Home::both() {
        let registry = Registry::blind(&home).await;
        registry.register(agent("a", json!({}))).await.unwrap();
        let use_of = |calls, failures| {
            let one = AgentUse {
                agent_id: "a".into(),
                instance_id: "default".into(),
                calls,
                failures,
                call_us: calls * 20_000,
            };
            let stranger = AgentUse {
                agent_id: "gone".into(),
                instance_id: "x".into(),
                calls: 1,
                ..AgentUse::default()
            };
            ReportUseRequest {
                member_id: "e".into(),
                measured: vec![one, stranger],
                ..ReportUseRequest::default()
            }
        };
        registry.internal().report_use(use_of(50, 0)).await.unwrap();
        registry.until_health("a", "healthy").await;
        registry.internal().report_use(use_of(50, 50)).await.unwrap();
        registry.until_health("a", "unhealthy").await;
        let written = testkit::wait_for("the counts", LONG, async || {
            let check = health(&registry.get("a").await.unwrap())["checks"][0].clone();
            (check["calls"] == 100).then_some(check)
        })
        .await;
        assert_eq!(
            (written["failures"].as_u64(), written["responseTime"].as_f64()),
            (Some(50), Some(20.0)),
            "{}",
            home.name()
        );
        registry.stop().await;
        let registry = Registry::blind(&home).await;
        let kept = registry.get("a").await.unwrap();
        assert_eq!(
            (kept.health.as_str(), health(&kept)["checks"][0]["calls"].as_u64()),
            ("unhealthy", Some(100)),
            "{}",
            home.name()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_and_events_tell_what_happens() {
    let home = Home::sqlite();
    let registry = Registry::start(&home).await;
    let there = FakeAgent::start(&card()).await;
    registry.register(agent("a", json!({"endpoint": there.url}))).await.unwrap();
    registry.until_health("a", "healthy").await;
    let text = registry.running.metrics().prometheus().unwrap();
    for line in [
        "orchestra_agent_health_score{agent=\"a\"",
        "orchestra_agent_health_checks_total{",
        "orchestra_agent_instances{agent=\"a\",health=\"healthy\"",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    let kinds = async || {
        let entries = registry.bus.read(&Keys::default().events(0), None, 100).await.unwrap();
        let batches = entries.iter().map(|(_, m)| EventBatch::decode(m.body().clone()).unwrap());
        batches.flat_map(|b| b.events).map(|e| (e.r#type, e.data_json)).collect::<Vec<_>>()
    };
    let until = async |kind: &'static str| {
        let found = async || kinds().await.into_iter().find(|(k, _)| k == kind);
        testkit::wait_for(kind, LONG, found).await.1
    };
    assert!(until("agent.registered").await.contains("\"agent_id\":\"a\""));
    let changed = until("agent.health_changed").await;
    assert!(
        changed.contains("\"health\":\"healthy\"") && changed.contains("\"previous_health\":\"unknown\""),
        "{changed}"
    );
    let request = DeleteAgentRequest { agent_id: "a".into(), force: true, refuse_if_busy: false };
    registry.client().delete_agent(request).await.unwrap();
    until("agent.removed").await;

    // A publisher that starts again tells what it may have missed, and nothing twice that it knows it told.
    let bus = registry.stop().await;
    let again = Registry::start_on(&home, bus, |_| {}).await;
    again.register(agent("b", json!({}))).await.unwrap();
    let told = async || {
        let entries = again.bus.read(&Keys::default().events(0), None, 100).await.unwrap();
        entries
            .iter()
            .any(|(_, m)| {
                m.body().windows(9).any(|w| w == b"\"agent_id")
                    && String::from_utf8_lossy(m.body()).contains("\"agent_id\":\"b\"")
            })
            .then_some(())
    };
    testkit::wait_for("b is told", Duration::from_secs(20), told).await;
}
