//! What the state machine does, one behaviour per test. Every step of every test also checks that the log alone gives
//! the same state ([`common::Run`]).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod budgets;
mod calls;
mod changes;
mod commands;
mod common;
mod failure;
mod graph;
mod inputs;
mod nodes;
mod sagas;
mod scopes;
mod shape;
mod spread;
mod time;
mod waits;
