//! Members, shards, leases.

use std::time::Duration;

use store::{
    OpenError, StoreError,
    journal::{MemberId, Membership},
};

use crate::kit::*;

async fn owners(kit: &Kit) -> Vec<Option<String>> {
    let roster = kit.journal.roster().await.unwrap();
    roster.shards.iter().map(|owner| owner.as_ref().map(|id| id.as_str().to_owned())).collect()
}

async fn claim_all(kit: &Kit, by: &Membership) {
    for shard in 0..SHARDS {
        assert!(kit.journal.claim(by, shard).await.unwrap());
    }
}

async fn the_number_of_shards_is_fixed(kit: Kit) {
    kit.journal.ensure_shards(SHARDS).await.unwrap();
    kit.journal.ensure_shards(SHARDS).await.unwrap();
    let refused = kit.journal.ensure_shards(SHARDS + 1).await.unwrap_err();
    assert!(matches!(refused, OpenError::ShardCount { found: SHARDS, wanted: 9 }), "{refused}");
    assert!(refused.to_string().contains("set shards to 8"), "{refused}");
}

async fn a_shard_has_one_owner(kit: Kit) {
    let (a, b) = (kit.member("a").await, kit.member("b").await);
    assert!(kit.journal.claim(&a, 3).await.unwrap());
    assert!(!kit.journal.claim(&b, 3).await.unwrap());
    assert!(kit.journal.claim(&b, 4).await.unwrap());
    assert!(!kit.journal.claim(&b, SHARDS).await.unwrap(), "there is no such shard");
    let owners = owners(&kit).await;
    assert_eq!((owners.len(), owners[3].as_deref(), owners[4].as_deref()), (8, Some("a"), Some("b")));
    assert_eq!(owners[0], None);
}

async fn the_roster_names_members_with_all_they_said(kit: Kit) {
    let a = kit.member("a").await;
    kit.member_for("b", Duration::ZERO).await;
    let roster = kit.journal.roster().await.unwrap();
    let [first, second] = &roster.members[..] else { panic!("{roster:?}") };
    assert_eq!((first.id.as_str(), first.incarnation, first.alive), ("a", a.incarnation, true));
    assert_eq!((first.address.as_str(), first.region.as_str()), ("http://a:1", "here"));
    assert_eq!((first.cluster.as_str(), first.reads_up_to), ("one", 1));
    assert_eq!((second.id.as_str(), second.alive), ("b", false));
}

async fn a_restarted_member_owns_its_predecessors_shards_at_once(kit: Kit) {
    let first = kit.member("a").await;
    claim_all(&kit, &first).await;
    let second = kit.member("a").await;
    assert!(owners(&kit).await.iter().all(|owner| owner.as_deref() == Some("a")));
    assert!(matches!(kit.journal.renew(&first, LEASE).await, Err(StoreError::Fenced)));
    kit.journal.renew(&second, LEASE).await.unwrap();
}

async fn only_a_member_whose_lease_is_over_is_taken_over(kit: Kit) {
    let (a, b) = (kit.member("a").await, kit.member("b").await);
    claim_all(&kit, &a).await;
    assert!(kit.journal.take_over(&b, &a.id, 100).await.unwrap().is_empty());
    kit.journal.renew(&a, Duration::ZERO).await.unwrap();
    assert_eq!(kit.journal.take_over(&b, &a.id, 3).await.unwrap(), [0, 1, 2]);
    let refused = kit.journal.commit(group(&a, vec![start(1)])).await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    assert!(matches!(kit.journal.renew(&a, LEASE).await, Err(StoreError::Fenced)));
    assert_eq!(kit.journal.take_over(&b, &a.id, 100).await.unwrap().len(), 5);
    assert!(owners(&kit).await.iter().all(|owner| owner.as_deref() == Some("b")));
    assert_eq!(kit.rows().await, 0);
    kit.commit(&b, vec![start(1)]).await;
}

async fn a_fenced_member_takes_no_shards(kit: Kit) {
    let stale = kit.member("a").await;
    kit.member("a").await;
    let dead = kit.member_for("b", Duration::ZERO).await;
    assert!(matches!(kit.journal.claim(&stale, 1).await, Err(StoreError::Fenced)));
    assert!(matches!(kit.journal.take_over(&stale, &dead.id, 9).await, Err(StoreError::Fenced)));
    assert!(matches!(kit.journal.hand_over(&stale, 1, &dead.id).await, Err(StoreError::Fenced)));
    // Who was not fenced when a fenced one tried to take over can still write.
    kit.commit(&dead, vec![start(1)]).await;
}

async fn a_shard_is_handed_to_a_living_member_only(kit: Kit) {
    let (a, b) = (kit.member("a").await, kit.member("b").await);
    let dead = kit.member_for("c", Duration::ZERO).await;
    claim_all(&kit, &a).await;
    assert!(kit.journal.hand_over(&a, 2, &b.id).await.unwrap());
    assert!(!kit.journal.hand_over(&a, 2, &b.id).await.unwrap(), "it is no longer its own");
    assert!(!kit.journal.hand_over(&a, 3, &dead.id).await.unwrap());
    assert!(!kit.journal.hand_over(&a, 3, &MemberId::new("nobody").unwrap()).await.unwrap());
    assert_eq!(owners(&kit).await[2].as_deref(), Some("b"));
    assert_eq!(owners(&kit).await[3].as_deref(), Some("a"));
}

async fn who_leaves_leaves_its_shards_to_nobody(kit: Kit) {
    let (a, b) = (kit.member("a").await, kit.member("b").await);
    claim_all(&kit, &a).await;
    kit.journal.leave(&a).await.unwrap();
    assert!(owners(&kit).await.iter().all(Option::is_none));
    assert!(matches!(kit.journal.leave(&a).await, Err(StoreError::Fenced)));
    assert!(matches!(kit.journal.commit(group(&a, vec![start(1)])).await, Err(StoreError::Fenced)));
    claim_all(&kit, &b).await;
    let again = kit.member("a").await;
    assert!(again.incarnation > a.incarnation, "an incarnation never comes back");
}

on_every_backend!(
    the_number_of_shards_is_fixed,
    a_shard_has_one_owner,
    the_roster_names_members_with_all_they_said,
    a_restarted_member_owns_its_predecessors_shards_at_once,
    only_a_member_whose_lease_is_over_is_taken_over,
    a_fenced_member_takes_no_shards,
    a_shard_is_handed_to_a_living_member_only,
    who_leaves_leaves_its_shards_to_nobody,
);
