//! `orchestra fmt`: definitions in one shape.

use std::process::ExitCode;

use language::{Format, format_definition, render};

use super::{Context, Done};
use crate::{
    exit::{Exit, Failure},
    files,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra fmt research.yaml            rewrites the file
  orchestra fmt --check examples/*.yaml  changes nothing; exit code 1 when a file is not formatted
  orchestra fmt - < research.yaml        to standard output";

/// Arguments of `fmt`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Definition files; `-` formats standard input to standard output.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Only says which files are not formatted.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Done {
    let out = &context.out;
    let (mut worst, mut changed) = (None, 0);
    for file in &args.files {
        let source = files::read(file)?;
        let formatted = match format_definition(&source, format_of(file)) {
            Ok(formatted) => formatted,
            Err(findings) => {
                out.findings(&render(&findings, file, &source));
                worst = Some(Exit::Invalid);
                continue;
            }
        };
        let differs = formatted != source;
        changed += usize::from(differs);
        match (file.as_str(), args.check) {
            ("-", false) => out.raw(formatted),
            (_, false) if differs => {
                write(file, &formatted)?;
                out.note(format_args!("formatted {file}"));
            }
            (_, true) if differs => {
                out.error_line(format_args!("{file} is not formatted"));
                worst = worst.or(Some(Exit::Failed));
            }
            _ => {}
        }
    }
    if args.check && changed > 0 {
        out.note("`orchestra fmt FILE` formats them");
    }
    worst.map_or(Ok(ExitCode::SUCCESS), |exit| Err(Failure::silent(exit)))
}

/// What the name says; `None` = found out.
pub(super) fn format_of(file: &str) -> Option<Format> {
    let extension = std::path::Path::new(file).extension()?.to_str()?;
    match extension {
        "json" => Some(Format::Json),
        "yaml" | "yml" => Some(Format::Yaml),
        _ => None,
    }
}

fn write(file: &str, text: &str) -> Result<(), Failure> {
    // Whole or not at all: this is somebody's work.
    let part = format!("{file}.part");
    let written = std::fs::write(&part, text)
        .and_then(|()| std::fs::set_permissions(&part, std::fs::metadata(file)?.permissions()))
        .and_then(|()| std::fs::rename(&part, file));
    written.map_err(|cause| {
        let _ = std::fs::remove_file(&part);
        Failure::usage(format!("cannot write {file}: {cause}"))
    })
}
