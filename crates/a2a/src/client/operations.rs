//! The single operations of the protocol, over each binding and version.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::Deserialize;

use super::{
    A2aClient, CallError, CallOptions, EventStream,
    transport::{Answer, Patience, is_type, retry_after},
    write::{Ask, below},
};
use crate::{
    AgentCard, Dialect, Fault, FaultKind,
    card::{Binding, Endpoint, Version},
    codec::{self, FlatEvent, UnionEvent, WirePage, WireTask},
    fault::WireError,
    model::{ListRequest, Reply, SendRequest, StreamEvent, Task, TaskPage},
};

#[derive(Deserialize)]
struct Envelope<T> {
    #[serde(default = "Option::default")]
    result: Option<T>,
    #[serde(default)]
    error: Option<WireError>,
}

/// Opens a JSON-RPC answer.
fn envelope<'a, T: Deserialize<'a>>(body: &'a Bytes, status: u16) -> Result<T, CallError> {
    let open: Envelope<T> = serde_json::from_slice(body)
        .map_err(|e| CallError::invalid(format!("not a JSON-RPC answer: {e}: {}", begin(body))))?;
    match (open.error, open.result) {
        (Some(error), _) => Err(Fault::from_rpc(&error, status, None).into()),
        (None, Some(result)) => Ok(result),
        (None, None) => Err(CallError::invalid("JSON-RPC answer with neither result nor error")),
    }
}

fn begin(body: &Bytes) -> String {
    String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned()
}

/// Reads one event of a stream. `named_error`: the server called it an error.
pub(super) fn read_event(
    data: &Bytes,
    endpoint: &Endpoint,
    named_error: bool,
) -> Result<StreamEvent, CallError> {
    match (endpoint.binding, endpoint.dialect()) {
        (Binding::JsonRpc, Dialect::V1) => {
            Ok(codec::union_event(data, envelope::<UnionEvent<'_>>(data, 200)?)?)
        }
        (Binding::JsonRpc, Dialect::V03) => {
            Ok(codec::flat_event(data, envelope::<FlatEvent<'_>>(data, 200)?)?)
        }
        (Binding::HttpJson, dialect) => {
            let fault = || Fault::from_http(StatusCode::INTERNAL_SERVER_ERROR, data, None).into();
            if named_error {
                return Err(fault());
            }
            codec::decode_event(data, dialect).map_err(|bad| match serde_json::from_slice(data) {
                Ok(serde_json::Value::Object(map)) if map.contains_key("error") => fault(),
                _ => bad.into(),
            })
        }
    }
}

/// Fails when the HTTP status says so, with the error that the body describes.
pub(super) fn status_fault(answer: &Answer, endpoint: &Endpoint) -> Result<(), CallError> {
    let wait = retry_after(&answer.headers);
    if answer.status.is_success() {
        if !answer.is_json() && !answer.body.is_empty() {
            let kind =
                answer.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("none");
            return Err(CallError::invalid(format!(
                "content type {kind:?} instead of JSON: {}",
                begin(&answer.body)
            )));
        }
        return Ok(());
    }
    if endpoint.binding == Binding::JsonRpc
        && let Ok(Envelope { error: Some(error), .. }) =
            serde_json::from_slice::<Envelope<serde::de::IgnoredAny>>(&answer.body)
    {
        return Err(Fault::from_rpc(&error, answer.status.as_u16(), wait).into());
    }
    // A proxy says that the agent behind it was silent or broke: it may have acted.
    if matches!(answer.status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) {
        return Err(CallError::broken(format!("HTTP {}: {}", answer.status, begin(&answer.body))));
    }
    if answer.status.is_redirection() {
        let to = answer.headers.get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or("nowhere");
        return Err(CallError::invalid(format!("redirected to {to}: correct the agent's URL")));
    }
    Err(Fault::from_http(answer.status, &answer.body, wait).into())
}

fn speaks_older(err: &CallError) -> bool {
    let kinds = [FaultKind::MethodNotFound, FaultKind::VersionNotSupported];
    matches!(err, CallError::Fault(fault) if kinds.contains(&fault.kind))
}

impl A2aClient {
    async fn ask<T>(
        &self,
        ask: &Ask<'_>,
        endpoint: &Endpoint,
        options: &CallOptions,
        read: impl FnOnce(&Bytes) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let answer = self.transport.exchange(ask.request(endpoint, options)?, options).await?;
        status_fault(&answer, endpoint)?;
        read(&answer.body).map_err(|mut err| {
            if let CallError::Fault(fault) = &mut err {
                fault.retry_after = retry_after(&answer.headers);
            }
            err
        })
    }

    /// Sends a message and waits for the agent's answer: a task at its end or interruption, or a direct message.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        request: &SendRequest,
        options: &CallOptions,
    ) -> Result<Reply, CallError> {
        match self.send_as(endpoint, request, options).await {
            Err(err) if endpoint.downgrade && endpoint.version == Version::V1_0 && speaks_older(&err) => {
                self.send_as(&older(endpoint), request, options).await
            }
            done => done,
        }
    }

    async fn send_as(
        &self,
        endpoint: &Endpoint,
        request: &SendRequest,
        options: &CallOptions,
    ) -> Result<Reply, CallError> {
        let read = |body: &Bytes| read_event(body, endpoint, false);
        match self.ask(&Ask::Send(request), endpoint, options, read).await? {
            StreamEvent::Task(task) => Ok(Reply::Task(task)),
            StreamEvent::Message(message) => Ok(Reply::Message(message)),
            _ => Err(CallError::invalid("an update instead of a task or message")),
        }
    }

    /// Sends a message and follows the agent's events.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn send_streaming(
        &self,
        endpoint: &Endpoint,
        request: &SendRequest,
        options: &CallOptions,
    ) -> Result<EventStream, CallError> {
        self.open(&Ask::Stream(request), endpoint, options).await
    }

    async fn open(
        &self,
        ask: &Ask<'_>,
        endpoint: &Endpoint,
        options: &CallOptions,
    ) -> Result<EventStream, CallError> {
        let patience = Patience::of(options);
        let response = self.transport.send(ask.request(endpoint, options)?, &patience).await?;
        EventStream::open(response, endpoint, options, patience).await
    }

    /// Follows a task that exists. In 1.0 the first event is the task as it stands.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn subscribe(
        &self,
        endpoint: &Endpoint,
        task_id: &str,
        options: &CallOptions,
    ) -> Result<EventStream, CallError> {
        match self.open(&Ask::Subscribe(task_id, false), endpoint, options).await {
            Err(CallError::Fault(fault))
                if endpoint.binding == Binding::HttpJson && matches!(fault.http_status, 404 | 405) =>
            {
                self.open(&Ask::Subscribe(task_id, true), endpoint, options).await
            }
            done => done,
        }
    }

    /// The task as it stands, without its history.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn get(
        &self,
        endpoint: &Endpoint,
        task_id: &str,
        options: &CallOptions,
    ) -> Result<Task, CallError> {
        self.ask(&Ask::Get(task_id), endpoint, options, |body| read_task(body, endpoint)).await
    }

    /// Asks the agent to stop. A task that is already over is given back as it stands.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn cancel(
        &self,
        endpoint: &Endpoint,
        task_id: &str,
        options: &CallOptions,
    ) -> Result<Task, CallError> {
        match self.ask(&Ask::Cancel(task_id), endpoint, options, |body| read_task(body, endpoint)).await {
            Err(CallError::Fault(f))
                if matches!(f.kind, FaultKind::TaskNotCancelable | FaultKind::Unsupported) =>
            {
                self.get(endpoint, task_id, options).await
            }
            done => done,
        }
    }

    /// One page of tasks (1.0 only).
    ///
    /// # Errors
    /// See [`CallError`]; `MethodNotFound` on a 0.3 endpoint.
    pub async fn list(
        &self,
        endpoint: &Endpoint,
        request: &ListRequest,
        options: &CallOptions,
    ) -> Result<TaskPage, CallError> {
        let read = |body: &Bytes| match endpoint.binding {
            Binding::JsonRpc => Ok(codec::page(body, envelope::<WirePage<'_>>(body, 200)?)?),
            Binding::HttpJson => Ok(codec::decode_page(body)?),
        };
        self.ask(&Ask::List(request), endpoint, options, read).await
    }

    /// The newest tasks of a context, at most 100 (1.0 only).
    ///
    /// # Errors
    /// As [`A2aClient::list`].
    pub async fn list_by_context(
        &self,
        endpoint: &Endpoint,
        context_id: &str,
        options: &CallOptions,
    ) -> Result<Vec<Task>, CallError> {
        let request = ListRequest {
            context_id: Some(context_id.into()),
            page_size: Some(100),
            include_artifacts: true,
            ..ListRequest::default()
        };
        Ok(self.list(endpoint, &request, options).await?.tasks)
    }

    /// The task that a message of unknown outcome began, when the agent keeps history and has it (1.0 only).
    ///
    /// # Errors
    /// As [`A2aClient::list`].
    pub async fn find_by_message(
        &self,
        endpoint: &Endpoint,
        context_id: &str,
        message_id: &str,
        options: &CallOptions,
    ) -> Result<Option<Task>, CallError> {
        let tasks = self.list_by_context(endpoint, context_id, options).await?;
        Ok(tasks.into_iter().find(|t| t.history.iter().any(|m| m.message_id == message_id)))
    }

    /// Fetches the card of the agent at `base`: `/.well-known/agent-card.json` below it, else the path of 0.2.
    /// A URL that ends in `.json` is taken as it is.
    ///
    /// # Errors
    /// See [`CallError`]; what is not a card is `InvalidAnswer`.
    pub async fn fetch_card(&self, base: &str, options: &CallOptions) -> Result<AgentCard, CallError> {
        let bad = |cause: String| CallError::NotSent { to: base.chars().take(200).collect(), cause };
        let uri: Uri = base.parse().map_err(|e: http::uri::InvalidUri| bad(e.to_string()))?;
        if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(bad("needs an absolute http or https URL".into()));
        }
        if uri.path().ends_with(".json") {
            return read_card(&self.get_card(uri, options).await?);
        }
        let answer = self.get_card(below(&uri, "/.well-known/agent-card.json")?, options).await?;
        if answer.status != StatusCode::NOT_FOUND {
            return read_card(&answer);
        }
        read_card(&self.get_card(below(&uri, "/.well-known/agent.json")?, options).await?)
    }

    async fn get_card(&self, uri: Uri, options: &CallOptions) -> Result<Answer, CallError> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = Method::GET;
        *request.uri_mut() = uri;
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in &options.headers {
            request.headers_mut().insert(name, value.clone());
        }
        self.transport.exchange(request, options).await
    }
}

fn read_card(answer: &Answer) -> Result<AgentCard, CallError> {
    if !answer.status.is_success() {
        return Err(Fault::from_http(answer.status, &answer.body, retry_after(&answer.headers)).into());
    }
    if is_type(&answer.headers, |t| t == "text/html") {
        return Err(CallError::invalid("an HTML page instead of an agent card"));
    }
    AgentCard::parse(&answer.body).map_err(|bad| CallError::invalid(bad.to_string()))
}

fn read_task(body: &Bytes, endpoint: &Endpoint) -> Result<Task, CallError> {
    let dialect = endpoint.dialect();
    Ok(match endpoint.binding {
        Binding::JsonRpc => codec::task(body, envelope::<WireTask<'_>>(body, 200)?, dialect)?,
        Binding::HttpJson => codec::decode_task(body, dialect)?,
    })
}

/// The same place, spoken to in 0.3.
pub(super) fn older(endpoint: &Endpoint) -> Endpoint {
    Endpoint { version: Version::V0_3, downgrade: false, ..endpoint.clone() }
}
