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

/// What is written apart from the tasks, and many labels at one task, cost no more than their number.
#[test]
fn many_edges_at_one_task_stay_linear() {
    let n = 20_000;
    let nodes: Vec<String> = (0..n).map(|t| format!("n{t}")).collect();
    let edges: Vec<String> = nodes.iter().map(|node| format!("[{node}, last]")).collect();
    let source =
        format!("graph: {{name: g, nodes: [{}, last], edges: [{}]}}", nodes.join(", "), edges.join(", "));
    let plan = compile(&source, &Options::default()).compiled.unwrap().plan;
    assert_eq!(plan.tasks.last().unwrap().after.len(), n);
    let cases: Vec<String> =
        (0..n / 4).map(|t| format!("{{name: c{t}, when: input.x == {t}, then: [a{t}]}}")).collect();
    let tasks: Vec<String> = (0..n / 4).map(|t| format!("{{id: a{t}}}")).collect();
    let all: Vec<String> = (0..n / 4).map(|t| format!("a{t}")).collect();
    let source = format!(
        "name: w\ntasks: [{{id: s, switch: [{}]}}, {}, {{id: z, depends_on: [{}], join: any}}]",
        cases.join(", "),
        tasks.join(", "),
        all.join(", ")
    );
    let outcome = compile(&source, &Options::default());
    assert_eq!(outcome.findings, []);
    assert_eq!(outcome.compiled.unwrap().plan.tasks.len(), n / 4 + 2);
}

#[test]
fn too_many_loops_among_too_many_tasks_are_refused() {
    let n = 5_000;
    let tasks: Vec<String> = (0..n).map(|t| format!("{{id: a{t}}}")).collect();
    let loops: Vec<String> = (0..n).map(|t| format!("{{from: a{t}, to: a{t}, max: 2}}")).collect();
    let source = format!("name: w\ntasks: [{}]\nloops: [{}]", tasks.join(", "), loops.join(", "));
    assert_eq!(compile(&source, &Options::default()).findings[0].code, "limit-loops");
}
