//! `orchestra develop`: the shipped development pipeline as one command.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use api::client::{CompleteWorkflow, Developed, ExecutionStatus};

use super::{Context, Done, INTERRUPTED};
use crate::{
    exit::{Exit, Failure},
    files, follow,
    out::Out,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra develop examples/development/requirements.md
  orchestra develop requirements.md --project ./textkit --target ./deployed --follow
  orchestra develop requirements.md --detach
  cat requirements.md | orchestra develop - -o json

It runs the workflow `development_pipeline`; when none is stored, the shipped one (examples/development) is stored first.
Its stages are done by agents, for example developer-agent (with --registry, so that it knows whom to give work).
Without --detach the exit code is 0 when a release passed its check, and 1 when it did not: it is rolled back then.";

/// Arguments of `develop`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File with the requirements, Markdown; `-` is standard input.
    #[arg(value_name = "FILE")]
    requirements: String,
    /// What it is written in; without it the pipeline's own.
    #[arg(long)]
    technology: Option<String>,
    /// Folder of the project that is changed (a copy of it), where the agents run; without it a new one.
    #[arg(long, value_name = "FOLDER")]
    project: Option<PathBuf>,
    /// Folder that releases are put into, where the agents run; without it the agents' own.
    #[arg(long, value_name = "FOLDER")]
    target: Option<PathBuf>,
    /// Shows the tasks live.
    #[arg(long, short)]
    follow: bool,
    /// Prints the execution's id and leaves.
    #[arg(long, conflicts_with = "follow")]
    detach: bool,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Done {
    let out = &context.out;
    let wanted = CompleteWorkflow {
        requirements: files::read(&args.requirements)?,
        technology: args.technology.clone(),
        project: args.project.as_deref().map(absolute).transpose()?,
        target: args.target.as_deref().map(absolute).transpose()?,
    };
    let client = context.globals.server.connect().await?;
    let started = client.start_complete_workflow(&wanted).await?;
    let id = &started.execution_id;
    if args.detach {
        out.result(&started, |out| {
            out.line(id);
            out.note(format_args!("follow it: orchestra executions watch {id}"));
        });
        return Ok(ExitCode::SUCCESS);
    }
    let execution = if args.follow && !out.is_for_programs() {
        follow::follow(&client, id, out).await?
    } else {
        out.note(format_args!("execution {id}"));
        client.wait(id, None).await?
    };
    if !execution.status.is_final() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let done = Developed::of(&execution);
    out.result(&done, |out| show(out, &done));
    if done.status == ExecutionStatus::Completed && done.passed {
        return Ok(ExitCode::SUCCESS);
    }
    if !out.is_for_programs() {
        follow::print_causes(out, &execution);
    }
    Err(Failure::silent(Exit::Failed))
}

/// Agents run elsewhere: a path from here says nothing there.
fn absolute(path: &Path) -> Result<String, Failure> {
    let whole = std::path::absolute(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    let text = whole.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::usage(format!("{}: is not UTF-8 text", path.display())))
}

fn show(out: &Out, done: &Developed) {
    let count = |value: &serde_json::Value, key: &str| value[key].as_array().map_or(0, Vec::len);
    out.line(format_args!("{}  {}", done.execution_id, out.state(done.status.as_str())));
    let met = done.validation["criteria"].as_array().into_iter().flatten();
    let met = met.filter(|criterion| criterion["met"] == true).count();
    for (stage, said) in [
        (
            "analysis",
            format!("{} requirements, about {} h", count(&done.analysis, "requirements"), done.hours),
        ),
        ("planning", format!("{} tasks", count(&done.plan, "tasks"))),
        ("coding", format!("{} changes", done.changes.len())),
        (
            "validation",
            format!(
                "{}, quality {}, {met} of {} criteria met",
                if done.passed { "passed" } else { "not passed" },
                done.score,
                count(&done.validation, "criteria")
            ),
        ),
        (
            "deployment",
            match (&done.release, done.deployment["target"].as_str()) {
                (Some(release), Some(target)) => format!("release {release} in {target}"),
                (Some(release), None) => format!("release {release}"),
                (None, _) => "no release".to_owned(),
            },
        ),
    ] {
        out.line(format_args!("  {stage:<12}{said}"));
    }
    if !done.report.is_empty() {
        out.line("");
        out.line(done.report.trim_end());
    }
}
