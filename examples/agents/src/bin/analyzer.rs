//! The analyzer as a program.

use std::process::ExitCode;

use clap::Parser;
use example_agents::{analyzer, options};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Statistics and key terms of findings, texts and folders.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(flatten)]
    options: options::Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    options::run(analyzer::agent(), &args.options).await
}
