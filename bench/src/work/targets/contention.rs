//! More executions than agent slots (S3-165, S3-166), and agents that come and go under load (S3-169).

use std::time::{Duration, Instant};

use crate::{
    load::Job,
    measure::{self, Loading},
    options::Run,
    report::Row,
    system::{Backend, System},
    work::{chain, tell},
};

const SLOTS: usize = 20;
const CALL_MS: &str = "5";

pub(super) fn run(options: &Run, backend: Backend) -> Vec<Row> {
    let own = [("executor.max_concurrent_workflows", "10000")];
    let mut system = System::start(backend, &options.settings(&own));
    let port = system.agent_process("slots", &["--delay-ms", CALL_MS]);
    for slot in 0..SLOTS {
        system.register(&format!("slot-{slot}"), &format!("http://127.0.0.1:{port}/{slot}"), "noop", 1);
    }
    system.define(&chain::definition("w10", 10));
    system.warm("w10");
    let mut rows = Vec::new();
    for running in [100, 1000] {
        tell(&format!("{running} executions for {SLOTS} agent slots on {}", backend.name()));
        let job = Job {
            count: Some(running),
            warm_up_ms: 0,
            ..chain::job(options, &system, "w10", running as usize)
        };
        let measured = measure::load(&system, &job);
        let load = format!("{running} of W10 at once, {SLOTS} agents of one slot, calls of {CALL_MS} ms");
        let share = measured.outcome.done as f64 / running as f64 * 100.0;
        let mut row = Row::new("TARGET", backend, &load, "% completed (target 100)")
            .of_loads(std::slice::from_ref(&measured));
        row.runs = vec![share];
        rows.push(row);
    }
    rows.push(coming_and_going(options, &mut system, port));
    drop(system);
    rows.push(overload(options, backend));
    rows
}

/// Many times more starts than are taken: what is taken completes in bounded time, the rest is told to come again.
fn overload(options: &Run, backend: Backend) -> Row {
    tell(&format!("overload on {}", backend.name()));
    let own = [("executor.max_concurrent_workflows", "32"), ("executor.start_queue_max", "64")];
    let mut system = System::start(backend, &options.settings(&own));
    system.agent("noop", &["--delay-ms", CALL_MS]);
    system.define(&chain::definition("w1", 1));
    system.warm("w1");
    let measured = measure::load(&system, &chain::job(options, &system, "w1", 512));
    let outcome = &measured.outcome;
    let other: u64 = outcome.refused.iter().filter(|(status, _)| **status != 429).map(|(_, n)| n).sum();
    let all = outcome.done + outcome.refused.values().sum::<u64>();
    let load = format!(
        "512 clients for 32 running and 64 queued: {:.0}/s completed, {} told 429",
        measured.rate(),
        outcome.refused.get(&429).copied().unwrap_or(0)
    );
    let share = (all - other) as f64 / all.max(1) as f64 * 100.0;
    let mut row = super::row(backend, &load, "% completed or 429 (target 100)", share);
    (row.p50_ms, row.p99_ms) = (Some(outcome.latency.p50_ms), Some(outcome.latency.p99_ms));
    row.refused = other;
    row
}

/// Every fifth of a second an agent joins, and one leaves.
fn coming_and_going(options: &Run, system: &mut System, port: u16) -> Row {
    tell(&format!("agents that come and go on {}", system.backend.name()));
    let time = Duration::from_millis(options.measure_ms() * 2);
    let job = Job {
        warm_up_ms: 0,
        measure_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        ..chain::job(options, system, "w10", 64)
    };
    let loading = Loading::start(&job);
    let began = Instant::now();
    let mut changes = 0;
    while began.elapsed() < time {
        let n = changes / 2;
        match changes % 2 {
            0 => system.register(&format!("guest-{n}"), &format!("http://127.0.0.1:{port}/g{n}"), "noop", 4),
            // Drained: calls that run end first.
            _ => _ = system.delete(&format!("/agents/guest-{n}")),
        }
        changes += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    let outcome = loading.finish();
    let refused: u64 = outcome.refused.values().sum();
    let load = format!(
        "W10 at 64 in flight, {changes} times an agent joins or leaves, p99 {:.0} ms",
        outcome.latency.p99_ms
    );
    let share = outcome.done as f64 / (outcome.done + refused).max(1) as f64 * 100.0;
    let mut row = super::row(system.backend, &load, "% completed (target 100)", share);
    row.refused = refused;
    row.note = outcome.sample;
    row
}
