//! Executor service: owns executions, their event log, timers and calls to agents.
//!
//! Refuses: to act before the facts are on disk, to repeat a call that could do harm, to hold a lock over IO.

pub mod agents;
pub mod app;
mod beside;
pub mod budgets;
pub mod cache;
pub mod call;
pub mod cluster;
pub mod control;
pub mod engine;
mod fleet;
mod forward;
pub mod grpc;
pub mod hooks;
pub mod internal;
mod metrics;
mod plan_cache;
pub mod plan_sync;
pub mod planner;
pub mod plans;
pub mod providers;
mod role;
pub mod schedules;
pub mod sessions;
pub mod starts;
pub mod topics;
mod wire;

pub use role::{role, role_on, role_with};
