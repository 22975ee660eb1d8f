//! Resource amounts: CPU in thousandths of a core, memory in bytes, network in Mbit/s.

use serde::{Deserialize, Serialize};

/// An amount of the three resources that allocation looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
    /// Megabits per second.
    pub network_mbps: u64,
}

impl Resources {
    /// Whether `self` fits into `room` in every dimension.
    pub fn fits(&self, room: &Self) -> bool {
        self.cpu_millis <= room.cpu_millis
            && self.memory_bytes <= room.memory_bytes
            && self.network_mbps <= room.network_mbps
    }
    /// Sum per dimension, saturating.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            network_mbps: self.network_mbps.saturating_add(other.network_mbps),
        }
    }
    /// `n` times as much, saturating.
    #[must_use]
    pub fn times(&self, n: u64) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_mul(n),
            memory_bytes: self.memory_bytes.saturating_mul(n),
            network_mbps: self.network_mbps.saturating_mul(n),
        }
    }
    /// The larger amount per dimension.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            network_mbps: self.network_mbps.max(other.network_mbps),
        }
    }
}

/// A text that is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an amount of {what}: write {example}")]
pub struct BadAmount {
    /// What was given.
    pub text: String,
    /// `CPU`, `memory` or `network`.
    pub what: &'static str,
    /// Forms that are accepted.
    pub example: &'static str,
}

fn split(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number < 1e15).then(|| (number, unit.trim().to_ascii_lowercase()))
}

fn amount(
    text: &str,
    what: &'static str,
    example: &'static str,
    unit: impl Fn(&str) -> Option<f64>,
) -> Result<u64, BadAmount> {
    let bad = || BadAmount { text: text.chars().take(80).collect(), what, example };
    let (number, name) = split(text).ok_or_else(bad)?;
    let scaled = number * unit(&name).ok_or_else(bad)?;
    if scaled > u64::MAX as f64 / 2.0 { Err(bad()) } else { Ok(scaled.round() as u64) }
}

/// Reads CPU as thousandths of a core: `2 cores`, `1 core`, `500m`, `0.5`.
pub fn parse_cpu(text: &str) -> Result<u64, BadAmount> {
    amount(text, "CPU", "2 cores, 0.5 or 500m", |unit| match unit {
        "" | "core" | "cores" | "cpu" | "cpus" | "vcpu" => Some(1000.0),
        "m" => Some(1.0),
        _ => None,
    })
}

/// Reads memory as bytes: `4GB`, `512MiB`, `64k`; a bare number counts megabytes (2^20), as in S0.
pub fn parse_memory(text: &str) -> Result<u64, BadAmount> {
    const K: f64 = 1024.0;
    amount(text, "memory", "4GB, 512MiB or a bare number of megabytes", |unit| match unit {
        "b" => Some(1.0),
        "k" | "kb" | "ki" | "kib" => Some(K),
        "" | "m" | "mb" | "mi" | "mib" => Some(K * K),
        "g" | "gb" | "gi" | "gib" => Some(K * K * K),
        "t" | "tb" | "ti" | "tib" => Some(K * K * K * K),
        _ => None,
    })
}

/// Reads network bandwidth as Mbit/s: `500`, `1Gbps`, `100 Mbit/s`.
pub fn parse_network(text: &str) -> Result<u64, BadAmount> {
    amount(text, "network", "500, 100Mbps or 1Gbps", |unit| match unit {
        "" | "m" | "mbps" | "mbit" | "mbit/s" => Some(1.0),
        "g" | "gbps" | "gbit" | "gbit/s" => Some(1000.0),
        _ => None,
    })
}

/// Writes CPU as [`parse_cpu`] reads it.
pub fn show_cpu(cpu_millis: u64) -> String {
    if cpu_millis.is_multiple_of(1000) {
        format!("{} core{}", cpu_millis / 1000, if cpu_millis == 1000 { "" } else { "s" })
    } else {
        format!("{cpu_millis}m")
    }
}

/// Writes memory as [`parse_memory`] reads it, in the largest unit that divides it.
pub fn show_memory(bytes: u64) -> String {
    for (shift, unit) in [(40, "TB"), (30, "GB"), (20, "MB"), (10, "KB")] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_written() {
        for (text, want) in [
            ("2 cores", Some(2000)),
            ("1 core", Some(1000)),
            ("500m", Some(500)),
            ("0.5", Some(500)),
            ("two", None),
            ("1 GB", None),
        ] {
            assert_eq!(parse_cpu(text).ok(), want, "{text}");
        }
        for (text, want) in [
            ("4GB", Some(4 << 30)),
            ("512MiB", Some(512 << 20)),
            ("1024", Some(1 << 30)),
            ("1b", Some(1)),
            ("1t", Some(1 << 40)),
            ("1k", Some(1024)),
            ("x", None),
            ("1 lot", None),
        ] {
            assert_eq!(parse_memory(text).ok(), want, "{text}");
        }
        for (text, want) in [
            ("500", Some(500)),
            ("1Gbps", Some(1000)),
            ("100 Mbit/s", Some(100)),
            ("-1", None),
            ("1e400", None),
        ] {
            assert_eq!(parse_network(text).ok(), want, "{text}");
        }
        assert!(parse_memory("999999999999999t").is_err());
        assert!(parse_cpu("two").unwrap_err().to_string().contains("2 cores"));
    }

    #[test]
    fn shown_amounts_read_back() {
        for v in [0, 1, 1000, 1500, 2000] {
            assert_eq!(parse_cpu(&show_cpu(v)).unwrap(), v);
        }
        for v in [0, 1, 1024, 3 << 20, 4 << 30, 1 << 40, 1025] {
            assert_eq!(parse_memory(&show_memory(v)).unwrap(), v);
        }
    }

    #[test]
    fn fitting_looks_at_every_dimension() {
        let room = Resources { cpu_millis: 2000, memory_bytes: 100, network_mbps: 10 };
        let half = Resources { cpu_millis: 1000, memory_bytes: 50, network_mbps: 5 };
        assert!(half.fits(&room) && half.times(2).fits(&room) && !half.times(3).fits(&room));
        assert_eq!(half.plus(&half), half.times(2));
        assert_eq!(half.max(&room), room);
        for lacking in [
            Resources { cpu_millis: 3000, ..half },
            Resources { memory_bytes: 101, ..half },
            Resources { network_mbps: 11, ..half },
        ] {
            assert!(!lacking.fits(&room));
        }
    }
}
