//! Workflows as answers show them. Names are in snake case, as in the document that defines them.

use proto::{common::v1::Finding, planner::v1 as wire};
use serde::Serialize;
use utoipa::ToSchema;

use super::some;
use crate::{
    payload::{Raw, raw_some, raw_text},
    problem::FindingView,
};

/// The answer to a registered definition (S3-44..47).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowCreated {
    /// UUID of the workflow: the same for all its versions.
    pub workflow_id: String,
    /// Its name.
    pub name: String,
    /// The version that is stored now.
    pub version: String,
    /// Always `validated`: what has errors is not stored.
    pub status: String,
    /// What the check found.
    pub validation_report: ValidationReport,
    /// `cpu_millis`, `memory_bytes`, `network_mbps`, `agents`, `duration_ms`.
    #[schema(value_type = Object)]
    pub estimated_resources: Raw,
}

impl From<wire::CreateWorkflowResponse> for WorkflowCreated {
    fn from(answer: wire::CreateWorkflowResponse) -> Self {
        let workflow = answer.workflow.unwrap_or_default();
        let estimate = answer.estimated_resources_json;
        Self {
            workflow_id: workflow.workflow_id,
            name: workflow.name,
            version: workflow.version,
            status: answer.status,
            validation_report: ValidationReport::new(true, &answer.findings),
            estimated_resources: raw_text(if estimate.is_empty() { "{}".to_owned() } else { estimate }),
        }
    }
}

/// What a check found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValidationReport {
    /// Whether it may be stored.
    pub valid: bool,
    /// How many findings are errors.
    pub errors: usize,
    /// How many are warnings.
    pub warnings: usize,
    /// In the order of the text.
    pub findings: Vec<FindingView>,
}

impl ValidationReport {
    pub(crate) fn new(valid: bool, findings: &[Finding]) -> Self {
        let findings: Vec<FindingView> = findings.iter().map(FindingView::from).collect();
        let errors = findings.iter().filter(|f| f.is_error()).count();
        let warnings = findings.iter().filter(|f| f.severity == "warning").count();
        Self { valid, errors, warnings, findings }
    }
}

/// The answer to a check.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowChecked {
    /// What the check found.
    #[serde(flatten)]
    pub report: ValidationReport,
    /// The findings with the lines they point at, as a compiler prints them.
    pub rendered: String,
}

impl From<wire::ValidateWorkflowResponse> for WorkflowChecked {
    fn from(answer: wire::ValidateWorkflowResponse) -> Self {
        Self { report: ValidationReport::new(answer.valid, &answer.findings), rendered: answer.rendered }
    }
}

/// A version of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Workflow {
    /// UUID: the same for all versions.
    pub workflow_id: String,
    /// Its name.
    pub name: String,
    /// This version.
    pub version: String,
    /// `supervisor`, `hierarchical`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orchestration_pattern: Option<String>,
    /// Hex of the BLAKE3 of the canonical form.
    pub content_hash: String,
    /// The canonical form; lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub definition: Option<Raw>,
    /// The text as it was given; lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `yaml` or `json`.
    pub format: String,
    /// `canonical`, `stages`, `steps`, `workflow`, `chain` or `graph`.
    pub dialect: String,
    /// Number of tasks.
    pub tasks: u32,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// All versions, newest first; lists leave them out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub versions: Vec<String>,
}

impl Workflow {
    /// As a list shows it: definitions may be large.
    pub(crate) fn listed(w: wire::Workflow) -> Self {
        Self { definition: None, source: None, versions: vec![], ..Self::from(w) }
    }
}

impl From<wire::Workflow> for Workflow {
    fn from(w: wire::Workflow) -> Self {
        Self {
            workflow_id: w.workflow_id,
            name: w.name,
            version: w.version,
            orchestration_pattern: some(w.orchestration_pattern),
            content_hash: w.content_hash,
            definition: raw_some(w.definition_json),
            source: some(w.source),
            format: w.format,
            dialect: w.dialect,
            tasks: w.tasks,
            created_at: w.created_at,
            updated_at: w.updated_at,
            versions: w.versions,
        }
    }
}

/// A page of workflows: the newest version of each.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowPage {
    /// By name.
    pub workflows: Vec<Workflow>,
    /// Give it as `page_token` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// The answer to a deletion.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowDeleted {
    /// How many versions are gone.
    pub versions_deleted: u32,
}
