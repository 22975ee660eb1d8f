//! STATUS: how long a look at an execution takes while W10 runs at 64.

use std::fs;

use crate::{
    load::Job,
    measure::{self, Loading},
    options::Run,
    report::Row,
    system::System,
    work::{chain, tell},
};

/// Looks per second.
const RATE: f64 = 200.0;
const LOOKED_AT: usize = 200;

/// `system` knows `w10` already.
pub(super) fn run(options: &Run, system: &System) -> Vec<Row> {
    tell(&format!("STATUS on {}", system.backend.name()));
    system.define("name: waits\nversion: \"1\"\ntasks:\n  - {id: go, wait: {signal: go}}\n");
    let ids = system.folder().join("looked-at");
    // Half of them wait, half have ended.
    let mut paths = String::new();
    for (workflow, wait, status) in [("waits", "", 202), ("w10", "?wait=60s", 200)] {
        let start = Job {
            path: format!("/api/v1/workflows/{workflow}/execute{wait}"),
            status,
            contains: String::new(),
            count: Some(LOOKED_AT as u64 / 2),
            warm_up_ms: 0,
            keep_ids: Some(ids.clone()),
            ..chain::job(options, system, workflow, 16)
        };
        measure::load(system, &start);
        let kept = fs::read_to_string(&ids).unwrap_or_default();
        kept.lines().for_each(|id| paths.push_str(&format!("/api/v1/executions/{id}\n")));
    }
    let file = system.folder().join("looks");
    fs::write(&file, paths).expect("a file can be written");
    let look = Job {
        method: "GET".into(),
        paths: Some(file),
        body: String::new(),
        per_second: RATE,
        contains: String::new(),
        ..chain::job(options, system, "w10", 16)
    };
    let list = Job {
        paths: None,
        path: "/api/v1/executions?status=completed&page_size=50".into(),
        per_second: 20.0,
        ..look.clone()
    };
    let mut rows = Vec::new();
    for (what, job) in [("one execution", look), ("list of 50", list)] {
        let all: Vec<_> = (0..options.runs)
            .map(|_| {
                let long = (options.warm_up_ms() + options.measure_ms()) * 2;
                let behind =
                    Job { warm_up_ms: 0, measure_ms: long, ..chain::job(options, system, "w10", 64) };
                let loading = Loading::start(&behind);
                let measured = measure::load(system, &job);
                loading.stop();
                measured
            })
            .collect();
        let load = format!("{what}, open {}/s, W10 at 64", job.per_second);
        let mut row = Row::new("STATUS", system.backend, &load, "p95 ms").of_loads(&all);
        row.runs = all.iter().map(|m| m.outcome.latency.p95_ms).collect();
        // The processes did the work of W10 meanwhile.
        row.cpu_us.clear();
        rows.push(row);
    }
    rows
}
