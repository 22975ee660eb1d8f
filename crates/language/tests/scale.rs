//! Large definitions compile within the limits that hold unless somebody sets others.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use std::fmt::Write as _;

use language::{Options, analyse, compile};

/// `n` tasks; each waits for up to three before it.
fn yaml(n: usize) -> String {
    let mut out =
        "name: large\nversion: \"1\"\nagents:\n  worker: {capabilities: [work]}\ntasks:\n".to_owned();
    for t in 0..n {
        let before: Vec<_> = [1, 7, 31].iter().filter(|d| **d <= t).map(|d| format!("t{}", t - d)).collect();
        let _ = writeln!(
            out,
            "  - id: t{t}\n    agent: worker\n    depends_on: [{}]\n    timeout: 30s",
            before.join(", ")
        );
    }
    out
}

fn json(n: usize) -> String {
    let tasks: Vec<_> = (0..n)
        .map(|t| {
            let before: Vec<_> =
                [1, 7, 31].iter().filter(|d| **d <= t).map(|d| format!("\"t{}\"", t - d)).collect();
            format!(
                "{{\"id\":\"t{t}\",\"agent\":\"worker\",\"depends_on\":[{}],\"timeout\":\"30s\"}}",
                before.join(",")
            )
        })
        .collect();
    format!(
        "{{\"name\":\"large\",\"version\":\"1\",\"agents\":{{\"worker\":{{\"capabilities\":[\"work\"]}}}},\"tasks\":[{}]}}",
        tasks.join(",\n")
    )
}

#[test]
fn ten_thousand_tasks_compile_within_the_default_limits() {
    for source in [yaml(10_000), json(10_000)] {
        let outcome = compile(&source, &Options::default());
        let plan = outcome.compiled.unwrap_or_else(|| panic!("{:?}", outcome.findings)).plan;
        assert_eq!(plan.tasks.len(), 10_000);
        let analysis = analyse(&plan, None);
        assert_eq!((analysis.depth, analysis.critical_path.len()), (10_000, 10_000));
    }
}

#[test]
fn a_hundred_thousand_tasks_are_within_the_default_limits() {
    let outcome = compile(&json(100_000), &Options::default());
    assert_eq!(outcome.compiled.unwrap().plan.tasks.len(), 100_000);
    let long = yaml(100_000);
    let limits = language::Limits::default();
    assert!(long.len() < limits.source_bytes_max && 100_000 * 10 < limits.nodes_max);
}
