//! The public contract of events: decode, ask, encode.

use std::pin::Pin;

use api::Fault;
use base::Timestamp;
use futures::{Stream, StreamExt as _};
use proto::{
    common::v1::PageRequest,
    executor::v1::{self as pb, event_service_server::EventService},
};
use runtime::{Drain, call};
use store::topics::EventFilter;
use tonic::{Request, Response, Status};

use super::{Topics, event, names, triggers};

type Answer<T> = Result<Response<T>, Status>;
type Watch = Pin<Box<dyn Stream<Item = Result<pb::WatchEventsResponse, Status>> + Send>>;

/// The door of events.
#[derive(Clone)]
pub(crate) struct EventDoor {
    topics: Topics,
    drain: Drain,
}

impl EventDoor {
    pub(crate) fn new(topics: Topics, drain: Drain) -> Self {
        Self { topics, drain }
    }
}

fn filter_of(filter: Option<pb::EventFilter>) -> Result<EventFilter, Fault> {
    let filter = filter.unwrap_or_default();
    let some = |text: String| (!text.is_empty()).then_some(text);
    let time = |field: &str, text: &str| match text {
        "" => Ok(None),
        text => Timestamp::parse_rfc3339(text).map(Some).ok_or_else(|| {
            Fault::bad(format!("filter.{field}"), "is not a time; write 2026-01-02T03:04:05Z")
        }),
    };
    Ok(EventFilter {
        kinds: names::types(&filter.types)?,
        topic: some(filter.topic),
        source: some(filter.source),
        key: some(filter.key),
        since: time("since", &filter.since)?,
        until: time("until", &filter.until)?,
    })
}

/// Rows of a page, 1 to 1,000.
pub(crate) fn size(page: &PageRequest) -> u32 {
    if page.page_size <= 0 { 50 } else { page.page_size.min(1000).unsigned_abs() }
}

#[tonic::async_trait]
impl EventService for EventDoor {
    async fn publish_events(
        &self,
        request: Request<pb::PublishEventsRequest>,
    ) -> Answer<pb::PublishEventsResponse> {
        let context = call::context(&request);
        let events = self.topics.publish(&context, request.into_inner().events).await?;
        Ok(Response::new(pb::PublishEventsResponse { events }))
    }

    async fn get_event(&self, request: Request<pb::GetEventRequest>) -> Answer<pb::Event> {
        let context = call::context(&request);
        let row = self.topics.get(&context, &request.into_inner().id).await?;
        Ok(Response::new(event::shown(&row)))
    }

    async fn list_events(&self, request: Request<pb::ListEventsRequest>) -> Answer<pb::ListEventsResponse> {
        let context = call::context(&request);
        let request = request.into_inner();
        let (page, filter) = (request.page.unwrap_or_default(), filter_of(request.filter)?);
        let limit = size(&page);
        let token = match page.page_token.as_str() {
            "" => None,
            text => Some(names::position("page_token", text)?),
        };
        let replay = match request.from.as_str() {
            "" => None,
            from => Some(token.map_or_else(|| names::position("from", from), Ok)?),
        };
        let below = if replay.is_some() { None } else { token };
        let rows = self.topics.list(&context, &filter, (below, replay), limit).await?;
        let last = rows.last().map(|row| row.pos);
        let next = match replay {
            Some(from) => Some(last.unwrap_or(from)),
            None => last.filter(|_| rows.len() == limit as usize),
        };
        Ok(Response::new(pb::ListEventsResponse {
            events: rows.iter().map(event::shown).collect(),
            next_page_token: next.map(names::cursor).unwrap_or_default(),
        }))
    }

    async fn get_event_stats(&self, request: Request<pb::GetEventStatsRequest>) -> Answer<pb::EventStats> {
        let (stats, held_starts) = self.topics.stats(&call::context(&request)).await?;
        let count = |c: store::topics::TypeCount| pb::TypeCount { r#type: c.kind, events: c.events };
        Ok(Response::new(pb::EventStats {
            total_events: stats.by_kind.iter().map(|c| c.events).sum(),
            queue_size: stats.queue_size,
            events_by_type: stats.by_kind.into_iter().map(count).collect(),
            held_starts,
        }))
    }

    type WatchEventsStream = Watch;

    async fn watch_events(&self, request: Request<pb::WatchEventsRequest>) -> Answer<Watch> {
        let context = call::context(&request);
        let request = request.into_inner();
        let from = match request.from.as_str() {
            "" => None,
            text => Some(names::position("from", text)?),
        };
        let seen = self.topics.0.watch(context.tenant, filter_of(request.filter)?, from).await?;
        let messages = seen.map(|seen| {
            Ok(pb::WatchEventsResponse {
                events: seen.events.iter().map(event::shown).collect(),
                cursor: names::cursor(seen.pos),
            })
        });
        let drain = self.drain.clone();
        Ok(Response::new(Box::pin(messages.take_until(async move { drain.draining().await }))))
    }

    async fn create_trigger(&self, request: Request<pb::CreateTriggerRequest>) -> Answer<pb::Trigger> {
        let context = call::context(&request);
        Ok(Response::new(self.topics.create_trigger(&context, request.into_inner()).await?))
    }

    async fn get_trigger(&self, request: Request<pb::GetTriggerRequest>) -> Answer<pb::Trigger> {
        let context = call::context(&request);
        let row = self.topics.trigger(&context, &request.into_inner().id).await?;
        Ok(Response::new(triggers::shown(row)))
    }

    async fn list_triggers(
        &self,
        request: Request<pb::ListTriggersRequest>,
    ) -> Answer<pb::ListTriggersResponse> {
        let context = call::context(&request);
        let page = request.into_inner().page.unwrap_or_default();
        let limit = size(&page);
        let rows = self.topics.list_triggers(&context, &page.page_token, limit).await?;
        let next = rows.last().filter(|_| rows.len() == limit as usize).map(|row| row.id.to_string());
        Ok(Response::new(pb::ListTriggersResponse {
            triggers: rows.into_iter().map(triggers::shown).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn pause_trigger(&self, request: Request<pb::PauseTriggerRequest>) -> Answer<pb::Trigger> {
        let context = call::context(&request);
        let request = request.into_inner();
        let row = self.topics.pause_trigger(&context, &request.id, request.paused).await?;
        Ok(Response::new(triggers::shown(row)))
    }

    async fn delete_trigger(
        &self,
        request: Request<pb::DeleteTriggerRequest>,
    ) -> Answer<pb::DeleteTriggerResponse> {
        let context = call::context(&request);
        self.topics.delete_trigger(&context, &request.into_inner().id).await?;
        Ok(Response::new(pb::DeleteTriggerResponse {}))
    }
}
