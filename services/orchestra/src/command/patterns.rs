//! `orchestra patterns`.

use std::process::ExitCode;

use api::client::{Pattern, Source};
use clap::Subcommand;
use serde_json::Value;

use super::{Context, Done, validate};
use crate::{exit::Failure, files, out::Out};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra patterns list
  orchestra patterns show supervisor
  orchestra patterns show supervisor --source > mine.yaml     a start for one of your own
  orchestra patterns register mine.yaml
  orchestra patterns delete mine@1.0.0";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the patterns that definitions can name: the built-in ones, then your own.
    List,
    /// Shows a pattern with its parameters.
    Show {
        /// Name, or name@version.
        pattern: String,
        /// Prints its text as it was given.
        #[arg(long)]
        source: bool,
    },
    /// Stores patterns of your own; a version never changes.
    Register {
        /// Pattern files, YAML or JSON; `-` is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
    /// Deletes one version, or all of them. Refused while a stored workflow or another pattern uses it.
    Delete {
        /// name@version; a name deletes all versions, which needs --yes.
        pattern: String,
        /// All versions, if no version is named.
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let out = &context.out;
    match command {
        Command::List => {
            let all = context.globals.server.connect().await?.patterns().await?;
            out.result(&all, |out| list(out, &all));
        }
        Command::Show { pattern, source } => {
            let found = context.globals.server.connect().await?.pattern(&pattern).await?;
            if source {
                out.raw(&found.source);
            } else {
                out.result(&found, |out| show(out, &found));
            }
        }
        Command::Register { files } => return register(context, &files).await,
        Command::Delete { pattern, yes } if !pattern.contains('@') && !yes => {
            return Err(Failure::usage(format!("this would delete every version of {pattern}"))
                .remedy(format!("name one: {pattern}@VERSION, or say --yes")));
        }
        Command::Delete { pattern, .. } => {
            let gone = context.globals.server.connect().await?.delete_pattern(&pattern).await?;
            let versions = if gone == 1 { "version" } else { "versions" };
            let data = serde_json::json!({"versions_deleted": gone});
            out.result(&data, |out| out.line(format_args!("{pattern}: {gone} {versions} deleted")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(out: &Out, all: &[Pattern]) {
    let rows = all.iter().map(|p| {
        let names = p.parameters.iter().map(|p| match p.default {
            None => p.name.clone(),
            Some(_) => format!("[{}]", p.name),
        });
        vec![
            p.name.clone(),
            p.version.clone(),
            if p.built_in { "built-in" } else { "own" }.to_owned(),
            names.collect::<Vec<_>>().join(" "),
            p.description.clone(),
        ]
    });
    out.table(&["name", "version", "from", "parameters", "what it does"], rows.collect(), "no patterns");
}

fn show(out: &Out, p: &Pattern) {
    out.line(out.bold(&p.reference()));
    out.line(format_args!("  {}", p.description));
    for (key, value) in [
        ("from", if p.built_in { "built-in".to_owned() } else { "own".to_owned() }),
        ("versions", p.versions.join(", ")),
        ("uses", p.uses.join(", ")),
    ] {
        if !value.is_empty() {
            out.line(format_args!("  {key:<10}{value}"));
        }
    }
    let rows = p.parameters.iter().map(|p| {
        let default = p.default.as_ref().map_or_else(|| "needed".to_owned(), Value::to_string);
        vec![p.name.clone(), p.kind.clone(), default, p.description.clone()]
    });
    out.table(&["parameter", "type", "default", "meaning"], rows.collect(), "it has no parameters");
    out.note(format_args!("its text: orchestra patterns show {} --source", p.reference()));
}

async fn register(context: &Context, names: &[String]) -> Done {
    let out = &context.out;
    let sources =
        names.iter().map(|name| Ok((name, files::read(name)?))).collect::<Result<Vec<_>, Failure>>()?;
    let client = context.globals.server.connect().await?;
    let mut stored = Vec::with_capacity(sources.len());
    for (name, source) in &sources {
        let refused = |fault: api::Fault| {
            // Findings point at the lines of the file.
            let failure = Failure::from(fault);
            if out.is_for_programs() {
                return failure;
            }
            out.findings(&language::render(&failure.findings, name, source));
            Failure { findings: Vec::new(), ..failure }
        };
        let registered = client.register_pattern(&Source::any(source).named(*name)).await.map_err(refused)?;
        validate::after_storing(out, name, source, &registered.findings);
        if !out.is_for_programs() {
            out.line(registered.pattern.reference());
        }
        stored.push(registered);
    }
    out.result(&stored, |_| {});
    Ok(ExitCode::SUCCESS)
}
