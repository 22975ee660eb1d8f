//! Data on its way through: shared bytes, parsed at most once.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde_json::Value;

/// Media type of JSON.
pub const JSON: &str = "application/json";

/// Input or output of an execution or a task.
///
/// Holds the text as it came (UTF-8 JSON, or bytes of another media type) and is cheap to clone.
/// JSON is parsed on first use and then shared.
#[derive(Clone)]
pub struct Payload(Arc<Inner>);

struct Inner {
    media_type: Arc<str>,
    bytes: Bytes,
    parsed: OnceLock<Option<Arc<Value>>>,
}

impl Payload {
    /// JSON text. It is not checked here; [`Payload::json`] gives `None` when it does not parse.
    pub fn json_text(text: impl Into<Bytes>) -> Self {
        Self::new(json_type(), text.into())
    }
    /// A JSON value, written once.
    pub fn from_value(value: &Value) -> Self {
        Self::json_text(value.to_string())
    }
    /// Bytes of any media type.
    pub fn new(media_type: Arc<str>, bytes: Bytes) -> Self {
        Self(Arc::new(Inner { media_type, bytes, parsed: OnceLock::new() }))
    }
    /// JSON `null`.
    pub fn null() -> Self {
        Self::json_text(&b"null"[..])
    }
    /// The media type.
    pub fn media_type(&self) -> &Arc<str> {
        &self.0.media_type
    }
    /// The text or bytes as they came.
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }
    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.0.bytes.len()
    }
    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.0.bytes.is_empty()
    }
    /// Whether the media type is JSON.
    pub fn is_json(&self) -> bool {
        &*self.0.media_type == JSON
    }
    /// The parsed JSON, or `None` for another media type or text that does not parse.
    pub fn json(&self) -> Option<Arc<Value>> {
        let parse =
            || self.is_json().then(|| serde_json::from_slice(&self.0.bytes).ok().map(Arc::new)).flatten();
        self.0.parsed.get_or_init(parse).clone()
    }
    /// BLAKE3 of media type and bytes: the name of the content.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.0.media_type.as_bytes()).update(&[0]).update(&self.0.bytes);
        *hasher.finalize().as_bytes()
    }
}

fn json_type() -> Arc<str> {
    static TYPE: OnceLock<Arc<str>> = OnceLock::new();
    TYPE.get_or_init(|| Arc::from(JSON)).clone()
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.0.media_type == other.0.media_type && self.0.bytes == other.0.bytes
    }
}
impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.0.bytes[..self.0.bytes.len().min(80)]);
        write!(f, "Payload({}, {} B, {text})", self.0.media_type, self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_parsed_once_and_shared() {
        let payload = Payload::json_text("{\"a\": 1}");
        let first = payload.clone().json().unwrap();
        assert!(Arc::ptr_eq(&first, &payload.json().unwrap()));
        assert_eq!(first["a"], 1);
        assert_eq!(payload.bytes(), &Bytes::from("{\"a\": 1}"), "the text stays as it came");
    }

    #[test]
    fn what_is_not_json_has_no_json() {
        assert!(Payload::json_text("{").json().is_none());
        let text = Payload::new("text/plain".into(), Bytes::from("1"));
        assert!(text.json().is_none() && !text.is_json());
        assert_ne!(text.hash(), Payload::json_text("1").hash(), "the media type is part of the name");
        assert_eq!(Payload::null(), Payload::from_value(&Value::Null));
        assert!(!Payload::null().is_empty() && format!("{text:?}").contains("text/plain"));
        assert_eq!(Payload::null().len(), 4);
    }
}
