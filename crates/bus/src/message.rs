//! What travels, and what a consumer gets.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use crate::Position;

/// Names of headers that every stream uses. Others are up to the writers.
pub mod header {
    /// Whose message it is; every message has it.
    pub const TENANT: &str = "tenant";
    /// What the body is, the full name of its protobuf message or an event's name.
    pub const KIND: &str = "kind";
    /// W3C `traceparent` of what caused it.
    pub const TRACE: &str = "traceparent";
}

/// Bytes with headers and, on streams that follow a log, a position. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    headers: Arc<Vec<(Cow<'static, str>, Bytes)>>,
    position: Option<Position>,
    body: Bytes,
}

impl Message {
    /// A message without headers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { headers: Arc::default(), position: None, body: body.into() }
    }
    /// Adds a header. The first of two with one name counts.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        Arc::make_mut(&mut self.headers).push((name.into(), value.into()));
        self
    }
    /// Sets the place in the log that this message follows.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }
    /// The content.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
    /// The place in the log, on streams that follow one.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }
    /// The headers, in the order they were added.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.headers.iter().map(|(name, value)| (name.as_ref(), value))
    }
    /// A header's bytes.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers().find(|(found, _)| *found == name).map(|(_, value)| value)
    }
    /// A header as text; `None` also when it is not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.header(name)?).ok()
    }
    /// Bytes that count against limits: body, headers, and a flat allowance for position and bookkeeping.
    pub fn size_bytes(&self) -> usize {
        let headers: usize = self.headers().map(|(name, value)| name.len() + value.len()).sum();
        let cluster = self.position.as_ref().map_or(0, |p| p.cluster.len());
        self.body.len() + headers + cluster + 64
    }
}

impl fmt::Debug for Message {
    /// Sizes only: bodies may hold users' data, which has no place in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers().map(|(name, _)| name).collect();
        f.debug_struct("Message")
            .field("headers", &names)
            .field("position", &self.position)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// Place of an entry in its stream: milliseconds when it was added, and a counter within them. Written `1700000000000-0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    /// Milliseconds since 1970 on the backend's clock.
    pub ms: u64,
    /// Counter within the millisecond.
    pub seq: u64,
}

impl EntryId {
    /// Before every entry.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };

    /// The smallest id after this one.
    #[must_use]
    pub fn next(self) -> Self {
        match self.seq.checked_add(1) {
            Some(seq) => Self { ms: self.ms, seq },
            None => Self { ms: self.ms.saturating_add(1), seq: 0 },
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        Ok(Self { ms: ms.parse()?, seq: seq.parse()? })
    }
}

/// Names one delivery, to acknowledge it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The entry.
    pub id: EntryId,
    /// When it was handed out: from here handling time counts.
    pub received: Instant,
}

/// One entry, handed to one consumer.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// To acknowledge it with.
    pub receipt: Receipt,
    /// How often the group has been handed this entry, this time included: 1 is the first.
    pub deliveries: u32,
    /// It has been handed out more than [`ConsumerOptions::deliveries_max`](crate::ConsumerOptions) times: do not
    /// handle it again, make it a dead letter and acknowledge it.
    pub exhausted: bool,
    /// The content.
    pub message: Message,
}

impl Delivery {
    /// The entry's id.
    pub fn id(&self) -> EntryId {
        self.receipt.id
    }
}

/// Why a consumer has to read the log before it trusts the stream again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// The group did not exist and was created at the start of the stream: it is new, or the backend was emptied.
    GroupCreated,
    /// Entries that the group had not handled were trimmed.
    Trimmed,
}

/// What [`Consumer::next`](crate::Consumer::next) returns.
#[derive(Clone, Debug)]
pub enum Received {
    /// At least one entry, oldest first.
    Batch(Vec<Delivery>),
    /// Read the log from the last position.
    CatchUp(CatchUp),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_as_written_and_sort_by_time() {
        let id = EntryId { ms: 17, seq: 3 };
        assert_eq!(id.to_string().parse::<EntryId>(), Ok(id));
        assert_eq!("17".parse::<EntryId>(), Ok(EntryId { ms: 17, seq: 0 }));
        assert!("x-1".parse::<EntryId>().is_err());
        assert!(EntryId { ms: 9, seq: 99 } < EntryId { ms: 10, seq: 0 });
        assert_eq!(EntryId { ms: 9, seq: u64::MAX }.next(), EntryId { ms: 10, seq: 0 });
    }

    #[test]
    fn headers_are_found_by_name_and_bodies_stay_out_of_logs() {
        let message =
            Message::new("secret").with_header(header::TENANT, "acme").with_header("raw", vec![0xff]);
        assert_eq!(message.text(header::TENANT), Some("acme"));
        assert_eq!(message.text("raw"), None);
        assert_eq!(message.header("raw").unwrap().as_ref(), [0xff]);
        assert_eq!(message.text("none"), None);
        assert!(!format!("{message:?}").contains("secret"));
    }
}
