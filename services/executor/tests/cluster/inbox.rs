//! Commands that wait for an owner.

use base::Tenant;
use bytes::Bytes;
use executor::{cluster::Options, engine::Command};
use store::journal::InboxRow;
use testkit::wait_for;
use uuid::Uuid;

use crate::kit::{SHARDS, SOON, World, id_of};

async fn status(replica: &crate::kit::Replica, key: &str) -> String {
    replica.journal.find_execution(id_of(key)).await.unwrap().unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_waits_takes_effect_once_on_both_stores() {
    for world in [World::sqlite(), World::postgres().await] {
        world.agents.open(false);
        let a = world.replica("a").await;
        a.owns(SHARDS.into()).await;
        let id = a.start("k").await;
        let command = Command::Cancel { reason: "enough".into() };
        let command_id = Uuid::now_v7();
        for _ in 0..2 {
            a.cluster.leave_command(&Tenant::default(), id, &command, "ann", command_id).await.unwrap();
        }
        wait_for("the cancel", SOON, async || (status(&a, "k").await == "cancelled").then_some(())).await;
        let shards: Vec<u16> = (0..SHARDS).collect();
        let empty = async || a.journal.read_inbox(&shards, 10).await.unwrap().is_empty().then_some(());
        wait_for("an empty inbox", SOON, empty).await;
        // Refused now, and gone all the same.
        a.cluster
            .leave_command(&Tenant::default(), id, &Command::Resume, "ann", Uuid::now_v7())
            .await
            .unwrap();
        wait_for("an empty inbox", SOON, empty).await;
        a.drain(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_makes_the_owner_look_at_once() {
    let world = World::postgres().await;
    world.agents.open(false);
    let a = world.replica("a").await;
    a.owns(SHARDS.into()).await;
    let id = a.start("k").await;
    wait_for("the call", SOON, async || (world.agents.waiting() == 1).then_some(())).await;
    a.drain(std::time::Duration::from_millis(1)).await;
    drop(a);
    // Only a wake-up can make it look: its own look comes much later.
    let late = Options { inbox_every: std::time::Duration::from_secs(600), ..world.options("b") };
    let b = world.replica_with(late).await;
    b.owns(SHARDS.into()).await;
    let now = Command::Terminate { reason: "now".into() };
    let taken = b.cluster.leave_and_wait(&Tenant::default(), id, &now, "ann", SOON).await.unwrap();
    assert!(taken);
    wait_for("the wake-up", SOON, async || (status(&b, "k").await == "terminated").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_nobody_can_read_becomes_a_dead_letter() {
    let world = World::sqlite();
    let a = world.replica("a").await;
    let id = a.start("k").await;
    let row = InboxRow {
        shard: id.shard(u32::from(SHARDS)) as u16,
        command_id: Uuid::now_v7(),
        tenant: Tenant::default(),
        execution_id: id,
        kind: "dance".into(),
        body: Bytes::new(),
        created_at: base::Timestamp::from_millis(1),
    };
    a.journal.put_inbox(row.clone()).await.unwrap();
    let letters = wait_for("the dead letter", SOON, async || {
        let found = a.journal.list_dead_letters(&Tenant::default(), None, 10).await.unwrap();
        (!found.is_empty()).then_some(found)
    })
    .await;
    assert_eq!(letters[0].id, row.command_id);
    assert!(letters[0].reason.contains("dance"));
    let announced = wait_for("the announcement", SOON, async || {
        let found = world.bus.read(&world.keys.dead_letters(), None, 10).await.unwrap();
        found.first().map(|(_, message)| bus::DeadLetter::from_message(message).unwrap())
    })
    .await;
    assert!(announced.reason.contains("dance"));
    wait_for("an empty inbox", SOON, async || {
        a.journal.read_inbox(&[row.shard], 10).await.unwrap().is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_left_while_nobody_owns_the_shard_waits_for_the_next_owner() {
    let world = World::postgres().await;
    world.agents.open(false);
    let a = world.replica("a").await;
    a.owns(SHARDS.into()).await;
    let id = a.start("k").await;
    // What a gateway or another replica writes when nobody answers for the shard.
    let command = Command::Cancel { reason: "enough".into() };
    let cluster = a.cluster.clone();
    cluster.drain(std::time::Duration::from_millis(1)).await;
    cluster.leave_command(&Tenant::default(), id, &command, "ann", Uuid::now_v7()).await.unwrap();
    assert_eq!(status(&a, "k").await, "executing");
    drop(cluster);
    a.die().await;
    let b = world.replica("b").await;
    wait_for("the next owner", SOON, async || (status(&b, "k").await == "cancelled").then_some(())).await;
}
