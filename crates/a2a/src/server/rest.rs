//! HTTP+JSON (1.0).

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};

use super::{
    Inner,
    dispatch::{no_extended_card, no_push},
    door::{check_content_type, check_version, json},
    rpc::{ListParams, read_send},
    stream::{self, Events},
};
use crate::{Dialect, Fault, FaultKind, codec, json::Out, model::Task};

const V1: Dialect = Dialect::V1;

/// The answer to a request that failed.
pub(super) fn refusal(fault: &Fault) -> Response<Body> {
    let mut response = json(fault.http_body().to_string().into());
    *response.status_mut() =
        StatusCode::from_u16(fault.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    add_retry_after(&mut response, fault);
    response
}

/// Tells a rate-limited client when to come back.
pub(super) fn add_retry_after(response: &mut Response<Body>, fault: &Fault) {
    if fault.kind == FaultKind::RateLimited {
        let seconds = fault.retry_after.map_or(1, |d| d.as_secs().max(1));
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

fn ok(write: impl FnOnce(&mut Out)) -> Response<Body> {
    let mut out = Out::with_capacity(512);
    write(&mut out);
    let mut response = json(out.finish());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/a2a+json"));
    response
}

fn task(task: &Task) -> Response<Body> {
    ok(|out| codec::write_task(out, task, V1))
}

fn follow(inner: &Inner, events: Events) -> Response<Body> {
    stream::response(events, inner.config.ping_every, |out, event| codec::write_event(out, event, V1))
}

/// Undoes percent-encoding; what is not valid stays as it is.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn query(uri: &Uri, key: &str) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(k, _)| *k == key).map(|(_, v)| unescaped(&v.replace('+', " "))).next()
}

fn number(uri: &Uri, key: &'static str) -> Result<Option<u32>, Fault> {
    let parse = |t: String| t.parse().map_err(|_| Fault::invalid(key, "must be a whole number"));
    query(uri, key).map(parse).transpose()
}

/// Where a path leads: the operation and the task id, with or without a leading tenant.
fn route(path: &str) -> Option<(&'static str, String)> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match segments.as_slice() {
        [_, rest @ ..]
            if !matches!(segments[0], "message:send" | "message:stream" | "tasks" | "extendedAgentCard") =>
        {
            rest
        }
        all => all,
    };
    match rest {
        ["message:send"] => Some(("send", String::new())),
        ["message:stream"] => Some(("stream", String::new())),
        ["tasks"] => Some(("list", String::new())),
        ["extendedAgentCard"] => Some(("card", String::new())),
        ["tasks", _, "pushNotificationConfigs", ..] => Some(("push", String::new())),
        ["tasks", last] => match last.rsplit_once(':') {
            Some((id, "cancel")) => Some(("cancel", unescaped(id))),
            Some((id, "subscribe")) => Some(("subscribe", unescaped(id))),
            _ => Some(("task", unescaped(last))),
        },
        _ => None,
    }
}

pub(super) async fn answer(
    inner: Arc<Inner>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    run(&inner, &method, &uri, headers, body).await.unwrap_or_else(|fault| refusal(&fault))
}

async fn run(
    inner: &Arc<Inner>,
    method: &Method,
    uri: &Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response<Body>, Fault> {
    let Some((operation, id)) = route(uri.path()) else {
        let path: String = uri.path().chars().take(100).collect();
        return Err(Fault::new(FaultKind::MethodNotFound, format!("nothing at {path}")));
    };
    check_version(&headers, uri, V1, inner.config.legacy)?;
    if !body.is_empty() {
        check_content_type(&headers)?;
    }
    let send = |headers| {
        let text = std::str::from_utf8(&body).map_err(|e| Fault::new(FaultKind::Parse, e.to_string()))?;
        if !text.trim_start().starts_with('{') {
            return Err(Fault::new(FaultKind::Parse, "the body must be a JSON object"));
        }
        read_send(&body, text, V1, headers)
    };
    Ok(match (operation, method.as_str()) {
        ("send", "POST") => {
            let reply = inner.clone().send(send(headers)?).await?;
            ok(|out| codec::write_reply(out, &reply, V1))
        }
        ("stream", "POST") => follow(inner, inner.clone().stream(send(headers)?)?),
        ("subscribe", "GET" | "POST") => follow(inner, inner.subscribe(&id)?),
        ("cancel", "POST") => task(&inner.cancel(&id)?),
        ("task", "GET") => task(&inner.task(&id, number(uri, "historyLength")?)?),
        ("list", "GET") => {
            let include = query(uri, "includeArtifacts").map(|t| t == "true");
            let params = ListParams {
                context_id: query(uri, "contextId"),
                status: query(uri, "status"),
                page_size: number(uri, "pageSize")?,
                page_token: query(uri, "pageToken"),
                history_length: number(uri, "historyLength")?,
                status_timestamp_after: query(uri, "statusTimestampAfter"),
                include_artifacts: include,
            };
            let page = inner.store.list(&params.checked()?)?;
            ok(|out| codec::write_page(out, &page))
        }
        ("card", "GET") => return Err(no_extended_card()),
        ("push", _) => return Err(no_push()),
        _ => {
            let why = format!("{method} is not possible here");
            return Err(Fault { http_status: 405, ..Fault::new(FaultKind::MethodNotFound, why) });
        }
    })
}
