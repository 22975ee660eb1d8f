//! The researcher as a program.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use example_agents::{options, researcher};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Finds the passages of a folder of text that answer a question.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(flatten)]
    options: options::Options,
    /// Folder that is searched when a call names none.
    #[arg(long, env = "AGENT_FOLDER")]
    folder: Option<String>,
    /// The only folder that may be read, with what is below it. Without it any folder may be.
    #[arg(long, env = "AGENT_ROOT")]
    root: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let shelf = researcher::Shelf { folder: args.folder, root: args.root };
    options::run(researcher::agent(shelf), &args.options).await
}
