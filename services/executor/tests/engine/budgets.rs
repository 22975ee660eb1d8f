//! Budgets of tenants and workflows: used up means refused, and what was spent is counted once.

use base::{ErrorCode, Tenant, Timestamp};
use executor::budgets::Budgets;
use serde_json::json;
use store::{
    Journal as _,
    budgets::{Amounts, BudgetRow, BudgetStore},
};
use workflow::Status;

use crate::kit::{Node, World, keyed, request, task};

async fn node(world: &World, budgets: &[(&str, &str, u64)]) -> (Node, Budgets, BudgetStore) {
    let mut node = world.node().await;
    let store = BudgetStore::new(node.journal.tables());
    for (scope, period, calls) in budgets {
        let limits = Amounts { calls: *calls, ..Amounts::default() };
        let (scope, period) = ((*scope).into(), (*period).into());
        let row =
            BudgetRow { tenant: Tenant::default(), scope, period, limits, updated_at: Timestamp::default() };
        store.put(&row).await.unwrap();
    }
    let own = Budgets::new(store.clone(), node.engine.clone(), world.clock.clone());
    own.refresh().await.unwrap();
    node.app = node.app.with_budgets(own.clone());
    (node, own, store)
}

async fn spent(store: &BudgetStore, scope: &str) -> (u64, u64) {
    let usage = store.usage(&Tenant::default(), &["total".into()]).await.unwrap();
    let found = usage.into_iter().find(|u| u.scope == scope);
    found.map_or((0, 0), |u| (u.spent.calls, u.executions))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_refused_when_the_budget_of_its_workflow_or_tenant_is_used_up() {
    for world in World::both().await {
        world.plans.put("two", json!({"tasks": [task("a", json!({})), task("b", json!({}))]}));
        let (node, _, store) = node(&world, &[("one", "total", 2), ("", "day", 5)]).await;
        for _ in 0..2 {
            assert_eq!(node.run(request("one", json!(1))).await.status(), Status::Completed);
        }
        let refused = node.start(request("one", json!(1))).await.unwrap_err();
        assert_eq!((refused.code, refused.field.as_str()), (ErrorCode::BudgetExceeded, "calls"), "{refused}");
        assert!(refused.message.contains("workflow one has spent 2 of 2 calls in all"), "{refused}");
        node.run(request("two", json!(1))).await;
        assert_eq!(node.start(request("two", json!(1))).await.map(drop), Ok(()), "4 of 5 are spent");
        node.idle().await;
        assert_eq!(node.start(request("two", json!(1))).await.unwrap_err().code, ErrorCode::BudgetExceeded);
        assert_eq!((spent(&store, "one").await, spent(&store, "two").await.1), ((2, 2), 2));
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spent_before_a_crash_is_counted_after_it_and_only_once() {
    for world in World::both().await {
        let (node, _, _) = node(&world, &[("", "total", 100)]).await;
        let id = node.start(keyed("one", "k")).await.unwrap().id;
        node.completed(id).await;
        node.die().await;
        let (node, budgets, store) = self::node(&world, &[]).await;
        assert_eq!(spent(&store, "").await, (0, 0));
        let rounds = (0..4).map(|_| {
            let budgets = budgets.clone();
            tokio::spawn(async move { budgets.settle_ended().await })
        });
        for round in futures::future::join_all(rounds).await {
            round.unwrap().unwrap();
        }
        assert_eq!((spent(&store, "").await, spent(&store, "one").await), ((1, 1), (1, 1)));
        node.die().await;
    }
}
