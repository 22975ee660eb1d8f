//! Limits. Every one has a default and a meaning in units.

use std::time::Duration;

/// Bounds of streams and messages, for both backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, in bytes of [`Message::size_bytes`](crate::Message::size_bytes).
    pub message_bytes_max: usize,
    /// Most unacknowledged entries in a queue before publishers wait. Several publishers at once may overshoot by one
    /// batch each on Redis.
    pub queue_len_max: u64,
    /// Most entries in a re-readable stream. Above it the oldest go once every group with a live consumer has handled
    /// them; while a live group lags, publishers wait.
    pub log_len_max: u64,
    /// Age at which entries leave a re-readable stream, handled or not.
    pub retention: Duration,
    /// How long `publish` waits for room.
    pub publish_timeout: Duration,
    /// A consumer that has not asked Redis for this long does not hold publishers back; in process it does until it is
    /// dropped. Above a few times
    /// [`ConsumerOptions::claim_every`].
    pub live_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 1024 * 1024,
            queue_len_max: 100_000,
            log_len_max: 1_000_000,
            retention: Duration::from_secs(168 * 3600),
            publish_timeout: Duration::from_secs(5),
            live_within: Duration::from_secs(30),
        }
    }
}

/// Whether consumers of a group share a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// One consumer at a time (whoever holds the lease of the partition): at start it takes over all pending entries
    /// of the group, whoever held them, before it reads new ones.
    Exclusive,
    /// Many consumers: at start each takes only what was pending under its own name.
    Shared,
}

/// How a consumer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// Most entries in a batch.
    pub batch_max: usize,
    /// Alone, or with others.
    pub sharing: Sharing,
    /// An entry that was handed out this long ago without [`Acks::ack`](crate::Acks::ack) or `extend` is handed out
    /// again, to any consumer of the group, the same one included. Longer than the slowest handling.
    pub claim_after: Duration,
    /// How often to look for such entries; less than a millisecond counts as one.
    pub claim_every: Duration,
    /// After this many deliveries the next one is flagged [`Delivery::exhausted`](crate::Delivery::exhausted).
    pub deliveries_max: u32,
}

impl ConsumerOptions {
    pub(crate) fn pass_interval(&self) -> Duration {
        self.claim_every.max(Duration::from_millis(1))
    }
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            batch_max: 256,
            sharing: Sharing::Exclusive,
            claim_after: Duration::from_secs(30),
            claim_every: Duration::from_secs(1),
            deliveries_max: 5,
        }
    }
}

/// Who reads, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The group: one per service.
    pub group: String,
    /// This consumer within it: the instance id of the replica. A restarted replica of the same name gets its own
    /// pending entries back at once.
    pub consumer: String,
    /// How it reads.
    pub options: ConsumerOptions,
}

impl Subscription {
    /// With default options.
    pub fn new(group: impl Into<String>, consumer: impl Into<String>) -> Self {
        Self { group: group.into(), consumer: consumer.into(), options: ConsumerOptions::default() }
    }
    /// With these options.
    #[must_use]
    pub fn with(mut self, options: ConsumerOptions) -> Self {
        self.options = options;
        self
    }
}
