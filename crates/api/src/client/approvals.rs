//! Open approvals: what people are asked.

use futures::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::Value;

use super::{Client, Execution, ExecutionFilter, Wait};
use crate::Fault;

/// Executions that are looked into at the same time.
const AT_ONCE: usize = 16;

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
    /// RFC 3339; when it goes on by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// JSON Schema of the form to fill in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Value>,
}

impl Approval {
    fn of(execution: &Execution, wait: Wait) -> Self {
        Self {
            execution_id: execution.execution_id.clone(),
            workflow: format!("{}@{}", execution.workflow_name, execution.workflow_version),
            task_id: wait.task_id,
            title: wait.what.unwrap_or_default(),
            who: wait.who,
            since: wait.since,
            until: wait.until,
            form: wait.schema,
        }
    }
}

impl Client {
    /// Open approvals, those that wait longest first: of one execution, or of all that are active. Each execution is asked
    /// by itself, some at the same time; at most 50 waits of an execution are seen.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn approvals(&self, execution: Option<&str>) -> Result<Vec<Approval>, Fault> {
        let executions = match execution {
            Some(id) => vec![self.status(id).await?],
            None => self.active().await?,
        };
        let asked = stream::iter(executions)
            .map(|execution| async move {
                let seen = match self.query(&execution.execution_id, None).await {
                    Ok(seen) => seen,
                    // Pruned since it was listed.
                    Err(gone) if gone.code == base::ErrorCode::NotFound => return Ok(Vec::new()),
                    Err(fault) => return Err(fault),
                };
                let asks = seen.waits.into_iter().filter(|wait| wait.kind == "approval");
                Ok(asks.map(|wait| Approval::of(&execution, wait)).collect())
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<Result<Vec<Approval>, Fault>>>()
            .await;
        let mut open: Vec<Approval> = asked.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        open.sort_by(|a, b| {
            (&a.since, &a.execution_id, &a.task_id).cmp(&(&b.since, &b.execution_id, &b.task_id))
        });
        Ok(open)
    }

    /// Every active execution.
    async fn active(&self) -> Result<Vec<Execution>, Fault> {
        let mut filter = ExecutionFilter { page_size: 1000, ..ExecutionFilter::default() };
        let mut all = Vec::new();
        loop {
            let page = self.executions(&filter).await?;
            all.extend(page.items);
            match page.next_page_token {
                Some(token) => filter.page_token = token,
                None => return Ok(all),
            }
        }
    }
}
