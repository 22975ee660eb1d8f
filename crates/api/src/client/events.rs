//! User events and triggers: publish, read, follow.

use base::Payload;
use proto::{
    common::v1::PageRequest,
    executor::v1::{self as wire, event_service_client::EventServiceClient},
};
use serde::Serialize;
use serde_json::value::RawValue;
use tonic::transport::Channel;

use super::{Client, Page, model::some};
use crate::{Fault, payload};

/// An event to publish.
#[derive(Clone, Debug, Default)]
pub struct NewEvent {
    /// Your own id; empty = drawn before the first try, so that every try is the same event.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// What happened; empty = the topic.
    pub kind: String,
    /// Who says so; empty = the caller.
    pub source: String,
    /// Correlation key; empty = none.
    pub key: String,
    /// Higher is handled first.
    pub priority: i32,
    /// The content; `None` = `null`.
    pub payload: Option<Payload>,
    /// Not written to disk.
    pub volatile: bool,
}

/// What became of an event.
#[derive(Clone, Debug, Serialize)]
pub struct Published {
    /// Names it.
    pub id: String,
    /// It was known already; nothing changed.
    pub duplicate: bool,
    /// It is on disk.
    pub durable: bool,
}

/// A user event.
#[derive(Clone, Debug, Serialize)]
pub struct UserEvent {
    /// Names it.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who says so.
    pub source: String,
    /// Correlation key; empty = none.
    pub key: String,
    /// Higher is handled first.
    pub priority: i32,
    /// The content, when it is JSON.
    pub payload: Option<Box<RawValue>>,
    /// RFC 3339.
    pub at: String,
    /// Where a replay or a watch goes on after it; empty for volatile events.
    pub cursor: String,
}

impl UserEvent {
    fn of(e: wire::Event) -> Self {
        let text = match e.payload.and_then(|p| p.body) {
            Some(proto::common::v1::payload::Body::Json(text)) => RawValue::from_string(text).ok(),
            _ => None,
        };
        Self {
            id: e.id,
            topic: e.topic,
            kind: e.r#type,
            source: e.source,
            key: e.key,
            priority: e.priority,
            payload: text,
            at: e.at,
            cursor: e.cursor,
        }
    }
}

/// Which events. Empty = any.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Any of these types.
    pub types: Vec<String>,
    /// The topic.
    pub topic: String,
    /// Who says so.
    pub source: String,
    /// Correlation key.
    pub key: String,
    /// RFC 3339, included.
    pub since: String,
    /// RFC 3339, excluded.
    pub until: String,
}

impl EventFilter {
    fn wire(&self) -> wire::EventFilter {
        let Self { types, topic, source, key, since, until } = self.clone();
        wire::EventFilter { types, topic, source, key, since, until }
    }
}

/// Counts of events.
#[derive(Clone, Debug, Serialize)]
pub struct EventStats {
    /// Kept now.
    pub total_events: u64,
    /// By type: name and count, the largest first.
    pub events_by_type: Vec<(String, u64)>,
    /// Written, and not yet handled.
    pub queue_size: u64,
    /// Starts that wait for a busy workflow.
    pub held_starts: u64,
}

/// What starts an execution when an event comes.
#[derive(Clone, Debug, Serialize)]
pub struct Trigger {
    /// Names it.
    pub id: String,
    /// Unique for the workflow.
    pub name: String,
    /// What it starts.
    pub workflow: String,
    /// The version of the definition that holds it; `None` = registered by itself.
    pub workflow_version: Option<String>,
    /// The topic.
    pub topic: String,
    /// CEL over `event`; empty = every event.
    pub filter: String,
    /// It starts nothing at the moment.
    pub paused: bool,
}

impl Trigger {
    fn of(t: wire::Trigger) -> Self {
        Self {
            id: t.id,
            name: t.name,
            workflow: t.workflow,
            workflow_version: some(t.workflow_version),
            topic: t.topic,
            filter: t.filter,
            paused: t.paused,
        }
    }
}

/// Events as they come. Dropping it ends it.
#[derive(Debug)]
pub struct EventWatch {
    stream: tonic::Streaming<wire::WatchEventsResponse>,
}

impl EventWatch {
    /// The next events; `None` when the server ended the stream: watch again from the last cursor.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn next(&mut self) -> Result<Option<Vec<UserEvent>>, Fault> {
        let message = self.stream.message().await.map_err(|status| super::fault(&status))?;
        Ok(message.map(|m| m.events.into_iter().map(UserEvent::of).collect()))
    }
}

impl Client {
    fn events_door(&self) -> EventServiceClient<Channel> {
        let max = self.options.message_bytes_max;
        EventServiceClient::new(self.channel()).max_decoding_message_size(max).max_encoding_message_size(max)
    }

    /// Publishes events; answered once they are on disk. Repeated while the server is away: each is published once.
    ///
    /// # Errors
    /// `invalid_argument` naming the event, `resource_exhausted` with a retry time: nothing was taken.
    pub async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Published>, Fault> {
        let event = |e: NewEvent| wire::NewEvent {
            id: if e.id.is_empty() { uuid::Uuid::now_v7().to_string() } else { e.id },
            topic: e.topic,
            r#type: e.kind,
            source: e.source,
            key: e.key,
            priority: e.priority,
            payload: e.payload.as_ref().map(payload::to_wire),
            volatile: e.volatile,
        };
        let message = wire::PublishEventsRequest { events: events.into_iter().map(event).collect() };
        let call = || async { self.events_door().publish_events(self.request(message.clone())).await };
        let told = self.safely(call).await?.events.into_iter();
        Ok(told.map(|p| Published { id: p.id, duplicate: p.duplicate, durable: p.durable }).collect())
    }

    /// One event.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn event(&self, id: &str) -> Result<UserEvent, Fault> {
        let message = wire::GetEventRequest { id: id.into() };
        let call = || async { self.events_door().get_event(self.request(message.clone())).await };
        self.safely(call).await.map(UserEvent::of)
    }

    /// A page of events, newest first; with `from` not empty a replay, oldest first, after that cursor.
    ///
    /// # Errors
    /// `invalid_argument` naming the part of the filter that is none.
    pub async fn events(
        &self,
        filter: &EventFilter,
        from: &str,
        page_size: i32,
        page_token: &str,
    ) -> Result<Page<UserEvent>, Fault> {
        let message = wire::ListEventsRequest {
            page: Some(PageRequest { page_size, page_token: page_token.into() }),
            filter: Some(filter.wire()),
            from: from.into(),
        };
        let call = || async { self.events_door().list_events(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        let items = answer.events.into_iter().map(UserEvent::of).collect();
        Ok(Page { items, next_page_token: some(answer.next_page_token) })
    }

    /// Counts of events.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn event_stats(&self) -> Result<EventStats, Fault> {
        let call = || async {
            self.events_door().get_event_stats(self.request(wire::GetEventStatsRequest {})).await
        };
        let s = self.safely(call).await?;
        Ok(EventStats {
            total_events: s.total_events,
            events_by_type: s.events_by_type.into_iter().map(|c| (c.r#type, c.events)).collect(),
            queue_size: s.queue_size,
            held_starts: s.held_starts,
        })
    }

    /// Follows events after a cursor; empty = from now on.
    ///
    /// # Errors
    /// When the server is away or the filter is none.
    pub async fn watch_events(&self, filter: &EventFilter, from: &str) -> Result<EventWatch, Fault> {
        let message = wire::WatchEventsRequest { filter: Some(filter.wire()), from: from.into() };
        // Without a deadline: it ends when somebody ends it.
        let opened = self.events_door().watch_events(tonic::Request::new(message)).await;
        Ok(EventWatch { stream: opened.map_err(|status| super::fault(&status))?.into_inner() })
    }

    /// A page of triggers, by id.
    ///
    /// # Errors
    /// `invalid_argument` when the page token is none.
    pub async fn triggers(&self, page_size: i32, page_token: &str) -> Result<Page<Trigger>, Fault> {
        let page = Some(PageRequest { page_size, page_token: page_token.into() });
        let message = wire::ListTriggersRequest { page };
        let call = || async { self.events_door().list_triggers(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        let items = answer.triggers.into_iter().map(Trigger::of).collect();
        Ok(Page { items, next_page_token: some(answer.next_page_token) })
    }

    /// Pauses or resumes a trigger.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn pause_trigger(&self, id: &str, paused: bool) -> Result<Trigger, Fault> {
        let message = wire::PauseTriggerRequest { id: id.into(), paused };
        let call = || async { self.events_door().pause_trigger(self.request(message.clone())).await };
        self.safely(call).await.map(Trigger::of)
    }
}
