//! The panel as a program.

use std::process::ExitCode;

use clap::Parser;
use example_agents::{options, panel};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plays every part of the examples of patterns and types.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(flatten)]
    options: options::Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    options::run(panel::agent(), &args.options).await
}
