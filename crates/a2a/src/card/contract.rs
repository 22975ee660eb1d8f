//! What Orchestra wants to know about a skill beyond A2A: a card extension.

use std::collections::BTreeMap;

use base::Effect;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Parameters of the extension [`crate::CAPABILITY_EXTENSION`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AgentContract {
    /// Type of the agent, as definitions name it (`research_agent`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// Calls that one instance takes at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// Contract of each skill, by its id.
    pub skills: BTreeMap<String, SkillContract>,
}

/// Contract of one skill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SkillContract {
    /// What a call does to the world; absent = `idempotent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Version of the skill; recorded with each attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Usual duration of a call, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_ms: Option<u64>,
    /// Longest duration of a call, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<u64>,
    /// JSON Schema of the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// JSON Schema of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
}
