//! Floor 1: which instance gets a call, and which waiting call is next.
//!
//! - [`breaker`]: leave an instance alone that fails one call after another.
//! - [`choice`]: choose an instance among candidates, with the reason.
//! - [`queue`]: the fair queue of calls that wait for a slot.
//!
//! Pure: no IO, no clock, no randomness; jitter comes in as a salt. It counts nothing itself: loads come in with the
//! candidates.

pub mod breaker;
pub mod choice;
pub mod queue;

pub use breaker::Breaker;
pub use choice::{Ask, Choice, Refusal, Slot, WEIGHED_MAX, choose, windows};
pub use queue::{Entry, FairQueue, QueueFull};
