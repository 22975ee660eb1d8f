//! Inbox, cut calls, positions, dead letters.

use base::Tenant;
use bytes::Bytes;
use store::journal::{CutWrite, DeadLetter, InboxRow, LetterState, Outcome, Rejection, ShardPos};
use uuid::Uuid;

use crate::kit::*;

fn command(n: u128, shard: u16) -> InboxRow {
    InboxRow {
        shard,
        command_id: Uuid::from_u128(n),
        tenant: tenant(),
        execution_id: id(1),
        kind: "signal".into(),
        body: Bytes::from_static(b"go"),
        created_at: at(n as i64),
    }
}

async fn a_command_waits_until_events_answer_it(kit: Kit) {
    let me = kit.member("a").await;
    for row in [command(2, 1), command(1, 1), command(3, 2), command(1, 1)] {
        kit.journal.put_inbox(row).await.unwrap();
    }
    let waiting = kit.journal.read_inbox(&[1, 2], 10).await.unwrap();
    assert_eq!(waiting, [command(1, 1), command(2, 1), command(3, 2)]);
    assert_eq!(kit.journal.read_inbox(&[2], 10).await.unwrap().len(), 1);
    assert_eq!(kit.journal.read_inbox(&[1, 2], 1).await.unwrap().len(), 1);
    let mut item = start(1);
    item.inbox_done = vec![Uuid::from_u128(1), Uuid::from_u128(3)];
    kit.commit(&me, vec![item]).await;
    // Command 3 waits for another shard: this one cannot answer it.
    assert_eq!(kit.journal.read_inbox(&[1, 2], 10).await.unwrap(), [command(2, 1), command(3, 2)]);

    let mut again = start(1);
    again.log = Some(row(1, 9));
    again.inbox_done = vec![Uuid::from_u128(2)];
    assert_eq!(kit.commit(&me, vec![again]).await, [Outcome::Rejected(Rejection::StartKeyTaken)]);
    assert_eq!(kit.journal.read_inbox(&[1], 10).await.unwrap(), [command(2, 1)]);
    let mut done = store::journal::Item::new(id(1), tenant());
    done.inbox_done = vec![Uuid::from_u128(2)];
    assert_eq!(kit.commit(&me, vec![done]).await, [Outcome::Committed]);
    assert!(kit.journal.read_inbox(&[1], 10).await.unwrap().is_empty());
}

async fn a_cut_call_is_there_with_the_event_that_cut_it_until_it_is_deleted(kit: Kit) {
    let me = kit.member("a").await;
    let cut = |n: u128, name: Option<&str>| CutWrite {
        call: Uuid::from_u128(n),
        instance: "worker/a".into(),
        agent_task_id: name.map(str::to_owned),
        cut_at: at(7),
    };
    let mut too_early = start(2);
    too_early.cuts = vec![cut(9, None)];
    let refused = kit.commit(&me, vec![start(1), too_early]).await;
    assert!(matches!(refused[..], [Outcome::Committed, Outcome::Failed(_)]), "{refused:?}");
    assert!(kit.journal.read_cuts(1, None, 10).await.unwrap().is_empty());

    let mut ended = end(1, 2, 10);
    ended.cuts = vec![cut(2, Some("t-2")), cut(1, None), cut(3, None)];
    assert_eq!(kit.commit(&me, vec![ended]).await, [Outcome::Committed]);
    let found = kit.journal.read_cuts(1, None, 10).await.unwrap();
    assert_eq!(
        found.iter().map(|c| c.cut.clone()).collect::<Vec<_>>(),
        [cut(1, None), cut(2, Some("t-2")), cut(3, None)]
    );
    assert!(found.iter().all(|c| (c.shard, c.execution_id, &c.tenant) == (1, id(1), &tenant())));
    let second = kit.journal.read_cuts(1, Some(Uuid::from_u128(1)), 1).await.unwrap();
    assert_eq!(second[0].cut, cut(2, Some("t-2")));
    assert!(kit.journal.read_cuts(2, None, 10).await.unwrap().is_empty(), "of another shard");

    let told = [(1, Uuid::from_u128(1)), (2, Uuid::from_u128(2)), (1, Uuid::from_u128(3))];
    kit.journal.delete_cuts(&told).await.unwrap();
    kit.journal.delete_cuts(&told).await.unwrap();
    let left = kit.journal.read_cuts(1, None, 10).await.unwrap();
    assert_eq!(left.iter().map(|c| c.cut.call).collect::<Vec<_>>(), [Uuid::from_u128(2)]);
}

async fn a_published_position_never_falls(kit: Kit) {
    let pos = |shard, incarnation, pos| ShardPos { shard, incarnation, pos };
    kit.journal.put_published(&[pos(1, 1, 10), pos(2, 1, 5)]).await.unwrap();
    kit.journal.put_published(&[pos(1, 2, 7), pos(2, 2, 6)]).await.unwrap();
    let seen = kit.journal.read_published(&[1, 2, 3]).await.unwrap();
    assert_eq!(seen, [pos(1, 1, 10), pos(2, 2, 6)]);
    kit.journal.put_published(&[]).await.unwrap();
    // Positions are never given out twice, though the log may have been swept meanwhile.
    assert_eq!(kit.journal.last_pos(1).await.unwrap(), 10);
}

async fn every_consumer_has_positions_of_its_own(kit: Kit) {
    let pos = |shard, pos| ShardPos { shard, incarnation: 1, pos };
    kit.journal.put_positions("registry", "one", &[pos(1, 10), pos(2, 4)]).await.unwrap();
    kit.journal.put_positions("registry", "two", &[pos(1, 3)]).await.unwrap();
    kit.journal.put_positions("scaler", "one", &[pos(1, 1)]).await.unwrap();
    kit.journal.put_positions("registry", "one", &[pos(2, 5)]).await.unwrap();
    assert_eq!(kit.journal.read_positions("registry", "one").await.unwrap(), [pos(1, 10), pos(2, 5)]);
    assert_eq!(kit.journal.read_positions("registry", "two").await.unwrap(), [pos(1, 3)]);
    assert!(kit.journal.read_positions("nobody", "one").await.unwrap().is_empty());
}

async fn a_dead_letter_is_listed_marked_and_deleted(kit: Kit) {
    let letter = |n: u128| DeadLetter {
        id: Uuid::from_u128(n),
        tenant: tenant(),
        stream: "orchestra:events:1".into(),
        consumer: "registry".into(),
        reason: "does not decode".into(),
        body: Bytes::from_static(b"\0\xff"),
        deliveries: 5,
        created_at: at(1),
        state: LetterState::Waiting,
    };
    for n in [2, 1, 3, 1] {
        kit.journal.put_dead_letter(letter(n)).await.unwrap();
    }
    let list = |after| kit.journal.list_dead_letters(&DEFAULT, after, 2);
    static DEFAULT: std::sync::LazyLock<Tenant> = std::sync::LazyLock::new(Tenant::default);
    assert_eq!(list(None).await.unwrap(), [letter(1), letter(2)]);
    assert_eq!(list(Some(Uuid::from_u128(2))).await.unwrap(), [letter(3)]);
    let other = Tenant::new("other").unwrap();
    assert!(kit.journal.list_dead_letters(&other, None, 10).await.unwrap().is_empty());
    let one = Uuid::from_u128(1);
    assert!(!kit.journal.mark_dead_letter(&other, one, LetterState::Redriven).await.unwrap());
    assert!(kit.journal.mark_dead_letter(&tenant(), one, LetterState::Redriven).await.unwrap());
    let marked = kit.journal.get_dead_letter(&tenant(), one).await.unwrap().unwrap();
    assert_eq!(marked, DeadLetter { state: LetterState::Redriven, ..letter(1) });
    assert!(!kit.journal.delete_dead_letter(&other, one).await.unwrap());
    assert!(kit.journal.delete_dead_letter(&tenant(), one).await.unwrap());
    assert!(kit.journal.get_dead_letter(&tenant(), one).await.unwrap().is_none());
}

on_every_backend!(
    a_command_waits_until_events_answer_it,
    a_cut_call_is_there_with_the_event_that_cut_it_until_it_is_deleted,
    a_published_position_never_falls,
    every_consumer_has_positions_of_its_own,
    a_dead_letter_is_listed_marked_and_deleted,
);
