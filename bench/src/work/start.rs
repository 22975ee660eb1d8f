//! START: from the start of the process until it says that it is ready.

use std::time::{Duration, Instant};

use crate::{
    load::Job,
    measure,
    options::Run,
    report::Row,
    system::{Backend, System},
    work::{chain, tell},
};

pub(super) fn run(options: &Run) -> Vec<Row> {
    let backend = Backend::Embedded;
    tell("START, empty");
    let row = |load: &str, unit: &str, runs: Vec<f64>| Row { runs, ..Row::new("START", backend, load, unit) };
    let mut idle = Vec::new();
    let empty = (0..options.runs).map(|_| {
        let began = Instant::now();
        let mut system = System::prepare(backend, &options.settings(&[]));
        let prepared = began.elapsed();
        system.launch("orchestra");
        system.wait_ready("orchestra");
        let took = began.elapsed() - prepared;
        std::thread::sleep(Duration::from_secs(2));
        idle.push(system.usage()["orchestra"].rss_mib);
        took.as_secs_f64() * 1000.0
    });
    let empty: Vec<f64> = empty.collect();
    let mut rows = vec![row("empty", "ms until ready", empty), row("empty, idle", "MiB", idle)];

    let n = options.finished;
    tell(&format!("START, {n} finished executions"));
    let mut system = System::start(backend, &options.settings(&[]));
    system.agent("noop", &[]);
    system.define(&chain::definition("w1", 1));
    system.warm("w1");
    let fill = Job { count: Some(n as u64), warm_up_ms: 0, ..chain::job(options, &system, "w1", 128) };
    let filled = measure::load(&system, &fill);
    let (mut ms, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..options.runs {
        system.stop("orchestra");
        let began = Instant::now();
        system.launch("orchestra");
        system.wait_ready("orchestra");
        ms.push(began.elapsed().as_secs_f64() * 1000.0);
        std::thread::sleep(Duration::from_secs(2));
        idle.push(system.usage()["orchestra"].rss_mib);
    }
    let done = filled.outcome.done;
    rows.push(row(&format!("{done} finished"), "ms until ready", ms));
    rows.push(row(&format!("{done} finished, idle"), "MiB", idle));
    rows.push(row(
        &format!("{done} finished"),
        "bytes of disk each",
        vec![system.disk_bytes() as f64 / done.max(1) as f64],
    ));
    rows
}
