//! Groups: fencing, unique races, refusals, order.

use bytes::Bytes;
use futures::future::join_all;
use store::{
    StoreError,
    journal::{Group, LogRow, Membership, Outcome, PayloadRow, Rejection, Snapshot, Summary, Wake},
};
use testkit::wait_for;

use crate::kit::*;

async fn a_committed_group_reads_back(kit: Kit) {
    let me = kit.member("a").await;
    assert_eq!(kit.commit(&me, vec![start(1), start(2)]).await, vec![Outcome::Committed; 2]);
    assert_eq!(kit.commit(&me, vec![events(1, 3, 3)]).await, vec![Outcome::Committed]);

    let log = kit.journal.read_recorded(id(1)).await.unwrap().unwrap().log;
    let seen: Vec<_> = log.iter().map(|e| (e.row.first_seq, e.row.count, e.row.pos, e.shard)).collect();
    assert_eq!(seen, [(1, 2, 1, 1), (3, 2, 3, 1)]);
    assert_eq!(log[1].row.body, Bytes::from("events from 3 at 3"));
    assert_eq!((&log[0].tenant, log[0].row.schema), (&tenant(), 1));
    assert!(kit.journal.read_recorded(id(9)).await.unwrap().is_none());

    let page = kit.journal.read_shard_log(1, 2, 10).await.unwrap();
    assert_eq!(page.iter().map(|e| e.row.pos).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(kit.journal.read_shard_log(1, 1, 1).await.unwrap().len(), 1);
    assert_eq!(kit.journal.last_pos(1).await.unwrap(), 3);
    assert_eq!(kit.journal.last_pos(2).await.unwrap(), 0);
}

async fn a_fenced_member_writes_nothing(kit: Kit) {
    let stale = kit.member("a").await;
    let fresh = kit.member("a").await;
    assert!(fresh.incarnation > stale.incarnation);
    let refused = kit.journal.commit(group(&stale, vec![start(1), start(2)])).await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    let stranger = Membership { incarnation: 77_777, ..fresh.clone() };
    assert!(matches!(kit.journal.commit(group(&stranger, vec![start(1)])).await, Err(StoreError::Fenced)));
    assert_eq!(kit.rows().await, 0);
    assert!(kit.journal.find_execution(id(1)).await.unwrap().is_none());
    kit.commit(&fresh, vec![start(1)]).await;
    assert_eq!(kit.rows().await, 1);
}

async fn a_row_that_exists_means_two_owners(kit: Kit) {
    let me = kit.member("a").await;
    kit.commit(&me, vec![start(1)]).await;
    for (name, again) in [("same events", events(1, 1, 9)), ("same position", events(2, 1, 1))] {
        let refused = kit.journal.commit(group(&me, vec![events(3, 1, 5), again])).await;
        let Err(err @ StoreError::TwoOwners { .. }) = refused else { panic!("{name}: {refused:?}") };
        assert!(err.ends_the_process());
        assert_eq!(kit.rows().await, 1, "{name}");
    }
}

async fn a_repeated_start_is_rejected_and_the_others_commit(kit: Kit) {
    let me = kit.member("a").await;
    kit.commit(&me, vec![start(1)]).await;
    let mut again = start(1);
    again.log = Some(row(1, 2));
    let outcomes = kit.commit(&me, vec![again, start(3)]).await;
    assert_eq!(outcomes, [Outcome::Rejected(Rejection::StartKeyTaken), Outcome::Committed]);
    assert_eq!(kit.rows().await, 2);
}

async fn an_exclusive_key_has_one_holder_until_its_end(kit: Kit) {
    let me = kit.member("a").await;
    let outcomes = kit.commit(&me, vec![exclusive(1, "k"), exclusive(2, "k"), start(3)]).await;
    let lost = Outcome::Rejected(Rejection::ExclusiveTaken { by: Some(id(1)) });
    assert_eq!(outcomes, [Outcome::Committed, lost.clone(), Outcome::Committed]);
    assert!(kit.journal.find_execution(id(2)).await.unwrap().is_none());
    assert!(kit.journal.read_shard_log(1, 1, 10).await.unwrap().iter().all(|e| e.execution_id != id(2)));
    assert_eq!(
        kit.commit(&me, vec![exclusive(4, "k"), exclusive(5, "other")]).await,
        [lost, Outcome::Committed]
    );

    // The same execution again: its id is what it lost, and it leaves no key behind.
    let mut again = exclusive(3, "free");
    again.log = Some(row(1, 30));
    assert_eq!(kit.commit(&me, vec![again]).await, [Outcome::Rejected(Rejection::StartKeyTaken)]);
    assert_eq!(kit.commit(&me, vec![exclusive(6, "free")]).await, [Outcome::Committed]);

    let ended = store::journal::ExecutionUpdate {
        status: "completed".into(),
        completed_at: Some(at(50)),
        release_exclusive: Some("k".into()),
        ..update()
    };
    kit.commit(&me, vec![change(1, Some(row(3, 40)), ended)]).await;
    assert_eq!(kit.commit(&me, vec![exclusive(7, "k")]).await, [Outcome::Committed]);
}

async fn only_the_guilty_item_of_a_refused_group_fails(kit: Kit) {
    let me = kit.member("a").await;
    let mut guilty = start(2);
    guilty.log = Some(LogRow { pos: store::journal::POS_MAX + 1, ..row(1, 2) });
    let outcomes = kit.commit(&me, vec![start(1), guilty, start(3)]).await;
    assert!(
        matches!(&outcomes[..], [Outcome::Committed, Outcome::Failed(_), Outcome::Committed]),
        "{outcomes:?}"
    );
    assert_eq!(kit.rows().await, 2);
    assert!(kit.journal.find_execution(id(2)).await.unwrap().is_none());
}

async fn the_groups_of_many_shards_commit_side_by_side(kit: Kit) {
    let me = kit.member("a").await;
    let commits = (0..SHARDS).flat_map(|shard| {
        let (journal, me) = (&kit.journal, &me);
        (1..=20i64).map(move |pos| {
            let n = u64::from(shard) * 100 + pos as u64;
            let mut item = start(n);
            item.log = Some(row(1, pos));
            journal.commit(Group { by: me.clone(), shard, items: vec![item] })
        })
    });
    for outcome in join_all(commits).await {
        assert_eq!(outcome.unwrap(), [Outcome::Committed]);
    }
    for shard in 0..SHARDS {
        assert_eq!(kit.journal.last_pos(shard).await.unwrap(), 20);
        assert_eq!(kit.journal.read_shard_log(shard, 0, 100).await.unwrap().len(), 20);
    }
    assert_eq!(kit.journal.count_active(&[0, 1]).await.unwrap(), 40);
}

async fn an_update_keeps_what_it_does_not_name(kit: Kit) {
    let me = kit.member("a").await;
    let mut first = insert(1);
    first.summary = Summary {
        allocated_agents: Some("[\"writer\"]".into()),
        task_states: Some("{\"a\": \"running\"}".into()),
        performance_metrics: None,
    };
    kit.commit(&me, vec![start_with(1, first)]).await;
    let parked = store::journal::ExecutionUpdate {
        wake: Wake::At(at(99)),
        summary: Summary { performance_metrics: Some("{\"ms\": 3}".into()), ..Summary::default() },
        snapshot: Some(Snapshot { seq: 2, schema: 4, body: Bytes::from_static(b"state") }),
        ..update()
    };
    kit.commit(&me, vec![change(1, None, parked)]).await;
    let seen = kit.journal.get_execution(&tenant(), id(1)).await.unwrap().unwrap();
    assert_eq!(seen.allocated_agents, "[\"writer\"]");
    assert_eq!(seen.task_states, "{\"a\": \"running\"}");
    assert_eq!(seen.performance_metrics, "{\"ms\": 3}");
    assert_eq!((seen.current_phase.as_str(), seen.wake), ("research", Wake::At(at(99))));
    assert_eq!((seen.request_hash, seen.priority, seen.shard), (Some([7; 32]), 5, 1));
    assert_eq!((seen.workflow_id, seen.workflow_version.as_str()), (workflow(), "1.0.0"));
    let snapshot = kit.journal.read_snapshot(id(1)).await.unwrap().unwrap();
    assert_eq!((snapshot.seq, snapshot.schema, &snapshot.body[..]), (2, 4, &b"state"[..]));
    kit.commit(&me, vec![change(1, None, update())]).await;
    assert!(kit.journal.read_snapshot(id(1)).await.unwrap().is_some());
}

async fn payloads_are_written_once_and_read_together(kit: Kit) {
    let payload = |n: u8| PayloadRow {
        tenant: tenant(),
        execution_id: id(1),
        hash: [n; 32],
        media_type: "text/plain".into(),
        body: Bytes::from(vec![n; 100_000]),
    };
    kit.journal.put_payloads(vec![payload(1), payload(2)]).await.unwrap();
    kit.journal.put_payloads(vec![payload(1)]).await.unwrap();
    let me = kit.member("a").await;
    kit.commit(&me, vec![start(1)]).await;
    let mut all = kit.journal.read_recorded(id(1)).await.unwrap().unwrap().payloads;
    all.sort_by_key(|p| p.hash);
    assert_eq!(all, [payload(1), payload(2)]);
    assert_eq!(kit.journal.read_payload(&tenant(), id(1), [2; 32]).await.unwrap(), Some(payload(2)));
    assert_eq!(kit.journal.read_payload(&tenant(), id(2), [2; 32]).await.unwrap(), None);
    let other = base::Tenant::new("other").unwrap();
    assert_eq!(kit.journal.read_payload(&other, id(1), [2; 32]).await.unwrap(), None);
}

async fn what_was_accepted_before_a_close_is_written(kit: Kit) {
    let me = kit.member("a").await;
    let accepted = tokio::spawn({
        let (journal, me) = (kit.journal.clone(), me.clone());
        async move { journal.commit(group(&me, vec![start(1)])).await }
    });
    wait_for("the commit", LEASE, async || (kit.rows().await == 1).then_some(())).await;
    kit.journal.close().await;
    assert_eq!(accepted.await.unwrap().unwrap(), [Outcome::Committed]);
    let late = kit.journal.commit(group(&me, vec![start(2)])).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
}

on_every_backend!(
    a_committed_group_reads_back,
    a_fenced_member_writes_nothing,
    a_row_that_exists_means_two_owners,
    a_repeated_start_is_rejected_and_the_others_commit,
    an_exclusive_key_has_one_holder_until_its_end,
    only_the_guilty_item_of_a_refused_group_fails,
    the_groups_of_many_shards_commit_side_by_side,
    an_update_keeps_what_it_does_not_name,
    payloads_are_written_once_and_read_together,
    what_was_accepted_before_a_close_is_written,
);
