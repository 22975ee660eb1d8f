//! Counters that the runtime exports as `stream_throughput`, `consumer_lag` and `message_processing_time`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{Delivery, Family, GroupStats, Stream};

/// Upper bounds of the buckets of handling time, in microseconds; one more bucket holds what is above.
pub const HANDLING_BOUNDS_US: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000];

/// Counters of a bus since the process started.
#[derive(Debug, Default)]
pub struct Metrics {
    families: [FamilyMetrics; Family::ALL.len()],
    /// Connections to the backend that were lost and made again.
    pub reconnects: AtomicU64,
    groups: Mutex<BTreeMap<(Stream, String), GroupStats>>,
    /// Consumers of this process, by stream and group.
    followed: Mutex<BTreeMap<(Stream, String), usize>>,
}

/// A consumer of this process: its group counts as followed for as long as this lives.
#[derive(Debug)]
pub(crate) struct Following {
    metrics: Arc<Metrics>,
    key: (Stream, String),
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut followed = self.metrics.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let left = followed.get_mut(&self.key).map_or(0, |consumers| {
            *consumers -= 1;
            *consumers
        });
        if left == 0 {
            followed.remove(&self.key);
            // Somebody else may follow it now: figures that nobody renews would mislead.
            self.metrics.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        }
    }
}

impl Metrics {
    /// Counters of one family of streams.
    pub fn family(&self, family: Family) -> &FamilyMetrics {
        &self.families[family as usize]
    }
    /// The last figures that `Bus::stats` found, by stream and group.
    pub fn groups(&self) -> Vec<((Stream, String), GroupStats)> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.iter().map(|(key, stats)| (key.clone(), *stats)).collect()
    }
    /// The streams and groups that consumers of this process follow: whose figures it should ask for now and then.
    pub fn followed(&self) -> Vec<(Stream, String)> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
    pub(crate) fn follow(self: &Arc<Self>, stream: &Stream, group: &str) -> Following {
        let key = (stream.clone(), group.to_owned());
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default() += 1;
        Following { metrics: self.clone(), key }
    }
    pub(crate) fn record_group(&self, stream: &Stream, group: &str, stats: GroupStats) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.insert((stream.clone(), group.to_owned()), stats);
    }
}

/// Counters of one family of streams.
#[derive(Debug, Default)]
pub struct FamilyMetrics {
    /// Messages published.
    pub published: AtomicU64,
    /// Entries handed out, again or for the first time.
    pub delivered: AtomicU64,
    /// Entries handed out again.
    pub redelivered: AtomicU64,
    /// Entries handed out with the exhausted flag.
    pub exhausted: AtomicU64,
    /// Entries acknowledged.
    pub acknowledged: AtomicU64,
    /// Publishes refused because the stream was full.
    pub full: AtomicU64,
    /// Times that a group had to catch up because unhandled entries were trimmed.
    pub trimmed_unread: AtomicU64,
    handling: [AtomicU64; HANDLING_BOUNDS_US.len() + 1],
    handling_sum_us: AtomicU64,
}

/// A histogram of the time from delivery to acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlingTime {
    /// Entries per bucket of [`HANDLING_BOUNDS_US`], and those above the last bound. Not cumulative.
    pub buckets: [u64; HANDLING_BOUNDS_US.len() + 1],
    /// Sum, in microseconds.
    pub sum_us: u64,
}

impl FamilyMetrics {
    /// Time from delivery to acknowledgement.
    pub fn handling(&self) -> HandlingTime {
        HandlingTime {
            buckets: std::array::from_fn(|i| self.handling[i].load(Relaxed)),
            sum_us: self.handling_sum_us.load(Relaxed),
        }
    }
    pub(crate) fn handed_out(&self, batch: &[Delivery]) {
        let again = batch.iter().filter(|d| d.deliveries > 1).count() as u64;
        let exhausted = batch.iter().filter(|d| d.exhausted).count() as u64;
        self.delivered.fetch_add(batch.len() as u64, Relaxed);
        self.redelivered.fetch_add(again, Relaxed);
        self.exhausted.fetch_add(exhausted, Relaxed);
    }
    pub(crate) fn handled(&self, after: Duration) {
        let us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let bucket = HANDLING_BOUNDS_US.partition_point(|bound| *bound < us);
        self.acknowledged.fetch_add(1, Relaxed);
        self.handling[bucket].fetch_add(1, Relaxed);
        self.handling_sum_us.fetch_add(us, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handling_times_fall_into_their_bucket() {
        let metrics = FamilyMetrics::default();
        for us in [0, 50, 51, 10_000_001] {
            metrics.handled(Duration::from_micros(us));
        }
        let time = metrics.handling();
        assert_eq!((time.buckets[0], time.buckets[1], time.buckets[12]), (2, 1, 1));
        assert_eq!(time.sum_us, 10_000_102);
    }
}
