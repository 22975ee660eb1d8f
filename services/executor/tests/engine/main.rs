//! The engine with its use cases on a real journal: what it promises when agents, the store or the process break.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agents;
mod broken;
mod budgets;
mod calls;
mod crash;
mod cuts;
mod gate;
mod graph;
mod inputs;
mod kit;
mod limits;
mod memo;
mod parked;
mod reads;
mod sessions;
mod storm;
mod stuck;
mod timers;
mod traces;
mod undo;
mod usage;
mod write_ahead;
