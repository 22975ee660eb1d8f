//! A user event in its three forms: as published, as stored, as it travels.

use api::{Fault, payload};
use base::{Payload, Tenant, Timestamp, ids::check_key};
use bus::{Message, header};
use bytes::Bytes;
use prost::Message as _;
use proto::{event::v1 as stream, executor::v1 as pb};
use serde_json::{Value, json};
use store::topics::{EventRow, NewEvent};
use uuid::Uuid;

use super::names;

/// Longest id, key, type and source, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Full name of what a message on the stream is.
const KIND: &str = "orchestra.event.v1.TopicEvent";

/// Who publishes, and the bounds.
#[derive(Clone, Debug)]
pub(super) struct Door<'a> {
    pub(super) tenant: &'a Tenant,
    /// Source of events that name none.
    pub(super) source: &'a str,
    pub(super) trace: &'a str,
    pub(super) now: Timestamp,
    pub(super) shards: u16,
    /// Bytes.
    pub(super) payload_max: usize,
}

impl Door<'_> {
    /// Checks what was published; errors name `events[index].…`.
    pub(super) fn read(&self, index: usize, event: pb::NewEvent) -> Result<NewEvent, Fault> {
        let field = |name: &str| format!("events[{index}].{name}");
        check_key("topic", &event.topic).map_err(|e| Fault::bad(field("topic"), e))?;
        let texts =
            [("id", &event.id), ("type", &event.r#type), ("source", &event.source), ("key", &event.key)];
        for (name, text) in texts {
            if text.len() > TEXT_BYTES_MAX {
                return Err(Fault::bad(field(name), format!("is longer than {TEXT_BYTES_MAX} bytes")));
            }
            if text.chars().any(char::is_control) {
                return Err(Fault::bad(field(name), "holds a control character"));
            }
        }
        let payload = payload::from_wire(event.payload, &field("payload"))?;
        if payload.len() > self.payload_max {
            let rule = format!(
                "has {} bytes, the limit is {} (topics.payload_max); send a reference instead",
                payload.len(),
                self.payload_max
            );
            return Err(Fault::new(
                base::ErrorCode::PayloadTooLarge,
                format!("{}: {rule}", field("payload")),
            )
            .field(field("payload")));
        }
        let id = match event.id {
            id if id.is_empty() => Uuid::now_v7().to_string(),
            id => id,
        };
        let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        Ok(NewEvent {
            tenant: self.tenant.clone(),
            partition: partition(self.tenant, &event.topic, &event.key, &id, self.shards),
            kind: or(event.r#type, &event.topic),
            source: or(event.source, self.source),
            id,
            topic: event.topic,
            key: event.key,
            priority: event.priority,
            media_type: payload.media_type().to_string(),
            payload: payload.bytes().clone(),
            trace: self.trace.to_owned(),
            at: self.now,
        })
    }
}

/// The partition of an event: that of its topic and key, so that they keep their order; without a key any.
pub(crate) fn partition(tenant: &Tenant, topic: &str, key: &str, id: &str, shards: u16) -> u16 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(tenant.as_str().as_bytes()).update(&[0]).update(topic.as_bytes()).update(&[0]);
    hasher.update(if key.is_empty() { id } else { key }.as_bytes());
    let mut low = [0u8; 8];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(low) % u64::from(shards.max(1))) as u16
}

pub(super) fn payload_of(event: &NewEvent) -> Payload {
    match event.media_type.as_str() {
        base::payload::JSON => Payload::json_text(event.payload.clone()),
        other => Payload::new(other.into(), event.payload.clone()),
    }
}

/// As expressions see it: `event`.
pub(crate) fn value(event: &NewEvent) -> Value {
    let payload = payload_of(event).json().map_or(Value::Null, |value| (*value).clone());
    json!({
        "id": event.id, "topic": event.topic, "type": event.kind, "source": event.source, "key": event.key,
        "priority": event.priority, "payload": payload, "at": event.at.rfc3339(),
    })
}

/// As callers see it. `pos` 0: volatile.
pub(crate) fn shown(row: &EventRow) -> pb::Event {
    let event = &row.event;
    pb::Event {
        id: event.id.clone(),
        topic: event.topic.clone(),
        r#type: event.kind.clone(),
        source: event.source.clone(),
        key: event.key.clone(),
        priority: event.priority,
        payload: Some(payload::to_wire(&payload_of(event))),
        trace: event.trace.clone(),
        at: event.at.rfc3339(),
        cursor: if row.pos > 0 { names::cursor(row.pos) } else { String::new() },
    }
}

/// As it travels and as dead letters keep it.
pub(crate) fn to_stream(row: &EventRow) -> stream::TopicEvent {
    let event = &row.event;
    stream::TopicEvent {
        tenant: event.tenant.to_string(),
        id: event.id.clone(),
        topic: event.topic.clone(),
        r#type: event.kind.clone(),
        source: event.source.clone(),
        key: event.key.clone(),
        priority: event.priority,
        payload: Some(payload::to_wire(&payload_of(event))),
        trace: event.trace.clone(),
        at_us: event.at.micros(),
        pos: row.pos,
    }
}

/// Back from the stream. `None`: no event of ours.
pub(crate) fn from_stream(event: stream::TopicEvent, shards: u16) -> Option<EventRow> {
    let tenant = Tenant::new(&event.tenant).ok()?;
    let payload = payload::from_wire(event.payload, "payload").ok()?;
    Some(EventRow {
        pos: event.pos,
        event: NewEvent {
            partition: partition(&tenant, &event.topic, &event.key, &event.id, shards),
            tenant,
            id: event.id,
            topic: event.topic,
            kind: event.r#type,
            source: event.source,
            key: event.key,
            priority: event.priority,
            media_type: payload.media_type().to_string(),
            payload: payload.bytes().clone(),
            trace: event.trace,
            at: Timestamp::from_micros(event.at_us),
        },
    })
}

/// The message that announces it, or, for a volatile event, is it.
pub(crate) fn message(row: &EventRow) -> Message {
    Message::new(to_stream(row).encode_to_vec())
        .with_header(header::TENANT, row.event.tenant.to_string().into_bytes())
        .with_header(header::KIND, Bytes::from_static(KIND.as_bytes()))
}

/// Reads a message of the stream.
pub(crate) fn of_message(message: &Message, shards: u16) -> Option<EventRow> {
    from_stream(stream::TopicEvent::decode(message.body().clone()).ok()?, shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(tenant: &Tenant) -> Door<'_> {
        Door { tenant, source: "me", trace: "", now: Timestamp::from_millis(5), shards: 8, payload_max: 64 }
    }

    fn given(topic: &str) -> pb::NewEvent {
        pb::NewEvent { topic: topic.into(), ..Default::default() }
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let tenant = Tenant::default();
        let event = door(&tenant).read(0, given("orders")).unwrap();
        assert_eq!((event.kind.as_str(), event.source.as_str()), ("orders", "me"));
        assert_eq!((event.payload.as_ref(), event.id.len()), (&b"null"[..], 36));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let tenant = Tenant::default();
        let large = proto::common::v1::Payload {
            media_type: String::new(),
            body: Some(proto::common::v1::payload::Body::Json(format!("\"{}\"", "x".repeat(99)))),
        };
        for (event, field) in [
            (given(""), "events[3].topic"),
            (given("a b"), "events[3].topic"),
            (pb::NewEvent { id: "x".repeat(300), ..given("t") }, "events[3].id"),
            (pb::NewEvent { key: "a\0b".into(), ..given("t") }, "events[3].key"),
            (pb::NewEvent { payload: Some(large), ..given("t") }, "events[3].payload"),
        ] {
            assert_eq!(door(&tenant).read(3, event).unwrap_err().field, field);
        }
    }

    #[test]
    fn a_key_keeps_its_partition_and_an_event_survives_the_stream() {
        let tenant = Tenant::default();
        let keyed =
            |id: &str| pb::NewEvent { id: id.into(), key: "k".into(), priority: -2, ..given("orders") };
        let (a, b) = (door(&tenant).read(0, keyed("a")).unwrap(), door(&tenant).read(0, keyed("b")).unwrap());
        assert_eq!(a.partition, b.partition);
        let row = EventRow { pos: 7, event: a };
        assert_eq!(of_message(&message(&row), 8), Some(row));
        let spread: std::collections::BTreeSet<_> =
            (0..200).map(|n| partition(&tenant, "t", "", &n.to_string(), 8)).collect();
        assert_eq!(spread.len(), 8);
    }
}
