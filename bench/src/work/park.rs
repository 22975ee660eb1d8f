//! PARK: executions that wait for a signal, and what each of them holds while it does.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    load::{Job, Outcome},
    measure,
    options::Run,
    report::{Line, Row},
    system::{Backend, System},
    usage::Usages,
    work::{chain, tell},
};

const DEFINITION: &str = "name: park\nversion: \"1\"\ntasks:\n  - {id: go, wait: {signal: go}}\n";
/// How long memory and the rest may take to come to rest.
const REST: Duration = Duration::from_secs(90);

/// Parts in which those that become idle are started, for the curve.
const PARTS: usize = 4;

pub(super) fn run(options: &Run, backend: Backend) -> (Vec<Row>, Line) {
    let n = if backend == Backend::Embedded { options.parked } else { options.parked / 5 };
    let (mut rows, line) = parked(options, backend, n, "2s", "idle");
    let (hot, _) = parked(options, backend, n, "1h", "hot");
    rows.extend(hot.into_iter().filter(|r| r.unit.contains("memory")));
    (rows, line)
}

fn executors(used: &Usages) -> f64 {
    let own = used.iter().filter(|(name, _)| name.starts_with("executor") || *name == "orchestra");
    own.map(|(_, u)| u.rss_mib).sum()
}

fn parked(options: &Run, backend: Backend, n: usize, park_after: &str, state: &str) -> (Vec<Row>, Line) {
    tell(&format!("PARK on {}: {n} executions, {state}", backend.name()));
    let own = [("executor.max_concurrent_workflows", "1000000"), ("executor.park_after", park_after)];
    let system = System::start(backend, &options.settings(&own));
    system.define(DEFINITION);
    let ids = system.folder().join("ids");
    let parts = if state == "idle" { PARTS } else { 1 };
    let part = (n / parts).max(1);
    let n = part * parts;
    let start = Job {
        path: "/api/v1/workflows/park/execute".into(),
        status: 202,
        contains: String::new(),
        count: Some(part as u64),
        keep_ids: Some(ids.clone()),
        ..chain::job(options, &system, "park", 64)
    };
    // The plan is known and all threads and connections are there before memory counts.
    let few = Job { count: Some(500), keep_ids: None, ..start.clone() };
    measure::load(&system, &few);
    let (memory, disk) = (executors(&system.usage()), system.disk_bytes());
    let row = |unit: &str, value: f64| {
        let mut row = Row::new("PARK", backend, &format!("{n} waiting, {state}"), unit);
        row.runs = vec![value];
        row.in_flight = n;
        row
    };
    let (mut all, mut list, mut points) = (Vec::new(), String::new(), Vec::new());
    for done in 1..=parts {
        all.push(measure::load(&system, &start));
        list.push_str(&fs::read_to_string(&ids).expect("the load generator kept the ids"));
        let resting = rest(&system, state == "idle");
        points.push(((part * done) as f64, resting));
    }
    let mut rows = vec![Row { in_flight: n, ..row("starts/s", 0.0).of_loads(&all) }];
    let resting = points[parts - 1].1;
    rows.push(row("bytes of memory each", (resting - memory).max(0.0) * 1024.0 * 1024.0 / n as f64));
    let grown = system.disk_bytes().saturating_sub(disk);
    rows.push(row("bytes of disk each", grown as f64 / n as f64));
    if state == "idle" {
        rows.push(wake(options, &system, &list, row));
    }
    let plot = "Parked: MiB of the engine against parked executions".to_owned();
    (rows, Line { plot, name: backend.name().into(), points })
}

/// Memory once it no longer changes.
fn rest(system: &System, wait: bool) -> f64 {
    let until = Instant::now() + REST;
    let mut last = executors(&system.usage());
    let mut same = 0;
    // Nothing leaves memory before its two seconds and a sweep are over.
    let mut least = if wait { 5 } else { 1 };
    while (same < 3 || least > 0) && Instant::now() < until {
        std::thread::sleep(Duration::from_secs(1));
        least -= 1;
        let now = executors(&system.usage());
        same = if (now - last).abs() < 1.0 { same + 1 } else { 0 };
        last = now;
    }
    last
}

fn wake(options: &Run, system: &System, list: &str, row: impl Fn(&str, f64) -> Row) -> Row {
    let paths: String = list.lines().map(|id| format!("/api/v1/executions/{id}/signals/go\n")).collect();
    let file = system.folder().join("signals");
    fs::write(&file, paths).expect("a file can be written");
    let count = list.lines().count() as u64;
    let job = Job {
        paths: Some(file),
        body: "{}".into(),
        status: 200,
        contains: String::new(),
        count: Some(count),
        ..chain::job(options, system, "park", 64)
    };
    let began = Instant::now();
    let woken = measure::load(system, &Job { warm_up_ms: 0, ..job });
    // The last one has to have ended, not only heard of it; the few of the warm-up wait on.
    let last = list.lines().last().unwrap_or_default();
    let ended =
        || system.get(&format!("/executions/{last}?wait=10s")).is_ok_and(|e| e["status"] == "completed");
    while !ended() && began.elapsed() < REST {}
    let mut row = row("s to wake all", began.elapsed().as_secs_f64()).with_cpu(std::slice::from_ref(&woken));
    let Outcome { refused, sample, .. } = &woken.outcome;
    if !refused.is_empty() {
        row.refused = refused.values().sum();
        row.note = format!("{refused:?} {sample:.200}");
    }
    row
}
