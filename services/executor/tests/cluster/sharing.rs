//! Shards: shared, handed over, taken over, left.

use std::time::Duration;

use base::CallContext;
use executor::{
    cluster::{Options, Place},
    engine::Command,
};
use testkit::wait_for;

use crate::kit::{SHARDS, SOON, World, all_completed, id_of, keys};

const ALL: usize = SHARDS as usize;

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_replica_on_sqlite_owns_everything_at_once() {
    let world = World::sqlite();
    let a = world.replica("a").await;
    assert_eq!(a.shards(), ALL);
    let mut ids = Vec::new();
    for key in keys(2) {
        ids.push(a.start(&key).await);
    }
    all_completed(&a.journal, &ids).await;
    assert_eq!(world.agents.messages(), ids.len() * 3);
    a.drain(SOON).await;
    drop(a);
    let b = world.replica("b").await;
    assert_eq!(b.shards(), ALL, "another name takes what the first one left");
    b.start("later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_on_sqlite_takes_what_a_crash_left() {
    let world = World::sqlite();
    world.agents.open(false);
    let a = world.replica("a").await;
    let id = a.start("k").await;
    wait_for("the call", SOON, async || (world.agents.waiting() == 1).then_some(())).await;
    a.die().await;
    let b = world.replica("b").await;
    assert_eq!(b.shards(), ALL);
    world.agents.open(true);
    all_completed(&b.journal, &[id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_shards_evenly_and_calls_survive_the_move() {
    let world = World::postgres().await;
    world.agents.open(false);
    let a = world.replica("a").await;
    a.owns(ALL).await;
    let mut ids = Vec::new();
    for key in keys(3) {
        ids.push(a.start(&key).await);
    }
    wait_for("the calls", SOON, async || (world.agents.waiting() as usize == ids.len()).then_some(())).await;
    let b = world.replica("b").await;
    let c = world.replica("c").await;
    a.owns(3).await;
    wait_for("an even share", SOON, async || {
        (b.shards() + c.shards() == 5 && b.shards().abs_diff(c.shards()) == 1).then_some(())
    })
    .await;
    // Calls of living members are not repeated: their results are brought to the new owners.
    world.agents.open(true);
    all_completed(&a.journal, &ids).await;
    assert_eq!(world.agents.repeated(), 0);
    assert_eq!(world.agents.messages(), ids.len() * 3);
    let map = a.cluster.list_shards();
    assert_eq!(map.members.iter().map(|m| m.shards.len()).sum::<usize>(), ALL);
    for replica in [&a, &b, &c] {
        assert!(replica.failed.borrow().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_replicas_shards_and_calls_are_taken_over() {
    let world = World::postgres().await;
    let a = world.replica("a").await;
    a.owns(ALL).await;
    let b = world.replica("b").await;
    a.owns(ALL / 2).await;
    b.owns(ALL / 2).await;
    world.agents.open(false);
    let mut ids = Vec::new();
    for key in keys(2) {
        let owner = if a.cluster.owner_of(id_of(&key)) == Place::Here { &a } else { &b };
        ids.push(owner.start(&key).await);
    }
    wait_for("the calls", SOON, async || (world.agents.waiting() as usize == ids.len()).then_some(())).await;
    a.die().await;
    b.owns(ALL).await;
    world.agents.open(true);
    all_completed(&b.journal, &ids).await;
    // The same message again is the same work for an agent: only the dead member's calls, and with their old ids.
    assert_eq!(world.agents.messages(), ids.len() * 3);
    assert_eq!(world.agents.repeated(), ids.len() / 2);
    assert!(b.failed.borrow().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_replica_gives_its_shards_away_and_waits_for_its_calls() {
    let world = World::postgres().await;
    world.agents.open(false);
    let a = world.replica("a").await;
    a.owns(ALL).await;
    let mut ids = Vec::new();
    for key in keys(1) {
        ids.push(a.start(&key).await);
    }
    wait_for("the calls", SOON, async || (world.agents.waiting() as usize == ids.len()).then_some(())).await;
    let b = world.replica("b").await;
    let drain = async {
        a.drain(SOON).await;
    };
    let agents = async {
        b.owns(ALL).await;
        world.agents.open(true);
    };
    tokio::join!(drain, agents);
    all_completed(&b.journal, &ids).await;
    assert_eq!(world.agents.repeated(), 0);
    wait_for("the leaver to be gone", SOON, async || {
        (b.cluster.list_shards().members.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_the_same_name_has_its_shards_at_once_and_ends_the_old_life() {
    let world = World::postgres().await;
    let a = world.replica("a").await;
    a.owns(ALL).await;
    let again = world.replica("a").await;
    assert_eq!(again.shards(), ALL, "without waiting for a lease");
    let refused = wait_for("the old life to end", SOON, async || a.failed.borrow().clone()).await;
    assert!(refused.contains("fenced"), "{refused}");
    let id = again.start("k").await;
    all_completed(&again.journal, &[id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_for_shards_of_others_are_sent_away() {
    let world = World::postgres().await;
    let a = world.replica("a").await;
    a.owns(ALL).await;
    let b = world.replica("b").await;
    b.owns(ALL / 2).await;
    a.owns(ALL / 2).await;
    let key = keys(1).into_iter().find(|k| a.cluster.owner_of(id_of(k)) != Place::Here).unwrap();
    let refused = a.try_start(id_of(&key)).await.unwrap_err();
    assert_eq!(refused.code, base::ErrorCode::NotOwner);
    let Place::At(owner) = a.cluster.owner_of(id_of(&key)) else { panic!("the owner is known") };
    assert_eq!(owner.address, "http://b:1");
    b.start(&key).await;
    tokio::time::timeout(SOON / 3, b.drain(SOON))
        .await
        .expect("with no call in flight it need not use its grace");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_leave_together_do_not_wait_for_each_other() {
    let world = World::postgres().await;
    let a = world.replica("a").await;
    a.owns(ALL).await;
    let b = world.replica("b").await;
    b.owns(ALL / 2).await;
    a.owns(ALL / 2).await;
    let both = async { tokio::join!(a.drain(2 * SOON), b.drain(2 * SOON)) };
    tokio::time::timeout(SOON, both).await.expect("nobody takes what they give");
    let c = world.replica("c").await;
    c.owns(ALL).await;
    assert_eq!(c.cluster.list_shards().members.len(), 1, "both have left in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_execution_moved_ends_when_the_new_owner_cancels_it() {
    let world = World::postgres().await;
    world.agents.open(false);
    let a = world.replica("a").await;
    a.owns(ALL).await;
    for key in keys(1) {
        a.start(&key).await;
    }
    wait_for("the calls", SOON, async || (world.agents.waiting() as usize == ALL).then_some(())).await;
    let b = world.replica("b").await;
    b.owns(ALL / 2).await;
    let moved = keys(1).into_iter().find(|k| b.cluster.owner_of(id_of(k)) == Place::Here).unwrap();
    let cancel = Command::Cancel { reason: "enough".into() };
    // The shard may still be read back.
    let done = wait_for("the cancel", SOON, async || {
        b.app.command(&CallContext::default(), id_of(&moved), cancel.clone()).await.ok()
    })
    .await;
    assert_eq!(done.status.as_str(), "cancelled");
    wait_for("the call of the other replica to end", SOON, async || {
        (world.agents.waiting() as usize == ALL - 1).then_some(())
    })
    .await;
    world.agents.open(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_lease_a_replica_stands_still() {
    let world = World::postgres().await;
    // Renewed long after it has run out.
    let lazy =
        Options { lease: Duration::from_millis(900), renewal: Duration::from_secs(3), ..world.options("a") };
    let a = world.replica_with(lazy).await;
    a.owns(ALL).await;
    let lease = a.cluster.lease();
    wait_for("the lease to run out", SOON, async || (!lease.is_valid()).then_some(())).await;
    let start = a.start("k");
    tokio::pin!(start);
    for _ in 0..50 {
        assert!(futures::poll!(&mut start).is_pending() || lease.is_valid());
        assert!(world.agents.messages() == 0 || lease.is_valid());
        tokio::task::yield_now().await;
    }
    let id = start.await;
    assert!(lease.is_valid(), "answered only with a lease");
    all_completed(&a.journal, &[id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_an_earlier_life_wait_for_the_fleet() {
    let mut world = World::sqlite();
    world.agents.open(false);
    let a = world.replica("a").await;
    let id = a.start("k").await;
    wait_for("the call", SOON, async || (world.agents.waiting() == 1).then_some(())).await;
    a.die().await;
    world.fleet_known = false;
    let b = world.replica("a").await;
    world.agents.open(true);
    wait_for("the execution in memory", SOON, async || (b.engine.load()[0] == 1).then_some(())).await;
    b.engine.set_fleet(world.fleet());
    all_completed(&b.journal, &[id]).await;
    assert_eq!(
        (world.agents.repeated(), world.agents.messages()),
        (1, 3),
        "the first call again, with its old id"
    );
}
