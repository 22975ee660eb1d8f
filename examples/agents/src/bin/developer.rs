//! The development team as a program.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use example_agents::{
    development::{self, Shop},
    options,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// From requirements in plain words to tested code and a checked release, with the Rust tools of this machine.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// Folder with one workspace per execution.
    #[arg(long, env = "DEVELOPER_WORK", default_value = "developer-work")]
    work: PathBuf,
    /// gRPC address of the orchestrator, asked for agents when an assignment names none.
    #[arg(long, env = "DEVELOPER_REGISTRY")]
    registry: Option<String>,
    /// Seconds that a compiler, a test or the program may take.
    #[arg(long, env = "DEVELOPER_TOOL_SECONDS", default_value_t = 300)]
    tool_seconds: u64,
    #[command(flatten)]
    options: options::Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let shop =
        Shop { work: args.work, registry: args.registry, tool_limit: Duration::from_secs(args.tool_seconds) };
    options::run(development::agent(shop), &args.options).await
}
