//! For tests only: Orchestra as users have it, in both shapes, driven from outside.
//!
//! [`System`] starts the real programs: `orchestra dev` on SQLite, or registry, planner, two executors and a gateway as
//! processes of their own on PostgreSQL and Redis. [`TestAgent`] is an agent that does what the test says and counts
//! what it was asked. [`Api`] speaks REST. Nothing here sleeps in hope: everything waits for a condition.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failed set-up ends the test: panics are the interface, and logs are shown with them"
)]

mod agent;
mod api;
mod binaries;
mod live;
mod system;

pub use agent::{Act, Script, Seen, TestAgent};
pub use api::{Api, Got, PATIENCE};
pub use binaries::binary;
pub use live::{Live, follow_sse, follow_websocket};
pub use system::{Settings, Shape, System};
pub use testkit::Process;
