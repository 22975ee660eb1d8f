//! What tenants and workflows may spend, and what they have spent.
//!
//! Usage is counted once for each execution: its row is marked in the transaction that adds what it spent, and says how much
//! that was. What is reported later is added as the difference.

use base::{ExecutionId, Tenant, Timestamp};
use uuid::Uuid;

use crate::{
    db::Value,
    journal::Result,
    tables::{Cells, Statement, Tables},
};

/// Most budgets that are read at once.
const BUDGETS_MAX: u32 = 100_000;

/// Calls, tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Calls to agents.
    pub calls: u64,
    /// Tokens.
    pub tokens: u64,
    /// Money in millionths of the currency.
    pub money_micros: u64,
}

/// What may be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetRow {
    /// Whose.
    pub tenant: Tenant,
    /// Name of the workflow; empty = all of the tenant together.
    pub scope: String,
    /// `day`, `month` or `total`.
    pub period: String,
    /// Limits; 0 = none.
    pub limits: Amounts,
    /// When it was set.
    pub updated_at: Timestamp,
}

/// What was spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Name of the workflow; empty = all of the tenant together.
    pub scope: String,
    /// The period: `day:2026-11-21`, `month:2026-11`, `total`.
    pub span: String,
    /// How much.
    pub spent: Amounts,
    /// By how many executions.
    pub executions: u64,
}

/// The tables of budgets.
#[derive(Clone, Debug)]
pub struct BudgetStore {
    tables: Tables,
}

impl BudgetStore {
    /// Over the executor's tables.
    pub fn new(tables: Tables) -> Self {
        Self { tables }
    }

    /// Sets a budget, in place of an older one of the same scope and period.
    pub async fn put(&self, row: &BudgetRow) -> Result<()> {
        let sql = "INSERT INTO budgets (tenant, scope, period, calls, tokens, money_micros, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, scope, period) DO UPDATE SET
            calls = excluded.calls, tokens = excluded.tokens, money_micros = excluded.money_micros,
            updated_at = excluded.updated_at";
        let values = vec![
            (&row.tenant).into(),
            (&row.scope).into(),
            (&row.period).into(),
            row.limits.calls.into(),
            row.limits.tokens.into(),
            row.limits.money_micros.into(),
            row.updated_at.into(),
        ];
        self.tables.write(sql, values).await.map(drop)
    }

    /// Deletes a budget. `false` when there is none.
    pub async fn delete(&self, tenant: &Tenant, scope: &str, period: &str) -> Result<bool> {
        let sql = "DELETE FROM budgets WHERE tenant = $1 AND scope = $2 AND period = $3 RETURNING period";
        let done = self.tables.write(sql, vec![tenant.into(), scope.into(), period.into()]).await?;
        Ok(!done.is_empty())
    }

    /// All budgets of all tenants.
    pub async fn all(&self) -> Result<Vec<BudgetRow>> {
        let sql = "SELECT tenant, scope, period, calls, tokens, money_micros, updated_at FROM budgets
            ORDER BY tenant, scope, period LIMIT $1";
        self.tables.read(sql, vec![BUDGETS_MAX.into()]).await?.iter().map(read_budget).collect()
    }

    /// What was spent in one of these spans, by the tenant as a whole and by each of its workflows.
    pub async fn usage(&self, tenant: &Tenant, spans: &[String]) -> Result<Vec<UsageRow>> {
        let mut values: Vec<Value> = vec![tenant.into()];
        let places: Vec<String> = spans
            .iter()
            .map(|span| {
                values.push(span.into());
                format!("${}", values.len())
            })
            .collect();
        let sql = format!(
            "SELECT scope, span, calls, tokens, money_micros, executions FROM budget_usage
             WHERE tenant = $1 AND span IN ({}) ORDER BY scope, span",
            places.join(", ")
        );
        self.tables.read(&sql, values).await?.iter().map(read_usage).collect()
    }

    /// Notes that an execution is about to start under a budget. Safe to repeat.
    pub async fn join(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        workflow: &str,
        now: Timestamp,
    ) -> Result<()> {
        let sql = "INSERT INTO budget_executions (tenant, execution_id, workflow, joined_at)
            VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        let values = vec![tenant.into(), execution.uuid().into(), workflow.into(), now.into()];
        self.tables.write(sql, values).await.map(drop)
    }

    /// Executions that have ended and are not counted, in the order of their ends, at most `limit`.
    pub async fn unsettled(&self, limit: u32) -> Result<Vec<(Tenant, ExecutionId)>> {
        let sql = "SELECT m.tenant, m.execution_id FROM budget_executions AS m
            JOIN executions AS e ON e.execution_id = m.execution_id AND e.tenant = m.tenant
            WHERE m.settled_at IS NULL AND e.completed_at IS NOT NULL ORDER BY e.completed_at LIMIT $1";
        let rows = self.tables.read(sql, vec![limit.into()]).await?;
        rows.iter().map(|row| Ok((row.tenant(0)?, ExecutionId::new(row.id(1)?)))).collect()
    }

    /// Counts what an execution spent in these spans, for the tenant and for the workflow, unless it is counted already.
    /// `token` names the write: a new one each time. `false`: it was counted before (or is under no budget).
    pub async fn settle(
        &self,
        tenant: &Tenant,
        (execution, workflow): (ExecutionId, &str),
        spent: Amounts,
        (spans, now): (&[String], Timestamp),
        token: Uuid,
    ) -> Result<bool> {
        let sql = "UPDATE budget_executions
            SET settled_at = $3, token = $4, calls = 0, tokens = 0, money_micros = 0
            WHERE tenant = $1 AND execution_id = $2 AND settled_at IS NULL RETURNING workflow";
        let values = vec![tenant.into(), execution.uuid().into(), now.into(), token.into()];
        let first = Statement::new(sql, values);
        self.add(first, tenant, (execution, workflow), spent, (spans, 1), token).await
    }

    /// Adds what an execution spent since it was counted: the difference to `spent`, all that it spent. `false`: there is
    /// none, or it is not counted yet. Safe to repeat.
    pub async fn settle_late(
        &self,
        tenant: &Tenant,
        (execution, workflow): (ExecutionId, &str),
        spent: Amounts,
        spans: &[String],
        token: Uuid,
    ) -> Result<bool> {
        let sql = "UPDATE budget_executions SET token = $3
            WHERE tenant = $1 AND execution_id = $2 AND settled_at IS NOT NULL
                AND calls <= $4 AND tokens <= $5 AND money_micros <= $6
                AND (calls < $4 OR tokens < $5 OR money_micros < $6) RETURNING workflow";
        let mut values = vec![tenant.into(), execution.uuid().into(), token.into()];
        values.extend([spent.calls.into(), spent.tokens.into(), spent.money_micros.into()]);
        let first = Statement::new(sql, values);
        self.add(first, tenant, (execution, workflow), spent, (spans, 0), token).await
    }

    /// In one transaction: `first` puts the token on the execution, or does not; if it does, what was spent beyond what is
    /// counted is added, and counted.
    async fn add(
        &self,
        first: Statement,
        tenant: &Tenant,
        (execution, workflow): (ExecutionId, &str),
        spent: Amounts,
        (spans, executions): (&[String], u32),
        token: Uuid,
    ) -> Result<bool> {
        let mut all = vec![first];
        let own = || -> Vec<Value> {
            let key = [tenant.into(), execution.uuid().into(), token.into()];
            key.into_iter()
                .chain([spent.calls.into(), spent.tokens.into(), spent.money_micros.into()])
                .collect()
        };
        for span in spans {
            for scope in ["", workflow] {
                let sql =
                    "INSERT INTO budget_usage (tenant, scope, span, calls, tokens, money_micros, executions)
                    SELECT m.tenant, $7::text, $8::text, $4::bigint - m.calls, $5::bigint - m.tokens,
                        $6::bigint - m.money_micros, $9::bigint
                    FROM budget_executions AS m
                    WHERE m.tenant = $1 AND m.execution_id = $2::uuid AND m.token = $3::uuid
                    ON CONFLICT (tenant, scope, span) DO UPDATE SET
                        calls = budget_usage.calls + excluded.calls,
                        tokens = budget_usage.tokens + excluded.tokens,
                        money_micros = budget_usage.money_micros + excluded.money_micros,
                        executions = budget_usage.executions + excluded.executions";
                let mut values = own();
                values.extend([scope.into(), span.into(), executions.into()]);
                all.push(Statement::new(sql, values));
            }
        }
        let sql = "UPDATE budget_executions SET calls = $4, tokens = $5, money_micros = $6
            WHERE tenant = $1 AND execution_id = $2 AND token = $3";
        all.push(Statement::new(sql, own()));
        let done = self.tables.write_all(all).await?;
        Ok(done.first().is_some_and(|rows| !rows.is_empty()))
    }

    /// Forgets executions that were counted before `before`, or joined before it and never started.
    pub async fn forget(&self, before: Timestamp) -> Result<()> {
        let sql = "DELETE FROM budget_executions WHERE settled_at < $1
            OR (settled_at IS NULL AND joined_at < $1 AND NOT EXISTS
                (SELECT 1 FROM executions AS e WHERE e.execution_id = budget_executions.execution_id))";
        self.tables.write(sql, vec![before.into()]).await.map(drop)
    }
}

fn amounts(row: &Cells, from: usize) -> Result<Amounts> {
    Ok(Amounts {
        calls: row.unsigned(from)?,
        tokens: row.unsigned(from + 1)?,
        money_micros: row.unsigned(from + 2)?,
    })
}

fn read_budget(row: &Cells) -> Result<BudgetRow> {
    Ok(BudgetRow {
        tenant: row.tenant(0)?,
        scope: row.text(1)?,
        period: row.text(2)?,
        limits: amounts(row, 3)?,
        updated_at: row.time(6)?,
    })
}

fn read_usage(row: &Cells) -> Result<UsageRow> {
    Ok(UsageRow {
        scope: row.text(0)?,
        span: row.text(1)?,
        spent: amounts(row, 2)?,
        executions: row.unsigned(5)?,
    })
}
