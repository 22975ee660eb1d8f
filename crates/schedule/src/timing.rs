//! The moments of a schedule.

use std::time::Duration;

use base::Timestamp;
use chrono::DateTime;
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

use crate::{
    FIRES_AT_ONCE,
    spec::{BadSpec, MinusOne as _, bad},
};

/// Compiled: gives the moments in order.
#[derive(Clone, Debug)]
pub struct Timing {
    kind: Kind,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum Kind {
    Cron(Box<Cron>, Tz),
    Every { interval_us: i64, from: Timestamp },
    Once(Timestamp),
}

impl Timing {
    pub(crate) fn cron(text: &str, zone: &str) -> Result<Self, BadSpec> {
        let Ok(zone) = (if zone.is_empty() { "UTC" } else { zone }).parse::<Tz>() else {
            return bad(
                "time_zone",
                format!("{zone:?} is not an IANA time zone; write \"Europe/Berlin\" or \"UTC\""),
            );
        };
        if text.len() > 200 {
            return bad("cron", "is longer than 200 characters");
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        match parser.parse(text) {
            Ok(cron) => Ok(Self::of(Kind::Cron(Box::new(cron), zone))),
            Err(e) => bad(
                "cron",
                format!(
                    "{text:?} is not a cron expression: {e} Write five fields (\"0 9 * * 1-5\"), or six with seconds first"
                ),
            ),
        }
    }

    pub(crate) fn every(interval: Duration, from: Timestamp) -> Self {
        let interval_us = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
        Self::of(Kind::Every { interval_us, from })
    }

    pub(crate) fn once(at: Timestamp) -> Self {
        Self::of(Kind::Once(at))
    }

    fn of(kind: Kind) -> Self {
        Self { kind, start: None, end: None }
    }

    pub(crate) fn within(mut self, start: Option<Timestamp>, end: Option<Timestamp>) -> Self {
        (self.start, self.end) = (start, end);
        self
    }

    /// The first moment after `after`; `None` when there is none any more.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = self.start.map_or(after, |start| after.max(start.minus_one()));
        let next = match &self.kind {
            Kind::Cron(cron, zone) => next_cron(cron, *zone, after)?,
            Kind::Every { interval_us, from } => {
                // Counted from the anchor, so that being late shifts nothing.
                let passed = after.micros().saturating_sub(from.micros());
                let n = if passed < 0 { 0 } else { passed / interval_us + 1 };
                Timestamp::from_micros(from.micros().checked_add(n.checked_mul(*interval_us)?)?)
            }
            Kind::Once(at) => Some(*at).filter(|at| *at > after)?,
        };
        self.end.is_none_or(|end| next <= end).then_some(next)
    }

    /// The next moments after `after`, at most `count`.
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next(after), |at| self.next(*at)).take(count.min(FIRES_AT_ONCE)).collect()
    }

    /// The moments from `from` to `to`, both included: for a backfill. `None` when there are more than `max`.
    pub fn between(&self, from: Timestamp, to: Timestamp, max: usize) -> Option<Vec<Timestamp>> {
        let mut found = Vec::new();
        let mut at = self.next(from.minus_one());
        while let Some(next) = at.filter(|next| *next <= to) {
            if found.len() == max {
                return None;
            }
            found.push(next);
            at = self.next(next);
        }
        Some(found)
    }
}

fn next_cron(cron: &Cron, zone: Tz, after: Timestamp) -> Option<Timestamp> {
    let mut from = DateTime::from_timestamp_micros(after.micros())?.with_timezone(&zone);
    // A search that begins inside a repeated hour may give a moment that is not later; go on from behind it.
    for _ in 0..4 {
        let found = cron.find_next_occurrence(&from, false).ok()?;
        let at = Timestamp::from_micros(found.timestamp_micros());
        if at > after {
            return Some(at);
        }
        from = from.checked_add_signed(chrono::TimeDelta::hours(1))?;
    }
    None
}
