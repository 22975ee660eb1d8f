//! User events, what they start and who waits for them.
//!
//! [`EventStore`] is the record of events; [`TriggerStore`] what starts executions when one comes; [`WaitStore`] reads who
//! waits (the waits themselves are written with the log, see [`crate::journal::WaitWrite`]); [`AskedStore`] reads what
//! people are asked; [`HeldStore`] keeps starts that could not be made yet.

mod asked;
mod events;
mod held;
mod query;
mod triggers;
mod waits;

pub use asked::{AskedFilter, AskedPlace, AskedRow, AskedStore};
pub use events::{EventRow, EventStore, NewEvent, Stored};
pub use held::{HeldStart, HeldStore};
pub use query::{EventFilter, EventStats, TypeCount};
pub use triggers::{SyncedPlan, TriggerRow, TriggerStore};
pub use waits::{WaitRow, WaitStore};
