//! Events to the bytes of a log row.

use base::Payload;
use bytes::Bytes;
use prost::Message as _;
use proto::log::v1::{self as pb, event::Kind as PbKind};
use workflow::{
    Assignment, Created, Decision, Event, Kind, SkipReason,
    plan::{Backoff, RetryPolicy},
};

use super::class_number;

/// A large payload that has to be on disk before the row that refers to it joins a group.
pub struct Large {
    /// Names the content.
    pub hash: [u8; 32],
    /// The content.
    pub payload: Payload,
}

/// Encodes the events of one row. Payloads above `inline_max` bytes are replaced by their hash and given back.
pub fn encode_row(events: &[Event], inline_max: usize) -> (Bytes, Vec<Large>) {
    let mut encoder = Encoder { inline_max, large: Vec::new() };
    let events = events.iter().map(|e| encoder.event(e)).collect();
    (Bytes::from(pb::Row { events }.encode_to_vec()), encoder.large)
}

/// Encodes a payload on its own (results that travel between members).
pub fn encode_payload(payload: &Payload) -> pb::Payload {
    Encoder { inline_max: usize::MAX, large: Vec::new() }.payload(payload)
}

pub(super) struct Encoder {
    inline_max: usize,
    large: Vec<Large>,
}

pub(super) fn us(d: std::time::Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

impl Encoder {
    pub(super) fn payload(&mut self, payload: &Payload) -> pb::Payload {
        let media_type = if payload.is_json() { String::new() } else { payload.media_type().to_string() };
        let body = if payload.len() > self.inline_max {
            let hash = payload.hash();
            self.large.push(Large { hash, payload: payload.clone() });
            pb::payload::Body::Hash(Bytes::copy_from_slice(&hash))
        } else {
            pb::payload::Body::Inline(payload.bytes().clone())
        };
        pb::Payload { media_type, body: Some(body) }
    }

    fn event(&mut self, event: &Event) -> pb::Event {
        pb::Event { at_us: event.at.micros(), kind: Some(self.kind(&event.kind)) }
    }

    fn kind(&mut self, kind: &Kind) -> PbKind {
        match kind {
            Kind::Created(created) => PbKind::Created(self.created(created)),
            Kind::Admitted => PbKind::Admitted(pb::Admitted {}),
            Kind::TaskScheduled { task, items, width, scattered } => {
                PbKind::TaskScheduled(pb::TaskScheduled {
                    node: *task,
                    items: *items,
                    width: *width,
                    scattered: *scattered,
                })
            }
            Kind::TaskSkipped { task, reason } => {
                PbKind::TaskSkipped(pb::TaskSkipped { node: *task, reason: skip_number(*reason) })
            }
            Kind::AttemptStarted { call, attempt, retry, to } => {
                PbKind::AttemptStarted(attempt_started(call.task, call.item, *attempt, *retry, to))
            }
            Kind::AttemptBound { call, agent_task_id, context_id } => {
                PbKind::AttemptBound(pb::AttemptBound {
                    node: call.task,
                    item: call.item,
                    agent_task_id: agent_task_id.to_string(),
                    context_id: context_id.to_string(),
                })
            }
            Kind::AttemptAdopted { call, caller } => PbKind::AttemptAdopted(pb::AttemptAdopted {
                node: call.task,
                item: call.item,
                member: caller.member.to_string(),
                incarnation: caller.incarnation,
            }),
            Kind::AttemptFailed { call, class, message, outcome_known, retry_at, call_us } => {
                PbKind::AttemptFailed(pb::AttemptFailed {
                    node: call.task,
                    item: call.item,
                    class: class_number(*class),
                    message: message.to_string(),
                    outcome_known: *outcome_known,
                    retry_at_us: retry_at.map_or(0, base::Timestamp::micros),
                    call_us: *call_us,
                })
            }
            Kind::ItemCompleted { call, output, call_us } => PbKind::ItemCompleted(pb::ItemCompleted {
                node: call.task,
                item: call.item,
                output: Some(self.payload(output)),
                call_us: *call_us,
            }),
            Kind::TaskCompleted { task, output, call_us } => PbKind::TaskCompleted(pb::TaskCompleted {
                node: *task,
                output: output.as_ref().map(|p| self.payload(p)),
                call_us: *call_us,
            }),
            Kind::TaskFailed { call, class, message, tolerated, spared } => {
                PbKind::TaskFailed(pb::TaskFailed {
                    node: call.task,
                    item: call.item,
                    class: class_number(*class),
                    message: message.to_string(),
                    tolerated: *tolerated,
                    spared: *spared,
                })
            }
            Kind::InputRequired { call, prompt, agent_task_id, context_id, call_us } => {
                PbKind::InputRequired(pb::InputRequired {
                    node: call.task,
                    item: call.item,
                    prompt: Some(self.payload(prompt)),
                    agent_task_id: agent_task_id.to_string(),
                    context_id: context_id.to_string(),
                    call_us: *call_us,
                })
            }
            Kind::InputProvided { call, input, by } => PbKind::InputProvided(pb::InputProvided {
                node: call.task,
                item: call.item,
                input: Some(self.payload(input)),
                by: by.to_string(),
            }),
            Kind::NeedsDecision { call, message } => PbKind::NeedsDecision(pb::NeedsDecision {
                node: call.task,
                item: call.item,
                message: message.to_string(),
            }),
            Kind::DecisionMade { call, decision, by, message } => PbKind::DecisionMade(pb::DecisionMade {
                node: call.task,
                item: call.item,
                decision: decision_number(*decision),
                by: by.to_string(),
                message: message.to_string(),
            }),
            Kind::NoAgent { call, reason } => {
                PbKind::NoAgent(pb::NoAgent { node: call.task, item: call.item, reason: reason.to_string() })
            }
            Kind::Paused { by, reason, checkpoint } => PbKind::Paused(pb::Paused {
                by: by.to_string(),
                reason: reason.to_string(),
                checkpoint_id: Bytes::copy_from_slice(checkpoint.as_bytes()),
            }),
            Kind::Resumed { by } => PbKind::Resumed(pb::Resumed { by: by.to_string() }),
            Kind::Completed { output } => {
                PbKind::Completed(pb::Completed { output: Some(self.payload(output)) })
            }
            Kind::Failed { class, message } => {
                PbKind::Failed(pb::Failed { class: class_number(*class), message: message.to_string() })
            }
            Kind::Cancelled { by, reason } => {
                PbKind::Cancelled(pb::Cancelled { by: by.to_string(), reason: reason.to_string() })
            }
            Kind::Terminated { by, reason } => {
                PbKind::Terminated(pb::Terminated { by: by.to_string(), reason: reason.to_string() })
            }
            Kind::Checkpoint { checkpoint } => PbKind::Checkpoint(pb::Checkpoint {
                checkpoint_id: Bytes::copy_from_slice(checkpoint.as_bytes()),
            }),
            Kind::LateResult { call, what } => PbKind::LateResult(pb::LateResult {
                node: call.task,
                item: call.item,
                what: what.to_string(),
            }),
            Kind::HistoryWarning { events, bytes } => {
                PbKind::HistoryWarning(pb::HistoryWarning { events: *events, bytes: *bytes })
            }
            later => self.graph(later),
        }
    }

    fn created(&mut self, c: &Created) -> pb::Created {
        pb::Created {
            workflow_id: Bytes::copy_from_slice(c.workflow_id.as_bytes()),
            workflow_name: c.workflow_name.to_string(),
            workflow_version: c.workflow_version.to_string(),
            input: Some(self.payload(&c.input)),
            priority: c.priority,
            timeout_us: us(c.timeout),
            retry_policy: c.retry_policy.to_string(),
            max_agents: c.max_agents,
            max_cpu_millis: c.max_cpu_millis,
            max_memory_bytes: c.max_memory_bytes,
            metadata_json: c.metadata_json.to_string(),
            checkpoint_every_us: us(c.checkpoint_every),
            trace: c.trace.to_string(),
            correlation_id: c.correlation_id.to_string(),
            principal: c.principal.to_string(),
            candidates: c.candidates.iter().map(ToString::to_string).collect(),
            allocation_timeout_us: us(c.allocation_timeout),
            estimated_us: us(c.estimated),
            default_retry: Some(retry(&c.default_retry)),
            settings: self.settings(&c.settings),
        }
    }
}

fn attempt_started(node: u32, item: u32, attempt: u32, retry: u32, to: &Assignment) -> pb::AttemptStarted {
    pb::AttemptStarted {
        node,
        item,
        attempt,
        retry,
        agent_id: to.agent.to_string(),
        instance_id: to.instance.to_string(),
        member: to.caller.member.to_string(),
        incarnation: to.caller.incarnation,
        input_hash: Bytes::copy_from_slice(&to.input_hash),
        capability: to.capability.to_string(),
        capability_version: to.capability_version.to_string(),
        reason: to.reason.to_string(),
        effect: match to.effect {
            base::Effect::Idempotent => 0,
            base::Effect::Pure => 1,
            base::Effect::Compensatable => 2,
            base::Effect::Irreversible => 3,
        },
    }
}

fn retry(policy: &RetryPolicy) -> pb::Retry {
    pb::Retry {
        max_attempts: policy.max_attempts,
        backoff: match policy.backoff {
            Backoff::Exponential => 0,
            Backoff::Linear => 1,
            Backoff::Fixed => 2,
        },
        base_us: us(policy.base_delay),
        max_us: us(policy.max_delay),
        classes: policy.on.iter().map(|c| c.as_str().to_owned()).collect(),
        patterns: policy.patterns.clone(),
    }
}

fn skip_number(reason: SkipReason) -> u32 {
    match reason {
        SkipReason::Condition => 0,
        SkipReason::DependencyFailed => 1,
        SkipReason::DependenciesSkipped => 2,
    }
}

fn decision_number(decision: Decision) -> u32 {
    match decision {
        Decision::Completed => 0,
        Decision::Failed => 1,
        Decision::Retry => 2,
    }
}
