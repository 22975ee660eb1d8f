//! Views and events as the contract's messages.

use api::{Fault, payload};
use base::{ExecutionId, Timestamp};
use proto::executor::v1 as pb;
use store::journal::{Cursor, ExecutionRow};
use workflow::Spending;

use crate::{
    app::{StartOutcome, Watched},
    engine::{AgentView, ExecutionView, PublicEvent, StuckView, TaskView},
};

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(String::new, Timestamp::rfc3339)
}

/// An execution.
pub(crate) fn execution(view: &ExecutionView) -> pb::Execution {
    pb::Execution {
        execution_id: view.id.to_string(),
        workflow_id: view.workflow_id.to_string(),
        workflow_name: view.workflow_name.to_string(),
        workflow_version: view.workflow_version.to_string(),
        status: view.status.as_str().into(),
        current_phase: view.current_phase.clone(),
        priority: view.priority,
        input: Some(payload::to_wire(&view.input)),
        output: view.output.as_ref().map(payload::to_wire),
        tasks: view.tasks.iter().map(task).collect(),
        agents: view.agents.iter().map(agent).collect(),
        metrics: Some(metrics(view)),
        causes: view.causes.iter().map(|c| cause(view, c)).collect(),
        created_at: view.created_at.rfc3339(),
        started_at: time(view.started_at),
        completed_at: time(view.ended_at),
        last_seq: view.last_seq,
        metadata_json: view.metadata_json.to_string(),
        waiting: view.waiting.clone(),
        queue_position: view.queue_position,
        correlation_id: view.correlation_id.to_string(),
        stuck: stuck(view),
        spent: Some(spending(view.spent())),
        budget: Some(spending(view.budget())),
    }
}

/// Why it makes no progress by itself.
pub(crate) fn stuck(view: &ExecutionView) -> Vec<pb::StuckReason> {
    view.stuck().iter().map(|r| reason(StuckView::of(r, view.queue_position()))).collect()
}

fn reason(r: StuckView) -> pb::StuckReason {
    let StuckView { reason, task_id, item, command, detail, agents, since, until, provider, error } = r;
    let (since, until) = (since.unwrap_or_default(), until.unwrap_or_default());
    pb::StuckReason { reason, task_id, item, command, detail, agents, since, until, provider, error }
}

/// What was spent, or may be.
pub(crate) fn spending(s: Spending) -> pb::Spending {
    pb::Spending { calls: s.calls, tokens: s.tokens, money_micros: s.money_micros }
}

fn metrics(view: &ExecutionView) -> pb::Metrics {
    let m = &view.metrics;
    pb::Metrics {
        total_runtime_ms: m.runtime_ms,
        agents_allocated: m.agents,
        tasks_completed: m.completed,
        tasks_total: m.total,
        coordination_overhead: m.overhead,
        agent_time_ms: m.agent_ms,
        retries: m.retries,
    }
}

fn task(view: &TaskView) -> pb::Task {
    let took = view.started_at.zip(view.ended_at).map(|(from, to)| to.since(from).as_millis() as u64);
    pb::Task {
        task_id: view.id.clone(),
        name: view.name.clone(),
        state: view.state.into(),
        agent_id: view.agent.as_deref().unwrap_or_default().into(),
        instance_id: view.instance.as_deref().unwrap_or_default().into(),
        attempt: view.attempt,
        started_at: time(view.started_at),
        completed_at: time(view.ended_at),
        duration_ms: took.unwrap_or_default(),
        progress: view.progress,
        progress_text: view.progress_text.as_deref().unwrap_or_default().into(),
        output: view.output.as_ref().map(payload::to_wire),
        error: view.error.clone().unwrap_or_default(),
        depends_on: view.after.clone(),
        items: view.items.iter().map(task).collect(),
        reason: view.reason.as_deref().unwrap_or_default().into(),
        capability: view.capability.clone(),
    }
}

fn agent(view: &AgentView) -> pb::AgentUse {
    pb::AgentUse {
        agent_id: view.agent.to_string(),
        status: view.status.into(),
        current_task: view.current_task.clone(),
        progress: view.progress,
    }
}

fn cause(view: &ExecutionView, cause: &workflow::Cause) -> pb::Cause {
    let task = cause.call.map(|call| {
        let own = view.tasks.get(call.task as usize);
        (
            own.map_or_else(|| call.task.to_string(), |t| t.id.clone()),
            own.is_some_and(|t| !t.items.is_empty()),
        )
    });
    pb::Cause {
        task_id: task.as_ref().map_or_else(String::new, |(id, _)| id.clone()),
        item: match (&task, cause.call) {
            (Some((_, true)), Some(call)) => call.item as i32,
            _ => -1,
        },
        attempt: cause.attempt,
        code: cause.class.as_str().into(),
        message: cause.message.to_string(),
        agent_id: cause.agent.as_deref().unwrap_or_default().into(),
        at: cause.at.rfc3339(),
    }
}

/// A row of a list: without tasks. `place`: in the start queue. Rows are not written with every event: how long an
/// active execution has run follows from `now`.
pub(crate) fn listed(row: &ExecutionRow, place: u32, now: Timestamp) -> pb::Execution {
    let metrics: serde_json::Value = serde_json::from_str(&row.performance_metrics).unwrap_or_default();
    let agents: Vec<String> = serde_json::from_str(&row.allocated_agents).unwrap_or_default();
    let number = |key: &str| metrics[key].as_u64().unwrap_or_default();
    let (use_of, progress) = if row.completed_at.is_some() { ("completed", 1.0) } else { ("assigned", 0.0) };
    pb::Execution {
        execution_id: row.execution_id.to_string(),
        workflow_id: row.workflow_id.to_string(),
        workflow_name: row.workflow_name.clone(),
        workflow_version: row.workflow_version.clone(),
        status: row.status.clone(),
        current_phase: row.current_phase.clone(),
        priority: row.priority,
        agents: agents
            .into_iter()
            .map(|agent_id| pb::AgentUse {
                agent_id,
                status: use_of.into(),
                progress,
                ..pb::AgentUse::default()
            })
            .collect(),
        metrics: Some(pb::Metrics {
            total_runtime_ms: row.completed_at.unwrap_or(now).since(row.started_at).as_millis() as u64,
            agents_allocated: number("agents_allocated") as u32,
            tasks_completed: number("tasks_completed") as u32,
            tasks_total: number("tasks_total") as u32,
            coordination_overhead: metrics["coordination_overhead"].as_f64().unwrap_or_default(),
            agent_time_ms: number("agent_time_ms"),
            retries: number("retries") as u32,
        }),
        created_at: row.started_at.rfc3339(),
        started_at: row.started_at.rfc3339(),
        completed_at: time(row.completed_at),
        correlation_id: row.correlation_id.clone().unwrap_or_default(),
        stuck: row.stuck.iter().map(|stuck| reason(StuckView::read(stuck))).collect(),
        spent: metrics.get("spent").map(|spent| pb::Spending {
            calls: spent["calls"].as_u64().unwrap_or_default(),
            tokens: spent["tokens"].as_u64().unwrap_or_default(),
            money_micros: spent["money_micros"].as_u64().unwrap_or_default(),
        }),
        queue_position: place,
        ..pb::Execution::default()
    }
}

/// An event.
pub(crate) fn event(event: &PublicEvent) -> pb::ExecutionEvent {
    pb::ExecutionEvent {
        r#type: event.kind.into(),
        workflow_id: event.workflow_id.to_string(),
        execution_id: event.execution_id.to_string(),
        seq: event.seq,
        timestamp: event.at.rfc3339(),
        data_json: event.data.to_string(),
    }
}

/// A message of a watch. `cursor` is that of the newest event.
pub(crate) fn watched(watched: &Watched, cursor: String) -> pb::WatchResponse {
    pb::WatchResponse {
        events: watched.events.iter().map(event).collect(),
        cursor,
        ended: watched.ended,
        progress: watched
            .progress
            .iter()
            .map(|(id, task, p)| pb::Progress {
                execution_id: id.to_string(),
                task_id: task.clone(),
                item: p.call.item as i32,
                progress: p.share,
                text: p.text.to_string(),
            })
            .collect(),
    }
}

/// The same without what a caller that has just started it knows or does not ask for: input, tasks, agents, metadata.
fn summary(view: &ExecutionView) -> pb::Execution {
    pb::Execution {
        execution_id: view.id.to_string(),
        workflow_id: view.workflow_id.to_string(),
        workflow_name: view.workflow_name.to_string(),
        workflow_version: view.workflow_version.to_string(),
        status: view.status.as_str().into(),
        current_phase: view.current_phase.clone(),
        priority: view.priority,
        output: view.output.as_ref().map(payload::to_wire),
        metrics: Some(metrics(view)),
        causes: view.causes.iter().map(|c| cause(view, c)).collect(),
        created_at: view.created_at.rfc3339(),
        started_at: time(view.started_at),
        completed_at: time(view.ended_at),
        last_seq: view.last_seq,
        correlation_id: view.correlation_id.to_string(),
        ..pb::Execution::default()
    }
}

/// The answer to a start.
pub(crate) fn started(outcome: &StartOutcome, summary_only: bool) -> pb::StartExecutionResponse {
    let shown = if summary_only { summary } else { execution };
    pb::StartExecutionResponse {
        execution_id: outcome.id.to_string(),
        workflow_id: outcome.workflow_id.to_string(),
        status: outcome.ended.as_ref().map_or("planning", |view| view.status.as_str()).into(),
        allocated_agents: outcome.candidates.iter().map(ToString::to_string).collect(),
        existing: outcome.existing,
        execution: outcome.ended.as_ref().map(|view| shown(view)),
        queue_position: outcome.queue_position,
    }
}

/// Where the next page begins, as text.
pub(crate) fn page_token(next: Option<Cursor>) -> String {
    next.map_or_else(String::new, |c| format!("{}.{}", c.started_at.micros(), c.execution_id))
}

/// Reads a page token.
pub(crate) fn cursor(token: &str) -> Result<Option<Cursor>, Fault> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let (at, id) = token.split_once('.')?;
        let execution_id: ExecutionId = id.parse().ok()?;
        Some(Cursor { started_at: Timestamp::from_micros(at.parse().ok()?), execution_id })
    };
    read().map(Some).ok_or_else(|| Fault::bad("page_token", "is not a token of this list; begin without one"))
}

#[cfg(test)]
mod tests {
    use store::journal::Wake;

    use super::*;

    #[test]
    fn a_listed_execution_that_runs_has_run_until_now_and_one_that_ended_until_its_end() {
        let at = Timestamp::from_millis;
        let mut row = ExecutionRow {
            execution_id: ExecutionId::new(uuid::Uuid::from_u128(7)),
            tenant: base::Tenant::default(),
            workflow_id: base::WorkflowId::from_name(&base::Tenant::default(), "w"),
            workflow_name: "w".into(),
            workflow_version: "1".into(),
            shard: 0,
            status: "executing".into(),
            current_phase: "t".into(),
            priority: 0,
            request_hash: None,
            correlation_id: None,
            started_at: at(1_000),
            wake: Wake::Hot,
            completed_at: None,
            allocated_agents: r#"["a"]"#.into(),
            task_states: "{}".into(),
            // As it was when the row was written.
            performance_metrics: r#"{"total_runtime_ms": 5, "tasks_total": 2}"#.into(),
            stuck: None,
        };
        let shown = |row: &ExecutionRow| {
            let listed = listed(row, 0, at(61_000));
            let agent = &listed.agents[0];
            (listed.metrics.as_ref().unwrap().total_runtime_ms, agent.status.clone(), agent.progress)
        };
        assert_eq!(shown(&row), (60_000, "assigned".into(), 0.0));
        row.completed_at = Some(at(3_000));
        row.status = "completed".into();
        assert_eq!(shown(&row), (2_000, "completed".into(), 1.0));
    }
}
