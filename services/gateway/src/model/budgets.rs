//! Budgets of a tenant and its workflows.

use proto::executor::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::some;

/// Calls, tokens and money.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BudgetAmounts {
    /// Calls to agents, retries included. As a limit 0 = none.
    pub calls: u64,
    /// As agents report them. As a limit 0 = none.
    pub tokens: u64,
    /// Money in millionths of the currency, as agents report it. As a limit 0 = none.
    pub money_micros: u64,
}

impl BudgetAmounts {
    pub(crate) fn of(amounts: Option<wire::BudgetAmounts>) -> Self {
        let amounts = amounts.unwrap_or_default();
        Self { calls: amounts.calls, tokens: amounts.tokens, money_micros: amounts.money_micros }
    }
    pub(crate) fn to_wire(&self) -> wire::BudgetAmounts {
        wire::BudgetAmounts { calls: self.calls, tokens: self.tokens, money_micros: self.money_micros }
    }
}

/// A budget to set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBudget {
    /// Name of the workflow; absent = all of the tenant together.
    #[serde(default)]
    pub workflow: String,
    /// `day` or `month` (of UTC), or `total`.
    pub period: String,
    /// At least one of them.
    pub limits: BudgetAmounts,
}

/// A budget, and what was spent of it in its present period.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Budget {
    /// Name of the workflow; absent = all of the tenant together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// `day`, `month` or `total`.
    pub period: String,
    /// What may be spent.
    pub limits: BudgetAmounts,
    /// What was spent by executions that have ended.
    pub spent: BudgetAmounts,
    /// How many those are.
    pub executions: u64,
    /// The present period: `day:2026-11-21`, `month:2026-11`, `total`.
    pub span: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl From<wire::Budget> for Budget {
    fn from(budget: wire::Budget) -> Self {
        Self {
            workflow: some(budget.workflow),
            period: budget.period,
            limits: BudgetAmounts::of(budget.limits),
            spent: BudgetAmounts::of(budget.spent),
            executions: budget.executions,
            span: budget.span,
            updated_at: budget.updated_at,
        }
    }
}

/// All budgets of the tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BudgetList {
    /// By workflow and period.
    pub budgets: Vec<Budget>,
}
