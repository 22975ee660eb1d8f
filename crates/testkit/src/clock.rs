//! A clock that tests move.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use base::{Clock, Timestamp};

/// A clock that stands still until it is moved. Clones show the same time.
#[derive(Clone, Debug)]
pub struct FakeClock {
    now_us: Arc<AtomicI64>,
}

impl FakeClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { now_us: Arc::new(AtomicI64::new(now.micros())) }
    }
    /// Moves on by `by`.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }
    /// Shows `now` from here on; may go back, as real clocks do.
    pub fn set(&self, now: Timestamp) {
        self.now_us.store(now.micros(), SeqCst);
    }
}

impl Default for FakeClock {
    /// 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::at(Timestamp::from_millis(1_767_225_600_000))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now_us.load(SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_clock_move_together() {
        let clock = FakeClock::default();
        let seen = clock.clone();
        clock.advance(Duration::from_secs(90));
        assert_eq!(seen.now().rfc3339(), "2026-01-01T00:01:30.000Z");
        clock.set(Timestamp::from_millis(5));
        assert_eq!(seen.now(), Timestamp::from_millis(5));
    }
}
