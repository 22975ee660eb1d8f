//! An agent as its owner describes it.

use std::collections::BTreeMap;

use base::{AgentId, Effect, Finding, Timestamp, units::Resources};
use serde_json::Value;

/// Largest text of one definition, in bytes.
pub const DEFINITION_BYTES_MAX: usize = 1 << 20;
/// Capabilities of one agent.
pub const CAPABILITIES_MAX: usize = 1000;
/// Instances of one agent.
pub const INSTANCES_MAX: usize = 1000;
/// Tags of one agent or capability.
pub const TAGS_MAX: usize = 100;
/// Longest name, version, tag, owner or region, in bytes.
pub const SHORT_TEXT_BYTES_MAX: usize = 256;
/// Longest description, in bytes.
pub const LONG_TEXT_BYTES_MAX: usize = 16 << 10;
/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2048;
/// Calls at once that an instance takes unless it declares otherwise.
pub const CAPACITY_DEFAULT: u32 = 64;
/// Largest capacity of an instance.
pub const CAPACITY_MAX: u32 = 1_000_000;
/// Name of the instance of an agent that lists none.
pub const ONLY_INSTANCE: &str = "default";

/// An agent as its owner describes it. What is measured (health, revision) is not part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentDefinition {
    /// Key, chosen by the owner.
    pub id: AgentId,
    /// For people; the id when none is given.
    pub name: String,
    /// What it does, for people.
    pub description: String,
    /// `type`: the kind of agent (`analyzer`); empty = none named.
    pub agent_type: String,
    /// Its version, free text; empty = not stated.
    pub version: String,
    /// Where it answers: base of the card's well-known path, or the interface itself when `interface` is set.
    /// Empty only when every instance has its own.
    pub endpoint: String,
    /// Where its card lies, when not at the well-known path of the endpoint.
    pub card_url: Option<String>,
    /// How to speak to it; `None` = as its card says.
    pub interface: Option<Interface>,
    /// Path of the endpoint's host that answers 2xx when it is well; `None` = the card is asked for instead.
    pub health_path: Option<String>,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// What it has.
    pub resources: AgentResources,
    /// Where it runs, as listed; empty = one instance at the endpoint, see [`AgentDefinition::instances`].
    pub listed_instances: Vec<Instance>,
    /// Capacity of instances that declare none.
    pub capacity: Option<u32>,
    /// Weight of instances that declare none.
    pub weight: Option<f64>,
    /// Region of instances that declare none.
    pub region: Option<String>,
    /// Price of one call, in the installation's own unit; `None` counts as 0.
    pub cost: Option<f64>,
    /// About the entry.
    pub metadata: Metadata,
}

/// How to speak to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The wire form.
    pub binding: Binding,
    /// Protocol version, major and minor: `1.0`, `0.3`.
    pub version: String,
    /// Where; `None` = the endpoint.
    pub url: Option<String>,
    /// Whether it streams; `None` = not known.
    pub streaming: Option<bool>,
    /// A2A tenant to name in requests.
    pub tenant: Option<String>,
}

/// Wire forms of A2A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// `JSONRPC`.
    JsonRpc,
    /// `HTTP+JSON`.
    HttpJson,
}

impl Binding {
    /// As A2A cards write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonRpc => "JSONRPC",
            Self::HttpJson => "HTTP+JSON",
        }
    }
    /// Reads the form of A2A cards, letter case ignored.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::JsonRpc, Self::HttpJson].into_iter().find(|b| b.as_str().eq_ignore_ascii_case(text))
    }
}

/// One thing an agent can do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Capability {
    /// Key within the agent; what tasks ask for.
    pub id: String,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// JSON Schema of the input.
    pub input_schema: Option<Value>,
    /// JSON Schema of the output.
    pub output_schema: Option<Value>,
    /// What its owner promises.
    pub performance: Performance,
    /// Compliance levels it is cleared for.
    pub compliance: Vec<String>,
    /// Capabilities it needs itself.
    pub dependencies: Vec<String>,
    /// Tags of this capability.
    pub tags: Vec<String>,
    /// What a call does to the world; `None` = idempotent.
    pub effect: Option<Effect>,
    /// Price of one call; `None` = the agent's.
    pub cost: Option<f64>,
    /// Version of the capability, recorded with each attempt; empty = the agent's.
    pub version: String,
}

/// What an owner promises about a capability.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Performance {
    /// Usual time of a call, ms.
    pub response_ms_target: Option<f64>,
    /// Longest time of a call, ms.
    pub response_ms_max: Option<f64>,
    /// Usual calls per second.
    pub throughput_target: Option<f64>,
    /// Most calls per second.
    pub throughput_max: Option<f64>,
    /// Failed calls that are tolerated, percent.
    pub error_percent_max: Option<f64>,
    /// Time that it answers, percent.
    pub availability_percent_target: Option<f64>,
}

/// A least and a greatest amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// At least.
    pub min: Option<u64>,
    /// At most.
    pub max: Option<u64>,
}

/// What an agent has, per instance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AgentResources {
    /// Thousandths of a core.
    pub cpu_millis: Span,
    /// Bytes.
    pub memory_bytes: Span,
    /// Mbit/s.
    pub bandwidth_mbps: Option<u64>,
    /// Usual network delay, ms.
    pub latency_ms: Option<f64>,
}

impl AgentResources {
    /// What one instance offers at most; a dimension that is not declared is unlimited.
    pub fn room(&self) -> Resources {
        let most = |span: Span| span.max.or(span.min).unwrap_or(u64::MAX);
        Resources {
            cpu_millis: most(self.cpu_millis),
            memory_bytes: most(self.memory_bytes),
            network_mbps: self.bandwidth_mbps.unwrap_or(u64::MAX),
        }
    }
}

/// One place where the agent runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Key within the agent.
    pub id: String,
    /// Its own endpoint; `None` = the agent's.
    pub endpoint: Option<String>,
    /// Calls at once; `None` = the agent's, else [`CAPACITY_DEFAULT`].
    pub capacity: Option<u32>,
    /// Share of the load compared to its siblings; `None` = the agent's, else 1.
    pub weight: Option<f64>,
    /// Where it stands; `None` = the agent's.
    pub region: Option<String>,
    /// How to speak to it; `None` = the agent's.
    pub interface: Option<Interface>,
}

/// About the entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Who answers for it.
    pub owner: String,
    /// When it was made, as its owner says.
    pub created: Option<Timestamp>,
    /// When it was last changed, as its owner says.
    pub updated: Option<Timestamp>,
    /// Higher is preferred by people; informational.
    pub priority: Option<i64>,
    /// `production`, `staging`, …
    pub environment: String,
    /// Everything else, as it came.
    pub other: BTreeMap<String, Value>,
}

/// A definition that passed every check, and what there is to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The definition.
    pub definition: AgentDefinition,
    /// Warnings and notes; never errors.
    pub findings: Vec<Finding>,
}

/// A definition that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent definition has {} error(s): {first}", .findings.iter().filter(|f| f.is_error()).count(), first = .findings.iter().find(|f| f.is_error()).map(ToString::to_string).unwrap_or_default())]
pub struct Rejected {
    /// Errors first, then warnings.
    pub findings: Vec<Finding>,
}

impl Rejected {
    /// Path of the first error.
    pub fn field(&self) -> &str {
        self.findings.iter().find(|f| f.is_error()).map_or("", |f| f.path.as_str())
    }
}

/// Text form of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

impl Format {
    /// `json`, `yaml` or `yml`; empty = found out from the text: an opening brace means JSON.
    pub fn of(name: &str, text: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "" if text.trim_start().starts_with('{') => Some(Self::Json),
            "" => Some(Self::Yaml),
            _ => None,
        }
    }
}

impl AgentDefinition {
    /// Reads and checks a text of at most [`DEFINITION_BYTES_MAX`].
    ///
    /// # Errors
    /// [`Rejected`] with every error found, each with its path, and line and column where the syntax is broken.
    pub fn parse(text: &str, format: Format) -> Result<Checked, Rejected> {
        crate::read::parse(text, format)
    }

    /// Checks a JSON value.
    ///
    /// # Errors
    /// As [`AgentDefinition::parse`].
    pub fn from_value(value: &Value) -> Result<Checked, Rejected> {
        crate::read::from_value(value)
    }

    /// Reads what a registry, perhaps of another release, wrote: keys that this build does not know are passed over.
    ///
    /// # Errors
    /// As [`AgentDefinition::parse`].
    pub fn from_stored(value: &Value) -> Result<Self, Rejected> {
        crate::read::from_stored(value)
    }

    /// The JSON form of S0, without what is measured. [`AgentDefinition::from_value`] reads the same definition back.
    pub fn to_value(&self) -> Value {
        crate::write::definition(self)
    }

    /// Where it runs: the listed instances, or the only one at the endpoint, every default filled in.
    pub fn instances(&self) -> Vec<FullInstance> {
        if self.listed_instances.is_empty() {
            let only = Instance {
                id: ONLY_INSTANCE.into(),
                endpoint: None,
                capacity: None,
                weight: None,
                region: None,
                interface: None,
            };
            return vec![self.fill(&only)];
        }
        self.listed_instances.iter().map(|i| self.fill(i)).collect()
    }

    fn fill(&self, instance: &Instance) -> FullInstance {
        let own_place = instance.endpoint.is_some();
        // The agent's interface URL belongs to the agent's endpoint: an instance elsewhere keeps only binding and version.
        let inherited = self.interface.clone().map(|i| Interface { url: i.url.filter(|_| !own_place), ..i });
        FullInstance {
            id: instance.id.clone(),
            endpoint: instance.endpoint.clone().unwrap_or_else(|| self.endpoint.clone()),
            capacity: instance.capacity.or(self.capacity).unwrap_or(CAPACITY_DEFAULT),
            weight: instance.weight.or(self.weight).unwrap_or(1.0),
            region: instance.region.clone().or_else(|| self.region.clone()).unwrap_or_default(),
            interface: instance.interface.clone().or(inherited),
            card_url: self.card_url.clone().filter(|_| !own_place),
        }
    }

    /// The capability of that id.
    pub fn capability(&self, id: &str) -> Option<&Capability> {
        self.capabilities.iter().find(|c| c.id == id)
    }

    /// Price of one call of `capability`, or of any call when none is named. Not declared = 0.
    pub fn cost_of(&self, capability: Option<&str>) -> f64 {
        capability.and_then(|id| self.capability(id)).and_then(|c| c.cost).or(self.cost).unwrap_or(0.0)
    }

    /// Version of a capability: its own, else the agent's; may be empty.
    pub fn version_of(&self, capability: Option<&str>) -> &str {
        let own = capability.and_then(|id| self.capability(id)).map(|c| c.version.as_str());
        own.filter(|v| !v.is_empty()).unwrap_or(&self.version)
    }

    /// Whether the agent, or one of its capabilities, carries the tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.metadata.tags.iter().any(|t| t == tag)
            || self.capabilities.iter().any(|c| c.tags.iter().any(|t| t == tag))
    }
}

/// An instance with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct FullInstance {
    /// Key within the agent.
    pub id: String,
    /// Where it answers.
    pub endpoint: String,
    /// Calls at once.
    pub capacity: u32,
    /// Share of the load compared to its siblings.
    pub weight: f64,
    /// Where it stands; empty = not stated.
    pub region: String,
    /// How to speak to it; `None` = as its card says.
    pub interface: Option<Interface>,
    /// Where its card lies, when not at the well-known path of the endpoint.
    pub card_url: Option<String>,
}
