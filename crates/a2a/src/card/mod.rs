//! Agent cards: 1.0, 0.3 and hybrid ones are read, 1.0 and hybrid ones written.

mod choice;
mod contract;
mod legacy;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use choice::{ChoiceError, Endpoint, Override};
pub use contract::{AgentContract, SkillContract};

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// JSON-RPC over HTTP.
    JsonRpc,
    /// REST-like HTTP with JSON.
    HttpJson,
}

impl Binding {
    /// The name on cards.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonRpc => "JSONRPC",
            Self::HttpJson => "HTTP+JSON",
        }
    }
    /// Reads the name on cards; `None` for what is not spoken here.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::JsonRpc, Self::HttpJson].into_iter().find(|b| b.as_str().eq_ignore_ascii_case(name))
    }
}

/// Version of the protocol. Patch numbers do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// 0.3, and 0.2 whose JSON-RPC bodies are the same.
    V0_3,
    /// 1.x
    V1_0,
}

impl Version {
    /// `Major.Minor`, as in the `A2A-Version` header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_3 => "0.3",
            Self::V1_0 => "1.0",
        }
    }
    /// Reads `1.0`, `1.0.1`, `0.3.0`, `0.2.5`; `None` for what is not spoken here.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().trim_start_matches('v').split('.');
        match (numbers.next()?.parse::<u32>().ok()?, numbers.next().unwrap_or("0").parse::<u32>().ok()?) {
            (1, _) => Some(Self::V1_0),
            (0, 2 | 3) => Some(Self::V0_3),
            _ => None,
        }
    }
}

/// One way to reach the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AgentInterface {
    /// Where.
    pub url: String,
    /// `JSONRPC`, `HTTP+JSON`, `GRPC` or a URI of a custom one.
    pub protocol_binding: String,
    /// `1.0`, `0.3`.
    pub protocol_version: String,
    /// Must be sent with each request when set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// Who offers the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Provider {
    /// Home page.
    pub url: String,
    /// Name.
    pub organization: String,
}

/// An extension that the agent speaks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Extension {
    /// Its name.
    pub uri: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Clients that do not name it are refused.
    pub required: bool,
    /// What the extension defines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
}

/// What the agent offers besides plain sends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Capabilities {
    /// Streams.
    pub streaming: bool,
    /// Push notifications.
    pub push_notifications: bool,
    /// A fuller card for authenticated clients.
    pub extended_agent_card: bool,
    /// Extensions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
}

/// One thing the agent can do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Skill {
    /// Unique on the card; the capability id in Orchestra.
    pub id: String,
    /// For people.
    pub name: String,
    /// For people and planners.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Example questions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
    /// Media types taken; empty = the card's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub input_modes: Vec<String>,
    /// Media types given; empty = the card's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output_modes: Vec<String>,
    /// Security of this skill, kept as it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_requirements: Vec<Value>,
}

/// An agent card in the form of 1.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AgentCard {
    /// Name of the agent.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Ways to reach it, preferred first.
    pub supported_interfaces: Vec<AgentInterface>,
    /// Who offers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// The agent's own version.
    pub version: String,
    /// Where to read more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
    /// What it offers besides plain sends.
    pub capabilities: Capabilities,
    /// Security schemes by name, kept as they are.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub security_schemes: Map<String, Value>,
    /// Alternatives of schemes, kept as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_requirements: Vec<Value>,
    /// Media types taken.
    pub default_input_modes: Vec<String>,
    /// Media types given.
    pub default_output_modes: Vec<String>,
    /// What it can do.
    pub skills: Vec<Skill>,
    /// Signatures, kept as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<Value>,
    /// A picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon_url: Option<String>,
}

/// A text that is not an agent card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an agent card: {0}")]
pub struct BadCard(pub String);

impl AgentCard {
    /// Reads a card of 1.0, of 0.3 or a hybrid one (`supportedInterfaces` present: the rules of 1.0).
    ///
    /// # Errors
    /// When the text is not JSON, has a field of a wrong type, or names no skill id or interface.
    pub fn parse(text: &[u8]) -> Result<Self, BadCard> {
        let value: Value = serde_json::from_slice(text).map_err(|e| BadCard(e.to_string()))?;
        Self::from_value(value)
    }

    /// As [`AgentCard::parse`], from a JSON tree.
    ///
    /// # Errors
    /// As [`AgentCard::parse`].
    pub fn from_value(mut value: Value) -> Result<Self, BadCard> {
        if !value.is_object() {
            return Err(BadCard("must be a JSON object".into()));
        }
        strip_nulls(&mut value);
        let modern =
            value.get("supportedInterfaces").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
        let card = if modern { read(value)? } else { legacy::read(value)? };
        if card.name.is_empty() {
            return Err(BadCard("name is missing".into()));
        }
        if card.supported_interfaces.is_empty() {
            return Err(BadCard("neither supportedInterfaces nor url is given".into()));
        }
        if let Some(at) = card.skills.iter().position(|s| s.id.is_empty()) {
            return Err(BadCard(format!("skills[{at}].id is missing")));
        }
        Ok(card)
    }

    /// The card of 1.0.
    pub fn to_value(&self) -> Value {
        // Plain structs with string keys cannot fail to become a tree.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The card of 1.0 with the fields of 0.3 beside them, for clients that know only those.
    pub fn to_hybrid(&self) -> Value {
        legacy::add(self, self.to_value())
    }

    /// Orchestra's contract of the skills, when the card carries the extension.
    pub fn contract(&self) -> AgentContract {
        let ext = self.capabilities.extensions.iter().find(|e| e.uri == crate::CAPABILITY_EXTENSION);
        let params = ext.and_then(|e| e.params.clone());
        params.and_then(|p| serde_json::from_value(p).ok()).unwrap_or_default()
    }

    /// Puts Orchestra's contract on the card, replacing an earlier one.
    pub fn set_contract(&mut self, contract: &AgentContract) {
        self.capabilities.extensions.retain(|e| e.uri != crate::CAPABILITY_EXTENSION);
        self.capabilities.extensions.push(Extension {
            uri: crate::CAPABILITY_EXTENSION.into(),
            description: Some("Effect class, version, duration and schemas of each skill".into()),
            required: false,
            params: serde_json::to_value(contract).ok(),
        });
    }

    /// Skills by id.
    pub fn skills_by_id(&self) -> BTreeMap<&str, &Skill> {
        self.skills.iter().map(|s| (s.id.as_str(), s)).collect()
    }
}

fn read(value: Value) -> Result<AgentCard, BadCard> {
    serde_json::from_value(value).map_err(|e| BadCard(e.to_string()))
}

/// `null` means absent, except inside of extension parameters: a JSON Schema may name it.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.iter_mut().filter(|(key, _)| *key != "params").for_each(|(_, v)| strip_nulls(v));
        }
        Value::Array(list) => list.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
