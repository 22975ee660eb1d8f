//! What is the same question. Pure: text in, key out.
//!
//! Two inputs are the same when they are the same JSON: white space, the order of members and the way texts are escaped
//! do not count, the last of two members of one name does. Numbers count as they are written (`1` and `1.0` differ):
//! no reader between here and the agent may tell them apart, but one could, and a missed hit costs one call only.

use std::collections::BTreeMap;

use base::Payload;
use serde_json::value::RawValue;

/// What a call asks. The agent does not count: whoever offers a version of a capability answers alike.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The capability.
    pub capability: &'a str,
    /// Version of the agent that offers it.
    pub version: &'a str,
    /// What the task asks in words: it is sent along and decides the answer too.
    pub instructions: &'a str,
    /// The input.
    pub input: &'a Payload,
}

impl Question<'_> {
    /// The key within a namespace: `capability@version/hash`, so that a pattern can name capability and version.
    /// `None` when the input says it is JSON and is not.
    pub fn key(&self) -> Option<String> {
        let mut hasher = blake3::Hasher::new();
        for part in [self.capability, self.version, self.instructions, &**self.input.media_type()] {
            add(&mut hasher, part.as_bytes());
        }
        if self.input.is_json() {
            add(&mut hasher, canonical(self.input.bytes())?.as_bytes());
        } else {
            add(&mut hasher, self.input.bytes());
        }
        let hash = hasher.finalize().to_hex();
        Some(format!("{}@{}/{}", self.capability, self.version, hash.get(..32).unwrap_or_default()))
    }
}

/// Parts with their lengths: no two lists of parts give the same bytes.
fn add(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
}

/// JSON text in the one form that all equal texts share. `None` when it does not parse.
pub fn canonical(text: &[u8]) -> Option<String> {
    let value: &RawValue = serde_json::from_slice(text).ok()?;
    let mut out = String::with_capacity(text.len());
    write(value, &mut out, 0)?;
    Some(out)
}

/// As deep as the JSON reader goes elsewhere.
const DEPTH_MAX: usize = 128;

fn write(value: &RawValue, out: &mut String, depth: usize) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    let text = value.get().trim();
    match text.as_bytes().first()? {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            out.push('{');
            for (n, (name, member)) in members.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(&name).ok()?);
                out.push(':');
                write(member, out, depth + 1)?;
            }
            out.push('}');
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push('[');
            for (n, item) in items.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write(item, out, depth + 1)?;
            }
            out.push(']');
        }
        b'"' => {
            let plain: String = serde_json::from_str(text).ok()?;
            out.push_str(&serde_json::to_string(&plain).ok()?);
        }
        _ => out.push_str(text),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The same value written in another way: members reversed, white space, escaped texts.
    fn written_otherwise(value: &Value) -> String {
        match value {
            Value::Object(members) => {
                let parts: Vec<String> = members
                    .iter()
                    .rev()
                    .map(|(k, v)| format!("\n {} :\t{}", escaped(k), written_otherwise(v)))
                    .collect();
                format!("{{ {} }}", parts.join(" ,"))
            }
            Value::Array(items) => {
                let parts: Vec<String> = items.iter().map(written_otherwise).collect();
                format!("[ {}\r\n]", parts.join(" , "))
            }
            Value::String(text) => escaped(text),
            other => format!(" {other} "),
        }
    }

    fn escaped(text: &str) -> String {
        let mut out = String::from("\"");
        for unit in text.encode_utf16() {
            out.push_str(&format!("\\u{unit:04x}"));
        }
        out + "\""
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|n| serde_json::Number::from_f64(n).map_or(Value::Null, Value::from)),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,4}", inner, 0..5)
                    .prop_map(|m| m.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    fn key_of(input: &str) -> Option<String> {
        let input = Payload::json_text(input.to_owned());
        Question { capability: "c", version: "1", instructions: "", input: &input }.key()
    }

    proptest! {
        #[test]
        fn equal_values_have_one_form_however_they_are_written(value in json()) {
            let (one, other) = (value.to_string(), written_otherwise(&value));
            prop_assert_eq!(canonical(one.as_bytes()).unwrap(), canonical(other.as_bytes()).unwrap());
            prop_assert_eq!(key_of(&one).unwrap(), key_of(&other).unwrap());
        }

        #[test]
        fn the_form_reads_back_as_the_value_and_is_its_own_form(value in json()) {
            let form = canonical(value.to_string().as_bytes()).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(&form).unwrap(), &value);
            prop_assert_eq!(&canonical(form.as_bytes()).unwrap(), &form);
        }

        #[test]
        fn different_values_have_different_forms(one in json(), other in json()) {
            prop_assume!(one != other);
            prop_assert_ne!(canonical(one.to_string().as_bytes()), canonical(other.to_string().as_bytes()));
        }
    }

    #[test]
    fn numbers_count_as_they_are_written() {
        assert_ne!(canonical(b"1"), canonical(b"1.0"));
        assert_ne!(canonical(b"12345678901234567890123"), canonical(b"12345678901234567890124"));
        assert_eq!(canonical(b"{\"a\":1,\"a\":2}"), canonical(b"{\"a\":2}"), "as readers take it");
    }

    #[test]
    fn what_is_not_json_has_no_form() {
        for text in ["", "{", "nul", "[1,]", "\"\\ud800\""] {
            assert_eq!(canonical(text.as_bytes()), None, "{text}");
            assert_eq!(key_of(text), None, "{text}");
        }
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        assert_eq!(canonical(deep.as_bytes()), None);
    }

    #[test]
    fn everything_that_is_asked_is_part_of_the_key() {
        let (json, text) = (Payload::json_text("1"), Payload::new("text/plain".into(), "1".into()));
        let question = |capability, version, instructions, input| {
            Question { capability, version, instructions, input }.key().unwrap()
        };
        let all = [
            question("c", "1", "", &json),
            question("c", "2", "", &json),
            question("d", "1", "", &json),
            question("c", "1", "be brief", &json),
            question("c", "1", "", &text),
            question("c1", "", "", &json),
        ];
        for (n, key) in all.iter().enumerate() {
            assert!(all[n + 1..].iter().all(|other| other != key), "{key}");
        }
        assert!(all[0].starts_with("c@1/"), "{}", all[0]);
    }
}
