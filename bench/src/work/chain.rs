//! W1 and W10: one and ten calls of a no-op agent in sequence, started by a client that waits for the result.

use std::fmt::Write as _;

use crate::{
    load::Job,
    measure,
    options::{Run, Work},
    report::Row,
    system::System,
    work::tell,
};

/// `n` tasks, each after the one before it.
pub(super) fn definition(name: &str, n: usize) -> String {
    let mut yaml = format!("name: {name}\nversion: \"1\"\ntype: sequential\ntasks:\n");
    for task in 0..n {
        let _ = writeln!(yaml, "  - {{id: t{task}, capability: noop}}");
    }
    yaml
}

/// A closed load of executions that are waited for.
pub(super) fn job(options: &Run, system: &System, workflow: &str, in_flight: usize) -> Job {
    Job {
        address: format!("127.0.0.1:{}", system.http),
        method: "POST".into(),
        path: format!("/api/v1/workflows/{workflow}/execute?wait=60s"),
        paths: None,
        body: r#"{"input":{}}"#.into(),
        first: 0,
        modulus: 0,
        in_flight,
        per_second: 0.0,
        warm_up_ms: options.warm_up_ms(),
        measure_ms: options.measure_ms(),
        count: None,
        status: 200,
        contains: r#""status":"completed""#.into(),
        keep_ids: None,
    }
}

/// `system` has an agent.
pub(super) fn run(options: &Run, system: &System) -> Vec<Row> {
    let mut rows = Vec::new();
    for (work, name, tasks) in [(Work::W1, "w1", 1), (Work::W10, "w10", 10)] {
        if !options.wants(work) {
            continue;
        }
        system.define(&definition(name, tasks));
        system.warm(name);
        for &in_flight in &options.in_flight {
            tell(&format!("{} on {}, {in_flight} in flight", name.to_uppercase(), system.backend.name()));
            let job = job(options, system, name, in_flight);
            let all: Vec<_> = (0..options.runs).map(|_| measure::load(system, &job)).collect();
            let load = format!("closed, {in_flight} in flight");
            let mut row =
                Row::new(&name.to_uppercase(), system.backend, &load, "executions/s").of_loads(&all);
            row.in_flight = in_flight;
            row.tasks = tasks;
            rows.push(row);
        }
    }
    rows
}
