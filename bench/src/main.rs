//! The benchmark: how fast Orchestra is on this machine, and what each part of it costs.
//!
//! `orchestra-bench run` is the harness: it starts the real programs on free ports with throwaway servers, and two of its
//! own subcommands as processes beside them: `load` (who asks) and `agent` (who is called), so that their CPU time is
//! shown and is not that of the engine. `docs/performance.md` says what the works are and how they are measured.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool for developers: it prints, and a set-up that fails ends it"
)]

mod agent;
mod client;
mod latency;
mod load;
mod machine;
mod measure;
mod options;
mod report;
mod system;
mod usage;
mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Orchestra on this machine.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs works and reports: what `make bench` does.
    Run(Box<options::Run>),
    /// The load generator: reads a job as JSON from standard input, writes what it measured to standard output.
    Load,
    /// The no-op agent: answers every A2A call at once, or as late and as unreliably as it is told.
    Agent(agent::Args),
    /// Compiles one definition and says how long it took.
    Plan(work::plan::Args),
    /// Publishes and handles events and says how long it took.
    Bus(work::bus::Args),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run(options) => work::run(&options),
        Command::Load => single(load::main()),
        Command::Agent(args) => single(agent::main(args)),
        Command::Plan(args) => {
            work::plan::main(&args);
            ExitCode::SUCCESS
        }
        Command::Bus(args) => {
            work::bus::main(&args);
            ExitCode::SUCCESS
        }
    }
}

/// One thread: what costs least per request.
fn single(work: impl Future<Output = std::io::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(work)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orchestra-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
