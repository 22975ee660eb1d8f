//! Commands on running executions, and what they wait for.

use proto::executor::v1::{self as wire, decide_approval_request::Verdict as WireVerdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{budgets::BudgetAmounts, some};
use crate::payload::{Raw, raw, raw_some};

/// A signal to an execution.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignalRequest {
    /// What the task that takes it gets; absent = `null`.
    #[schema(value_type = Value, required = false)]
    pub payload: Option<Raw>,
    /// Repeats are known by it; absent = every one is new.
    pub id: Option<String>,
    /// Path of a task that a provider runs now: the signal goes to its run there.
    pub task: Option<String>,
}

/// Variables to set; those that are not named stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VariablesRequest {
    /// By name.
    #[schema(value_type = Object)]
    pub vars: Raw,
}

/// What a person decides about an approval.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// It goes on.
    Approved,
    /// The task fails with class `rejected`.
    Rejected,
    /// The form is filled in.
    Answered,
}

impl From<Verdict> for WireVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Approved => Self::Approved,
            Verdict::Rejected => Self::Rejected,
            Verdict::Answered => Self::Answered,
        }
    }
}

/// Decides an approval.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalDecision {
    /// The decision.
    pub verdict: Verdict,
    /// Needed to answer; checked against the schema of the approval.
    #[schema(value_type = Value, required = false)]
    pub form: Option<Raw>,
    /// For people: kept in the history.
    pub comment: Option<String>,
}

/// What runs again in the same execution: `task_ids` or `checkpoint_id`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetRequest {
    /// Tasks of the plan that run again, with all that follows them.
    #[serde(default)]
    pub task_ids: Vec<String>,
    /// What began or ended after this checkpoint runs again.
    pub checkpoint_id: Option<String>,
    /// Another input of the execution; absent = as it is.
    #[schema(value_type = Value, required = false)]
    pub input: Option<Raw>,
    /// For people: kept in the history.
    pub reason: Option<String>,
}

/// What a new execution does not take over.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForkRequest {
    /// Tasks of the plan that run again, with all that follows them. Empty = nothing is taken over.
    #[serde(default)]
    pub task_ids: Vec<String>,
    /// Another input; absent = that of the other execution.
    #[schema(value_type = Value, required = false)]
    pub input: Option<Raw>,
    /// The caller's own key of the new execution, as of a start; the header `Idempotency-Key` says the same.
    #[schema(max_length = 256)]
    pub id: Option<String>,
}

/// The plan to go on with: exactly one of `workflow`, `definition`, `plan`, `revert_to`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanChange {
    /// That of a stored workflow: UUID, name (the newest version) or `name@version`.
    pub workflow: Option<String>,
    /// That of a definition (an object, or text in YAML or JSON). It is compiled and not stored: the plan is kept with the
    /// execution.
    #[schema(value_type = Value, required = false)]
    pub definition: Option<Raw>,
    /// The whole plan as the planner compiles it.
    #[schema(value_type = Object, required = false)]
    pub plan: Option<Raw>,
    /// Back to this revision; 0 = the plan of the workflow's version.
    pub revert_to: Option<u32>,
    /// For people: kept in the history.
    pub reason: Option<String>,
    /// Tell what would change, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a change of plan did, or would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanChanged {
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

impl From<wire::ChangePlanResponse> for PlanChanged {
    fn from(answer: wire::ChangePlanResponse) -> Self {
        let wire::ChangePlanResponse { execution_id, revision, added, removed, changed, refused } = answer;
        let refused = refused.into_iter().map(PlanRefusal::from).collect();
        Self { execution_id, revision, added, removed, changed, refused }
    }
}

/// Why a plan would be refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanRefusal {
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

impl From<wire::PlanRefusal> for PlanRefusal {
    fn from(r: wire::PlanRefusal) -> Self {
        Self { code: r.code, field: some(r.field), message: r.message, task_id: some(r.task_id) }
    }
}

/// A plan that an execution had.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanRevision {
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

impl From<wire::Revision> for PlanRevision {
    fn from(r: wire::Revision) -> Self {
        Self { revision: r.revision, by: r.by, reason: some(r.reason), at: r.at, tasks: r.tasks }
    }
}

/// The plans that an execution had.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanRevisions {
    /// Oldest first.
    pub revisions: Vec<PlanRevision>,
}

/// What drives a task that has not begun.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModeRequest {
    /// Path of the task.
    pub task_id: String,
    /// Events of this topic; absent = its edges alone.
    pub topic: Option<String>,
}

/// Variables, budget, and what tasks wait for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExecutionInsight {
    /// UUID.
    pub execution_id: String,
    /// As of the execution.
    pub status: String,
    /// Variables by name; absent before the first are set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    pub vars: Option<Raw>,
    /// What tasks wait for.
    pub waits: Vec<TaskWait>,
    /// Of the task that was asked for, once it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub output: Option<Raw>,
    /// The provider's answer to `query`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub answer: Option<Raw>,
    /// How often the plan was changed.
    pub revision: u32,
    /// What was spent.
    pub spent: BudgetAmounts,
    /// What may be spent; 0 = no limit.
    pub budget: BudgetAmounts,
    /// The execution whose task started this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_execution_id: Option<String>,
    /// Why it makes no progress by itself, at most 50; empty once it has ended.
    pub stuck: Vec<StuckReason>,
}

impl From<wire::QueryExecutionResponse> for ExecutionInsight {
    fn from(answer: wire::QueryExecutionResponse) -> Self {
        Self {
            execution_id: answer.execution_id,
            status: answer.status,
            vars: raw_some(answer.vars_json),
            waits: answer.waits.into_iter().map(TaskWait::from).collect(),
            output: raw(answer.output),
            answer: raw(answer.answer),
            revision: answer.revision,
            spent: amounts(answer.spent.unwrap_or_default()),
            budget: amounts(answer.budget.unwrap_or_default()),
            parent_execution_id: some(answer.parent_execution_id),
            stuck: answer.stuck.into_iter().map(StuckReason::from).collect(),
        }
    }
}

pub(super) fn amounts(spending: wire::Spending) -> BudgetAmounts {
    let wire::Spending { calls, tokens, money_micros } = spending;
    BudgetAmounts { calls, tokens, money_micros }
}

/// What a task waits for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskWait {
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
    /// RFC 3339; absent = unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// RFC 3339; when it goes on by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Who may answer; empty = anybody with the right to operate executions.
    pub who: Vec<String>,
    /// JSON Schema of the form of an approval, or of the payload of a signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    pub schema: Option<Raw>,
}

impl From<wire::Wait> for TaskWait {
    fn from(w: wire::Wait) -> Self {
        Self {
            task_id: w.task_id,
            kind: w.kind,
            what: some(w.what),
            key: some(w.key),
            since: some(w.since),
            until: some(w.until),
            who: w.who,
            schema: raw_some(w.schema_json),
        }
    }
}

/// Why an execution waits, and the command that frees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StuckReason {
    /// `queued`, `paused`, `no_agent`, `no_healthy_instance`, `breaker_open`, `provider_away`, `no_room`, `retry`, `agent`,
    /// `input`, `decision`, `event`, `signal`, `approval`, `step`, `time`, `child` or `publish`.
    pub reason: String,
    /// Path of the task; absent = the execution as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Item of a task that scatters.
    pub item: u32,
    /// `resume`, `answer`, `resolve`, `publish`, `signal`, `approve`, `step`, `register an agent`, `repair an
    /// instance` or `restore the provider`; absent = nothing but what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// In words: which agent, topic, signal or execution, until when, or the place in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Of `breaker_open` the agents whose instances are left alone, at most 100; of `agent` the one that works on it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// RFC 3339: since when it is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// RFC 3339: when it goes on or is tried again by itself; of `breaker_open` a time that has passed = a call tries it
    /// now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Of `provider_away` the engine, as definitions name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Of `provider_away` what came instead of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<wire::StuckReason> for StuckReason {
    fn from(r: wire::StuckReason) -> Self {
        Self {
            reason: r.reason,
            task_id: some(r.task_id),
            item: r.item,
            command: some(r.command),
            detail: some(r.detail),
            agents: r.agents,
            since: some(r.since),
            until: some(r.until),
            provider: some(r.provider),
            error: some(r.error),
        }
    }
}
