//! What was measured: rows, and their three forms (table, JSON, plots).

mod plot;
mod table;

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::Serialize;

pub(crate) use plot::Line;

use crate::{machine::Machine, measure::Measured, system::Backend, usage::Usages};

/// One line of the table: a figure of one work under one load, over several runs.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) backend: String,
    pub(crate) durability: String,
    /// How it was loaded: in flight, rate, sizes.
    pub(crate) load: String,
    /// For plots.
    pub(crate) in_flight: usize,
    /// Tasks of one unit of work.
    pub(crate) tasks: usize,
    /// What the figure counts.
    pub(crate) unit: String,
    /// The figure in each run.
    pub(crate) runs: Vec<f64>,
    /// Medians of the runs' percentiles.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) p999_ms: Option<f64>,
    /// CPU microseconds per unit of work, by process.
    pub(crate) cpu_us: BTreeMap<String, f64>,
    /// Peak memory by process.
    pub(crate) peak_mib: BTreeMap<String, f64>,
    /// Answers that were not as wanted, in all runs, with the first of them.
    pub(crate) refused: u64,
    pub(crate) note: String,
}

impl Row {
    pub(crate) fn new(work: &str, backend: Backend, load: &str, unit: &str) -> Self {
        Self {
            work: work.into(),
            backend: backend.name().into(),
            durability: backend.durability().into(),
            load: load.into(),
            unit: unit.into(),
            ..Self::default()
        }
    }

    /// Of loads: the rate of answers, times `each` (10 tasks in an answer), is the figure.
    pub(crate) fn of_loads(mut self, all: &[Measured]) -> Self {
        self.runs = all.iter().map(Measured::rate).collect();
        let of = |pick: fn(&Measured) -> f64| Some(median(all.iter().map(pick)));
        self.p50_ms = of(|m| m.outcome.latency.p50_ms);
        self.p95_ms = of(|m| m.outcome.latency.p95_ms);
        self.p99_ms = of(|m| m.outcome.latency.p99_ms);
        self.p999_ms = of(|m| m.outcome.latency.p999_ms);
        self = self.with_cpu(all);
        self.refused = all.iter().map(|m| m.outcome.refused.values().sum::<u64>()).sum();
        if let Some(bad) = all.iter().find(|m| !m.outcome.refused.is_empty()) {
            self.note = format!("{:?} {:.200}", bad.outcome.refused, bad.outcome.sample);
        }
        self
    }

    /// CPU time for each answer, and peaks.
    pub(crate) fn with_cpu(mut self, all: &[Measured]) -> Self {
        let names = all.first().map(|m| m.used.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        for name in names {
            let each = |m: &Measured| {
                m.used.get(&name).map_or(0.0, |u| u.cpu_seconds) / (m.outcome.done.max(1) as f64) * 1e6
            };
            let us = median(all.iter().map(each));
            self.cpu_us.insert(name, us);
        }
        if let Some(last) = all.last() {
            self.peaks(&last.used);
        }
        self
    }

    pub(crate) fn peaks(&mut self, used: &Usages) {
        self.peak_mib = used.iter().map(|(name, u)| (name.clone(), u.peak_mib)).collect();
    }

    pub(crate) fn median(&self) -> f64 {
        median(self.runs.iter().copied())
    }

    /// All processes together.
    pub(crate) fn cpu_us_total(&self) -> f64 {
        self.cpu_us.values().sum()
    }
}

/// The middle one; the mean of the two in the middle when there is none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    match all.len() {
        0 => 0.0,
        n if n % 2 == 1 => all[n / 2],
        n => f64::midpoint(all[n / 2 - 1], all[n / 2]),
    }
}

/// Everything of one run of the harness.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    pub(crate) lines: Vec<Line>,
}

impl Report {
    pub(crate) fn print(&self) {
        println!("\n{}\n", self.machine.line());
        print!("{}", table::text(&self.rows));
        for line in &self.lines {
            let points: Vec<_> = line
                .points
                .iter()
                .map(|(x, y)| format!("{}: {}", table::number(*x), table::number(*y)))
                .collect();
            println!("{} ({}): {}", line.plot, line.name, points.join(", "));
        }
    }

    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("bench.json"), serde_json::to_string_pretty(self)?)?;
        fs::write(folder.join("bench.md"), table::markdown(&self.machine.line(), &self.rows, &self.lines))?;
        plot::all(folder, &self.rows, &self.lines).map_err(|error| io::Error::other(error.to_string()))
    }
}
