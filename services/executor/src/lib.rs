//! Executor service: owns executions, their event log, timers and calls to agents.
//!
//! Refuses: to act before the facts are on disk, to repeat a call that could do harm, to hold a lock over IO.

pub mod call;
pub mod engine;
mod plan_cache;
pub mod plans;
