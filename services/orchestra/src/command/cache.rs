//! `orchestra cache`: the result cache.

use std::{process::ExitCode, time::Duration};

use api::client::{CacheEntry, CacheNumbers};
use base::{
    Payload,
    time::{BareUnit, parse_duration},
};
use clap::Subcommand;
use serde_json::Value;

use super::{Context, Done};
use crate::{
    exit::Failure,
    out::{Out, time},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra cache stats
  orchestra cache set users user:123 '{\"name\": \"Ada\"}' --ttl 5m
  orchestra cache get users user:123
  orchestra cache invalidate users '^user:'
  orchestra cache invalidate summarise '^summarise@1\\.'     remembered calls of these versions";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What it did and holds, by namespace; all replicas together.
    Stats,
    /// Shows one value.
    Get {
        /// Namespace.
        namespace: String,
        /// Key.
        key: String,
    },
    /// Keeps a value, in place of an older one.
    Set {
        /// Namespace.
        namespace: String,
        /// Key.
        key: String,
        /// The value: JSON, or else a text.
        value: String,
        /// How long it is believed (30s, 5m); else the server's setting.
        #[arg(long, value_parser = ttl)]
        ttl: Option<Duration>,
    },
    /// Takes one value out.
    Delete {
        /// Namespace.
        namespace: String,
        /// Key.
        key: String,
    },
    /// Takes out what a pattern matches, on every replica.
    Invalidate {
        /// Namespace.
        namespace: String,
        /// Regular expression that is looked for anywhere in the key; without it everything goes.
        pattern: Option<String>,
    },
}

fn ttl(text: &str) -> Result<Duration, String> {
    match parse_duration(text, BareUnit::Millis) {
        Ok(ttl) if ttl >= Duration::from_millis(1) => Ok(ttl),
        Ok(_) => Err("must be longer than nothing".into()),
        Err(e) => Err(e.to_string()),
    }
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let out = &context.out;
    let client = context.globals.server.connect().await?;
    match command {
        Command::Stats => {
            let stats = client.cache_stats().await?;
            out.result(&stats, |out| {
                let rows = stats.namespaces.iter().chain([&stats.total]).map(row).collect();
                let headers = [
                    "namespace",
                    "entries",
                    "bytes",
                    "hits",
                    "misses",
                    "hit rate",
                    "evicted",
                    "expired",
                    "invalidated",
                ];
                out.table(&headers, rows, "nothing");
                let size = base::units::show_memory(stats.max_size);
                out.note(format_args!("{}, {size} on each of {} replicas", stats.strategy, stats.replicas));
            });
        }
        Command::Get { namespace, key } => {
            let entry = client.cache_get(&namespace, &key).await?;
            out.result(&entry, |out| show(out, &entry));
        }
        Command::Set { namespace, key, value, ttl } => {
            let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
            let entry = client.cache_set(&namespace, &key, &Payload::from_value(&value), ttl).await?;
            out.result(&entry, |out| show(out, &entry));
        }
        Command::Delete { namespace, key } => {
            if !client.cache_delete(&namespace, &key).await? {
                let fault = api::Fault::not_found("cache entry", format_args!("{namespace}/{key}"));
                return Err(Failure::from(fault));
            }
            out.result(&serde_json::json!({"removed": 1}), |out| out.line("removed"));
        }
        Command::Invalidate { namespace, pattern } => {
            let removed = client.cache_invalidate(&namespace, &pattern.unwrap_or_default()).await?;
            out.result(&serde_json::json!({"removed": removed}), |out| {
                out.line(format_args!("{removed} removed"));
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(n: &CacheNumbers) -> Vec<String> {
    let name = if n.namespace.is_empty() { "all" } else { &n.namespace };
    let rate = format!("{:.1} %", n.hit_rate * 100.0);
    let number = |n: u64| n.to_string();
    vec![
        name.to_owned(),
        number(n.entries),
        number(n.bytes),
        number(n.hits),
        number(n.misses),
        rate,
        number(n.evicted),
        number(n.expired),
        number(n.invalidated),
    ]
}

fn show(out: &Out, entry: &CacheEntry) {
    out.line(&entry.value);
    let until = entry.expires_at.as_deref().map_or_else(|| "there is no room".to_owned(), time);
    out.note(format_args!("stored {}, believed until {until}", time(&entry.stored_at)));
}
