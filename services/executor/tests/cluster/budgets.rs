//! Budgets of tenants and workflows: sub-workflows, and what agents report after the end.

use std::sync::Arc;

use api::Fault;
use async_trait::async_trait;
use base::{CallContext, ExecutionId, Tenant, Timestamp};
use executor::engine::{Command, CountsUsage};
use serde_json::json;
use store::budgets::{Amounts, BudgetRow, BudgetStore};
use testkit::wait_for;
use workflow::Usage;

use crate::kit::{Bill, Replica, SHARDS, SOON, World, all_completed};

/// Counts nothing: as a replica whose store is away.
struct Away;

#[async_trait]
impl CountsUsage for Away {
    async fn count_again(&self, _: &Tenant, _: ExecutionId) -> Result<(), Fault> {
        Err(Fault::unavailable("it is away"))
    }
}

fn under_a_budget(mut world: World) -> World {
    world.budget = Some(BudgetRow {
        tenant: Tenant::default(),
        scope: String::new(),
        period: "total".into(),
        limits: Amounts { calls: 100, ..Amounts::default() },
        updated_at: Timestamp::default(),
    });
    world
}

async fn replica(world: &World, counts: bool) -> Replica {
    let a = world.replica("a").await;
    let usage: Arc<dyn CountsUsage> = if counts { Arc::new(a.budgets.clone()) } else { Arc::new(Away) };
    a.engine.use_budgets(usage);
    a.owns(SHARDS.into()).await;
    a
}

/// Calls, tokens and executions that count for a workflow, or for the tenant.
async fn used(a: &Replica, scope: &str) -> (u64, u64, u64) {
    let store = BudgetStore::new(a.journal.tables());
    let usage = store.usage(&Tenant::default(), &["total".into()]).await.unwrap();
    let found = usage.into_iter().find(|u| u.scope == scope);
    found.map_or((0, 0, 0), |u| (u.spent.calls, u.spent.tokens, u.executions))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_reports_after_the_end_is_added_once_over_a_crash() {
    for world in [World::sqlite(), World::postgres().await].map(under_a_budget) {
        let call = json!({"id": "t", "need": {"agent": "worker"}, "input": "execution"});
        world.plans.lock().unwrap().insert("one".into(), json!({"tasks": [call]}));
        world.agents.open(false);
        world.agents.bill.send_replace(Bill::Later);
        let a = replica(&world, false).await;
        let id = a.start_of("one", "k").await;
        wait_for("the call", SOON, async || (world.agents.waiting() == 1).then_some(())).await;
        let context = CallContext::default();
        a.app.command(&context, id, Command::Cancel { reason: "enough".into() }).await.unwrap();
        wait_for("its end", SOON, async || {
            a.journal.find_execution(id).await.unwrap()?.completed_at.map(drop)
        })
        .await;
        a.budgets.settle_ended().await.unwrap();
        assert_eq!((used(&a, "").await, used(&a, "one").await), ((1, 0, 1), (1, 0, 1)));

        // The agent says what it cost when all was counted; the replica dies before it counts that.
        world.agents.bill.send_replace(Bill::This(Usage { tokens: 10, money_micros: 3 }));
        wait_for("its cost", SOON, async || {
            let view = a.app.view(&context, id, None, false).await.ok()?;
            (view.spent().tokens == 10).then_some(())
        })
        .await;
        assert_eq!(used(&a, "").await, (1, 0, 1));
        a.die().await;

        let a = replica(&world, true).await;
        wait_for("the rest to be counted", SOON, async || (used(&a, "").await == (1, 10, 1)).then_some(()))
            .await;
        let tenant = Tenant::default();
        let again = (0..4).map(|_| {
            let (budgets, tenant) = (a.budgets.clone(), tenant.clone());
            tokio::spawn(async move {
                budgets.count_again(&tenant, id).await.unwrap();
                budgets.settle_ended().await.unwrap();
            })
        });
        for done in futures::future::join_all(again).await {
            done.unwrap();
        }
        assert_eq!((used(&a, "").await, used(&a, "one").await), ((1, 10, 1), (1, 10, 1)), "once");
        a.drain(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_workflow_counts_for_its_workflow_and_its_tenant() {
    for world in [World::sqlite(), World::postgres().await].map(under_a_budget) {
        let call = json!({"id": "t", "need": {"agent": "worker"}, "input": "execution"});
        let child = json!({"id": "c", "kind": {"child": {"workflow": "inner"}}, "input": "execution"});
        let outer = json!({"tasks": [call.clone(), child]});
        let named = [("inner".to_owned(), json!({"tasks": [call]})), ("outer".to_owned(), outer)];
        world.plans.lock().unwrap().extend(named);
        let a = replica(&world, true).await;
        let id = a.start_of("outer", "k").await;
        all_completed(&a.journal, &[id]).await;
        a.budgets.settle_ended().await.unwrap();
        let counted = (used(&a, "").await, used(&a, "outer").await, used(&a, "inner").await);
        assert_eq!(counted, ((2, 0, 2), (1, 0, 1), (1, 0, 1)));
        a.drain(SOON).await;
    }
}
