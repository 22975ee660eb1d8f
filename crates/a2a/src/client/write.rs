//! Requests as they leave: bodies for both dialects, URLs for both bindings.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;

use super::{CallError, CallOptions};
use crate::{
    Dialect,
    card::{Binding, Endpoint, Version},
    codec::{state_name, write_message},
    json::Out,
    model::{ListRequest, SendRequest},
};

/// What is asked of an agent.
pub(crate) enum Ask<'a> {
    Send(&'a SendRequest),
    Stream(&'a SendRequest),
    Get(&'a str),
    Cancel(&'a str),
    /// The flag: by GET instead of POST (HTTP+JSON; the proto and the text of the specification disagree).
    Subscribe(&'a str, bool),
    List(&'a ListRequest),
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const A2A_JSON: HeaderValue = HeaderValue::from_static("application/a2a+json");
const ACCEPT_A2A: HeaderValue = HeaderValue::from_static("application/a2a+json, application/json");
const ACCEPT_SSE: HeaderValue = HeaderValue::from_static("text/event-stream, application/json");
const V1: HeaderValue = HeaderValue::from_static("1.0");
const VERSION: HeaderName = HeaderName::from_static("a2a-version");

impl Ask<'_> {
    fn streams(&self) -> bool {
        matches!(self, Self::Stream(_) | Self::Subscribe(..))
    }

    fn method(&self, dialect: Dialect) -> Result<&'static str, CallError> {
        Ok(match (self, dialect) {
            (Self::Send(_), Dialect::V1) => "SendMessage",
            (Self::Send(_), Dialect::V03) => "message/send",
            (Self::Stream(_), Dialect::V1) => "SendStreamingMessage",
            (Self::Stream(_), Dialect::V03) => "message/stream",
            (Self::Get(_), Dialect::V1) => "GetTask",
            (Self::Get(_), Dialect::V03) => "tasks/get",
            (Self::Cancel(_), Dialect::V1) => "CancelTask",
            (Self::Cancel(_), Dialect::V03) => "tasks/cancel",
            (Self::Subscribe(..), Dialect::V1) => "SubscribeToTask",
            (Self::Subscribe(..), Dialect::V03) => "tasks/resubscribe",
            (Self::List(_), Dialect::V1) => "ListTasks",
            (Self::List(_), Dialect::V03) => {
                let why = "A2A 0.3 over JSON-RPC has no list of tasks";
                return Err(crate::Fault::new(crate::FaultKind::MethodNotFound, why).into());
            }
        })
    }

    fn write_params(&self, out: &mut Out, endpoint: &Endpoint) {
        let dialect = endpoint.dialect();
        out.mark(b'{');
        if endpoint.binding == Binding::JsonRpc {
            out.key_opt("tenant", endpoint.tenant.as_deref());
        }
        match self {
            Self::Send(request) | Self::Stream(request) => write_send(out, request, dialect),
            Self::Get(id) => {
                out.key_text("id", id);
                // No history: it is not read. 0 means "all" in 0.3.
                out.key_number("historyLength", u64::from(dialect == Dialect::V03));
            }
            Self::Cancel(id) | Self::Subscribe(id, _) => {
                out.key_text("id", id);
            }
            Self::List(list) => write_list(out, list),
        }
        out.mark(b'}');
    }

    fn path(&self) -> (Method, String) {
        match self {
            Self::Send(_) => (Method::POST, "/message:send".into()),
            Self::Stream(_) => (Method::POST, "/message:stream".into()),
            Self::Get(id) => (Method::GET, format!("/tasks/{}?historyLength=0", escaped(id))),
            Self::Cancel(id) => (Method::POST, format!("/tasks/{}:cancel", escaped(id))),
            Self::Subscribe(id, true) => (Method::GET, format!("/tasks/{}:subscribe", escaped(id))),
            Self::Subscribe(id, false) => (Method::POST, format!("/tasks/{}:subscribe", escaped(id))),
            Self::List(list) => (Method::GET, format!("/tasks{}", list_query(list))),
        }
    }

    /// The whole HTTP request.
    pub(crate) fn request(
        &self,
        endpoint: &Endpoint,
        options: &CallOptions,
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let mut request = match endpoint.binding {
            Binding::JsonRpc => self.rpc_request(endpoint)?,
            Binding::HttpJson => self.http_request(endpoint)?,
        };
        let headers = request.headers_mut();
        if self.streams() {
            headers.insert(header::ACCEPT, ACCEPT_SSE);
        }
        if endpoint.version == Version::V1_0 {
            headers.insert(VERSION, V1);
        }
        for (name, value) in &options.headers {
            headers.insert(name, value.clone());
        }
        Ok(request)
    }

    fn rpc_request(&self, endpoint: &Endpoint) -> Result<Request<Full<Bytes>>, CallError> {
        let mut out = Out::with_capacity(512);
        out.raw(b"{\"jsonrpc\":\"2.0\",\"id\":1");
        out.key_text("method", self.method(endpoint.dialect())?);
        self.write_params(out.key("params"), endpoint);
        out.mark(b'}');
        let mut request = Request::new(Full::new(out.finish()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.url.clone();
        request.headers_mut().insert(header::CONTENT_TYPE, JSON);
        request.headers_mut().insert(header::ACCEPT, JSON);
        Ok(request)
    }

    fn http_request(&self, endpoint: &Endpoint) -> Result<Request<Full<Bytes>>, CallError> {
        let (method, path) = self.path();
        let mut out = Out::default();
        match self {
            Self::Send(_) | Self::Stream(_) => self.write_params(&mut out, endpoint),
            _ if method == Method::POST => _ = out.raw(b"{}"),
            _ => {}
        }
        let tenant = endpoint.tenant.as_deref().map(|t| format!("/{}", escaped(t))).unwrap_or_default();
        let mut request = Request::new(Full::new(out.finish()));
        *request.uri_mut() = below(&endpoint.url, &format!("{tenant}{path}"))?;
        if method == Method::POST {
            request.headers_mut().insert(header::CONTENT_TYPE, A2A_JSON);
        }
        request.headers_mut().insert(header::ACCEPT, ACCEPT_A2A);
        *request.method_mut() = method;
        Ok(request)
    }
}

/// `path` below the path of `base`.
pub(crate) fn below(base: &Uri, path: &str) -> Result<Uri, CallError> {
    let mut parts = base.clone().into_parts();
    let whole = format!("{}{path}", base.path().trim_end_matches('/'));
    let bad = |cause: String| CallError::NotSent { to: base.to_string(), cause };
    parts.path_and_query = Some(whole.parse().map_err(|e| bad(format!("{whole:?}: {e}")))?);
    Uri::from_parts(parts).map_err(|e| bad(e.to_string()))
}

/// Percent-encodes what may not stand in one path segment or query value.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn write_send(out: &mut Out, request: &SendRequest, dialect: Dialect) {
    write_message(out.key("message"), &request.message, dialect);
    out.key("configuration").mark(b'{');
    match dialect {
        Dialect::V1 if request.return_immediately => _ = out.key_bool("returnImmediately", true),
        Dialect::V1 => {}
        // Always said: servers of 0.3 disagree about the default.
        Dialect::V03 => _ = out.key_bool("blocking", !request.return_immediately),
    }
    match (request.history_length, dialect) {
        (Some(0), Dialect::V03) => _ = out.key_number("historyLength", 1),
        (Some(n), _) => _ = out.key_number("historyLength", n.into()),
        (None, _) => {}
    }
    out.key_texts("acceptedOutputModes", &request.accepted_output_modes).mark(b'}');
    out.key_json("metadata", request.metadata.as_ref());
}

fn write_list(out: &mut Out, list: &ListRequest) {
    for (key, value) in list_fields(list) {
        match key {
            "pageSize" | "historyLength" | "includeArtifacts" => out.key(key).raw(value.as_bytes()),
            _ => out.key_text(key, &value),
        };
    }
}

fn list_query(list: &ListRequest) -> String {
    let pairs: Vec<String> =
        list_fields(list).into_iter().map(|(key, value)| format!("{key}={}", escaped(&value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn list_fields(list: &ListRequest) -> Vec<(&'static str, String)> {
    let state = list.status.map(|s| state_name(s, Dialect::V1).to_owned());
    [
        ("contextId", list.context_id.clone()),
        ("status", state),
        ("pageSize", list.page_size.map(|n| n.to_string())),
        ("pageToken", list.page_token.clone()),
        ("historyLength", list.history_length.map(|n| n.to_string())),
        ("statusTimestampAfter", list.status_timestamp_after.map(base::Timestamp::rfc3339)),
        ("includeArtifacts", list.include_artifacts.then(|| "true".to_owned())),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
    .collect()
}
