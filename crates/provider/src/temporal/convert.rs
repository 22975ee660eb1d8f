//! Payloads and errors, as Temporal writes them.

use std::{error::Error as _, time::Duration};

use base::{FailureClass, Payload, payload::JSON};
use bytes::Bytes;
use temporalio_common::protos::temporal::api::common::v1::{Payload as WirePayload, Payloads};
use tonic::{Code, Status};

use crate::engine::{EngineError, Lost};

const ENCODING: &str = "encoding";
const NULL: &[u8] = b"binary/null";
const PLAIN_JSON: &[u8] = b"json/plain";
const PLAIN_BYTES: &[u8] = b"binary/plain";
/// Where the media type of bytes stands: Temporal has no place of its own for it.
const MEDIA_TYPE: &str = "media-type";
const BYTES: &str = "application/octet-stream";

/// One argument; none for `null`, so that what takes none can be called.
pub(super) fn arguments(payload: &Payload) -> Payloads {
    let null = payload.is_json() && payload.json().is_some_and(|value| value.is_null());
    Payloads { payloads: if null { Vec::new() } else { vec![to_wire(payload)] } }
}

fn to_wire(payload: &Payload) -> WirePayload {
    let mut metadata = std::collections::HashMap::new();
    if payload.is_json() {
        metadata.insert(ENCODING.to_owned(), PLAIN_JSON.to_vec());
    } else {
        metadata.insert(ENCODING.to_owned(), PLAIN_BYTES.to_vec());
        metadata.insert(MEDIA_TYPE.to_owned(), payload.media_type().as_bytes().to_vec());
    }
    WirePayload { metadata, data: payload.bytes().to_vec(), ..WirePayload::default() }
}

/// What a workflow or query gave: one value, or none.
///
/// # Errors
/// It is written in a way that is not understood, encrypted perhaps.
pub(super) fn result(payloads: Option<Payloads>) -> Result<Payload, String> {
    let mut all = payloads.unwrap_or_default().payloads;
    match all.len() {
        0 => Ok(Payload::null()),
        1 => from_wire(all.remove(0)),
        n => Err(format!("it gave {n} values, one is expected")),
    }
}

fn from_wire(payload: WirePayload) -> Result<Payload, String> {
    let encoding = payload.metadata.get(ENCODING).map_or(&b""[..], Vec::as_slice);
    match encoding {
        NULL => Ok(Payload::null()),
        PLAIN_JSON | b"json/protobuf" => {
            let read = Payload::json_text(Bytes::from(payload.data));
            if read.json().is_none() { Err("what it gave is not JSON".into()) } else { Ok(read) }
        }
        PLAIN_BYTES => {
            let media_type = payload.metadata.get(MEDIA_TYPE).and_then(|t| std::str::from_utf8(t).ok());
            let media_type = media_type.filter(|t| *t != JSON).unwrap_or(BYTES);
            Ok(Payload::new(media_type.into(), Bytes::from(payload.data)))
        }
        other => Err(format!(
            "what it gave is encoded as {:?}, which is not understood: give JSON or bytes, without a codec",
            String::from_utf8_lossy(other)
        )),
    }
}

/// A question that may wait came back without an answer.
pub(super) fn waited(status: &Status) -> bool {
    matches!(status.code(), Code::DeadlineExceeded) || ran_out(status)
}

/// Our own time was over.
fn ran_out(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message().contains("Timeout")
}

/// Whether the connection was never made.
fn never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

pub(super) fn error(status: &Status, run: &str, address: &str) -> EngineError {
    let said = format!("Temporal at {address}: {}", status.message());
    let refused = |class| EngineError::Refused { class, message: said.clone(), retry_after: None };
    match status.code() {
        // Words about a run may name its namespace as well.
        Code::NotFound if status.message().to_ascii_lowercase().starts_with("namespace") => {
            refused(FailureClass::Definition)
        }
        Code::NotFound => EngineError::NoRun(run.to_owned()),
        Code::Unavailable if never_sent(status) => EngineError::Away { message: said, lost: Lost::Nothing },
        Code::ResourceExhausted => EngineError::Refused {
            class: FailureClass::RateLimited,
            message: said,
            retry_after: Some(Duration::from_secs(1)),
        },
        Code::Unauthenticated | Code::PermissionDenied => refused(FailureClass::Auth),
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists | Code::OutOfRange => {
            refused(FailureClass::Rejected)
        }
        Code::Unimplemented => EngineError::Cannot(format!("does not know this call ({said})")),
        _ => EngineError::Away { message: said, lost: Lost::Unknown },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn payloads_survive_the_way_there_and_back() {
        for payload in [
            Payload::from_value(&json!({"a": [1, "ü", null]})),
            Payload::json_text("12345678901234567890123"),
            Payload::null(),
            Payload::new("image/png".into(), Bytes::from_static(&[0xff, 0])),
        ] {
            assert_eq!(result(Some(arguments(&payload))).unwrap(), payload);
        }
        assert_eq!(result(None).unwrap(), Payload::null());
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let mut wire = to_wire(&Payload::null());
        wire.metadata.insert(ENCODING.into(), b"binary/encrypted".to_vec());
        let two = Payloads { payloads: vec![wire.clone(), wire.clone()] };
        assert!(from_wire(wire).unwrap_err().contains("binary/encrypted"));
        assert!(result(Some(two)).unwrap_err().contains("2 values"));
    }

    #[test]
    fn statuses_say_whether_the_call_may_have_happened() {
        let of = |code, text: &str| error(&Status::new(code, text), "r", "http://t:7233");
        for gone in ["workflow not found", "Execution not found: WorkflowId{namespace='default'}"] {
            assert_eq!(of(Code::NotFound, gone), EngineError::NoRun("r".into()));
        }
        for (code, text, class, known) in [
            (Code::NotFound, "Namespace x is not found.", FailureClass::Definition, true),
            (Code::Unavailable, "reset", FailureClass::Broken, false),
            (Code::DeadlineExceeded, "", FailureClass::Broken, false),
            (Code::ResourceExhausted, "slow down", FailureClass::RateLimited, true),
            (Code::PermissionDenied, "", FailureClass::Auth, true),
            (Code::InvalidArgument, "unknown query", FailureClass::Rejected, true),
        ] {
            let error = of(code, text);
            assert_eq!((error.class(), error.is_known()), (class, known), "{code:?}");
        }
    }
}
