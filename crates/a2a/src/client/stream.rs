//! A stream of events from an agent.

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{
    CallError, CallOptions,
    operations::{read_event, status_fault},
    transport::{Answer, Patience, is_type, whole_cause},
};
use crate::{card::Endpoint, model::StreamEvent, sse::SseParser};

/// Events in the order the agent sent them. The end of the stream says nothing about the task: ask for it.
pub struct EventStream {
    source: Source,
    endpoint: Endpoint,
    patience: Patience,
    limit_bytes: usize,
    received_bytes: usize,
}

enum Source {
    Events {
        body: Box<Incoming>,
        parser: Box<SseParser>,
    },
    /// Some servers answer a stream request with one plain JSON body.
    Whole(Option<Box<StreamEvent>>),
}

impl EventStream {
    pub(super) async fn open(
        response: Response<Incoming>,
        endpoint: &Endpoint,
        options: &CallOptions,
        patience: Patience,
    ) -> Result<Self, CallError> {
        let limit_bytes = options.response_limit_bytes;
        let is_stream = is_type(response.headers(), |t| t == "text/event-stream");
        let source = if response.status().is_success() && is_stream {
            let parser = Box::new(SseParser::new(limit_bytes));
            Source::Events { body: Box::new(response.into_body()), parser }
        } else {
            let answer = Answer::read(response, limit_bytes, &patience).await?;
            status_fault(&answer, endpoint)?;
            Source::Whole(Some(Box::new(read_event(&answer.body, endpoint, false)?)))
        };
        Ok(Self { source, endpoint: endpoint.clone(), patience, limit_bytes, received_bytes: 0 })
    }

    /// The next event, or `None` at the end.
    ///
    /// # Errors
    /// As a call: a broken connection, silence, an error of the agent, something that is not A2A, or more bytes in
    /// all events than the limit of the call.
    pub async fn next(&mut self) -> Result<Option<StreamEvent>, CallError> {
        let event = match &mut self.source {
            Source::Whole(event) => return Ok(event.take().map(|event| *event)),
            Source::Events { body, parser } => loop {
                if let Some(event) = parser.next() {
                    break event;
                }
                let Some(frame) = self.patience.wait(body.frame()).await? else { return Ok(None) };
                let frame = frame.map_err(|err| CallError::broken(whole_cause(&err)))?;
                let Ok(data) = frame.into_data() else { continue };
                parser.push(&data).map_err(|_| CallError::TooBig { limit_bytes: self.limit_bytes })?;
            },
        };
        self.received_bytes += event.data.len();
        if self.received_bytes > self.limit_bytes {
            return Err(CallError::TooBig { limit_bytes: self.limit_bytes });
        }
        read_event(&event.data, &self.endpoint, event.name == "error").map(Some)
    }
}
