//! What it ran on: figures without it mean nothing.

use std::{fs, process::Command};

use serde::Serialize;

/// The machine, the programs, and what else ran.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
    system: String,
    disk: String,
    commit: String,
    rustc: String,
    postgres: String,
    redis: String,
    /// Load average of the last minute before the start: what else ran.
    load_before: f64,
    unix_seconds: u64,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            cpu: after(&cpuinfo, "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: after(&meminfo, "MemTotal")
                .split(' ')
                .next()
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0)
                / 1024,
            kernel: said("uname", &["-r"]),
            system: after(&release, "PRETTY_NAME").trim_matches('"').to_owned(),
            disk: said("findmnt", &["-no", "FSTYPE,OPTIONS", "-T", &std::env::temp_dir().to_string_lossy()]),
            commit: said("git", &["describe", "--always", "--dirty"]),
            rustc: said("rustc", &["--version"]),
            postgres: said("/usr/lib/postgresql/15/bin/postgres", &["--version"]),
            redis: said("redis-server", &["--version"]),
            load_before: load.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0),
            unix_seconds: now.as_secs(),
        }
    }

    /// One line for the head of a table.
    pub(crate) fn line(&self) -> String {
        format!(
            "{} cores ({}), {} MiB, {}, Linux {}, commit {}, load average before the start {:.2}",
            self.cores, self.cpu, self.memory_mib, self.system, self.kernel, self.commit, self.load_before
        )
    }
}

fn after(text: &str, key: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_once([':', '=']).map_or("", |(_, value)| value).trim().to_owned()
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}
