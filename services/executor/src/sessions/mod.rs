//! Sessions: variables and a conversation that executions share.
//!
//! A start that names a session (or whose workflow does) first writes that it will belong to it, then loads a snapshot,
//! which is part of the execution's first fact. When the execution has completed, what it leaves is saved in one
//! transaction with the mark that it is saved. The mark makes it happen once; the row from before the start makes sure
//! that it happens, whatever dies in between: a start in the same session and a sweep both look for executions that
//! ended and are not saved.
//!
//! [`rules`] decides, [`Sessions`] loads and saves, [`SessionDoor`] serves callers.

mod book;
mod door;
mod keep;
mod memory;
pub mod rules;
mod save;

pub use book::{Sessions, Snapshot};
pub use door::SessionDoor;
pub use keep::sweep;
pub use rules::SessionOptions;
