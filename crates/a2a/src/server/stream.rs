//! Events of a task as a response body.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use tokio::sync::mpsc;

use crate::{
    json::Out,
    model::{StreamEvent, Task},
    sse,
};

/// A stream before it is written: the task as it stands, when it opens with it, and what follows.
pub(crate) struct Events {
    pub(crate) opening: Option<Task>,
    pub(crate) rest: mpsc::Receiver<StreamEvent>,
}

/// Writes each event with `write`, on one `data:` line, with pings in times of silence.
pub(crate) fn response(
    events: Events,
    ping_every: Duration,
    write: impl Fn(&mut Out, &StreamEvent) + Send + Sync + 'static,
) -> Response<Body> {
    let frames = futures::stream::unfold((events, write), move |(mut events, write)| async move {
        let event = match events.opening.take() {
            Some(task) => StreamEvent::Task(task),
            None => match tokio::time::timeout(ping_every, events.rest.recv()).await {
                Ok(Some(event)) => event,
                Ok(None) => return None,
                Err(_) => return Some((Ok(Bytes::from_static(sse::PING)), (events, write))),
            },
        };
        let bytes = sse::frame(|out| write(out, &event));
        Some((Ok::<_, std::convert::Infallible>(bytes), (events, write)))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that buffer would hold the events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
