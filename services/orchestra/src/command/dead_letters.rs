//! `orchestra dead-letters`: messages that consumers gave up on.

use std::process::ExitCode;

use clap::Subcommand;

use super::{
    Context, Done,
    page::{PageArgs, more},
};
use crate::out::time;

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra dead-letters list
  orchestra dead-letters redrive ID     puts it back on its stream";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists them, newest first.
    List(PageArgs),
    /// Shows one, with its message when that is text.
    Get {
        /// Id of the dead letter.
        id: String,
    },
    /// Puts one back on its stream; one of a trigger: makes the start it tells of.
    Redrive {
        /// Id of the dead letter.
        id: String,
    },
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = context.globals.server.connect().await?;
    match command {
        Command::List(args) => {
            let fetch = |size, token: String| {
                let client = client.clone();
                async move { client.dead_letters(size, &token).await }
            };
            let page = args.take(fetch).await?;
            context.out.result(&page, |out| {
                let rows = page.items.iter().map(|d| {
                    let tries = d.deliveries.to_string();
                    vec![
                        d.id.clone(),
                        d.state.clone(),
                        d.stream.clone(),
                        d.group.clone(),
                        tries,
                        time(&d.created_at),
                        d.reason.clone(),
                    ]
                });
                let headers = ["id", "state", "stream", "group", "deliveries", "created", "reason"];
                out.table(&headers, rows.collect(), "no dead letters");
                more(out, &page);
            });
        }
        Command::Get { id } => {
            let (letter, body) = client.dead_letter(&id).await?;
            context.out.result(&letter, |out| {
                out.line(format_args!(
                    "{} {} on {}: {}",
                    letter.id, letter.state, letter.stream, letter.reason
                ));
                match std::str::from_utf8(&body) {
                    Ok(text) => out.line(text),
                    Err(_) => out.line(format_args!("{} bytes", body.len())),
                }
            });
        }
        Command::Redrive { id } => {
            let letter = client.redrive(&id).await?;
            context.out.result(&letter, |out| {
                out.line(format_args!("{id} is back on {}", letter.stream));
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}
