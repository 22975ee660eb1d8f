//! `orchestra validate`: definitions checked without a server.

use std::process::ExitCode;

use base::Finding;
use language::{Options, Outcome, compile, render};
use serde::Serialize;

use super::{Context, Done, fmt::format_of};
use crate::{
    exit::{Exit, Failure, exit_of},
    files,
    out::Out,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra validate research.yaml
  orchestra validate --strict examples/*.yaml      warnings are errors too
  orchestra validate research.yaml -o json         findings with code, line, column and remedy
  cat research.yaml | orchestra validate -

Exit code 4 when a definition has errors. Agents are not asked: `orchestra plan FILE --fleet` does.";

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Definition files, YAML or JSON, in any dialect; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Warnings make a definition invalid too.
    #[arg(long)]
    strict: bool,
}

/// What is said about one file.
#[derive(Debug, Serialize)]
struct Said {
    file: String,
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<usize>,
    findings: Vec<Finding>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Done {
    let mut said = Vec::with_capacity(args.files.len());
    let mut unreadable = None;
    for file in &args.files {
        let source = match files::read(file) {
            Ok(source) => source,
            // The others are checked all the same.
            Err(failure) => {
                failure.print(&context.out);
                unreadable = unreadable.or(Some(failure.exit));
                continue;
            }
        };
        let outcome = check(file, &source);
        let one = describe(file, &outcome, args.strict);
        if !context.out.is_for_programs() {
            show(&context.out, &one, &source);
        }
        said.push(one);
    }
    context.out.result(&said, |_| {});
    match (said.iter().all(|one| one.valid), unreadable) {
        (false, _) => Err(Failure::silent(Exit::Invalid)),
        (true, Some(exit)) => Err(Failure::silent(exit)),
        (true, None) => Ok(ExitCode::SUCCESS),
    }
}

fn check(file: &str, source: &str) -> Outcome {
    compile(source, &Options { format: format_of(file), ..Options::default() })
}

fn describe(file: &str, outcome: &Outcome, strict: bool) -> Said {
    let warned = outcome.findings.iter().any(|f| f.severity == base::Severity::Warning);
    let compiled = outcome.compiled.as_ref();
    Said {
        file: file.to_owned(),
        valid: compiled.is_some() && !(strict && warned),
        name: compiled.map(|c| c.definition.name.clone()),
        version: compiled.and_then(|c| c.definition.version.clone()),
        dialect: compiled.map(|c| c.definition.dialect.as_str()),
        tasks: compiled.map(|c| c.plan.tasks.len()),
        findings: outcome.findings.clone(),
    }
}

fn show(out: &Out, one: &Said, source: &str) {
    out.findings(&render(&one.findings, &one.file, source));
    let count = |severity| one.findings.iter().filter(|f| f.severity == severity).count();
    let (errors, warnings) = (count(base::Severity::Error), count(base::Severity::Warning));
    let counted = |n: usize, what: &str| match n {
        0 => String::new(),
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let parts = [counted(errors, "error"), counted(warnings, "warning")];
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
    let (name, version) = (one.name.as_deref().unwrap_or(""), one.version.as_deref().unwrap_or(""));
    if one.valid {
        let tasks = counted(one.tasks.unwrap_or(0), "task");
        let also = if parts.is_empty() { String::new() } else { format!(", {}", parts.join(", ")) };
        let dialect = one.dialect.unwrap_or("");
        out.line(format_args!(
            "{}: {} {name}@{version} ({dialect} form, {tasks}{also})",
            one.file,
            out.green("ok")
        ));
    } else {
        out.error_line(format_args!("{}: {} {}", one.file, out.red("invalid:"), parts.join(", ")));
    }
}

/// Checks a definition before it is sent: errors are printed with the lines they point at and end the command. A pattern
/// that is not built in may be registered: the server knows.
pub(super) fn before_sending(out: &Out, file: &str, source: &str) -> Result<(), Failure> {
    let outcome = check(file, source);
    if outcome.error_code() == Some(base::ErrorCode::UnsupportedPattern) {
        return Ok(());
    }
    accepted(out, file, source, outcome).map(drop)
}

/// The definition, checked without a server: errors are printed and end the command.
pub(super) fn alone(out: &Out, file: &str, source: &str) -> Result<language::Compiled, Failure> {
    accepted(out, file, source, check(file, source))
}

fn accepted(out: &Out, file: &str, source: &str, outcome: Outcome) -> Result<language::Compiled, Failure> {
    let code = outcome.error_code();
    match outcome.compiled {
        Some(compiled) => Ok(compiled),
        None if out.is_for_programs() => {
            let code = code.unwrap_or(base::ErrorCode::InvalidDefinition);
            let said = format!("{file} has errors");
            Err(Failure { findings: outcome.findings, ..Failure::new(exit_of(code), code, said) })
        }
        None => {
            out.findings(&render(&outcome.findings, file, source));
            Err(Failure::silent(code.map_or(Exit::Invalid, exit_of)))
        }
    }
}

/// Code of what is accepted and does nothing yet.
const NO_EFFECT: &str = "no-effect-yet";

/// What the server found in a definition that it stored and that is probably not what was meant. Keys without effect are
/// counted, what is only worth knowing is left out: `validate` shows each.
pub(super) fn after_storing(out: &Out, file: &str, source: &str, findings: &[Finding]) {
    let warned = findings.iter().filter(|f| f.severity != base::Severity::Note);
    let (quiet, loud): (Vec<Finding>, Vec<Finding>) = warned.cloned().partition(|f| f.code == NO_EFFECT);
    out.findings(&render(&loud, file, source));
    if !quiet.is_empty() {
        let keys = if quiet.len() == 1 { "1 key has" } else { &format!("{} keys have", quiet.len()) };
        out.note(format_args!("{file}: {keys} no effect yet; `orchestra validate {file}` shows them"));
    }
}
