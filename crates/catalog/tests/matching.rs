//! Matching a need to agents, and snapshots that follow changes.
#![allow(clippy::unwrap_used)] // a helper that fails is a test that fails

use std::sync::Arc;

use base::{AgentId, units::Resources};
use catalog::snapshot::{HealthReport, InstanceHealth};
use catalog::{AgentDefinition, AgentEntry, AgentState, Assessment, Change, Need, Outcome, Snapshot, Status};
use serde_json::{Value, json};

fn entry(value: Value, state: AgentState, health: &[(&str, Status, u8)]) -> Arc<AgentEntry> {
    let definition = AgentDefinition::from_value(&value).unwrap().definition;
    let checks = health.iter().map(|&(id, status, score)| {
        let assessment = Assessment { status, score, reason: "it is so".into() };
        (
            id.to_owned(),
            InstanceHealth {
                assessment,
                calls: 3,
                failures: 1,
                mean_ms: Some(2.5),
                ..InstanceHealth::default()
            },
        )
    });
    let report = HealthReport { checks: checks.collect(), ..HealthReport::default() };
    Arc::new(AgentEntry::new(definition, 1, state, report))
}

fn agent(id: &str, over: Value) -> Value {
    let mut value = json!({"id": id, "endpoint": "http://localhost:1"});
    for (key, v) in over.as_object().unwrap() {
        value[key] = v.clone();
    }
    value
}

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

fn fleet() -> Snapshot {
    use AgentState::{Active, Draining};
    use Status::{Healthy, Unhealthy};
    let caps = |list: &[&str]| json!(list.iter().map(|c| json!({"id": c})).collect::<Vec<_>>());
    Snapshot::of(
        7,
        [
            entry(
                agent("cheap", json!({"capabilities": caps(&["search"]), "cost": 1, "type": "finder"})),
                Active,
                &[("default", Healthy, 60)],
            ),
            entry(
                agent(
                    "good",
                    json!({"capabilities": caps(&["search"]), "cost": 2, "metadata": {"tags": ["gpu"]}}),
                ),
                Active,
                &[("default", Healthy, 99)],
            ),
            entry(
                agent(
                    "better",
                    json!({"capabilities": caps(&["search", "rank"]), "cost": 2, "resources": {"cpu": {"max": 8}}}),
                ),
                Active,
                &[("default", Healthy, 100)],
            ),
            entry(
                agent(
                    "small",
                    json!({"capabilities": caps(&["crunch"]), "resources": {"cpu": {"max": 1}, "memory": {"max": 100}, "network": {"bandwidth": 5}}}),
                ),
                Active,
                &[],
            ),
            entry(
                agent("sick", json!({"capabilities": caps(&["heal"])})),
                Active,
                &[("default", Unhealthy, 0)],
            ),
            entry(
                agent("leaving", json!({"capabilities": caps(&["leave"])})),
                Draining,
                &[("default", Healthy, 100)],
            ),
            entry(
                agent(
                    "spread",
                    json!({"capabilities": caps(&["map"]), "instances": [
                {"id": "a", "region": "eu"}, {"id": "b", "region": "us"}]}),
                ),
                Active,
                &[("a", Unhealthy, 0), ("b", Healthy, 100)],
            ),
        ],
    )
}

fn need(value: impl FnOnce(&mut Need)) -> Need {
    let mut need = Need::default();
    value(&mut need);
    need
}

#[test]
fn the_cheapest_that_fits_comes_first_then_score_then_id() {
    let fleet = fleet();
    let found = fleet.matches(&need(|n| n.capability = Some("search".into())));
    let order: Vec<(&str, u32)> =
        found.candidates.iter().map(|c| (c.agent.id().as_str(), c.price_rank)).collect();
    assert_eq!(order, [("cheap", 0), ("better", 1), ("good", 1)]);
    assert_eq!(found.outcome, Outcome::Now);
}

#[test]
fn everything_stated_must_hold() {
    let fleet = fleet();
    let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (name, need, want) in [
        ("all capabilities", need(|n| n.capabilities = words(&["search", "rank"])), vec!["better"]),
        ("type", need(|n| n.agent_type = "finder".into()), vec!["cheap"]),
        (
            "tag",
            need(|n| {
                n.tags = words(&["gpu"]);
                n.capability = Some("search".into())
            }),
            vec!["good"],
        ),
        (
            "requirement: capability else tag",
            need(|n| n.requirements = words(&["search", "gpu"])),
            vec!["good"],
        ),
        ("pin", need(|n| n.agent = Some(id("good"))), vec!["good"]),
        (
            "resources",
            need(|n| {
                n.capability = Some("search".into());
                n.resources.cpu_millis = 9000
            }),
            vec!["cheap", "good"],
        ),
        (
            "region of a healthy instance",
            need(|n| {
                n.capability = Some("map".into());
                n.region = Some("us".into())
            }),
            vec!["spread"],
        ),
        ("an unknown agent takes calls", need(|n| n.capability = Some("crunch".into())), vec!["small"]),
    ] {
        let found = fleet.matches(&need);
        let got: Vec<&str> = found.candidates.iter().map(|c| c.agent.id().as_str()).collect();
        assert_eq!(got, want, "{name}: {:?}", found.outcome);
    }
}

#[test]
fn when_nothing_matches_the_reason_says_whether_it_can_ever() {
    let fleet = fleet();
    let big = Resources { cpu_millis: 2000, memory_bytes: 1 << 40, network_mbps: 6 };
    for (name, need, never, words) in [
        (
            "capability",
            need(|n| n.capability = Some("web_search".into())),
            true,
            vec!["no agent offers web_search; nearest: search"],
        ),
        (
            "requirement",
            need(|n| n.requirements = vec!["serch".into()]),
            true,
            vec!["serch", "nearest: search"],
        ),
        ("tag", need(|n| n.tags = vec!["tpu".into()]), true, vec!["no agent is tagged tpu"]),
        ("type", need(|n| n.agent_type = "finders".into()), true, vec!["type finders", "nearest: finder"]),
        (
            "pin",
            need(|n| n.agent = Some(id("god"))),
            true,
            vec!["agent god is not registered; nearest: good"],
        ),
        (
            "pin that cannot",
            need(|n| {
                n.agent = Some(id("cheap"));
                n.capability = Some("rank".into())
            }),
            true,
            vec!["agent cheap does not offer rank"],
        ),
        (
            "pin of another type",
            need(|n| {
                n.agent = Some(id("good"));
                n.agent_type = "finder".into()
            }),
            true,
            vec!["is not of type finder"],
        ),
        (
            "pin without tag",
            need(|n| {
                n.agent = Some(id("cheap"));
                n.tags = vec!["gpu".into()]
            }),
            true,
            vec!["is not tagged gpu"],
        ),
        (
            "no one agent",
            need(|n| {
                n.capabilities = vec!["rank".into(), "map".into()];
                n.tags = vec!["gpu".into()];
                n.agent_type = "finder".into();
                n.region = Some("eu".into())
            }),
            true,
            vec!["no one agent has type finder and capabilities map, rank and tags gpu and region eu"],
        ),
        (
            "resources",
            need(|n| {
                n.capability = Some("crunch".into());
                n.resources = big
            }),
            true,
            vec!["2 cores", "1 core", "1TB", "100MB", "6 Mbit/s"],
        ),
        ("sick", need(|n| n.capability = Some("heal".into())), false, vec!["sick is unhealthy: it is so"]),
        ("leaving", need(|n| n.capability = Some("leave".into())), true, vec!["is being removed: leaving"]),
        (
            "sick in that region",
            need(|n| {
                n.capability = Some("map".into());
                n.region = Some("eu".into())
            }),
            false,
            vec!["spread"],
        ),
        (
            "nowhere in that region",
            need(|n| {
                n.capability = Some("map".into());
                n.region = Some("mars".into())
            }),
            true,
            vec!["region mars"],
        ),
    ] {
        let found = fleet.matches(&need);
        assert!(found.candidates.is_empty(), "{name}");
        let (is_never, text) = match found.outcome {
            Outcome::Never(text) => (true, text),
            Outcome::Later(text) => (false, text),
            Outcome::Now => panic!("{name}"),
        };
        assert_eq!(is_never, never, "{name}: {text}");
        for word in words {
            assert!(text.contains(word), "{name}: {text}");
        }
    }
    let empty = Snapshot::default().matches(&Need::default());
    assert_eq!(empty.outcome, Outcome::Never("no agent is registered".into()));
}

#[test]
fn a_snapshot_follows_changes_and_the_old_one_stays_as_it_was() {
    let old = fleet();
    let moved = entry(
        agent("cheap", json!({"capabilities": [{"id": "dig", "tags": ["deep"]}], "type": "miner"})),
        AgentState::Active,
        &[],
    );
    let new = old.with(8, [Change::Put(moved), Change::Remove(id("good")), Change::Remove(id("nobody"))]);
    let offering = |s: &Snapshot, c: &str| s.offering(c).map(|e| e.id().to_string()).collect::<Vec<_>>();
    assert_eq!(
        (old.revision(), old.len(), offering(&old, "search")),
        (7, 7, vec!["better".into(), "cheap".into(), "good".into()])
    );
    assert_eq!((new.revision(), new.len(), offering(&new, "search")), (8, 6, vec!["better".to_string()]));
    assert_eq!(
        new.tagged("deep").count() + new.declarations("dig").count() + new.of_type("miner").count(),
        3
    );
    assert!(new.tagged("gpu").next().is_none() && !new.types().any(|t| t == "finder"));
    assert!(new.agent(&id("good")).is_none() && !new.is_empty());
}

#[test]
fn an_entry_survives_the_wire_and_passes_over_keys_of_the_future() {
    let sent = entry(
        agent(
            "a",
            json!({"capabilities": [{"id": "c"}], "instances": [{"id": "x", "capacity": 3}, {"id": "y"}]}),
        ),
        AgentState::Draining,
        &[("x", Status::Degraded, 61)],
    );
    let mut value = sent.to_value();
    assert_eq!(value["healthStatus"]["checks"][0]["instance"], "x");
    value["invented_later"] = json!({"x": 1});
    let got = AgentEntry::from_json(&value.to_string(), 1, AgentState::Draining).unwrap();
    assert_eq!(&got, &*sent);
    assert_eq!(
        (got.capacity(), got.status(), got.score(), got.takes_calls(None)),
        (67, Status::Degraded, 50, false)
    );
    assert_eq!(got.instances[0].status, Status::Degraded);
    assert_eq!((got.health.checks["x"].calls, got.health.checks["x"].mean_ms), (3, Some(2.5)));
    let mut worse = got.health.clone();
    worse.checks.get_mut("y").unwrap().assessment.score = 40;
    assert!(
        worse.differs(&got.health) && !worse.status_differs(&got.health) && !got.health.differs(&got.health)
    );
    worse.overall.status = Status::Unhealthy;
    assert!(worse.status_differs(&got.health));
    assert!(AgentEntry::from_json("{", 1, AgentState::Active).is_err());
    assert!(AgentEntry::from_json("{\"id\": \"a\"}", 1, AgentState::Active).is_err());
    assert_eq!(AgentState::parse("draining"), Some(AgentState::Draining));
}

#[test]
fn the_time_of_a_call_is_declared_or_measured_and_the_choice_holds_the_cheapest_and_the_fastest() {
    let cap = |ms: Option<u64>| json!([{"id": "work", "performance": {"responseTime": {"target": ms}}}]);
    let put = |name: &str, cost: u32, ms| {
        let agent = agent(name, json!({"cost": cost, "capabilities": cap(Some(ms))}));
        entry(agent, AgentState::Active, &[])
    };
    let undeclared = agent("m", json!({"cost": 9, "capabilities": [{"id": "work"}]}));
    let mut measured = (*entry(undeclared, AgentState::Active, &[])).clone();
    for (instance, calls, ms) in [("default", 3, 10.0), ("other", 1, 30.0)] {
        let seen = catalog::snapshot::InstanceHealth { calls, mean_ms: Some(ms), ..Default::default() };
        measured.health.checks.insert(instance.into(), seen);
    }
    let fleet = Snapshot::of(
        1,
        [
            put("a", 1, 900),
            put("b", 2, 500),
            put("c", 3, 700),
            put("d", 4, 100),
            std::sync::Arc::new(measured),
        ],
    );
    let found = fleet.matches(&need(|n| n.capability = Some("work".into())));
    let ms: Vec<u128> = found.candidates.iter().map(|c| c.expected.unwrap().as_millis()).collect();
    assert_eq!(ms, [900, 500, 700, 100, 15], "three calls of 10 ms and one of 30 ms");
    let names = |n| found.choices(n).iter().map(|c| c.agent.id().to_string()).collect::<Vec<_>>();
    assert_eq!(names(1), ["a", "m"]);
    assert_eq!(names(2), ["a", "b", "d", "m"]);
    assert_eq!(names(9).len(), 5);
}

#[test]
fn who_is_neither_dearer_nor_slower_is_as_good_and_measured_times_may_differ_by_a_quarter() {
    use std::time::Duration;
    let cap = |ms: Option<u64>| json!([{"id": "work", "performance": {"responseTime": {"target": ms}}}]);
    let put = |name: &str, cost: u32, declared, measured: Option<f64>| {
        let plain = agent(name, json!({"cost": cost, "capabilities": cap(declared)}));
        let mut made = (*entry(plain, AgentState::Active, &[])).clone();
        if let Some(ms) = measured {
            let seen =
                catalog::snapshot::InstanceHealth { calls: 1, mean_ms: Some(ms), ..Default::default() };
            made.health.checks.insert("default".into(), seen);
        }
        std::sync::Arc::new(made)
    };
    let ms = Duration::from_millis;
    let table = [
        ("nothing is known", vec![("a", 1, None, None), ("b", 1, None, None)], None, "a b"),
        ("the dearer is not", vec![("a", 1, None, None), ("b", 2, None, None)], None, "a"),
        (
            "declared times count as they stand",
            vec![("a", 1, Some(100), None), ("b", 1, Some(101), None)],
            None,
            "a",
        ),
        (
            "measured ones differ by chance",
            vec![("a", 1, None, Some(100.0)), ("b", 1, None, Some(125.0))],
            None,
            "a b",
        ),
        ("up to a quarter", vec![("a", 1, None, Some(100.0)), ("b", 1, None, Some(126.0))], None, "a"),
        (
            "who is not known counts as the slowest known",
            vec![("a", 1, None, Some(100.0)), ("b", 1, None, None)],
            None,
            "a b",
        ),
        (
            "that may be too slow",
            vec![("a", 1, None, Some(100.0)), ("b", 1, None, None), ("c", 1, None, Some(900.0))],
            None,
            "a",
        ),
        (
            "the task's own word counts for all",
            vec![("a", 1, Some(100), None), ("b", 1, Some(900), None)],
            Some(ms(5)),
            "a b",
        ),
    ];
    for (name, agents, stated, want) in table {
        let agents =
            agents.into_iter().map(|(name, cost, declared, measured)| put(name, cost, declared, measured));
        let found = Snapshot::of(1, agents).matches(&need(|n| n.capability = Some("work".into())));
        let chosen = found.candidates.iter().find(|c| c.agent.id().as_str() == "a").unwrap();
        let good: Vec<String> = found.as_good_as(chosen, stated).map(|c| c.agent.id().to_string()).collect();
        assert_eq!(good.join(" "), want, "{name}");
    }
}
