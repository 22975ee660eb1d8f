//! Agents: register, import, look, remove.

use proto::{common::v1::PageRequest, registry::v1 as wire};
use serde::Serialize;
use serde_json::Value;

use super::{Client, Page};
use crate::{Fault, status::finding_from_wire};

/// An agent as the registry knows it.
#[derive(Clone, Debug, Serialize)]
pub struct Agent {
    /// Its key.
    pub agent_id: String,
    /// Rises with every change.
    pub revision: u64,
    /// `active` or `draining`.
    pub state: String,
    /// `healthy`, `degraded`, `unhealthy` or `unknown`.
    pub health: String,
    /// 0 to 100.
    pub score: u32,
    /// Name, type, version, endpoint, capabilities, resources, instances, metadata.
    pub definition: Value,
    /// Warnings about the definition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<base::Finding>,
}

impl Agent {
    fn of(a: wire::Agent) -> Result<Self, Fault> {
        let definition = serde_json::from_str(&a.definition_json).unwrap_or_default();
        Ok(Self {
            agent_id: a.agent_id,
            revision: a.revision,
            state: a.state,
            health: a.health,
            score: a.score,
            definition,
            findings: a.findings.into_iter().map(finding_from_wire).collect(),
        })
    }
}

/// Which agents a list shows; empty texts ask for all.
#[derive(Clone, Debug, Default)]
pub struct AgentFilter {
    /// A capability that it offers.
    pub capability: String,
    /// A tag that it has.
    pub tag: String,
    /// `healthy`, `degraded`, `unhealthy` or `unknown`.
    pub health: String,
    /// Environment of its metadata.
    pub environment: String,
    /// Its type.
    pub agent_type: String,
    /// Rows of a page, 1 to 1000; 0 = 50.
    pub page_size: i32,
    /// `next_page_token` of the page before.
    pub page_token: String,
}

/// What happens to calls that run when an agent is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Removal {
    /// It takes no new calls and is gone when the running ones have ended.
    #[default]
    Drain,
    /// The removal is refused while calls run.
    RefuseIfBusy,
    /// It is gone at once.
    Force,
}

impl Client {
    /// Registers an agent from its definition, JSON or YAML. The same definition under the same id is the same agent.
    ///
    /// # Errors
    /// `already_exists` when the id has another definition, `invalid_definition` or `invalid_argument` with findings.
    pub async fn register_agent(&self, definition: &str) -> Result<Agent, Fault> {
        let message = wire::RegisterAgentRequest { definition: definition.to_owned(), format: String::new() };
        let call = || async { self.registry().register_agent(self.request(message.clone())).await };
        Agent::of(self.safely(call).await?)
    }

    /// Replaces an agent's definition. `expected_revision` refuses the change when somebody else was faster; 0 takes
    /// whatever is there.
    ///
    /// # Errors
    /// `not_found`, `conflict`, and those of [`Client::register_agent`].
    pub async fn update_agent(
        &self,
        agent_id: &str,
        definition: &str,
        expected_revision: u64,
    ) -> Result<Agent, Fault> {
        let message = wire::UpdateAgentRequest {
            agent_id: agent_id.to_owned(),
            definition: definition.to_owned(),
            format: String::new(),
            expected_revision,
        };
        // Not repeated: a second try of a change that happened would be refused by its own revision.
        Agent::of(self.once(self.registry().update_agent(self.request(message))).await?)
    }

    /// Registers the agent whose card lies at `url` (the card, or the agent itself), under `agent_id` or a key made
    /// from its name. `capacity` is calls at once per instance, 0 = default.
    ///
    /// # Errors
    /// `unavailable` when the card cannot be read, `invalid_argument` when it is none.
    pub async fn import_agent(
        &self,
        url: &str,
        agent_id: Option<&str>,
        capacity: u32,
    ) -> Result<Agent, Fault> {
        let agent_id = agent_id.unwrap_or_default().to_owned();
        let message = wire::ImportCardRequest { url: url.to_owned(), agent_id, capacity };
        // Not repeated: an `unavailable` card is not an unavailable server.
        Agent::of(self.once(self.registry().import_card(self.request(message))).await?)
    }

    /// One agent.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn agent(&self, agent_id: &str) -> Result<Agent, Fault> {
        let message = wire::GetAgentRequest { agent_id: agent_id.to_owned() };
        let call = || async { self.registry().get_agent(self.request(message.clone())).await };
        Agent::of(self.safely(call).await?)
    }

    /// A page of agents, by key.
    ///
    /// # Errors
    /// `invalid_argument` when the page token is none of this list.
    pub async fn agents(&self, filter: &AgentFilter) -> Result<Page<Agent>, Fault> {
        let message = wire::ListAgentsRequest {
            page: Some(PageRequest { page_size: filter.page_size, page_token: filter.page_token.clone() }),
            capability: filter.capability.clone(),
            tag: filter.tag.clone(),
            health: filter.health.clone(),
            environment: filter.environment.clone(),
            r#type: filter.agent_type.clone(),
        };
        let call = || async { self.registry().list_agents(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Page::of(answer.agents, answer.next_page_token, Agent::of)
    }

    /// Removes an agent.
    ///
    /// # Errors
    /// `not_found`; `invalid_state` when calls run and `removal` refuses to wait.
    pub async fn delete_agent(&self, agent_id: &str, removal: Removal) -> Result<Agent, Fault> {
        let message = wire::DeleteAgentRequest {
            agent_id: agent_id.to_owned(),
            force: removal == Removal::Force,
            refuse_if_busy: removal == Removal::RefuseIfBusy,
        };
        Agent::of(self.once(self.registry().delete_agent(self.request(message))).await?)
    }
}
