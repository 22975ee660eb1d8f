//! `orchestra sessions`: what executions share.

use std::process::ExitCode;

use api::client::{Session, SessionTurn};
use base::Payload;
use clap::Subcommand;
use serde_json::Value;

use super::{
    Context, Done,
    page::{PageArgs, more},
};
use crate::out::{Out, time};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra run chat.yaml --session ada --set question='Why?' --wait
  orchestra sessions list
  orchestra sessions get ada
  orchestra sessions history ada --all
  orchestra sessions set ada language '\"en\"' --expected-version 4
  orchestra sessions executions ada";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists sessions by id.
    List {
        /// Beginning of the id.
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Shows one session with its variables.
    Get {
        /// Id of the session.
        id: String,
    },
    /// Makes an empty session; a run with --session makes it too.
    Create {
        /// Its id; without one the server draws it.
        id: Option<String>,
    },
    /// Deletes a session, its variables and its conversation; its executions stay.
    Delete {
        /// Id of the session.
        id: String,
    },
    /// Sets a variable.
    Set {
        /// Id of the session.
        id: String,
        /// Name of the variable.
        name: String,
        /// The value: JSON, or else a text.
        value: String,
        /// Only when it still has this version.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        expected_version: Option<u64>,
    },
    /// Deletes a variable.
    Unset {
        /// Id of the session.
        id: String,
        /// Name of the variable.
        name: String,
        /// Only when it still has this version.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        expected_version: Option<u64>,
    },
    /// Shows the conversation, oldest first.
    History {
        /// Id of the session.
        id: String,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Adds a turn to the conversation.
    Say {
        /// Id of the session.
        id: String,
        /// What is said: JSON, or else a text.
        content: String,
        /// Who speaks.
        #[arg(long, default_value = "user")]
        role: String,
    },
    /// Lists the session's executions, in the order in which they started.
    Executions {
        /// Id of the session.
        id: String,
        #[command(flatten)]
        page: PageArgs,
    },
}

fn value(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let out = &context.out;
    let client = context.globals.server.connect().await?;
    match command {
        Command::List { prefix, page } => {
            let fetch = |size, token: String| {
                let (client, prefix) = (client.clone(), prefix.clone());
                async move { client.sessions(&prefix, size, &token).await }
            };
            let page = page.take(fetch).await?;
            out.result(&page, |out| {
                let rows = page.items.iter().map(|s| {
                    let numbers = [s.variables_count, s.turns, s.version].map(|n| n.to_string());
                    [vec![s.session_id.clone()], numbers.to_vec(), vec![time(&s.updated_at)]].concat()
                });
                out.table(&["id", "variables", "turns", "version", "updated"], rows.collect(), "no sessions");
                more(out, &page);
            });
        }
        Command::Get { id } => {
            let session = client.session(&id).await?;
            out.result(&session, |out| show(out, &session));
        }
        Command::Create { id } => {
            let session = client.create_session(&id.unwrap_or_default()).await?;
            out.result(&session, |out| out.line(&session.session_id));
        }
        Command::Delete { id } => {
            client.delete_session(&id).await?;
            out.result(&serde_json::json!({"deleted": id}), |out| out.line(format_args!("{id} is deleted")));
        }
        Command::Set { id, name, value: text, expected_version } => {
            let set = client.set_session_variable(&id, &name, &value(text), expected_version).await?;
            out.result(&set, |out| out.line(format_args!("{name} has version {}", set.version)));
        }
        Command::Unset { id, name, expected_version } => {
            client.delete_session_variable(&id, &name, expected_version).await?;
            out.result(&serde_json::json!({"deleted": name}), |out| {
                out.line(format_args!("{name} is deleted"));
            });
        }
        Command::History { id, page } => {
            let fetch = |size, token: String| {
                let (client, id) = (client.clone(), id.clone());
                async move { client.session_history(&id, size, &token).await }
            };
            let page = page.take(fetch).await?;
            out.result(&page, |out| {
                page.items.iter().for_each(|turn| out.line(said(turn)));
                more(out, &page);
            });
        }
        Command::Say { id, content, role } => {
            let content = Payload::from_value(&value(content));
            let turn = client.append_session_turn(&id, &role, &content).await?;
            out.result(&turn, |out| out.line(said(&turn)));
        }
        Command::Executions { id, page } => {
            let fetch = |size, token: String| {
                let (client, id) = (client.clone(), id.clone());
                async move { client.session_executions(&id, size, &token).await }
            };
            let page = page.take(fetch).await?;
            out.result(&page, |out| {
                let rows = page.items.iter().map(|e| {
                    let saved = e.saved_at.as_deref().map(time).unwrap_or_default();
                    vec![
                        e.execution_id.clone(),
                        e.workflow.clone(),
                        e.status.clone().unwrap_or_default(),
                        time(&e.joined_at),
                        saved,
                        e.note.clone().unwrap_or_default(),
                    ]
                });
                let headers = ["execution", "workflow", "status", "started", "saved", "note"];
                out.table(&headers, rows.collect(), "no executions");
                more(out, &page);
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(out: &Out, session: &Session) {
    let rows = session.variables.iter().map(|v| {
        vec![
            v.name.clone(),
            v.value.to_string(),
            v.version.to_string(),
            time(&v.updated_at),
            v.updated_by.clone(),
        ]
    });
    out.table(&["variable", "value", "version", "updated", "by"], rows.collect(), "no variables");
    let (turns, dropped) = (session.turns, session.turns_dropped);
    out.note(format_args!("{turns} turns are kept, {dropped} are gone; version {}", session.version));
}

fn said(turn: &SessionTurn) -> String {
    let text = turn.parts.as_array().and_then(|parts| match parts.as_slice() {
        [only] => only["text"].as_str().map(str::to_owned),
        _ => None,
    });
    format!("{:>4}  {:<8} {}", turn.turn, turn.role, text.unwrap_or_else(|| turn.parts.to_string()))
}
