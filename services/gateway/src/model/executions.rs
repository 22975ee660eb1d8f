//! Executions as answers show them. Names are in snake case, as in the documents that define them.

use proto::executor::v1 as wire;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    budgets::BudgetAmounts,
    control::{StuckReason, amounts},
    some,
};
use crate::payload::{Raw, raw, raw_some, raw_text};

/// An execution: its state, and everything known about how it came to be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Execution {
    /// UUID.
    pub execution_id: String,
    /// UUID of the workflow.
    pub workflow_id: String,
    /// Its name.
    pub workflow_name: String,
    /// Its version.
    pub workflow_version: String,
    /// `planning`, `executing`, `paused`, `completed`, `failed`, `cancelled`, `terminated`, `compensating`,
    /// `compensated`.
    pub status: String,
    /// The tasks that run, or what it waits for.
    pub current_phase: String,
    /// Higher runs first.
    pub priority: i32,
    /// What it was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub input: Option<Raw>,
    /// What came out, when completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub output: Option<Raw>,
    /// Its tasks; lists leave them out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub tasks: Vec<Task>,
    /// The agents that work or worked for it.
    pub agents: Vec<AgentUse>,
    /// What was measured.
    pub performance_metrics: PerformanceMetricsOfExecution,
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
    /// Sequence number of the newest event: where to follow from. Lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<u64>,
    /// What the caller said about the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub metadata: Option<Raw>,
    /// What its start said in `X-Correlation-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Why it waits, when it does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub waiting: Vec<String>,
    /// Place in the start queue, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u32>,
    /// Why it makes no progress by itself, the foremost reason first, at most 50. Lists tell the foremost one, of
    /// executions in which nothing goes on for `executor.stuck_after`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub stuck: Vec<StuckReason>,
    /// What it and its sub-workflows have spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent: Option<BudgetAmounts>,
    /// What it may spend; 0 = no limit. Lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetAmounts>,
}

impl From<wire::Execution> for Execution {
    fn from(e: wire::Execution) -> Self {
        let error_details = ErrorDetails::of(&e.status, e.causes);
        Self {
            execution_id: e.execution_id,
            workflow_id: e.workflow_id,
            workflow_name: e.workflow_name,
            workflow_version: e.workflow_version,
            status: e.status,
            current_phase: e.current_phase,
            priority: e.priority,
            input: raw(e.input),
            output: raw(e.output),
            tasks: e.tasks.into_iter().map(Task::from).collect(),
            agents: e.agents.into_iter().map(AgentUse::from).collect(),
            performance_metrics: e.metrics.unwrap_or_default().into(),
            error_details,
            created_at: e.created_at,
            started_at: some(e.started_at),
            completed_at: some(e.completed_at),
            last_seq: (e.last_seq > 0).then_some(e.last_seq),
            metadata: raw_some(e.metadata_json),
            correlation_id: some(e.correlation_id),
            waiting: e.waiting,
            queue_position: (e.queue_position > 0).then_some(e.queue_position),
            stuck: e.stuck.into_iter().map(StuckReason::from).collect(),
            spent: e.spent.map(amounts),
            budget: e.budget.map(amounts),
        }
    }
}

/// The status of a workflow: of its newest execution (S2-130..140, S3-63..71).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowStatus {
    /// UUID of the workflow.
    pub workflow_id: String,
    /// UUID.
    pub execution_id: String,
    /// As in [`Execution`].
    pub status: String,
    /// The tasks that run, or what it waits for.
    pub current_phase: String,
    /// The agents that work or worked for it.
    pub agents: Vec<AgentUse>,
    /// What was measured.
    pub performance_metrics: PerformanceMetricsOfExecution,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_details: Option<ErrorDetails>,
}

impl From<wire::Execution> for WorkflowStatus {
    fn from(e: wire::Execution) -> Self {
        Self {
            error_details: ErrorDetails::of(&e.status, e.causes),
            workflow_id: e.workflow_id,
            execution_id: e.execution_id,
            status: e.status,
            current_phase: e.current_phase,
            agents: e.agents.into_iter().map(AgentUse::from).collect(),
            performance_metrics: e.metrics.unwrap_or_default().into(),
        }
    }
}

/// One task, or one item of a scattered task.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Task {
    /// Key within the workflow.
    pub task_id: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `pending`, `waiting`, `ready`, `running`, `retrying`, `input_required`, `needs_decision`, `completed`, `failed`,
    /// `skipped`, `cancelled`.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub output: Option<Raw>,
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
    #[schema(no_recursion, required = false)]
    pub items: Vec<Task>,
}

impl From<wire::Task> for Task {
    fn from(t: wire::Task) -> Self {
        Self {
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
            output: raw(t.output),
            error: some(t.error),
            reason: some(t.reason),
            depends_on: t.depends_on,
            items: t.items.into_iter().map(Self::from).collect(),
        }
    }
}

/// An agent's part in an execution.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentUse {
    /// Key of the agent.
    pub agent_id: String,
    /// `assigned`, `running` or `completed`.
    pub status: String,
    /// The task it works on, or worked on last.
    pub current_task: String,
    /// 0 to 1.
    pub progress: f64,
}

impl From<wire::AgentUse> for AgentUse {
    fn from(a: wire::AgentUse) -> Self {
        let wire::AgentUse { agent_id, status, current_task, progress } = a;
        Self { agent_id, status, current_task, progress }
    }
}

/// What was measured of an execution.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExecutionMetrics)]
pub(crate) struct PerformanceMetricsOfExecution {
    /// Seconds since its start, or from start to end.
    pub total_runtime: f64,
    /// Agents that worked for it.
    pub agents_allocated: u32,
    /// Tasks that are completed.
    pub tasks_completed: u32,
    /// Tasks in all, as far as known.
    pub tasks_total: u32,
    /// Share of the runtime in which no agent worked, 0 to 1.
    pub coordination_overhead: f64,
    /// Sum over all calls to agents, ms.
    pub agent_time_ms: u64,
    /// Calls that were repeated.
    pub retries: u32,
}

impl From<wire::Metrics> for PerformanceMetricsOfExecution {
    fn from(m: wire::Metrics) -> Self {
        Self {
            total_runtime: m.total_runtime_ms as f64 / 1000.0,
            agents_allocated: m.agents_allocated,
            tasks_completed: m.tasks_completed,
            tasks_total: m.tasks_total,
            coordination_overhead: m.coordination_overhead,
            agent_time_ms: m.agent_time_ms,
            retries: m.retries,
        }
    }
}

/// Why an execution failed: every cause, in the order in which they came.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorDetails {
    /// Failure class of the first cause.
    pub code: String,
    /// The first cause, for people.
    pub message: String,
    /// All of them.
    pub causes: Vec<Cause>,
}

impl ErrorDetails {
    pub(super) fn of(status: &str, causes: Vec<wire::Cause>) -> Option<Self> {
        let first = causes.first().map(|c| (c.code.clone(), c.message.clone()));
        let failed = matches!(status, "failed" | "compensating" | "compensated");
        let (code, message) = match first {
            Some(first) => first,
            None if failed => ("execution_failed".to_owned(), "the execution failed".to_owned()),
            None => return None,
        };
        Some(Self { code, message, causes: causes.into_iter().map(Cause::from).collect() })
    }
}

/// One cause of a failure.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cause {
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

impl From<wire::Cause> for Cause {
    fn from(c: wire::Cause) -> Self {
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

/// A page of executions, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExecutionPage {
    /// Without tasks.
    pub executions: Vec<Execution>,
    /// Give it as `page_token` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// What a command did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommandAnswer {
    /// UUID.
    pub execution_id: String,
    /// The status after it.
    pub status: String,
    /// UUID of the checkpoint that a pause made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_id: Option<String>,
    /// After a pause: POST here to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_url: Option<String>,
}

impl From<wire::CommandExecutionResponse> for CommandAnswer {
    fn from(answer: wire::CommandExecutionResponse) -> Self {
        let paused = answer.status == "paused";
        let resume_url = paused.then(|| format!("/api/v1/executions/{}/resume", answer.execution_id));
        let checkpoint_id = some(answer.checkpoint_id);
        Self { execution_id: answer.execution_id, status: answer.status, checkpoint_id, resume_url }
    }
}

/// One thing that happened: the message of WebSocket, SSE and history (S3-91..95).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Event {
    /// `workflow.status_changed`, `agent.assigned`, `task.started`, `task.completed`, `error.occurred`,
    /// `checkpoint.created`, and the types that `docs/api.md` lists besides.
    #[serde(rename = "type")]
    pub kind: String,
    /// UUID.
    pub workflow_id: String,
    /// UUID.
    pub execution_id: String,
    /// RFC 3339 (ISO 8601).
    pub timestamp: String,
    /// The type's own fields.
    #[schema(value_type = Value)]
    pub data: Raw,
    /// Number of the fact behind it, from 1 in each execution; messages of one fact share it. Resume with
    /// `after=<seq>`. Progress has none: it is not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// On streams of a workflow: resume with `after=<cursor>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl From<wire::ExecutionEvent> for Event {
    fn from(e: wire::ExecutionEvent) -> Self {
        let data = if e.data_json.is_empty() { "{}".to_owned() } else { e.data_json };
        Self {
            kind: e.r#type,
            workflow_id: e.workflow_id,
            execution_id: e.execution_id,
            timestamp: e.timestamp,
            data: raw_text(data),
            seq: Some(e.seq),
            cursor: None,
        }
    }
}

/// A part of an execution's history, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct History {
    /// UUID.
    pub execution_id: String,
    /// The events.
    pub events: Vec<Event>,
    /// There are more: ask again with `after=<next_after>`.
    pub more: bool,
    /// Sequence number of the last event here.
    pub next_after: u64,
}
