//! `orchestra events`: publish, list, follow and count user events.

use std::process::ExitCode;

use api::client::{EventFilter, NewEvent, UserEvent};
use base::Payload;
use clap::{Args, Subcommand};

use super::{
    Context, Done,
    page::{PageArgs, more},
};
use crate::{exit::Failure, out::time};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra events publish orders --type order.placed --key 42 --payload '{\"amount\": 3}'
  orchestra events list --topic orders --since 2026-01-02T00:00:00Z
  orchestra events list --from 0 --all          a replay, oldest first
  orchestra events watch --topic orders         live, until Ctrl-C
  orchestra events stats
  orchestra events triggers";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publishes an event; done once it is on disk.
    Publish(Publish),
    /// Lists events, newest first.
    List(List),
    /// Shows one event.
    Get {
        /// Id of the event.
        id: String,
    },
    /// Follows events as they come.
    Watch(Watch),
    /// Counts events by type, and those that wait.
    Stats,
    /// Lists what starts executions when events come.
    Triggers(PageArgs),
    /// Pauses a trigger.
    PauseTrigger {
        /// Id of the trigger.
        id: String,
    },
    /// Resumes a trigger.
    ResumeTrigger {
        /// Id of the trigger.
        id: String,
    },
}

/// An event.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The topic.
    topic: String,
    /// What happened; default: the topic.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Your own id: publishing it again changes nothing.
    #[arg(long)]
    id: Option<String>,
    /// Correlation key: events of a topic with the same key are handled in order.
    #[arg(long)]
    key: Option<String>,
    /// Who says so.
    #[arg(long)]
    source: Option<String>,
    /// Higher is handled first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// The content, JSON.
    #[arg(long, value_name = "JSON", conflicts_with = "payload_file")]
    payload: Option<String>,
    /// The content, from a file; `-` = standard input.
    #[arg(long, value_name = "FILE")]
    payload_file: Option<std::path::PathBuf>,
    /// Not written to disk: a crash may lose it.
    #[arg(long)]
    volatile: bool,
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Of this type; may be repeated. `workflow:completed` means the dotted name too.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Of this topic.
    #[arg(long)]
    topic: Option<String>,
    /// From this source.
    #[arg(long)]
    source: Option<String>,
    /// With this correlation key.
    #[arg(long, visible_alias = "correlation-id")]
    key: Option<String>,
}

impl Which {
    fn filter(self, since: Option<String>, until: Option<String>) -> EventFilter {
        EventFilter {
            types: self.types,
            topic: self.topic.unwrap_or_default(),
            source: self.source.unwrap_or_default(),
            key: self.key.unwrap_or_default(),
            since: since.unwrap_or_default(),
            until: until.unwrap_or_default(),
        }
    }
}

/// A list.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    which: Which,
    /// Accepted at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Accepted before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// A replay: oldest first, after this cursor; 0 = from the beginning of what is kept.
    #[arg(long, value_name = "CURSOR", conflicts_with = "all")]
    from: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// A watch.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    which: Which,
    /// Events after this cursor; default: from now on.
    #[arg(long, value_name = "CURSOR")]
    from: Option<String>,
}

fn content(publish: &Publish) -> Result<Option<Payload>, Failure> {
    let text = match (&publish.payload, &publish.payload_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) if path.as_os_str() == "-" => std::io::read_to_string(std::io::stdin())
            .map_err(|e| Failure::usage(format!("standard input cannot be read: {e}")))?,
        (None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|e| Failure::usage(format!("{} cannot be read: {e}", path.display())))?,
        (None, None) => return Ok(None),
    };
    let payload = Payload::json_text(text);
    match payload.json() {
        Some(_) => Ok(Some(payload)),
        None => Err(Failure::usage("the payload is not JSON")),
    }
}

fn row(event: &UserEvent) -> Vec<String> {
    let payload = event.payload.as_ref().map_or("", |raw| raw.get());
    let shown: String = payload.chars().take(60).collect();
    vec![
        time(&event.at),
        event.topic.clone(),
        event.kind.clone(),
        event.key.clone(),
        event.source.clone(),
        event.id.clone(),
        shown,
    ]
}

const HEADERS: [&str; 7] = ["at", "topic", "type", "key", "source", "id", "payload"];

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = context.globals.server.connect().await?;
    match command {
        Command::Publish(publish) => {
            let event = NewEvent {
                payload: content(&publish)?,
                id: publish.id.unwrap_or_default(),
                topic: publish.topic,
                kind: publish.kind.unwrap_or_default(),
                source: publish.source.unwrap_or_default(),
                key: publish.key.unwrap_or_default(),
                priority: publish.priority,
                volatile: publish.volatile,
            };
            let told = client.publish(vec![event]).await?;
            context.out.result(&told, |out| {
                for p in &told {
                    let what = match (p.duplicate, p.durable) {
                        (true, _) => "was published before; nothing changed",
                        (false, true) => "is published",
                        (false, false) => "is published, not on disk",
                    };
                    out.line(format_args!("{} {what}", p.id));
                }
            });
        }
        Command::List(list) => {
            let filter = list.which.filter(list.since, list.until);
            let from = list.from.unwrap_or_default();
            let fetch = |size, token: String| {
                let (client, filter, from) = (client.clone(), filter.clone(), from.clone());
                async move { client.events(&filter, &from, size, &token).await }
            };
            let page = list.page.take(fetch).await?;
            context.out.result(&page, |out| {
                out.table(&HEADERS, page.items.iter().map(row).collect(), "no events");
                more(out, &page);
            });
        }
        Command::Get { id } => {
            let event = client.event(&id).await?;
            context.out.result(&event, |out| out.table(&HEADERS, vec![row(&event)], ""));
        }
        Command::Watch(watch) => return follow(context, &client, watch).await,
        Command::Stats => {
            let stats = client.event_stats().await?;
            context.out.result(&stats, |out| {
                let rows = stats.events_by_type.iter().map(|(kind, n)| vec![kind.clone(), n.to_string()]);
                out.table(&["type", "events"], rows.collect(), "no events");
                out.line(format_args!(
                    "{} events, {} wait to be handled, {} starts wait for a busy workflow",
                    stats.total_events, stats.queue_size, stats.held_starts
                ));
            });
        }
        Command::Triggers(args) => {
            let fetch = |size, token: String| {
                let client = client.clone();
                async move { client.triggers(size, &token).await }
            };
            let page = args.take(fetch).await?;
            context.out.result(&page, |out| {
                let rows = page.items.iter().map(|t| {
                    let state = if t.paused { "paused" } else { "running" };
                    let of = t.workflow_version.clone().unwrap_or_default();
                    vec![
                        t.id.clone(),
                        t.name.clone(),
                        t.topic.clone(),
                        t.filter.clone(),
                        t.workflow.clone(),
                        of,
                        state.into(),
                    ]
                });
                let headers = ["id", "name", "topic", "filter", "workflow", "of version", "state"];
                out.table(&headers, rows.collect(), "no triggers");
                more(out, &page);
            });
        }
        Command::PauseTrigger { id } => paused(context, client.pause_trigger(&id, true).await?),
        Command::ResumeTrigger { id } => paused(context, client.pause_trigger(&id, false).await?),
    }
    Ok(ExitCode::SUCCESS)
}

fn paused(context: &Context, trigger: api::client::Trigger) {
    context.out.result(&trigger, |out| {
        let state = if trigger.paused { "is paused" } else { "is running" };
        out.line(format_args!("{} {state}", trigger.name));
    });
}

async fn follow(context: &Context, client: &api::client::Client, watch: Watch) -> Done {
    let filter = watch.which.filter(None, None);
    let mut from = watch.from.unwrap_or_default();
    loop {
        let mut stream = client.watch_events(&filter, &from).await?;
        loop {
            let next = tokio::select! {
                next = stream.next() => next,
                _ = tokio::signal::ctrl_c() => return Ok(super::INTERRUPTED.into()),
            };
            let Some(events) = next? else { break };
            for event in events {
                if !event.cursor.is_empty() {
                    from.clone_from(&event.cursor);
                }
                match context.out.is_for_programs() {
                    true => context.out.line(serde_json::to_string(&event).unwrap_or_default()),
                    false => context.out.line(row(&event).join("  ")),
                }
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}
