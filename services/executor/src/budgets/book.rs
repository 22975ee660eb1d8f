//! Budgets in memory, and what is written about them.

use std::{sync::Arc, time::Duration};

use api::Fault;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use base::{CallContext, Clock, ExecutionId, Tenant, Timestamp};
use store::budgets::{Amounts, BudgetRow, BudgetStore, UsageRow};
use uuid::Uuid;
use workflow::Created;

use super::rules;
use crate::engine::{CountsUsage, Engine, ReadBack, away};

/// How often budgets are read anew: a change of another replica holds here after this long.
const READ_EVERY: Duration = Duration::from_secs(5);
/// Executions that are counted in one round.
const ROUND: u32 = 500;
/// An execution that was counted, or never started, is forgotten after this long: what agents report later is not counted.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Budgets of all tenants.
#[derive(Clone)]
pub struct Budgets {
    pub(super) store: BudgetStore,
    engine: Engine,
    pub(super) clock: Arc<dyn Clock>,
    /// As last read: a start without a budget costs no query.
    known: Arc<ArcSwap<Vec<BudgetRow>>>,
}

impl Budgets {
    /// Over the executor's tables; knows no budget before [`Budgets::refresh`].
    pub fn new(store: BudgetStore, engine: Engine, clock: Arc<dyn Clock>) -> Self {
        Self { store, engine, clock, known: Arc::default() }
    }

    /// Reads the budgets.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn refresh(&self) -> Result<(), Fault> {
        let all = self.store.all().await.map_err(away)?;
        self.known.store(Arc::new(all));
        Ok(())
    }

    /// An execution is about to start: gives it what is left as its own budget.
    ///
    /// # Errors
    /// `budget_exceeded` when a budget of its tenant or workflow is used up.
    pub async fn admit(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        mut created: Created,
    ) -> Result<Created, Fault> {
        let known = self.known.load_full();
        let workflow = created.workflow_name.clone();
        let budgets: Vec<&BudgetRow> = known.iter().filter(|b| covers(b, tenant, &workflow)).collect();
        if budgets.is_empty() {
            return Ok(created);
        }
        // What has ended before is counted first: a caller that runs one after the other is refused in time.
        self.settle_ended().await?;
        let now = self.clock.now();
        let usage = self.store.usage(tenant, &rules::spans(now)).await.map_err(away)?;
        let left = rules::left(&budgets, &usage, now)?;
        self.store.join(tenant, execution, &workflow, now).await.map_err(away)?;
        created.settings.budget = rules::lower(created.settings.budget, left);
        Ok(created)
    }

    /// Counts what executions spent that have ended.
    ///
    /// # Errors
    /// When the store or the planner is away; what was not counted is found again.
    pub async fn settle_ended(&self) -> Result<(), Fault> {
        loop {
            let ended = self.store.unsettled(ROUND).await.map_err(away)?;
            let more = ended.len() == ROUND as usize;
            for (tenant, id) in ended {
                self.settle(&tenant, id).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// A sub-workflow is about to start: it is counted for its workflow and the tenant, and is held to what it was lent.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn join(&self, tenant: &Tenant, execution: ExecutionId, workflow: &str) -> Result<(), Fault> {
        if self.known.load().iter().any(|b| covers(b, tenant, workflow)) {
            self.store.join(tenant, execution, workflow, self.clock.now()).await.map_err(away)?;
        }
        Ok(())
    }

    async fn settle(&self, tenant: &Tenant, id: ExecutionId) -> Result<(), Fault> {
        let Some((workflow, spent, spans)) = self.spent(tenant, id).await? else { return Ok(()) };
        let when = (&spans[..], self.clock.now());
        let done = self.store.settle(tenant, (id, &workflow), spent, when, Uuid::now_v7()).await;
        done.map(drop).map_err(away)
    }

    /// The workflow of an execution, what it spent so far, and the periods in which that counts: those of its end.
    async fn spent(
        &self,
        tenant: &Tenant,
        id: ExecutionId,
    ) -> Result<Option<(String, Amounts, [String; 3])>, Fault> {
        let shared = self.engine.shared();
        let read = shared.read(id).await?.filter(|read| read.row.tenant == *tenant);
        let Some((row, events)) = read.map(ReadBack::events) else { return Ok(None) };
        let ended = row.completed_at.unwrap_or_else(|| self.clock.now());
        Ok(Some((row.workflow_name, rules::spent(&events), rules::spans(ended))))
    }

    /// Budgets of a tenant, and what was spent in their periods.
    pub(super) async fn list(&self, context: &CallContext) -> Result<(Vec<BudgetRow>, Vec<UsageRow>), Fault> {
        self.settle_ended().await?;
        self.refresh().await?;
        let known = self.known.load_full();
        let own = known.iter().filter(|b| b.tenant == context.tenant).cloned().collect();
        let usage = self.store.usage(&context.tenant, &rules::spans(self.clock.now())).await.map_err(away)?;
        Ok((own, usage))
    }

    pub(super) async fn put(&self, row: &BudgetRow) -> Result<(), Fault> {
        self.store.put(row).await.map_err(away)?;
        self.refresh().await
    }

    pub(super) async fn delete(&self, tenant: &Tenant, scope: &str, period: &str) -> Result<bool, Fault> {
        let gone = self.store.delete(tenant, scope, period).await.map_err(away)?;
        self.refresh().await?;
        Ok(gone)
    }
}

#[async_trait]
impl CountsUsage for Budgets {
    async fn count_again(&self, tenant: &Tenant, id: ExecutionId) -> Result<(), Fault> {
        let Some((workflow, spent, spans)) = self.spent(tenant, id).await? else { return Ok(()) };
        let done = self.store.settle_late(tenant, (id, &workflow), spent, &spans, Uuid::now_v7()).await;
        done.map(drop).map_err(away)
    }
}

/// Whether an execution of the workflow is under the budget.
fn covers(budget: &BudgetRow, tenant: &Tenant, workflow: &str) -> bool {
    budget.tenant == *tenant && (budget.scope.is_empty() || budget.scope == workflow)
}

/// Keeps the budgets known and counts what was spent, until `stopped` ends.
pub async fn keep(budgets: Budgets, stopped: impl Future<Output = ()>) {
    tokio::pin!(stopped);
    loop {
        if let Err(fault) = look(&budgets).await {
            tracing::warn!(%fault, "budgets could not be looked after; it is tried again");
        }
        tokio::select! {
            () = &mut stopped => return,
            () = tokio::time::sleep(READ_EVERY) => {}
        }
    }
}

async fn look(budgets: &Budgets) -> Result<(), Fault> {
    budgets.refresh().await?;
    budgets.settle_ended().await?;
    let old = budgets.clock.now().micros().saturating_sub(FORGET_AFTER.as_micros() as i64);
    budgets.store.forget(Timestamp::from_micros(old)).await.map_err(away)
}
