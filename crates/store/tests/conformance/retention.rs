//! What retention removes, and what it never touches.

use base::CheckpointId;
use bytes::Bytes;
use store::journal::{CheckpointWrite, Item, PayloadRow, ShardPos, Swept};
use uuid::Uuid;

use crate::kit::*;

fn published(pos: i64) -> Vec<ShardPos> {
    vec![ShardPos { shard: 1, incarnation: 1, pos }]
}

/// Executions 1 to 5; 1, 2 and 3 have ended at 20, 30 and 90 ms. 1 has a payload and a checkpoint.
async fn some_executions(kit: &Kit) {
    let me = kit.member("a").await;
    kit.commit(&me, (1..=5).map(start).collect()).await;
    let payload = |n| PayloadRow {
        tenant: tenant(),
        execution_id: id(n),
        hash: [1; 32],
        media_type: "text/plain".into(),
        body: Bytes::from_static(b"x"),
    };
    kit.journal.put_payloads(vec![payload(1), payload(4)]).await.unwrap();
    let mut ends: Vec<Item> = vec![end(1, 6, 20), end(2, 7, 30), end(3, 8, 90)];
    ends[0].checkpoint = Some(CheckpointWrite {
        checkpoint_id: CheckpointId::new(Uuid::from_u128(1)),
        seq: 3,
        created_at: at(1),
        state_snapshot: "{}".into(),
        recovery_instructions: "[]".into(),
    });
    kit.commit(&me, ends).await;
}

async fn an_old_execution_goes_with_all_that_belongs_to_it(kit: Kit) {
    some_executions(&kit).await;
    kit.journal.put_published(&published(8)).await.unwrap();
    let swept = kit.journal.sweep(at(40), 10).await.unwrap();
    assert_eq!(swept, Swept { executions: 2, more: false });
    for gone in [1, 2] {
        assert!(kit.journal.find_execution(id(gone)).await.unwrap().is_none());
        assert!(
            kit.journal.read_shard_log(1, 1, 10).await.unwrap().iter().all(|e| e.execution_id != id(gone))
        );
        assert_eq!(kit.journal.read_payload(&tenant(), id(gone), [1; 32]).await.unwrap(), None);
        assert!(kit.journal.list_checkpoints(&tenant(), id(gone)).await.unwrap().is_empty());
    }
    for kept in [3, 4, 5] {
        assert!(kit.journal.find_execution(id(kept)).await.unwrap().is_some());
    }
    assert_eq!(kit.journal.read_recorded(id(3)).await.unwrap().unwrap().log.len(), 2);
    assert_eq!(kit.journal.read_recorded(id(4)).await.unwrap().unwrap().payloads.len(), 1);
    kit.journal.sweep(at(100), 10).await.unwrap();
    assert_eq!(kit.journal.last_pos(1).await.unwrap(), 8, "a position is never given out twice");
}

async fn what_is_not_published_stays(kit: Kit) {
    some_executions(&kit).await;
    assert_eq!(kit.journal.sweep(at(1000), 10).await.unwrap(), Swept::default());
    kit.journal.put_published(&published(6)).await.unwrap();
    assert_eq!(kit.journal.sweep(at(1000), 10).await.unwrap(), Swept { executions: 1, more: false });
    assert!(kit.journal.find_execution(id(1)).await.unwrap().is_none());
    assert!(kit.journal.find_execution(id(2)).await.unwrap().is_some());
}

async fn a_sweep_is_bounded_and_says_when_more_is_left(kit: Kit) {
    some_executions(&kit).await;
    kit.journal.put_published(&published(8)).await.unwrap();
    assert_eq!(kit.journal.sweep(at(1000), 2).await.unwrap(), Swept { executions: 2, more: true });
    assert_eq!(kit.journal.sweep(at(1000), 2).await.unwrap(), Swept { executions: 1, more: false });
    assert_eq!(kit.journal.sweep(at(1000), 2).await.unwrap(), Swept::default());
}

on_every_backend!(
    an_old_execution_goes_with_all_that_belongs_to_it,
    what_is_not_published_stays,
    a_sweep_is_bounded_and_says_when_more_is_left,
);
