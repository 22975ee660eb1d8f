//! Rows of executions: lists, pages, timers, checkpoints.

use base::{CheckpointId, Tenant};
use store::journal::{CheckpointWrite, Cursor, ExecutionFilter, ExecutionUpdate, Stuck, Summary, Wake};
use uuid::Uuid;

use crate::kit::*;

async fn pages_are_stable_while_rows_come(kit: Kit) {
    let me = kit.member("a").await;
    // Every start time is shared by five executions, so that the id has to break ties.
    let starts = (1..=25).map(|n| start_with(n, insert(1000 + (n as i64) / 5)));
    kit.commit(&me, starts.collect()).await;
    let filter = ExecutionFilter::default();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = kit.journal.list_executions(&filter, after, 4).await.unwrap();
        seen.extend(page.rows.iter().map(|row| (row.started_at, row.execution_id)));
        // A newer one arrives while the pages are turned.
        let n = 100 + seen.len() as u64;
        kit.commit(&me, vec![start_with(n, insert(5000))]).await;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut want: Vec<_> = (1..=25).map(|n| (at(1000 + (n as i64) / 5), id(n))).collect();
    want.sort();
    want.reverse();
    assert_eq!(seen, want);
}

async fn filters_combine(kit: Kit) {
    let me = kit.member("a").await;
    let other_workflow = base::WorkflowId::from_name(&tenant(), "other");
    let mut with_agent = insert(3);
    with_agent.summary =
        Summary { allocated_agents: Some("[\"writer\",\"reader\"]".into()), ..Summary::default() };
    let mut elsewhere = start_with(5, insert(5));
    elsewhere.tenant = Tenant::new("other").unwrap();
    let items = vec![
        start(1),
        start_with(2, store::journal::ExecutionInsert { workflow_id: other_workflow, ..insert(2) }),
        start_with(3, with_agent),
        start_with(
            4,
            store::journal::ExecutionInsert {
                status: "paused".into(),
                correlation_id: Some("order-1".into()),
                ..insert(4)
            },
        ),
        elsewhere,
    ];
    kit.commit(&me, items).await;
    kit.commit(&me, vec![end(1, 10, 20)]).await;
    let all = ExecutionFilter::default;
    let order = || Some("order-1".to_owned());
    let text = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    for (name, filter, want) in [
        ("all of a tenant", all(), vec![4, 3, 2, 1]),
        ("one status", ExecutionFilter { statuses: text(&["completed"]), ..all() }, vec![1]),
        (
            "statuses in one order",
            ExecutionFilter { statuses: text(&["paused", "executing"]), ..all() },
            vec![4, 3, 2],
        ),
        ("workflow", ExecutionFilter { workflow_id: Some(other_workflow), ..all() }, vec![2]),
        (
            "workflow and status",
            ExecutionFilter { workflow_id: Some(workflow()), statuses: text(&["paused"]), ..all() },
            vec![4],
        ),
        ("agent", ExecutionFilter { agent: Some("reader".into()), ..all() }, vec![3]),
        ("correlation", ExecutionFilter { correlation_id: order(), ..all() }, vec![4]),
        (
            "correlation and a status",
            ExecutionFilter { correlation_id: order(), statuses: text(&["paused", "failed"]), ..all() },
            vec![4],
        ),
        (
            "correlation and another status",
            ExecutionFilter { correlation_id: order(), statuses: text(&["completed"]), ..all() },
            vec![],
        ),
        ("no such correlation", ExecutionFilter { correlation_id: Some("order-2".into()), ..all() }, vec![]),
        (
            "time",
            ExecutionFilter { started_from: Some(at(2)), started_before: Some(at(4)), ..all() },
            vec![3, 2],
        ),
        ("other tenant", ExecutionFilter { tenant: Tenant::new("other").unwrap(), ..all() }, vec![5]),
    ] {
        let page = kit.journal.list_executions(&filter, None, 100).await.unwrap();
        let seen: Vec<_> = page.rows.iter().map(|row| row.execution_id).collect();
        assert_eq!(seen, want.into_iter().map(id).collect::<Vec<_>>(), "{name}");
        assert!(page.next.is_none(), "{name}");
    }
    let both = ExecutionFilter { statuses: text(&["paused", "executing"]), ..all() };
    let page = kit.journal.list_executions(&both, None, 2).await.unwrap();
    assert_eq!(page.next, Some(Cursor { started_at: at(3), execution_id: id(3) }));
    let rest = kit.journal.list_executions(&both, page.next, 2).await.unwrap();
    assert_eq!(rest.rows.iter().map(|r| r.execution_id).collect::<Vec<_>>(), [id(2)]);
}

async fn what_stands_still_is_listed_and_counted_by_reason(kit: Kit) {
    let me = kit.member("a").await;
    let stuck =
        |reason: &str| Some(Stuck { reason: reason.into(), detail: format!("{{\"detail\":\"{reason}\"}}") });
    let because = |n, pos, reason: &str| {
        change(n, Some(row(3, pos)), ExecutionUpdate { stuck: stuck(reason), ..update() })
    };
    kit.commit(&me, (1..=5).map(start).collect()).await;
    kit.commit(&me, vec![because(1, 10, "signal"), because(2, 11, "paused"), because(3, 12, "signal")]).await;
    kit.commit(&me, vec![because(4, 13, "signal")]).await;
    // One goes on again, one ends.
    kit.commit(&me, vec![change(1, Some(row(5, 14)), update())]).await;
    let ended = ExecutionUpdate { status: "completed".into(), completed_at: Some(at(9)), ..update() };
    kit.commit(&me, vec![change(4, Some(row(5, 15)), ended)]).await;
    let mut counted = kit.journal.count_stuck(1).await.unwrap();
    counted.sort();
    assert_eq!(counted, [("paused".to_owned(), 1), ("signal".to_owned(), 1)]);
    assert_eq!(kit.journal.count_stuck(2).await.unwrap(), []);
    let text = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    for (reasons, statuses, want) in [
        (text(&["signal", "paused", "event"]), vec![], vec![3, 2]),
        (text(&["paused"]), vec![], vec![2]),
        (text(&["signal", "paused"]), text(&["executing"]), vec![3, 2]),
        (text(&["signal"]), text(&["paused"]), vec![]),
    ] {
        let filter = ExecutionFilter { stuck: reasons, statuses, ..ExecutionFilter::default() };
        let page = kit.journal.list_executions(&filter, None, 100).await.unwrap();
        let seen: Vec<_> = page.rows.iter().map(|row| row.execution_id).collect();
        assert_eq!(seen, want.into_iter().map(id).collect::<Vec<_>>(), "{filter:?}");
    }
    let shown = kit.journal.get_execution(&tenant(), id(2)).await.unwrap().unwrap();
    assert_eq!(shown.stuck, stuck("paused"));
    assert_eq!(kit.journal.get_execution(&tenant(), id(1)).await.unwrap().unwrap().stuck, None);
}

async fn another_tenant_sees_nothing(kit: Kit) {
    let me = kit.member("a").await;
    kit.commit(&me, vec![start(1)]).await;
    let other = Tenant::new("other").unwrap();
    assert!(kit.journal.get_execution(&other, id(1)).await.unwrap().is_none());
    assert!(kit.journal.newest_of_workflow(&other, workflow()).await.unwrap().is_none());
    assert!(kit.journal.get_execution(&tenant(), id(1)).await.unwrap().is_some());
}

async fn a_workflow_knows_its_newest_and_its_active(kit: Kit) {
    let me = kit.member("a").await;
    kit.commit(&me, vec![start(1), start(2), start(3)]).await;
    kit.commit(&me, vec![end(3, 10, 20)]).await;
    let newest = kit.journal.newest_of_workflow(&tenant(), workflow()).await.unwrap().unwrap();
    assert_eq!((newest.execution_id, newest.completed_at), (id(3), Some(at(20))));
    let active = kit.journal.active_of_workflow(&tenant(), workflow(), 10).await.unwrap();
    assert_eq!(active.iter().map(|r| r.execution_id).collect::<Vec<_>>(), [id(2), id(1)]);
    assert_eq!(kit.journal.active_of_workflow(&tenant(), workflow(), 1).await.unwrap().len(), 1);
}

async fn only_hot_executions_are_recovered(kit: Kit) {
    let me = kit.member("a").await;
    kit.commit(&me, (1..=6).map(start).collect()).await;
    let park = |wake| ExecutionUpdate { wake, ..update() };
    kit.commit(&me, vec![end(1, 10, 20), change(2, None, park(Wake::At(at(50))))]).await;
    kit.commit(&me, vec![change(3, None, park(Wake::OnCommand))]).await;
    let mut hot = Vec::new();
    while let Some(last) = {
        let page = kit.journal.hot_executions(1, hot.last().copied(), 2).await.unwrap();
        hot.extend(&page);
        page.last().copied()
    } {
        assert!(hot.len() <= 3, "{last}");
    }
    let mut want = vec![id(4), id(5), id(6)];
    want.sort();
    assert_eq!(hot, want);
    assert!(kit.journal.hot_executions(2, None, 10).await.unwrap().is_empty());
    assert_eq!(kit.journal.count_active(&[1]).await.unwrap(), 5);
}

async fn a_timer_is_due_when_its_time_has_come(kit: Kit) {
    let me = kit.member("a").await;
    kit.commit(&me, (1..=4).map(start).collect()).await;
    let park = |n, wake| change(n, None, ExecutionUpdate { wake, ..update() });
    let parked = vec![park(1, Wake::At(at(300))), park(2, Wake::At(at(100))), park(3, Wake::OnCommand)];
    kit.commit(&me, parked).await;
    let due = |ms, limit| kit.journal.due(&[1, 2], at(ms), limit);
    assert!(due(99, 10).await.unwrap().is_empty());
    assert_eq!(due(100, 10).await.unwrap().iter().map(|d| d.execution_id).collect::<Vec<_>>(), [id(2)]);
    let both = due(i64::MAX / 1000, 10).await.unwrap();
    assert_eq!(
        both.iter().map(|d| (d.execution_id, d.wake_at, d.shard)).collect::<Vec<_>>(),
        [(id(2), at(100), 1), (id(1), at(300), 1)]
    );
    assert_eq!(due(400, 1).await.unwrap().len(), 1);
    assert!(kit.journal.due(&[2], at(400), 10).await.unwrap().is_empty());
    assert_eq!(kit.journal.next_wake(&[0, 1, 2]).await.unwrap(), Some(at(100)));
    assert_eq!(kit.journal.next_wake(&[2]).await.unwrap(), None);
    kit.commit(&me, vec![park(2, Wake::Hot)]).await;
    assert_eq!(kit.journal.next_wake(&[1]).await.unwrap(), Some(at(300)));
}

async fn a_checkpoint_is_committed_with_its_events(kit: Kit) {
    let me = kit.member("a").await;
    let checkpoint = |n: u128, seq| CheckpointWrite {
        checkpoint_id: CheckpointId::new(Uuid::from_u128(n)),
        seq,
        created_at: at(seq),
        state_snapshot: "{\"a\": 1}".into(),
        recovery_instructions: "[\"resume\"]".into(),
    };
    let mut item = start(1);
    item.checkpoint = Some(checkpoint(7, 2));
    kit.commit(&me, vec![item]).await;
    let mut item = events(1, 3, 2);
    item.checkpoint = Some(checkpoint(3, 4));
    kit.commit(&me, vec![item]).await;
    let all = kit.journal.list_checkpoints(&tenant(), id(1)).await.unwrap();
    assert_eq!(all.iter().map(|c| c.seq).collect::<Vec<_>>(), [2, 4]);
    let wanted = CheckpointId::new(Uuid::from_u128(3));
    let one = kit.journal.get_checkpoint(&tenant(), id(1), wanted).await.unwrap().unwrap();
    assert_eq!((one.seq, one.state_snapshot.as_str()), (4, "{\"a\": 1}"));
    assert_eq!(one.recovery_instructions, "[\"resume\"]");
    let other = Tenant::new("other").unwrap();
    assert!(kit.journal.get_checkpoint(&other, id(1), wanted).await.unwrap().is_none());
}

on_every_backend!(
    pages_are_stable_while_rows_come,
    filters_combine,
    what_stands_still_is_listed_and_counted_by_reason,
    another_tenant_sees_nothing,
    a_workflow_knows_its_newest_and_its_active,
    only_hot_executions_are_recovered,
    a_timer_is_due_when_its_time_has_come,
    a_checkpoint_is_committed_with_its_events,
);
