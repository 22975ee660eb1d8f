//! The supervisor as a program.

use std::process::ExitCode;

use clap::Parser;
use example_agents::{options, supervisor};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Splits a question into sub-questions, and merges findings into a report with sources.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(flatten)]
    options: options::Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    options::run(supervisor::agent(), &args.options).await
}
