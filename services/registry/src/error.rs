//! What a request can fail with. A variant exists where a caller acts differently.

use base::AgentId;
use catalog::Rejected;
use store::StoreError;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// The definition has errors.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// A field of the request is wrong.
    #[error("{field}: {rule}")]
    BadRequest {
        /// The field.
        field: &'static str,
        /// What is wrong with it, and the remedy.
        rule: String,
    },
    /// No such agent.
    #[error("agent {0} does not exist")]
    NotFound(AgentId),
    /// No such instance.
    #[error("agent {agent} has no instance {instance:?}; instances: {known}")]
    NoInstance {
        /// The agent.
        agent: AgentId,
        /// What was asked for.
        instance: String,
        /// Those it has.
        known: String,
    },
    /// The id is taken by another definition.
    #[error("agent {0} exists with another definition; update it, or choose another id")]
    Exists(AgentId),
    /// Somebody else changed the agent.
    #[error("agent {id} is at revision {present}, not {expected}: read it again")]
    Stale {
        /// The agent.
        id: AgentId,
        /// What the caller expected.
        expected: u64,
        /// What is there.
        present: u64,
    },
    /// The agent is being removed.
    #[error("agent {0} is being removed; register it again to keep it")]
    Leaving(AgentId),
    /// Calls are running on it.
    #[error("agent {id} has {calls} calls in flight")]
    Busy {
        /// The agent.
        id: AgentId,
        /// Calls in flight.
        calls: u64,
    },
    /// The card could not be fetched.
    #[error("the card at {url} cannot be fetched: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// What came is not a card.
    #[error("{url} does not give an agent card: {why}")]
    NotACard {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// The store failed.
    #[error("store failed")]
    Store(#[from] StoreError),
}
