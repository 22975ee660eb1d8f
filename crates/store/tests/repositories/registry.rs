//! Agents, changes, watchers.

use std::{sync::Arc, time::Duration};

use base::{AgentId, Tenant, Timestamp};
use futures::future::join_all;
use store::{
    Database, DatabaseOptions,
    journal::ShardPos,
    registry::{
        AgentEvent, AgentState, AgentWrite, Change, ChangeKind, Changes, Event, Events, Expected,
        HealthWrite, InstanceWrite, PutAgentError, RegistryStore, Watcher,
    },
};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn agent(id: &str) -> AgentId {
    AgentId::new(id).unwrap()
}

fn tenant() -> Tenant {
    Tenant::default()
}

fn instance(id: &str) -> InstanceWrite {
    InstanceWrite {
        instance_id: id.into(),
        endpoint: format!("http://{id}"),
        capacity: 64,
        weight: 1,
        region: "here".into(),
    }
}

fn write(id: &str, hash: &str) -> AgentWrite {
    AgentWrite {
        tenant: tenant(),
        agent_id: agent(id),
        content_hash: hash.into(),
        definition: format!("{{\"id\": \"{id}\"}}"),
        instances: vec![instance("one"), instance("two")],
        event: event("put"),
        at: at(5),
    }
}

fn event(name: &'static str) -> Event {
    Event { name, data: format!("{{\"told\": \"{name}\"}}") }
}

fn about(id: &str) -> AgentEvent {
    AgentEvent { tenant: tenant(), agent_id: agent(id), event: event("health") }
}

fn health(id: &str, instance: &str, health: &str) -> HealthWrite {
    HealthWrite {
        tenant: tenant(),
        agent_id: agent(id),
        instance_id: instance.into(),
        health: health.into(),
        score: 90,
        details: "{\"p50_ms\": 3}".into(),
        heartbeat_at: Some(at(7)),
    }
}

async fn open(database: Database) -> RegistryStore {
    RegistryStore::open(&database, &DatabaseOptions::default()).await.unwrap()
}

async fn changes(store: &RegistryStore, since: u64) -> Vec<Change> {
    match store.changes_since(since, 1000).await.unwrap() {
        Changes::Since(changes) => changes,
        Changes::Gone => panic!("changes above {since} are gone"),
    }
}

async fn an_agent_is_registered_updated_and_removed(database: Database) {
    let store = open(database).await;
    let first = store.put_agent(&write("writer", "h1"), Expected::Absent).await.unwrap();
    assert_eq!((first.revision, first.state, first.instances.len()), (1, AgentState::Active, 2));
    assert_eq!(first.definition, "{\"id\": \"writer\"}");
    assert_eq!((first.instances[0].health.as_str(), first.instances[0].heartbeat_at), ("unknown", None));
    let same = store.put_agent(&write("writer", "h1"), Expected::Absent).await.unwrap();
    assert_eq!(same, first, "the same definition is the same agent");
    let taken = store.put_agent(&write("writer", "h2"), Expected::Absent).await.unwrap_err();
    assert!(matches!(taken, PutAgentError::Exists(row) if row.revision == 1));
    let missing = store.put_agent(&write("reader", "h1"), Expected::Present).await.unwrap_err();
    assert!(matches!(missing, PutAgentError::NotFound));
    let stale = store.put_agent(&write("writer", "h2"), Expected::Revision(9)).await.unwrap_err();
    assert!(matches!(stale, PutAgentError::Stale { present: 1 }));

    store.record_health(&[health("writer", "two", "healthy")], &[about("writer")], at(8)).await.unwrap();
    let mut second = write("writer", "h2");
    second.instances = vec![instance("two"), instance("three")];
    let second = store.put_agent(&second, Expected::Revision(2)).await.unwrap();
    assert_eq!(second.revision, 3);
    let seen: Vec<_> = second.instances.iter().map(|i| (i.instance_id.as_str(), i.health.as_str())).collect();
    assert_eq!(seen, [("three", "unknown"), ("two", "healthy")], "who stays keeps its health");
    assert_eq!((second.instances[1].score, second.instances[1].heartbeat_at), (90, Some(at(7))));

    let draining = store
        .set_agent_state(&tenant(), &agent("writer"), AgentState::Draining, &event("draining"), at(9))
        .await
        .unwrap();
    assert_eq!(draining.map(|row| (row.revision, row.state)), Some((4, AgentState::Draining)));
    let (id, gone) = (agent("writer"), event("removed"));
    assert!(!store.remove_agent(&tenant(), &id, Some(AgentState::Active), &gone, at(10)).await.unwrap());
    assert!(store.remove_agent(&tenant(), &id, Some(AgentState::Draining), &gone, at(10)).await.unwrap());
    assert!(!store.remove_agent(&tenant(), &id, None, &gone, at(10)).await.unwrap());
    assert!(store.get_agent(&tenant(), &id).await.unwrap().is_none());
    let kinds: Vec<_> = changes(&store, 0).await.iter().map(|c| (c.revision, c.kind)).collect();
    use ChangeKind::{Put, Removed};
    assert_eq!(kinds, [(1, Put), (2, Put), (3, Put), (4, Put), (5, Removed)]);
}

async fn lists_turn_pages_by_key(database: Database) {
    let store = open(database).await;
    for id in ["c", "a", "e", "b", "d"] {
        store.put_agent(&write(id, "h"), Expected::Absent).await.unwrap();
    }
    let mut other = write("a", "h");
    other.tenant = Tenant::new("other").unwrap();
    store.put_agent(&other, Expected::Absent).await.unwrap();
    let page = store.list_agents(&tenant(), None, 3).await.unwrap();
    assert_eq!(page.iter().map(|a| a.agent_id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(page.iter().all(|a| a.instances.len() == 2));
    let page = store.list_agents(&tenant(), Some(&agent("c")), 3).await.unwrap();
    assert_eq!(page.iter().map(|a| a.agent_id.as_str()).collect::<Vec<_>>(), ["d", "e"]);
    let all = store.list_all_agents(Some((&tenant(), &agent("d"))), 10).await.unwrap();
    let seen: Vec<_> = all.iter().map(|a| (a.tenant.as_str(), a.agent_id.as_str())).collect();
    assert_eq!(seen, [("default", "e"), ("other", "a")]);
}

async fn revisions_have_no_gaps_under_concurrent_writers(database: Database) {
    let store = Arc::new(open(database).await);
    // A follower that reads all the time must see every revision once, in order.
    let follower = tokio::spawn({
        let store = store.clone();
        async move {
            let mut last = 0;
            while last < 100 {
                for change in changes(&store, last).await {
                    assert_eq!(change.revision, last + 1);
                    last = change.revision;
                }
            }
        }
    });
    let writers = (0..10).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..10 {
                // Refused writes in between must leave no gap.
                let _ = store.put_agent(&write(&format!("a{n}"), "refused"), Expected::Revision(9999)).await;
                let expected = if round == 0 { Expected::Absent } else { Expected::Present };
                store.put_agent(&write(&format!("a{n}"), &format!("h{round}")), expected).await.unwrap();
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(60), follower).await.expect("a gap").unwrap();
    assert_eq!(store.revision().await.unwrap(), 100);
}

async fn a_watch_that_is_too_far_behind_is_told_so(database: Database) {
    let store = open(database).await;
    assert_eq!(changes(&store, 0).await, []);
    for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
        let write = AgentWrite { at: at(n as i64), ..write(id, "h") };
        store.put_agent(&write, Expected::Absent).await.unwrap();
    }
    assert_eq!(store.forget_changes(at(2), u64::MAX).await.unwrap(), 2);
    assert_eq!(store.changes_since(1, 10).await.unwrap(), Changes::Gone);
    assert_eq!(changes(&store, 2).await.len(), 1);
    assert_eq!(changes(&store, 3).await, []);
    assert_eq!(store.forget_changes(at(2), u64::MAX).await.unwrap(), 0);
    assert_eq!(changes(&store, 2).await.len(), 1);
}

async fn health_of_many_instances_is_one_write(database: Database) {
    let store = open(database).await;
    for id in ["a", "b"] {
        store.put_agent(&write(id, "h"), Expected::Absent).await.unwrap();
    }
    let writes: Vec<_> = ["a", "b"]
        .into_iter()
        .flat_map(|id| ["one", "two"].map(|i| health(id, i, "degraded")))
        .chain([HealthWrite { heartbeat_at: None, ..health("nobody", "one", "healthy") }])
        .collect();
    store.record_health(&writes, &[], at(9)).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), 2, "a confirmation is no change");
    let row = store.get_agent(&tenant(), &agent("b")).await.unwrap().unwrap();
    assert!(row.instances.iter().all(|i| i.health == "degraded" && i.details == "{\"p50_ms\": 3}"));
    store.record_health(&[], &[], at(9)).await.unwrap();
    let silent = HealthWrite { heartbeat_at: None, ..health("b", "one", "unhealthy") };
    store.record_health(&[silent], &[about("b")], at(9)).await.unwrap();
    let row = store.get_agent(&tenant(), &agent("b")).await.unwrap().unwrap();
    assert_eq!((row.revision, row.instances[0].health.as_str()), (3, "unhealthy"));
    assert_eq!(row.instances[0].heartbeat_at, Some(at(7)), "no sign of life leaves the last one");
}

async fn what_changes_tell_is_written_with_them_and_linked(database: Database) {
    let store = open(database).await;
    assert_eq!(store.events_since(0, 10).await.unwrap().last, 0);
    store.put_agent(&write("a", "h"), Expected::Absent).await.unwrap();
    // Of an agent that is gone nothing is told, and the next event links past it.
    store.record_health(&[], &[about("nobody"), about("a")], at(9)).await.unwrap();
    let told = store.events_since(0, 10).await.unwrap();
    let seen: Vec<_> = told.events.iter().map(|e| (e.revision, e.previous, e.name.as_str(), e.at)).collect();
    assert_eq!(seen, [(1, 0, "put", at(5)), (3, 1, "health", at(9))]);
    assert_eq!((told.events[1].data.as_str(), told.last, told.gone), ("{\"told\": \"health\"}", 3, false));
    let one = store.events_since(0, 1).await.unwrap();
    assert_eq!((one.events.len(), one.last), (1, 3));
    assert_eq!(store.events_since(1, 10).await.unwrap().events.len(), 1);
    // What is not published stays; what is gone is said to be gone, but not to those who have it.
    assert_eq!(store.forget_changes(at(100), 0).await.unwrap(), 0);
    assert_eq!(store.forget_changes(at(100), 2).await.unwrap(), 2);
    assert!(store.events_since(0, 10).await.unwrap().gone);
    let told = store.events_since(2, 10).await.unwrap();
    assert_eq!((told.events.len(), told.gone), (1, false));
    store.forget_changes(at(100), 3).await.unwrap();
    assert_eq!(store.events_since(3, 10).await.unwrap(), Events { events: vec![], last: 3, gone: false });
    assert!(store.events_since(2, 10).await.unwrap().gone);
    store.put_position("one", "here", ShardPos { shard: 0, incarnation: 0, pos: 3 }).await.unwrap();
    assert_eq!(store.db().read_positions("one", "here").await.unwrap()[0].pos, 3);
}

async fn draining_knows_who_still_calls(database: Database) {
    let store = open(database).await;
    let watcher = |member: &str, acked_revision| Watcher {
        member: member.into(),
        acked_revision,
        in_flight: "{\"default/a\": 2}".into(),
    };
    let minute = Duration::from_secs(60);
    store.put_watcher(&watcher("x", 1), minute).await.unwrap();
    store.put_watcher(&watcher("x", 4), minute).await.unwrap();
    store.put_watcher(&watcher("gone", 1), Duration::ZERO).await.unwrap();
    store.put_watcher(&watcher("y", 2), minute).await.unwrap();
    assert_eq!(store.watchers().await.unwrap(), [watcher("x", 4), watcher("y", 2)]);
    store.remove_watcher("y").await.unwrap();
    assert_eq!(store.watchers().await.unwrap(), [watcher("x", 4)]);
}

on_every_database!(
    an_agent_is_registered_updated_and_removed,
    lists_turn_pages_by_key,
    revisions_have_no_gaps_under_concurrent_writers,
    a_watch_that_is_too_far_behind_is_told_so,
    health_of_many_instances_is_one_write,
    what_changes_tell_is_written_with_them_and_linked,
    draining_knows_who_still_calls,
);
