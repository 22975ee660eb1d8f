//! Hooks end to end: real stores, real commands, real sockets, scripted agents.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod actions;
mod gate;
mod kit;
mod queue;
