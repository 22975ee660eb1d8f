//! Memory under 2 GB and CPU of the orchestrator under 70 % at 100 executions per second (S1-106, S1-107), and a cache
//! hit rate over 80 % on a repeated mix (S1-104).

use crate::{
    load::Job,
    measure,
    options::Run,
    report::Row,
    system::{Backend, System},
    work::{chain, tell},
};

const RATE: f64 = 100.0;
/// Different inputs of the repeated mix.
const INPUTS: u64 = 50;
const CALLS: u64 = 2000;

pub(super) fn run(options: &Run, backend: Backend) -> Vec<Row> {
    tell(&format!("100 executions/s on {}", backend.name()));
    let mut system = System::start(backend, &options.settings(&[]));
    system.agent("noop", &[]);
    system.define(&chain::definition("w10", 10));
    system.warm("w10");
    let job = Job { per_second: RATE, ..chain::job(options, &system, "w10", 64) };
    let all: Vec<_> = (0..options.runs).map(|_| measure::load(&system, &job)).collect();
    let mut steady =
        Row::new("TARGET", backend, "W10, open 100/s", "% of the CPU, engine and servers (target 70)");
    steady = steady.of_loads(&all);
    let engine = |name: &str| !["agents", "load"].contains(&name);
    let share = |m: &measure::Measured| {
        let cpu: f64 = m.used.iter().filter(|(n, _)| engine(n)).map(|(_, u)| u.cpu_seconds).sum();
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        cpu / m.outcome.seconds / cores * 100.0
    };
    steady.runs = all.iter().map(share).collect();
    let peak: f64 = steady.peak_mib.iter().filter(|(n, _)| engine(n)).map(|(_, mib)| mib).sum();
    vec![
        steady,
        super::row(backend, "W10, open 100/s", "MiB in all (target 2,048)", peak),
        cache(options, &system),
    ]
}

fn cache(options: &Run, system: &System) -> Row {
    system.define(
        "name: cached\nversion: \"1\"\ntasks:\n  - {id: t, capability: noop, cache: true, input: {n: \"${ input.n }\"}}\n",
    );
    let before = system.get("/cache").unwrap_or_default();
    let job = Job {
        // The number of the request is cut to its last digits by the modulus below.
        body: r#"{"input":{"n":"{m}"}}"#.into(),
        modulus: INPUTS,
        count: Some(CALLS),
        warm_up_ms: 0,
        ..chain::job(options, system, "cached", 16)
    };
    let measured = measure::load(system, &job);
    let after = system.get("/cache").unwrap_or_default();
    let of = |key: &str| {
        after["total"][key].as_f64().unwrap_or(0.0) - before["total"][key].as_f64().unwrap_or(0.0)
    };
    let (hits, misses) = (of("hits"), of("misses"));
    let load = format!("{CALLS} executions over {INPUTS} inputs, 16 in flight");
    let share = if hits + misses > 0.0 { hits / (hits + misses) * 100.0 } else { 0.0 };
    let mut row = super::row(system.backend, &load, "% cache hits (target 80)", share);
    row.refused = measured.outcome.refused.values().sum();
    row
}
