//! `orchestra executions change|changes|revert`: another plan for what has not run yet.

use std::process::ExitCode;

use api::client::{NewPlan, PlanChanged, PlanRevision, Source};
use clap::Subcommand;

use super::{Context, Done, validate};
use crate::{
    exit::{Exit, Failure},
    files,
    out::{Out, time},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Goes on with another plan for what has not run yet: that of a file, or of a stored workflow.
    Change {
        /// UUID.
        #[arg(value_name = "ID")]
        execution: String,
        /// Definition file (`-` = standard input), or a stored workflow: name, name@version or UUID. A file is compiled and
        /// not stored.
        #[arg(value_name = "FILE|WORKFLOW")]
        what: String,
        #[command(flatten)]
        how: How,
    },
    /// Lists the plans that an execution had, oldest first; 0 is that of its workflow's version.
    #[command(visible_alias = "revisions")]
    Changes {
        /// UUID.
        #[arg(value_name = "ID")]
        execution: String,
    },
    /// Goes back to an earlier plan, for what has not run yet.
    Revert {
        /// UUID.
        #[arg(value_name = "ID")]
        execution: String,
        /// As `changes` numbers them.
        revision: u32,
        #[command(flatten)]
        how: How,
    },
}

/// How a plan is changed.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// Tells what would change and changes nothing; exit code 1 when it would be refused.
    #[arg(long)]
    dry_run: bool,
    /// Kept in the history.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let out = &context.out;
    match command {
        Command::Changes { execution } => {
            let client = context.globals.server.connect().await?;
            let known = client.plan_revisions(&execution).await?;
            out.result(&known, |out| list(out, &known));
            Ok(ExitCode::SUCCESS)
        }
        Command::Change { execution, what, how } => {
            let plan = if files::is_file(&what) {
                let source = files::read(&what)?;
                validate::before_sending(out, &what, &source)?;
                NewPlan::Definition(Source::any(source).named(&what))
            } else {
                NewPlan::Workflow(what)
            };
            change(context, &execution, &plan, &how).await
        }
        Command::Revert { execution, revision, how } => {
            change(context, &execution, &NewPlan::Revision(revision), &how).await
        }
    }
}

async fn change(context: &Context, execution: &str, plan: &NewPlan, how: &How) -> Done {
    let out = &context.out;
    let client = context.globals.server.connect().await?;
    let changed = if how.dry_run {
        client.preview_plan(execution, plan).await
    } else {
        client.change_plan(execution, plan, &how.reason).await
    };
    let changed = changed.map_err(|fault| {
        let unknown = fault.field == "revert_to";
        let failure = Failure::from(fault);
        if unknown {
            failure.remedy(format!("orchestra executions changes {execution} lists them"))
        } else {
            failure
        }
    })?;
    out.result(&changed, |out| show(out, &changed, how.dry_run));
    if changed.refused.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Failure::silent(Exit::Failed)) }
}

fn show(out: &Out, changed: &PlanChanged, dry_run: bool) {
    let diff = [("+", &changed.added), ("-", &changed.removed), ("~", &changed.changed)];
    if diff.iter().all(|(_, tasks)| tasks.is_empty()) {
        out.line("no task is another one");
    }
    for (mark, tasks) in diff {
        for task in tasks {
            out.line(format_args!("{mark} {task}"));
        }
    }
    for refused in &changed.refused {
        out.error_line(format_args!("{} {}: {}", out.red("refused:"), refused.code, refused.message));
    }
    match (dry_run, changed.refused.is_empty()) {
        (true, true) => out.note(format_args!(
            "nothing was changed: a dry run; the plan that holds is revision {}",
            changed.revision
        )),
        (true, false) => out.note("nothing was changed, and this change would be refused"),
        (false, _) => out.note(format_args!(
            "revision {} holds; back: orchestra executions revert {} {}",
            changed.revision,
            changed.execution_id,
            changed.revision.saturating_sub(1)
        )),
    }
}

fn list(out: &Out, known: &[PlanRevision]) {
    let last = known.len().saturating_sub(1);
    let rows = known.iter().enumerate().map(|(place, r)| {
        vec![
            r.revision.to_string(),
            time(&r.at),
            r.by.clone(),
            r.tasks.to_string(),
            if place == last { "yes" } else { "" }.to_owned(),
            r.reason.clone().unwrap_or_default(),
        ]
    });
    out.table(&["revision", "since", "by", "tasks", "holds", "why"], rows.collect(), "no plan is known");
}
