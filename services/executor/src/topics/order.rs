//! In which order the events of a batch are handled. Pure.

use std::collections::BTreeMap;

use store::topics::EventRow;

/// Events that keep their order among each other.
pub(super) type Chain = Vec<EventRow>;

/// Splits a batch, which is in the order of its positions, into chains: events with the same topic and key, or one event
/// without a key. Chains whose most urgent event is more urgent come first; of two alike, the older.
pub(super) fn chains(batch: Vec<EventRow>) -> Vec<Chain> {
    let mut keyed: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    let mut chains: Vec<Chain> = Vec::new();
    for row in batch {
        let event = &row.event;
        if event.key.is_empty() {
            chains.push(vec![row]);
            continue;
        }
        let name = (event.tenant.to_string(), event.topic.clone(), event.key.clone());
        let at = *keyed.entry(name).or_insert_with(|| {
            chains.push(Vec::new());
            chains.len() - 1
        });
        chains[at].push(row);
    }
    chains.sort_by_key(|chain| std::cmp::Reverse(chain.iter().map(|row| row.event.priority).max()));
    chains
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Tenant, Timestamp};
    use store::topics::NewEvent;

    fn row(pos: i64, key: &str, priority: i32) -> EventRow {
        EventRow {
            pos,
            event: NewEvent {
                tenant: Tenant::default(),
                id: pos.to_string(),
                partition: 0,
                topic: "t".into(),
                kind: "t".into(),
                source: String::new(),
                key: key.into(),
                priority,
                media_type: String::new(),
                payload: bytes::Bytes::new(),
                trace: String::new(),
                at: Timestamp::default(),
            },
        }
    }

    #[test]
    fn a_key_keeps_its_order_and_the_urgent_go_first() {
        let batch = vec![
            row(1, "a", 0),
            row(2, "", 0),
            row(3, "b", 0),
            row(4, "a", 9),
            row(5, "", 5),
            row(6, "b", 0),
        ];
        let order: Vec<Vec<i64>> =
            chains(batch).iter().map(|chain| chain.iter().map(|row| row.pos).collect()).collect();
        assert_eq!(order, [vec![1, 4], vec![5], vec![2], vec![3, 6]]);
    }
}
