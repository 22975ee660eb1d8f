//! `orchestra completions`: a script for a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Done;
use crate::cli::Cli;

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra completions bash > /etc/bash_completion.d/orchestra
  orchestra completions zsh > ~/.zfunc/_orchestra";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "orchestra", &mut script);
    // A reader that went away wants no more.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), &script);
    Ok(std::process::ExitCode::SUCCESS)
}
