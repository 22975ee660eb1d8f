//! Replicas of different builds on one log.

use base::{CallContext, ErrorCode, ExecutionId};
use bytes::Bytes;
use store::{
    Journal,
    journal::{Group, Item, LogRow, MemberId},
};
use testkit::wait_for;

use crate::kit::{LEASE, SHARDS, SOON, World, all_completed, id_of, keys};

const ALL: usize = SHARDS as usize;

fn shard_of(id: ExecutionId) -> u16 {
    id.shard(u32::from(SHARDS)) as u16
}

async fn owner(journal: &dyn Journal, shard: u16) -> Option<MemberId> {
    journal.roster().await.unwrap().shards[usize::from(shard)].clone()
}

/// The last event of an execution so far.
async fn last_seq(journal: &dyn Journal, id: ExecutionId) -> i64 {
    let recorded = journal.read_recorded(id).await.unwrap();
    recorded.and_then(|r| r.log.last().cloned()).map_or(0, |e| e.row.first_seq + i64::from(e.row.count) - 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_with_events_of_a_newer_build_goes_back_to_a_member_that_reads_them() {
    let world = World::postgres().await;
    world.agents.open(false);
    let a = world.replica("a").await;
    a.owns(ALL).await;
    let mut ids = Vec::new();
    for key in keys(1) {
        ids.push(a.start(&key).await);
    }
    wait_for("the calls", SOON, async || (world.agents.waiting() as usize == ids.len()).then_some(())).await;
    let (journal, newer) = world.stranger("newer", u16::MAX).await;
    world.network.takes("newer", true);
    a.owns(ALL / 2).await;
    let id = wait_for("a shard of the newer build", SOON, async || {
        for id in &ids {
            if owner(journal.as_ref(), shard_of(*id)).await.as_ref() == Some(&newer.id) {
                return Some(*id);
            }
        }
        None
    })
    .await;
    let shard = shard_of(id);
    let mut item = Item::new(id, base::Tenant::default());
    item.log = Some(LogRow {
        first_seq: last_seq(journal.as_ref(), id).await + 1,
        count: 1,
        pos: journal.last_pos(shard).await.unwrap() + 1,
        schema: 99,
        body: Bytes::from_static(b"of a later time"),
    });
    journal.commit(Group { by: newer.clone(), shard, items: vec![item] }).await.unwrap();

    // As long as nobody else can be reached the shard stays with this replica on paper, and nothing of it is touched.
    world.network.takes("newer", false);
    let to = MemberId::new("a").unwrap();
    assert!(journal.hand_over(&newer, shard, &to).await.unwrap());
    a.cluster.refresh();
    let context = CallContext::default();
    let unread = wait_for("the replica to see what it cannot read", SOON, async || {
        a.app.view(&context, id, None, false).await.err().filter(|e| e.code == ErrorCode::Unavailable)
    })
    .await;
    assert!(unread.message.contains("newer build"), "{unread:?}");
    wait_for("the shard to be let go", SOON, async || {
        let here = a.cluster.shard_map().here().contains(&shard);
        (!here && owner(journal.as_ref(), shard).await == Some(to.clone())).then_some(())
    })
    .await;
    world.network.takes("newer", true);
    wait_for("the shard to go back", SOON, async || {
        (owner(journal.as_ref(), shard).await.as_ref() == Some(&newer.id)).then_some(())
    })
    .await;
    // What it can read goes on.
    world.agents.open(true);
    let own: Vec<_> =
        ids.into_iter().filter(|id| a.cluster.shard_map().here().contains(&shard_of(*id))).collect();
    assert!(!own.is_empty());
    all_completed(&a.journal, &own).await;
    assert!(a.failed.borrow().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_that_a_living_member_cannot_read() {
    let world = World::postgres().await;
    world.agents.open(false);
    let a = world.replica("a").await;
    a.owns(ALL).await;
    let id = a.start("first").await;
    wait_for("the call", SOON, async || (world.agents.waiting() == 1).then_some(())).await;
    let (journal, old) = world.stranger("old", 0).await;
    let mut n = 0;
    // Each under a key of its own: one that was taken before the replica knew is there already.
    let refused = wait_for("starts to be refused", SOON, async || {
        n += 1;
        let start = a.try_start(id_of(&format!("n{n}")));
        tokio::time::timeout(LEASE, start).await.ok()?.err()
    })
    .await;
    assert_eq!(refused.code, ErrorCode::Unavailable);
    assert!(refused.message.contains("older build"), "{refused:?}");

    let before = last_seq(journal.as_ref(), id).await;
    world.agents.open(true);
    wait_for("the answer", SOON, async || (world.agents.waiting() == 0).then_some(())).await;
    assert!(a.try_start(id_of("later")).await.is_err());
    assert_eq!(last_seq(journal.as_ref(), id).await, before, "the answer waits");

    journal.leave(&old).await.unwrap();
    all_completed(&a.journal, &[id]).await;
    wait_for("starts to be taken", SOON, async || a.try_start(id_of("later")).await.ok()).await;
    assert!(a.failed.borrow().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_are_given_to_members_that_read_their_log() {
    let world = World::postgres().await;
    let a = world.replica("a").await;
    a.owns(ALL).await;
    let mut ids = Vec::new();
    for key in keys(1) {
        ids.push(a.start(&key).await);
    }
    all_completed(&a.journal, &ids).await;
    let (journal, _) = world.stranger("old", 0).await;
    let (_keep, _) = world.stranger("same", api::log::LOG_SCHEMA).await;
    world.network.takes("old", true);
    world.network.takes("same", true);
    wait_for("the share of the others", SOON, async || (a.shards() <= ALL / 3).then_some(())).await;
    let roster = journal.roster().await.unwrap();
    let of = |name: &str| roster.shards.iter().flatten().filter(|m| m.as_str() == name).count();
    assert_eq!((of("old"), of("same") > 0), (0, true), "{:?}", roster.shards);
    assert!(a.failed.borrow().is_none());
}
