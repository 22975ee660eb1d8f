//! Floor 3: between domain types and the contracts in `proto/`.
//!
//! - [`status`]: the one mapping between [`Fault`] (code, message, findings) and gRPC statuses.
//! - [`log`]: events of executions as bytes of the log.
//! - [`payload`][]: payloads.
//! - [`client`][]: the typed client of the public door.

pub mod client;
pub mod log;
pub mod payload;
pub mod status;

pub use status::Fault;
