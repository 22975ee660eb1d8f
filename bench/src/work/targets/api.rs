//! Every API route under 2 s at p99 with 1,000 executions running (S1-102), and what a running execution holds
//! (S2-62, S2-63).

use std::time::Duration;

use crate::{
    load::Job,
    measure::{self, Loading},
    options::Run,
    report::Row,
    system::{Backend, System},
    usage::Usages,
    work::{chain, tell},
};

/// Of each group of routes one, below `/api/v1` unless it begins with `//`. `EXECUTION` is one that runs.
const ROUTES: [(&str, &str, &str, u16); 22] = [
    ("GET", "/health", "", 200),
    ("GET", "//ready", "", 200),
    ("GET", "//workflow-capacity", "", 200),
    ("GET", "/metrics", "", 200),
    ("GET", "/agents", "", 200),
    ("GET", "/agents/noop", "", 200),
    ("POST", "/agents/noop/heartbeat", r#"{"status":"healthy"}"#, 200),
    ("GET", "/workflows", "", 200),
    ("GET", "/workflows/w10", "", 200),
    ("GET", "/workflows/w10/plan", "", 200),
    ("GET", "/workflows/w10/status", "", 200),
    (
        "POST",
        "/workflows/validate",
        r#"{"name":"v","version":"1","tasks":[{"id":"a","capability":"noop"}]}"#,
        200,
    ),
    ("POST", "/workflows/w1/execute", r#"{"input":{}}"#, 202),
    ("POST", "/workflows/w1/execute?wait=60s", r#"{"input":{}}"#, 200),
    ("GET", "/executions", "", 200),
    ("GET", "/executions?status=completed", "", 200),
    ("GET", "/executions/EXECUTION", "", 200),
    ("GET", "/executions/EXECUTION/history", "", 200),
    ("GET", "/executions/EXECUTION/query", "", 200),
    ("GET", "/patterns/available", "", 200),
    ("GET", "/schedules", "", 200),
    ("GET", "/cache", "", 200),
];

fn engine(used: &Usages) -> impl Iterator<Item = &crate::usage::Usage> {
    used.iter()
        .filter(|(name, _)| !["agents", "postgres", "redis", "load"].contains(&name.as_str()))
        .map(|(_, usage)| usage)
}

pub(super) fn run(options: &Run, backend: Backend) -> Vec<Row> {
    let running_most = options.running;
    tell(&format!("API routes with {running_most} executions running on {}", backend.name()));
    let own = [("executor.max_concurrent_workflows", "10000")];
    let mut system = System::start(backend, &options.settings(&own));
    system.agent("noop", &["--delay-ms", "500"]);
    system.define(&chain::definition("w1", 1));
    system.define(&chain::definition("w10", 10));
    system.post("/workflows/w1/execute?wait=60s", r#"{"input":{}}"#).expect("one execution runs");
    let before = system.usage();
    let minutes = 60_000 * 10;
    let behind =
        Job { measure_ms: minutes, warm_up_ms: 0, ..chain::job(options, &system, "w10", running_most) };
    let loading = Loading::start(&behind);
    // All of them are there after a first round of calls.
    std::thread::sleep(Duration::from_secs(3));
    let mut rows = vec![held(&system, backend, &before, running_most)];
    let page = system.get("/executions?page_size=1").expect("the list answers");
    let running = page["executions"][0]["execution_id"].as_str().unwrap_or_default().to_owned();
    let mut worst = (0.0_f64, "");
    let mut all = Vec::new();
    for (method, path, body, status) in ROUTES {
        let job = Job {
            method: method.into(),
            path: match path.strip_prefix('/') {
                Some(root) if root.starts_with('/') => root.to_owned(),
                _ => format!("/api/v1{}", path.replace("EXECUTION", &running)),
            },
            body: body.into(),
            per_second: 50.0,
            warm_up_ms: 200,
            measure_ms: 2000,
            status,
            contains: String::new(),
            ..chain::job(options, &system, "w1", 64)
        };
        let measured = measure::load(&system, &job);
        // A call of the agent takes half a second, and is waited for.
        let own = if path.contains("wait=") { 500.0 } else { 0.0 };
        let p99 = measured.outcome.latency.p99_ms - own;
        if p99 > worst.0 {
            worst = (p99, path);
        }
        let load = format!("{method} {path}, open 50/s");
        let mut row = Row::new("ROUTE", backend, &load, "p99 ms").of_loads(std::slice::from_ref(&measured));
        row.runs = vec![p99];
        row.cpu_us.clear();
        row.peak_mib.clear();
        all.push(row);
    }
    loading.stop();
    let load = format!("{} routes, {running_most} executions running; worst: {}", ROUTES.len(), worst.1);
    rows.push(super::row(backend, &load, "p99 ms of the worst (target 2,000)", worst.0));
    rows.extend(all);
    rows
}

/// Memory and CPU for each running execution.
fn held(system: &System, backend: Backend, before: &Usages, running: usize) -> Row {
    let first = system.usage();
    std::thread::sleep(Duration::from_secs(3));
    let second = system.usage();
    let sum = |used: &Usages| engine(used).map(|u| u.rss_mib).sum::<f64>();
    let cpu = |used: &Usages| engine(used).map(|u| u.cpu_seconds).sum::<f64>();
    let memory = (sum(&second) - sum(before)).max(0.0) * 1024.0 / running as f64;
    let share = (cpu(&second) - cpu(&first)) / 3.0 * 100.0 / running as f64;
    let load =
        format!("{running} of W10 running, calls of 500 ms; each takes {share:.3} % of a core (target 1 %)");
    super::row(backend, &load, "KiB of memory each (target 51,200)", memory)
}
