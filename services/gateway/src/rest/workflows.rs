//! Workflows: check, register, explain, read, delete.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use proto::planner::v1 as wire;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Answer, json, ok, page, with_location};
use crate::{
    app::{App, Planner, Retry, ask},
    extract::{Call, Document, Path, Query},
    model::{
        some,
        workflows::{Workflow, WorkflowChecked, WorkflowCreated, WorkflowDeleted, WorkflowPage},
    },
    payload::raw_text,
    problem::Problem,
};

/// What a definition is called in findings.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Named {
    /// Name of the file, shown in findings: `research.yaml`.
    pub(crate) file: Option<String>,
}

/// Which workflows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WorkflowFilter {
    /// Items wanted; default 50, at most 500 unless configured.
    #[param(minimum = 1)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
    /// Names that start with this.
    name_prefix: Option<String>,
    /// `supervisor`, `hierarchical`, …
    orchestration_pattern: Option<String>,
    /// Has this tag.
    tag: Option<String>,
}

/// Registers a definition, in any of the dialects, as JSON or YAML: it is checked and stored as an immutable version.
#[utoipa::path(post, path = "/workflows", tag = "workflows", params(Named),
    request_body(content((Value = "application/json"), (String = "application/yaml"))), responses((status = 201, body = WorkflowCreated)))]
pub(crate) async fn create_workflow(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(named): Query<Named>,
    document: Document,
) -> Answer {
    let message = wire::CreateWorkflowRequest {
        source: document.text,
        format: document.format.into(),
        file_name: named.file.unwrap_or_default(),
    };
    let call = async |mut to: Planner, request| to.create_workflow(request).await;
    let answer = WorkflowCreated::from(ask(&app.planner, &ctx, Retry::UntilDeadline, message, call).await?);
    let location = format!("/api/v1/workflows/{}", answer.workflow_id);
    Ok(with_location(json(StatusCode::CREATED, &answer), &location))
}

/// Checks a definition without storing it. Findings are the answer, not an error.
#[utoipa::path(post, path = "/workflows/validate", tag = "workflows", params(Named),
    request_body(content((Value = "application/json"), (String = "application/yaml"))), responses((status = 200, body = WorkflowChecked)))]
pub(crate) async fn validate_workflow(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(named): Query<Named>,
    document: Document,
) -> Answer {
    let message = wire::ValidateWorkflowRequest {
        source: document.text,
        format: document.format.into(),
        file_name: named.file.unwrap_or_default(),
    };
    let call = async |mut to: Planner, request| to.validate_workflow(request).await;
    ok(&WorkflowChecked::from(ask(&app.planner, &ctx, Retry::Read, message, call).await?))
}

/// Explains the plan of a definition that is not stored: levels, critical path, estimates, candidate agents.
#[utoipa::path(post, path = "/workflows/plan", tag = "workflows", params(Named),
    request_body(content((Value = "application/json"), (String = "application/yaml"))), responses((status = 200, body = Value)))]
pub(crate) async fn plan_definition(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(named): Query<Named>,
    document: Document,
) -> Answer {
    let message = wire::ExplainPlanRequest {
        source: document.text,
        format: document.format.into(),
        file_name: named.file.unwrap_or_default(),
        r#ref: String::new(),
    };
    plan(&app, &ctx, message).await
}

/// Explains the plan of a stored workflow. `{id}` is a UUID, a name or `name@version`.
#[utoipa::path(get, path = "/workflows/{id}/plan", tag = "workflows", params(("id" = String, Path)), responses((status = 200, body = Value)))]
pub(crate) async fn plan_workflow(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    plan(&app, &ctx, wire::ExplainPlanRequest { r#ref: id, ..Default::default() }).await
}

async fn plan(app: &App, ctx: &base::CallContext, message: wire::ExplainPlanRequest) -> Answer {
    let call = async |mut to: Planner, request| to.explain_plan(request).await;
    let answer = ask(&app.planner, ctx, Retry::Read, message, call).await?;
    ok(&raw_text(answer.plan_json))
}

/// Lists workflows by name: the newest version of each.
#[utoipa::path(get, path = "/workflows", tag = "workflows", params(WorkflowFilter), responses((status = 200, body = WorkflowPage)))]
pub(crate) async fn list_workflows(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(filter): Query<WorkflowFilter>,
) -> Answer {
    let message = wire::ListWorkflowsRequest {
        page: Some(page(&app.limits, filter.page_size, filter.page_token)?),
        name_prefix: filter.name_prefix.unwrap_or_default(),
        orchestration_pattern: filter.orchestration_pattern.unwrap_or_default(),
        tag: filter.tag.unwrap_or_default(),
    };
    let call = async |mut to: Planner, request| to.list_workflows(request).await;
    let answer = ask(&app.planner, &ctx, Retry::Read, message, call).await?;
    let workflows = answer.workflows.into_iter().map(Workflow::listed).collect();
    ok(&WorkflowPage { workflows, next_page_token: some(answer.next_page_token) })
}

/// Shows a workflow. `{id}` is a UUID, a name (the newest version) or `name@version`.
#[utoipa::path(get, path = "/workflows/{id}", tag = "workflows", params(("id" = String, Path)), responses((status = 200, body = Workflow)))]
pub(crate) async fn get_workflow(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    ok(&Workflow::from(find(&app, &ctx, &id).await?))
}

/// The workflow that `id` names.
pub(crate) async fn find(app: &App, ctx: &base::CallContext, id: &str) -> Result<wire::Workflow, Problem> {
    let call = async |mut to: Planner, request| to.get_workflow(request).await;
    ask(&app.planner, ctx, Retry::Read, wire::GetWorkflowRequest { r#ref: id.to_owned() }, call).await
}

/// Deletes a workflow with all its versions, or one version (`name@version`). Refused (409) while executions are active.
#[utoipa::path(delete, path = "/workflows/{id}", tag = "workflows", params(("id" = String, Path)), responses((status = 200, body = WorkflowDeleted)))]
pub(crate) async fn delete_workflow(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let call = async |mut to: Planner, request| to.delete_workflow(request).await;
    let message = wire::DeleteWorkflowRequest { r#ref: id };
    let answer = ask(&app.planner, &ctx, Retry::OnlyRefused, message, call).await?;
    ok(&WorkflowDeleted { versions_deleted: answer.versions_deleted })
}
