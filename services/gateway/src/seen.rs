//! Which events of which executions a subscriber of a workflow already has.

use std::collections::HashMap;

use proto::executor::v1::ExecutionEvent;

/// Executions that are remembered at least.
const EXECUTIONS_MAX: usize = 10_000;

/// The newest event of each execution, for the most recent executions: what a resumed stream repeats lies there.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    young: HashMap<String, u64>,
    old: HashMap<String, u64>,
}

impl Seen {
    /// The events that are new, in their order; they count as seen from now on.
    pub(crate) fn fresh(&mut self, events: Vec<ExecutionEvent>) -> Vec<ExecutionEvent> {
        // Several messages may come of one event, always together: what counts is where an execution stood before.
        let mut before: HashMap<String, u64> = HashMap::new();
        let mut fresh = Vec::with_capacity(events.len());
        for event in events {
            let stood = match before.get(&event.execution_id) {
                Some(seq) => *seq,
                None => {
                    let seq = self.newest(&event.execution_id);
                    before.insert(event.execution_id.clone(), seq);
                    seq
                }
            };
            if event.seq > stood {
                self.set(&event.execution_id, event.seq);
                fresh.push(event);
            }
        }
        fresh
    }

    fn newest(&self, id: &str) -> u64 {
        self.young.get(id).or_else(|| self.old.get(id)).copied().unwrap_or(0)
    }

    fn set(&mut self, id: &str, seq: u64) {
        if self.young.len() >= EXECUTIONS_MAX && !self.young.contains_key(id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id.to_owned(), seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, seq: u64) -> ExecutionEvent {
        ExecutionEvent { execution_id: id.into(), seq, ..Default::default() }
    }

    #[test]
    fn what_two_executors_repeat_is_passed_on_once() {
        let mut seen = Seen::default();
        assert_eq!(seen.fresh(vec![event("a", 1), event("a", 1), event("b", 4)]).len(), 3);
        assert_eq!(seen.fresh(vec![event("a", 1), event("a", 2), event("b", 4)]), [event("a", 2)]);
    }

    #[test]
    fn memory_is_bounded_and_the_recent_are_kept() {
        let mut seen = Seen::default();
        for n in 0..3 * EXECUTIONS_MAX {
            seen.fresh(vec![event(&n.to_string(), 1)]);
        }
        assert!(seen.young.len() + seen.old.len() <= 2 * EXECUTIONS_MAX);
        assert!(seen.fresh(vec![event(&(3 * EXECUTIONS_MAX - 1).to_string(), 1)]).is_empty());
    }
}
