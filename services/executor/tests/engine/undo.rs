//! Compensation: over a crash in the middle of it, out of time, and when it fails itself.

use std::{sync::Arc, time::Duration};

use base::{ErrorCode, FailureClass};
use executor::{app::ListQuery, call::Told, engine::ExecutionView};
use proto::common::v1::PageRequest;
use serde_json::{Value, json};
use workflow::Status;

use crate::{
    agents::{Act, Agents},
    kit::{Node, SOON, World, agent, me, retry, task},
    timers::replica,
};

/// Tasks `a` and `b`, each with a compensation, then a failure.
fn fails_after_two(undo: Value) -> Value {
    let undone = |id: &str, after: Value| {
        let mut own = json!({"id": "undo", "need": {"agent_type": "worker"}});
        own.as_object_mut().unwrap().extend(undo.as_object().unwrap().clone());
        task(id, json!({"after": after, "compensate": own}))
    };
    let fail = json!({"id": "f", "kind": {"fail": {"message": "no"}}, "after": [1]});
    json!([undone("a", json!([])), undone("b", json!([0])), fail])
}

fn saga(more: Value) -> Value {
    let mut saga = json!({"on_failure": true});
    saga.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    saga
}

/// Message ids of the calls that undo.
fn undoing(agents: &Agents) -> Vec<(String, String)> {
    let all = agents.calls().into_iter();
    all.filter(|call| !["a", "b"].contains(&&*call.task)).map(|call| (call.task, call.message_id)).collect()
}

async fn undone(node: &Node, view: &ExecutionView, id: base::ExecutionId) -> Vec<String> {
    assert!(view.status().is_final());
    let page = node.app.history(&me(), id, 0, 1000).await.unwrap();
    let events = page.events.iter().filter(|e| e.kind == "task.compensated");
    events.map(|e| e.data["task_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_compensating_undoes_each_task_once_and_in_reverse() {
    for world in World::both().await {
        world.agents.script(|seen, _| match seen.task.as_str() {
            "a" | "b" => Act::Answer(json!(1)),
            _ => Act::Wait(json!("undone")),
        });
        world.agents.open(false);
        world
            .plans
            .put("w", json!({"schema": 2, "saga": saga(json!({})), "tasks": fails_after_two(json!({}))}));
        let node = world.node().await;
        let id = node.begin("w").await;
        let reached = |n: usize| {
            let agents: Arc<Agents> = world.agents.clone();
            async move {
                let what = format!("{n} compensations to be called");
                testkit::wait_for(&what, SOON, async || (undoing(&agents).len() >= n).then_some(())).await;
            }
        };
        reached(1).await;
        assert_eq!(node.view(id).await.status(), Status::Compensating);
        node.die().await;
        let node = world.node().await;
        reached(2).await;
        let seen = undoing(&world.agents);
        assert_eq!(seen[0], seen[1], "the same call, under the same message id");
        world.agents.open(true);
        let view = node.ended(id).await;
        assert_eq!(
            (view.status(), undone(&node, &view, id).await),
            (Status::Compensated, vec!["b".into(), "a".into()])
        );
        assert_eq!(undoing(&world.agents).len(), 3, "b twice, a once");
        node.die().await;
        let node = world.node().await;
        assert_eq!(node.view(id).await.status(), Status::Compensated);
        assert_eq!(undoing(&world.agents).len(), 3, "nothing is undone again");
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_that_fails_becomes_a_dead_letter_and_the_others_go_on() {
    for world in World::both().await {
        world.agents.script(|seen, _| match seen.task.as_str() {
            "a" | "b" => Act::Answer(json!(1)),
            path if path.starts_with('b') => {
                Act::Fail { class: FailureClass::Error, known: true, after: None }
            }
            _ => Act::Answer(json!("undone")),
        });
        let tasks = fails_after_two(json!({"retry": retry(2)}));
        world.plans.put("w", json!({"schema": 2, "saga": saga(json!({})), "tasks": tasks}));
        let (node, cluster) = replica(&world).await;
        let id = node.begin("w").await;
        let view = node.ended(id).await;
        assert_eq!(view.status(), Status::Failed, "not everything is undone");
        assert_eq!(undone(&node, &view, id).await, ["a"]);
        let letter = testkit::wait_for("the dead letter", SOON, async || {
            node.app.dead_letters(&me(), &PageRequest::default()).await.unwrap().dead_letters.pop()
        })
        .await;
        assert!(letter.reason.contains('b') && letter.reason.contains(&id.to_string()), "{letter:?}");
        assert_eq!(node.app.dead_letter(&me(), &letter.id).await.unwrap().state, "waiting");
        drop(cluster);
        node.die().await;
        // It is written once, whoever looks at it again.
        let (node, cluster) = replica(&world).await;
        let all = node.app.dead_letters(&me(), &PageRequest::default()).await.unwrap().dead_letters;
        assert_eq!(all.len(), 1);
        // The agent is mended: the same call is made again, once, by an execution of its own.
        world.agents.script(|_, _| Act::Answer(json!("undone")));
        let before = world.agents.calls();
        let was = before.iter().rfind(|call| call.task == "b:compensate").unwrap().input.clone();
        for _ in 0..2 {
            assert_eq!(node.app.redrive(&me(), &letter.id).await.unwrap().state, "redriven");
        }
        let found = ListQuery { correlation_id: id.to_string(), ..ListQuery::default() };
        let own = node.app.list(&me(), found).await.unwrap().rows;
        assert_eq!(own.len(), 1, "{own:?}");
        assert_eq!((own[0].workflow_name.as_str(), own[0].execution_id == id), ("undo-w", false));
        node.completed(own[0].execution_id).await;
        let calls = world.agents.calls();
        assert_eq!((calls.len(), &calls[before.len()].input), (before.len() + 1, &was));
        drop(cluster);
        node.die().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compensation_ends_when_the_time_of_the_installation_or_of_the_workflow_is_over() {
    for (installation, own, late) in [(60, None, 61), (0, Some(30), 31), (3600, Some(30), 31)] {
        let mut world = World::sqlite();
        let clock = testkit::FakeClock::default();
        world.clock = Arc::new(clock.clone());
        world.compensation_timeout = Duration::from_secs(installation);
        world.agents.script(|seen, _| match seen.task.as_str() {
            "a" | "b" => Act::Answer(json!(1)),
            _ => Act::Hang,
        });
        world.agents.on_cancel(|_, _| Told::Yes);
        let more =
            own.map_or(json!({}), |s| json!({"timeout": crate::kit::duration(Duration::from_secs(s))}));
        world.plans.put("w", json!({"schema": 2, "saga": saga(more), "tasks": fails_after_two(json!({}))}));
        let (node, cluster) = replica(&world).await;
        let id = node.begin("w").await;
        testkit::wait_for("the compensation", SOON, async || {
            (!undoing(&world.agents).is_empty()).then_some(())
        })
        .await;
        clock.advance(Duration::from_secs(late));
        // A message makes the lane look at its timers: the clock does not wake it.
        let view = node.ended(id).await;
        assert_eq!(view.status(), Status::Failed);
        assert_eq!(undone(&node, &view, id).await, Vec::<String>::new());
        testkit::wait_for("both letters", SOON, async || {
            let all = node.app.dead_letters(&me(), &PageRequest::default()).await.unwrap().dead_letters;
            (all.len() == 2).then_some(())
        })
        .await;
        // Also the one that never began is undone from its letter, with what it was to be given.
        world.agents.script(|_, _| Act::Answer(json!("undone")));
        let before = world.agents.count();
        for letter in node.app.dead_letters(&me(), &PageRequest::default()).await.unwrap().dead_letters {
            node.app.redrive(&me(), &letter.id).await.unwrap();
        }
        for own in redriven(&node, id).await {
            node.completed(own).await;
        }
        let given: Vec<_> = world.agents.calls().split_off(before).into_iter().map(|c| c.input).collect();
        assert_eq!(given.iter().map(|input| &input["output"]).collect::<Vec<_>>(), [&json!(1), &json!(1)]);
        drop(cluster);
        node.die().await;
    }
}

/// The executions that undo what this one could not.
async fn redriven(node: &Node, id: base::ExecutionId) -> Vec<base::ExecutionId> {
    let found = ListQuery { correlation_id: id.to_string(), ..ListQuery::default() };
    node.app.list(&me(), found).await.unwrap().rows.into_iter().map(|row| row.execution_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_that_never_reached_an_agent_is_made_by_whoever_fits_when_its_letter_is_redriven() {
    for mut world in World::both().await {
        let clock = testkit::FakeClock::default();
        world.clock = Arc::new(clock.clone());
        world.agents.script(|seen, _| Act::Wait(json!(seen.task)));
        world.agents.open(false);
        let undo = json!({"need": {"agent_type": "cleaner", "capabilities": ["mop"], "capability": "mop"}});
        let tasks = fails_after_two(undo);
        world.plans.put("w", json!({"schema": 2, "saga": saga(json!({})), "tasks": tasks}));
        let mut cleaner = agent("cleaner", json!([{"id": "c", "capacity": 4}]));
        (cleaner["type"], cleaner["capabilities"]) = (json!("cleaner"), json!([{"id": "mop"}]));
        world.fleet = Some(vec![crate::kit::worker(64), cleaner.clone()]);
        let (node, cluster) = replica(&world).await;
        let id = node.begin("w").await;
        world.fleet = Some(vec![crate::kit::worker(64)]);
        node.engine.set_fleet(world.snapshot().unwrap());
        world.agents.open(true);
        // Nobody mops, for longer than a call waits, twice.
        for undo in ["b:compensate", "a:compensate"] {
            node.until(&format!("{undo} to wait"), id, |view| {
                let why = |r: &workflow::Reason| {
                    (r.task.as_ref().map(|(_, path)| path.as_str()), r.why.as_str())
                        == (Some(undo), "no_agent")
                };
                view.stuck().iter().any(why)
            })
            .await;
            clock.advance(Duration::from_secs(301));
        }
        let view = node.ended(id).await;
        assert_eq!((view.status(), undone(&node, &view, id).await.len()), (Status::Failed, 0));
        let letters = testkit::wait_for("both letters", SOON, async || {
            let all = node.app.dead_letters(&me(), &PageRequest::default()).await.unwrap().dead_letters;
            (all.len() == 2).then_some(all)
        })
        .await;
        let refused = node.app.redrive(&me(), &letters[0].id).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InsufficientResources);
        let letter = node.app.dead_letter(&me(), &letters[0].id).await.unwrap();
        assert_eq!(letter.state, "waiting", "it can be tried again");
        world.fleet = Some(vec![crate::kit::worker(64), cleaner]);
        node.engine.set_fleet(world.snapshot().unwrap());
        let before = world.agents.count();
        for letter in letters.iter().chain(&letters) {
            assert_eq!(node.app.redrive(&me(), &letter.id).await.unwrap().state, "redriven");
        }
        let own = redriven(&node, id).await;
        assert_eq!(own.len(), 2, "one for each, however often it is asked for");
        for id in own {
            let view = node.completed(id).await;
            assert_eq!(view.output().and_then(|o| o.json()).as_deref(), Some(&json!("undo")), "{view:?}");
        }
        let calls = world.agents.calls().split_off(before);
        let mut undone: Vec<_> = calls.iter().map(|c| (&*c.instance, c.input["output"].clone())).collect();
        undone.sort_by_key(|(_, output)| output.to_string());
        assert_eq!(undone, [("c", json!("a")), ("c", json!("b"))]);
        drop(cluster);
        node.die().await;
    }
}
