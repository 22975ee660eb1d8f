//! `orchestra run`: start an execution, and follow or await it.

use std::{process::ExitCode, time::Duration};

use api::client::{Client, Execution, ExecutionStatus, Source, Start};
use base::time::{BareUnit, parse_duration};

use super::{Context, Done, validate};
use crate::{
    exit::{Exit, Failure},
    files, follow,
    input::InputArgs,
    out::Out,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra run research.yaml --input '{\"question\": \"Why?\"}' --follow
  orchestra run research.yaml --set question='Why?' --set folder=./docs --wait
  orchestra run multi_agent_research@1.0 --input-file input.json --wait 30s -o json
  orchestra run nightly --key \"$(date +%F)\"      one execution a day, however often this runs

Without --follow or --wait it prints the execution's id and leaves. With them the exit code is 0 when the execution
completed, 1 when it did not, 6 when the waiting time passed (the execution goes on).";

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Definition file, or a stored workflow: name, name@version or UUID.
    #[arg(value_name = "FILE|WORKFLOW")]
    what: String,
    #[command(flatten)]
    input: InputArgs,
    /// Shows the tasks live, then the output and a summary.
    #[arg(long, short)]
    follow: bool,
    /// Waits for the end, at most so long; without a time for as long as it takes.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "max", value_parser = wait_time)]
    wait: Option<Duration>,
    /// Your own key: a second start with the same key and input finds the first execution.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Higher runs first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// Timeout of the whole execution, in place of the workflow's.
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
    /// Session that it belongs to: it sees and continues the session's variables and conversation.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Ties it to other work of yours: `orchestra executions list --correlation-id` finds it.
    #[arg(long)]
    correlation_id: Option<String>,
}

pub(crate) fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text, BareUnit::Seconds).map_err(|e| e.to_string())
}

fn wait_time(text: &str) -> Result<Duration, String> {
    if text == "max" { Ok(Duration::MAX) } else { time(text) }
}

pub(crate) async fn run(context: &Context, args: &Args) -> Done {
    let out = &context.out;
    let input = args.input.read()?;
    let (reference, client) = reference(context, &args.what).await?;
    let mut start = Start::workflow(reference).input(&input).priority(args.priority);
    if let Some(timeout) = args.timeout {
        start = start.timeout(timeout);
    }
    if let Some(key) = &args.key {
        start = start.key(key);
    }
    if let Some(session) = &args.session {
        start = start.session(session);
    }
    if let Some(id) = &args.correlation_id {
        start = start.correlation_id(id);
    }
    let started = client.start(&start).await?;
    let id = started.execution_id.clone();
    if args.follow {
        if started.existing {
            out.note("an execution with this key exists already; this is it");
        }
        return ended(out, follow::follow(&client, &id, out).await?);
    }
    let Some(wait) = args.wait else {
        out.result(&started, |out| {
            out.line(&id);
            out.note(format_args!("follow it: orchestra executions watch {id}"));
        });
        return Ok(ExitCode::SUCCESS);
    };
    let limit = Some(wait).filter(|wait| *wait != Duration::MAX);
    let execution = client.wait(&id, limit).await.map_err(|fault| {
        Failure::from(fault).remedy(format!("it goes on; follow it: orchestra executions watch {id}"))
    })?;
    out.result(&execution, |out| follow::print_end(out, &execution));
    ended(out, execution)
}

/// Stores the definition when it is a file; what to start, and the connection.
async fn reference(context: &Context, what: &str) -> Result<(String, Client), Failure> {
    if !files::is_file(what) {
        return Ok((what.to_owned(), context.globals.server.connect().await?));
    }
    let source = files::read(what)?;
    // Before a server is asked: findings point at the lines of the file.
    validate::before_sending(&context.out, what, &source)?;
    let client = context.globals.server.connect().await?;
    let defined = client.define(&Source::any(&source).named(what)).await.map_err(|fault| {
        let taken = fault.code == base::ErrorCode::AlreadyExists;
        let failure = Failure::from(fault);
        if taken {
            failure.remedy("a version never changes: give the file another `version:`")
        } else {
            failure
        }
    })?;
    validate::after_storing(&context.out, what, &source, &defined.findings);
    Ok((defined.workflow.reference(), client))
}

/// The exit code of an execution that ended, and why it failed.
pub(super) fn ended(out: &Out, execution: Execution) -> Done {
    if execution.status == ExecutionStatus::Completed {
        return Ok(ExitCode::SUCCESS);
    }
    if !execution.status.is_final() {
        return Ok(ExitCode::from(super::INTERRUPTED));
    }
    if !out.is_for_programs() {
        follow::print_causes(out, &execution);
    }
    Err(Failure::silent(Exit::Failed))
}
