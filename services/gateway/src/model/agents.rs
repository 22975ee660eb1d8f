//! Agents. Names are in camel case, as in the document that defines them. The registry reads and writes these texts;
//! here they have their schema.

use base::ErrorCode;
use proto::registry::v1 as wire;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::start::NumberOrText;
use crate::problem::{FindingView, Problem};

/// Members of an agent's document that belong to its entry, not to its definition.
const ENTRY_MEMBERS: [&str; 3] = ["revision", "state", "findings"];

/// An agent and its entry in the registry.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Agent {
    /// What its owner says, and what was measured.
    #[serde(flatten)]
    #[schema(value_type = AgentDefinition)]
    pub definition: Map<String, Value>,
    /// Rises with every change: the `ETag`, and what `If-Match` of an update names.
    pub revision: u64,
    /// `active` or `draining`.
    pub state: String,
    /// Warnings about the definition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub findings: Vec<FindingView>,
}

impl TryFrom<wire::Agent> for Agent {
    type Error = Problem;
    fn try_from(agent: wire::Agent) -> Result<Self, Problem> {
        let definition = serde_json::from_str(&agent.definition_json)
            .map_err(|e| Problem::internal("the registry sent an agent that is not JSON", e))?;
        let findings = agent.findings.iter().map(FindingView::from).collect();
        Ok(Self { definition, revision: agent.revision, state: agent.state, findings })
    }
}

/// A definition without the members of its entry, and the revision that it was read at: what was read can be changed
/// and sent back. Other texts stay as they are, so that findings name their lines.
pub(crate) fn without_entry(text: String, format: &str) -> (String, u64) {
    if format == "yaml" || !ENTRY_MEMBERS.iter().any(|member| text.contains(member)) {
        return (text, 0);
    }
    let Ok(Value::Object(mut members)) = serde_json::from_str(&text) else { return (text, 0) };
    let revision = members.get("revision").and_then(Value::as_u64).unwrap_or(0);
    let before = members.len();
    members.retain(|key, _| !ENTRY_MEMBERS.contains(&key.as_str()));
    if members.len() == before { (text, 0) } else { (Value::Object(members).to_string(), revision) }
}

/// The revision that `If-Match` names; 0 = any.
pub(crate) fn if_match(header: Option<&str>) -> Result<u64, Problem> {
    match header {
        None | Some("*") => Ok(0),
        Some(tag) => tag.trim_start_matches("W/").trim_matches('"').parse().map_err(|_| {
            let rule = "If-Match must be the ETag of the agent, such as \"3\"";
            Problem::new(ErrorCode::InvalidArgument, rule).field("If-Match")
        }),
    }
}

/// A page of agents.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentPage {
    /// By id.
    pub agents: Vec<Agent>,
    /// Give it as `page_token` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// Registers what an agent's card says.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ImportCard {
    /// URL of the card, or of the agent: the well-known path is tried then.
    pub url: String,
    /// Id to register under; default: made from the card's name.
    pub id: Option<String>,
    /// Calls at once per instance.
    #[schema(minimum = 1)]
    pub capacity: Option<u32>,
}

/// A sign of life.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Heartbeat {
    /// Default: the agent's only instance.
    pub instance_id: Option<String>,
    /// `healthy` or `degraded`, as the instance sees itself; default: healthy.
    pub status: Option<HeartbeatStatus>,
    /// Calls it is working on.
    pub in_flight: Option<u32>,
}

/// How an instance sees itself.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HeartbeatStatus {
    /// All is well.
    Healthy,
    /// It works, and not well.
    Degraded,
}

/// When the next sign of life is expected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeartbeatAnswer {
    /// Milliseconds from now.
    pub expires_in_ms: u64,
}

// ---- The schema of a definition. The registry checks what is sent, with line and column; these only describe it.

/// An agent: what it can do, what it has, where it runs. More keys (`instances`, `interface`, …) are in `docs/api.md`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentDefinition {
    /// Key, chosen by the owner: letters, digits, `.`, `_`, `-`.
    pub id: String,
    /// For people.
    pub name: String,
    /// The kind of agent: `analyzer`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Where it answers.
    pub endpoint: Option<String>,
    /// What it can do.
    pub capabilities: Option<Vec<AgentCapability>>,
    /// What it has.
    pub resources: Option<AgentResources>,
    /// Measured; what a request says here is not believed.
    pub health_status: Option<HealthStatus>,
    /// About the entry.
    pub metadata: Option<AgentMetadata>,
    /// Where it runs; default: one instance at the endpoint.
    pub instances: Option<Vec<AgentInstance>>,
    /// Calls at once of instances that declare none.
    pub capacity: Option<u32>,
}

/// One thing an agent can do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentCapability {
    /// Key within the agent; what tasks ask for.
    pub id: String,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// JSON Schema of the input.
    pub input_schema: Option<Value>,
    /// JSON Schema of the output.
    pub output_schema: Option<Value>,
    /// What its owner promises.
    pub performance: Option<CapabilityPerformance>,
    /// Compliance levels it is cleared for.
    pub compliance: Option<Vec<String>>,
    /// Capabilities it needs itself.
    pub dependencies: Option<Vec<String>>,
    /// What a call does to the world: `pure`, `idempotent`, `compensatable`, `irreversible`.
    pub effect: Option<String>,
}

/// What an owner promises about a capability.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CapabilityPerformance {
    /// Milliseconds.
    pub response_time: Option<TargetAndMax>,
    /// Calls per minute.
    pub throughput: Option<TargetAndMax>,
    /// Percent; only `max`.
    pub error_rate: Option<TargetAndMax>,
    /// Percent; only `target`.
    pub availability: Option<TargetAndMax>,
}

/// What is usual, and what is the bound.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TargetAndMax {
    /// Usual.
    pub target: Option<f64>,
    /// Bound.
    pub max: Option<f64>,
}

/// What an agent has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentResources {
    /// Cores: a number, or `2 cores`, `500m`.
    pub cpu: Option<MinAndMax>,
    /// MB: a number, or `4GB`.
    pub memory: Option<MinAndMax>,
    /// Network.
    pub network: Option<AgentNetwork>,
}

/// A range.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MinAndMax {
    /// At least.
    pub min: Option<NumberOrText>,
    /// At most.
    pub max: Option<NumberOrText>,
}

/// Network.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentNetwork {
    /// Mbit/s.
    pub bandwidth: Option<f64>,
    /// Milliseconds.
    pub latency: Option<f64>,
}

/// How an agent is: measured by probes, heartbeats and calls.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HealthStatus {
    /// `healthy`, `degraded`, `unhealthy` or `unknown`.
    pub status: String,
    /// RFC 3339.
    pub last_check: Option<String>,
    /// What was looked at.
    pub checks: Option<Vec<Value>>,
    /// 0 to 100.
    pub score: Option<f64>,
}

/// About an entry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentMetadata {
    /// To filter by.
    pub tags: Option<Vec<String>>,
    /// Who looks after it.
    pub owner: Option<String>,
    /// RFC 3339.
    pub created: Option<String>,
    /// RFC 3339.
    pub updated: Option<String>,
    /// Higher is preferred.
    pub priority: Option<i64>,
    /// `production`, `staging`, …
    pub environment: Option<String>,
}

/// One place where an agent runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentInstance {
    /// Key within the agent.
    pub id: String,
    /// Where it answers; default: the agent's endpoint.
    pub endpoint: Option<String>,
    /// Calls at once.
    pub capacity: Option<u32>,
    /// Share of calls against its siblings.
    pub weight: Option<f64>,
    /// Where it stands.
    pub region: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_can_be_changed_and_sent_back() {
        let read = r#"{"id":"a","revision":7,"state":"active","findings":[]}"#;
        assert_eq!(without_entry(read.into(), "json"), (r#"{"id":"a"}"#.into(), 7));
        for (text, format) in [("{ \"id\": \"a\" }", "json"), ("id: a\nrevision: 7", "yaml"), ("state", "")] {
            assert_eq!(without_entry(text.into(), format), (text.to_owned(), 0));
        }
    }

    #[test]
    fn if_match_names_a_revision() {
        for (header, want) in [
            (None, Some(0)),
            (Some("*"), Some(0)),
            (Some("\"3\""), Some(3)),
            (Some("W/\"3\""), Some(3)),
            (Some("x"), None),
        ] {
            assert_eq!(if_match(header).ok(), want, "{header:?}");
        }
    }
}
