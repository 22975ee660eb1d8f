//! JSON as text: kept as it came, spliced as it is, parsed only by who reads it.

use std::fmt;

use base::Payload;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};

/// The UTF-8 text of one JSON value. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Bytes);

impl Json {
    /// Takes text that is known to be one JSON value. It goes into bodies as it is: text that is not JSON
    /// makes a body that the peer refuses.
    pub fn trusted(text: impl Into<Bytes>) -> Self {
        Self(text.into())
    }
    /// Takes text after checking that it is one JSON value.
    ///
    /// # Errors
    /// When it is not, with line and column.
    pub fn checked(text: impl Into<Bytes>) -> Result<Self, serde_json::Error> {
        let text = text.into();
        serde_json::from_slice::<&RawValue>(&text)?;
        Ok(Self(text))
    }
    /// Writes a value.
    pub fn from_value(value: &Value) -> Self {
        Self(value.to_string().into())
    }
    /// The bytes of the text.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
    /// Parses it into `T`; `None` when it has another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.0).ok()
    }
    /// Parses it into a tree.
    pub fn value(&self) -> Option<Value> {
        self.read()
    }
    /// One member of an object.
    pub fn member(&self, key: &str) -> Option<Value> {
        match self.value()? {
            Value::Object(mut map) => map.remove(key),
            _ => None,
        }
    }
    /// Whether the text is a JSON object.
    pub fn is_object(&self) -> bool {
        self.0.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
    }
    /// A part of `body` as JSON. Shares the memory when it is at least half of the body, so that a small value
    /// does not keep a large body alive.
    pub(crate) fn slice(body: &Bytes, raw: &RawValue) -> Self {
        let text = raw.get().as_bytes();
        let begin = (text.as_ptr() as usize).wrapping_sub(body.as_ptr() as usize);
        let inside = begin < body.len() && begin + text.len() <= body.len();
        if inside && text.len() * 2 >= body.len() {
            return Self(body.slice(begin..begin + text.len()));
        }
        Self(Bytes::copy_from_slice(text))
    }
}

impl From<&Payload> for Json {
    fn from(payload: &Payload) -> Self {
        Self(payload.bytes().clone())
    }
}
impl From<Json> for Payload {
    fn from(json: Json) -> Self {
        Self::json_text(json.0)
    }
}
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({})", String::from_utf8_lossy(&self.0[..self.0.len().min(200)]))
    }
}

/// Writes JSON text without a tree. Commas are placed by looking at the byte before.
#[derive(Default)]
pub(crate) struct Out(Vec<u8>);

impl Out {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }
    pub(crate) fn finish(self) -> Bytes {
        self.0.into()
    }
    /// Opens `{` or `[`, closes `}` or `]`.
    pub(crate) fn mark(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }
    pub(crate) fn key(&mut self, key: &str) -> &mut Self {
        self.item();
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
        self
    }
    /// Begins the next element of an array.
    pub(crate) fn item(&mut self) -> &mut Self {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(b',');
        }
        self
    }
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        // Writing a string into a vector cannot fail.
        let _ = serde_json::to_writer(&mut self.0, text);
        self
    }
    pub(crate) fn raw(&mut self, json: &[u8]) -> &mut Self {
        self.0.extend_from_slice(json);
        self
    }
    pub(crate) fn key_text(&mut self, key: &str, text: &str) -> &mut Self {
        self.key(key).text(text)
    }
    pub(crate) fn key_opt(&mut self, key: &str, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.key_text(key, text),
            None => self,
        }
    }
    pub(crate) fn key_json(&mut self, key: &str, json: Option<&Json>) -> &mut Self {
        match json {
            Some(json) => self.key(key).raw(&json.0),
            None => self,
        }
    }
    pub(crate) fn key_bool(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key).raw(if value { b"true" } else { b"false" })
    }
    pub(crate) fn key_number(&mut self, key: &str, value: u64) -> &mut Self {
        let text = value.to_string();
        self.key(key).raw(text.as_bytes())
    }
    /// A list of strings, left out when empty.
    pub(crate) fn key_texts(&mut self, key: &str, texts: &[String]) -> &mut Self {
        if texts.is_empty() {
            return self;
        }
        self.key(key).mark(b'[');
        for text in texts {
            self.item().text(text);
        }
        self.mark(b']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_json_has_its_commas_where_they_belong() {
        let mut out = Out::default();
        out.mark(b'{').key_text("a", "x\"y").key_bool("b", true).key_texts("c", &[]);
        out.key("d").mark(b'[');
        out.item().raw(b"1").item().raw(b"{}");
        out.mark(b']').key_number("e", 7).key_opt("f", None).mark(b'}');
        assert_eq!(out.finish(), r#"{"a":"x\"y","b":true,"d":[1,{}],"e":7}"#);
    }

    #[test]
    fn a_large_value_shares_its_body_and_a_small_one_does_not() {
        let body = Bytes::from(format!(r#"{{"big":"{}","n":1}}"#, "x".repeat(100)));
        #[derive(serde::Deserialize)]
        struct Two<'a> {
            #[serde(borrow)]
            big: &'a RawValue,
            #[serde(borrow)]
            n: &'a RawValue,
        }
        let two: Two<'_> = serde_json::from_slice(&body).unwrap();
        let inside = |json: &Json| body.as_ptr_range().contains(&json.bytes().as_ptr());
        assert!(inside(&Json::slice(&body, two.big)));
        assert!(!inside(&Json::slice(&body, two.n)));
        assert_eq!(Json::slice(&body, two.n).value(), Some(1.into()));
    }

    #[test]
    fn checked_json_refuses_what_is_not_json() {
        assert!(Json::checked("{\"a\":1}").unwrap().is_object());
        assert!(Json::checked("{\"a\":").is_err() && Json::checked("1 2").is_err());
        assert_eq!(Json::checked(" {\"a\":1}").unwrap().member("a"), Some(1.into()));
        assert!(Json::trusted("[1]").member("a").is_none());
    }
}
