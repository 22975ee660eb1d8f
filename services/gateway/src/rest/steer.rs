//! Steering executions: pause, resume, cancel, terminate, answer and resolve tasks.

use std::sync::Arc;

use axum::extract::State;
use base::CallContext;
use proto::executor::v1::{self as wire, command_execution_request::Command, resolve_task_request::Decision};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Answer, executions::only_active, ok};
use crate::{
    app::{App, Retry},
    executors::Client,
    extract::{Call, Json, MaybeJson, Path, execution_id},
    model::executions::CommandAnswer,
    payload::{Raw, payload},
    problem::Problem,
};

/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 2000;

/// Why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandRequest {
    /// For people: kept in the history.
    #[schema(max_length = 2000)]
    pub reason: Option<String>,
}

/// Answers a task whose agent asked for input.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskInput {
    /// The answer.
    #[schema(value_type = Value)]
    pub input: Raw,
    /// Item of a scattered task, from 0.
    #[schema(minimum = 0)]
    pub item: Option<i32>,
}

/// Ends a task that waits for a decision: exactly one of `completed`, `failed`, `retry`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolution {
    /// The call did its work; this is its output.
    #[schema(value_type = Value, required = false)]
    pub completed: Option<Raw>,
    /// It did not; the task fails with this message.
    pub failed: Option<String>,
    /// Call again.
    pub retry: Option<bool>,
    /// Item of a scattered task, from 0.
    #[schema(minimum = 0)]
    pub item: Option<i32>,
}

/// Item of a scattered task; -1 = the task itself.
fn item(given: Option<i32>) -> Result<i32, Problem> {
    match given {
        Some(n) if n < 0 => Err(Problem::argument("item", "item must be 0 or more")),
        given => Ok(given.unwrap_or(-1)),
    }
}

async fn command(app: &App, ctx: &CallContext, id: &str, command: Command, why: CommandRequest) -> Answer {
    let id = execution_id(id)?;
    let reason = why.reason.unwrap_or_default();
    if reason.len() > REASON_BYTES_MAX {
        return Err(Problem::argument("reason", format!("reason must be at most {REASON_BYTES_MAX} bytes")));
    }
    let message =
        wire::CommandExecutionRequest { execution_id: id.to_string(), command: command.into(), reason };
    let call = async |mut to: Client, request| to.command_execution(request).await;
    let answer = app.executors.call_owner(ctx, id, Retry::UntilDeadline, || message.clone(), call).await?;
    ok(&CommandAnswer::from(answer))
}

macro_rules! commands {
    ($($(#[$doc:meta])* $execution:ident, $workflow:ident, $path:literal, $workflow_path:literal, $command:ident;)*) => {
        $(
            $(#[$doc])*
            #[utoipa::path(post, path = $path, tag = "executions", params(("id" = uuid::Uuid, Path)),
                request_body = Option<CommandRequest>, responses((status = 200, body = CommandAnswer)))]
            pub(crate) async fn $execution(
                State(app): State<Arc<App>>,
                Call(ctx): Call,
                Path(id): Path<String>,
                MaybeJson(why): MaybeJson<CommandRequest>,
            ) -> Answer {
                command(&app, &ctx, &id, Command::$command, why).await
            }

            /// The same for the only active execution of a workflow; 409 lists them when there are several.
            #[utoipa::path(post, path = $workflow_path, tag = "workflows", params(("id" = String, Path)),
                request_body = Option<CommandRequest>, responses((status = 200, body = CommandAnswer)))]
            pub(crate) async fn $workflow(
                State(app): State<Arc<App>>,
                Call(ctx): Call,
                Path(id): Path<String>,
                MaybeJson(why): MaybeJson<CommandRequest>,
            ) -> Answer {
                let active = only_active(&app, &ctx, &id).await?;
                command(&app, &ctx, &active, Command::$command, why).await
            }
        )*
    };
}

commands! {
    /// Pauses an execution: no new call; running ones finish and are recorded.
    pause_execution, pause_workflow, "/executions/{id}/pause", "/workflows/{id}/pause", Pause;
    /// Lets a paused execution go on.
    resume_execution, resume_workflow, "/executions/{id}/resume", "/workflows/{id}/resume", Resume;
    /// Cancels an execution: agents are told, and it ends when they have answered.
    cancel_execution, cancel_workflow, "/executions/{id}/cancel", "/workflows/{id}/cancel", Cancel;
    /// Terminates an execution at once: agents are told, nobody waits for them.
    terminate_execution, terminate_workflow, "/executions/{id}/terminate", "/workflows/{id}/terminate", Terminate;
}

/// Answers a task whose agent asked for input (`input_required`).
#[utoipa::path(post, path = "/executions/{id}/tasks/{task}/input", tag = "executions", params(("id" = uuid::Uuid, Path), ("task" = String, Path)),
    request_body = TaskInput, responses((status = 200, body = CommandAnswer)))]
pub(crate) async fn answer_task(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path((id, task)): Path<(String, String)>,
    Json(given): Json<TaskInput>,
) -> Answer {
    let id = execution_id(&id)?;
    let message = wire::AnswerTaskRequest {
        execution_id: id.to_string(),
        task_id: task,
        item: item(given.item)?,
        input: Some(payload("input", Some(given.input))?),
    };
    let call = async |mut to: Client, request| to.answer_task(request).await;
    let answer = app.executors.call_owner(&ctx, id, Retry::OnlyRefused, || message.clone(), call).await?;
    ok(&CommandAnswer::from(answer))
}

/// Ends a task that waits for a decision (`needs_decision`): the outcome of its call is unknown and it must not be
/// repeated without one.
#[utoipa::path(post, path = "/executions/{id}/tasks/{task}/resolve", tag = "executions", params(("id" = uuid::Uuid, Path), ("task" = String, Path)),
    request_body = Resolution, responses((status = 200, body = CommandAnswer)))]
pub(crate) async fn resolve_task(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path((id, task)): Path<(String, String)>,
    Json(resolution): Json<Resolution>,
) -> Answer {
    let id = execution_id(&id)?;
    let item = item(resolution.item)?;
    let message = wire::ResolveTaskRequest {
        execution_id: id.to_string(),
        task_id: task,
        item,
        decision: Some(decision(resolution)?),
    };
    let call = async |mut to: Client, request| to.resolve_task(request).await;
    let answer = app.executors.call_owner(&ctx, id, Retry::OnlyRefused, || message.clone(), call).await?;
    ok(&CommandAnswer::from(answer))
}

fn decision(resolution: Resolution) -> Result<Decision, Problem> {
    match (resolution.completed, resolution.failed, resolution.retry) {
        (Some(output), None, None) => Ok(Decision::Completed(payload("completed", Some(output))?)),
        (None, Some(message), None) => Ok(Decision::Failed(message)),
        (None, None, Some(true)) => Ok(Decision::Retry(true)),
        (None, None, Some(false)) => Err(Problem::argument("retry", "retry must be true")),
        _ => {
            let rule =
                "give exactly one of completed (the output; {} for none), failed (a message), retry (true)";
            Err(Problem::argument("completed", rule))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolution_says_exactly_one_thing() {
        for (body, ok) in [
            (r#"{"completed":{"a":1}}"#, true),
            (r#"{"failed":"no"}"#, true),
            (r#"{"retry":true}"#, true),
            (r#"{"retry":false}"#, false),
            ("{}", false),
            (r#"{"completed":1,"retry":true}"#, false),
            (r#"{"completed":null}"#, false),
        ] {
            assert_eq!(decision(serde_json::from_str(body).unwrap()).is_ok(), ok, "{body}");
        }
        assert_eq!((item(None).unwrap(), item(Some(2)).unwrap()), (-1, 2));
        assert!(item(Some(-2)).is_err());
    }
}
