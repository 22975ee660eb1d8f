//! The commands, one file each, and how they are run.

pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod budgets;
pub(crate) mod cache;
pub(crate) mod capacity;
mod change;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dead_letters;
pub(crate) mod dev;
pub(crate) mod develop;
pub(crate) mod events;
pub(crate) mod executions;
pub(crate) mod fmt;
pub(crate) mod health;
pub(crate) mod hooks;
pub(crate) mod migrate;
mod page;
pub(crate) mod patterns;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod schedules;
pub(crate) mod schema;
pub(crate) mod serve;
pub(crate) mod sessions;
mod steering;
pub(crate) mod validate;
pub(crate) mod workflows;

use std::{future::Future, process::ExitCode};

use clap::Parser as _;

use crate::{
    cli::{Cli, Command, Globals},
    exit::Failure,
    out::Out,
};

/// Exit code after Ctrl-C, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// What a command is given besides its own arguments.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) out: Out,
    pub(crate) globals: Globals,
}

type Done = Result<ExitCode, Failure>;

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    runtime::install_tls_provider();
    let Cli { globals, command } = Cli::parse();
    let context = Context { out: Out::new(globals.format), globals };
    match dispatch(&context, command) {
        Ok(code) => code,
        Err(failure) => {
            failure.print(&context.out);
            failure.exit.into()
        }
    }
}

fn dispatch(context: &Context, command: Command) -> Done {
    match command {
        // Those that are processes of their own make their own runtime.
        Command::Dev(args) => dev::run(context, &args),
        Command::Serve(args) => serve::run(&args),
        // Those that need no server.
        Command::Validate(args) => validate::run(context, &args),
        Command::Fmt(args) => fmt::run(context, &args),
        Command::Config(args) => config::run(context, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Schema => schema::run(context),
        // Those that ask one.
        Command::Migrate(args) => block_on(migrate::run(context, &args)),
        Command::Run(args) => block_on(run::run(context, &args)),
        Command::Plan(args) => block_on(plan::run(context, &args)),
        Command::Compare(args) => block_on(compare::run(context, &args)),
        Command::Develop(args) => block_on(develop::run(context, &args)),
        Command::Workflows(command) => block_on(workflows::run(context, command)),
        Command::Patterns(command) => block_on(patterns::run(context, command)),
        Command::Executions(command) => block_on(executions::run(context, command)),
        Command::Approvals(command) => block_on(approvals::run(context, command)),
        Command::Agents(command) => block_on(agents::run(context, command)),
        Command::Budgets(command) => block_on(budgets::run(context, command)),
        Command::Cache(command) => block_on(cache::run(context, command)),
        Command::Sessions(command) => block_on(sessions::run(context, command)),
        Command::Events(command) => block_on(events::run(context, command)),
        Command::Schedules(command) => block_on(schedules::run(context, command)),
        Command::Hooks(command) => block_on(hooks::run(context, command)),
        Command::DeadLetters(command) => block_on(dead_letters::run(context, command)),
        Command::Capacity => block_on(capacity::run(context)),
        Command::Health(args) => block_on(health::run(context, &args)),
    }
}

fn block_on(command: impl Future<Output = Done>) -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime =
        runtime.map_err(|e| Failure::usage(format!("this process cannot start its threads: {e}")))?;
    let done = runtime.block_on(command);
    runtime.shutdown_background();
    done
}
