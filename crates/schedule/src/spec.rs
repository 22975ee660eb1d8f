//! What a user writes, checked.

use std::time::Duration;

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Timing;

/// Shortest interval, and shortest distance of two fires: one second.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Longest jitter and catch-up window: 366 days.
const WINDOW_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Most fires that may wait for an execution to end.
const QUEUE_MAX: u32 = 1000;

/// What happens to a fire while an execution of the same schedule runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// It waits until the running one has ended; at most [`Rules::queue_max`] wait.
    Queue,
    /// It starts beside the running one.
    Allow,
    /// The running one is cancelled first.
    CancelOther,
}

impl Overlap {
    /// Every policy.
    pub const ALL: [Self; 4] = [Self::Skip, Self::Queue, Self::Allow, Self::CancelOther];

    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::Allow => "allow",
            Self::CancelOther => "cancel_other",
        }
    }
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.as_str() == text)
    }
}

/// When a schedule fires, and what happens when it cannot. Exactly one of `cron`, `every_us` and `at` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Five fields (`minute hour day month weekday`) or six with seconds first, or `@hourly`, `@daily`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// IANA name of the zone that `cron` is read in; empty = UTC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
    /// Microseconds between two fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_us: Option<u64>,
    /// Microseconds from when the schedule is made to the first fire of an interval; `None` = one interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_us: Option<u64>,
    /// The one moment at which it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// It does not fire before this; intervals count from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// It does not fire after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_at: Option<Timestamp>,
    /// What happens beyond the moments themselves.
    #[serde(flatten)]
    pub rules: Rules,
}

/// What happens around the moments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// While an execution of the schedule runs.
    pub overlap: Overlap,
    /// Most fires that wait under [`Overlap::Queue`]; more are skipped.
    pub queue_max: u32,
    /// A fire that was missed (nobody ran, or the schedule could not start) is made up for this long; later it is
    /// passed over. Microseconds.
    pub catch_up_us: u64,
    /// Each fire is late by a part of this, the same for every replica. Microseconds.
    pub jitter_us: u64,
}

impl Default for Rules {
    /// Skip; 1 waits; one hour to catch up; no jitter.
    fn default() -> Self {
        Self { overlap: Overlap::Skip, queue_max: 1, catch_up_us: 3_600_000_000, jitter_us: 0 }
    }
}

/// A schedule that cannot be: the field, the rule it broke and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct BadSpec {
    /// The field.
    pub field: &'static str,
    /// The rule, with the remedy.
    pub rule: String,
}

pub(crate) fn bad<T>(field: &'static str, rule: impl Into<String>) -> Result<T, BadSpec> {
    Err(BadSpec { field, rule: rule.into() })
}

impl Spec {
    /// Checks everything and compiles the timing. `created_at`: intervals count from here when they name no start.
    ///
    /// # Errors
    /// Names the field.
    pub fn compile(&self, created_at: Timestamp) -> Result<Timing, BadSpec> {
        self.check_rules()?;
        if let (Some(start), Some(end)) = (self.start_at, self.end_at)
            && end < start
        {
            return bad("end_at", "lies before start_at; swap them or leave one out");
        }
        let timing = match (&self.cron, self.every_us, self.at) {
            (Some(text), None, None) => Timing::cron(text, &self.time_zone)?,
            (None, Some(us), None) => {
                let interval = Duration::from_micros(us);
                if interval < INTERVAL_MIN || interval > base::time::DURATION_MAX {
                    return bad("every", "must be between 1s and 10 years");
                }
                let delay = Duration::from_micros(self.delay_us.unwrap_or(0));
                if delay > base::time::DURATION_MAX {
                    return bad("delay", "must be at most 10 years");
                }
                Timing::every(interval, self.start_at.unwrap_or(created_at).plus(delay))
            }
            (None, None, Some(at)) => Timing::once(at),
            (None, None, None) => {
                return bad("timing", "give one of cron (\"0 9 * * 1-5\"), every (\"15m\"), at or delay");
            }
            _ => return bad("timing", "cron, every and at exclude each other; keep one"),
        };
        if !self.time_zone.is_empty() && self.cron.is_none() {
            return bad("time_zone", "belongs to cron only; intervals and moments know no zone");
        }
        if self.delay_us.is_some() && self.every_us.is_none() {
            return bad("delay", "belongs to an interval here; write the moment itself as at");
        }
        let timing = timing.within(self.start_at, self.end_at);
        let first = timing.next(self.start_at.unwrap_or(created_at).minus_one());
        if self.cron.is_some() && first.is_none() {
            return bad("cron", "never fires (between start_at and end_at)");
        }
        Ok(timing)
    }

    fn check_rules(&self) -> Result<(), BadSpec> {
        let window = u64::try_from(WINDOW_MAX.as_micros()).unwrap_or(u64::MAX);
        if self.rules.catch_up_us > window {
            return bad("catch_up", "must be at most 366d");
        }
        if self.rules.jitter_us > window {
            return bad("jitter", "must be at most 366d");
        }
        if self.rules.queue_max == 0 || self.rules.queue_max > QUEUE_MAX {
            return bad("queue_max", format!("must be 1 to {QUEUE_MAX}"));
        }
        Ok(())
    }
}

/// The moment right before another.
pub(crate) trait MinusOne {
    fn minus_one(self) -> Self;
}

impl MinusOne for Timestamp {
    fn minus_one(self) -> Self {
        Self::from_micros(self.micros().saturating_sub(1))
    }
}
