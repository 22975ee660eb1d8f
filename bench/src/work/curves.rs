//! How cost grows: each curve has one size that changes, and what should stay flat or be linear in it.

use crate::{
    agent,
    load::Job,
    measure::{self, Measured},
    options::Run,
    report::Line,
    system::{Backend, System},
    work::{chain, fan, tell},
};

pub(super) fn run(options: &Run, backend: Backend) -> Vec<Line> {
    let mut lines = active(options, backend);
    lines.extend(tasks(options, backend));
    lines.extend(agents(options, backend));
    lines.extend(payloads(options, backend));
    lines.extend(history(options, backend));
    lines
}

fn line(plot: &str, name: &str, backend: Backend, points: Vec<(f64, f64)>) -> Line {
    Line { plot: plot.into(), name: format!("{name}, {}", backend.name()), points }
}

/// Sizes of a curve: powers of ten up to what was asked for.
fn powers(from: usize, to: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(from), |n| n.checked_mul(10)).take_while(move |n| *n <= to)
}

/// p50 of a start with its result, of a status, of a list and of a bare start, and the CPU time of W1.
struct Looks {
    cpu_us: f64,
    p50: [(&'static str, f64); 3],
}

fn looks(options: &Run, system: &System) -> Looks {
    let whole = measure::load(system, &chain::job(options, system, "w1", 16));
    let cpu = |m: &Measured| {
        m.used.iter().filter(|(name, _)| *name != "load").map(|(_, u)| u.cpu_seconds).sum::<f64>() * 1e6
            / m.outcome.done.max(1) as f64
    };
    let page = system.get("/executions?status=completed&page_size=1").unwrap_or_default();
    let id = page["executions"][0]["execution_id"].as_str().unwrap_or_default().to_owned();
    let look = |method: &str, path: &str, body: &str, status: u16| {
        let job = Job {
            method: method.into(),
            path: format!("/api/v1{path}"),
            body: body.into(),
            per_second: 100.0,
            measure_ms: 1500,
            warm_up_ms: 200,
            status,
            contains: String::new(),
            ..chain::job(options, system, "w1", 8)
        };
        measure::load(system, &job).outcome.latency.p50_ms
    };
    Looks {
        cpu_us: cpu(&whole),
        p50: [
            ("start", look("POST", "/workflows/w1/execute", r#"{"input":{}}"#, 202)),
            ("status", look("GET", &format!("/executions/{id}"), "", 200)),
            ("list", look("GET", "/executions?page_size=50", "", 200)),
        ],
    }
}

/// The same looks at several sizes, as lines of two plots.
fn flat(what: &str, backend: Backend, all: &[(f64, Looks)]) -> Vec<Line> {
    let Some((_, first)) = all.first() else { return Vec::new() };
    let mut lines: Vec<Line> = (0..3)
        .map(|n| {
            let points = all.iter().map(|(x, looks)| (*x, looks.p50[n].1)).collect();
            line(&format!("Looks by {what}: ms against {what}"), first.p50[n].0, backend, points)
        })
        .collect();
    let points = all.iter().map(|(x, looks)| (*x, looks.cpu_us)).collect();
    lines.push(line(&format!("W1 by {what}: CPU µs each against {what}"), "W1 at 16", backend, points));
    lines
}

/// 1 → 100,000 active executions.
fn active(options: &Run, backend: Backend) -> Vec<Line> {
    let own = [("executor.max_concurrent_workflows", "1000000"), ("executor.park_after", "1h")];
    let mut system = System::start(backend, &options.settings(&own));
    system.agent("noop", &[]);
    system.define(&chain::definition("w1", 1));
    system.define("name: waits\nversion: \"1\"\ntasks:\n  - {id: go, wait: {signal: go}}\n");
    system.warm("w1");
    let mut all = Vec::new();
    let mut there = 0;
    for n in powers(1, options.curve_active) {
        tell(&format!("{n} active executions on {}", backend.name()));
        let more = Job {
            path: "/api/v1/workflows/waits/execute".into(),
            status: 202,
            contains: String::new(),
            count: Some((n - there) as u64),
            warm_up_ms: 0,
            ..chain::job(options, &system, "waits", 32)
        };
        measure::load(&system, &more);
        there = n;
        all.push((n as f64, looks(options, &system)));
    }
    flat("active executions", backend, &all)
}

/// 10 → 100,000 tasks in one execution.
fn tasks(options: &Run, backend: Backend) -> Vec<Line> {
    let own = [
        ("executor.history_events_max", "10000000"),
        ("executor.history_bytes_max", "4GB"),
        ("gateway.wait_max", "10m"),
    ];
    let mut system = System::start(backend, &options.settings(&own));
    system.agent("noop", &[]);
    let mut points = Vec::new();
    for n in powers(10, options.curve_tasks) {
        tell(&format!("{n} tasks in one execution on {}", backend.name()));
        let name = format!("f{n}");
        system.define(&fan::definition(&name, n - 2));
        let job = Job {
            path: format!("/api/v1/workflows/{name}/execute?wait=10m"),
            count: Some(1),
            warm_up_ms: 0,
            ..chain::job(options, &system, &name, 1)
        };
        let took = measure::load(&system, &job).outcome.latency.max_ms;
        points.push((n as f64, took));
    }
    vec![line("Tasks in one execution: ms against tasks", "fan-out and join", backend, points)]
}

/// 1 → 10,000 registered agents.
fn agents(options: &Run, backend: Backend) -> Vec<Line> {
    let mut system = System::start(backend, &options.settings(&[]));
    let port = system.agent_process("many", &[]);
    system.define(&chain::definition("w1", 1));
    let mut all = Vec::new();
    let mut there = 0;
    for n in powers(1, options.curve_agents) {
        tell(&format!("{n} agents on {}", backend.name()));
        register_many(options, &system, port, there, n);
        there = n;
        system.warm("w1");
        all.push((n as f64, looks(options, &system)));
    }
    flat("registered agents", backend, &all)
}

/// Agents `from` to `to`, all answered by one process.
pub(super) fn register_many(options: &Run, system: &System, port: u16, from: usize, to: usize) {
    let definition =
        agent::definition("bench-{n}", &format!("http://127.0.0.1:{port}/a/{{n}}"), "noop", 64).to_string();
    let job = Job {
        path: "/api/v1/agents".into(),
        body: definition,
        first: from as u64,
        count: Some((to - from) as u64),
        warm_up_ms: 0,
        status: 201,
        contains: String::new(),
        ..chain::job(options, system, "w1", 16)
    };
    let measured = measure::load(system, &job);
    assert!(measured.outcome.refused.is_empty(), "{:?}", measured.outcome);
}

/// 1 KB → 1 MB payloads.
fn payloads(options: &Run, backend: Backend) -> Vec<Line> {
    let mut system = System::start(backend, &options.settings(&[]));
    system.agent("noop", &[]);
    system.define("name: w1\nversion: \"1\"\ntasks:\n  - {id: t, capability: noop, input: \"${ input }\"}\n");
    system.warm("w1");
    let mut points = Vec::new();
    for kib in [1, 4, 16, 64, 256, 1024] {
        tell(&format!("payloads of {kib} KiB on {}", backend.name()));
        let body = format!(r#"{{"input":{{"text":"{}"}}}}"#, "x".repeat(kib * 1024));
        let job = Job { body, ..chain::job(options, &system, "w1", 4) };
        points.push((kib as f64, measure::load(&system, &job).outcome.latency.p50_ms));
    }
    vec![line("Payloads: ms against KiB", "W1 p50 at 4 in flight", backend, points)]
}

/// Up to a million finished executions' rows of history.
fn history(options: &Run, backend: Backend) -> Vec<Line> {
    let mut system = System::start(backend, &options.settings(&[]));
    system.agent("noop", &[]);
    system.define(&chain::definition("w1", 1));
    system.warm("w1");
    let mut all = Vec::new();
    let mut rows = 0;
    for n in powers(1000, options.curve_history) {
        tell(&format!("{n} rows of history on {}", backend.name()));
        // An execution of one task is two rows.
        let fill = Job {
            count: Some(((n - rows) / 2) as u64),
            warm_up_ms: 0,
            ..chain::job(options, &system, "w1", 128)
        };
        measure::load(&system, &fill);
        rows = n;
        all.push((n as f64, looks(options, &system)));
    }
    flat("rows of history", backend, &all)
}
