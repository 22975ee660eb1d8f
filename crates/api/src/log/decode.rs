//! The bytes of a log row to events.

use std::{sync::Arc, time::Duration};

use base::{AgentId, CheckpointId, Effect, FailureClass, Payload, Timestamp, WorkflowId};
use bytes::Bytes;
use prost::Message as _;
use proto::log::v1::{self as pb, event::Kind as PbKind};
use workflow::{
    Assignment, CallKey, Caller, Created, Decision, Event, Kind, SkipReason,
    plan::{Backoff, RetryPolicy},
};

use super::{class_of, graph};

/// A row that this build cannot read. The replica hands the shard back; it never skips.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log row: {why}")]
pub struct LogError {
    why: String,
    newer: bool,
}

impl LogError {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), newer: false }
    }

    /// What this build does not know.
    pub(super) fn unknown(what: impl std::fmt::Display) -> Self {
        Self { why: format!("{what} is unknown to this build"), newer: true }
    }

    /// Whether a newer build would read the row. Otherwise it is damaged.
    pub fn is_newer(&self) -> bool {
        self.newer
    }
}

pub(super) type Result<T> = std::result::Result<T, LogError>;

/// Finds large payloads by hash.
pub type Resolver<'a> = &'a dyn Fn(&[u8; 32]) -> Option<Payload>;

/// Decodes the events of one row.
///
/// # Errors
/// Bytes that are no row, an event kind of a newer build, or a payload that `large` does not have.
pub fn decode_row(body: Bytes, large: Resolver<'_>) -> Result<Vec<Event>> {
    let row = pb::Row::decode(body).map_err(|e| LogError::new(e.to_string()))?;
    row.events.into_iter().map(|e| event(e, large)).collect()
}

fn event(e: pb::Event, large: Resolver<'_>) -> Result<Event> {
    let kind = e.kind.ok_or_else(|| LogError::unknown("the kind of an event"))?;
    Ok(Event { at: Timestamp::from_micros(e.at_us), kind: kind_of(kind, large)? })
}

/// Decodes a payload.
///
/// # Errors
/// No body, or a hash that `large` does not have.
pub fn decode_payload(p: Option<pb::Payload>, large: Resolver<'_>) -> Result<Payload> {
    let p = p.ok_or_else(|| LogError::new("a payload is missing"))?;
    match p.body {
        Some(pb::payload::Body::Inline(bytes)) if p.media_type.is_empty() => Ok(Payload::json_text(bytes)),
        Some(pb::payload::Body::Inline(bytes)) => Ok(Payload::new(p.media_type.into(), bytes)),
        Some(pb::payload::Body::Hash(hash)) => {
            let hash =
                <[u8; 32]>::try_from(&hash[..]).map_err(|_| LogError::new("a hash is not 32 bytes"))?;
            large(&hash).ok_or_else(|| LogError::new("a large payload is not stored"))
        }
        None => Err(LogError::new("a payload has no body")),
    }
}

pub(super) fn key(node: u32, item: u32) -> CallKey {
    CallKey::new(node, item)
}

fn checkpoint(bytes: &[u8]) -> Result<CheckpointId> {
    CheckpointId::from_slice(bytes).map_err(|e| LogError::new(e.to_string()))
}

pub(super) fn failure(number: u32) -> Result<FailureClass> {
    class_of(number).ok_or_else(|| LogError::unknown(format_args!("failure class {number}")))
}

fn kind_of(kind: PbKind, large: Resolver<'_>) -> Result<Kind> {
    Ok(match kind {
        PbKind::Created(c) => Kind::Created(Arc::new(created(c, large)?)),
        PbKind::Admitted(_) => Kind::Admitted,
        PbKind::TaskScheduled(t) => {
            Kind::TaskScheduled { task: t.node, items: t.items, width: t.width, scattered: t.scattered }
        }
        PbKind::TaskSkipped(t) => Kind::TaskSkipped { task: t.node, reason: skip(t.reason)? },
        PbKind::AttemptStarted(a) => attempt_started(a)?,
        PbKind::AttemptBound(b) => Kind::AttemptBound {
            call: key(b.node, b.item),
            agent_task_id: b.agent_task_id.into(),
            context_id: b.context_id.into(),
        },
        PbKind::AttemptAdopted(a) => Kind::AttemptAdopted {
            call: key(a.node, a.item),
            caller: Caller { member: a.member.into(), incarnation: a.incarnation },
        },
        PbKind::AttemptFailed(a) => Kind::AttemptFailed {
            call: key(a.node, a.item),
            class: failure(a.class)?,
            message: a.message.into(),
            outcome_known: a.outcome_known,
            retry_at: (a.retry_at_us != 0).then(|| Timestamp::from_micros(a.retry_at_us)),
            call_us: a.call_us,
        },
        PbKind::ItemCompleted(i) => Kind::ItemCompleted {
            call: key(i.node, i.item),
            output: decode_payload(i.output, large)?,
            call_us: i.call_us,
        },
        PbKind::TaskCompleted(t) => Kind::TaskCompleted {
            task: t.node,
            output: t.output.map(|p| decode_payload(Some(p), large)).transpose()?,
            call_us: t.call_us,
        },
        PbKind::TaskFailed(t) => Kind::TaskFailed {
            call: key(t.node, t.item),
            class: failure(t.class)?,
            message: t.message.into(),
            tolerated: t.tolerated,
            spared: t.spared,
        },
        PbKind::InputRequired(i) => Kind::InputRequired {
            call: key(i.node, i.item),
            prompt: decode_payload(i.prompt, large)?,
            agent_task_id: i.agent_task_id.into(),
            context_id: i.context_id.into(),
            call_us: i.call_us,
        },
        PbKind::InputProvided(i) => Kind::InputProvided {
            call: key(i.node, i.item),
            input: decode_payload(i.input, large)?,
            by: i.by.into(),
        },
        PbKind::NeedsDecision(n) => {
            Kind::NeedsDecision { call: key(n.node, n.item), message: n.message.into() }
        }
        PbKind::DecisionMade(d) => Kind::DecisionMade {
            call: key(d.node, d.item),
            decision: decision(d.decision)?,
            by: d.by.into(),
            message: d.message.into(),
        },
        PbKind::NoAgent(n) => Kind::NoAgent { call: key(n.node, n.item), reason: n.reason.into() },
        PbKind::Paused(p) => Kind::Paused {
            by: p.by.into(),
            reason: p.reason.into(),
            checkpoint: checkpoint(&p.checkpoint_id)?,
        },
        PbKind::Resumed(r) => Kind::Resumed { by: r.by.into() },
        PbKind::Completed(c) => Kind::Completed { output: decode_payload(c.output, large)? },
        PbKind::Failed(f) => Kind::Failed { class: failure(f.class)?, message: f.message.into() },
        PbKind::Cancelled(c) => Kind::Cancelled { by: c.by.into(), reason: c.reason.into() },
        PbKind::Terminated(t) => Kind::Terminated { by: t.by.into(), reason: t.reason.into() },
        PbKind::Checkpoint(c) => Kind::Checkpoint { checkpoint: checkpoint(&c.checkpoint_id)? },
        PbKind::LateResult(l) => Kind::LateResult { call: key(l.node, l.item), what: l.what.into() },
        PbKind::HistoryWarning(h) => Kind::HistoryWarning { events: h.events, bytes: h.bytes },
        later => graph::decode(later, large)?,
    })
}

fn attempt_started(a: pb::AttemptStarted) -> Result<Kind> {
    let to = Assignment {
        agent: AgentId::new(&a.agent_id).map_err(|e| LogError::new(e.to_string()))?,
        instance: a.instance_id.into(),
        caller: Caller { member: a.member.into(), incarnation: a.incarnation },
        input_hash: <[u8; 32]>::try_from(&a.input_hash[..])
            .map_err(|_| LogError::new("a hash is not 32 bytes"))?,
        capability: a.capability.into(),
        capability_version: a.capability_version.into(),
        effect: match a.effect {
            0 => Effect::Idempotent,
            1 => Effect::Pure,
            2 => Effect::Compensatable,
            3 => Effect::Irreversible,
            n => return Err(LogError::unknown(format_args!("effect class {n}"))),
        },
        reason: a.reason.into(),
    };
    Ok(Kind::AttemptStarted {
        call: key(a.node, a.item),
        attempt: a.attempt,
        retry: a.retry,
        to: Arc::new(to),
    })
}

fn created(c: pb::Created, large: Resolver<'_>) -> Result<Created> {
    Ok(Created {
        workflow_id: WorkflowId::from_slice(&c.workflow_id).map_err(|e| LogError::new(e.to_string()))?,
        workflow_name: c.workflow_name.into(),
        workflow_version: c.workflow_version.into(),
        input: decode_payload(c.input, large)?,
        priority: c.priority,
        timeout: Duration::from_micros(c.timeout_us),
        retry_policy: c.retry_policy.into(),
        max_agents: c.max_agents,
        max_cpu_millis: c.max_cpu_millis,
        max_memory_bytes: c.max_memory_bytes,
        metadata_json: c.metadata_json.into(),
        checkpoint_every: Duration::from_micros(c.checkpoint_every_us),
        allocation_timeout: Duration::from_micros(c.allocation_timeout_us),
        trace: c.trace.into(),
        correlation_id: c.correlation_id.into(),
        principal: c.principal.into(),
        candidates: c.candidates.into_iter().map(Into::into).collect(),
        estimated: Duration::from_micros(c.estimated_us),
        default_retry: retry(c.default_retry.unwrap_or_default())?,
        settings: graph::settings(c.settings, large)?,
    })
}

fn retry(r: pb::Retry) -> Result<RetryPolicy> {
    let class = |text: &String| {
        FailureClass::parse(text).ok_or_else(|| LogError::unknown(format_args!("failure class {text}")))
    };
    Ok(RetryPolicy {
        max_attempts: r.max_attempts,
        backoff: match r.backoff {
            0 => Backoff::Exponential,
            1 => Backoff::Linear,
            2 => Backoff::Fixed,
            n => return Err(LogError::unknown(format_args!("backoff {n}"))),
        },
        base_delay: Duration::from_micros(r.base_us),
        max_delay: Duration::from_micros(r.max_us),
        on: r.classes.iter().map(class).collect::<Result<_>>()?,
        patterns: r.patterns,
    })
}

fn skip(number: u32) -> Result<SkipReason> {
    match number {
        0 => Ok(SkipReason::Condition),
        1 => Ok(SkipReason::DependencyFailed),
        2 => Ok(SkipReason::DependenciesSkipped),
        n => Err(LogError::unknown(format_args!("skip reason {n}"))),
    }
}

fn decision(number: u32) -> Result<Decision> {
    match number {
        0 => Ok(Decision::Completed),
        1 => Ok(Decision::Failed),
        2 => Ok(Decision::Retry),
        n => Err(LogError::unknown(format_args!("decision {n}"))),
    }
}
