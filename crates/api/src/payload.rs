//! Payloads ⇄ `common.v1.Payload`.

use base::payload::{JSON, Payload};
use bytes::Bytes;
use proto::common::v1::{self as wire, payload::Body};

use crate::Fault;

/// To the wire. JSON that is no UTF-8 text, which no reader here produces, travels as bytes.
pub fn to_wire(payload: &Payload) -> wire::Payload {
    let body = match std::str::from_utf8(payload.bytes()) {
        Ok(text) if payload.is_json() => Body::Json(text.to_owned()),
        Ok(_) | Err(_) => Body::Data(payload.bytes().to_vec()),
    };
    wire::Payload { media_type: payload.media_type().to_string(), body: Some(body) }
}

/// From the wire; an absent payload is JSON `null`. JSON text is parsed here, once, and its value shared.
///
/// # Errors
/// `invalid_argument` naming `field` when JSON text does not parse.
pub fn from_wire(payload: Option<wire::Payload>, field: &str) -> Result<Payload, Fault> {
    let Some(wire::Payload { media_type, body }) = payload else { return Ok(Payload::null()) };
    let is_json = media_type.is_empty() || media_type == JSON;
    let bytes = match body {
        None if is_json => return Ok(Payload::null()),
        None => Bytes::new(),
        Some(Body::Json(text)) => Bytes::from(text),
        Some(Body::Data(data)) => Bytes::from(data),
    };
    if !is_json {
        return Ok(Payload::new(media_type.into(), bytes));
    }
    let payload = Payload::json_text(bytes);
    if payload.json().is_none() {
        return Err(Fault::bad(field, "is not JSON"));
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::ErrorCode;

    #[test]
    fn payloads_travel_as_they_came() {
        for payload in [
            Payload::json_text("{\"a\": 1.00, \"b\": 12345678901234567890123}"),
            Payload::null(),
            Payload::new("text/plain".into(), Bytes::from("x")),
            Payload::new("image/png".into(), Bytes::from(&[0xff, 0][..])),
            Payload::new("text/plain".into(), Bytes::new()),
        ] {
            assert_eq!(from_wire(Some(to_wire(&payload)), "input").unwrap(), payload);
        }
        assert_eq!(from_wire(None, "input").unwrap(), Payload::null());
        assert_eq!(from_wire(Some(wire::Payload::default()), "input").unwrap(), Payload::null());
        let odd = wire::Payload { media_type: "text/plain".into(), body: None };
        assert!(from_wire(Some(odd), "input").unwrap().is_empty());
    }

    #[test]
    fn text_that_is_not_json_is_refused_with_its_field() {
        for body in [Body::Json("{".into()), Body::Data(vec![0xff])] {
            let bad = wire::Payload { media_type: String::new(), body: Some(body) };
            let fault = from_wire(Some(bad), "input").unwrap_err();
            assert_eq!((fault.code, fault.field.as_str()), (ErrorCode::InvalidArgument, "input"));
        }
    }
}
