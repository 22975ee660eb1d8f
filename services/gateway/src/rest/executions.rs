//! Executions: read.

use std::sync::Arc;

use axum::extract::State;
use base::{CallContext, ErrorCode};
use proto::executor::v1 as wire;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Answer, ok, page, start, workflows};
use crate::{
    app::{App, Retry},
    executors::Client,
    extract::{Call, Path, Query, execution_id},
    model::{
        executions::{Event, Execution, ExecutionPage, History, WorkflowStatus},
        some,
    },
    problem::Problem,
};

/// Most events of one page of history.
const HISTORY_PAGE_MAX: u32 = 1000;
const STATUSES: [&str; 10] = [
    "planning",
    "executing",
    "paused",
    "completed",
    "failed",
    "cancelled",
    "terminated",
    "compensating",
    "compensated",
    "all",
];

/// Which executions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExecutionFilter {
    /// Items wanted; default 50, at most 500 unless configured.
    #[param(minimum = 1)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
    /// Statuses, with commas between; `all` for every one. Default: the active ones, with `correlation_id` every one.
    #[param(example = "completed,failed")]
    status: Option<String>,
    /// UUID, name or `name@version` of a workflow.
    workflow: Option<String>,
    /// What the start said in `X-Correlation-Id`.
    correlation_id: Option<String>,
    /// Only those in which nothing goes on for `executor.stuck_after`; each says why in `stuck`.
    #[serde(default)]
    stuck: bool,
    /// Only those in which nothing goes on for one of these reasons, with commas between; implies `stuck`.
    #[param(example = "no_agent,approval")]
    stuck_reason: Option<String>,
}

/// How to look at an execution.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Look {
    /// Wait for the end up to this time (`30s`) before answering.
    wait: Option<String>,
    /// Leave out tasks and their outputs.
    #[serde(default)]
    summary: bool,
}

/// Which part of a history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// Events after this sequence number.
    #[serde(default)]
    after: u64,
    /// Events wanted, 1 to 1000; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Lists executions, newest first; active ones unless `status` says otherwise.
#[utoipa::path(get, path = "/executions", tag = "executions", params(ExecutionFilter), responses((status = 200, body = ExecutionPage)))]
pub(crate) async fn list_executions(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(filter): Query<ExecutionFilter>,
) -> Answer {
    let message = wire::ListExecutionsRequest {
        page: Some(page(&app.limits, filter.page_size, filter.page_token)?),
        statuses: statuses(filter.status.as_deref().unwrap_or_default())?,
        workflow: filter.workflow.unwrap_or_default(),
        correlation_id: filter.correlation_id.unwrap_or_default(),
        stuck: filter.stuck,
        stuck_reasons: words(filter.stuck_reason.as_deref().unwrap_or_default()).map(str::to_owned).collect(),
    };
    let answer = list(&app, &ctx, message).await?;
    let executions = answer.executions.into_iter().map(Execution::from).collect();
    ok(&ExecutionPage { executions, next_page_token: some(answer.next_page_token) })
}

/// Words with commas between.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|s| !s.is_empty())
}

fn statuses(text: &str) -> Result<Vec<String>, Problem> {
    words(text)
        .map(|status| {
            if STATUSES.contains(&status) {
                return Ok(status.to_owned());
            }
            let near = base::finding::nearest(status, STATUSES);
            let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
            let known = STATUSES.join(", ");
            Err(Problem::argument("status", format!("status {status:?} is not one of {known}{hint}")))
        })
        .collect()
}

/// A page of executions.
pub(crate) async fn list(
    app: &App,
    ctx: &CallContext,
    message: wire::ListExecutionsRequest,
) -> Result<wire::ListExecutionsResponse, Problem> {
    let call = async |mut to: Client, request| to.list_executions(request).await;
    app.executors.call_any(ctx, Retry::Read, || message.clone(), call).await
}

/// Shows an execution, its tasks included.
#[utoipa::path(get, path = "/executions/{id}", tag = "executions", params(("id" = uuid::Uuid, Path), Look), responses((status = 200, body = Execution)))]
pub(crate) async fn get_execution(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Query(look): Query<Look>,
) -> Answer {
    let wait = start::wait(&app, look.wait.as_deref())?;
    let ctx = start::waiting(&app, ctx, wait);
    ok(&Execution::from(get(&app, &ctx, &id, wait, look.summary).await?))
}

/// The execution called `id`.
pub(crate) async fn get(
    app: &App,
    ctx: &CallContext,
    id: &str,
    wait: std::time::Duration,
    summary_only: bool,
) -> Result<wire::Execution, Problem> {
    let id = execution_id(id)?;
    let message = wire::GetExecutionRequest {
        execution_id: id.to_string(),
        wait_ms: start::millis(wait),
        summary_only,
    };
    let call = async |mut to: Client, request| to.get_execution(request).await;
    app.executors.call_owner(ctx, id, Retry::Read, || message.clone(), call).await
}

/// The events of an execution, oldest first.
#[utoipa::path(get, path = "/executions/{id}/history", tag = "executions", params(("id" = uuid::Uuid, Path), Part), responses((status = 200, body = History)))]
pub(crate) async fn get_history(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Query(part): Query<Part>,
) -> Answer {
    let id = execution_id(&id)?;
    let limit = part.limit.unwrap_or_default();
    if part.limit == Some(0) || limit > HISTORY_PAGE_MAX {
        return Err(Problem::argument("limit", format!("limit must be 1 to {HISTORY_PAGE_MAX}")));
    }
    let message = wire::GetHistoryRequest { execution_id: id.to_string(), after_seq: part.after, limit };
    let call = async |mut to: Client, request| to.get_history(request).await;
    let answer = app.executors.call_owner(&ctx, id, Retry::Read, || message.clone(), call).await?;
    let next_after = answer.events.last().map_or(part.after, |event| event.seq);
    let events = answer.events.into_iter().map(Event::from).collect();
    ok(&History { execution_id: id.to_string(), events, more: answer.more, next_after })
}

/// The status of a workflow: of its newest execution.
#[utoipa::path(get, path = "/workflows/{id}/status", tag = "workflows", params(("id" = String, Path)), responses((status = 200, body = WorkflowStatus)))]
pub(crate) async fn workflow_status(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let newest = newest(&app, &ctx, &id).await?;
    let execution = get(&app, &ctx, &newest.execution_id, std::time::Duration::ZERO, false).await?;
    ok(&WorkflowStatus::from(execution))
}

/// The newest execution of a workflow, in any status.
async fn newest(app: &App, ctx: &CallContext, workflow: &str) -> Result<wire::Execution, Problem> {
    let message = wire::ListExecutionsRequest {
        page: Some(proto::common::v1::PageRequest { page_size: 1, page_token: String::new() }),
        statuses: vec!["all".into()],
        workflow: workflow.to_owned(),
        ..Default::default()
    };
    if let Some(newest) = list(app, ctx, message).await?.executions.into_iter().next() {
        return Ok(newest);
    }
    // Says so when it is the workflow that is not there.
    workflows::find(app, ctx, workflow).await?;
    Err(Problem::new(ErrorCode::NotFound, format!("workflow {workflow} has no executions")))
}

/// The only active execution of a workflow: what a command to the workflow means.
pub(crate) async fn only_active(app: &App, ctx: &CallContext, workflow: &str) -> Result<String, Problem> {
    const SHOWN_MAX: i32 = 20;
    let message = wire::ListExecutionsRequest {
        page: Some(proto::common::v1::PageRequest { page_size: SHOWN_MAX, page_token: String::new() }),
        workflow: workflow.to_owned(),
        ..Default::default()
    };
    let mut active: Vec<String> =
        list(app, ctx, message).await?.executions.into_iter().map(|e| e.execution_id).collect();
    match active.len() {
        1 => Ok(active.swap_remove(0)),
        0 => {
            let last = newest(app, ctx, workflow).await?;
            let detail = format!(
                "workflow {workflow} has no active execution; the newest, {}, is {}",
                last.execution_id, last.status
            );
            Err(Problem::new(ErrorCode::InvalidState, detail).related(vec![last.execution_id]))
        }
        n => {
            let detail = format!(
                "workflow {workflow} has {n} active executions or more; name one of them at /api/v1/executions/{{id}}"
            );
            Err(Problem::new(ErrorCode::Conflict, detail).related(active))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_status_names_the_nearest() {
        assert_eq!(statuses("completed, failed").unwrap(), ["completed", "failed"]);
        assert!(statuses("").unwrap().is_empty());
        let refused = statuses("complete").unwrap_err().0;
        assert!(refused.message.contains("did you mean \"completed\"?"), "{refused}");
    }
}
