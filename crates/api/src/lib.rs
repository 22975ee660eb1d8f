//! Floor 3: between domain types and the contracts in `proto/`.
//!
//! - [`status`]: the one mapping between [`Fault`] (code, message, findings) and gRPC statuses.
//! - [`log`]: events of executions as bytes of the log.
//! - [`payload`][]: payloads.
//! - [`fleet`]: the registry's agents as a local snapshot.
//! - [`client`][]: the typed client of the public door.

pub mod client;
pub mod fleet;
pub mod log;
pub mod payload;
pub mod status;

pub use status::Fault;
