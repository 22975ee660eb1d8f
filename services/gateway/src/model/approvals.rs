//! Open approvals.

use proto::executor::v1 as wire;
use serde::Serialize;
use utoipa::ToSchema;

use super::some;
use crate::payload::{Raw, raw_some};

/// A question to people that nobody has answered yet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Approval {
    /// Its execution.
    pub execution_id: String,
    /// Path of the task that asks.
    pub task_id: String,
    /// UUID.
    pub workflow_id: String,
    /// Its name.
    pub workflow_name: String,
    /// Its version.
    pub workflow_version: String,
    /// The question.
    pub title: String,
    /// Who may answer; empty = anybody with the right to operate executions.
    pub who: Vec<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// JSON Schema of the form to fill in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    pub form: Option<Raw>,
}

impl From<wire::Approval> for Approval {
    fn from(a: wire::Approval) -> Self {
        Self {
            execution_id: a.execution_id,
            task_id: a.task_id,
            workflow_id: a.workflow_id,
            workflow_name: a.workflow_name,
            workflow_version: a.workflow_version,
            title: a.title,
            who: a.who,
            since: some(a.since),
            form: raw_some(a.form_json),
        }
    }
}

/// A page of open approvals.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalPage {
    /// Those that wait longest first.
    pub approvals: Vec<Approval>,
    /// Give it as `page_token` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}
