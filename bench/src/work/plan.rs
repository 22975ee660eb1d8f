//! PLAN: parse, validate and compile a definition, in a process of its own so that its memory is its own.

use std::{fmt::Write as _, process::Command, time::Instant};

use language::Options;

use crate::{options::Run, report::Row, system::Backend, usage, work::tell};

/// What the process is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Tasks; each waits for up to three before it.
    #[arg(long)]
    tasks: usize,
    /// yaml or json.
    #[arg(long)]
    format: String,
}

/// Writes the milliseconds of the fastest of three, and the peak of memory in MiB.
pub(crate) fn main(args: &Args) {
    let text = if args.format == "json" { json(args.tasks) } else { yaml(args.tasks) };
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let began = Instant::now();
        let outcome = language::compile(&text, &Options::default());
        let took = began.elapsed().as_secs_f64() * 1000.0;
        assert!(outcome.compiled.is_some(), "{:?}", outcome.findings);
        best = best.min(took);
    }
    println!("{best} {}", usage::of(std::process::id()).peak_mib);
}

fn before(task: usize) -> impl Iterator<Item = String> {
    [1, 7, 31].into_iter().filter(move |d| *d <= task).map(move |d| format!("t{}", task - d))
}

fn yaml(n: usize) -> String {
    let mut out =
        "name: large\nversion: \"1\"\nagents:\n  worker: {capabilities: [work]}\ntasks:\n".to_owned();
    for task in 0..n {
        let before: Vec<_> = before(task).collect();
        let _ = writeln!(
            out,
            "  - id: t{task}\n    agent: worker\n    depends_on: [{}]\n    timeout: 30s",
            before.join(", ")
        );
    }
    out
}

fn json(n: usize) -> String {
    let task = |task: usize| {
        let before: Vec<_> = before(task).map(|id| format!("\"{id}\"")).collect();
        format!(
            "{{\"id\":\"t{task}\",\"agent\":\"worker\",\"depends_on\":[{}],\"timeout\":\"30s\"}}",
            before.join(",")
        )
    };
    let tasks: Vec<_> = (0..n).map(task).collect();
    format!(
        "{{\"name\":\"large\",\"version\":\"1\",\"agents\":{{\"worker\":{{\"capabilities\":[\"work\"]}}}},\"tasks\":[{}]}}",
        tasks.join(",\n")
    )
}

pub(super) fn run(options: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    for &tasks in &options.plan_tasks {
        for format in ["json", "yaml"] {
            tell(&format!("PLAN: {tasks} tasks of {format}"));
            let own = std::env::current_exe().expect("a process knows its program");
            let ask = |_| {
                let output = Command::new(&own)
                    .args(["plan", "--tasks", &tasks.to_string(), "--format", format])
                    .output()
                    .expect("an own program can be started");
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let mut numbers = text.split_whitespace().filter_map(|n| n.parse::<f64>().ok());
                (numbers.next().unwrap_or(f64::NAN), numbers.next().unwrap_or(f64::NAN))
            };
            let all: Vec<_> = (0..options.runs).map(ask).collect();
            let mut row = Row::new("PLAN", Backend::Embedded, &format!("{tasks} tasks, {format}"), "ms");
            (row.backend, row.durability) = ("no server".into(), String::new());
            row.runs = all.iter().map(|(ms, _)| *ms).collect();
            row.peak_mib.insert("compiler".into(), all.iter().map(|(_, mib)| *mib).fold(0.0, f64::max));
            row.in_flight = tasks;
            rows.push(row);
        }
    }
    rows
}
