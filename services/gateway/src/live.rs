//! Feeds as WebSocket and as server-sent events.

use std::{convert::Infallible, sync::Arc, time::Instant};

use axum::{
    extract::{
        State,
        ws::{
            CloseFrame, Message as Frame, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    response::{
        IntoResponse as _,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use base::ErrorCode;
use futures::{Stream, stream};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use crate::{
    app::App,
    extract::{Call, Path, Query, header_text},
    model::executions::Event,
    problem::Problem,
    rest::{Answer, events::EventQuery},
    watch::{self, End, Feed, Message},
};

const LAST_EVENT_ID: &str = "last-event-id";
/// Longest close reason that the protocol allows, in bytes.
const REASON_BYTES_MAX: usize = 123;

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AfterSeq {
    /// Events with a larger sequence number; default: from the beginning. The header `Last-Event-ID` says the same.
    after: Option<u64>,
}

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AfterCursor {
    /// `cursor` of the last message; default: from now on. The header `Last-Event-ID` says the same.
    after: Option<String>,
}

fn seq(headers: &HeaderMap, query: &AfterSeq) -> Result<u64, Problem> {
    match header_text(headers, LAST_EVENT_ID, 64)? {
        Some(text) => text.parse().map_err(|_| {
            Problem::argument("Last-Event-ID", "Last-Event-ID must be the sequence number of an event")
        }),
        None => Ok(query.after.unwrap_or(0)),
    }
}

fn cursor(headers: &HeaderMap, query: AfterCursor) -> Result<String, Problem> {
    let header = header_text(headers, LAST_EVENT_ID, 256)?.map(str::to_owned);
    Ok(header.or(query.after).unwrap_or_default())
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// Follows an execution over WebSocket. Messages are JSON texts (schema Event); it closes with code 1000 at the end.
#[utoipa::path(get, path = "/ws/executions/{id}", tag = "live", params(("id" = uuid::Uuid, Path), AfterSeq),
    responses((status = 101, description = "WebSocket: each message is an Event.")))]
pub(crate) async fn ws_execution(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Query(query): Query<AfterSeq>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Answer {
    let upgrade = upgraded(upgrade, &app)?;
    let feed = watch::execution(&app, &ctx, &id, seq(&headers, &query)?).await?;
    Ok(upgrade.on_upgrade(move |socket| talk(socket, feed, app)))
}

/// Follows all executions of a workflow over WebSocket. Messages are JSON texts (schema Event).
#[utoipa::path(get, path = "/ws/workflows/{id}", tag = "live", params(("id" = String, Path), AfterCursor),
    responses((status = 101, description = "WebSocket: each message is an Event.")))]
pub(crate) async fn ws_workflow(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Query(query): Query<AfterCursor>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Answer {
    let upgrade = upgraded(upgrade, &app)?;
    let feed = watch::workflow(&app, &ctx, &id, cursor(&headers, query)?).await?;
    Ok(upgrade.on_upgrade(move |socket| talk(socket, feed, app)))
}

/// Follows user events over WebSocket, from now on or after a cursor. Messages are JSON texts (schema UserEvent).
#[utoipa::path(get, path = "/ws/events", tag = "live", params(EventQuery),
    responses((status = 101, description = "WebSocket: each message is a UserEvent.")))]
pub(crate) async fn ws_events(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(query): Query<EventQuery>,
    upgrade: Upgrade,
) -> Answer {
    let upgrade = upgraded(upgrade, &app)?;
    let (filter, from) = query.watched()?;
    let feed = watch::events(&app, &ctx, filter, from).await?;
    Ok(upgrade.on_upgrade(move |socket| talk(socket, feed, app)))
}

/// Follows user events as server-sent events: `event` is the type, `id` the cursor, `data` a UserEvent.
#[utoipa::path(get, path = "/events/stream", tag = "live", params(EventQuery, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(crate) async fn sse_events(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Answer {
    let (filter, from) = query.watched()?;
    let from = header_text(&headers, LAST_EVENT_ID, 64)?.map_or(from, str::to_owned);
    let feed = watch::events(&app, &ctx, filter, from).await?;
    Ok(sse(&app, feed, String::new(), String::new()))
}

fn upgraded(upgrade: Upgrade, app: &App) -> Result<WebSocketUpgrade, Problem> {
    let upgrade = upgrade.map_err(|e| {
        let rule = format!(
            "this path speaks WebSocket: {}; the same is at …/events as server-sent events",
            e.body_text()
        );
        Problem::new(ErrorCode::InvalidArgument, rule).field("Upgrade")
    })?;
    let max = app.limits.message_max;
    Ok(upgrade.max_message_size(max).max_frame_size(max))
}

/// Sends the feed, keeps the connection alive, and says why it closes.
async fn talk(mut socket: WebSocket, mut feed: Feed, app: Arc<App>) {
    let every = app.limits.ping_interval;
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    let mut heard = Instant::now();
    let close = loop {
        let frame = tokio::select! {
            message = feed.next() => match message {
                Some(message) => Frame::Text(message.json.into()),
                None => break closing(feed.end()),
            },
            received = socket.recv() => match received {
                // What a client says beyond pongs is not needed; that it lives is.
                Some(Ok(Frame::Text(_) | Frame::Binary(_) | Frame::Ping(_) | Frame::Pong(_))) => {
                    heard = Instant::now();
                    continue;
                }
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return,
            },
            _ = ping.tick() => {
                if heard.elapsed() > every * 3 {
                    break frame(close_code::POLICY, "no pong to three pings");
                }
                Frame::Ping(Default::default())
            }
        };
        match tokio::time::timeout(every, socket.send(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => break closing(&End::TooSlow),
        }
    };
    let _ =
        tokio::time::timeout(std::time::Duration::from_secs(1), socket.send(Frame::Close(Some(close)))).await;
}

fn frame(code: u16, reason: &str) -> CloseFrame {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    CloseFrame { code, reason: Utf8Bytes::from(&reason[..end]) }
}

fn closing(end: &End) -> CloseFrame {
    match end {
        End::Finished => frame(close_code::NORMAL, "the execution has ended"),
        End::TooSlow => frame(close_code::POLICY, "too slow: resume with ?after= the last message"),
        End::Draining => {
            frame(close_code::RESTART, "the gateway restarts: resume with ?after= the last message")
        }
        End::Refused(problem) => {
            frame(close_code::AGAIN, &format!("{}: {}", problem.0.code, problem.0.message))
        }
    }
}

/// Follows an execution as server-sent events: `event` is the type, `id` the sequence number, `data` an Event. Ends
/// with an event `stream.ended`.
#[utoipa::path(get, path = "/executions/{id}/events", tag = "live", params(("id" = uuid::Uuid, Path), AfterSeq, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(crate) async fn sse_execution(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Query(query): Query<AfterSeq>,
    headers: HeaderMap,
) -> Answer {
    let feed = watch::execution(&app, &ctx, &id, seq(&headers, &query)?).await?;
    Ok(sse(&app, feed, id, String::new()))
}

/// Follows all executions of a workflow as server-sent events: `id` is the cursor.
#[utoipa::path(get, path = "/workflows/{id}/events", tag = "live", params(("id" = String, Path), AfterCursor, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(crate) async fn sse_workflow(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Query(query): Query<AfterCursor>,
    headers: HeaderMap,
) -> Answer {
    let feed = watch::workflow(&app, &ctx, &id, cursor(&headers, query)?).await?;
    Ok(sse(&app, feed, String::new(), id))
}

fn sse(app: &App, feed: Feed, execution: String, workflow: String) -> axum::response::Response {
    let alive = KeepAlive::new().interval(app.limits.ping_interval).text("heartbeat");
    let mut response = Sse::new(events(feed, execution, workflow)).keep_alive(alive).into_response();
    // Proxies that buffer would hold events back.
    response.headers_mut().insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    response
}

fn events(
    feed: Feed,
    execution: String,
    workflow: String,
) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    stream::unfold(Some(feed), move |feed| {
        let names = (execution.clone(), workflow.clone());
        async move {
            let mut feed = feed?;
            match feed.next().await {
                Some(message) => Some((Ok(sse_event(message)), Some(feed))),
                None => Some((Ok(sse_event(farewell(feed.end(), &names))), None)),
            }
        }
    })
}

fn sse_event(message: Message) -> SseEvent {
    // A carriage return would end the line; in JSON text it can only be white space.
    let json = if message.json.contains('\r') { message.json.replace('\r', " ") } else { message.json };
    let event = SseEvent::default().event(message.kind).data(json);
    match message.id {
        Some(id) => event.id(id),
        None => event,
    }
}

/// The last event of a stream of server-sent events, in place of WebSocket's close frame.
fn farewell(end: &End, (execution, workflow): &(String, String)) -> Message {
    let close = closing(end);
    let data = json!({ "code": close.code, "reason": close.reason.as_str() });
    let event: Event = watch::extra("stream.ended", workflow, execution, &data);
    let json = serde_json::to_string(&event).unwrap_or_default();
    Message { id: None, kind: event.kind, json }
}
