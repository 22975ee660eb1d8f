//! The announcement of a dead letter. The dead letter itself is a row of the service that gave up.

use crate::{Delivery, EntryId, Message, Stream, header};

/// A message that a consumer gave up, as it is announced on `orchestra:dead-letters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Whose message it was; empty when it did not say.
    pub tenant: String,
    /// Key of the stream it lay in.
    pub stream: String,
    /// The group that gave up.
    pub group: String,
    /// Its place in the stream.
    pub id: EntryId,
    /// How often it was handed out.
    pub deliveries: u32,
    /// Why, for people.
    pub reason: String,
}

/// A message on the dead letter stream that is not an announcement: the name of the header that is missing or bad.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a dead letter announcement: header {0:?} is missing or malformed")]
pub struct BadDeadLetter(pub &'static str);

const STREAM: &str = "stream";
const GROUP: &str = "group";
const ID: &str = "id";
const DELIVERIES: &str = "deliveries";

impl DeadLetter {
    /// Describes `delivery`, which `group` gave up on `stream`.
    pub fn of(stream: &Stream, group: &str, delivery: &Delivery, reason: impl Into<String>) -> Self {
        Self {
            tenant: delivery.message.text(header::TENANT).unwrap_or_default().to_owned(),
            stream: stream.key().to_owned(),
            group: group.to_owned(),
            id: delivery.id(),
            deliveries: delivery.deliveries,
            reason: reason.into(),
        }
    }

    /// As a message for the stream `Keys::dead_letters`.
    pub fn to_message(&self) -> Message {
        Message::new(self.reason.clone().into_bytes())
            .with_header(header::TENANT, self.tenant.clone().into_bytes())
            .with_header(STREAM, self.stream.clone().into_bytes())
            .with_header(GROUP, self.group.clone().into_bytes())
            .with_header(ID, self.id.to_string().into_bytes())
            .with_header(DELIVERIES, self.deliveries.to_string().into_bytes())
    }

    /// Reads an announcement.
    ///
    /// # Errors
    /// Names the header that is missing or malformed.
    pub fn from_message(message: &Message) -> Result<Self, BadDeadLetter> {
        let text = |name| message.text(name).ok_or(BadDeadLetter(name));
        Ok(Self {
            tenant: text(header::TENANT)?.to_owned(),
            stream: text(STREAM)?.to_owned(),
            group: text(GROUP)?.to_owned(),
            id: text(ID)?.parse().map_err(|_| BadDeadLetter(ID))?,
            deliveries: text(DELIVERIES)?.parse().map_err(|_| BadDeadLetter(DELIVERIES))?,
            reason: String::from_utf8_lossy(message.body()).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> DeadLetter {
        DeadLetter {
            tenant: "acme".into(),
            stream: "orchestra:events:{1}".into(),
            group: "scaler".into(),
            id: EntryId { ms: 5, seq: 1 },
            deliveries: 6,
            reason: "schema ünknown".into(),
        }
    }

    #[test]
    fn an_announcement_reads_back() {
        assert_eq!(DeadLetter::from_message(&letter().to_message()), Ok(letter()));
    }

    #[test]
    fn a_malformed_announcement_names_the_header() {
        assert_eq!(DeadLetter::from_message(&Message::new("x")), Err(BadDeadLetter("tenant")));
        let bad = Message::new("x")
            .with_header("tenant", "t")
            .with_header("stream", "s")
            .with_header("group", "g")
            .with_header("id", "nonsense");
        assert_eq!(DeadLetter::from_message(&bad), Err(BadDeadLetter("id")));
    }
}
