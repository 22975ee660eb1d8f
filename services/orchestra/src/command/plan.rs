//! `orchestra plan`: what a definition will do.

use std::process::ExitCode;

use api::client::{Explained, Source};
use serde_json::Value;

use super::{Context, Done, validate};
use crate::{
    files,
    out::{Out, duration},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra plan research.yaml             from the text alone, no server needed
  orchestra plan research.yaml --fleet     with the candidate agents of the server
  orchestra plan multi_agent_research@1.0  a stored workflow
  orchestra plan research.yaml -o json";

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Definition file, or a stored workflow: name, name@version or UUID.
    #[arg(value_name = "FILE|WORKFLOW")]
    what: String,
    /// Asks the server which agents could do the tasks of a file. Always so for a stored workflow.
    #[arg(long)]
    fleet: bool,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Done {
    let out = &context.out;
    let explained = if files::is_file(&args.what) {
        let source = files::read(&args.what)?;
        if args.fleet {
            validate::before_sending(out, &args.what, &source)?;
            let client = context.globals.server.connect().await?;
            let explained = client.explain_source(&Source::any(&source).named(&args.what)).await?;
            out.findings(&language::render(&explained.findings, &args.what, &source));
            explained
        } else {
            let compiled = validate::alone(out, &args.what, &source)?;
            Explained { plan: language::explain(&compiled.plan, None), findings: Vec::new() }
        }
    } else {
        context.globals.server.connect().await?.explain(&args.what).await?
    };
    out.result(&explained, |out| show(out, &explained.plan));
    Ok(ExitCode::SUCCESS)
}

fn show(out: &Out, plan: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let workflow = &plan["workflow"];
    let name = format!("{}@{}", text(&workflow["name"]), text(&workflow["version"]));
    let levels = plan["levels"].as_array().map_or(0, Vec::len);
    let tasks = plan["tasks"].as_array().cloned().unwrap_or_default();
    out.line(format_args!("{}: {} tasks on {levels} levels", out.bold(&name), tasks.len()));
    out.line(format_args!("critical path  {}", list(&plan["critical_path"], " → ")));
    out.line(format_args!("duration       {}", estimate(plan)));
    out.line(format_args!("resources      {}", resources(&plan["estimated_resources"])));
    if let Some(cost) = plan["estimated_cost"].as_f64() {
        out.line(format_args!("cost           {cost}"));
    }
    out.line("");
    let fleet = tasks.iter().any(|task| task.get("candidates").is_some());
    let mut headers = vec!["level", "task", "after", "asks for", "runs"];
    if fleet {
        headers.extend(["agent", "cost", "slack", "candidates"]);
    }
    let rows = tasks.iter().map(|task| {
        let mut row = vec![
            task["level"].to_string(),
            text(&task["id"]),
            list(&task["depends_on"], ", "),
            match task["kind"].as_str() {
                None | Some("call") => need(&task["need"]),
                Some(kind) => kind.replace('_', "-"),
            },
            spread(task),
        ];
        if fleet {
            row.extend(allocation(&task["allocation"]));
            row.push(candidates(task));
        }
        row
    });
    out.table(&headers, rows.collect(), "no tasks");
}

fn list(value: &Value, between: &str) -> String {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(between)
}

fn estimate(plan: &Value) -> String {
    let known = plan["estimated_duration_ms"].as_u64().unwrap_or(0);
    match plan["unknown_durations"].as_u64().unwrap_or(0) {
        0 => format!("about {}", duration(known)),
        n if known == 0 => format!("not known: {n} tasks say nothing about it"),
        n => format!("at least {}; {n} tasks say nothing about it", duration(known)),
    }
}

fn resources(value: &Value) -> String {
    let number = |key: &str| value[key].as_u64().unwrap_or(0);
    let mut parts = Vec::new();
    if number("cpu_millis") > 0 {
        parts.push(format!("{} CPUs", number("cpu_millis") as f64 / 1000.0));
    }
    if number("memory_bytes") > 0 {
        parts.push(format!("{:.1} GB memory", number("memory_bytes") as f64 / f64::from(1 << 30)));
    }
    if number("network_mbps") > 0 {
        parts.push(format!("{} Mbit/s", number("network_mbps")));
    }
    parts.push(format!("{} agents", number("agents")));
    parts.join(", ")
}

fn need(need: &Value) -> String {
    let part = |key: &str, what: &str| need[key].as_str().map(|text| format!("{what}{text}"));
    let parts: Vec<String> =
        [part("agent", "agent "), part("role", "role "), part("capability", "capability ")]
            .into_iter()
            .flatten()
            .collect();
    if parts.is_empty() { "any agent".to_owned() } else { parts.join(", ") }
}

fn spread(task: &Value) -> String {
    let mut text = match &task["spread"] {
        Value::Object(map) => match map.iter().next() {
            Some((kind, how)) => {
                let width = how["width"].as_u64().or_else(|| how["count"].as_u64());
                let width = width.map_or_else(String::new, |n| format!(" ×{n}"));
                format!("{}{width}", kind.to_lowercase().replace('_', " "))
            }
            None => "once".to_owned(),
        },
        _ => "once".to_owned(),
    };
    if let Some(when) = task["when"].as_str() {
        text.push_str(&format!(" when {when}"));
    }
    text
}

/// The agent that was chosen, what its calls cost, and how much later it could be done.
fn allocation(given: &Value) -> [String; 3] {
    let Some(agent) = given["agent_id"].as_str() else { return ["-", "-", "-"].map(str::to_owned) };
    let slack = match given["slack_ms"].as_u64().unwrap_or(0) {
        0 => "none".to_owned(),
        ms => duration(ms),
    };
    [agent.to_owned(), given["cost"].to_string(), slack]
}

fn candidates(task: &Value) -> String {
    let Some(offered) = task["candidates"].as_array() else { return "-".to_owned() };
    let names: Vec<&str> = offered.iter().filter_map(|c| c["agent_id"].as_str()).collect();
    match (names.is_empty(), task["shortage"].as_str()) {
        (true, Some(why)) => format!("none: {why}"),
        (true, None) => "none".to_owned(),
        (false, _) if names.len() > 3 => format!("{}, {} more", names[..3].join(", "), names.len() - 3),
        (false, _) => names.join(", "),
    }
}
