//! What agents report of their cost: settled after each call, once, whatever becomes of call and process.

use base::{FailureClass, Tenant, Timestamp};
use executor::{budgets::Budgets, call::Told, engine::Command};
use serde_json::json;
use store::{
    Journal as _,
    budgets::{Amounts, BudgetRow, BudgetStore},
};
use workflow::{Spending, Status, Usage};

use crate::{
    agents::Act,
    gate::Way,
    kit::{SOON, World, calls, me, request, retry, task},
};

const COST: Usage = Usage { tokens: 10, money_micros: 3 };

fn spent(calls: u64) -> Spending {
    Spending { calls, tokens: 10 * calls, money_micros: 3 * calls }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_and_completed_calls_are_settled_and_a_spent_budget_stops_the_next_one() {
    for world in World::both().await {
        *world.agents.cost.lock().unwrap() = COST;
        world.agents.script(|seen, nth| match (seen.task.as_str(), nth) {
            ("a", 1) => Act::Fail { class: FailureClass::Error, known: true, after: None },
            _ => Act::Answer(json!(1)),
        });
        let tasks = json!([
            task("a", json!({"retry": retry(3)})),
            task("b", json!({"after": [0]})),
            task("c", json!({"after": [1]})),
        ]);
        world.plans.put("free", json!({"tasks": tasks}));
        let budget = json!({"budget": {"tokens": 21}});
        world.plans.put("tight", json!({"schema": 2, "limits": budget, "tasks": tasks}));
        let node = world.node().await;
        let view = node.run(request("free", json!(1))).await;
        assert_eq!((view.status(), view.spent()), (Status::Completed, spent(4)));
        let started = node.begin("free").await;
        let ended = node.completed(started).await;
        assert_eq!(ended.spent(), spent(3), "its first task fails once in all");
        let page = node.app.history(&me(), started, 0, 1000).await.unwrap();
        let told: Vec<_> = page.events.iter().filter(|e| e.kind == "task.spent").collect();
        assert_eq!(
            (told.len(), &told[0].data["tokens"], &told[0].data["money_micros"]),
            (3, &json!(10), &json!(3))
        );
        let before = world.agents.count();
        let view = node.run(request("tight", json!(1))).await;
        assert_eq!(view.status(), Status::Completed, "20 of 21 are spent when the third call leaves");
        world.plans.put("tight", json!({"schema": 2, "limits": {"budget": {"tokens": 20}}, "tasks": tasks}));
        let view = node.run(request("tight", json!(1))).await;
        assert_eq!((view.status(), view.spent()), (Status::Failed, spent(2)));
        assert!(view.causes().iter().any(|c| c.class == FailureClass::Budget), "{:?}", view.causes());
        assert_eq!(world.agents.count(), before + 5);
        node.fall().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_answer_and_settling_counts_the_call_once() {
    for world in World::both().await {
        *world.agents.cost.lock().unwrap() = COST;
        world.agents.open(false);
        let node = world.node().await;
        let id = node.begin("one").await;
        calls(&world.agents, 1).await;
        // The answer and its cost are one commit: neither is on disk when the process dies.
        node.journal.set(Way::Held);
        let arrived = || node.journal.arrived.load(std::sync::atomic::Ordering::SeqCst);
        let before = arrived();
        world.agents.open(true);
        testkit::wait_for("the answer to be on its way", SOON, async || (arrived() > before).then_some(()))
            .await;
        node.die().await;
        let node = world.node().await;
        let view = node.completed(id).await;
        let seen = world.agents.calls();
        assert_eq!((seen.len(), &seen[0].message_id), (2, &seen[1].message_id), "the agent is asked again");
        assert_eq!(view.spent(), spent(1));
        node.die().await;
        // Nothing is added by reading it back.
        let node = world.node().await;
        assert_eq!(node.view(id).await.spent(), spent(1));
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_costs_what_its_agent_says_when_it_is_told() {
    for world in World::both().await {
        world.agents.script(|_, _| Act::Bind);
        world.agents.on_cancel(|_, _| Told::Spent(COST));
        let node = world.node().await;
        let id = node.begin("one").await;
        calls(&world.agents, 1).await;
        node.command(id, Command::Cancel { reason: String::new() }).await.unwrap();
        let view = node.until("its cost", id, |view| view.spent().tokens > 0).await;
        assert_eq!((view.status(), view.spent()), (Status::Cancelled, spent(1)));
        node.idle().await;
        node.die().await;
        let node = world.node().await;
        assert_eq!(node.view(id).await.spent(), spent(1), "it is written");
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_tenant_and_money_of_a_workflow_refuse_the_next_start() {
    for world in World::both().await {
        *world.agents.cost.lock().unwrap() = COST;
        let mut node = world.node().await;
        let store = BudgetStore::new(node.journal.tables());
        for (scope, tokens, money_micros) in [("", 25, 0), ("one", 0, 5)] {
            let limits = Amounts { calls: 0, tokens, money_micros };
            let (scope, period) = (scope.into(), "total".into());
            let row = BudgetRow {
                tenant: Tenant::default(),
                scope,
                period,
                limits,
                updated_at: Timestamp::default(),
            };
            store.put(&row).await.unwrap();
        }
        world.plans.put("other", json!({"tasks": [task("t", json!({}))]}));
        let budgets = Budgets::new(store.clone(), node.engine.clone(), world.clock.clone());
        budgets.refresh().await.unwrap();
        node.app = node.app.with_budgets(budgets);
        for _ in 0..2 {
            assert_eq!(node.run(request("one", json!(1))).await.spent(), spent(1));
        }
        let refused = node.start(request("one", json!(1))).await.unwrap_err();
        assert_eq!((refused.code, refused.field.as_str()), (base::ErrorCode::BudgetExceeded, "money_micros"));
        node.run(request("other", json!(1))).await;
        let refused = node.start(request("other", json!(1))).await.unwrap_err();
        assert!(refused.message.contains("the tenant has spent 30 of 25 tokens in all"), "{refused}");
        node.die().await;
    }
}
