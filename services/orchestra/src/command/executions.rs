//! `orchestra executions`.

use std::process::ExitCode;

use api::client::{Amounts, Client, CommandAnswer, Decision, Execution, ExecutionFilter, Insight, Wait};
use base::Payload;
use clap::{ArgGroup, Subcommand};

use super::{
    Context, Done, change,
    page::{PageArgs, more},
    run::ended,
    steering,
};
use crate::{
    exit::Failure,
    follow, input,
    out::{Out, duration, time},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra executions list                          active ones
  orchestra executions list --all-statuses --workflow multi_agent_research
  orchestra executions list --correlation-id order-4711
  orchestra executions list --stuck                  nothing goes on in them, and why
  orchestra executions list --stuck no_agent,breaker_open
  orchestra executions get ID                        its tasks as a tree
  orchestra executions watch ID                      live, until it ends
  orchestra executions history ID -o json
  orchestra executions pause ID; orchestra executions resume ID
  orchestra executions resolve ID TASK --retry       a call of unknown outcome
  orchestra executions input ID TASK answer.json     an agent's question
  orchestra executions query ID                      why nothing moves, and what frees it
  orchestra executions query ID --task TASK --query state    the run that a provider makes of a task
  orchestra executions signal ID release '{\"ok\": true}'
  orchestra executions vars set ID round=3; orchestra executions vars get ID
  orchestra executions step ID                       the next step of the `manual` pattern
  orchestra executions change ID better.yaml --dry-run
  orchestra executions change ID better.yaml; orchestra executions revert ID 0
  orchestra executions reset ID TASK                 it runs again, with all that follows
  orchestra executions fork ID TASK --set question='And then?'
  orchestra executions mode ID TASK --event orders";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists executions, newest first: active ones unless told otherwise.
    List(List),
    /// Shows one execution with its tasks.
    Get {
        /// UUID.
        id: String,
        /// Prints the output alone.
        #[arg(long)]
        output_only: bool,
    },
    /// Follows an execution live; the exit code is that of the execution.
    Watch {
        /// UUID.
        id: String,
    },
    /// Prints the events of an execution, oldest first.
    History {
        /// UUID.
        id: String,
        /// Events after this number.
        #[arg(long, default_value_t = 0, value_name = "SEQ")]
        after: u64,
        /// Most events; 0 = all.
        #[arg(long, default_value_t = 0, value_name = "N")]
        limit: u32,
    },
    /// Lets no new call leave; running ones finish and are recorded.
    Pause(Steer),
    /// Goes on after a pause.
    Resume(Steer),
    /// Ends an execution; its agents are told.
    Cancel(Steer),
    /// Ends an execution at once; nobody waits for its agents.
    Terminate(Steer),
    /// Ends a task whose call has an unknown outcome (needs_decision).
    #[command(group = ArgGroup::new("decision").required(true))]
    Resolve {
        /// UUID.
        id: String,
        /// The task.
        task: String,
        /// Item of a scattered task, from 0.
        #[arg(long)]
        item: Option<u32>,
        /// The call did its work; this file (JSON or YAML) is its output.
        #[arg(long, value_name = "FILE", group = "decision")]
        completed: Option<String>,
        /// It did not; the task fails with this message.
        #[arg(long, value_name = "MESSAGE", group = "decision")]
        failed: Option<String>,
        /// Call again.
        #[arg(long, group = "decision")]
        retry: bool,
    },
    /// Shows variables, what it waits for and why nothing moves, with the command that frees it; the output of a task.
    Query {
        /// UUID.
        id: String,
        /// Path of a task whose output is wanted.
        #[arg(value_name = "TASK")]
        output_of: Option<String>,
        /// Path of a task that a provider runs now: its run there is asked, and the answer printed alone.
        #[arg(long, requires = "query", conflicts_with = "output_of")]
        task: Option<String>,
        /// What the run is asked.
        #[arg(long, value_name = "NAME", requires = "task")]
        query: Option<String>,
        /// Goes with the question: JSON, or else a text.
        #[arg(long, value_name = "JSON", requires = "query")]
        arguments: Option<String>,
    },
    #[command(flatten)]
    Steering(steering::Command),
    #[command(flatten)]
    Change(change::Command),
    /// Answers a task whose agent asked for input (input_required).
    Input {
        /// UUID.
        id: String,
        /// The task.
        task: String,
        /// The answer, JSON or YAML; `-` is standard input.
        file: String,
        /// Item of a scattered task, from 0.
        #[arg(long)]
        item: Option<u32>,
    },
}

const STATUSES: [&str; 9] = [
    "planning",
    "executing",
    "paused",
    "completed",
    "failed",
    "cancelled",
    "terminated",
    "compensating",
    "compensated",
];

/// Filters of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Those with this status; may be repeated.
    #[arg(long, value_delimiter = ',', conflicts_with = "all_statuses", value_parser = STATUSES)]
    status: Vec<String>,
    /// Ended ones too.
    #[arg(long)]
    all_statuses: bool,
    /// Name, name@version or UUID of their workflow.
    #[arg(long, default_value = "", hide_default_value = true)]
    workflow: String,
    /// Given with their start: in every status unless --status says otherwise.
    #[arg(long, default_value = "", hide_default_value = true)]
    correlation_id: String,
    /// Those in which nothing goes on, with the reason; with REASON (`no_agent`, `breaker_open`, `approval`, …; several with
    /// commas) those alone.
    #[arg(long, value_name = "REASON", num_args = 0..=1, value_delimiter = ',', default_missing_value = "")]
    stuck: Option<Vec<String>>,
    #[command(flatten)]
    page: PageArgs,
}

/// An execution and why it is steered.
#[derive(Debug, clap::Args)]
pub(crate) struct Steer {
    /// UUID.
    id: String,
    /// Kept in the history.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let out = &context.out;
    let command = match command {
        Command::Steering(command) => return steering::run(context, command).await,
        Command::Change(command) => return change::run(context, command).await,
        command => command,
    };
    // Files are read before a server is asked.
    let payload = match &command {
        Command::Resolve { completed: Some(file), .. } | Command::Input { file, .. } => {
            Some(Payload::from_value(&input::read_file(file)?))
        }
        _ => None,
    };
    let client = context.globals.server.connect().await?;
    match command {
        Command::List(list) => show_list(out, &client, &list).await?,
        Command::Get { id, output_only } => show(out, &client, &id, output_only).await?,
        Command::Query { id, task: Some(task), query: Some(query), arguments, .. } => {
            let arguments = arguments.map(|text| Payload::from_value(&input::value(&text)));
            let answer = client.query_run(&id, &task, &query, arguments.as_ref()).await?;
            let value = answer.json().unwrap_or_default();
            out.result(&*value, |out| out.line(follow::readable(&answer).trim_end()));
        }
        Command::Query { id, output_of: task, .. } => {
            let seen = client.query(&id, task.as_deref()).await?;
            out.result(&seen, |out| show_insight(out, &seen, task.as_deref()));
        }
        // Done above.
        Command::Steering(_) | Command::Change(_) => {}
        Command::Watch { id } => return ended(out, follow::follow(&client, &id, out).await?),
        Command::History { id, after, limit } => history(out, &client, &id, after, limit).await?,
        Command::Pause(s) => answer(out, &client.pause(&s.id, &s.reason).await?),
        Command::Resume(s) => answer(out, &client.resume(&s.id, &s.reason).await?),
        Command::Cancel(s) => answer(out, &client.cancel(&s.id, &s.reason).await?),
        Command::Terminate(s) => answer(out, &client.terminate(&s.id, &s.reason).await?),
        Command::Resolve { id, task, item, failed, .. } => {
            let decision = match (payload, failed) {
                (Some(output), _) => Decision::Completed(output),
                (None, Some(message)) => Decision::Failed(message),
                (None, None) => Decision::Retry,
            };
            answer(out, &client.resolve(&id, &task, item, &decision).await?);
        }
        Command::Input { id, task, item, .. } => {
            let given = payload.unwrap_or_else(Payload::null);
            answer(out, &client.answer(&id, &task, item, &given).await?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// An execution, and why it makes no progress by itself.
async fn show(out: &Out, client: &Client, id: &str, output_only: bool) -> Result<(), Failure> {
    let execution = client.execution(id).await?;
    if output_only {
        follow::print_output(out, &execution);
        return Ok(());
    }
    let seen = if execution.status.is_final() { None } else { Some(client.query(id, None).await?) };
    out.result(&execution, |out| {
        follow::print_whole(out, &execution);
        if let Some(seen) = seen.as_ref().filter(|seen| !seen.stuck.is_empty()) {
            out.line("");
            follow::print_stuck(out, seen);
        }
    });
    Ok(())
}

fn show_insight(out: &Out, seen: &Insight, task: Option<&str>) {
    out.line(format_args!("{}  {}", seen.execution_id, out.state(seen.status.as_str())));
    let amounts =
        |a: &Amounts| format!("{} calls, {} tokens, {} money", a.calls, a.tokens, money(a.money_micros));
    out.line(format_args!("  spent     {}", amounts(&seen.spent)));
    if seen.budget != Amounts::default() {
        let of = |n: u64, text: String| (n > 0).then_some(text);
        let b = &seen.budget;
        let limits = [
            of(b.calls, format!("{} calls", b.calls)),
            of(b.tokens, format!("{} tokens", b.tokens)),
            of(b.money_micros, format!("{} money", money(b.money_micros))),
        ];
        out.line(format_args!("  budget    {}", limits.into_iter().flatten().collect::<Vec<_>>().join(", ")));
    }
    if seen.revision > 0 {
        out.line(format_args!("  revision  {} of its plan", seen.revision));
    }
    if let Some(parent) = &seen.parent_execution_id {
        out.line(format_args!("  parent    {parent}"));
    }
    for (name, value) in seen.vars.iter().filter_map(|vars| vars.as_object()).flatten() {
        out.line(format_args!("  var       {name} = {value}"));
    }
    if let (Some(task), Some(output)) = (task, &seen.output) {
        out.line(format_args!("output of {task}:"));
        out.line(follow::readable(output).trim_end());
    } else if let Some(task) = task {
        out.note(format_args!("{task} has no output yet"));
    }
    let timed = |wait: &&Wait| wait.until.is_some();
    for wait in seen.waits.iter().filter(timed) {
        let until = wait.until.as_deref().map(time).unwrap_or_default();
        out.line(format_args!("  {} of {} until {until}", wait.kind, wait.task_id));
    }
    follow::print_stuck(out, seen);
}

/// Of the currency.
pub(super) fn money(micros: u64) -> String {
    let text = format!("{:.6}", micros as f64 / 1e6);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn answer(out: &Out, answer: &CommandAnswer) {
    out.result(answer, |out| {
        let status = out.state(answer.status.as_str());
        out.line(format_args!("{}  {status}", answer.execution_id));
        if let Some(checkpoint) = &answer.checkpoint_id {
            out.note(format_args!("checkpoint {checkpoint}"));
        }
    });
}

async fn show_list(out: &Out, client: &Client, list: &List) -> Result<(), Failure> {
    let statuses = if list.all_statuses { vec!["all".to_owned()] } else { list.status.clone() };
    let fetch = |page_size, page_token| {
        let client = client.clone();
        let (statuses, workflow) = (statuses.clone(), list.workflow.clone());
        let correlation_id = list.correlation_id.clone();
        let reasons = list.stuck.iter().flatten().filter(|reason| !reason.is_empty());
        let filter = ExecutionFilter {
            statuses,
            workflow,
            correlation_id,
            stuck: list.stuck.is_some(),
            stuck_reasons: reasons.cloned().collect(),
            page_size,
            page_token,
        };
        async move { client.executions(&filter).await }
    };
    let page = list.page.take(fetch).await?;
    out.result(&page, |out| {
        if list.stuck.is_some() {
            table_of_stuck(out, &page.items);
            return more(out, &page);
        }
        let rows = page.items.iter().map(|e| {
            vec![
                e.execution_id.clone(),
                format!("{}@{}", e.workflow_name, e.workflow_version),
                e.status.to_string(),
                format!("{}/{}", e.metrics.tasks_completed, e.metrics.tasks_total),
                time(&e.created_at),
                duration(u64::try_from(e.metrics.runtime.as_millis()).unwrap_or(u64::MAX)),
                e.current_phase.clone(),
            ]
        });
        let headers = ["id", "workflow", "status", "tasks", "created", "runtime", "phase"];
        let none = list.all_statuses || !list.status.is_empty() || !list.correlation_id.is_empty();
        let empty =
            if none { "no executions" } else { "no active executions; --all-statuses shows ended ones" };
        out.table(&headers, rows.collect(), empty);
        more(out, &page);
    });
    Ok(())
}

fn table_of_stuck(out: &Out, items: &[Execution]) {
    let rows = items.iter().filter_map(|e| {
        let reason = e.stuck.first()?;
        Some(vec![
            e.execution_id.clone(),
            format!("{}@{}", e.workflow_name, e.workflow_version),
            reason.task_id.clone().unwrap_or_default(),
            reason.reason.clone(),
            reason.command.clone().unwrap_or_default(),
            reason.detail.clone().unwrap_or_default(),
        ])
    });
    let headers = ["id", "workflow", "task", "stuck", "freed by", "detail"];
    out.table(&headers, rows.collect(), "no execution stands still");
}

async fn history(out: &Out, client: &Client, id: &str, mut after: u64, limit: u32) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut lines = follow::EventLines::default();
    loop {
        let left = if limit == 0 { 1000 } else { (limit as usize - all.len()).min(1000) as u32 };
        let part = client.history(id, after, left).await?;
        for event in part.events {
            after = after.max(event.seq);
            if !out.is_for_programs() {
                out.line(lines.line(out, &event));
            }
            all.push(event);
        }
        if !part.more || (limit > 0 && all.len() >= limit as usize) {
            break;
        }
    }
    out.result(&all, |_| {});
    Ok(())
}
