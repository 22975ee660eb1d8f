//! Floor 2: event streams with consumer groups.
//!
//! One contract ([`Bus`], [`Consumer`], [`Acks`]), two backends: [`RedisBus`] on Redis Streams and [`InProcessBus`]
//! for one process. Both pass the same suite (`tests/conformance.rs`). The bus sees bytes and headers, never
//! domain types.
//!
//! **The bus is never the record.** Everything on it can be lost with Redis or with the process; what must not be
//! lost stands in an event log, and a consumer is told ([`Received::CatchUp`], [`Verdict::Gap`]) when it has to
//! read that log. Delivery is at least once: handle a message, commit its effect, then acknowledge.
//!
//! What a consumer does:
//! 1. on [`Received::CatchUp`], at start and every 30 s: read the log from its last position;
//! 2. for each [`Delivery`]: ask [`PositionTracker::check`]: drop a duplicate, fetch a gap from the log, handle what is
//!    in order, and store the position in the transaction of the effect;
//! 3. when [`Delivery::exhausted`] is set: write a dead letter row, announce it ([`DeadLetter`]), acknowledge;
//! 4. acknowledge with [`Acks::ack`]; what is not acknowledged comes again after [`ConsumerOptions::claim_after`].

use std::sync::Arc;

use async_trait::async_trait;

mod dead_letter;
mod error;
mod keys;
mod memory;
mod message;
mod metrics;
mod options;
mod position;
mod redis;

pub use dead_letter::{BadDeadLetter, DeadLetter};
pub use error::{BusError, PublishError};
pub use keys::{Family, Keys, Kind, Stream};
pub use memory::{InProcessBus, InProcessOptions};
pub use message::{CatchUp, Delivery, EntryId, Message, Receipt, Received, header};
pub use metrics::{FamilyMetrics, HANDLING_BOUNDS_US, HandlingTime, Metrics};
pub use options::{ConsumerOptions, Limits, Sharing, Subscription};
pub use position::{BadPosition, Position, PositionTracker, Verdict};
pub use redis::{RedisBus, RedisOptions};

/// Streams with consumer groups. Cheap to share as `Arc<dyn Bus>`.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Appends `messages` in order and returns their ids once the backend has them all.
    ///
    /// Waits up to [`Limits::publish_timeout`] for room. A failure may leave a part of the messages behind:
    /// publishing them again is always safe, for consumers drop what they have seen.
    ///
    /// # Errors
    /// See [`PublishError`]: nothing is ever dropped silently.
    async fn publish(&self, stream: &Stream, messages: &[Message]) -> Result<Vec<EntryId>, PublishError>;

    /// Joins a group, which is created at the start of the stream when it does not exist.
    ///
    /// Never waits for the backend: a consumer connects, and reconnects with backoff, in [`Consumer::next`].
    fn subscribe(&self, stream: &Stream, subscription: Subscription) -> Box<dyn Consumer>;

    /// Up to `count` retained entries after `after` (from the start when `None`), outside of any group.
    ///
    /// # Errors
    /// When the backend cannot be reached.
    async fn read(
        &self,
        stream: &Stream,
        after: Option<EntryId>,
        count: usize,
    ) -> Result<Vec<(EntryId, Message)>, BusError>;

    /// Lag and pending entries of a group, also kept in [`Metrics::groups`]. A group that does not exist has all of
    /// the stream as its lag.
    ///
    /// # Errors
    /// When the backend cannot be reached.
    async fn stats(&self, stream: &Stream, group: &str) -> Result<GroupStats, BusError>;

    /// Removes from a [`Kind::Log`] stream what is older than [`Limits::retention`], and says how many entries went.
    /// `publish` does this by itself now and then. A group that had not handled one of them gets
    /// [`CatchUp::Trimmed`]. On a [`Kind::Queue`] this does nothing.
    ///
    /// # Errors
    /// When the backend cannot be reached.
    async fn trim(&self, stream: &Stream) -> Result<u64, BusError>;

    /// Answers when the backend does.
    ///
    /// # Errors
    /// When the backend cannot be reached.
    async fn ping(&self) -> Result<(), BusError>;

    /// Counters since the start of the process.
    fn metrics(&self) -> &Arc<Metrics>;
}

/// One member of a consumer group. Dropping it leaves what it holds pending, as a crash would.
#[async_trait]
pub trait Consumer: Send {
    /// The next batch or notice: first entries that are pending, then new ones. Waits until there is one; an
    /// unreachable backend is retried with backoff. Cancel safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// Only what a retry cannot mend: [`BusError::Misconfigured`].
    async fn next(&mut self) -> Result<Received, BusError>;

    /// Acknowledges what this consumer's group was handed; may be used by other tasks while `next` waits.
    fn acks(&self) -> Arc<dyn Acks>;
}

/// What a consumer says about deliveries. Ids that are unknown or acknowledged already are ignored.
#[async_trait]
pub trait Acks: Send + Sync {
    /// These are handled. On a [`Kind::Queue`] they leave the stream.
    ///
    /// # Errors
    /// When the backend cannot be reached: the entries will be delivered again.
    async fn ack(&self, receipts: &[Receipt]) -> Result<(), BusError>;

    /// These were not handled: they may be claimed again within [`ConsumerOptions::claim_every`].
    ///
    /// # Errors
    /// When the backend cannot be reached: they come again after [`ConsumerOptions::claim_after`].
    async fn release(&self, receipts: &[Receipt]) -> Result<(), BusError>;

    /// These are still being handled: [`ConsumerOptions::claim_after`] counts from now.
    ///
    /// # Errors
    /// When the backend cannot be reached.
    async fn extend(&self, receipts: &[Receipt]) -> Result<(), BusError>;
}

/// State of one consumer group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Entries in the stream.
    pub length: u64,
    /// Entries the group has not been handed yet.
    pub lag: u64,
    /// Entries handed out and not acknowledged.
    pub pending: u64,
    /// Milliseconds since the oldest pending entry was handed out last; 0 without one.
    pub oldest_pending_ms: u64,
    /// Consumers the backend knows in this group.
    pub consumers: u64,
}
