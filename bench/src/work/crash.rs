//! CRASH: `kill -9` under W10 at 64, and the time until every one of them moves again: its next call reaches the agent.

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    client,
    load::Job,
    measure,
    options::Run,
    report::Row,
    system::{Backend, System},
    work::{chain, tell},
};

const RUNNING: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(60);
/// Slow enough that all of them are in the middle when the process dies.
const CALL_MS: &str = "100";

pub(super) fn run(options: &Run, backend: Backend) -> Vec<Row> {
    let mut system = System::start(backend, &options.settings(&[("retry.base_delay", "50ms")]));
    let port = system.agent("noop", &["--delay-ms", CALL_MS, "--trace"]);
    system.define(&chain::definition("w10", 10));
    system.warm("w10");
    let mut rows = Vec::new();
    let how: &[(&str, bool)] = match backend {
        Backend::Pg2 => &[("another replica takes over", false)],
        _ => &[("the same process is started again", true)],
    };
    for &(what, again) in how {
        tell(&format!("CRASH on {}: {what}", backend.name()));
        let mut runs = Vec::new();
        for _ in 0..options.runs {
            runs.push(once(options, &mut system, port, again));
            if !again {
                system.launch(backend.executor());
                system.wait_ready(backend.executor());
            }
        }
        let load = format!("W10 at {RUNNING}, calls of {CALL_MS} ms, {what}");
        rows.push(Row { runs, ..Row::new("CRASH", backend, &load, "s until all move") });
    }
    rows
}

fn once(options: &Run, system: &mut System, agent: u16, again: bool) -> f64 {
    let ids = system.folder().join("running");
    let start = Job {
        path: "/api/v1/workflows/w10/execute".into(),
        status: 202,
        contains: String::new(),
        count: Some(RUNNING),
        warm_up_ms: 0,
        keep_ids: Some(ids.clone()),
        ..chain::job(options, system, "w10", 64)
    };
    measure::load(system, &start);
    let list = fs::read_to_string(&ids).unwrap_or_default();
    let ids: Vec<&str> = list.lines().collect();
    // Each has to have begun.
    let until = Instant::now() + PATIENCE;
    while !ids.iter().all(|id| trace(agent).contains_key(*id)) {
        assert!(Instant::now() < until, "not all of them began");
    }
    let killed = now_ms();
    let name = system.backend.executor();
    system.kill(name);
    if again {
        system.launch(name);
    }
    let mut moved: HashMap<&str, u64> = HashMap::new();
    loop {
        let seen = trace(agent);
        for id in &ids {
            if let Some(at) = seen.get(*id).filter(|at| **at > killed) {
                moved.entry(id).or_insert(*at);
            }
        }
        // What had ended before the kill need not move.
        let over =
            |id: &&str| system.get(&format!("/executions/{id}")).is_ok_and(|e| e["status"] == "completed");
        let still: Vec<_> = ids.iter().filter(|id| !moved.contains_key(**id)).collect();
        if still.iter().all(|id| over(id)) {
            let last = moved.values().max().copied().unwrap_or(killed);
            settle(system, &ids);
            return (last - killed) as f64 / 1000.0;
        }
        assert!(Instant::now() < until, "{} do not move\n{}", still.len(), system.logs());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every one of them completes; nothing is lost.
fn settle(system: &System, ids: &[&str]) {
    let until = Instant::now() + PATIENCE;
    for id in ids {
        while !system.get(&format!("/executions/{id}?wait=10s")).is_ok_and(|e| e["status"] == "completed") {
            assert!(Instant::now() < until, "{id} does not complete\n{}", system.logs());
        }
    }
}

/// Execution → Unix milliseconds of the first look at its newest call.
fn trace(agent: u16) -> HashMap<String, u64> {
    let answer = client::json(agent, "GET", "/trace", "").expect("the agent answers");
    serde_json::from_value(answer).expect("numbers by execution")
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
