//! The contracts: decode, ask the app, encode. The only place that names tonic.

mod patterns;

use std::sync::Arc;

use api::{Fault, status::finding_to_wire};
use base::{ErrorCode, Finding, Tenant};
use language::Format;
use proto::planner::{
    internal::v1::{
        GetPlanRequest, GetPlanResponse, ListPlanTriggersRequest, ListPlanTriggersResponse, PlanTriggers,
        planner_internal_service_server::PlannerInternalService,
    },
    v1::{
        CreateWorkflowRequest, CreateWorkflowResponse, DeleteWorkflowRequest, DeleteWorkflowResponse,
        ExplainPlanRequest, ExplainPlanResponse, GetWorkflowRequest, ListWorkflowsRequest,
        ListWorkflowsResponse, ValidateWorkflowRequest, ValidateWorkflowResponse, Workflow,
        planner_service_server::PlannerService,
    },
};
use runtime::call::context;
use serde_json::{Value, json};
use store::planner::{WorkflowFilter, WorkflowVersion};
use tonic::{Request, Response, Status};
use workflow::plan::Plan;

use crate::{
    app::{App, Given, Named, edition_of},
    error::PlannerError,
};

const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 1000;

/// Both services of the planner.
#[derive(Clone)]
pub(crate) struct Planner(Arc<App>);

impl Planner {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

fn to_status(error: PlannerError) -> Status {
    let text = error.to_string();
    let fault = match error {
        PlannerError::Rejected { code, findings } => Fault::new(code, text).findings(errors_first(findings)),
        PlannerError::BadRequest { field, rule } => Fault::bad(field, rule),
        PlannerError::NotFound(_) => Fault::new(ErrorCode::NotFound, text),
        PlannerError::Exists { .. } => Fault::new(ErrorCode::AlreadyExists, text),
        PlannerError::Active { executions, .. } => {
            Fault::new(ErrorCode::InvalidState, text).related(executions)
        }
        PlannerError::NoPattern(_) => Fault::new(ErrorCode::NotFound, text),
        PlannerError::BuiltIn(_) => Fault::new(ErrorCode::InvalidState, text),
        PlannerError::PatternUsed { by, .. } => Fault::new(ErrorCode::InvalidState, text).related(by),
        PlannerError::Full { .. } => Fault::new(ErrorCode::ResourceExhausted, text),
        PlannerError::ExecutorAway => Fault::unavailable(text),
        PlannerError::Store(cause) => {
            // The cause may name hosts or tables: log it, tell the caller only to retry.
            tracing::error!(error = %cause, "the planner's store failed");
            Fault::unavailable("the planner's store does not answer: try again")
        }
        PlannerError::Internal => Fault::internal(),
    };
    fault.into()
}

/// A status has room for some findings only: those that refuse come first.
fn errors_first(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn given(source: String, format: &str) -> Result<Given, PlannerError> {
    let format = match format {
        "" => None,
        text => Some(Format::parse(text).ok_or_else(|| PlannerError::BadRequest {
            field: "format",
            rule: format!("{text:?} is not a format: write yaml or json, or leave it out"),
        })?),
    };
    Ok(Given { source, format })
}

fn to_wire(row: WorkflowVersion, versions: Vec<String>) -> Workflow {
    Workflow {
        workflow_id: row.workflow_id.to_string(),
        name: row.name,
        version: row.version,
        orchestration_pattern: row.orchestration_pattern,
        content_hash: row.content_hash,
        source: row.source,
        format: row.format,
        dialect: row.dialect,
        definition_json: row.definition,
        created_at: row.created_at.rfc3339(),
        updated_at: row.updated_at.rfc3339(),
        versions,
        tasks: row.tasks,
    }
}

fn findings_to_wire(findings: &[Finding]) -> Vec<proto::common::v1::Finding> {
    findings.iter().map(finding_to_wire).collect()
}

/// What starts executions, as JSON; `None`: nothing does.
fn triggers_of(plan: &str) -> Option<String> {
    let plan: Value = serde_json::from_str(plan).ok()?;
    let triggers = plan.get("triggers")?.as_array().filter(|list| !list.is_empty())?;
    serde_json::to_string(triggers).ok()
}

impl Planner {
    async fn triggers(&self, known: &str) -> Result<ListPlanTriggersResponse, PlannerError> {
        // Read first: what is stored meanwhile makes the next answer another one.
        let state = self.0.store.state().await?;
        if state == known {
            return Ok(ListPlanTriggersResponse { state, unchanged: true, plans: Vec::new() });
        }
        let found = self.0.store.with_triggers().await?.into_iter();
        let plans = found.filter_map(|(tenant, workflow, version, plan)| {
            let triggers_json = triggers_of(&plan)?;
            Some(PlanTriggers { tenant: tenant.to_string(), workflow, version, triggers_json })
        });
        Ok(ListPlanTriggersResponse { state, unchanged: false, plans: plans.collect() })
    }
}

fn plan_of(row: &WorkflowVersion) -> Result<Plan, PlannerError> {
    serde_json::from_str(&row.plan).map_err(|error| {
        tracing::error!(workflow = %row.name, version = %row.version, %error, "a stored plan cannot be read");
        PlannerError::Internal
    })
}

impl Planner {
    async fn created(&self, tenant: &Tenant, given: &Given) -> Result<CreateWorkflowResponse, PlannerError> {
        let stored = self.0.create(tenant, given).await?;
        Ok(CreateWorkflowResponse {
            workflow: Some(to_wire(stored.version, Vec::new())),
            status: "validated".into(),
            findings: findings_to_wire(&stored.findings),
            estimated_resources_json: stored.analysis.resources_json().to_string(),
        })
    }

    async fn explained(
        &self,
        tenant: &Tenant,
        request: ExplainPlanRequest,
    ) -> Result<ExplainPlanResponse, PlannerError> {
        let (plan, findings) = if request.source.is_empty() {
            let named = Named::parse(tenant, &request.r#ref)?;
            let row = self.0.get(tenant, &named).await?;
            // What the fleet lacks may have changed since it was stored.
            let given = Given { source: row.source.clone(), format: Format::parse(&row.format) };
            let known = self.0.known_to(tenant, &row.name, &row.version).await?;
            let checked = self.0.compile(tenant, &given, known).await?;
            (plan_of(&row)?, checked.outcome.findings)
        } else {
            let outcome = self.0.check(tenant, &given(request.source, &request.format)?).await?.outcome;
            let code = outcome.error_code().unwrap_or(ErrorCode::InvalidDefinition);
            match outcome.compiled {
                Some(compiled) => (compiled.plan, outcome.findings),
                None => return Err(PlannerError::Rejected { code, findings: outcome.findings }),
            }
        };
        let mut explained = self.0.explain(tenant, &plan);
        explained["findings"] = findings.iter().map(|finding| json!(finding)).collect::<Value>();
        Ok(ExplainPlanResponse { plan_json: explained.to_string(), findings: findings_to_wire(&findings) })
    }

    async fn listed(
        &self,
        tenant: &Tenant,
        request: ListWorkflowsRequest,
    ) -> Result<ListWorkflowsResponse, PlannerError> {
        let page = request.page.unwrap_or_default();
        let bad = |field, rule: String| PlannerError::BadRequest { field, rule };
        let size = match u32::try_from(page.page_size) {
            Ok(0) => PAGE_DEFAULT,
            Ok(size) if size <= PAGE_MAX => size,
            _ => {
                return Err(bad(
                    "page.page_size",
                    format!("must be 1 to {PAGE_MAX}, or 0 for {PAGE_DEFAULT}"),
                ));
            }
        };
        let after = match page.page_token.as_str() {
            "" => None,
            token => match token.strip_prefix("n:") {
                Some(name) if base::ids::check_key("name", name).is_ok() => Some(name),
                _ => {
                    return Err(bad(
                        "page.page_token",
                        "is not a token of this list: start without one".into(),
                    ));
                }
            },
        };
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let filter = WorkflowFilter {
            tenant: tenant.clone(),
            name_prefix: some(request.name_prefix),
            orchestration_pattern: some(request.orchestration_pattern),
            tag: some(request.tag),
        };
        let (rows, next) = self.0.list(&filter, after, size).await?;
        Ok(ListWorkflowsResponse {
            workflows: rows.into_iter().map(|row| to_wire(row, Vec::new())).collect(),
            next_page_token: next.map(|name| format!("n:{name}")).unwrap_or_default(),
        })
    }

    async fn got(&self, tenant: &Tenant, named: &str) -> Result<Workflow, PlannerError> {
        let named = Named::parse(tenant, named)?;
        let row = self.0.get(tenant, &named).await?;
        let versions = self.0.versions(tenant, named.workflow).await?;
        Ok(to_wire(row, versions))
    }

    async fn planned(
        &self,
        tenant: &Tenant,
        request: GetPlanRequest,
    ) -> Result<GetPlanResponse, PlannerError> {
        let row = if request.inline_source.is_empty() {
            let named = Named::parse(tenant, &request.r#ref)?;
            let known = request.known_edition;
            if !known.is_empty() && *self.0.edition(tenant, &named).await? == *known {
                return Ok(GetPlanResponse { unchanged: true, edition: known, ..GetPlanResponse::default() });
            }
            self.0.get(tenant, &named).await?
        } else {
            let given = given(request.inline_source, &request.inline_format)?;
            self.0.inline(tenant, &given, !request.compile_only).await?
        };
        Ok(GetPlanResponse {
            edition: edition_of(&row),
            unchanged: false,
            workflow_id: row.workflow_id.to_string(),
            name: row.name,
            version: row.version,
            plan_json: row.plan,
            findings: Vec::new(),
        })
    }
}

#[tonic::async_trait]
impl PlannerService for Planner {
    async fn create_workflow(
        &self,
        request: Request<CreateWorkflowRequest>,
    ) -> Result<Response<CreateWorkflowResponse>, Status> {
        let tenant = context(&request).tenant;
        let request = request.into_inner();
        let given = given(request.source, &request.format).map_err(to_status)?;
        self.created(&tenant, &given).await.map(Response::new).map_err(to_status)
    }

    async fn validate_workflow(
        &self,
        request: Request<ValidateWorkflowRequest>,
    ) -> Result<Response<ValidateWorkflowResponse>, Status> {
        let tenant = context(&request).tenant;
        let request = request.into_inner();
        let given = given(request.source, &request.format).map_err(to_status)?;
        let outcome = self.0.check(&tenant, &given).await.map_err(to_status)?.outcome;
        Ok(Response::new(ValidateWorkflowResponse {
            valid: outcome.compiled.is_some(),
            findings: findings_to_wire(&outcome.findings),
            rendered: language::render(&outcome.findings, &request.file_name, &given.source),
        }))
    }

    async fn get_workflow(&self, request: Request<GetWorkflowRequest>) -> Result<Response<Workflow>, Status> {
        let tenant = context(&request).tenant;
        self.got(&tenant, &request.into_inner().r#ref).await.map(Response::new).map_err(to_status)
    }

    async fn list_workflows(
        &self,
        request: Request<ListWorkflowsRequest>,
    ) -> Result<Response<ListWorkflowsResponse>, Status> {
        let tenant = context(&request).tenant;
        self.listed(&tenant, request.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn delete_workflow(
        &self,
        request: Request<DeleteWorkflowRequest>,
    ) -> Result<Response<DeleteWorkflowResponse>, Status> {
        let context = context(&request);
        let named = Named::parse(&context.tenant, &request.into_inner().r#ref).map_err(to_status)?;
        let deleted = self.0.delete(&context, &named).await.map_err(to_status)?;
        let versions_deleted = u32::try_from(deleted).unwrap_or(u32::MAX);
        Ok(Response::new(DeleteWorkflowResponse { versions_deleted }))
    }

    async fn explain_plan(
        &self,
        request: Request<ExplainPlanRequest>,
    ) -> Result<Response<ExplainPlanResponse>, Status> {
        let tenant = context(&request).tenant;
        self.explained(&tenant, request.into_inner()).await.map(Response::new).map_err(to_status)
    }
}

#[tonic::async_trait]
impl PlannerInternalService for Planner {
    async fn get_plan(&self, request: Request<GetPlanRequest>) -> Result<Response<GetPlanResponse>, Status> {
        let tenant = context(&request).tenant;
        self.planned(&tenant, request.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn list_plan_triggers(
        &self,
        request: Request<ListPlanTriggersRequest>,
    ) -> Result<Response<ListPlanTriggersResponse>, Status> {
        let known = request.into_inner().known_state;
        self.triggers(&known).await.map(Response::new).map_err(to_status)
    }
}
