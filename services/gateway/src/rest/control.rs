//! Commands on running executions beyond pause, resume, cancel and terminate, and what they wait for.

use std::{future::Future, sync::Arc};

use axum::extract::State;
use base::CallContext;
use http::{HeaderMap, StatusCode};
use proto::{
    common::v1::payload::Body,
    executor::v1::{
        self as wire, control_service_client::ControlServiceClient, decide_approval_request::Verdict,
    },
};
use runtime::PeerChannel;
use serde::Deserialize;
use tonic::{Request, Response, Status};
use utoipa::IntoParams;

use super::{Answer, json, ok, start, with_location};
use crate::{
    app::{App, Retry},
    executors::Dialled,
    extract::{Call, Json, MaybeJson, Path, Query, execution_id},
    model::{
        control::{
            ApprovalDecision, ExecutionInsight, ForkRequest, ModeRequest, PlanChange, PlanChanged,
            PlanRevision, PlanRevisions, ResetRequest, SignalRequest, VariablesRequest,
        },
        executions::CommandAnswer,
        start::{StartAnswer, definition},
    },
    payload::{Raw, payload},
    problem::Problem,
};

pub(super) fn client(to: Dialled) -> ControlServiceClient<PeerChannel> {
    ControlServiceClient::new(to.channel)
        .max_decoding_message_size(to.message_max)
        .max_encoding_message_size(to.message_max)
}

/// Sends a command to the executors, which pass it on to the owner.
async fn steer<M, F, Fut>(app: &App, ctx: &CallContext, retry: Retry, message: M, call: F) -> Answer
where
    M: Clone,
    F: Fn(Dialled, Request<M>) -> Fut,
    Fut: Future<Output = Result<Response<wire::CommandExecutionResponse>, Status>>,
{
    let answer = app.executors.call_service(ctx, retry, || message.clone(), call).await?;
    ok(&CommandAnswer::from(answer))
}

/// The contract's name of a field in the words of the request.
fn renamed(mut problem: Problem, theirs: &str, ours: &str) -> Problem {
    if problem.0.field == theirs {
        ours.clone_into(&mut problem.0.field);
    }
    problem
}

/// What else to look at.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InsightQuery {
    /// Path of a task whose output is wanted.
    #[param(example = "improve[2].draft")]
    task: Option<String>,
    /// What to ask the run that a provider makes of the task.
    #[param(example = "state")]
    query: Option<String>,
}

/// Sends a signal. It is kept until a task takes it.
#[utoipa::path(post, path = "/executions/{id}/signals/{name}", tag = "executions", params(("id" = uuid::Uuid, Path), ("name" = String, Path)),
    request_body = Option<SignalRequest>, responses((status = 200, body = CommandAnswer)))]
pub(crate) async fn signal_execution(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path((id, name)): Path<(String, String)>,
    MaybeJson(given): MaybeJson<SignalRequest>,
) -> Answer {
    let message = wire::SignalExecutionRequest {
        execution_id: execution_id(&id)?.to_string(),
        name,
        payload: Some(payload("payload", given.payload)?),
        // Drawn here, so that our own repetition is the same signal.
        id: given.id.filter(|id| !id.is_empty()).unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
        task_id: given.task.unwrap_or_default(),
    };
    let call = async |to, request| client(to).signal_execution(request).await;
    steer(&app, &ctx, Retry::UntilDeadline, message, call).await
}

/// Tells variables, budget, what tasks wait for and why nothing moves; with `task` the output of that task too.
#[utoipa::path(get, path = "/executions/{id}/query", tag = "executions", params(("id" = uuid::Uuid, Path), InsightQuery),
    responses((status = 200, body = ExecutionInsight)))]
pub(crate) async fn query_execution(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Query(query): Query<InsightQuery>,
) -> Answer {
    let message = wire::QueryExecutionRequest {
        execution_id: execution_id(&id)?.to_string(),
        task_id: query.task.unwrap_or_default(),
        query: query.query.unwrap_or_default(),
        arguments: None,
    };
    let call = async |to, request| client(to).query_execution(request).await;
    let answer = app.executors.call_service(&ctx, Retry::Read, || message.clone(), call).await;
    ok(&ExecutionInsight::from(answer.map_err(|problem| renamed(problem, "task_id", "task"))?))
}

/// Sets variables; those that are not named stay.
#[utoipa::path(put, path = "/executions/{id}/variables", tag = "executions", params(("id" = uuid::Uuid, Path)),
    request_body = VariablesRequest, responses((status = 200, body = CommandAnswer)))]
pub(crate) async fn update_variables(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Json(given): Json<VariablesRequest>,
) -> Answer {
    let message = wire::UpdateVariablesRequest {
        execution_id: execution_id(&id)?.to_string(),
        vars: Some(payload("vars", Some(given.vars))?),
    };
    let call = async |to, request| client(to).update_variables(request).await;
    steer(&app, &ctx, Retry::UntilDeadline, message, call).await
}

/// Decides the approval that a task asks for. The first answer counts, a later one changes nothing.
#[utoipa::path(post, path = "/executions/{id}/tasks/{task}/decide", tag = "executions", params(("id" = uuid::Uuid, Path), ("task" = String, Path)),
    request_body = ApprovalDecision, responses((status = 200, body = CommandAnswer)))]
pub(crate) async fn decide_approval(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path((id, task)): Path<(String, String)>,
    Json(given): Json<ApprovalDecision>,
) -> Answer {
    let message = wire::DecideApprovalRequest {
        execution_id: execution_id(&id)?.to_string(),
        task_id: task,
        verdict: Verdict::from(given.verdict).into(),
        comment: given.comment.unwrap_or_default(),
        form: given.form.map(|form| payload("form", Some(form))).transpose()?,
    };
    let call = async |to, request| client(to).decide_approval(request).await;
    steer(&app, &ctx, Retry::UntilDeadline, message, call).await
}

/// Lets a step of the `manual` pattern go on.
#[utoipa::path(post, path = "/executions/{id}/tasks/{task}/step", tag = "executions", params(("id" = uuid::Uuid, Path), ("task" = String, Path)),
    responses((status = 200, body = CommandAnswer)))]
pub(crate) async fn grant_step(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path((id, task)): Path<(String, String)>,
) -> Answer {
    let message = wire::GrantStepRequest { execution_id: execution_id(&id)?.to_string(), task_id: task };
    let call = async |to, request| client(to).grant_step(request).await;
    steer(&app, &ctx, Retry::OnlyRefused, message, call).await
}

/// Lets tasks and all that follows them run again in the same execution. Not once it has ended: fork it then.
#[utoipa::path(post, path = "/executions/{id}/reset", tag = "executions", params(("id" = uuid::Uuid, Path)),
    request_body = ResetRequest, responses((status = 200, body = CommandAnswer)))]
pub(crate) async fn reset_execution(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Json(given): Json<ResetRequest>,
) -> Answer {
    let message = wire::ResetExecutionRequest {
        execution_id: execution_id(&id)?.to_string(),
        task_ids: given.task_ids,
        checkpoint_id: given.checkpoint_id.unwrap_or_default(),
        input: given.input.map(|input| payload("input", Some(input))).transpose()?,
        reason: given.reason.unwrap_or_default(),
    };
    let call = async |to, request| client(to).reset_execution(request).await;
    steer(&app, &ctx, Retry::OnlyRefused, message, call).await
}

/// Starts a new execution that takes over what another one has done, except `task_ids` and all that follows them. With
/// an `id` or `Idempotency-Key` a repeated request is the same execution.
#[utoipa::path(post, path = "/executions/{id}/fork", tag = "executions",
    params(("id" = uuid::Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<ForkRequest>, responses((status = 202, body = StartAnswer)))]
pub(crate) async fn fork_execution(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    headers: HeaderMap,
    MaybeJson(given): MaybeJson<ForkRequest>,
) -> Answer {
    let message = wire::ForkExecutionRequest {
        execution_id: execution_id(&id)?.to_string(),
        task_ids: given.task_ids,
        input: given.input.map(|input| payload("input", Some(input))).transpose()?,
        key: start::key(&headers, given.id)?,
    };
    let retry = if message.key.is_empty() { Retry::OnlyRefused } else { Retry::UntilDeadline };
    let call = async |to, request| client(to).fork_execution(request).await;
    let answer = StartAnswer::from(app.executors.call_service(&ctx, retry, || message.clone(), call).await?);
    Ok(with_location(json(StatusCode::ACCEPTED, &answer), &answer.execution_url))
}

/// Goes on with another plan for what has not run yet. With `dry_run` it only tells what would change. 409 names a task
/// that has run and is not the same in the new plan.
#[utoipa::path(put, path = "/executions/{id}/plan", tag = "executions", params(("id" = uuid::Uuid, Path)),
    request_body = PlanChange, responses((status = 200, body = PlanChanged)))]
pub(crate) async fn change_plan(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Json(given): Json<PlanChange>,
) -> Answer {
    let message = change(execution_id(&id)?.to_string(), given)?;
    let retry = if message.dry_run { Retry::Read } else { Retry::OnlyRefused };
    let call = async |to, request| client(to).change_plan(request).await;
    let answer = app.executors.call_service(&ctx, retry, || message.clone(), call).await;
    ok(&PlanChanged::from(answer.map_err(|problem| renamed(problem, "plan_json", "plan"))?))
}

/// The change as the executor takes it.
fn change(execution_id: String, given: PlanChange) -> Result<wire::ChangePlanRequest, Problem> {
    let message = wire::ChangePlanRequest {
        execution_id,
        reason: given.reason.unwrap_or_default(),
        dry_run: given.dry_run,
        ..wire::ChangePlanRequest::default()
    };
    match (given.workflow, given.definition, given.plan, given.revert_to) {
        (Some(workflow), None, None, None) if !workflow.is_empty() => {
            Ok(wire::ChangePlanRequest { workflow, ..message })
        }
        (None, Some(source), None, None) => {
            let (definition, format) = definition(source)?;
            Ok(wire::ChangePlanRequest { definition, format: format.into(), ..message })
        }
        (None, None, Some(plan), None) => {
            Ok(wire::ChangePlanRequest { plan_json: object("plan", plan)?, ..message })
        }
        (None, None, None, Some(number)) => {
            Ok(wire::ChangePlanRequest { revert_to: Some(number), ..message })
        }
        _ => {
            let rule = "give exactly one of workflow (UUID, name or name@version), definition, plan (as the planner \
                        compiles it), revert_to (a revision)";
            Err(Problem::argument("plan", rule))
        }
    }
}

/// The text of an object.
fn object(field: &str, raw: Raw) -> Result<String, Problem> {
    match payload(field, Some(raw))?.body {
        Some(Body::Json(text)) if text.starts_with('{') => Ok(text),
        _ => Err(Problem::argument(field, format!("{field} must be an object"))),
    }
}

/// Lists the plans that an execution had, oldest first; 0 is that of its workflow's version.
#[utoipa::path(get, path = "/executions/{id}/plan/revisions", tag = "executions", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, body = PlanRevisions)))]
pub(crate) async fn list_revisions(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let message = wire::ListRevisionsRequest { execution_id: execution_id(&id)?.to_string() };
    let call = async |to, request| client(to).list_revisions(request).await;
    let answer = app.executors.call_service(&ctx, Retry::Read, || message.clone(), call).await?;
    ok(&PlanRevisions { revisions: answer.revisions.into_iter().map(PlanRevision::from).collect() })
}

/// Has a task that has not begun driven by events of a topic, or by its edges alone.
#[utoipa::path(post, path = "/executions/{id}/mode", tag = "executions", params(("id" = uuid::Uuid, Path)),
    request_body = ModeRequest, responses((status = 200, body = CommandAnswer)))]
pub(crate) async fn switch_mode(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Json(given): Json<ModeRequest>,
) -> Answer {
    let message = wire::SwitchModeRequest {
        execution_id: execution_id(&id)?.to_string(),
        task_id: given.task_id,
        topic: given.topic.unwrap_or_default(),
    };
    let call = async |to, request| client(to).switch_mode(request).await;
    steer(&app, &ctx, Retry::OnlyRefused, message, call).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_plan_names_exactly_one_plan() {
        for (body, refused) in [
            (r#"{"workflow":"w@2"}"#, None),
            (r#"{"definition":"name: x"}"#, None),
            (r#"{"definition":{"name":"x"},"dry_run":true}"#, None),
            (r#"{"plan":{"tasks":[]}}"#, None),
            (r#"{"revert_to":0}"#, None),
            ("{}", Some("plan")),
            (r#"{"workflow":""}"#, Some("plan")),
            (r#"{"plan":[]}"#, Some("plan")),
            (r#"{"plan":{},"revert_to":1}"#, Some("plan")),
            (r#"{"definition":7}"#, Some("definition")),
        ] {
            let got = change(String::new(), serde_json::from_str(body).unwrap());
            assert_eq!(got.err().map(|p| p.0.field), refused.map(str::to_owned), "{body}");
        }
    }
}
