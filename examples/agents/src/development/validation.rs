//! Stage 5: does it build, do its tests pass, is every criterion covered, would a reviewer take it.

use std::{path::Path, process::Command};

use agent::Failure;
use serde_json::{Value, json};

use super::{Job, Shop, code, read, requirements::Requirement, review, tools, with_report, workspace};

/// `{passed, score, checks, criteria, report}`; `score` is the share of checks and criteria that hold, 0 to 100. What does
/// not hold is said in the answer: judging is what was asked, so it is no failure of the call.
///
/// # Errors
/// When the tools cannot be started or take too long.
pub fn validate(shop: &Shop, job: &Job, input: &Value) -> Result<Value, Failure> {
    let root = workspace::given(shop, input)?;
    let requirements: Vec<Requirement> = read(input, "requirements")?;
    (job.tell)(0.1, "building and testing");
    let built = cargo(shop, &root, &["test", "--quiet"])?;
    let tests = cargo(shop, &root, &["test", "--lib", "--", "--list"])?;
    (job.tell)(0.8, "reading");
    let reviewed = review::review(shop, job, input)?;
    let checks = [
        ("builds and its tests pass", built.ok, tools::tail(&format!("{}\n{}", built.err, built.out), 15)),
        ("a reviewer approves", reviewed["approved"] == true, reviewed["findings"].to_string()),
        (
            "every requirement has its function",
            missing(&root, &requirements)?.is_empty(),
            missing(&root, &requirements)?,
        ),
    ];
    let criteria: Vec<(String, bool)> = requirements
        .iter()
        .flat_map(|r| r.criteria.iter().map(move |c| (r, c)))
        .map(|(r, c)| {
            let test = format!("{}::tests::{}", r.function, c.id.to_lowercase().replace('.', "_"));
            (c.id.clone(), built.ok && tests.out.contains(&test))
        })
        .collect();
    let held = checks.iter().filter(|c| c.1).count() + criteria.iter().filter(|c| c.1).count();
    let all = checks.len() + criteria.len();
    let report = document(&checks, &criteria);
    let out = json!({
        "passed": held == all, "score": held * 100 / all.max(1), "workspace": root.to_string_lossy(),
        "checks": checks.iter().map(|(name, ok, words)| {
            json!({"name": name, "passed": ok, "details": if *ok { "" } else { words.as_str() }})
        }).collect::<Vec<_>>(),
        "criteria": criteria.iter().map(|(id, ok)| json!({"id": id, "met": ok})).collect::<Vec<_>>(),
        "seconds": built.took.as_secs_f64(),
    });
    Ok(with_report(out, report))
}

fn missing(root: &Path, requirements: &[Requirement]) -> Result<String, Failure> {
    let there = code::functions(&root.join("src"))?;
    let missing: Vec<&str> =
        requirements.iter().map(|r| r.function.as_str()).filter(|f| !there.contains(*f)).collect();
    Ok(missing.join(", "))
}

/// `cargo` in the workspace: without a network, and with a target folder of its own.
pub fn cargo(shop: &Shop, root: &Path, args: &[&str]) -> Result<tools::Outcome, Failure> {
    let mut command = Command::new("cargo");
    command.args(args).arg("--offline").current_dir(root);
    // Arguments after `--` are the test program's.
    if let Some(split) = args.iter().position(|a| *a == "--") {
        command = Command::new("cargo");
        command.args(&args[..split]).arg("--offline").args(&args[split..]).current_dir(root);
    }
    command.env("CARGO_TARGET_DIR", root.join("target")).env_remove("RUSTFLAGS");
    tools::run(&mut command, "", shop.tool_limit)
}

fn document(checks: &[(&str, bool, String)], criteria: &[(String, bool)]) -> String {
    let mark = |ok: bool| if ok { "yes" } else { "NO" };
    let mut out = "# Quality\n\n| check | holds |\n|---|---|\n".to_owned();
    for (name, ok, _) in checks {
        out += &format!("| {name} | {} |\n", mark(*ok));
    }
    for (id, ok) in criteria {
        out += &format!("| criterion {id} | {} |\n", mark(*ok));
    }
    out
}
