//! Facts as people and other services see them: the messages of history, watches, WebSocket and streams.

mod more;

use std::sync::Arc;

use base::{ExecutionId, Timestamp, WorkflowId, time::show_duration};
use serde_json::{Value, json};
use workflow::{CallKey, Event, Kind, State};

/// Outputs above this size are left out of live messages; the status has them.
const OUTPUT_BYTES_MAX: usize = 16 * 1024;

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicEvent {
    /// `workflow.status_changed`, `task.started`, …
    pub kind: &'static str,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// The execution.
    pub execution_id: ExecutionId,
    /// Number of the fact behind it; two messages of one fact share it.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The type's own fields.
    pub data: Arc<Value>,
}

/// The messages of the event number `seq`. `state` is the state after it.
pub(crate) fn present(state: &State, seq: u64, event: &Event) -> Vec<PublicEvent> {
    let message = |kind, data| PublicEvent {
        kind,
        workflow_id: state.created().workflow_id,
        execution_id: state.id(),
        seq,
        at: event.at,
        data: Arc::new(data),
    };
    let status =
        |to: &str, more: Value| message("workflow.status_changed", merged(json!({"status": to}), more));
    match &event.kind {
        Kind::Created(c) => vec![message("workflow.execution_started", {
            let mut data = json!({
                "status": "planning",
                "workflow": format!("{}@{}", c.workflow_name, c.workflow_version),
                "orchestration_pattern": state.plan().plan().pattern,
                "estimated_duration": c.estimated.as_secs(),
                "allocated_agents": c.candidates,
                "priority": c.priority,
                "session_id": (!c.settings.session.is_empty()).then_some(&*c.settings.session),
                "session_restored": restored(&c.settings),
            });
            if !c.correlation_id.is_empty() {
                data["correlation_id"] = (&*c.correlation_id).into();
            }
            data
        })],
        Kind::Admitted => vec![status("executing", json!({"previous": "planning"}))],
        Kind::TaskScheduled { task, items, width, .. } => {
            vec![message(
                "task.scheduled",
                json!({"task_id": id(state, *task), "items": items, "width": width}),
            )]
        }
        Kind::TaskSkipped { task, reason } => {
            vec![message("task.skipped", json!({"task_id": id(state, *task), "reason": reason.as_str()}))]
        }
        Kind::AttemptStarted { call, attempt, to, .. } => {
            let plan = state.task_plan(call.task);
            let before: Vec<String> = state.before(call.task).into_iter().map(|t| id(state, t)).collect();
            let assigned = json!({
                "agent_id": to.agent, "instance_id": &*to.instance, "attempt": attempt, "reason": &*to.reason,
                "dependencies": before, "estimated_duration": plan.expected.unwrap_or_default().as_secs(),
            });
            let started = json!({"agent_id": to.agent, "attempt": attempt});
            vec![
                message("agent.assigned", of_call(state, *call, assigned)),
                message("task.started", of_call(state, *call, started)),
            ]
        }
        Kind::AttemptBound { call, agent_task_id, .. } => {
            vec![message("task.accepted", of_call(state, *call, json!({"agent_task_id": &**agent_task_id})))]
        }
        Kind::AttemptAdopted { call, caller } => {
            vec![message("task.recovered", of_call(state, *call, json!({"by": &*caller.member})))]
        }
        Kind::AttemptFailed { call, class, message: text, retry_at, outcome_known, .. } => {
            let data = json!({
                "code": class.as_str(), "message": &**text, "outcome_known": outcome_known,
                "attempt": attempt_of(state, *call, event.at),
                "retry_at": retry_at.map(Timestamp::rfc3339),
            });
            vec![message("error.occurred", of_call(state, *call, data))]
        }
        Kind::ItemCompleted { call, output, call_us } => {
            let data = json!({"duration_ms": call_us / 1000, "output": small(output)});
            vec![message("task.item_completed", of_call(state, *call, data))]
        }
        Kind::TaskCompleted { task, output, .. } => {
            let own = &state.tasks()[*task as usize];
            let took = own.scheduled_at.map_or(0, |from| event.at.since(from).as_millis() as u64);
            let output = output.as_ref().or(own.output.as_ref()).and_then(small);
            let data = json!({
                "task_id": id(state, *task), "capability": capability(state, *task), "duration_ms": took,
                "output": output,
            });
            vec![message("task.completed", data)]
        }
        Kind::TaskFailed { call, class, message: text, tolerated, .. } => {
            let data = json!({
                "code": class.as_str(), "message": &**text, "final": true, "tolerated": tolerated,
                "capability": capability(state, call.task),
            });
            vec![message("error.occurred", of_call(state, *call, data))]
        }
        Kind::InputRequired { call, prompt, .. } => {
            vec![message("task.input_required", of_call(state, *call, json!({"prompt": small(prompt)})))]
        }
        Kind::InputProvided { call, by, .. } => {
            vec![message("task.input_provided", of_call(state, *call, json!({"by": &**by})))]
        }
        Kind::NeedsDecision { call, message: text } => {
            vec![message("task.needs_decision", of_call(state, *call, json!({"message": &**text})))]
        }
        Kind::DecisionMade { call, decision, by, message: text } => {
            let decision = match decision {
                workflow::Decision::Completed => "completed",
                workflow::Decision::Failed => "failed",
                workflow::Decision::Retry => "retry",
            };
            let data = json!({"decision": decision, "by": &**by, "message": &**text});
            vec![message("task.decided", of_call(state, *call, data))]
        }
        Kind::NoAgent { call, reason } => {
            vec![message("task.waiting", of_call(state, *call, json!({"reason": &**reason})))]
        }
        Kind::Paused { by, reason, checkpoint } => vec![
            message("checkpoint.created", checkpoint_data(state, &checkpoint.to_string())),
            status(
                "paused",
                json!({"by": &**by, "reason": &**reason, "checkpoint_id": checkpoint.to_string()}),
            ),
        ],
        Kind::Resumed { by } => vec![status("executing", json!({"by": &**by, "previous": "paused"}))],
        Kind::Completed { output } => vec![status("completed", json!({"output": small(output)}))],
        Kind::Failed { class, message: text } => vec![
            message("error.occurred", json!({"code": class.as_str(), "message": &**text, "final": true})),
            status("failed", json!({"code": class.as_str(), "message": &**text})),
        ],
        Kind::Cancelled { by, reason } => {
            vec![status("cancelled", json!({"by": &**by, "reason": &**reason}))]
        }
        Kind::Terminated { by, reason } => {
            vec![status("terminated", json!({"by": &**by, "reason": &**reason}))]
        }
        Kind::Checkpoint { checkpoint } => {
            vec![message("checkpoint.created", checkpoint_data(state, &checkpoint.to_string()))]
        }
        Kind::LateResult { call, what } => {
            vec![message("task.late_result", of_call(state, *call, json!({"what": &**what})))]
        }
        Kind::HistoryWarning { events, bytes } => {
            vec![message("history.warning", json!({"events": events, "bytes": bytes}))]
        }
        other => more::present(state, other, &message),
    }
}

/// The name that a message has on the streams, where it differs.
pub(crate) fn stream_name(kind: &'static str) -> &'static str {
    match kind {
        "agent.assigned" => "agent.task_assigned",
        "checkpoint.created" => "workflow.checkpoint_created",
        other => other,
    }
}

fn id(state: &State, task: u32) -> String {
    state.task_path(task)
}

/// Whether a session with content was loaded.
fn restored(settings: &workflow::Settings) -> bool {
    let holds = |part: &Option<base::Payload>| {
        part.as_ref().is_some_and(|p| !matches!(p.bytes().as_ref(), b"{}" | b"[]" | b"null"))
    };
    !settings.session.is_empty() && (holds(&settings.vars) || holds(&settings.history))
}

/// The skill that the task asks for, when it names one.
fn capability(state: &State, task: u32) -> Option<&str> {
    state.need(task).capability.as_deref()
}

fn of_call(state: &State, call: CallKey, more: Value) -> Value {
    let scattered = state.tasks().get(call.task as usize).is_some_and(|t| t.scattered);
    let own = match scattered {
        true => json!({"task_id": id(state, call.task), "item": call.item}),
        false => json!({"task_id": id(state, call.task)}),
    };
    merged(own, more)
}

/// Which attempt failed at `at`: the next one may have begun in the same group.
pub(super) fn attempt_of(state: &State, call: CallKey, at: Timestamp) -> Option<u32> {
    let cause = state.causes().iter().rev().find(|c| c.call == Some(call) && c.at == at);
    cause.map(|c| c.attempt).or_else(|| state.call(call).map(|c| c.attempt))
}

fn merged(mut first: Value, second: Value) -> Value {
    if let (Value::Object(a), Value::Object(b)) = (&mut first, second) {
        a.extend(b);
    }
    first
}

fn small(payload: &base::Payload) -> Option<Value> {
    if payload.len() > OUTPUT_BYTES_MAX { None } else { payload.json().map(|v| (*v).clone()) }
}

/// What a checkpoint says: where every task stands, and how to go on from here.
pub(crate) fn checkpoint_data(state: &State, checkpoint: &str) -> Value {
    json!({
        "checkpoint_id": checkpoint,
        "state_snapshot": snapshot(state),
        "recovery_instructions": {
            "resume": format!("POST /api/v1/executions/{}/resume", state.id()),
            "from_seq": state.seq(),
            "open_calls": state.open_calls().count(),
            "note": "running calls finish and are recorded; nothing that completed runs again",
        },
    })
}

/// Where every task stands, in short.
pub(crate) fn snapshot(state: &State) -> Value {
    let tasks: serde_json::Map<String, Value> = state
        .tasks()
        .iter()
        .zip(0..)
        .map(|(task, index)| (state.task_path(index), Value::from(task.state_text())))
        .collect();
    json!({
        "status": state.status().as_str(),
        "seq": state.seq(),
        "tasks": tasks,
        "runtime": show_duration(std::time::Duration::from_millis(state.runtime(state.time()).as_millis() as u64)),
    })
}
