//! Floor 2: the A2A (Agent2Agent) protocol, client and server.
//!
//! One internal model ([`model`]) is that of A2A 1.0; 0.3 is read into it and written from it ([`codec`]).
//! [`card`] reads agent cards of either version and chooses an interface; [`client`] calls agents over JSON-RPC 1.0,
//! HTTP+JSON 1.0 and JSON-RPC 0.3; [`server`] answers all three. JSON payloads travel as text ([`Json`]): a send and
//! its answer build no JSON tree.
//!
//! Not here: retries of a whole call, choice of an instance, circuit breaking (the caller's), gRPC, push hooks.

pub mod card;
pub mod client;
pub mod codec;
mod fault;
mod json;
pub mod model;
pub mod server;
mod sse;
mod usage;

pub use card::{AgentCard, Binding, Endpoint, Version};
pub use client::{A2aClient, CallError};
pub use codec::Dialect;
pub use fault::{Fault, FaultKind};
pub use json::Json;
pub use usage::Usage;

/// The extension that carries Orchestra's contract of each skill on the card.
pub const CAPABILITY_EXTENSION: &str = "https://orchestra.dev/a2a/ext/capability/v1";

/// Keys of message and update metadata that Orchestra writes and reads.
pub mod keys {
    /// Number 0 to 1 on status updates: how much of the task is done.
    pub const PROGRESS: &str = "orchestra.progress";
    /// Object `{tokens, money_micros}` on tasks and direct messages: what the call has cost ([`crate::Usage`]).
    pub const USAGE: &str = "orchestra.usage";
    /// Object `{id, name, index, count}`: the task of the workflow.
    pub const TASK: &str = "orchestra.task";
    /// Id of the skill that is asked.
    pub const CAPABILITY: &str = "orchestra.capability";
    /// The execution that the task belongs to.
    pub const EXECUTION_ID: &str = "orchestra.execution_id";
    /// The same over all retries of one task: what an agent makes its effect idempotent with.
    pub const EFFECT_KEY: &str = "orchestra.effect_key";
    /// Object `{id, vars, history}`: the session of the execution, as it was when the execution started.
    pub const SESSION: &str = "orchestra.session";
}
