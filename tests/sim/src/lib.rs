//! For tests only: one execution in a small world that follows from a seed. Agents answer, fail, ask, are slow or die;
//! people give commands; the process crashes and folds its log; commits are lost; messages come twice and late; clocks
//! jump. Time is virtual.
//!
//! [`World`] runs one plan: a random one ([`World::new`], [`World::whole`]; `crates/workflow/tests/properties.rs`), or one
//! that a random definition was compiled to ([`Text`], [`World::of`]; `tests/definitions.rs`). Sub-workflows are worlds
//! inside of it, with troubles of their own. After every step it checks
//! what always holds, and at the end the whole log (`World::judge`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken rule ends the test: panics are the interface, and name the seed"
)]

mod check;
mod family;
mod grammar;
mod outside;
mod plans;
mod rng;
mod whole;
mod world;

pub use grammar::{PATTERNS, Text};
pub use rng::Rng;
pub use world::World;

/// A number from the environment, for hunts and for replays.
pub fn number<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
