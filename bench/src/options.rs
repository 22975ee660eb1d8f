//! What can be chosen.

use std::path::PathBuf;

use crate::system::Backend;

/// The works, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Work {
    /// One task that calls a no-op agent; the client waits for the result.
    W1,
    /// Ten of them in sequence.
    W10,
    /// Looks at executions while W10 runs at 64.
    Status,
    /// One task, a hundred and a thousand in parallel, a join.
    F1000,
    /// `kill -9` under W10: until everything moves again.
    Crash,
    /// Executions that wait for a signal: rate, memory, disk, waking all.
    Park,
    /// Start to ready, empty and with history; idle memory.
    Start,
    /// Text to compiled plan.
    Plan,
    /// Published to handled and acknowledged.
    Bus,
    /// The sources' own targets under the loads that they name.
    Targets,
    /// How cost grows with size: minutes each, only when asked for.
    Curves,
    /// Ten minutes of mixed load with failures, only when asked for.
    Soak,
}

/// Options of a run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Run {
    /// Works, with commas. All but curves and soak when not said.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) works: Vec<Work>,
    /// What Orchestra runs on, with commas. All when not said.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) backends: Vec<Backend>,
    /// Executions in flight for W1 and W10.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    pub(crate) in_flight: Vec<usize>,
    /// Seconds of each measured run.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Seconds of warm-up before each.
    #[arg(long, default_value_t = 0.5)]
    pub(crate) warm_up: f64,
    /// Runs of each; the table shows their median, least and most.
    #[arg(long, default_value_t = 3)]
    pub(crate) runs: usize,
    /// Widths of the fan-out.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000])]
    pub(crate) fan: Vec<usize>,
    /// Executions of PARK on SQLite; a fifth of them on PostgreSQL.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) parked: usize,
    /// Finished executions of START.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) finished: usize,
    /// Tasks of the definitions of PLAN.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 10_000, 100_000])]
    pub(crate) plan_tasks: Vec<usize>,
    /// Executions that run while the routes are measured.
    #[arg(long, default_value_t = 1000)]
    pub(crate) running: usize,
    /// Most active executions of the curve.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) curve_active: usize,
    /// Most tasks in one execution.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) curve_tasks: usize,
    /// Most registered agents.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) curve_agents: usize,
    /// Most rows of history.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) curve_history: usize,
    /// Seconds of the soak.
    #[arg(long, default_value_t = 600.0)]
    pub(crate) soak_seconds: f64,
    /// Registered agents of the soak.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) soak_agents: usize,
    /// Executions of the soak that run at the same time.
    #[arg(long, default_value_t = 1000)]
    pub(crate) soak_in_flight: usize,
    /// Another build of `orchestra`, to compare two; the one beside this program when not said.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) orchestra: Option<PathBuf>,
    /// Setting of Orchestra, KEY=VALUE; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Folder for bench.json, bench.md and the plots.
    #[arg(long, default_value = "target/bench")]
    pub(crate) out: PathBuf,
}

impl Run {
    pub(crate) fn wants(&self, work: Work) -> bool {
        match self.works.len() {
            0 => ![Work::Curves, Work::Soak].contains(&work),
            _ => self.works.contains(&work),
        }
    }

    pub(crate) fn backends(&self) -> Vec<Backend> {
        if self.backends.is_empty() { Backend::ALL.into() } else { self.backends.clone() }
    }

    /// The settings, on top of which come those of a work.
    pub(crate) fn settings<'a>(&'a self, own: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let given = self
            .settings
            .iter()
            .map(|s| s.split_once('=').unwrap_or_else(|| panic!("--set {s}: it has the form KEY=VALUE")));
        own.iter().copied().chain(given).collect()
    }

    pub(crate) fn warm_up_ms(&self) -> u64 {
        (self.warm_up * 1000.0) as u64
    }

    pub(crate) fn measure_ms(&self) -> u64 {
        (self.seconds * 1000.0) as u64
    }
}
