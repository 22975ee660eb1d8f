//! What executors measured about an agent, kept with decay, so that yesterday's failures do not outweigh today's calls.

use std::time::Duration;

use base::Timestamp;

/// After this time a measurement counts half.
pub const HALF_LIFE: Duration = Duration::from_secs(120);

/// Calls, failures and time of one instance, decaying with [`HALF_LIFE`]; the totals never decay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Decayed number of calls.
    pub calls: f64,
    /// Decayed number of failed calls.
    pub failures: f64,
    /// Decayed time of the calls, ms.
    pub call_ms: f64,
    /// When the decayed numbers were last brought up to date.
    pub at: Timestamp,
    /// All calls ever reported.
    pub calls_total: u64,
    /// All failed calls ever reported.
    pub failures_total: u64,
    /// Time of all calls ever reported, microseconds.
    pub call_us_total: u64,
}

impl Measured {
    /// The numbers as they count at `now`. A time before the last report changes nothing.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Self {
        let age = now.since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        let keep = 0.5f64.powf(age);
        Self {
            calls: self.calls * keep,
            failures: self.failures * keep,
            call_ms: self.call_ms * keep,
            at: now.max(self.at),
            ..*self
        }
    }

    /// The same after a report of `calls`, of which `failures` failed, that took `call_us` together.
    /// More failures than calls count as so many calls.
    #[must_use]
    pub fn plus(&self, now: Timestamp, calls: u64, failures: u64, call_us: u64) -> Self {
        let calls = calls.max(failures);
        let then = self.at(now);
        Self {
            calls: then.calls + calls as f64,
            failures: then.failures + failures as f64,
            call_ms: then.call_ms + call_us as f64 / 1000.0,
            at: then.at,
            calls_total: self.calls_total.saturating_add(calls),
            failures_total: self.failures_total.saturating_add(failures),
            call_us_total: self.call_us_total.saturating_add(call_us),
        }
    }

    /// Sum of two instances at the same time.
    #[must_use]
    pub fn join(&self, other: &Self, now: Timestamp) -> Self {
        let (a, b) = (self.at(now), other.at(now));
        Self {
            calls: a.calls + b.calls,
            failures: a.failures + b.failures,
            call_ms: a.call_ms + b.call_ms,
            at: now,
            calls_total: a.calls_total.saturating_add(b.calls_total),
            failures_total: a.failures_total.saturating_add(b.failures_total),
            call_us_total: a.call_us_total.saturating_add(b.call_us_total),
        }
    }

    /// Failed calls of recent ones, 0 to 1; `None` when there were next to none.
    pub fn error_rate(&self) -> Option<f64> {
        (self.calls >= 1.0).then(|| (self.failures / self.calls).clamp(0.0, 1.0))
    }

    /// Mean time of recent calls, ms; `None` when there were next to none.
    pub fn mean_ms(&self) -> Option<f64> {
        (self.calls >= 1.0).then(|| self.call_ms / self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_failures_fade_and_totals_stay() {
        let start = Timestamp::from_millis(1_000_000);
        let bad = Measured::default().plus(start, 10, 10, 10_000_000);
        assert_eq!((bad.error_rate(), bad.mean_ms()), (Some(1.0), Some(1000.0)));
        let later = start.plus(HALF_LIFE * 3);
        let good = bad.plus(later, 10, 0, 1_000_000);
        let rate = good.error_rate().unwrap();
        assert!((rate - 1.25 / 11.25).abs() < 1e-9, "{rate}");
        assert_eq!((good.calls_total, good.failures_total, good.call_us_total), (20, 10, 11_000_000));
        assert_eq!(bad.at(later.plus(HALF_LIFE * 20)).error_rate(), None, "next to nothing is nothing");
    }

    #[test]
    fn odd_reports_do_no_harm() {
        let now = Timestamp::from_millis(5);
        assert_eq!(Measured::default().error_rate(), None);
        assert_eq!(Measured::default().plus(now, 0, 3, 0).error_rate(), Some(1.0));
        let back = Measured::default().plus(now, 1, 0, 0).plus(Timestamp::from_millis(1), 1, 0, 0);
        assert_eq!((back.at, back.calls_total), (now, 2), "time does not run backwards");
        let both = back.join(&back, now);
        assert_eq!((both.calls_total, both.calls), (4, 4.0));
    }
}
