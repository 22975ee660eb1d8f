//! How a message stands in a Redis stream: the first field is the body, the second the position, headers follow.

use std::borrow::Cow;

use bytes::Bytes;
use redis::{Pipeline, Value};

use crate::{EntryId, Message, Stream};

use super::link::Failure;

/// Adds the XADD of a message to a pipeline.
pub(super) fn add(pipeline: &mut Pipeline, stream: &Stream, message: &Message) {
    let command = pipeline.cmd("XADD").arg(stream.key()).arg("*").arg("b").arg(message.body().as_ref());
    match message.position() {
        Some(position) => command.arg("p").arg(position.to_string()),
        None => command.arg("p").arg(""),
    };
    for (name, value) in message.headers() {
        command.arg(name).arg(value.as_ref());
    }
}

/// A reply that is not what the command promises: another program writes to our keys, or a server that is not Redis.
pub(super) fn unexpected(what: &str) -> Failure {
    Failure::Misconfigured(format!("the reply has no {what}: is this Redis 7, and are the keys ours alone?"))
}

pub(super) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) | Value::Set(items) => Some(items),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

pub(super) fn integer(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => text(value)?.parse().ok(),
    }
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

pub(super) fn id(value: &Value) -> Option<EntryId> {
    text(value)?.parse().ok()
}

/// Name and value pairs, as XINFO gives them.
pub(super) fn field<'a>(pairs: &'a [Value], name: &str) -> Option<&'a Value> {
    pairs.chunks_exact(2).find(|pair| text(&pair[0]) == Some(name)).map(|pair| &pair[1])
}

/// An entry of a reply; without a message when it was trimmed.
pub(super) type Entry = (EntryId, Option<Message>);

pub(super) fn entries(value: Value) -> Option<Vec<Entry>> {
    array(value)?.into_iter().map(entry).collect()
}

/// The entries of the one stream in the reply to XREADGROUP.
pub(super) fn entries_of_read(value: Value) -> Option<Vec<Entry>> {
    match array(value)?.into_iter().next() {
        None => Some(Vec::new()),
        Some(stream) => entries(array(stream)?.into_iter().nth(1)?),
    }
}

fn entry(value: Value) -> Option<Entry> {
    let mut parts = array(value)?.into_iter();
    let id = id(&parts.next()?)?;
    match parts.next()? {
        Value::Nil => Some((id, None)),
        fields => Some((id, Some(message(array(fields)?)?))),
    }
}

fn message(fields: Vec<Value>) -> Option<Message> {
    let mut fields = fields.into_iter();
    let mut pair = || Some((fields.next()?, fields.next()?));
    let (_, body) = pair()?;
    let mut message = Message::new(bytes(body)?);
    if let Some((_, position)) = pair()
        && let Some(position) = text(&position).filter(|text| !text.is_empty())
    {
        // A position that we cannot read is as good as none: the periodic look at the log makes up for it.
        match position.parse() {
            Ok(position) => message = message.at(position),
            Err(error) => tracing::warn!(%error, "message without a usable position"),
        }
    }
    while let Some((name, value)) = pair() {
        let name = String::from_utf8_lossy(&bytes(name)?).into_owned();
        message = message.with_header(Cow::Owned(name), bytes(value)?);
    }
    Some(message)
}

fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) => Some(text.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn an_entry_reads_as_its_message() {
        let fields = ["b", "body", "p", "3 1 9 8 eu", "tenant", "acme"].map(bulk).to_vec();
        let read =
            entries(Value::Array(vec![Value::Array(vec![bulk("17-2"), Value::Array(fields)])])).unwrap();
        let (id, message) = &read[0];
        let message = message.as_ref().unwrap();
        assert_eq!(*id, EntryId { ms: 17, seq: 2 });
        assert_eq!(message.body().as_ref(), b"body");
        assert_eq!(message.position().unwrap().to_string(), "3 1 9 8 eu");
        assert_eq!(message.text("tenant"), Some("acme"));
    }

    #[test]
    fn strange_replies_are_refused_and_never_panic() {
        for strange in [
            Value::Int(1),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![bulk("x"), Value::Nil])]),
            Value::Array(vec![Value::Array(vec![bulk("1-1")])]),
            Value::Array(vec![Value::Array(vec![bulk("1-1"), Value::Array(vec![])])]),
        ] {
            assert!(entries(strange.clone()).is_none(), "{strange:?}");
        }
        assert_eq!(entries_of_read(Value::Nil), Some(vec![]));
        let trimmed = Value::Array(vec![Value::Array(vec![bulk("1-1"), Value::Nil])]);
        assert_eq!(entries(trimmed), Some(vec![(EntryId { ms: 1, seq: 1 }, None)]));
    }
}
