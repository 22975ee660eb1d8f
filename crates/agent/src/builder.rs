//! What an agent is: its card fields, its skills, their handlers.

use std::{sync::Arc, time::Duration};

use a2a::{
    AgentCard, Version,
    card::{AgentContract, AgentInterface, Binding, Capabilities, Provider, SkillContract},
    server::{Failure, ServerConfig},
};
use base::Effect;
use futures::future::{BoxFuture, FutureExt};
use serde_json::{Value, json};

use crate::{Answer, Call, IntoAnswer};

pub(crate) type SkillHandler = Arc<dyn Fn(Call) -> BoxFuture<'static, Result<Answer, Failure>> + Send + Sync>;
pub(crate) type Chooser = Arc<dyn Fn(&Value) -> Option<&'static str> + Send + Sync>;

/// One thing an agent can do.
#[derive(Clone)]
pub struct Skill {
    pub(crate) id: Arc<str>,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) tags: Vec<String>,
    pub(crate) contract: SkillContract,
    pub(crate) handler: Option<SkillHandler>,
}

impl Skill {
    /// A skill called `id`, a key such as `data_collection`, with what it does in a sentence.
    pub fn new(id: &str, description: &str) -> Self {
        let name = id.replace(['_', '-'], " ");
        let (id, description) = (Arc::from(id), description.to_owned());
        Self { id, name, description, tags: Vec::new(), contract: SkillContract::default(), handler: None }
    }
    /// Name for people; made from the id otherwise.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }
    /// Words to find the skill by.
    #[must_use]
    pub fn tags(mut self, tags: &[&str]) -> Self {
        self.tags = tags.iter().map(|&t| t.to_owned()).collect();
        self
    }
    /// JSON Schema of the input. A call whose input breaks it is refused before a task exists.
    #[must_use]
    pub fn input_schema(mut self, schema: Value) -> Self {
        self.contract.input_schema = Some(schema);
        self
    }
    /// JSON Schema of the output, told on the card; the orchestrator checks it.
    #[must_use]
    pub fn output_schema(mut self, schema: Value) -> Self {
        self.contract.output_schema = Some(schema);
        self
    }
    /// What a call does to the world; idempotent when not said.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.contract.effect = Some(effect);
        self
    }
    /// Version of the skill; recorded with each attempt.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.contract.version = Some(version.to_owned());
        self
    }
    /// Usual and longest duration of a call.
    #[must_use]
    pub fn takes(mut self, usual: Duration, longest: Duration) -> Self {
        let ms = |d: Duration| u64::try_from(d.as_millis()).ok();
        (self.contract.expected_ms, self.contract.max_ms) = (ms(usual), ms(longest));
        self
    }
    /// The work.
    #[must_use]
    pub fn handler<F, Fut, A>(mut self, handler: F) -> Self
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, Failure>> + Send + 'static,
        A: IntoAnswer,
    {
        self.handler = Some(Arc::new(move |call| {
            handler(call).map(|result| result.map(IntoAnswer::into_answer)).boxed()
        }));
        self
    }
}

/// An agent before it runs.
#[derive(Clone)]
pub struct Agent {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) version: String,
    pub(crate) agent_type: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) capacity: u32,
    pub(crate) streaming: bool,
    pub(crate) skills: Vec<Skill>,
    pub(crate) chooser: Option<Chooser>,
    pub(crate) server: ServerConfig,
}

/// An agent that cannot run as it is described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// It can do nothing.
    #[error("agent {0:?} has no skills")]
    NoSkills(String),
    /// Two skills have the same id.
    #[error("skill {0:?} is defined twice")]
    Twice(String),
    /// A skill without work.
    #[error("skill {0:?} has no handler")]
    NoHandler(String),
    /// A schema that is not one.
    #[error("input schema of skill {skill:?}: {why}")]
    BadSchema {
        /// The skill.
        skill: String,
        /// What is wrong.
        why: String,
    },
}

impl Agent {
    /// An agent with a name and what it is for.
    pub fn new(name: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            version: "1.0.0".into(),
            agent_type: None,
            provider: None,
            tags: Vec::new(),
            capacity: 64,
            streaming: true,
            skills: Vec::new(),
            chooser: None,
            server: ServerConfig::default(),
        }
    }
    /// Version of the agent. Default `1.0.0`.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }
    /// Type that definitions ask for (`research_agent`).
    #[must_use]
    pub fn agent_type(mut self, agent_type: &str) -> Self {
        self.agent_type = Some(agent_type.to_owned());
        self
    }
    /// Who offers it.
    #[must_use]
    pub fn provider(mut self, organization: &str) -> Self {
        self.provider = Some(organization.to_owned());
        self
    }
    /// Words to find the agent by.
    #[must_use]
    pub fn tags(mut self, tags: &[&str]) -> Self {
        self.tags = tags.iter().map(|&t| t.to_owned()).collect();
        self
    }
    /// Calls at once. Default 64.
    #[must_use]
    pub fn capacity(mut self, calls: u32) -> Self {
        self.capacity = calls.max(1);
        self
    }
    /// Whether the card offers streams. Default true; short skills are cheaper without.
    #[must_use]
    pub fn streaming(mut self, streaming: bool) -> Self {
        self.streaming = streaming;
        self
    }
    /// Limits of the server.
    #[must_use]
    pub fn limits(mut self, limits: ServerConfig) -> Self {
        self.server = limits;
        self
    }
    /// Adds a skill.
    #[must_use]
    pub fn skill(mut self, skill: Skill) -> Self {
        self.skills.push(skill);
        self
    }
    /// Chooses a skill by the input when a call names none and there are several. `None` refuses the call.
    #[must_use]
    pub fn choose(
        mut self,
        by_input: impl Fn(&Value) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        self.chooser = Some(Arc::new(by_input));
        self
    }

    pub(crate) fn check(&self) -> Result<(), DefinitionError> {
        if self.skills.is_empty() {
            return Err(DefinitionError::NoSkills(self.name.clone()));
        }
        for (at, skill) in self.skills.iter().enumerate() {
            if self.skills[..at].iter().any(|s| s.id == skill.id) {
                return Err(DefinitionError::Twice(skill.id.to_string()));
            }
            if skill.handler.is_none() {
                return Err(DefinitionError::NoHandler(skill.id.to_string()));
            }
        }
        Ok(())
    }

    /// The card, for an agent that answers at `url`.
    pub fn card(&self, url: &str) -> AgentCard {
        let interface = |binding: Binding, version: Version| AgentInterface {
            url: url.to_owned(),
            protocol_binding: binding.as_str().into(),
            protocol_version: version.as_str().into(),
            tenant: None,
        };
        let mut interfaces =
            vec![interface(Binding::JsonRpc, Version::V1_0), interface(Binding::HttpJson, Version::V1_0)];
        if self.server.legacy {
            interfaces.push(interface(Binding::JsonRpc, Version::V0_3));
        }
        let skills = self.skills.iter().map(|skill| a2a::card::Skill {
            id: skill.id.to_string(),
            name: skill.name.clone(),
            description: skill.description.clone(),
            tags: skill.tags.clone(),
            ..a2a::card::Skill::default()
        });
        let modes = || vec!["application/json".to_owned(), "text/plain".to_owned()];
        let provider =
            self.provider.clone().map(|organization| Provider { organization, url: String::new() });
        let mut card = AgentCard {
            name: self.name.clone(),
            description: self.description.clone(),
            version: self.version.clone(),
            supported_interfaces: interfaces,
            provider,
            capabilities: Capabilities { streaming: self.streaming, ..Capabilities::default() },
            default_input_modes: modes(),
            default_output_modes: modes(),
            skills: skills.collect(),
            ..AgentCard::default()
        };
        let skills = self.skills.iter().map(|s| (s.id.to_string(), s.contract.clone())).collect();
        card.set_contract(&AgentContract {
            agent_type: self.agent_type.clone(),
            capacity: Some(self.capacity),
            skills,
        });
        card
    }

    /// The definition that registers the agent under `id`, for an agent that answers at `url`.
    pub fn definition(&self, id: &str, url: &str) -> Value {
        let capabilities: Vec<Value> = self.skills.iter().map(capability).collect();
        let mut definition = json!({
            "id": id, "name": self.name, "description": self.description, "version": self.version,
            "endpoint": url, "capabilities": capabilities, "capacity": self.capacity,
            "interface": {"binding": Binding::JsonRpc.as_str(), "version": Version::V1_0.as_str(), "streaming": self.streaming},
            "metadata": {"tags": self.tags},
        });
        if let Some(agent_type) = &self.agent_type {
            definition["type"] = json!(agent_type);
        }
        if let Some(owner) = &self.provider {
            definition["metadata"]["owner"] = json!(owner);
        }
        definition
    }
}

fn capability(skill: &Skill) -> Value {
    let contract = &skill.contract;
    let mut value = json!({"id": *skill.id, "name": skill.name, "description": skill.description});
    let mut set = |key: &str, content: Option<Value>| {
        if let Some(content) = content {
            value[key] = content;
        }
    };
    set("tags", (!skill.tags.is_empty()).then(|| json!(skill.tags)));
    set("inputSchema", contract.input_schema.clone());
    set("outputSchema", contract.output_schema.clone());
    set("effect", contract.effect.map(|e| json!(e.as_str())));
    set("version", contract.version.clone().map(Value::from));
    set(
        "performance",
        contract
            .expected_ms
            .map(|ms| json!({"responseTime": {"target": ms, "max": contract.max_ms.unwrap_or(ms)}})),
    );
    value
}
