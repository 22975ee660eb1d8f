//! Points in time and durations.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01 UTC. Time is an input of every brain: none of them reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(us: i64) -> Self {
        Self(us)
    }
    /// From milliseconds since the epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1000))
    }
    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }
    /// Whole milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }
    /// This point plus `d`, saturating.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
    }
    /// Time from `earlier` to this point; zero when it lies later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
    /// RFC 3339 in UTC with milliseconds, `2026-01-02T03:04:05.678Z`.
    pub fn rfc3339(self) -> String {
        match chrono::DateTime::from_timestamp_micros(self.0) {
            Some(at) => at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            None => format!("{}us", self.0),
        }
    }
    /// Reads RFC 3339 with any offset and fraction.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| Self(at.timestamp_micros()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// Where shells get the time from. Brains take a [`Timestamp`] instead.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time.
    fn now(&self) -> Timestamp;
}

/// The unit of a bare number in a dialect: S0 and S1 count milliseconds, S2 to S4 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareUnit {
    /// `300` means 300 ms.
    Millis,
    /// `300` means 300 s.
    Seconds,
}

/// Longest duration that is accepted: ten years.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration: {rule}")]
pub struct BadDuration {
    /// What was given.
    pub text: String,
    /// The rule it broke, with the remedy.
    pub rule: &'static str,
}

/// Reads `250ms`, `30s`, `5m`, `2h`, `1d`, a sum of them (`1h30m`), or a bare number in `bare`'s unit.
///
/// Fractions are allowed (`1.5s`); the result has microsecond precision and is at most [`DURATION_MAX`].
pub fn parse_duration(text: &str, bare: BareUnit) -> Result<Duration, BadDuration> {
    let fail = |rule| BadDuration { text: text.chars().take(80).collect(), rule };
    let form = "write a number with a unit: 250ms, 30s, 5m, 2h, 1d or a sum such as 1h30m";
    let mut rest = text.trim();
    if rest.is_empty() || rest.len() > 64 {
        return Err(fail(form));
    }
    let mut total_us = 0f64;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| fail(form))?;
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        parts += 1;
        let scale = match unit {
            "us" => 1.0,
            "ms" => 1e3,
            "s" | "sec" | "second" | "seconds" => 1e6,
            "m" | "min" | "minute" | "minutes" => 60e6,
            "h" | "hour" | "hours" => 3600e6,
            "d" | "day" | "days" => 86400e6,
            "" if tail.is_empty() && parts == 1 => match bare {
                BareUnit::Millis => 1e3,
                BareUnit::Seconds => 1e6,
            },
            _ => return Err(fail(form)),
        };
        total_us += number * scale;
        rest = tail.trim_start();
    }
    if total_us > DURATION_MAX.as_micros() as f64 {
        return Err(fail("the longest duration is 10 years"));
    }
    Ok(Duration::from_micros(total_us.round() as u64))
}

/// Writes a duration the way [`parse_duration`] reads it, in the largest unit that divides it.
pub fn show_duration(d: Duration) -> String {
    let ms = d.as_millis();
    match ms {
        _ if !d.as_micros().is_multiple_of(1000) => format!("{}us", d.as_micros()),
        0 => "0s".into(),
        _ if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_written() {
        use BareUnit::{Millis, Seconds};
        for (text, bare, want) in [
            ("300", Seconds, Some(300_000)),
            ("300", Millis, Some(300)),
            ("250ms", Seconds, Some(250)),
            ("30s", Millis, Some(30_000)),
            ("1h30m", Seconds, Some(5_400_000)),
            ("1h 30m", Seconds, Some(5_400_000)),
            ("1.5s", Seconds, Some(1_500)),
            ("2 hours", Seconds, None),
            ("1d", Seconds, Some(86_400_000)),
            ("soon", Seconds, None),
            ("", Seconds, None),
            ("-1s", Seconds, None),
            ("5 5", Seconds, None),
            ("11000d", Seconds, None),
        ] {
            assert_eq!(parse_duration(text, bare).ok().map(|d| d.as_millis()), want, "{text:?}");
        }
        assert!(parse_duration("soon", Seconds).unwrap_err().to_string().contains("30s"));
    }

    #[test]
    fn a_shown_duration_reads_back() {
        for ms in [0u64, 1, 999, 1000, 61_000, 60_000, 3_600_000, 86_400_000, 90_061_001] {
            let d = Duration::from_millis(ms);
            assert_eq!(parse_duration(&show_duration(d), BareUnit::Seconds).unwrap(), d);
        }
        assert_eq!(show_duration(Duration::from_micros(1500)), "1500us");
    }

    #[test]
    fn timestamps_print_and_subtract() {
        let at = Timestamp::from_millis(1_767_322_245_678);
        assert_eq!(at.to_string(), "2026-01-02T02:50:45.678Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-01-02T03:50:45.678+01:00"), Some(at));
        assert_eq!(at.since(Timestamp::from_millis(1_767_322_245_000)), Duration::from_millis(678));
        assert_eq!(Timestamp::default().since(at), Duration::ZERO);
        assert_eq!(at.plus(Duration::from_millis(1)).millis() - at.millis(), 1);
        assert!(Timestamp::from_micros(i64::MAX).rfc3339().ends_with("us"));
        assert_eq!(Timestamp::from_micros(5).micros(), 5);
    }
}
