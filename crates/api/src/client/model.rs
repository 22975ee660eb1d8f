//! Executions as the client gives them. They serialize under the names of the REST answers.

use std::time::Duration;

use base::Payload;
use proto::executor::v1 as wire;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use super::budgets::Amounts;
use crate::{Fault, payload};

/// One page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Asks for the next page; `None` on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

impl<T> Page<T> {
    pub(super) fn of<W>(
        rows: Vec<W>,
        token: String,
        read: impl Fn(W) -> Result<T, Fault>,
    ) -> Result<Self, Fault> {
        let items = rows.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { items, next_page_token: some(token) })
    }
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $ended:literal;)*) => {
        /// Where an execution stands.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum ExecutionStatus {
            $($(#[$doc])* $name,)*
            /// A status of a newer release.
            Other(String),
        }

        impl ExecutionStatus {
            /// The text form of every door.
            pub fn as_str(&self) -> &str {
                match self { $(Self::$name => $text,)* Self::Other(text) => text }
            }
            /// Reads the text form.
            pub fn of(text: &str) -> Self {
                match text { $($text => Self::$name,)* other => Self::Other(other.to_owned()) }
            }
            /// Whether nothing can follow.
            pub fn is_final(&self) -> bool {
                match self { $(Self::$name => $ended,)* Self::Other(_) => false }
            }
        }
    };
}

statuses! {
    /// Committed, not running yet.
    Planning = "planning", false;
    /// Running.
    Executing = "executing", false;
    /// No new call leaves.
    Paused = "paused", false;
    /// Done.
    Completed = "completed", true;
    /// Over: something failed.
    Failed = "failed", true;
    /// Over: cancelled.
    Cancelled = "cancelled", true;
    /// Over: stopped at once.
    Terminated = "terminated", true;
    /// Undoing what was done.
    Compensating = "compensating", false;
    /// Over: failed, and what was done is undone.
    Compensated = "compensated", true;
}

impl Serialize for ExecutionStatus {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl std::fmt::Display for ExecutionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An execution: its state, and how it came to be.
#[derive(Clone, Debug, Serialize)]
pub struct Execution {
    /// UUID.
    pub execution_id: String,
    /// UUID of the workflow.
    pub workflow_id: String,
    /// Its name.
    pub workflow_name: String,
    /// Its version.
    pub workflow_version: String,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// The tasks that run, or what it waits for.
    pub current_phase: String,
    /// Higher runs first.
    pub priority: i32,
    /// What it was started with.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "payload_opt")]
    pub input: Option<Payload>,
    /// What came out, when completed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "payload_opt")]
    pub output: Option<Payload>,
    /// Its tasks; lists and summaries leave them out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Task>,
    /// The agents that work or worked for it.
    pub agents: Vec<AgentUse>,
    /// What was measured.
    #[serde(rename = "performance_metrics")]
    pub metrics: Metrics,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_details: Option<ErrorDetails>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// Sequence number of the newest event; 0 in lists, which do not know it.
    #[serde(skip_serializing_if = "is_zero")]
    pub last_seq: u64,
    /// What the caller said about the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
    /// Given with the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Why it waits, when it does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// Place in the start queue, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u32>,
    /// Why it makes no progress by itself, the foremost reason first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stuck: Vec<StuckReason>,
    /// What it and its sub-workflows have spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent: Option<Amounts>,
    /// What it may spend; 0 = no limit. Lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Amounts>,
}

/// Why an execution waits, and the command that frees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StuckReason {
    /// `queued`, `paused`, `no_agent`, `no_healthy_instance`, `breaker_open`, `provider_away`, `no_room`, `retry`, `agent`,
    /// `input`, `decision`, `event`, `signal`, `approval`, `step`, `time`, `child`, `publish`, or one of a newer release.
    pub reason: String,
    /// Path of the task; `None` = the execution as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Item of a task that scatters.
    pub item: u32,
    /// `resume`, `answer`, `resolve`, `publish`, `signal`, `approve`, `step`, `register an agent`, `repair an
    /// instance`, `restore the provider`; `None` = nothing but what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// In words: which agent, topic, signal or execution, until when, or the place in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Of `breaker_open` the agents whose instances are left alone, at most 100; of `agent` the one that works on it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// RFC 3339: since when it is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// RFC 3339: when it goes on or is tried again by itself; of `breaker_open` a time that has passed = a call tries it
    /// now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Of `provider_away` the engine, as definitions name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Of `provider_away` what came instead of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl StuckReason {
    pub(super) fn of(r: wire::StuckReason) -> Self {
        Self {
            reason: r.reason,
            task_id: some(r.task_id),
            item: r.item,
            command: some(r.command),
            detail: some(r.detail),
            agents: r.agents,
            since: some(r.since),
            until: some(r.until),
            provider: some(r.provider),
            error: some(r.error),
        }
    }
}

pub(super) fn amounts(s: wire::Spending) -> Amounts {
    Amounts { calls: s.calls, tokens: s.tokens, money_micros: s.money_micros }
}

impl Execution {
    pub(super) fn of(e: wire::Execution) -> Result<Self, Fault> {
        let status = ExecutionStatus::of(&e.status);
        Ok(Self {
            error_details: ErrorDetails::of(&status, e.causes),
            status,
            execution_id: e.execution_id,
            workflow_id: e.workflow_id,
            workflow_name: e.workflow_name,
            workflow_version: e.workflow_version,
            current_phase: e.current_phase,
            priority: e.priority,
            input: read_payload(e.input, "input")?,
            output: read_payload(e.output, "output")?,
            tasks: e.tasks.into_iter().map(Task::of).collect::<Result<_, _>>()?,
            agents: e.agents.into_iter().map(AgentUse::of).collect(),
            metrics: Metrics::of(e.metrics.unwrap_or_default()),
            created_at: e.created_at,
            started_at: some(e.started_at),
            completed_at: some(e.completed_at),
            last_seq: e.last_seq,
            metadata: serde_json::from_str(&e.metadata_json).ok(),
            correlation_id: some(e.correlation_id),
            waiting: e.waiting,
            queue_position: (e.queue_position > 0).then_some(e.queue_position),
            stuck: e.stuck.into_iter().map(StuckReason::of).collect(),
            spent: e.spent.map(amounts),
            budget: e.budget.map(amounts),
        })
    }
}

/// One task, or one item of a scattered task.
#[derive(Clone, Debug, Serialize)]
pub struct Task {
    /// Key within the workflow.
    pub task_id: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `pending`, `waiting`, `ready`, `running`, `retrying`, `input_required`, `needs_decision`, `completed`,
    /// `failed`, `skipped`, `cancelled`.
    pub state: String,
    /// Who works or worked on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Which of its instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// What it asks an agent for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// From 1; 0 = not tried yet.
    pub attempt: u32,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// Milliseconds.
    pub duration_ms: u64,
    /// 0 to 1.
    pub progress: f64,
    /// What the agent says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_text: Option<String>,
    /// What came out.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "payload_opt")]
    pub output: Option<Payload>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why it is skipped, waits or is retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Tasks that come before it.
    pub depends_on: Vec<String>,
    /// Items of a scattered task, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Task>,
}

impl Task {
    fn of(t: wire::Task) -> Result<Self, Fault> {
        Ok(Self {
            task_id: t.task_id,
            name: some(t.name),
            state: t.state,
            agent_id: some(t.agent_id),
            instance_id: some(t.instance_id),
            capability: some(t.capability),
            attempt: t.attempt,
            started_at: some(t.started_at),
            completed_at: some(t.completed_at),
            duration_ms: t.duration_ms,
            progress: t.progress,
            progress_text: some(t.progress_text),
            output: read_payload(t.output, "task output")?,
            error: some(t.error),
            reason: some(t.reason),
            depends_on: t.depends_on,
            items: t.items.into_iter().map(Self::of).collect::<Result<_, _>>()?,
        })
    }
}

/// An agent's part in an execution.
#[derive(Clone, Debug, Serialize)]
pub struct AgentUse {
    /// Key of the agent.
    pub agent_id: String,
    /// `assigned`, `running` or `completed`.
    pub status: String,
    /// The task it works on, or worked on last.
    pub current_task: String,
    /// 0 to 1.
    pub progress: f64,
}

impl AgentUse {
    fn of(a: wire::AgentUse) -> Self {
        let wire::AgentUse { agent_id, status, current_task, progress } = a;
        Self { agent_id, status, current_task, progress }
    }
}

/// What was measured of an execution.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Metrics {
    /// From its start to its end, or until now. Serialized in seconds.
    #[serde(rename = "total_runtime", serialize_with = "seconds")]
    pub runtime: Duration,
    /// Agents that worked for it.
    pub agents_allocated: u32,
    /// Tasks that are completed.
    pub tasks_completed: u32,
    /// Tasks in all, as far as known.
    pub tasks_total: u32,
    /// Share of the runtime in which no agent worked, 0 to 1.
    pub coordination_overhead: f64,
    /// Sum over all calls to agents. Serialized in milliseconds.
    #[serde(rename = "agent_time_ms", serialize_with = "millis")]
    pub agent_time: Duration,
    /// Calls that were repeated.
    pub retries: u32,
}

impl Metrics {
    fn of(m: wire::Metrics) -> Self {
        Self {
            runtime: Duration::from_millis(m.total_runtime_ms),
            agents_allocated: m.agents_allocated,
            tasks_completed: m.tasks_completed,
            tasks_total: m.tasks_total,
            coordination_overhead: m.coordination_overhead,
            agent_time: Duration::from_millis(m.agent_time_ms),
            retries: m.retries,
        }
    }
}

/// Why an execution failed: every cause, in the order in which they came.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorDetails {
    /// Failure class of the first cause.
    pub code: String,
    /// The first cause, for people.
    pub message: String,
    /// All of them.
    pub causes: Vec<Cause>,
}

impl ErrorDetails {
    fn of(status: &ExecutionStatus, causes: Vec<wire::Cause>) -> Option<Self> {
        use ExecutionStatus::{Compensated, Compensating, Failed};
        let (code, message) = match causes.first() {
            Some(first) => (first.code.clone(), first.message.clone()),
            None if matches!(status, Failed | Compensating | Compensated) => {
                ("execution_failed".to_owned(), "the execution failed".to_owned())
            }
            None => return None,
        };
        Some(Self { code, message, causes: causes.into_iter().map(Cause::of).collect() })
    }
}

/// One cause of a failure.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    /// The task that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The item of a scattered task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<i32>,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Failure class.
    pub code: String,
    /// For people.
    pub message: String,
    /// The agent that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// RFC 3339.
    pub at: String,
}

impl Cause {
    fn of(c: wire::Cause) -> Self {
        Self {
            task_id: some(c.task_id),
            item: (c.item >= 0).then_some(c.item),
            attempt: c.attempt,
            code: c.code,
            message: c.message,
            agent_id: some(c.agent_id),
            at: c.at,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// `workflow.status_changed`, `task.started`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// UUID.
    pub workflow_id: String,
    /// UUID.
    pub execution_id: String,
    /// RFC 3339.
    pub timestamp: String,
    /// The type's own fields.
    pub data: serde_json::Value,
    /// Number of the fact behind it, from 1; messages of one fact share it.
    pub seq: u64,
}

impl Event {
    pub(super) fn of(e: wire::ExecutionEvent) -> Self {
        Self {
            kind: e.r#type,
            workflow_id: e.workflow_id,
            execution_id: e.execution_id,
            timestamp: e.timestamp,
            data: serde_json::from_str(&e.data_json).unwrap_or_default(),
            seq: e.seq,
        }
    }
}

/// How far an agent is, by its own word: not stored, not replayed.
#[derive(Clone, Debug, Serialize)]
pub struct Progress {
    /// The task.
    pub task_id: String,
    /// Item of a scattered task.
    pub item: i32,
    /// 0 to 1.
    pub progress: f64,
    /// In its words.
    pub text: String,
}

impl Progress {
    pub(super) fn of(p: wire::Progress) -> Self {
        Self { task_id: p.task_id, item: p.item, progress: p.progress, text: p.text }
    }
}

pub(super) fn some(text: String) -> Option<String> {
    if text.is_empty() { None } else { Some(text) }
}

pub(super) fn read_payload(
    wire: Option<proto::common::v1::Payload>,
    field: &str,
) -> Result<Option<Payload>, Fault> {
    wire.map(|wire| payload::from_wire(Some(wire), field)).transpose()
}

/// JSON as it stands; anything else as `{media_type, text}` or `{media_type, bytes}` (its length).
pub(super) fn payload_opt<S: Serializer>(payload: &Option<Payload>, to: S) -> Result<S::Ok, S::Error> {
    let Some(payload) = payload else { return to.serialize_none() };
    let text = std::str::from_utf8(payload.bytes()).ok();
    if payload.is_json() {
        let raw = text.and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
        return raw.serialize(to);
    }
    let mut map = to.serialize_map(Some(2))?;
    map.serialize_entry("media_type", &**payload.media_type())?;
    match text {
        Some(text) => map.serialize_entry("text", text)?,
        None => map.serialize_entry("bytes", &payload.len())?,
    }
    map.end()
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn seconds<S: Serializer>(d: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(d.as_secs_f64())
}

fn millis<S: Serializer>(d: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_read_back_and_the_unknown_is_kept() {
        for text in ["planning", "executing", "completed", "compensated", "invented_later"] {
            assert_eq!(ExecutionStatus::of(text).as_str(), text);
        }
        assert!(ExecutionStatus::Terminated.is_final() && !ExecutionStatus::Compensating.is_final());
        assert!(!ExecutionStatus::of("invented_later").is_final());
    }

    #[test]
    fn an_execution_serializes_under_the_names_of_rest() {
        let wire = wire::Execution {
            execution_id: "e".into(),
            status: "failed".into(),
            output: Some(payload::to_wire(&Payload::json_text("{\"n\":1.00}"))),
            metrics: Some(wire::Metrics { total_runtime_ms: 1500, ..Default::default() }),
            ..Default::default()
        };
        let text = serde_json::to_string(&Execution::of(wire).unwrap()).unwrap();
        assert!(text.contains("\"output\":{\"n\":1.00}"), "{text}");
        assert!(text.contains("\"total_runtime\":1.5"), "{text}");
        assert!(text.contains("\"error_details\":{\"code\":\"execution_failed\""), "{text}");
    }

    #[test]
    fn what_is_not_json_is_shown_with_its_media_type() {
        let shown = |payload| {
            let wire = wire::Task { output: Some(payload::to_wire(&payload)), ..Default::default() };
            serde_json::to_value(Task::of(wire).unwrap()).unwrap()["output"].clone()
        };
        let text = shown(Payload::new("text/plain".into(), "hi".into()));
        assert_eq!(text, serde_json::json!({"media_type": "text/plain", "text": "hi"}));
        let bytes = shown(Payload::new("image/png".into(), vec![0xff, 0].into()));
        assert_eq!(bytes["bytes"], 2);
    }
}
