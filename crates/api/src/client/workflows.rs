//! Workflow definitions: check, store, look, explain, delete.

use base::Finding;
use proto::{common::v1::PageRequest, planner::v1 as wire};
use serde::Serialize;
use serde_json::Value;

use super::{Client, Page};
use crate::{Fault, status::finding_from_wire};

/// The text of a definition.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub(super) text: String,
    pub(super) format: String,
    pub(super) file_name: String,
}

impl Source {
    /// A definition in YAML.
    pub fn yaml(text: impl Into<String>) -> Self {
        Self { text: text.into(), format: "yaml".into(), file_name: String::new() }
    }
    /// A definition in JSON.
    pub fn json(text: impl Into<String>) -> Self {
        Self { text: text.into(), format: "json".into(), file_name: String::new() }
    }
    /// A definition in either; the server finds out.
    pub fn any(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
    /// The name that findings show.
    #[must_use]
    pub fn named(self, file_name: impl Into<String>) -> Self {
        Self { file_name: file_name.into(), ..self }
    }
}

/// A stored version of a workflow.
#[derive(Clone, Debug, Serialize)]
pub struct Workflow {
    /// UUID of (tenant, name).
    pub workflow_id: String,
    /// Its name.
    pub name: String,
    /// This version.
    pub version: String,
    /// Empty when none is named.
    pub orchestration_pattern: String,
    /// The form that it was written in.
    pub dialect: String,
    /// Tasks in all.
    pub tasks: u32,
    /// Hex of the BLAKE3 of the canonical form.
    pub content_hash: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// All versions of the name, newest first; lists leave them out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// The canonical form.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub definition: Value,
    /// The text as it was given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
}

impl Workflow {
    fn of(w: wire::Workflow) -> Result<Self, Fault> {
        Ok(Self {
            workflow_id: w.workflow_id,
            name: w.name,
            version: w.version,
            orchestration_pattern: w.orchestration_pattern,
            dialect: w.dialect,
            tasks: w.tasks,
            content_hash: w.content_hash,
            created_at: w.created_at,
            updated_at: w.updated_at,
            versions: w.versions,
            definition: serde_json::from_str(&w.definition_json).unwrap_or_default(),
            source: w.source,
        })
    }

    /// `name@version`: names exactly this version.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// What storing a definition gave.
#[derive(Clone, Debug, Serialize)]
pub struct Defined {
    /// The stored version.
    pub workflow: Workflow,
    /// Warnings and notes.
    pub findings: Vec<Finding>,
    /// `{cpu_millis, memory_bytes, network_mbps, agents, duration_ms}`.
    pub estimated_resources: Value,
}

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Validated {
    /// No errors.
    pub valid: bool,
    /// Everything found.
    pub findings: Vec<Finding>,
    /// The findings with the lines they point at, as a compiler prints them.
    pub rendered: String,
}

/// A plan, explained.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// `{workflow, levels, critical_path, estimated_duration_ms, estimated_resources, tasks}`.
    pub plan: Value,
    /// Everything found.
    pub findings: Vec<Finding>,
}

/// Which workflows a list shows; empty texts ask for all.
#[derive(Clone, Debug, Default)]
pub struct WorkflowFilter {
    /// Beginning of the name.
    pub name_prefix: String,
    /// Its `orchestration_pattern`.
    pub orchestration_pattern: String,
    /// A tag of its metadata.
    pub tag: String,
    /// Rows of a page, 1 to 1000; 0 = 50.
    pub page_size: i32,
    /// `next_page_token` of the page before.
    pub page_token: String,
}

pub(super) fn findings(wire: Vec<proto::common::v1::Finding>) -> Vec<Finding> {
    wire.into_iter().map(finding_from_wire).collect()
}

impl Client {
    /// Stores a definition as an immutable version. The same content under the same name and version is the same
    /// version.
    ///
    /// # Errors
    /// `invalid_definition` or `unsupported_pattern` with findings, `already_exists` when the version has another
    /// content, `insufficient_resources` when no fleet can fit it.
    pub async fn define(&self, source: &Source) -> Result<Defined, Fault> {
        let message = wire::CreateWorkflowRequest {
            source: source.text.clone(),
            format: source.format.clone(),
            file_name: source.file_name.clone(),
        };
        let call = || async { self.planner().create_workflow(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Ok(Defined {
            workflow: Workflow::of(answer.workflow.unwrap_or_default())?,
            findings: findings(answer.findings),
            estimated_resources: serde_json::from_str(&answer.estimated_resources_json).unwrap_or_default(),
        })
    }

    /// Checks a definition against the fleet, without storing it.
    ///
    /// # Errors
    /// Only when the check itself could not be made.
    pub async fn validate(&self, source: &Source) -> Result<Validated, Fault> {
        let message = wire::ValidateWorkflowRequest {
            source: source.text.clone(),
            format: source.format.clone(),
            file_name: source.file_name.clone(),
        };
        let call = || async { self.planner().validate_workflow(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Ok(Validated { valid: answer.valid, findings: findings(answer.findings), rendered: answer.rendered })
    }

    /// One workflow by UUID, name or `name@version`; without a version the newest.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn workflow(&self, reference: &str) -> Result<Workflow, Fault> {
        let message = wire::GetWorkflowRequest { r#ref: reference.to_owned() };
        let call = || async { self.planner().get_workflow(self.request(message.clone())).await };
        Workflow::of(self.safely(call).await?)
    }

    /// A page of workflows, each in its newest version.
    ///
    /// # Errors
    /// `invalid_argument` when the page token is none of this list.
    pub async fn workflows(&self, filter: &WorkflowFilter) -> Result<Page<Workflow>, Fault> {
        let message = wire::ListWorkflowsRequest {
            page: Some(PageRequest { page_size: filter.page_size, page_token: filter.page_token.clone() }),
            name_prefix: filter.name_prefix.clone(),
            orchestration_pattern: filter.orchestration_pattern.clone(),
            tag: filter.tag.clone(),
        };
        let call = || async { self.planner().list_workflows(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Page::of(answer.workflows, answer.next_page_token, Workflow::of)
    }

    /// Deletes all versions of a workflow, or the one of `name@version`. Returns how many are gone.
    ///
    /// # Errors
    /// `not_found`; `invalid_state` while executions are active.
    pub async fn delete_workflow(&self, reference: &str) -> Result<u32, Fault> {
        let message = wire::DeleteWorkflowRequest { r#ref: reference.to_owned() };
        Ok(self.once(self.planner().delete_workflow(self.request(message))).await?.versions_deleted)
    }

    /// Explains the plan of a stored workflow.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn explain(&self, reference: &str) -> Result<Explained, Fault> {
        self.explain_request(wire::ExplainPlanRequest { r#ref: reference.to_owned(), ..Default::default() })
            .await
    }

    /// Explains the plan that a text would have, with the agents of the fleet.
    ///
    /// # Errors
    /// `invalid_definition` with findings.
    pub async fn explain_source(&self, source: &Source) -> Result<Explained, Fault> {
        self.explain_request(wire::ExplainPlanRequest {
            r#ref: String::new(),
            source: source.text.clone(),
            format: source.format.clone(),
            file_name: source.file_name.clone(),
        })
        .await
    }

    async fn explain_request(&self, message: wire::ExplainPlanRequest) -> Result<Explained, Fault> {
        let call = || async { self.planner().explain_plan(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Ok(Explained {
            plan: serde_json::from_str(&answer.plan_json).unwrap_or_default(),
            findings: findings(answer.findings),
        })
    }
}
