//! F1000: one task, then a thousand in parallel, then a join.

use std::fmt::Write as _;

use crate::{
    load::Job,
    measure,
    options::Run,
    report::Row,
    system::System,
    work::{chain, tell},
};

/// A first task, `width` tasks that wait for it, and one that waits for all of those.
pub(super) fn definition(name: &str, width: usize) -> String {
    let mut yaml = format!("name: {name}\nversion: \"1\"\ntasks:\n  - {{id: first, capability: noop}}\n");
    for task in 0..width {
        let _ = writeln!(yaml, "  - {{id: t{task}, capability: noop, depends_on: [first]}}");
    }
    let all: Vec<_> = (0..width).map(|task| format!("t{task}")).collect();
    let _ = writeln!(yaml, "  - {{id: last, capability: noop, depends_on: [{}]}}", all.join(", "));
    yaml
}

pub(super) fn run(options: &Run, system: &System, width: usize) -> Row {
    let name = format!("f{width}");
    tell(&format!("F{width} on {}", system.backend.name()));
    system.define(&definition(&name, width));
    let once = Job { count: Some(1), warm_up_ms: 0, ..chain::job(options, system, &name, 1) };
    // The first one compiles the plan and opens the connections.
    measure::load(system, &once);
    let all: Vec<_> = (0..options.runs).map(|_| measure::load(system, &once)).collect();
    let mut row = Row::new(&name.to_uppercase(), system.backend, "1 at a time", "ms").of_loads(&all);
    row.runs = all.iter().map(|m| m.outcome.latency.max_ms).collect();
    (row.p50_ms, row.p95_ms, row.p99_ms, row.p999_ms) = (None, None, None, None);
    row.tasks = width + 2;
    row
}
