//! The command line as a tree. What each command does lies in `command/`.

use clap::{Parser, Subcommand};

use crate::{
    command::{
        agents, approvals, budgets, cache, capacity, compare, completions, config, dead_letters, dev,
        develop, events, executions, fmt, health, hooks, migrate, patterns, plan, run, schedules, schema,
        serve, sessions, validate, workflows,
    },
    connect::ServerArgs,
    out::Format,
};

const AFTER_HELP: &str = "\
Examples:
  orchestra dev                                         everything in one process, data in ./orchestra-data
  orchestra validate examples/*.yaml                    check definitions, no server needed
  orchestra run examples/multi_agent_research.yaml --input-file input.json --follow
  orchestra executions list --all-statuses -o json

Exit codes:
  0  done
  1  the execution failed, or the server refused
  2  the command line or a setting is wrong
  3  what was named does not exist
  4  a definition has errors
  5  the server cannot be reached, or is not ready
  6  a deadline passed
  130  interrupted";

/// Runs multi-agent AI workflows durably: one YAML file of agents and work in, finished work out, whatever crashes.
#[derive(Debug, Parser)]
#[command(name = "orchestra", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Globals {
    /// Form of the result.
    #[arg(
        long = "output",
        short = 'o',
        value_enum,
        default_value = "table",
        value_name = "FORMAT",
        global = true,
        help_heading = "Global options"
    )]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs everything in one process: SQLite files in a folder, streams in memory.
    #[command(after_help = dev::EXAMPLES)]
    Dev(dev::Args),
    /// Runs chosen roles, to be joined by others over PostgreSQL and Redis.
    #[command(after_help = serve::EXAMPLES)]
    Serve(serve::Args),
    /// Starts an execution of a definition file or of a stored workflow.
    #[command(after_help = run::EXAMPLES)]
    Run(run::Args),
    /// Checks definitions without a server; findings point at line and column.
    #[command(after_help = validate::EXAMPLES)]
    Validate(validate::Args),
    /// Formats definitions: white space only, comments stay.
    #[command(after_help = fmt::EXAMPLES)]
    Fmt(fmt::Args),
    /// Explains what a definition will do: levels, critical path, estimates, candidate agents.
    #[command(after_help = plan::EXAMPLES)]
    Plan(plan::Args),
    /// Runs one input through several patterns or definitions: quality, time, calls and cost side by side.
    #[command(after_help = compare::EXAMPLES)]
    Compare(compare::Args),
    /// From requirements in plain words to a checked release: the shipped development pipeline.
    #[command(after_help = develop::EXAMPLES)]
    Develop(develop::Args),
    /// Stored workflows: list, get, versions, create, delete.
    #[command(subcommand, visible_alias = "workflow", after_help = workflows::EXAMPLES)]
    Workflows(workflows::Command),
    /// Patterns: the built-in ones and your own: list, show, register, delete.
    #[command(subcommand, visible_alias = "pattern", after_help = patterns::EXAMPLES)]
    Patterns(patterns::Command),
    /// Executions: list, get, watch, history, and the commands that steer them.
    #[command(subcommand, visible_alias = "execution", after_help = executions::EXAMPLES)]
    Executions(executions::Command),
    /// Approvals: what people are asked, and their answers.
    #[command(subcommand, visible_alias = "approval", after_help = approvals::EXAMPLES)]
    Approvals(approvals::Command),
    /// Agents: list, get, register, import a card, delete.
    #[command(subcommand, visible_alias = "agent", after_help = agents::EXAMPLES)]
    Agents(agents::Command),
    /// Sessions: variables and a conversation that executions share.
    #[command(subcommand, visible_alias = "session", after_help = sessions::EXAMPLES)]
    Sessions(sessions::Command),
    /// Budgets of the tenant and of single workflows: list, set, delete.
    #[command(subcommand, visible_alias = "budget", after_help = budgets::EXAMPLES)]
    Budgets(budgets::Command),
    /// The result cache: numbers, single values, patterns.
    #[command(subcommand, after_help = cache::EXAMPLES)]
    Cache(cache::Command),
    /// User events: publish, list, get, watch, stats, triggers.
    #[command(subcommand, visible_alias = "event", after_help = events::EXAMPLES)]
    Events(events::Command),
    /// Schedules: create, list, get, pause, resume, trigger, backfill, delete.
    #[command(subcommand, visible_alias = "schedule", after_help = schedules::EXAMPLES)]
    Schedules(schedules::Command),
    /// Hooks: what is done when something happens, and the log of it.
    #[command(subcommand, visible_alias = "hook", after_help = hooks::EXAMPLES)]
    Hooks(hooks::Command),
    /// Messages that consumers gave up on: list, redrive.
    #[command(subcommand, after_help = dead_letters::EXAMPLES)]
    DeadLetters(dead_letters::Command),
    /// How much room there is for executions and calls.
    #[command(after_help = capacity::EXAMPLES)]
    Capacity,
    /// Whether the server and its roles are ready.
    #[command(after_help = health::EXAMPLES)]
    Health(health::Args),
    /// Brings the database's schemas up to this release, without starting anything.
    #[command(after_help = migrate::EXAMPLES)]
    Migrate(migrate::Args),
    /// Prints the effective settings and where each comes from, secrets masked.
    #[command(after_help = config::EXAMPLES)]
    Config(config::Args),
    /// Prints the JSON Schema of workflow definitions, for editors.
    #[command(after_help = schema::EXAMPLES)]
    Schema,
    /// Prints a completion script for a shell.
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Args),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n  orchestra "), "{}: {help}", command.get_name());
        }
    }

    #[test]
    fn command_lines_that_people_type_are_understood() {
        for line in [
            "dev --data /tmp/x --port 0 --grpc-port 0 --set executor.shards=8",
            "serve --role registry --role planner",
            "run a.yaml --input {} --follow",
            "run name@1.0 --set a=1 --set b.c=2 --wait 30s -o json",
            "validate a.yaml b.yaml --strict",
            "fmt --check a.yaml",
            "plan a.yaml --fleet",
            "develop requirements.md --technology rust --project a --target b --follow",
            "develop - --detach",
            "compare a.yaml b.yaml --input {} --quality output.score --repeat 5",
            "compare a.yaml --pattern race --judge scoring --at-once 2 --timeout 30s",
            "workflows list --prefix a --limit 5",
            "workflow versions a",
            "patterns list",
            "pattern show supervisor --source",
            "patterns register a.yaml b.yaml",
            "patterns delete p@1",
            "schema",
            "workflows delete a@1 --yes",
            "executions list --status failed --status cancelled",
            "executions list --all-statuses --workflow w",
            "executions watch 0190b7a4-7c5e-7d5e-8f00-0000000000ff",
            "executions resolve ID TASK --completed out.json",
            "executions resolve ID TASK --item 2 --retry",
            "executions input ID TASK answer.json",
            "executions cancel ID --reason why",
            "executions query ID",
            "executions query ID improve[2].draft",
            "executions signal ID go",
            "executions signal ID go {} --id s-1",
            "executions signal ID go --payload-file -",
            "executions vars get ID round",
            "executions vars set ID round=3 who=ann",
            "executions vars set ID --file vars.yaml",
            "executions step ID",
            "executions grant ID TASK",
            "executions mode ID TASK --event orders",
            "executions mode ID TASK --graph",
            "executions reset ID a b --reason why --set n=2",
            "executions reset ID --checkpoint CP",
            "executions fork ID",
            "executions fork ID a --key k --input {}",
            "executions change ID better.yaml --dry-run",
            "executions change ID flow@2 --reason why",
            "executions changes ID",
            "executions revert ID 0",
            "approvals list --who ann",
            "approval show ID",
            "approvals approve ID TASK --comment fine",
            "approvals reject ID",
            "approvals answer ID --set n=1 --form {}",
            "agents register a.json",
            "agents import http://127.0.0.1:9000 --id x",
            "agents delete a --force",
            "events publish orders --type order.placed --key 42 --payload {} --priority -3",
            "events list --type a --type b --topic t --since 2026-01-02T00:00:00Z --limit 5",
            "events list --from 0",
            "events watch --topic t --from 7",
            "schedules create n w --cron @daily --time-zone Europe/Berlin --overlap queue",
            "schedules create n w --every 15m --jitter 30s",
            "schedules backfill n 2026-01-01T00:00:00Z 2026-01-02T00:00:00Z",
            "schedule trigger n",
            "dead-letters redrive 1",
            "dead-letters get 1",
            "hooks create a --trigger pre_task --command /bin/cat --arg -n --priority -5 --always-run",
            "hook update a --when x --enabled false --expected-revision 2",
            "hooks runs --hook a --state failed --all",
            "run a.yaml --session ada",
            "sessions history ada --all",
            "session set ada n 1 --expected-version 2",
            "sessions say ada hello --role system",
            "budgets set --period day --calls 100 --workflow w",
            "budgets delete --period total",
            "cache stats",
            "cache set n k {} --ttl 5m",
            "cache invalidate n ^user:",
            "--server http://x:1 capacity",
            "health",
            "migrate --set database.url=postgres://u@h/d",
            "config -o json",
            "completions bash",
        ] {
            let words = std::iter::once("orchestra").chain(line.split(' '));
            if let Err(refused) = Cli::try_parse_from(words) {
                panic!("{line}: {refused}");
            }
        }
    }

    #[test]
    fn command_lines_that_contradict_themselves_are_refused() {
        for line in [
            "run",
            "run a.yaml --input {} --input-file b",
            "run a.yaml --wait soon",
            "compare a.yaml b.yaml --input {}",
            "compare --quality 1",
            "develop",
            "develop r.md --follow --detach",
            "compare a.yaml --quality 1 --repeat 0",
            "validate",
            "executions resolve ID TASK",
            "executions resolve ID TASK --retry --failed x",
            "executions signal ID",
            "executions signal ID go {} --payload-file x",
            "executions vars set ID",
            "executions mode ID TASK",
            "executions mode ID TASK --graph --event x",
            "executions reset ID",
            "executions reset ID a --checkpoint CP",
            "executions revert ID",
            "approvals answer ID TASK",
            "approvals answer ID --form {} --form-file x",
            "executions list --status failed --all-statuses",
            "hooks create a --trigger pre_task",
            "hooks list --enabled --disabled",
            "agents delete a --force --refuse-if-busy",
            "serve",
            "schedules create n w",
            "schedules create n w --every 15m --cron @daily",
            "schedules create n w --every soon",
            "completions klingon",
            "cache set n k 1 --ttl 0",
            "sessions set a b",
            "budgets set --period week --calls 1",
            "budgets set --period day",
        ] {
            let words = std::iter::once("orchestra").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
