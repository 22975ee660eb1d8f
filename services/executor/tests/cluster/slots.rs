//! Slots of instances, and places of workflows, over several replicas.

use std::sync::atomic::Ordering;

use base::ExecutionId;
use executor::cluster::Place;
use testkit::wait_for;

use crate::kit::{Replica, SHARDS, SOON, World, all_completed, id_of, keys};

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_never_gets_more_calls_than_it_takes() {
    let mut world = World::postgres().await;
    world.capacity = 3;
    let (a, b) = pair(&world).await;
    let mut ids = Vec::new();
    for key in keys(4) {
        ids.push(start(&[&a, &b], &key).await);
    }
    all_completed(&a.journal, &ids).await;
    let most = world.agents.at_once_max.load(Ordering::SeqCst);
    assert!((1..=3).contains(&most), "{most} calls at once");
    assert_eq!(world.agents.repeated(), 0);
}

async fn pair(world: &World) -> (Replica, Replica) {
    let a = world.replica("a").await;
    a.owns(SHARDS.into()).await;
    let b = world.replica("b").await;
    a.owns(usize::from(SHARDS) / 2).await;
    b.owns(usize::from(SHARDS) / 2).await;
    (a, b)
}

/// At whichever of the replicas owns it.
async fn start(replicas: &[&Replica], key: &str) -> ExecutionId {
    let owner = replicas.iter().find(|r| r.cluster.owner_of(id_of(key)) == Place::Here).unwrap();
    owner.start(key).await
}

/// Executions of the workflow make one call at a time: calls that wait are executions that run.
async fn running(world: &World, n: u32) {
    wait_for(&format!("{n} executions to run"), SOON, async || (world.agents.waiting() == n).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_keeps_its_limit_over_all_replicas_and_everything_that_waits_gets_its_turn() {
    let mut world = World::postgres().await;
    world.concurrency = Some(2);
    world.agents.open(false);
    let (a, b) = pair(&world).await;
    let mut ids = Vec::new();
    for key in keys(2) {
        ids.push(start(&[&a, &b], &key).await);
    }
    running(&world, 2).await;
    assert_eq!(a.engine.load()[0] + b.engine.load()[0], 2, "two have a place");
    assert_eq!(a.engine.load()[2] + b.engine.load()[2], ids.len() as u32 - 2, "the others wait for one");
    world.agents.open(true);
    all_completed(&a.journal, &ids).await;
    assert_eq!(world.agents.at_once_max.load(Ordering::SeqCst), 2);
    assert_eq!(world.agents.messages(), ids.len() * 3);
    // Places that one replica gave back serve the other.
    world.agents.open(false);
    let first = keys(2);
    let own = |key: &String| !first.contains(key) && b.cluster.owner_of(id_of(key)) == Place::Here;
    let mut more = Vec::new();
    for key in keys(3).into_iter().filter(own) {
        more.push(b.start(&key).await);
    }
    running(&world, 2).await;
    world.agents.open(true);
    all_completed(&a.journal, &more).await;
    assert_eq!(world.agents.at_once_max.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_keeps_its_limit_while_replicas_come_and_die() {
    let mut world = World::postgres().await;
    world.concurrency = Some(2);
    world.agents.open(false);
    let a = world.replica("a").await;
    a.owns(SHARDS.into()).await;
    let mut ids = Vec::new();
    for key in keys(2) {
        ids.push(a.start(&key).await);
    }
    running(&world, 2).await;
    // A second one gets half of the shards, with executions that run or wait.
    let b = world.replica("b").await;
    a.owns(usize::from(SHARDS) / 2).await;
    b.owns(usize::from(SHARDS) / 2).await;
    assert_eq!(world.agents.waiting(), 2);
    world.agents.open(true);
    all_completed(&a.journal, &ids).await;
    assert_eq!(world.agents.at_once_max.load(Ordering::SeqCst), 2);
    // The first one dies; what it ran is taken over, and what waited at both waits on.
    world.agents.open(false);
    let mut more = Vec::new();
    let first = keys(2);
    for key in keys(4).iter().filter(|key| !first.contains(key)) {
        more.push(start(&[&a, &b], key).await);
    }
    running(&world, 2).await;
    a.die().await;
    b.owns(SHARDS.into()).await;
    wait_for("the dead one's executions in memory", SOON, async || {
        let [active, _, queued, ..] = b.engine.load();
        assert!(active <= 2, "{active} run");
        (active + queued == more.len() as u32).then_some(())
    })
    .await;
    world.agents.open(true);
    for id in more {
        wait_for("an execution to end", SOON, async || {
            assert!(b.engine.load()[0] <= 2);
            b.journal.find_execution(id).await.unwrap()?.completed_at
        })
        .await;
    }
    assert_eq!(world.agents.messages(), ids.len() * 6);
}
