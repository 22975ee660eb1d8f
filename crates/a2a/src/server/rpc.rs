//! JSON-RPC: both dialects on one endpoint, told apart by the method's name.

use std::{borrow::Cow, sync::Arc};

use axum::body::Body;
use base::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, Response, Uri};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Inner,
    dispatch::{Send, no_extended_card, no_push},
    door::{check_content_type, check_version, json},
    stream::{self, Events},
};
use crate::{
    Dialect, Fault, FaultKind, Json,
    codec::{self, BadShape},
    json::Out,
    model::{ListRequest, SendRequest},
};

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(default)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SendParams<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    configuration: Option<Configuration>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Configuration {
    blocking: Option<bool>,
    return_immediately: Option<bool>,
    history_length: Option<u32>,
    accepted_output_modes: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct IdParams {
    pub(super) id: Option<String>,
    pub(super) history_length: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ListParams {
    pub(super) context_id: Option<String>,
    pub(super) status: Option<String>,
    pub(super) page_size: Option<u32>,
    pub(super) page_token: Option<String>,
    pub(super) history_length: Option<u32>,
    pub(super) status_timestamp_after: Option<String>,
    pub(super) include_artifacts: Option<bool>,
}

impl ListParams {
    pub(super) fn checked(self) -> Result<ListRequest, Fault> {
        let full = |t: Option<String>| t.filter(|t| !t.is_empty());
        let after = full(self.status_timestamp_after).map(|t| {
            Timestamp::parse_rfc3339(&t)
                .ok_or_else(|| Fault::invalid("statusTimestampAfter", "is not RFC 3339"))
        });
        let status = full(self.status).map(|name| match codec::state_from(&name) {
            crate::model::TaskState::Unspecified => Err(Fault::invalid("status", "is not a task state")),
            state => Ok(state),
        });
        Ok(ListRequest {
            context_id: full(self.context_id),
            status: status.transpose()?,
            page_size: self.page_size.filter(|n| *n != 0),
            page_token: full(self.page_token),
            history_length: self.history_length,
            status_timestamp_after: after.transpose()?,
            include_artifacts: self.include_artifacts.unwrap_or_default(),
        })
    }
}

pub(super) fn bad_params(err: &serde_json::Error) -> Fault {
    Fault::invalid("params", err.to_string())
}

impl From<BadShape> for Fault {
    fn from(bad: BadShape) -> Self {
        Self::invalid(bad.field, bad.rule)
    }
}

/// Reads the parameters of a send. `text` is a part of `body`.
pub(super) fn read_send(
    body: &Bytes,
    text: &str,
    dialect: Dialect,
    headers: HeaderMap,
) -> Result<Send, Fault> {
    let params: SendParams<'_> = serde_json::from_str(text).map_err(|e| bad_params(&e))?;
    let Some(raw) = params.message else { return Err(Fault::invalid("message", "is missing")) };
    let configuration = params.configuration.unwrap_or_default();
    let return_immediately = match dialect {
        Dialect::V1 => configuration.return_immediately.unwrap_or_default(),
        Dialect::V03 => !configuration.blocking.unwrap_or(true),
    };
    // 0 means "all" in 0.3 and "none" in 1.0.
    let history_length = configuration.history_length.filter(|n| dialect == Dialect::V1 || *n != 0);
    let request = SendRequest {
        message: codec::decode_message(body, raw, dialect)?,
        return_immediately,
        history_length,
        accepted_output_modes: configuration.accepted_output_modes.unwrap_or_default(),
        metadata: params.metadata.map(|raw| Json::slice(body, raw)),
    };
    Ok(Send { request, hash: *blake3::hash(raw.get().as_bytes()).as_bytes(), headers })
}

fn params<'a, T: Deserialize<'a> + Default>(raw: Option<&'a RawValue>) -> Result<T, Fault> {
    raw.map_or_else(|| Ok(T::default()), |raw| serde_json::from_str(raw.get()).map_err(|e| bad_params(&e)))
}

fn task_id(params: &IdParams) -> Result<&str, Fault> {
    params.id.as_deref().filter(|id| !id.is_empty()).ok_or_else(|| Fault::invalid("id", "is missing"))
}

/// Writes `{"jsonrpc":"2.0","id":…` up to the member that follows.
fn open(out: &mut Out, id: &str) {
    out.raw(b"{\"jsonrpc\":\"2.0\",\"id\":").raw(id.as_bytes());
}

fn result(id: &str, write: impl FnOnce(&mut Out)) -> Response<Body> {
    let mut out = Out::with_capacity(512);
    open(&mut out, id);
    write(out.key("result"));
    out.mark(b'}');
    json(out.finish())
}

fn error(id: &str, fault: &Fault) -> Response<Body> {
    let mut out = Out::default();
    open(&mut out, id);
    out.key("error").raw(fault.rpc_body().to_string().as_bytes()).mark(b'}');
    let mut response = json(out.finish());
    super::rest::add_retry_after(&mut response, fault);
    response
}

/// An error before a request id is known.
pub(super) fn refusal(fault: &Fault) -> Response<Body> {
    error("null", fault)
}

fn read(body: &Bytes) -> Result<Request<'_>, Fault> {
    let parse = |e: serde_json::Error| match e.classify() {
        serde_json::error::Category::Data => Fault::new(FaultKind::InvalidRequest, e.to_string()),
        _ => Fault::new(FaultKind::Parse, e.to_string()),
    };
    if body.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(parse)?;
        return Err(Fault::new(
            FaultKind::InvalidRequest,
            "a request is one JSON object; batches are not taken",
        ));
    }
    serde_json::from_slice(body).map_err(parse)
}

pub(super) async fn answer(inner: Arc<Inner>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    if let Err(fault) = check_content_type(&headers) {
        return refusal(&fault);
    }
    let request = match read(&body) {
        Ok(request) => request,
        Err(fault) => return refusal(&fault),
    };
    let id = request.id.map_or("null", RawValue::get);
    if id.starts_with(['{', '[', 't', 'f']) {
        return refusal(&Fault::new(FaultKind::InvalidRequest, "id must be a string, a number or null"));
    }
    if request.jsonrpc.as_deref() != Some("2.0") {
        return error(id, &Fault::new(FaultKind::InvalidRequest, "jsonrpc must be \"2.0\""));
    }
    let Some(method) = request.method.as_deref() else {
        return error(id, &Fault::new(FaultKind::InvalidRequest, "method is missing"));
    };
    let dialect = if method.contains('/') { Dialect::V03 } else { Dialect::V1 };
    let checked = check_version(&headers, &uri, dialect, inner.config.legacy);
    let done = match checked {
        Ok(()) => run(&inner, method, dialect, id, request.params, &body, headers).await,
        Err(fault) => Err(fault),
    };
    done.unwrap_or_else(|fault| error(id, &fault))
}

async fn run(
    inner: &Arc<Inner>,
    method: &str,
    dialect: Dialect,
    id: &str,
    raw: Option<&RawValue>,
    body: &Bytes,
    headers: HeaderMap,
) -> Result<Response<Body>, Fault> {
    let send = |headers| read_send(body, raw.map_or("{}", RawValue::get), dialect, headers);
    Ok(match method {
        "SendMessage" | "message/send" => {
            let reply = inner.clone().send(send(headers)?).await?;
            result(id, |out| codec::write_reply(out, &reply, dialect))
        }
        "SendStreamingMessage" | "message/stream" => {
            follow(inner, id, inner.clone().stream(send(headers)?)?, dialect)
        }
        "SubscribeToTask" | "tasks/resubscribe" => {
            let params: IdParams = params(raw)?;
            let mut events = inner.subscribe(task_id(&params)?)?;
            if dialect == Dialect::V03 {
                // 0.3 opens with the next update, not with the task.
                events.opening = None;
            }
            follow(inner, id, events, dialect)
        }
        "GetTask" | "tasks/get" => {
            let params: IdParams = params(raw)?;
            let history = params.history_length.filter(|n| dialect == Dialect::V1 || *n != 0);
            let task = inner.task(task_id(&params)?, history)?;
            result(id, |out| codec::write_task(out, &task, dialect))
        }
        "CancelTask" | "tasks/cancel" => {
            let params: IdParams = params(raw)?;
            let task = inner.cancel(task_id(&params)?)?;
            result(id, |out| codec::write_task(out, &task, dialect))
        }
        "ListTasks" => {
            let page = inner.store.list(&params::<ListParams>(raw)?.checked()?)?;
            result(id, |out| codec::write_page(out, &page))
        }
        "GetExtendedAgentCard" | "agent/getAuthenticatedExtendedCard" => return Err(no_extended_card()),
        push if push.contains("TaskPushNotificationConfig")
            || push.starts_with("tasks/pushNotificationConfig/") =>
        {
            return Err(no_push());
        }
        _ => {
            let name: String = method.chars().take(80).collect();
            return Err(Fault::new(FaultKind::MethodNotFound, format!("no method {name:?}")));
        }
    })
}

fn follow(inner: &Inner, id: &str, events: Events, dialect: Dialect) -> Response<Body> {
    let id = id.to_owned();
    stream::response(events, inner.config.ping_every, move |out, event| {
        open(out, &id);
        codec::write_event(out.key("result"), event, dialect);
        out.mark(b'}');
    })
}
