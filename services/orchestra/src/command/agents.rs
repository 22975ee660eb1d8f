//! `orchestra agents`.

use std::process::ExitCode;

use api::client::{Agent, AgentFilter, Removal};
use clap::Subcommand;
use serde_json::Value;

use super::{
    Context, Done,
    page::{PageArgs, more},
};
use crate::{files, out::Out};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra agents list --capability web_search --health healthy
  orchestra agents get researcher-1 -o yaml
  orchestra agents register agent.json
  orchestra agents import http://127.0.0.1:9000 --id helper
  orchestra agents delete researcher-1";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists agents.
    List(List),
    /// Shows one agent.
    Get {
        /// Its id.
        id: String,
    },
    /// Registers an agent from its definition.
    Register {
        /// Definition, JSON or YAML; `-` is standard input.
        file: String,
        /// Replaces the definition when the id is taken by another one.
        #[arg(long)]
        replace: bool,
    },
    /// Registers an agent from its A2A card.
    Import {
        /// URL of the card, or of the agent.
        url: String,
        /// Id to register under; else made from the card's name.
        #[arg(long)]
        id: Option<String>,
        /// Calls at once per instance; 0 = default.
        #[arg(long, default_value_t = 0)]
        capacity: u32,
    },
    /// Removes an agent; running calls end first.
    Delete {
        /// Its id.
        id: String,
        /// At once: running calls are cut.
        #[arg(long, conflicts_with = "refuse_if_busy")]
        force: bool,
        /// Refuses while calls run.
        #[arg(long)]
        refuse_if_busy: bool,
    },
}

/// Filters of `list`; they combine with AND.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// A capability that it offers.
    #[arg(long, default_value = "", hide_default_value = true)]
    capability: String,
    /// A tag that it has.
    #[arg(long, default_value = "", hide_default_value = true)]
    tag: String,
    /// healthy, degraded, unhealthy or unknown.
    #[arg(long, default_value = "", hide_default_value = true)]
    health: String,
    /// Environment of its metadata.
    #[arg(long, default_value = "", hide_default_value = true)]
    environment: String,
    /// Its type.
    #[arg(long = "type", default_value = "", hide_default_value = true)]
    agent_type: String,
    #[command(flatten)]
    page: PageArgs,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let out = &context.out;
    // A file that cannot be read needs no server.
    let definition = match &command {
        Command::Register { file, .. } => files::read(file)?,
        _ => String::new(),
    };
    let client = context.globals.server.connect().await?;
    match command {
        Command::List(list) => {
            let fetch = |page_size, page_token| {
                let (client, list) = (client.clone(), &list);
                let filter = AgentFilter {
                    capability: list.capability.clone(),
                    tag: list.tag.clone(),
                    health: list.health.clone(),
                    environment: list.environment.clone(),
                    agent_type: list.agent_type.clone(),
                    page_size,
                    page_token,
                };
                async move { client.agents(&filter).await }
            };
            let page = list.page.take(fetch).await?;
            out.result(&page, |out| {
                let headers = ["id", "type", "health", "score", "state", "capabilities", "endpoint"];
                let empty = "no agents; an agent registers itself, or: orchestra agents register FILE";
                out.table(&headers, page.items.iter().map(row).collect(), empty);
                more(out, &page);
            });
        }
        Command::Get { id } => {
            let agent = client.agent(&id).await?;
            out.result(&agent, |out| show(out, &agent));
        }
        Command::Register { replace, .. } => {
            let registered = match client.register_agent(&definition).await {
                Err(fault) if replace && fault.code == base::ErrorCode::AlreadyExists => {
                    let id = id_of(&definition).ok_or(fault)?;
                    client.update_agent(&id, &definition, 0).await?
                }
                answer => answer?,
            };
            say(out, &registered, "registered");
        }
        Command::Import { url, id, capacity } => {
            let agent = client.import_agent(&url, id.as_deref(), capacity).await?;
            say(out, &agent, "imported");
        }
        Command::Delete { id, force, refuse_if_busy } => {
            let removal = match (force, refuse_if_busy) {
                (true, _) => Removal::Force,
                (false, true) => Removal::RefuseIfBusy,
                (false, false) => Removal::Drain,
            };
            let agent = client.delete_agent(&id, removal).await?;
            let what = if force { "deleted" } else { "draining, gone when its calls have ended" };
            out.result(&agent, |out| out.line(format_args!("{id}: {what}")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn id_of(definition: &str) -> Option<String> {
    let value: Value =
        serde_json::from_str(definition).ok().or_else(|| serde_saphyr::from_str(definition).ok())?;
    value["id"].as_str().map(str::to_owned)
}

fn say(out: &Out, agent: &Agent, what: &str) {
    out.result(agent, |out| out.line(format_args!("{} {what}", agent.agent_id)));
    for finding in &agent.findings {
        out.note(finding);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

fn capabilities(agent: &Agent) -> String {
    let offered = agent.definition["capabilities"].as_array().map(Vec::as_slice).unwrap_or_default();
    offered.iter().filter_map(|c| c["id"].as_str().or_else(|| c.as_str())).collect::<Vec<_>>().join(", ")
}

fn row(agent: &Agent) -> Vec<String> {
    vec![
        agent.agent_id.clone(),
        text(&agent.definition["type"]),
        agent.health.clone(),
        agent.score.to_string(),
        agent.state.clone(),
        capabilities(agent),
        text(&agent.definition["endpoint"]),
    ]
}

fn show(out: &Out, agent: &Agent) {
    let d = &agent.definition;
    let name = text(&d["name"]);
    out.line(format_args!(
        "{}  {}",
        out.bold(&agent.agent_id),
        if name == agent.agent_id { "" } else { &name }
    ));
    for (key, value) in [
        ("type", text(&d["type"])),
        ("version", text(&d["version"])),
        ("state", format!("{}, revision {}", agent.state, agent.revision)),
        ("health", format!("{} ({} of 100)", out.state(&agent.health), agent.score)),
        ("endpoint", text(&d["endpoint"])),
        ("capabilities", capabilities(agent)),
        ("description", text(&d["description"])),
    ] {
        if !value.is_empty() {
            out.line(format_args!("  {key:<14}{value}"));
        }
    }
    let instances = d["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = instances.iter().map(|i| {
        let health = text(&i["healthStatus"]["status"]);
        let health = if health.is_empty() { text(&i["health"]) } else { health };
        let capacity = i["capacity"].as_u64().map(|n| n.to_string()).unwrap_or_default();
        vec![text(&i["id"]), text(&i["endpoint"]), capacity, text(&i["region"]), health]
    });
    if !instances.is_empty() {
        out.line("");
        out.table(&["instance", "endpoint", "capacity", "region", "health"], rows.collect(), "");
    }
    for finding in &agent.findings {
        out.note(finding);
    }
}
