//! JSON on its way through as text: cut out of a body and spliced into an answer without a tree of it.

use base::payload::JSON;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use proto::common::v1::{Payload, payload::Body};
use serde_json::value::RawValue;

use crate::problem::Problem;

/// Deepest nesting of a payload. What reads it later nests it once more and stops at 128.
pub(crate) const DEPTH_MAX: usize = 100;

/// JSON text kept as it came.
pub(crate) type Raw = Box<RawValue>;

/// The payload of a part of a body; nothing given is `null`.
pub(crate) fn payload(field: &str, raw: Option<Raw>) -> Result<Payload, Problem> {
    let text = match raw {
        None => "null".to_owned(),
        Some(raw) => {
            if depth(raw.get().as_bytes()) > DEPTH_MAX {
                let rule = format!("{field} is nested deeper than {DEPTH_MAX} levels; flatten it");
                return Err(Problem::argument(field, rule));
            }
            String::from(Box::<str>::from(raw))
        }
    };
    Ok(Payload { media_type: JSON.into(), body: Some(Body::Json(text)) })
}

/// A payload as JSON text: itself, or `{media_type, data_base64}` for another media type.
pub(crate) fn raw(payload: Option<Payload>) -> Option<Raw> {
    let payload = payload?;
    match payload.body? {
        Body::Json(text) => Some(raw_text(text)),
        Body::Data(bytes) => {
            let shown = serde_json::json!({
                "media_type": payload.media_type,
                "data_base64": BASE64_STANDARD.encode(bytes),
            });
            serde_json::value::to_raw_value(&shown).ok()
        }
    }
}

/// JSON text from a peer. Text that is no JSON is shown as a string, so that an answer is always JSON.
pub(crate) fn raw_text(text: String) -> Raw {
    RawValue::from_string(text.clone())
        .or_else(|_| serde_json::value::to_raw_value(&text))
        .unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The same; `None` when there is no text.
pub(crate) fn raw_some(text: String) -> Option<Raw> {
    (!text.is_empty()).then(|| raw_text(text))
}

/// Deepest nesting of well-formed JSON text.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for &byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Option<Raw> {
        Some(RawValue::from_string(text.into()).unwrap())
    }

    #[test]
    fn a_payload_keeps_its_text_both_ways() {
        let text = "{\"b\": 1.0, \"a\":[1e400]}";
        let sent = payload("input", given(text)).unwrap();
        assert_eq!(sent.body, Some(Body::Json(text.into())));
        assert_eq!(raw(Some(sent)).unwrap().get(), text);
        assert_eq!(payload("input", None).unwrap().body, Some(Body::Json("null".into())));
        let bytes = Payload { media_type: "text/plain".into(), body: Some(Body::Data(b"hi".to_vec())) };
        assert_eq!(raw(Some(bytes)).unwrap().get(), r#"{"data_base64":"aGk=","media_type":"text/plain"}"#);
        assert_eq!(raw_text("{broken".into()).get(), "\"{broken\"");
        assert!(raw(None).is_none() && raw_some(String::new()).is_none());
    }

    #[test]
    fn a_payload_that_is_nested_too_deep_is_refused() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(payload("input", given(&nested(DEPTH_MAX))).is_ok());
        let refused = payload("input", given(&nested(DEPTH_MAX + 1))).unwrap_err();
        assert_eq!(refused.0.field, "input");
        assert_eq!(depth(br#"{"a":"[[[\"[[","b":[{}]}"#), 3, "brackets in strings do not count");
    }
}
