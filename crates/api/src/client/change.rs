//! Live change: another plan for what has not run yet, and the plans that an execution had.

use proto::executor::v1 as wire;
use serde::Serialize;

use super::{Client, Source, model::some};
use crate::Fault;

/// The plan that an execution is to go on with.
#[derive(Clone, Debug)]
pub enum NewPlan {
    /// That of a definition. It is compiled and not stored: the plan is kept with the execution.
    Definition(Source),
    /// That of a stored workflow: UUID, name or `name@version`.
    Workflow(String),
    /// That of an earlier revision; 0 = that of the workflow's version.
    Revision(u32),
    /// The whole plan as JSON, as the planner compiles it.
    Compiled(String),
}

/// What a change of plan did, or would do.
#[derive(Clone, Debug, Serialize)]
pub struct PlanChanged {
    /// UUID.
    pub execution_id: String,
    /// Of the plan that holds now.
    pub revision: u32,
    /// Ids of tasks.
    pub added: Vec<String>,
    /// Ids of tasks.
    pub removed: Vec<String>,
    /// Ids of tasks.
    pub changed: Vec<String>,
    /// Of a dry run: why it would be refused; empty = it would not.
    pub refused: Vec<PlanRefusal>,
}

/// Why a plan would be refused.
#[derive(Clone, Debug, Serialize)]
pub struct PlanRefusal {
    /// `conflict`, `invalid_state`, …
    pub code: String,
    /// The part of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// For people.
    pub message: String,
    /// Path of the task that is the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
}

/// A plan that an execution had.
#[derive(Clone, Debug, Serialize)]
pub struct PlanRevision {
    /// 0 = the plan of the workflow's version.
    pub revision: u32,
    /// Who changed it; of 0, who started the execution.
    pub by: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// RFC 3339.
    pub at: String,
    /// How many tasks it has.
    pub tasks: u32,
}

impl PlanChanged {
    fn of(a: wire::ChangePlanResponse) -> Self {
        let refusal = |r: wire::PlanRefusal| PlanRefusal {
            code: r.code,
            field: some(r.field),
            message: r.message,
            task_id: some(r.task_id),
        };
        Self {
            execution_id: a.execution_id,
            revision: a.revision,
            added: a.added,
            removed: a.removed,
            changed: a.changed,
            refused: a.refused.into_iter().map(refusal).collect(),
        }
    }
}

impl Client {
    /// Goes on with another plan for what has not run yet.
    ///
    /// # Errors
    /// `not_found`; `invalid_definition` with findings; `conflict` naming a task that has run and is not the same in the
    /// new plan; `invalid_state` once it has ended.
    pub async fn change_plan(
        &self,
        execution: &str,
        plan: &NewPlan,
        reason: &str,
    ) -> Result<PlanChanged, Fault> {
        let message = request(execution, plan, reason, false);
        self.once(self.control().change_plan(self.request(message))).await.map(PlanChanged::of)
    }

    /// Tells what [`Client::change_plan`] would change, or why it would be refused. Nothing is changed or stored.
    ///
    /// # Errors
    /// `not_found`; `invalid_definition` with findings.
    pub async fn preview_plan(&self, execution: &str, plan: &NewPlan) -> Result<PlanChanged, Fault> {
        let message = request(execution, plan, "", true);
        let call = || async { self.control().change_plan(self.request(message.clone())).await };
        self.safely(call).await.map(PlanChanged::of)
    }

    /// The plans that an execution had, oldest first.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn plan_revisions(&self, execution: &str) -> Result<Vec<PlanRevision>, Fault> {
        let message = wire::ListRevisionsRequest { execution_id: execution.to_owned() };
        let call = || async { self.control().list_revisions(self.request(message.clone())).await };
        let known = self.safely(call).await?.revisions.into_iter();
        let one = |r: wire::Revision| PlanRevision {
            revision: r.revision,
            by: r.by,
            reason: some(r.reason),
            at: r.at,
            tasks: r.tasks,
        };
        Ok(known.map(one).collect())
    }
}

fn request(execution: &str, plan: &NewPlan, reason: &str, dry_run: bool) -> wire::ChangePlanRequest {
    let message = wire::ChangePlanRequest {
        execution_id: execution.to_owned(),
        reason: reason.to_owned(),
        dry_run,
        ..wire::ChangePlanRequest::default()
    };
    match plan.clone() {
        NewPlan::Definition(source) => {
            wire::ChangePlanRequest { definition: source.text, format: source.format, ..message }
        }
        NewPlan::Workflow(workflow) => wire::ChangePlanRequest { workflow, ..message },
        NewPlan::Revision(number) => wire::ChangePlanRequest { revert_to: Some(number), ..message },
        NewPlan::Compiled(plan_json) => wire::ChangePlanRequest { plan_json, ..message },
    }
}
