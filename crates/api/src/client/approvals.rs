//! Open approvals: what people are asked.

use proto::{common::v1::PageRequest, executor::v1 as wire};
use serde::Serialize;
use serde_json::Value;

use super::{
    Client,
    model::{Page, some},
};
use crate::Fault;

/// A question to people that nobody has answered yet.
#[derive(Clone, Debug, Serialize)]
pub struct Approval {
    /// UUID.
    pub execution_id: String,
    /// `name@version`.
    pub workflow: String,
    /// Path of the task that asks.
    pub task_id: String,
    /// The question.
    pub title: String,
    /// Who may answer; empty = anybody with the right to operate executions.
    pub who: Vec<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// JSON Schema of the form to fill in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Value>,
}

impl Approval {
    fn of(a: wire::Approval) -> Self {
        Self {
            execution_id: a.execution_id,
            workflow: format!("{}@{}", a.workflow_name, a.workflow_version),
            task_id: a.task_id,
            title: a.title,
            who: a.who,
            since: some(a.since),
            form: serde_json::from_str(&a.form_json).ok(),
        }
    }
}

/// Which open approvals a list shows.
#[derive(Clone, Debug, Default)]
pub struct ApprovalFilter {
    /// UUID of their execution; empty = of all.
    pub execution: String,
    /// Those that this principal may answer, or anybody may; empty = all.
    pub who: String,
    /// Rows of a page, 1 to 1000; 0 = 50.
    pub page_size: i32,
    /// `next_page_token` of the page before.
    pub page_token: String,
}

impl Client {
    /// A page of open approvals, those that wait longest first.
    ///
    /// # Errors
    /// `not_found` (the execution).
    pub async fn approvals(&self, filter: &ApprovalFilter) -> Result<Page<Approval>, Fault> {
        let message = wire::ListApprovalsRequest {
            execution_id: filter.execution.clone(),
            who: filter.who.clone(),
            page: Some(PageRequest { page_size: filter.page_size, page_token: filter.page_token.clone() }),
        };
        let call = || async { self.control().list_approvals(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Page::of(answer.approvals, answer.next_page_token, |a| Ok(Approval::of(a)))
    }
}
