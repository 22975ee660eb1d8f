//! `orchestra serve`: chosen roles as a part of a cluster.

use base::ErrorCode;
use runtime::{Config, ConfigArgs, Listen};

use super::{Done, dev};
use crate::{
    exit::{Exit, Failure},
    roles,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra serve --role all
  orchestra serve --role registry --role planner --set database.url=postgres://u:p@db/orchestra
  DATABASE_URL=postgres://u:p@db/orchestra REDIS_STREAMS_URL=redis://redis orchestra serve --role executor
  orchestra serve --role gateway --host 0.0.0.0

Roles in several processes share a PostgreSQL database and a Redis; peers.* name their addresses.";

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A role: registry, planner, executor, gateway, or all. May be repeated.
    #[arg(long = "role", short, value_name = "ROLE", required = true, value_delimiter = ',')]
    roles: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(args: &Args) -> Done {
    let chosen = roles::named(&args.roles)?;
    let config = dev::load(&args.config.sources())?;
    if chosen.len() < roles::all().len() {
        check_shared(&config)?;
    }
    Ok(runtime::run_with(&chosen, &config, Listen::EveryRole))
}

/// Roles in several processes need a database and streams that several processes can use.
fn check_shared(config: &Config) -> Result<(), Failure> {
    let refuse = |what: &str, remedy: &str| {
        Err(Failure::new(Exit::Usage, ErrorCode::InvalidConfig, what)
            .remedy(format!("{remedy}, or run all roles in one process: `orchestra serve --role all`")))
    };
    if !config.settings.is_postgres() {
        return refuse(
            "database.url is a folder of SQLite files: they belong to one process, and some roles are missing here",
            "set database.url (or DATABASE_URL) to postgres://…",
        );
    }
    if config.settings.bus.url.is_none() {
        return refuse(
            "bus.url is not set: streams inside of one process do not reach the roles in others",
            "set bus.url (or REDIS_STREAMS_URL) to redis://…",
        );
    }
    Ok(())
}
