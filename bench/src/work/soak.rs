//! The soak: ten thousand agents with heartbeats, a mixed load of a thousand executions at a time, calls that fail and
//! agents that are killed. Memory has to stay flat, nothing may queue without bound, and executions have to complete.

use std::time::{Duration, Instant};

use crate::{
    load::{Job, Outcome},
    measure::Loading,
    options::Run,
    report::{Line, Row, median},
    system::{Backend, System},
    work::{chain, curves, fan, tell},
};

const PROCESSES: usize = 4;
const LOOK_EVERY: Duration = Duration::from_secs(2);
const KILL_EVERY: Duration = Duration::from_secs(15);
const FAIL: &str = "0.05";

pub(super) fn run(options: &Run, backend: Backend) -> (Vec<Row>, Vec<Line>) {
    let own = [("retry.max_attempts", "6"), ("retry.base_delay", "50ms"), ("retry.max_delay", "2s")];
    let mut system = System::start(backend, &options.settings(&own));
    let arguments = ["--fail", FAIL, "--delay-ms", "5"];
    let ports: Vec<u16> =
        (0..PROCESSES).map(|n| system.agent_process(&format!("agents-{n}"), &arguments)).collect();
    let each = options.soak_agents / PROCESSES;
    tell(&format!("soak on {}: {} agents register", backend.name(), each * PROCESSES));
    for (n, port) in ports.iter().enumerate() {
        curves::register_many(options, &system, *port, n * each, (n + 1) * each);
    }
    system.define(&chain::definition("w1", 1));
    system.define(&chain::definition("w10", 10));
    system.define(&fan::definition("f20", 20));
    system.warm("w1");

    let time = Duration::from_secs_f64(options.soak_seconds);
    tell(&format!("soak on {} for {} s", backend.name(), time.as_secs()));
    let in_flight = options.soak_in_flight;
    let mixed = [("w1", in_flight / 2), ("w10", in_flight * 3 / 10), ("f20", in_flight / 5)];
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let beat = Job {
        path: "/api/v1/agents/bench-{m}/heartbeat".into(),
        body: r#"{"status":"healthy"}"#.into(),
        modulus: (each * PROCESSES) as u64,
        per_second: (each * PROCESSES) as f64 / 30.0,
        measure_ms: millis,
        warm_up_ms: 0,
        contains: String::new(),
        ..chain::job(options, &system, "w1", 8)
    };
    let beats = Loading::start(&beat);
    let loads = mixed.map(|(name, in_flight)| {
        let job =
            Job { measure_ms: millis, warm_up_ms: 0, ..chain::job(options, &system, name, in_flight.max(1)) };
        (name, Loading::start(&job))
    });
    let seen = watch(&mut system, &arguments, time);
    let outcomes: Vec<(&str, Outcome)> = loads.into_iter().map(|(name, l)| (name, l.finish())).collect();
    let beats = beats.finish();
    report(&system, &outcomes, &beats, &seen, time)
}

#[derive(Default)]
struct Seen {
    /// Seconds → MiB of the engine.
    memory: Vec<(f64, f64)>,
    queued_most: f64,
    waiting_most: f64,
    kills: usize,
}

fn watch(system: &mut System, arguments: &[&str], time: Duration) -> Seen {
    let began = Instant::now();
    let (mut seen, mut next_kill) = (Seen::default(), KILL_EVERY / 2);
    while began.elapsed() < time {
        let engine = |name: &str| !["agents", "postgres", "redis"].contains(&name);
        let mib = system.usage().iter().filter(|(n, _)| engine(n)).map(|(_, u)| u.rss_mib).sum();
        seen.memory.push((began.elapsed().as_secs_f64(), mib));
        let capacity = system.capacity();
        let of = |key: &str| capacity[key].as_f64().unwrap_or(0.0);
        seen.queued_most = seen.queued_most.max(of("queued"));
        seen.waiting_most = seen.waiting_most.max(of("calls_waiting"));
        if began.elapsed() > next_kill {
            system.restart_agent(&format!("agents-{}", seen.kills % PROCESSES), arguments);
            seen.kills += 1;
            next_kill += KILL_EVERY;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    seen
}

fn report(
    system: &System,
    outcomes: &[(&str, Outcome)],
    beats: &Outcome,
    seen: &Seen,
    time: Duration,
) -> (Vec<Row>, Vec<Line>) {
    let backend = system.backend;
    let done: u64 = outcomes.iter().map(|(_, o)| o.done).sum();
    let not: u64 = outcomes.iter().map(|(_, o)| o.refused.values().sum::<u64>()).sum();
    let load = format!("{} s, 5 % of calls fail, {} agent processes killed", time.as_secs(), seen.kills);
    let row = |unit: &str, value: f64| Row { runs: vec![value], ..Row::new("SOAK", backend, &load, unit) };
    let mut completed =
        row("% of executions completed (target 99.9)", done as f64 / (done + not).max(1) as f64 * 100.0);
    completed.refused = not;
    completed.note = outcomes.iter().map(|(_, o)| o.sample.as_str()).collect::<Vec<_>>().join(" ");
    // The second quarter against the last: the first one fills caches.
    let quarter = seen.memory.len() / 4;
    let part = |from: usize, to: usize| median(seen.memory[from..to].iter().map(|(_, mib)| *mib));
    let growth = match quarter {
        0 => 0.0,
        q => part(3 * q, seen.memory.len()) / part(q, 2 * q).max(1.0),
    };
    let mut rows = vec![
        completed,
        row("executions/s", done as f64 / time.as_secs_f64()),
        row("memory, last quarter over second", growth),
        row("executions queued, most", seen.queued_most),
        row("calls waiting for an agent, most", seen.waiting_most),
        row("heartbeats/s", beats.done as f64 / beats.seconds.max(0.001)),
    ];
    for (name, outcome) in outcomes {
        let mut row = row(&format!("{name} executions/s"), outcome.done as f64 / outcome.seconds.max(0.001));
        (row.p50_ms, row.p99_ms) = (Some(outcome.latency.p50_ms), Some(outcome.latency.p99_ms));
        rows.push(row);
    }
    let line = Line {
        plot: "Soak: MiB of the engine against seconds".into(),
        name: backend.name().into(),
        points: seen.memory.clone(),
    };
    (rows, vec![line])
}
