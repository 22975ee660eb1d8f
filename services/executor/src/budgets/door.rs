//! The public contract of budgets: decode, ask, encode.

use api::Fault;
use proto::executor::v1::{self as pb, budget_service_server::BudgetService};
use runtime::call;
use store::budgets::{Amounts, BudgetRow, UsageRow};
use tonic::{Request, Response, Status};

use super::{
    book::Budgets,
    rules::{PERIODS, span},
};

type Answer<T> = Result<Response<T>, Status>;

/// Serves budgets to callers.
#[derive(Clone)]
pub struct BudgetDoor {
    budgets: Budgets,
}

impl BudgetDoor {
    /// Serves `budgets`.
    pub fn new(budgets: Budgets) -> Self {
        Self { budgets }
    }
}

fn amounts(amounts: Amounts) -> pb::BudgetAmounts {
    pb::BudgetAmounts { calls: amounts.calls, tokens: amounts.tokens, money_micros: amounts.money_micros }
}

fn wire(row: &BudgetRow, usage: &[UsageRow], now: base::Timestamp) -> pb::Budget {
    let span = span(&row.period, now);
    let used = usage.iter().find(|u| u.scope == row.scope && u.span == span);
    pb::Budget {
        workflow: row.scope.clone(),
        period: row.period.clone(),
        limits: Some(amounts(row.limits)),
        spent: Some(amounts(used.map(|u| u.spent).unwrap_or_default())),
        executions: used.map_or(0, |u| u.executions),
        span,
        updated_at: row.updated_at.rfc3339(),
    }
}

fn check_period(period: &str) -> Result<(), Fault> {
    match PERIODS.contains(&period) {
        true => Ok(()),
        false => Err(Fault::bad("period", format!("{period:?} is not one of {}", PERIODS.join(", ")))),
    }
}

#[tonic::async_trait]
impl BudgetService for BudgetDoor {
    async fn list_budgets(
        &self,
        request: Request<pb::ListBudgetsRequest>,
    ) -> Answer<pb::ListBudgetsResponse> {
        let (rows, usage) = self.budgets.list(&call::context(&request)).await?;
        let now = self.budgets.clock.now();
        let budgets = rows.iter().map(|row| wire(row, &usage, now)).collect();
        Ok(Response::new(pb::ListBudgetsResponse { budgets }))
    }

    async fn set_budget(&self, request: Request<pb::SetBudgetRequest>) -> Answer<pb::Budget> {
        let context = call::context(&request);
        let request = request.into_inner();
        check_period(&request.period)?;
        if request.workflow.len() > 256 {
            return Err(Fault::bad("workflow", "is longer than 256 bytes").into());
        }
        let limits = request.limits.unwrap_or_default();
        let limits =
            Amounts { calls: limits.calls, tokens: limits.tokens, money_micros: limits.money_micros };
        if limits == Amounts::default() {
            return Err(
                Fault::bad("limits", "limit calls, tokens or money_micros; or delete the budget").into()
            );
        }
        let now = self.budgets.clock.now();
        let row = BudgetRow {
            tenant: context.tenant.clone(),
            scope: request.workflow,
            period: request.period,
            limits,
            updated_at: now,
        };
        self.budgets.put(&row).await?;
        let (_, usage) = self.budgets.list(&context).await?;
        Ok(Response::new(wire(&row, &usage, now)))
    }

    async fn delete_budget(
        &self,
        request: Request<pb::DeleteBudgetRequest>,
    ) -> Answer<pb::DeleteBudgetResponse> {
        let context = call::context(&request);
        let pb::DeleteBudgetRequest { workflow, period } = request.into_inner();
        check_period(&period)?;
        if !self.budgets.delete(&context.tenant, &workflow, &period).await? {
            let whose = if workflow.is_empty() { "of the tenant" } else { &workflow };
            return Err(Fault::not_found("budget", format_args!("{whose} by {period}")).into());
        }
        Ok(Response::new(pb::DeleteBudgetResponse {}))
    }
}
