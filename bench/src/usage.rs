//! What processes used, as the kernel counts it.

use std::{collections::BTreeMap, fs};

/// Clock ticks in a second: what `sysconf(_SC_CLK_TCK)` says on every Linux of the last decades.
const TICKS: f64 = 100.0;

/// CPU time and memory of a process, or of several that count as one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_mib: f64,
    /// The most since [`reset_peak`].
    pub(crate) peak_mib: f64,
}

/// By name.
pub(crate) type Usages = BTreeMap<String, Usage>;

/// One process.
pub(crate) fn of(pid: u32) -> Usage {
    Usage { cpu_seconds: cpu(pid, false), ..memory(pid) }
}

/// A process and its children, those that have ended included: PostgreSQL. Shared memory counts once.
pub(crate) fn of_tree(pid: u32) -> Usage {
    let mut all = Usage { cpu_seconds: cpu(pid, true), ..Usage::default() };
    for member in std::iter::once(pid).chain(children(pid)) {
        if member != pid {
            all.cpu_seconds += cpu(member, false);
        }
        all.rss_mib += kib(&read(member, "smaps_rollup"), "Pss:") / 1024.0;
    }
    all.peak_mib = all.rss_mib;
    all
}

/// The peak counts from now.
pub(crate) fn reset_peak(pid: u32) {
    // Refused for processes of other users: then the peak is that of the whole life.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// Fields after the name, which may hold spaces and brackets: user and system time, then those of ended children.
fn cpu(pid: u32, with_children: bool) -> f64 {
    let stat = read(pid, "stat");
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<f64> = rest.split_whitespace().map(|f| f.parse().unwrap_or(0.0)).collect();
    let wanted = if with_children { 11..15 } else { 11..13 };
    fields.get(wanted).map_or(0.0, |ticks| ticks.iter().sum::<f64>() / TICKS)
}

fn memory(pid: u32) -> Usage {
    let status = read(pid, "status");
    Usage {
        cpu_seconds: 0.0,
        rss_mib: kib(&status, "VmRSS:") / 1024.0,
        peak_mib: kib(&status, "VmHWM:") / 1024.0,
    }
}

fn line<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)).and_then(|rest| rest.split_whitespace().next())
}

fn kib(text: &str, key: &str) -> f64 {
    line(text, key).and_then(|n| n.parse().ok()).unwrap_or(0.0)
}

fn children(of: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = read(*pid, "stat");
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(1) == Some(of.to_string().as_str())
    })
    .collect()
}

/// Bytes of all files below a folder.
pub(crate) fn folder_bytes(folder: &std::path::Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            // Gone between the look and the question.
            Err(_) => 0,
        })
        .sum()
}
