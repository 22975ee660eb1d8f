//! What a running execution knows and waits for.

use base::Payload;
use proto::executor::v1 as wire;
use serde::Serialize;
use serde_json::Value;

use super::{
    Amounts, Client, ExecutionStatus,
    model::{StuckReason, amounts, payload_opt, read_payload, some},
};
use crate::{Fault, payload};

/// Variables, budget, and what tasks wait for.
#[derive(Clone, Debug, Serialize)]
pub struct Insight {
    /// UUID.
    pub execution_id: String,
    /// As of the execution.
    pub status: ExecutionStatus,
    /// Variables by name; `None` before the first are set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vars: Option<Value>,
    /// What tasks wait for.
    pub waits: Vec<Wait>,
    /// Of the task that was asked for, once it has one.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "payload_opt")]
    pub output: Option<Payload>,
    /// How often the plan was changed.
    pub revision: u32,
    /// What was spent.
    pub spent: Amounts,
    /// What may be spent; 0 = no limit.
    pub budget: Amounts,
    /// The execution whose task started this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_execution_id: Option<String>,
    /// Why it makes no progress by itself, at most 50; empty once it has ended.
    pub stuck: Vec<StuckReason>,
}

/// What a task waits for.
#[derive(Clone, Debug, Serialize)]
pub struct Wait {
    /// Path of the task.
    pub task_id: String,
    /// `timer`, `event`, `signal`, `step`, `approval`, `publish` or `child`.
    pub kind: String,
    /// Topic, name of the signal, title of the approval, execution of the sub-workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// Correlation key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// RFC 3339; when it goes on by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Who may answer; empty = anybody with the right to operate executions.
    pub who: Vec<String>,
    /// JSON Schema of the form of an approval, or of the payload of a signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

impl Wait {
    fn of(w: wire::Wait) -> Self {
        Self {
            task_id: w.task_id,
            kind: w.kind,
            what: some(w.what),
            key: some(w.key),
            since: some(w.since),
            until: some(w.until),
            who: w.who,
            schema: serde_json::from_str(&w.schema_json).ok(),
        }
    }
}

impl Client {
    /// Variables, budget, what tasks wait for and why nothing moves; the output of `task` when it is named. Of ended
    /// executions too.
    ///
    /// # Errors
    /// `not_found` (execution, or task with the nearest path).
    pub async fn query(&self, execution: &str, task: Option<&str>) -> Result<Insight, Fault> {
        let message = wire::QueryExecutionRequest {
            execution_id: execution.to_owned(),
            task_id: task.unwrap_or_default().to_owned(),
            ..wire::QueryExecutionRequest::default()
        };
        let a = self.ask(&message).await?;
        Ok(Insight {
            execution_id: a.execution_id,
            status: ExecutionStatus::of(&a.status),
            vars: serde_json::from_str(&a.vars_json).ok(),
            waits: a.waits.into_iter().map(Wait::of).collect(),
            output: read_payload(a.output, "output")?,
            revision: a.revision,
            spent: amounts(a.spent.unwrap_or_default()),
            budget: amounts(a.budget.unwrap_or_default()),
            parent_execution_id: some(a.parent_execution_id),
            stuck: a.stuck.into_iter().map(StuckReason::of).collect(),
        })
    }

    /// Asks the run that a provider makes of `task` for `query`; null when it answers nothing.
    ///
    /// # Errors
    /// `not_found`; `invalid_state` when the task runs at no provider now, or its provider answers no queries;
    /// `invalid_argument` when it does not know this one.
    pub async fn query_run(
        &self,
        execution: &str,
        task: &str,
        query: &str,
        arguments: Option<&Payload>,
    ) -> Result<Payload, Fault> {
        let message = wire::QueryExecutionRequest {
            execution_id: execution.to_owned(),
            task_id: task.to_owned(),
            query: query.to_owned(),
            arguments: arguments.map(payload::to_wire),
        };
        let answer = self.ask(&message).await?.answer;
        Ok(read_payload(answer, "answer")?.unwrap_or_else(Payload::null))
    }

    async fn ask(
        &self,
        message: &wire::QueryExecutionRequest,
    ) -> Result<wire::QueryExecutionResponse, Fault> {
        let call = || async { self.control().query_execution(self.request(message.clone())).await };
        self.safely(call).await
    }
}
