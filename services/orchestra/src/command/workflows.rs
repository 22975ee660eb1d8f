//! `orchestra workflows`.

use std::process::ExitCode;

use api::client::{Source, WorkflowFilter};
use clap::Subcommand;

use super::{
    Context, Done,
    page::{PageArgs, more},
    validate,
};
use crate::{exit::Failure, files, out::time};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra workflows create research.yaml
  orchestra workflows list
  orchestra workflows get multi_agent_research --source
  orchestra workflows versions multi_agent_research
  orchestra workflows delete multi_agent_research@1.0";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists workflows, each in its newest version.
    List(List),
    /// Shows one workflow.
    Get {
        /// Name, name@version or UUID.
        workflow: String,
        /// Prints the text as it was given.
        #[arg(long)]
        source: bool,
    },
    /// Lists the versions of a workflow, newest first.
    Versions {
        /// Name or UUID.
        workflow: String,
    },
    /// Stores definitions; a version never changes.
    Create {
        /// Definition files; `-` is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
    /// Deletes one version, or all of them.
    Delete {
        /// name@version; a name or UUID deletes all versions, which needs --yes.
        workflow: String,
        /// All versions, if no version is named.
        #[arg(long)]
        yes: bool,
    },
}

/// Filters of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Beginning of the name.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Its orchestration_pattern.
    #[arg(long, default_value = "", hide_default_value = true)]
    pattern: String,
    /// A tag of its metadata.
    #[arg(long, default_value = "", hide_default_value = true)]
    tag: String,
    #[command(flatten)]
    page: PageArgs,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let out = &context.out;
    match command {
        Command::Create { files } => return create(context, &files).await,
        Command::Delete { workflow, yes } if !workflow.contains('@') && !yes => {
            return Err(Failure::usage(format!("this would delete every version of {workflow}"))
                .remedy(format!("name one: {workflow}@VERSION, or say --yes")));
        }
        Command::Delete { workflow, .. } => {
            let gone = context.globals.server.connect().await?.delete_workflow(&workflow).await?;
            let versions = if gone == 1 { "version" } else { "versions" };
            let data = serde_json::json!({"versions_deleted": gone});
            out.result(&data, |out| out.line(format_args!("{workflow}: {gone} {versions} deleted")));
        }
        Command::List(list) => show_list(context, &list).await?,
        Command::Get { workflow, source } => {
            let found = context.globals.server.connect().await?.workflow(&workflow).await?;
            if source {
                out.raw(&found.source);
                return Ok(ExitCode::SUCCESS);
            }
            out.result(&found, |out| {
                out.line(out.bold(&found.reference()));
                for (key, value) in [
                    ("id", found.workflow_id.clone()),
                    ("pattern", found.orchestration_pattern.clone()),
                    ("form", found.dialect.clone()),
                    ("tasks", found.tasks.to_string()),
                    ("hash", found.content_hash.chars().take(16).collect()),
                    ("created", time(&found.created_at)),
                    ("versions", found.versions.join(", ")),
                ] {
                    if !value.is_empty() {
                        out.line(format_args!("  {key:<10}{value}"));
                    }
                }
                out.note(format_args!("its text: orchestra workflows get {} --source", found.reference()));
            });
        }
        Command::Versions { workflow } => {
            let found = context.globals.server.connect().await?.workflow(&workflow).await?;
            out.result(&found.versions, |out| {
                found.versions.iter().for_each(|version| out.line(format_args!("{}@{version}", found.name)));
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show_list(context: &Context, list: &List) -> Result<(), Failure> {
    let client = context.globals.server.connect().await?;
    let fetch = |page_size, page_token| {
        let client = client.clone();
        let filter = WorkflowFilter {
            name_prefix: list.prefix.clone(),
            orchestration_pattern: list.pattern.clone(),
            tag: list.tag.clone(),
            page_size,
            page_token,
        };
        async move { client.workflows(&filter).await }
    };
    let page = list.page.take(fetch).await?;
    context.out.result(&page, |out| {
        let rows = page.items.iter().map(|w| {
            vec![
                w.name.clone(),
                w.version.clone(),
                w.tasks.to_string(),
                w.orchestration_pattern.clone(),
                w.dialect.clone(),
                time(&w.created_at),
                w.workflow_id.clone(),
            ]
        });
        let headers = ["name", "version", "tasks", "pattern", "form", "created", "id"];
        let empty = "no workflows; store one: orchestra workflows create FILE";
        out.table(&headers, rows.collect(), empty);
        more(out, &page);
    });
    Ok(())
}

async fn create(context: &Context, names: &[String]) -> Done {
    let out = &context.out;
    let mut sources = Vec::with_capacity(names.len());
    // All of them are checked before the first is sent.
    for name in names {
        let source = files::read(name)?;
        validate::before_sending(out, name, &source)?;
        sources.push((name, source));
    }
    let client = context.globals.server.connect().await?;
    let mut stored = Vec::with_capacity(sources.len());
    for (name, source) in &sources {
        let defined = client.define(&Source::any(source).named(*name)).await?;
        validate::after_storing(out, name, source, &defined.findings);
        if !out.is_for_programs() {
            out.line(format_args!("{}  {}", defined.workflow.reference(), defined.workflow.workflow_id));
        }
        stored.push(defined);
    }
    out.result(&stored, |_| {});
    Ok(ExitCode::SUCCESS)
}
