//! Result cache: answers of `pure` capabilities are remembered by what was asked, and anybody may keep values of their
//! own in it. Local to a replica, bounded in bytes, and never the record: what is lost is asked again.
//!
//! [`key`] says what is the same question, [`ResultCache`] keeps the answers, [`CacheDoor`] serves both to callers.
//! The engine looks here before it assigns a call and tells it what was answered (see `engine/remember.rs`).

mod door;
pub mod key;
mod limits;
mod memory;

pub use door::CacheDoor;
pub use limits::{CacheOptions, ENTRY_OVERHEAD, Strategy};
pub use memory::{CacheStats, Found, NamespaceStats, ResultCache};
