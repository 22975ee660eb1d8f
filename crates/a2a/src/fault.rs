//! Errors of the protocol: one table for JSON-RPC codes, HTTP statuses and reasons, read by client and server.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

/// What a peer may answer instead of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// No such task, or not the caller's.
    TaskNotFound,
    /// The task is over.
    TaskNotCancelable,
    /// Push notifications are not offered.
    PushNotSupported,
    /// Not offered, or not in this state of the task.
    Unsupported,
    /// A media type that is not understood.
    ContentType,
    /// The agent behind the peer answered badly.
    InvalidAgentResponse,
    /// The extended card is declared and not there.
    ExtendedCardMissing,
    /// A required extension was not named.
    ExtensionRequired,
    /// A protocol version that is not spoken.
    VersionNotSupported,
    /// The body is not JSON.
    Parse,
    /// The body is not a request.
    InvalidRequest,
    /// No such method, or nothing at this path.
    MethodNotFound,
    /// The parameters break a rule.
    InvalidParams,
    /// The peer failed.
    Internal,
    /// No credentials, or wrong ones.
    Unauthenticated,
    /// The credentials do not allow this.
    PermissionDenied,
    /// Slow down (HTTP 429 or 503).
    RateLimited,
}

struct Row(FaultKind, i64, u16, &'static str, &'static str);

const TABLE: &[Row] = &[
    Row(FaultKind::TaskNotFound, -32001, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
    Row(FaultKind::TaskNotCancelable, -32002, 400, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE"),
    Row(FaultKind::PushNotSupported, -32003, 400, "FAILED_PRECONDITION", "PUSH_NOTIFICATION_NOT_SUPPORTED"),
    Row(FaultKind::Unsupported, -32004, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
    Row(FaultKind::ContentType, -32005, 400, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED"),
    Row(FaultKind::InvalidAgentResponse, -32006, 500, "INTERNAL", "INVALID_AGENT_RESPONSE"),
    Row(
        FaultKind::ExtendedCardMissing,
        -32007,
        400,
        "FAILED_PRECONDITION",
        "EXTENDED_AGENT_CARD_NOT_CONFIGURED",
    ),
    Row(FaultKind::ExtensionRequired, -32008, 400, "FAILED_PRECONDITION", "EXTENSION_SUPPORT_REQUIRED"),
    Row(FaultKind::VersionNotSupported, -32009, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
    Row(FaultKind::Parse, -32700, 400, "INVALID_ARGUMENT", "PARSE_ERROR"),
    Row(FaultKind::InvalidRequest, -32600, 400, "INVALID_ARGUMENT", "INVALID_REQUEST"),
    Row(FaultKind::MethodNotFound, -32601, 404, "NOT_FOUND", "METHOD_NOT_FOUND"),
    Row(FaultKind::InvalidParams, -32602, 400, "INVALID_ARGUMENT", "INVALID_PARAMS"),
    Row(FaultKind::Internal, -32603, 500, "INTERNAL", "INTERNAL_ERROR"),
    Row(FaultKind::Unauthenticated, -32603, 401, "UNAUTHENTICATED", "UNAUTHENTICATED"),
    Row(FaultKind::PermissionDenied, -32603, 403, "PERMISSION_DENIED", "PERMISSION_DENIED"),
    Row(FaultKind::RateLimited, -32603, 429, "RESOURCE_EXHAUSTED", "RATE_LIMITED"),
];

impl FaultKind {
    fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[13])
    }
    /// The code in a JSON-RPC error.
    pub fn code(self) -> i64 {
        self.row().1
    }
    /// The status of an HTTP+JSON answer.
    pub fn http_status(self) -> u16 {
        self.row().2
    }
    /// `reason` of the `ErrorInfo` detail.
    pub fn reason(self) -> &'static str {
        self.row().4
    }
    fn from_code(code: i64) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == code).map(|row| row.0)
    }
    fn from_reason(reason: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.4 == reason).map(|row| row.0)
    }
    fn from_http(status: u16) -> Self {
        match status {
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 | 405 => Self::MethodNotFound,
            409 => Self::TaskNotCancelable,
            415 => Self::ContentType,
            429 | 503 => Self::RateLimited,
            500.. => Self::Internal,
            _ => Self::InvalidRequest,
        }
    }
}

/// An error that a peer answered: it got the request and says what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} ({}): {message}", kind.reason(), code.map_or_else(|| format!("HTTP {http_status}"), |c| c.to_string()))]
pub struct Fault {
    /// What callers act on.
    pub kind: FaultKind,
    /// JSON-RPC code, when the answer had one.
    pub code: Option<i64>,
    /// HTTP status of the answer.
    pub http_status: u16,
    /// What the peer says, cut to 2,000 characters.
    pub message: String,
    /// The field that breaks a rule, when the peer names it.
    pub field: Option<String>,
    /// How long to wait, when the peer says.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// An error to answer with.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        let (message, http_status) = (message.into(), kind.http_status());
        Self { kind, code: Some(kind.code()), http_status, message, field: None, retry_after: None }
    }
    /// Bad parameters, naming the field.
    pub fn invalid(field: impl Into<String>, rule: impl Into<String>) -> Self {
        let (field, rule) = (field.into(), rule.into());
        let message = if field.is_empty() { rule } else { format!("{field}: {rule}") };
        Self { field: Some(field), ..Self::new(FaultKind::InvalidParams, message) }
    }
    fn details(&self) -> Value {
        let info = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": self.kind.reason(), "domain": "a2a-protocol.org", "metadata": {},
        });
        match &self.field {
            Some(field) => json!([info, {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": field, "description": self.message}],
            }]),
            None => json!([info]),
        }
    }
    /// The `error` member of a JSON-RPC answer.
    pub(crate) fn rpc_body(&self) -> Value {
        json!({"code": self.code.unwrap_or(-32603), "message": self.message, "data": self.details()})
    }
    /// The body of an HTTP+JSON answer.
    pub(crate) fn http_body(&self) -> Value {
        let row = self.kind.row();
        json!({"error": {"code": row.2, "status": row.3, "message": self.message, "details": self.details()}})
    }

    /// Reads the `error` member of a JSON-RPC answer.
    pub(crate) fn from_rpc(error: &WireError, http_status: u16, retry_after: Option<Duration>) -> Self {
        let code = error.code.unwrap_or(-32603);
        let by_reason = || error.data.as_ref().and_then(reason).and_then(FaultKind::from_reason);
        let kind = match code {
            // The generic code may hide a better word in the details or in the status.
            -32603 => by_reason().unwrap_or(match http_status {
                200..300 => FaultKind::Internal,
                status => FaultKind::from_http(status),
            }),
            code => FaultKind::from_code(code).unwrap_or(FaultKind::Internal),
        };
        let message = cut(error.message.clone().unwrap_or_default());
        let field = error.data.as_ref().and_then(field);
        Self { kind, code: Some(code), http_status, message, field, retry_after }
    }

    /// Reads the answer of a failed HTTP request, whatever its body: `error.message`, `message`, `detail`, `title`
    /// in that order; the status decides when nothing can be read.
    pub(crate) fn from_http(status: StatusCode, body: &Bytes, retry_after: Option<Duration>) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = value.get("error").unwrap_or(&value);
        let details = error.get("details").or_else(|| error.get("data"));
        let named = details.and_then(reason).and_then(FaultKind::from_reason);
        let coded = error.get("code").and_then(Value::as_i64).filter(|c| *c < 0);
        // 404 with an A2A-looking body is about the task, a bare one about the path.
        let by_status = match FaultKind::from_http(status.as_u16()) {
            FaultKind::MethodNotFound if error.is_object() => FaultKind::TaskNotFound,
            kind => kind,
        };
        let said = ["message", "detail", "title"].iter().find_map(|key| error.get(key)?.as_str());
        let text = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        Self {
            kind: named.or_else(|| coded.and_then(FaultKind::from_code)).unwrap_or(by_status),
            code: coded,
            http_status: status.as_u16(),
            message: cut(said.map_or_else(text, str::to_owned)),
            field: details.and_then(field),
            retry_after,
        }
    }
}

/// The `error` member of a JSON-RPC answer as it lies on the wire.
#[derive(Debug, Deserialize)]
pub(crate) struct WireError {
    code: Option<i64>,
    message: Option<String>,
    data: Option<Value>,
}

fn cut(text: String) -> String {
    if text.len() <= 2000 { text } else { text.chars().take(2000).collect() }
}

fn reason(details: &Value) -> Option<&str> {
    details.as_array()?.iter().find_map(|d| d.get("reason")?.as_str())
}

fn field(details: &Value) -> Option<String> {
    let violations = details.as_array()?.iter().find_map(|d| d.get("fieldViolations"))?;
    Some(violations.get(0)?.get("field")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_reads_back_from_both_bindings() {
        for row in TABLE {
            let fault = Fault::new(row.0, "why");
            let wire: WireError = serde_json::from_value(fault.rpc_body()).unwrap();
            assert_eq!(Fault::from_rpc(&wire, 200, None).kind, row.0);
            let status = StatusCode::from_u16(row.2).unwrap();
            let back = Fault::from_http(status, &fault.http_body().to_string().into(), None);
            assert_eq!((back.kind, back.message.as_str()), (row.0, "why"));
        }
    }

    #[test]
    fn a_message_is_found_in_every_kind_of_error_body() {
        for (status, body, kind, message) in [
            (
                404,
                r#"{"type":"x","title":"Not Found","detail":"no task"}"#,
                FaultKind::TaskNotFound,
                "no task",
            ),
            (404, "nothing here", FaultKind::MethodNotFound, "nothing here"),
            (400, r#"{"message":"bad"}"#, FaultKind::InvalidRequest, "bad"),
            (429, "", FaultKind::RateLimited, ""),
            (500, "<html>", FaultKind::Internal, "<html>"),
            (401, r#"{"error":"denied"}"#, FaultKind::Unauthenticated, r#"{"error":"denied"}"#),
            (400, r#"{"error":{"code":-32602,"message":"m"}}"#, FaultKind::InvalidParams, "m"),
        ] {
            let fault = Fault::from_http(StatusCode::from_u16(status).unwrap(), &Bytes::from(body), None);
            assert_eq!((fault.kind, fault.message.as_str()), (kind, message), "{body}");
        }
    }

    #[test]
    fn a_named_field_travels() {
        let wire = serde_json::from_value(Fault::invalid("message.parts", "is empty").rpc_body()).unwrap();
        let back = Fault::from_rpc(&wire, 200, None);
        assert_eq!(back.field.as_deref(), Some("message.parts"));
        assert_eq!(back.to_string(), "INVALID_PARAMS (-32602): message.parts: is empty");
    }
}
