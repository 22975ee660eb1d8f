//! Floor 0: what every other crate agrees on.
//!
//! Typed ids ([`ids`]), time and durations ([`time`]), resource units ([`units`]), payloads ([`payload`]),
//! the closed set of error codes ([`code`]), failure classes of agent calls and effect classes ([`effect`]),
//! what a check found ([`finding`]),
//! and the context that travels with every call ([`context`]). No IO, no clock, no randomness.

pub mod code;
pub mod context;
pub mod effect;
pub mod finding;
pub mod ids;
pub mod payload;
pub mod time;
pub mod units;

pub use code::ErrorCode;
pub use context::CallContext;
pub use effect::{Effect, FailureClass};
pub use finding::{Finding, Severity};
pub use ids::{AgentId, BadId, CheckpointId, ExecutionId, Tenant, WorkflowId};
pub use payload::Payload;
pub use time::{Clock, Timestamp};
