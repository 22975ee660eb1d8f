//! For tests only: a fake clock ([`FakeClock`]), waiting with a deadline ([`wait_for`]), free ports ([`free_port`]),
//! programs ([`Process`]) and throwaway servers of the real kind ([`Postgres`], [`Redis`], [`Temporal`]).
//!
//! Servers are started on demand from the Debian packages `postgresql-15` and `redis-server`, on free ports of
//! 127.0.0.1 with data in a temporary folder. They and their folders go when they are dropped, and also when the test
//! process dies in any way: one janitor process holds a pipe from it and cleans up when the pipe closes.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed set-up ends the test: panics are the interface"
)]

mod clock;
mod janitor;
mod port;
mod postgres;
mod process;
mod redis;
mod server;
mod temporal;
mod wait;

pub use clock::FakeClock;
pub use port::{free_port, unique_name};
pub use postgres::{Postgres, PostgresOptions, fresh_database};
pub use process::Process;
pub use redis::{Persistence, Redis};
pub use temporal::Temporal;
pub use wait::{wait_for, wait_for_blocking};
