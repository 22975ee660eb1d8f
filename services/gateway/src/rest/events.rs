//! User events: publish, read, count.

use std::sync::Arc;

use axum::extract::State;
use proto::{
    common::v1::PageRequest,
    executor::v1::{self as wire, event_service_client::EventServiceClient},
};
use runtime::PeerChannel;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Answer, ok, page};
use crate::{
    app::{App, Retry},
    executors::Dialled,
    extract::{Call, Json, Path, Query},
    model::{
        events::{
            EventBatchRequest, EventRequest, EventStats, PublishedEvent, PublishedEvents, UserEvent,
            UserEventPage,
        },
        some,
    },
    problem::Problem,
};

pub(crate) fn client(to: Dialled) -> EventServiceClient<PeerChannel> {
    EventServiceClient::new(to.channel)
        .max_decoding_message_size(to.message_max)
        .max_encoding_message_size(to.message_max)
}

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventQuery {
    /// Items wanted; default 50, at most 500 unless configured.
    #[param(minimum = 1)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
    /// Types, with commas between, at most 8. A name with a colon (`workflow:completed`) means the dotted one too.
    #[serde(rename = "type")]
    #[param(rename = "type", example = "order.placed")]
    kind: Option<String>,
    /// The topic.
    topic: Option<String>,
    /// Who says so.
    source: Option<String>,
    /// Correlation key.
    key: Option<String>,
    /// The same as `key`.
    correlation_id: Option<String>,
    /// RFC 3339, included.
    since: Option<String>,
    /// RFC 3339, excluded.
    until: Option<String>,
    /// A replay: oldest first, after this cursor; `0` is the beginning of what is kept.
    from: Option<String>,
}

impl EventQuery {
    fn split(self) -> Result<(Option<u32>, Option<String>, wire::EventFilter, String), Problem> {
        if self.key.is_some() && self.correlation_id.is_some() {
            let rule = "key and correlation_id mean the same: give one of them";
            return Err(Problem::argument("correlation_id", rule));
        }
        let types = self.kind.unwrap_or_default();
        let filter = wire::EventFilter {
            types: types.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect(),
            topic: self.topic.unwrap_or_default(),
            source: self.source.unwrap_or_default(),
            key: self.key.or(self.correlation_id).unwrap_or_default(),
            since: self.since.unwrap_or_default(),
            until: self.until.unwrap_or_default(),
        };
        Ok((self.page_size, self.page_token, filter, self.from.unwrap_or_default()))
    }

    /// What a watch follows, and from where.
    pub(crate) fn watched(self) -> Result<(wire::EventFilter, String), Problem> {
        if self.page_size.is_some() || self.page_token.is_some() {
            return Err(Problem::argument(
                "page_size",
                "a watch has no pages; leave page_size and page_token out",
            ));
        }
        let (_, _, filter, from) = self.split()?;
        Ok((filter, from))
    }
}

/// Publishes an event. Answered once it is on disk; with an `id` of your own a repetition changes nothing.
#[utoipa::path(post, path = "/events", tag = "events", request_body = EventRequest, responses((status = 200, body = PublishedEvent)))]
pub(crate) async fn publish_event(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Json(given): Json<EventRequest>,
) -> Answer {
    let mut told = publish(&app, &ctx, vec![given]).await?;
    let missing = || Problem::internal("an executor answered for no event", "");
    ok(&told.pop().ok_or_else(missing)?)
}

/// Publishes events together: all of them or, when one is wrong, none.
#[utoipa::path(post, path = "/events/batch", tag = "events", request_body = EventBatchRequest, responses((status = 200, body = PublishedEvents)))]
pub(crate) async fn publish_events(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Json(given): Json<EventBatchRequest>,
) -> Answer {
    ok(&PublishedEvents { events: publish(&app, &ctx, given.events).await? })
}

async fn publish(
    app: &App,
    ctx: &base::CallContext,
    events: Vec<EventRequest>,
) -> Result<Vec<PublishedEvent>, Problem> {
    let mut message = wire::PublishEventsRequest {
        events: events.into_iter().map(EventRequest::into_wire).collect::<Result<_, _>>()?,
    };
    for event in &mut message.events {
        // Drawn here, so that every try of this request is the same event.
        if event.id.is_empty() {
            event.id = uuid::Uuid::now_v7().to_string();
        }
    }
    let call = async |to, request| client(to).publish_events(request).await;
    let answer = app.executors.call_service(ctx, Retry::UntilDeadline, || message.clone(), call).await?;
    Ok(answer.events.into_iter().map(PublishedEvent::from).collect())
}

/// Lists events, newest first; with `from`, a replay, oldest first.
#[utoipa::path(get, path = "/events", tag = "events", params(EventQuery), responses((status = 200, body = UserEventPage)))]
pub(crate) async fn list_events(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(query): Query<EventQuery>,
) -> Answer {
    let (size, token, filter, from) = query.split()?;
    let page: PageRequest = page(&app.limits, size, token)?;
    let message = wire::ListEventsRequest { page: Some(page), filter: Some(filter), from };
    let call = async |to, request| client(to).list_events(request).await;
    let answer = app.executors.call_service(&ctx, Retry::Read, || message.clone(), call).await?;
    let events = answer.events.into_iter().map(UserEvent::from).collect();
    ok(&UserEventPage { events, next_page_token: some(answer.next_page_token) })
}

/// One event that is kept.
#[utoipa::path(get, path = "/events/{id}", tag = "events", params(("id" = String, Path)), responses((status = 200, body = UserEvent)))]
pub(crate) async fn get_event(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let message = || wire::GetEventRequest { id: id.clone() };
    let call = async |to, request| client(to).get_event(request).await;
    ok(&UserEvent::from(app.executors.call_service(&ctx, Retry::Read, message, call).await?))
}

/// How many events are kept, by type, and how many wait.
#[utoipa::path(get, path = "/events/stats", tag = "events", responses((status = 200, body = EventStats)))]
pub(crate) async fn event_stats(State(app): State<Arc<App>>, Call(ctx): Call) -> Answer {
    let call = async |to, request| client(to).get_event_stats(request).await;
    let stats = app.executors.call_service(&ctx, Retry::Read, || wire::GetEventStatsRequest {}, call).await?;
    ok(&EventStats::from(stats))
}
