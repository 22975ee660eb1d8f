//! From an A2A card to a definition. The registry fills [`Card`] from the protocol's own type, so this crate knows
//! nothing of A2A.

use base::{Effect, Finding, Severity};
use serde_json::{Value, json};

use crate::definition::{AgentDefinition, Checked, Interface, Rejected};

/// What a card says, as far as a definition needs it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Card {
    /// Name of the agent.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Its version.
    pub version: String,
    /// Who provides it.
    pub provider: String,
    /// The interface chosen from those the card offers; its URL is the endpoint.
    pub interface: Option<Interface>,
    /// Where the card was read.
    pub card_url: String,
    /// What it can do.
    pub skills: Vec<CardSkill>,
    /// `type` of the agent, when an extension of the card states it.
    pub agent_type: Option<String>,
    /// Calls at once of one instance, when an extension of the card states it.
    pub capacity: Option<u32>,
}

/// One skill of a card.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CardSkill {
    /// Key within the card.
    pub id: String,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// JSON Schema of the input, when an extension of the card states it.
    pub input_schema: Option<Value>,
    /// JSON Schema of the output, when an extension of the card states it.
    pub output_schema: Option<Value>,
    /// What a call does to the world, when an extension of the card states it.
    pub effect: Option<Effect>,
    /// Version, when an extension of the card states it.
    pub version: Option<String>,
    /// Usual duration of a call, ms, when an extension of the card states it.
    pub expected_ms: Option<u64>,
    /// Longest duration of a call, ms, when an extension of the card states it.
    pub max_ms: Option<u64>,
}

/// The nearest valid key of a free text: letters and digits stay, in lower case, runs of anything else become `-`.
pub fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || c == '_' || c == '.' {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_matches(['-', '.']);
    out.chars().take(base::ids::KEY_BYTES_MAX).collect()
}

impl AgentDefinition {
    /// The definition that a card amounts to, under `agent_id` or a key made from the card's name. `capacity` 0 =
    /// what the card says, else the default.
    ///
    /// # Errors
    /// As [`AgentDefinition::parse`]; in particular when the card offers no interface that is spoken here.
    pub fn from_card(card: &Card, agent_id: &str, capacity: u32) -> Result<Checked, Rejected> {
        let Some(interface) = &card.interface else {
            let why = "the card offers no interface that is spoken here: A2A 1.0 or 0.3 over JSONRPC, or 1.0 over HTTP+JSON";
            return Err(Rejected {
                findings: vec![Finding::new(Severity::Error, "bad-binding", "supportedInterfaces", why)],
            });
        };
        let id = if agent_id.is_empty() { slug(&card.name) } else { agent_id.into() };
        let mut renamed = Vec::new();
        let skills: Vec<Value> = card.skills.iter().map(|skill| capability(skill, &mut renamed)).collect();
        let mut value = json!({
            "id": id, "type": card.agent_type, "name": card.name, "description": card.description, "version": card.version,
            "endpoint": interface.url, "cardUrl": card.card_url, "capabilities": skills,
            "interface": {"binding": interface.binding.as_str(), "version": interface.version,
                          "streaming": interface.streaming, "tenant": interface.tenant},
            "metadata": {"owner": card.provider},
        });
        if let Some(capacity) = Some(capacity).filter(|c| *c > 0).or(card.capacity) {
            value["capacity"] = json!(capacity);
        }
        let mut checked = Self::from_value(&value)?;
        checked.findings.extend(renamed);
        Ok(checked)
    }
}

fn capability(skill: &CardSkill, renamed: &mut Vec<Finding>) -> Value {
    let id =
        if base::ids::check_key("skill", &skill.id).is_ok() { skill.id.clone() } else { slug(&skill.id) };
    if id != skill.id {
        let message = format!("skill {:?} is called `{id}` here: a capability id is a key", skill.id);
        renamed.push(Finding::new(Severity::Warning, "renamed", "skills", message));
    }
    json!({
        "id": id, "name": skill.name, "description": skill.description, "tags": skill.tags,
        "inputSchema": skill.input_schema, "outputSchema": skill.output_schema,
        "effect": skill.effect.map(Effect::as_str), "version": skill.version,
        "performance": {"responseTime": {"target": skill.expected_ms, "max": skill.max_ms}},
    })
}
