//! Events, triggers, waits, held starts.

use base::{ExecutionId, Timestamp};
use bytes::Bytes;
use serde_json::json;
use store::{
    journal::{InboxRow, Item, Outcome, ShardPos, WaitWrite},
    topics::{
        AskedFilter, AskedPlace, AskedStore, EventFilter, EventRow, EventStore, HeldStart, HeldStore,
        NewEvent, Stored, SyncedPlan, TriggerRow, TriggerStore, WaitStore,
    },
};
use uuid::Uuid;

use crate::kit::*;

const CONSUMERS: [&str; 2] = ["triggers", "waits"];

fn event(n: u32, partition: u16) -> NewEvent {
    NewEvent {
        tenant: tenant(),
        id: format!("e{n}"),
        partition,
        topic: "orders".into(),
        kind: if n.is_multiple_of(2) { "order.placed" } else { "order.paid" }.into(),
        source: "shop".into(),
        key: format!("k{}", n % 3),
        priority: -3,
        media_type: "application/json".into(),
        payload: Bytes::from_static(b"{\"n\":\xc3\xa9}"),
        trace: String::new(),
        at: at(i64::from(n)),
    }
}

fn ids(rows: &[EventRow]) -> Vec<&str> {
    rows.iter().map(|row| row.event.id.as_str()).collect()
}

async fn an_event_is_written_once_and_reads_back(kit: Kit) {
    let store = EventStore::new(kit.journal.tables());
    let written = store.append(&[event(1, 2), event(2, 3), event(1, 2)]).await.unwrap();
    assert!(matches!(written[..], [Stored::At(a), Stored::At(b), Stored::Duplicate] if a < b), "{written:?}");
    let again = store.append(&[event(2, 3), event(3, 2)]).await.unwrap();
    assert!(matches!(again[..], [Stored::Duplicate, Stored::At(_)]), "{again:?}");
    let other = NewEvent { tenant: base::Tenant::new("other").unwrap(), ..event(1, 2) };
    assert!(matches!(store.append(&[other]).await.unwrap()[..], [Stored::At(_)]));
    let found = store.get(&tenant(), "e2").await.unwrap().unwrap();
    assert_eq!(found.event, event(2, 3));
    assert_eq!(store.get(&tenant(), "e9").await.unwrap(), None);
    assert!(store.append(&[]).await.unwrap().is_empty());
}

async fn positions_grow_in_the_order_of_the_commits(kit: Kit) {
    let store = EventStore::new(kit.journal.tables());
    let writers = (0..8u32).map(|w| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..20 {
                store.append(&[event(w * 1000 + n, 1), event(w * 1000 + 500 + n, 2)]).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    // A reader that goes on from the last position it saw misses nothing, whoever commits meanwhile.
    let (mut after, mut seen) = (0, Vec::new());
    while seen.len() < 160 {
        for row in store.read_partition(1, after, 7).await.unwrap() {
            after = row.pos;
            seen.push(row.event.id);
        }
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 160);
    assert!(store.head().await.unwrap() >= after);
    assert_eq!(store.touched(0).await.unwrap().len(), 2);
    assert_eq!(store.touched(store.head().await.unwrap()).await.unwrap(), Vec::<u16>::new());
    assert_eq!(store.read_all(0, 1000).await.unwrap().len(), 320);
}

async fn events_are_found_by_what_they_say(kit: Kit) {
    let store = EventStore::new(kit.journal.tables());
    let mut group: Vec<_> = (1..=9).map(|n| event(n, 1)).collect();
    group.push(NewEvent {
        topic: "stock".into(),
        source: "depot".into(),
        key: String::new(),
        ..event(10, 1)
    });
    store.append(&group).await.unwrap();
    let list = async |filter: EventFilter| {
        let rows = store.list(&tenant(), &filter, None, None, 100).await.unwrap();
        ids(&rows).join(" ")
    };
    let any = EventFilter::default;
    assert_eq!(list(any()).await, "e10 e9 e8 e7 e6 e5 e4 e3 e2 e1");
    assert_eq!(list(EventFilter { kinds: vec!["order.paid".into()], ..any() }).await, "e9 e7 e5 e3 e1");
    assert_eq!(
        list(EventFilter { kinds: vec!["order.paid".into(), "x".into()], key: Some("k0".into()), ..any() })
            .await,
        "e9 e3"
    );
    assert_eq!(list(EventFilter { topic: Some("stock".into()), ..any() }).await, "e10");
    assert_eq!(list(EventFilter { source: Some("depot".into()), ..any() }).await, "e10");
    assert_eq!(list(EventFilter { since: Some(at(3)), until: Some(at(5)), ..any() }).await, "e4 e3");
    let page = store.list(&tenant(), &any(), None, None, 4).await.unwrap();
    assert_eq!(ids(&page), ["e10", "e9", "e8", "e7"]);
    let next = store.list(&tenant(), &any(), page.last().map(|row| row.pos), None, 4).await.unwrap();
    assert_eq!(ids(&next), ["e6", "e5", "e4", "e3"]);
    let replay = store.list(&tenant(), &any(), None, next.last().map(|row| row.pos), 3).await.unwrap();
    assert_eq!(ids(&replay), ["e4", "e5", "e6"], "a replay goes forward");
    let back = store.look_back(&tenant(), "orders", "k1", at(3), 10).await.unwrap();
    assert_eq!(ids(&back), ["e4", "e7"]);
    assert_eq!(store.look_back(&tenant(), "orders", "", at(8), 10).await.unwrap().len(), 2);
}

async fn what_a_consumer_has_not_handled_is_counted_and_kept(kit: Kit) {
    let store = EventStore::new(kit.journal.tables());
    store.append(&[event(1, 1), event(2, 1), event(3, 2)]).await.unwrap();
    let stats = store.stats(&tenant(), CONSUMERS).await.unwrap();
    let counts: Vec<_> = stats.by_kind.iter().map(|c| (c.kind.as_str(), c.events)).collect();
    assert_eq!((counts, stats.queue_size), (vec![("order.paid", 2), ("order.placed", 1)], 3));
    assert_eq!(store.forget(at(100), CONSUMERS, 100).await.unwrap(), 0, "nobody has handled them");
    let pos = store.read_partition(1, 0, 1).await.unwrap()[0].pos;
    let handled = |pos| [ShardPos { shard: 1, incarnation: 0, pos }];
    kit.journal.put_positions("triggers", "topics", &handled(pos + 1)).await.unwrap();
    assert_eq!(store.forget(at(100), CONSUMERS, 100).await.unwrap(), 0, "one of two has");
    kit.journal.put_positions("waits", "topics", &handled(pos)).await.unwrap();
    assert_eq!(store.stats(&tenant(), CONSUMERS).await.unwrap().queue_size, 2);
    assert_eq!(store.forget(at(1), CONSUMERS, 100).await.unwrap(), 0, "it is not old enough");
    assert_eq!(store.forget(at(100), CONSUMERS, 100).await.unwrap(), 1);
    assert_eq!(store.head().await.unwrap(), 3, "a position is never given out twice");
    assert!(matches!(store.append(&[event(1, 1)]).await.unwrap()[..], [Stored::At(pos)] if pos > 3));
}

fn trigger(name: &str, version: &str) -> TriggerRow {
    TriggerRow {
        tenant: tenant(),
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()),
        name: name.into(),
        workflow: "w".into(),
        workflow_version: version.into(),
        topic: "orders".into(),
        filter: "event.payload.n > 1".into(),
        key: String::new(),
        input: Some("{\"a\": 1.00}".into()),
        priority: Some(-4),
        on_busy: "wait".into(),
        paused: false,
        since: at(5),
        created_at: at(5),
        updated_at: at(5),
    }
}

async fn a_trigger_reads_back_pauses_and_goes(kit: Kit) {
    let store = TriggerStore::new(kit.journal.tables());
    let row = trigger("a", "");
    store.put(&row).await.unwrap();
    store.put(&TriggerRow { priority: None, input: None, ..trigger("b", "") }).await.unwrap();
    assert_eq!(store.get(&tenant(), row.id).await.unwrap(), Some(row.clone()));
    let revision = store.revision().await.unwrap();
    assert!(store.pause(&tenant(), row.id, true, at(9)).await.unwrap());
    assert!(store.revision().await.unwrap() > revision);
    assert_eq!(store.all_running().await.unwrap().len(), 1);
    store.put(&TriggerRow { since: at(99), topic: "x".into(), ..row.clone() }).await.unwrap();
    let put = store.get(&tenant(), row.id).await.unwrap().unwrap();
    assert_eq!((put.paused, put.since, put.topic.as_str()), (true, at(5), "x"));
    let all = store.list(&tenant(), None, 10).await.unwrap();
    assert_eq!(store.list(&tenant(), Some(all[0].id), 10).await.unwrap(), [all[1].clone()]);
    assert!(store.delete(&tenant(), row.id).await.unwrap());
    assert!(!store.delete(&tenant(), row.id).await.unwrap());
    assert!(!store.pause(&tenant(), row.id, true, at(9)).await.unwrap());
}

async fn the_triggers_of_a_plan_are_replaced_as_a_whole(kit: Kit) {
    let store = TriggerStore::new(kit.journal.tables());
    let plan = |version: &str| SyncedPlan { tenant: tenant(), workflow: "w".into(), version: version.into() };
    store.put(&trigger("own", "")).await.unwrap();
    store.sync(&plan("1"), &[trigger("a", "1"), trigger("b", "1")]).await.unwrap();
    store.pause(&tenant(), trigger("b", "1").id, true, at(9)).await.unwrap();
    for _ in 0..2 {
        store.sync(&plan("2"), &[trigger("b", "2"), trigger("c", "2")]).await.unwrap();
    }
    let mut names: Vec<_> =
        store.list(&tenant(), None, 10).await.unwrap().into_iter().map(|t| (t.name, t.paused)).collect();
    names.sort();
    assert_eq!(names, [("b".into(), true), ("c".into(), false), ("own".into(), false)]);
    assert_eq!(store.synced().await.unwrap(), [plan("2")]);
    store.unsync(&plan("2")).await.unwrap();
    assert_eq!(store.list(&tenant(), None, 10).await.unwrap().len(), 1);
    assert!(store.synced().await.unwrap().is_empty());
}

async fn a_wait_is_there_with_the_event_that_opens_it(kit: Kit) {
    let me = kit.member("a").await;
    let store = WaitStore::new(kit.journal.tables());
    let open = |task: u32, key: &str| WaitWrite::Open {
        task,
        topic: "orders".into(),
        key: key.into(),
        since: at(3),
    };
    let changing = |n: u64, first: i64, pos: i64, waits: Vec<WaitWrite>| {
        let mut item = events(n, first, pos);
        item.waits = waits;
        item
    };
    kit.commit(&me, vec![start(1), start(2)]).await;
    kit.commit(
        &me,
        vec![changing(1, 3, 3, vec![open(1, "k1"), open(2, "")]), changing(2, 3, 4, vec![open(0, "k1")])],
    )
    .await;
    let found = async |key: &str, after: Option<(ExecutionId, u32)>| {
        let rows = store.waiting(&tenant(), "orders", key, after, 10).await.unwrap();
        rows.into_iter().map(|w| (w.execution_id, w.task)).collect::<Vec<_>>()
    };
    let mut all = vec![(id(1), 1), (id(1), 2), (id(2), 0)];
    all.sort();
    assert_eq!(found("k1", None).await, all);
    assert_eq!(found("k1", Some(all[0])).await, all[1..]);
    assert_eq!(found("k9", None).await, [(id(1), 2)]);
    assert!(store.waiting(&tenant(), "stock", "k1", None, 10).await.unwrap().is_empty());
    kit.commit(
        &me,
        vec![
            changing(1, 5, 5, vec![WaitWrite::Close { task: 1 }]),
            changing(2, 5, 6, vec![WaitWrite::CloseAll]),
        ],
    )
    .await;
    assert_eq!(found("k1", None).await, [(id(1), 2)]);
    // A fenced member opens nothing.
    let stale = me.clone();
    kit.member("a").await;
    assert!(kit.journal.commit(group(&stale, vec![changing(1, 7, 7, vec![open(5, "k1")])])).await.is_err());
    assert_eq!(found("k1", None).await, [(id(1), 2)]);
}

async fn open_approvals_are_listed_longest_first_in_pages_until_they_are_closed(kit: Kit) {
    let me = kit.member("a").await;
    let store = AskedStore::new(kit.journal.tables());
    let ask = |task: u32, since: i64, who: &[&str]| WaitWrite::Ask {
        task,
        since: at(since),
        asked: json!({"title": format!("{task}?"), "who": who}).to_string(),
    };
    let asking =
        |n: u64, first: i64, pos: i64, waits: Vec<WaitWrite>| Item { waits, ..events(n, first, pos) };
    let event = WaitWrite::Open { task: 9, topic: "orders".into(), key: String::new(), since: at(1) };
    kit.commit(&me, vec![start(1), start(2)]).await;
    kit.commit(
        &me,
        vec![
            asking(1, 3, 3, vec![ask(1, 7, &["ann"]), ask(2, 5, &[]), event]),
            asking(2, 3, 4, vec![ask(0, 6, &["bob", "ann"])]),
        ],
    )
    .await;
    let list = async |filter: AskedFilter, after: Option<AskedPlace>, limit: u32| {
        let rows = store.list(&filter, after, limit).await.unwrap();
        rows.into_iter().map(|row| (row.place.execution_id, row.place.task)).collect::<Vec<_>>()
    };
    let all = || AskedFilter { tenant: tenant(), ..AskedFilter::default() };
    assert_eq!(list(all(), None, 10).await, [(id(1), 2), (id(2), 0), (id(1), 1)]);
    let first = store.list(&all(), None, 1).await.unwrap().remove(0);
    assert_eq!((first.place.since, first.asked), (at(5), json!({"title": "2?", "who": []}).to_string()));
    assert_eq!(list(all(), Some(first.place), 1).await, [(id(2), 0)]);
    assert_eq!(
        list(AskedFilter { who: Some("bob".into()), ..all() }, None, 10).await,
        [(id(1), 2), (id(2), 0)]
    );
    let of_two = AskedFilter { execution_id: Some(id(2)), ..all() };
    assert_eq!(list(of_two, None, 10).await, [(id(2), 0)]);
    let others = AskedFilter { tenant: "other".parse().unwrap(), ..all() };
    assert!(list(others, None, 10).await.is_empty());
    let waits = WaitStore::new(kit.journal.tables());
    // Escalated: others may answer, and it keeps its place; answered; over.
    kit.commit(&me, vec![asking(2, 5, 5, vec![ask(0, 6, &["eve"])])]).await;
    assert_eq!(
        list(AskedFilter { who: Some("eve".into()), ..all() }, None, 10).await,
        [(id(1), 2), (id(2), 0)]
    );
    kit.commit(&me, vec![asking(1, 5, 6, vec![WaitWrite::Close { task: 2 }])]).await;
    kit.commit(&me, vec![asking(2, 7, 7, vec![WaitWrite::CloseAll])]).await;
    assert_eq!(list(all(), None, 10).await, [(id(1), 1)]);
    assert_eq!(waits.waiting(&tenant(), "orders", "", None, 10).await.unwrap().len(), 1);
}

async fn what_a_start_opens_and_asks_of_others_is_there_with_it_or_not_at_all(kit: Kit) {
    let me = kit.member("a").await;
    let waits = WaitStore::new(kit.journal.tables());
    let asking = |n: u64| {
        let mut item = exclusive(n, "one");
        item.waits = vec![WaitWrite::Open { task: 0, topic: "t".into(), key: String::new(), since: at(1) }];
        item.mail = vec![InboxRow {
            shard: 7,
            command_id: Uuid::from_u128(n.into()),
            tenant: tenant(),
            execution_id: id(n + 100),
            kind: "start".into(),
            body: Bytes::from_static(b"x"),
            created_at: at(1),
        }];
        item
    };
    kit.commit(&me, vec![asking(1)]).await;
    let lost = kit.commit(&me, vec![asking(2)]).await;
    assert!(matches!(lost[..], [Outcome::Rejected(_)]), "{lost:?}");
    let open = waits.waiting(&tenant(), "t", "", None, 10).await.unwrap();
    assert_eq!(open.iter().map(|w| w.execution_id).collect::<Vec<_>>(), [id(1)]);
    let mail = kit.journal.read_inbox(&[7], 10).await.unwrap();
    assert_eq!(mail.iter().map(|m| m.execution_id).collect::<Vec<_>>(), [id(101)]);
    // Later events ask too, and a repeat keeps one row.
    let mut later = events(1, 3, 3);
    later.mail = asking(1).mail;
    kit.commit(&me, vec![later]).await;
    assert_eq!(kit.journal.read_inbox(&[7], 10).await.unwrap().len(), 1);
}

async fn a_held_start_comes_when_it_is_due(kit: Kit) {
    let store = HeldStore::new(kit.journal.tables());
    let held = |n: u64, shard: u16, due: i64| HeldStart {
        tenant: tenant(),
        execution_id: id(n),
        shard,
        due_at: at(due),
        tries: 1,
        reason: "busy".into(),
        body: Bytes::from_static(b"\0x"),
    };
    for row in [held(1, 1, 30), held(2, 1, 10), held(3, 2, 5)] {
        store.put(&row).await.unwrap();
    }
    assert_eq!(store.due(&[1], at(20), 10).await.unwrap(), [held(2, 1, 10)]);
    assert_eq!(store.due(&[1, 2], at(99), 2).await.unwrap(), [held(3, 2, 5), held(2, 1, 10)]);
    store.put(&HeldStart { tries: 2, ..held(2, 1, 50) }).await.unwrap();
    assert!(store.due(&[1], at(20), 10).await.unwrap().is_empty());
    assert_eq!(store.count(&tenant()).await.unwrap(), 3);
    store.delete(&tenant(), id(2)).await.unwrap();
    store.delete(&tenant(), id(2)).await.unwrap();
    assert_eq!(store.count(&tenant()).await.unwrap(), 2);
    assert!(store.due(&[], Timestamp::from_millis(99), 10).await.unwrap().is_empty());
}

on_every_backend!(
    an_event_is_written_once_and_reads_back,
    positions_grow_in_the_order_of_the_commits,
    events_are_found_by_what_they_say,
    what_a_consumer_has_not_handled_is_counted_and_kept,
    a_trigger_reads_back_pauses_and_goes,
    the_triggers_of_a_plan_are_replaced_as_a_whole,
    a_wait_is_there_with_the_event_that_opens_it,
    open_approvals_are_listed_longest_first_in_pages_until_they_are_closed,
    what_a_start_opens_and_asks_of_others_is_there_with_it_or_not_at_all,
    a_held_start_comes_when_it_is_due,
);
