//! Watches miss nothing: under concurrent writers, from any revision, through any replica.
#![allow(clippy::unwrap_used)] // a helper that fails is a test that fails

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{FakeAgent, Home, LONG, Registry, agent, card};
use proto::registry::v1::{DeleteAgentRequest, HeartbeatRequest, ListAgentsRequest, UpdateAgentRequest};
use serde_json::json;

/// Ids and revisions as the registry has them.
async fn truth(registry: &Registry) -> BTreeMap<String, (u64, String)> {
    let request = ListAgentsRequest {
        page: Some(proto::common::v1::PageRequest { page_size: 1000, page_token: String::new() }),
        ..ListAgentsRequest::default()
    };
    let agents = registry.client().list_agents(request).await.unwrap().into_inner().agents;
    agents.into_iter().map(|a| (a.agent_id, (a.revision, a.health))).collect()
}

/// Registers, changes and removes agents of its own, in an order that the seed gives.
async fn write(registry: &Registry, writer: u64, operations: u64) {
    for i in 0..operations {
        let id = format!("w{writer}-{}", (i * 7 + writer) % 5);
        let name = format!("{i}");
        match (i + writer) % 4 {
            0 | 1 => {
                let _taken = registry.register(agent(&id, json!({"name": name}))).await;
            }
            2 => {
                let definition = agent(&id, json!({"name": name})).to_string();
                let request =
                    UpdateAgentRequest { agent_id: id, definition, ..UpdateAgentRequest::default() };
                let _missing = registry.client().update_agent(request).await;
            }
            _ => {
                let request = DeleteAgentRequest { agent_id: id, force: true, refuse_if_busy: false };
                let _missing = registry.client().delete_agent(request).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_under_concurrent_writers_ends_with_exactly_what_is_there() {
    for home in Home::both() {
        let registry = Registry::blind(&home).await;
        let writers = async {
            tokio::join!(
                write(&registry, 0, 60),
                write(&registry, 1, 60),
                write(&registry, 2, 60),
                write(&registry, 3, 60)
            );
            registry.register(agent("zzz-last", json!({}))).await.unwrap();
        };
        let watchers = async {
            let mut all = Vec::new();
            for round in 0..6u64 {
                let mut watch = registry.watch(0).await;
                for _ in 0..round {
                    watch.step().await;
                }
                // Half of them go away in the middle and resume from where they stood.
                if round % 2 == 1 {
                    let (revision, agents) = (watch.revision, std::mem::take(&mut watch.agents));
                    watch = registry.watch(revision).await;
                    (watch.agents, watch.revision) = (agents, revision);
                }
                all.push(watch);
            }
            all
        };
        let ((), watchers) = tokio::join!(writers, watchers);
        for mut watch in watchers {
            watch.until("the last agent", |w| w.agents.contains_key("zzz-last")).await;
            // First probes may still move somebody's health: where the two differ, the change is on its way, and a
            // watch that missed one waits in vain.
            loop {
                let want = truth(&registry).await;
                let got: BTreeMap<String, (u64, String)> =
                    watch.agents.iter().map(|(id, a)| (id.clone(), (a.revision, a.health.clone()))).collect();
                if got == want {
                    break;
                }
                watch.step().await;
            }
            assert!(watch.snapshots <= 1, "{}: a revision that is known is resumed from", home.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_watch_gets_what_it_missed_and_an_odd_revision_starts_again() {
    for home in Home::both() {
        let registry = Registry::blind(&home).await;
        for id in ["a", "b", "c"] {
            registry.register(agent(id, json!({}))).await.unwrap();
        }
        let mut watch = registry.watch(0).await;
        watch.step().await;
        let stood_at = watch.revision;
        drop(watch);
        registry.register(agent("d", json!({}))).await.unwrap();
        let request = DeleteAgentRequest { agent_id: "a".into(), force: true, refuse_if_busy: false };
        registry.client().delete_agent(request).await.unwrap();
        // Also by a registry that was restarted meanwhile.
        registry.stop().await;
        let registry = Registry::blind(&home).await;
        let mut resumed = registry.watch(stood_at).await;
        resumed.agents = BTreeMap::from([("a".into(), registry.get("b").await.unwrap())]);
        resumed.step().await;
        assert_eq!(resumed.agents.keys().collect::<Vec<_>>(), ["d"], "{}: only what changed", home.name());
        assert_eq!(resumed.snapshots, 0);
        let mut odd = registry.watch(stood_at + 1_000_000).await;
        odd.step().await;
        assert_eq!((odd.snapshots, odd.agents.len()), (1, 3), "{}: a revision of the future", home.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_fleet_comes_in_parts_and_the_last_one_moves_the_revision() {
    let home = Home::sqlite();
    let registry = Registry::blind(&home).await;
    for i in 0..450 {
        registry.register(agent(&format!("a{i:03}"), json!({}))).await.unwrap();
    }
    let mut watch = registry.watch(0).await;
    watch.step().await;
    assert_eq!((watch.agents.len(), watch.revision), (200, 0));
    watch.step().await;
    watch.step().await;
    assert!(watch.agents.len() == 450 && watch.revision >= 450, "{}", watch.revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_replica_serves_and_each_agent_is_looked_after_by_one() {
    let home = Home::postgres();
    // On a machine that is short of time a beat or the answer to a probe comes late: neither may be taken for a sign that
    // nobody is there.
    let named = |id: &'static str| {
        move |s: &mut runtime::Settings| {
            s.node.id = Some(id.into());
            s.registry.heartbeat_expiry = Duration::from_secs(600);
            s.registry.health_check_interval = Duration::from_secs(5);
            s.registry.probe_timeout = Duration::from_secs(5);
        }
    };
    let one = Registry::start_with(&home, named("one")).await;
    let two = Registry::start_with(&home, named("two")).await;
    let there = FakeAgent::start(&card()).await;
    let mut watch = two.watch(0).await;
    for i in 0..8 {
        let registry = if i % 2 == 0 { &one } else { &two };
        registry
            .register(agent(&format!("a{i}"), json!({"endpoint": there.url, "healthPath": "/health"})))
            .await
            .unwrap();
        let other = if i % 2 == 0 { &two } else { &one };
        assert_eq!(
            other.get(&format!("a{i}")).await.unwrap().revision,
            1,
            "a write is read through any replica at once"
        );
    }
    watch
        .until("all healthy", |w| w.agents.len() == 8 && w.agents.values().all(|a| a.health == "healthy"))
        .await;

    // A heartbeat counts wherever it arrives. Agents beat again and again: one beat may meet a replica that is just
    // handing its agents over.
    for registry in [&one, &two] {
        for health in ["degraded", "healthy"] {
            let beating = async {
                let mut beats = tokio::time::interval(Duration::from_millis(200));
                loop {
                    beats.tick().await;
                    for i in 0..8 {
                        let (agent_id, status) = (format!("a{i}"), health.to_owned());
                        let beat = HeartbeatRequest { agent_id, status, ..HeartbeatRequest::default() };
                        registry.client().heartbeat(beat).await.unwrap();
                    }
                }
            };
            tokio::select! {
                () = watch.until(health, |w| w.agents.values().all(|a| a.health == health)) => {}
                () = beating => {}
            }
        }
    }

    // The one that is left looks after all.
    one.stop().await;
    there.answer(500);
    let unhealthy = || ListAgentsRequest { health: "unhealthy".into(), ..ListAgentsRequest::default() };
    let waited = tokio::time::timeout(LONG, async {
        while two.list(unhealthy()).await.len() < 8 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(waited.await.is_ok(), "not all are looked after: {:?}", truth(&two).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_writes_the_bus_tells_the_others() {
    let (home, redis) = (Home::postgres(), testkit::Redis::start());
    let named = |id: &'static str| {
        let url = redis.url();
        move |s: &mut runtime::Settings| {
            s.node.id = Some(id.into());
            s.bus.url = Some(runtime::config::SecretUrl::new(url));
            s.registry.watch_poll_interval = Duration::from_secs(60);
            s.registry.health_check_interval = Duration::from_secs(3600);
        }
    };
    let one = Registry::start_alone(&home, named("one")).await;
    let two = Registry::start_alone(&home, named("two")).await;
    let (mut at_one, mut at_two) = (one.watch(0).await, two.watch(0).await);
    // Each knows the other within one renewal of the lease; from then on writes are announced both ways.
    let mut n = 0;
    let both = tokio::time::timeout(LONG, async {
        let (mut one_sees, mut two_sees) = (false, false);
        while !(one_sees && two_sees) {
            n += 1;
            let (by_one, by_two) = (format!("one-{n}"), format!("two-{n}"));
            one.register(agent(&by_one, json!({}))).await.unwrap();
            two.register(agent(&by_two, json!({}))).await.unwrap();
            let see = Duration::from_millis(500);
            two_sees = tokio::time::timeout(see, at_two.until("one's", |w| w.agents.contains_key(&by_one)))
                .await
                .is_ok();
            one_sees = tokio::time::timeout(see, at_one.until("two's", |w| w.agents.contains_key(&by_two)))
                .await
                .is_ok();
        }
    });
    assert!(both.await.is_ok(), "the other replica's writes arrive long before the next poll");
}
