//! Budgets of the tenant and of single workflows.

use proto::executor::v1::{self as wire, budget_service_client::BudgetServiceClient};
use serde::Serialize;
use tonic::transport::Channel;

use super::Client;
use crate::Fault;

/// Calls, tokens and money. As limits 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amounts {
    /// Calls to agents, retries included.
    pub calls: u64,
    /// Tokens, as agents report them.
    pub tokens: u64,
    /// Money in millionths of the currency, as agents report it.
    pub money_micros: u64,
}

impl Amounts {
    fn of(amounts: Option<wire::BudgetAmounts>) -> Self {
        let amounts = amounts.unwrap_or_default();
        Self { calls: amounts.calls, tokens: amounts.tokens, money_micros: amounts.money_micros }
    }
}

/// A budget, and what was spent of it in its present period.
#[derive(Clone, Debug, Serialize)]
pub struct Budget {
    /// Name of the workflow; empty = all of the tenant together.
    pub workflow: String,
    /// `day`, `month` or `total`.
    pub period: String,
    /// What may be spent.
    pub limits: Amounts,
    /// What was spent by executions that have ended.
    pub spent: Amounts,
    /// How many those are.
    pub executions: u64,
    /// The present period: `day:2026-11-21`, `month:2026-11`, `total`.
    pub span: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl Budget {
    fn of(budget: wire::Budget) -> Self {
        Self {
            workflow: budget.workflow,
            period: budget.period,
            limits: Amounts::of(budget.limits),
            spent: Amounts::of(budget.spent),
            executions: budget.executions,
            span: budget.span,
            updated_at: budget.updated_at,
        }
    }
}

impl Client {
    fn budget_service(&self) -> BudgetServiceClient<Channel> {
        BudgetServiceClient::new(self.channel())
    }

    /// Budgets of the tenant with what was spent.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn budgets(&self) -> Result<Vec<Budget>, Fault> {
        let call =
            || async { self.budget_service().list_budgets(self.request(wire::ListBudgetsRequest {})).await };
        Ok(self.safely(call).await?.budgets.into_iter().map(Budget::of).collect())
    }

    /// Sets the budget of a workflow (empty = of the tenant) for a period (`day`, `month`, `total`).
    ///
    /// # Errors
    /// `invalid_argument` for the period, or when nothing is limited.
    pub async fn set_budget(&self, workflow: &str, period: &str, limits: Amounts) -> Result<Budget, Fault> {
        let Amounts { calls, tokens, money_micros } = limits;
        let limits = Some(wire::BudgetAmounts { calls, tokens, money_micros });
        let message = wire::SetBudgetRequest { workflow: workflow.into(), period: period.into(), limits };
        let call = || async { self.budget_service().set_budget(self.request(message.clone())).await };
        Ok(Budget::of(self.safely(call).await?))
    }

    /// Deletes a budget.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn delete_budget(&self, workflow: &str, period: &str) -> Result<(), Fault> {
        let message = wire::DeleteBudgetRequest { workflow: workflow.into(), period: period.into() };
        self.once(self.budget_service().delete_budget(self.request(message))).await.map(drop)
    }
}
