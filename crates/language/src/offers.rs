//! How the language sees the fleet, without knowing what an agent is.

use std::time::Duration;

use base::{AgentId, units::Resources};
use serde::Serialize;
use workflow::plan::Need;

/// A view of the registered agents.
pub trait Offers {
    /// Who could do a task with this need, a call of which takes `resources`.
    fn offer(&self, need: &Need, resources: &Resources) -> Offer;
    /// What all instances have together; `None` = not known, or no agent is registered.
    fn total(&self) -> Option<Resources> {
        None
    }
}

/// The fleet's answer to a need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offer {
    /// Agents that could do it, best first.
    pub candidates: Vec<Candidate>,
    /// Why nobody can; `None` when there are candidates.
    pub shortage: Option<Shortage>,
    /// Those worth choosing from, with what decides: the cheapest and the fastest.
    pub choices: Vec<Chance>,
}

/// What decides between agents.
#[derive(Clone, Debug, PartialEq)]
pub struct Chance {
    /// The agent.
    pub agent_id: AgentId,
    /// How long a call usually takes.
    pub expected: Option<Duration>,
    /// Price of a call.
    pub cost: f64,
    /// Calls it takes at once.
    pub capacity: u32,
}

/// An agent that could do a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Its id.
    pub agent_id: AgentId,
    /// Why it is on the list and where, for people.
    pub reason: String,
}

/// Why no agent can do a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Shortage {
    /// Nobody offers a capability.
    Capability {
        /// Which.
        name: String,
        /// The most similar one that is offered.
        nearest: Option<String>,
    },
    /// Nobody fits in another way (type, pinned agent, tags).
    Agent {
        /// For people.
        why: String,
    },
    /// There are agents that can, and none takes calls now.
    Away {
        /// For people.
        why: String,
    },
    /// There are agents that could, and no instance is large enough.
    TooSmall {
        /// For people.
        why: String,
    },
}

impl Shortage {
    /// In words.
    pub fn text(&self) -> String {
        match self {
            Self::Capability { name, .. } => format!("no agent offers the capability `{name}`"),
            Self::Agent { why } | Self::Away { why } => why.clone(),
            Self::TooSmall { why } => format!("it can never fit: {why}"),
        }
    }
}
