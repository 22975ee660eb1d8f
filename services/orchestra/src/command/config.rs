//! `orchestra config`: the effective settings.

use runtime::ConfigArgs;
use serde_json::json;

use super::{Context, Done, dev};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra config
  orchestra config --config orchestra.toml --set executor.shards=16
  PORT=8080 orchestra config -o json";

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(context: &Context, args: &Args) -> Done {
    let config = dev::load(&args.config.sources())?;
    let entries: serde_json::Map<_, _> = config
        .masked_entries()
        .into_iter()
        .map(|entry| {
            let origin = config.origin(&entry.path).to_string();
            (entry.path, json!({"value": entry.value, "origin": origin}))
        })
        .collect();
    context.out.result(&entries, |out| out.raw(config.render(true)));
    Ok(std::process::ExitCode::SUCCESS)
}
