//! A circuit breaker: an instance that fails one call after another is left alone for a while, then tried with one call.
//!
//! Closed → open after [`Rule::failures`] failures in a row, for [`Rule::open_min`] → half-open: one call goes there. When
//! it is answered the breaker closes; when it fails it opens for twice as long as before, at most [`Rule::open_max`].

use std::time::Duration;

use base::{FailureClass, Timestamp};

/// When breakers open, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Failures in a row that open one; 0 = none ever opens.
    pub failures: u32,
    /// How long the first time.
    pub open_min: Duration,
    /// How long at most.
    pub open_max: Duration,
}

/// Whether an instance takes calls, as its breaker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// As many as it has room for.
    Closed,
    /// None, until then.
    Open(Timestamp),
    /// One, since then: it shows whether the instance is well again.
    HalfOpen(Timestamp),
    /// None: that one is there, since the breaker was half-open.
    Probed(Timestamp),
}

/// The breaker of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failed: u32,
    /// How often it has opened since it was closed last.
    opened: u32,
    until: Option<Timestamp>,
    probed: bool,
}

/// Whether a failure says that the instance is away or hangs. Any other is an answer.
pub const fn counts(class: FailureClass) -> bool {
    matches!(class, FailureClass::Timeout | FailureClass::Unavailable | FailureClass::Broken)
}

impl Breaker {
    /// Whether calls go there. The time is asked for unless it is closed.
    pub fn gate(&self, now: impl FnOnce() -> Timestamp) -> Gate {
        match self.until {
            None => Gate::Closed,
            Some(until) if self.probed => Gate::Probed(until),
            Some(until) if now() < until => Gate::Open(until),
            Some(until) => Gate::HalfOpen(until),
        }
    }

    /// A call leaves. `true`: it is the one that shows whether the instance is well again.
    pub fn leaves(&mut self) -> bool {
        let probes = self.until.is_some() && !self.probed;
        self.probed |= probes;
        probes
    }

    /// A call ended. `failed`: `None` = nobody knows how. Gives until when the breaker is open, when this opened it.
    ///
    /// While it is not closed, only the one call that was let through can open it again: others left before it opened.
    /// An answer to any of them closes it.
    pub fn ended(
        &mut self,
        rule: &Rule,
        probe: bool,
        failed: Option<bool>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.probed &= !probe;
        match failed {
            None => return None,
            Some(false) => *self = Self::default(),
            Some(true) if probe => return Some(self.open(rule, now)),
            Some(true) if self.until.is_none() && rule.failures > 0 => {
                self.failed += 1;
                if self.failed >= rule.failures {
                    return Some(self.open(rule, now));
                }
            }
            Some(true) => {}
        }
        None
    }

    fn open(&mut self, rule: &Rule, now: Timestamp) -> Timestamp {
        let longer = rule.open_min.saturating_mul(1 << self.opened.min(31));
        let until = now.plus(longer.min(rule.open_max));
        *self = Self { failed: 0, opened: self.opened.saturating_add(1), until: Some(until), probed: false };
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule =
        Rule { failures: 3, open_min: Duration::from_secs(1), open_max: Duration::from_secs(5) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn gate(breaker: &Breaker, seconds: i64) -> Gate {
        breaker.gate(|| at(seconds))
    }

    fn open() -> Breaker {
        let mut breaker = Breaker::default();
        let opened: Vec<_> = (0..3).map(|_| breaker.ended(&RULE, false, Some(true), at(10))).collect();
        assert_eq!(opened, [None, None, Some(at(11))]);
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let mut breaker = Breaker::default();
        for failed in [true, true, false, true, true] {
            assert_eq!(breaker.ended(&RULE, false, Some(failed), at(10)), None);
        }
        assert_eq!(gate(&breaker, 10), Gate::Closed);
        let never = Rule { failures: 0, ..RULE };
        assert!((0..99).all(|_| breaker.ended(&never, false, Some(true), at(10)).is_none()));
        assert_eq!(gate(&open(), 10), Gate::Open(at(11)));
    }

    #[test]
    fn one_call_tries_it_and_each_failure_of_that_call_doubles_the_time_up_to_the_limit() {
        let mut breaker = open();
        let mut now = 11;
        for open_for in [2, 4, 5, 5] {
            assert_eq!(gate(&breaker, now), Gate::HalfOpen(at(now)));
            assert!(breaker.leaves());
            assert!(!breaker.leaves(), "one at a time");
            assert_eq!(gate(&breaker, now), Gate::Probed(at(now)));
            let until = at(now + open_for);
            assert_eq!(breaker.ended(&RULE, true, Some(true), at(now)), Some(until));
            assert_eq!(gate(&breaker, now), Gate::Open(until));
            now += open_for;
        }
        assert!(breaker.leaves());
        assert_eq!(breaker.ended(&RULE, true, Some(false), at(now)), None);
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn calls_that_left_before_it_opened_close_it_with_an_answer_and_do_not_open_it_longer() {
        let mut breaker = open();
        assert_eq!(breaker.ended(&RULE, false, Some(true), at(10)), None);
        assert_eq!(gate(&breaker, 10), Gate::Open(at(11)));
        assert_eq!(breaker.ended(&RULE, false, Some(false), at(10)), None);
        assert_eq!(gate(&breaker, 10), Gate::Closed);
    }

    #[test]
    fn a_try_that_nobody_waits_for_any_more_leaves_room_for_the_next() {
        let mut breaker = open();
        assert!(breaker.leaves());
        assert_eq!(breaker.ended(&RULE, true, None, at(12)), None);
        assert_eq!(gate(&breaker, 12), Gate::HalfOpen(at(11)));
    }
}
