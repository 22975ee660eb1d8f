//! Which plan a name means, remembered for as long as nothing was written: starts ask it again and again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base::{Tenant, WorkflowId};
use moka::sync::Cache;

/// Longest time that an answer is believed: a write whose caller went away in the middle of it may be done later than
/// it is counted.
const AGE_MAX: Duration = Duration::from_secs(1);

/// A tenant's workflow, and the version that is asked for.
pub(crate) type Key = (Tenant, WorkflowId, Option<String>);

/// Editions as last read.
pub(crate) struct Editions {
    /// Whether nobody else writes the tables.
    own: bool,
    /// Writes so far.
    writes: AtomicU64,
    known: Cache<Key, (u64, Instant, Arc<str>)>,
}

/// Counts a write when it is over, however it ended.
pub(crate) struct Change<'a>(&'a AtomicU64);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Editions {
    /// `own`: no other process writes the tables. Otherwise nothing is remembered.
    pub(crate) fn new(own: bool, known: Cache<Key, (u64, Instant, Arc<str>)>) -> Self {
        Self { own, writes: AtomicU64::new(0), known }
    }

    /// To be held over a write, until it is done and before it is answered.
    pub(crate) fn change(&self) -> Change<'_> {
        Change(&self.writes)
    }

    /// To be taken before the database is asked.
    pub(crate) fn now(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// What was read since the last write.
    pub(crate) fn get(&self, key: &Key, now: u64) -> Option<Arc<str>> {
        if !self.own {
            return None;
        }
        let (read_at, at, edition) = self.known.get(key)?;
        (read_at == now && at.elapsed() < AGE_MAX).then_some(edition)
    }

    /// Remembers what was read after `now`.
    pub(crate) fn put(&self, key: Key, now: u64, edition: &Arc<str>) {
        if self.own {
            self.known.insert(key, (now, Instant::now(), edition.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        (Tenant::default(), WorkflowId::from_name(&Tenant::default(), "w"), None)
    }

    #[test]
    fn an_answer_holds_until_something_is_written() {
        let editions = Editions::new(true, Cache::new(10));
        let before = editions.now();
        editions.put(key(), before, &"1".into());
        assert_eq!(editions.get(&key(), editions.now()).as_deref(), Some("1"));
        drop(editions.change());
        assert_eq!(editions.get(&key(), editions.now()), None);
        // Read before the write, put down after it: it may be the older one.
        editions.put(key(), before, &"1".into());
        assert_eq!(editions.get(&key(), editions.now()), None);
    }

    #[test]
    fn nothing_is_remembered_where_others_write_too() {
        let editions = Editions::new(false, Cache::new(10));
        editions.put(key(), editions.now(), &"1".into());
        assert_eq!(editions.get(&key(), editions.now()), None);
    }
}
