//! How the language sees the fleet, without knowing what an agent is.

use std::time::Duration;

use base::{AgentId, units::Resources};
use serde::Serialize;
use workflow::plan::Need;

/// A view of the registered agents.
pub trait Offers {
    /// Who could do a task with this need, a call of which takes `resources`.
    fn offer(&self, need: &Need, resources: &Resources) -> Offer;
}

/// The fleet's answer to a need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offer {
    /// Agents that could do it, best first.
    pub candidates: Vec<Candidate>,
    /// Why nobody can; `None` when there are candidates.
    pub shortage: Option<Shortage>,
    /// How long the best candidate says that a call takes.
    pub expected: Option<Duration>,
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
    /// There are agents, and no instance is large enough.
    TooSmall {
        /// What the largest of them has.
        largest: Resources,
    },
}
