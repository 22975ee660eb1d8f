//! `orchestra migrate`: schemas brought up to this release.

use std::process::ExitCode;

use base::ErrorCode;
use runtime::ConfigArgs;
use serde_json::json;
use store::{Db, OpenError, migrate::Schema};

use super::{Context, Done, dev};
use crate::exit::{Exit, Failure};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra migrate --set database.url=postgres://u:p@db/orchestra
  DATABASE_URL=postgres://u:p@db/orchestra orchestra migrate

Every service does this for its own schema when it starts; here it is a step of its own, for a role that may create
tables while services may not.";

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Each service has a schema of its own.
const SCHEMAS: [&Schema; 3] =
    [&store::migrate::REGISTRY, &store::migrate::PLANNER, &store::migrate::EXECUTOR];

pub(crate) async fn run(context: &Context, args: &Args) -> Done {
    let config = dev::load(&args.config.sources())?;
    let database = config.settings.open_database().map_err(|cause| {
        Failure::usage(format!("{cause:#}")).remedy("`orchestra config` prints it and where it comes from")
    })?;
    let options = config.settings.database_options();
    let mut done = Vec::with_capacity(SCHEMAS.len());
    for schema in SCHEMAS {
        let opened = Db::open(&database, schema, &options).await;
        let db = opened.map_err(|cause| {
            let (exit, code) = match &cause {
                OpenError::Failed { .. } => (Exit::Unavailable, ErrorCode::Unavailable),
                OpenError::BadUrl { .. } => (Exit::Usage, ErrorCode::InvalidConfig),
                OpenError::Locked { .. }
                | OpenError::NewerSchema { .. }
                | OpenError::ChangedMigration { .. }
                | OpenError::ShardCount { .. }
                | OpenError::UnsafeDurability { .. } => (Exit::Failed, ErrorCode::InvalidState),
            };
            Failure::new(exit, code, format!("schema {}: {cause}", schema.name))
                .remedy("`orchestra config` prints database.url and where it comes from")
        })?;
        db.close().await;
        done.push(json!({"schema": schema.name, "version": schema.migrations.len()}));
        if !context.out.is_for_programs() {
            context.out.line(format_args!("{:<10} is at version {}", schema.name, schema.migrations.len()));
        }
    }
    context.out.result(&done, |_| {});
    Ok(ExitCode::SUCCESS)
}
