//! Replicas of the executor among each other, over real stores and a real bus.
#![allow(clippy::unwrap_used)]

mod beside;
mod budgets;
mod events;
mod family;
mod inbox;
mod kit;
mod publishing;
mod sharing;
mod slots;
mod times;
mod upgrade;
