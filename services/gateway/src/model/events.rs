//! User events and triggers.

use proto::executor::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::some;
use crate::{
    payload::{Raw, payload, raw, raw_some},
    problem::Problem,
};

/// An event to publish.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventRequest {
    /// Your own id, at most 256 bytes: publishing it again changes nothing. Left out, one is drawn.
    #[schema(max_length = 256)]
    pub id: Option<String>,
    /// Letters, digits, `.`, `_`, `-`.
    #[schema(example = "orders")]
    pub topic: String,
    /// What happened; default: the topic.
    #[serde(rename = "type")]
    #[schema(example = "order.placed")]
    pub kind: Option<String>,
    /// Who says so; default: the caller.
    pub source: Option<String>,
    /// Correlation key: events of a topic with the same key are handled in order.
    pub key: Option<String>,
    /// The same as `key`.
    pub correlation_id: Option<String>,
    /// A number, or `high` (10), `normal` (0), `low` (-10). Higher is handled first.
    pub priority: Option<Priority>,
    /// The content, any JSON.
    #[schema(value_type = Value, required = false)]
    pub payload: Option<Raw>,
    /// The same as `payload`.
    #[schema(value_type = Value, required = false)]
    pub data: Option<Raw>,
    /// Not written to disk: a crash may lose it.
    #[serde(default)]
    pub volatile: bool,
}

/// A priority as a number or by name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Priority {
    /// Higher is first.
    Number(i32),
    /// `high`, `normal` or `low`.
    Name(PriorityName),
}

/// A priority by name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PriorityName {
    /// 10.
    High,
    /// 0.
    Normal,
    /// -10.
    Low,
}

impl Priority {
    fn number(&self) -> i32 {
        match self {
            Self::Number(n) => *n,
            Self::Name(PriorityName::High) => 10,
            Self::Name(PriorityName::Normal) => 0,
            Self::Name(PriorityName::Low) => -10,
        }
    }
}

fn one<T>(first: &str, a: Option<T>, second: &str, b: Option<T>) -> Result<Option<T>, Problem> {
    match (a, b) {
        (Some(_), Some(_)) => {
            Err(Problem::argument(second, format!("{first} and {second} mean the same: give one of them")))
        }
        (a, b) => Ok(a.or(b)),
    }
}

impl EventRequest {
    pub(crate) fn into_wire(self) -> Result<wire::NewEvent, Problem> {
        let content = one("payload", self.payload, "data", self.data)?;
        Ok(wire::NewEvent {
            id: self.id.unwrap_or_default(),
            topic: self.topic,
            r#type: self.kind.unwrap_or_default(),
            source: self.source.unwrap_or_default(),
            key: one("key", self.key, "correlation_id", self.correlation_id)?.unwrap_or_default(),
            priority: self.priority.map_or(0, |p| p.number()),
            payload: Some(payload("payload", content)?),
            volatile: self.volatile,
        })
    }
}

/// Events to publish together.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventBatchRequest {
    /// In order; at most 1,000 unless configured.
    pub events: Vec<EventRequest>,
}

/// What became of an event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PublishedEvent {
    /// Names it.
    pub id: String,
    /// It was known already; nothing changed.
    pub duplicate: bool,
    /// It is on disk. `false` for volatile events.
    pub durable: bool,
}

impl From<wire::Published> for PublishedEvent {
    fn from(p: wire::Published) -> Self {
        Self { id: p.id, duplicate: p.duplicate, durable: p.durable }
    }
}

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PublishedEvents {
    /// In the order of the request.
    pub events: Vec<PublishedEvent>,
}

/// A user event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserEvent {
    /// Names it.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who says so.
    pub source: String,
    /// Correlation key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Higher is handled first.
    pub priority: i32,
    /// The content.
    #[schema(value_type = Value)]
    pub payload: Option<Raw>,
    /// W3C traceparent of the request that published it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// RFC 3339: when it was accepted.
    pub at: String,
    /// Where a replay or a watch goes on after it; absent for volatile events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl From<wire::Event> for UserEvent {
    fn from(e: wire::Event) -> Self {
        Self {
            id: e.id,
            topic: e.topic,
            kind: e.r#type,
            source: e.source,
            key: some(e.key),
            priority: e.priority,
            payload: raw(e.payload),
            trace: some(e.trace),
            at: e.at,
            cursor: some(e.cursor),
        }
    }
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserEventPage {
    /// Newest first; of a replay oldest first.
    pub events: Vec<UserEvent>,
    /// Give it as `page_token` for the next page; absent on the last one. Of a replay always there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// Counts of events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventStats {
    /// Kept now.
    pub total_events: u64,
    /// By type, the largest first.
    pub events_by_type: Vec<EventCount>,
    /// Written, and not yet handled by triggers and deliveries.
    pub queue_size: u64,
    /// Starts that triggers decided and that wait for a busy workflow.
    pub held_starts: u64,
}

/// How many events of a type are kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventCount {
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many.
    pub events: u64,
}

impl From<wire::EventStats> for EventStats {
    fn from(s: wire::EventStats) -> Self {
        Self {
            total_events: s.total_events,
            events_by_type: s
                .events_by_type
                .into_iter()
                .map(|c| EventCount { kind: c.r#type, events: c.events })
                .collect(),
            queue_size: s.queue_size,
            held_starts: s.held_starts,
        }
    }
}

/// Starts an execution when an event comes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TriggerRequest {
    /// Unique for the workflow.
    pub name: String,
    /// What it starts: name, `name@version` or UUID.
    pub workflow: String,
    /// The topic it listens to.
    pub topic: String,
    /// CEL over `event`; left out: every event of the topic.
    #[schema(example = "event.payload.amount > 100")]
    pub filter: Option<String>,
    /// CEL over `event`: events with the same value start one execution together. Left out: each starts its own.
    pub key: Option<String>,
    /// Template of the input, with `${ event.payload.x }`; left out: the event's payload.
    #[schema(value_type = Value, required = false)]
    pub input: Option<Raw>,
    /// Of the execution; left out: the event's.
    pub priority: Option<i32>,
    /// While the only execution that the workflow allows runs: `wait` (default) or `skip`.
    pub on_busy: Option<String>,
    /// It starts nothing until it is resumed.
    #[serde(default)]
    pub paused: bool,
}

impl From<TriggerRequest> for wire::CreateTriggerRequest {
    fn from(t: TriggerRequest) -> Self {
        Self {
            name: t.name,
            workflow: t.workflow,
            topic: t.topic,
            filter: t.filter.unwrap_or_default(),
            key: t.key.unwrap_or_default(),
            input_json: t.input.map(|raw| raw.get().to_owned()).unwrap_or_default(),
            priority: t.priority,
            on_busy: t.on_busy.unwrap_or_default(),
            paused: t.paused,
        }
    }
}

/// What starts an execution when an event comes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trigger {
    /// Names it.
    pub id: String,
    /// Unique for the workflow.
    pub name: String,
    /// What it starts.
    pub workflow: String,
    /// The version of the definition that holds it; absent: it was registered by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_version: Option<String>,
    /// The topic it listens to.
    pub topic: String,
    /// CEL over `event`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// CEL over `event` that joins events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Template of the input.
    #[schema(value_type = Value, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Raw>,
    /// Of the execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// `wait` or `skip`.
    pub on_busy: String,
    /// It starts nothing at the moment.
    pub paused: bool,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl From<wire::Trigger> for Trigger {
    fn from(t: wire::Trigger) -> Self {
        Self {
            id: t.id,
            name: t.name,
            workflow: t.workflow,
            workflow_version: some(t.workflow_version),
            topic: t.topic,
            filter: some(t.filter),
            key: some(t.key),
            input: raw_some(t.input_json),
            priority: t.priority,
            on_busy: t.on_busy,
            paused: t.paused,
            created_at: t.created_at,
            updated_at: t.updated_at,
        }
    }
}

/// A page of triggers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TriggerPage {
    /// By id.
    pub triggers: Vec<Trigger>,
    /// Give it as `page_token` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}
