//! Latencies of one measurement, exact.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// All of them, in microseconds. A million takes 4 MB: nothing is rounded and nothing is estimated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Forgets them all and says what they were.
    pub(crate) fn summary(mut self) -> Summary {
        self.0.sort_unstable();
        let at = |share: f64| match self.0.len() {
            0 => 0.0,
            // The smallest value that is not less than this share of all.
            n => f64::from(self.0[((share * n as f64).ceil() as usize).clamp(1, n) - 1]) / 1000.0,
        };
        let total: u64 = self.0.iter().map(|&us| u64::from(us)).sum();
        Summary {
            count: self.0.len() as u64,
            mean_ms: if self.0.is_empty() { 0.0 } else { total as f64 / self.0.len() as f64 / 1000.0 },
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
        }
    }
}

/// Percentiles by the nearest rank, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut all = Latencies::default();
        for ms in (1..=100).rev() {
            all.add(Duration::from_millis(ms));
        }
        let s = all.summary();
        assert_eq!((s.count, s.p50_ms, s.p99_ms, s.max_ms, s.mean_ms), (100, 50.0, 99.0, 100.0, 50.5));
        assert_eq!(Latencies::default().summary(), Summary::default());
    }
}
