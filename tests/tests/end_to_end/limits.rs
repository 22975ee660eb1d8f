//! Small limits, each on a system of its own.

use agent::Effect;
use futures::future::join_all;
use harness::{Act, Shape, System, TestAgent};
use serde_json::json;
use testkit::unique_name;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_system_queues_starts_and_then_refuses_them() {
    let settings = [("executor.max_concurrent_workflows", "1"), ("executor.start_queue_max", "2")];
    let system = tokio::task::block_in_place(|| System::start(Shape::OneProcess, &settings));
    let _logs = system.shown_on_failure();
    let api = system.api();
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Hold(json!(1))).await;
    let name = unique_name("flow");
    api.define(&format!("name: {name}\ntasks: [{{id: one, capability: {}}}]\n", agent.capability)).await;
    let first = api.start(&name, &json!({})).await;
    agent.until_asked(1).await;
    let path = format!("/workflows/{name}/execute");
    let mut queued = Vec::new();
    for place in 1..=2 {
        let answer = api.post(&path, &json!({"input": {}})).await.expect(202);
        assert_eq!((&answer["status"], &answer["queue_position"]), (&json!("planning"), &json!(place)));
        queued.push(answer["execution_id"].as_str().unwrap().to_owned());
    }
    let refused = api.post(&path, &json!({"input": {}})).await;
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    refused.problem(429, "resource_exhausted");
    let capacity = api.get("/workflow-capacity").await;
    let capacity = if capacity.status == 404 {
        reqwest::get(format!("{}/workflow-capacity", api.base())).await.unwrap().json().await.unwrap()
    } else {
        capacity.body
    };
    assert_eq!((&capacity["active"], &capacity["queued"]), (&json!(1), &json!(2)), "{capacity}");
    agent.release();
    for id in std::iter::once(&first).chain(&queued) {
        assert_eq!(api.ended(id).await["status"], "completed");
    }
    let order: Vec<String> = agent.seen().into_iter().map(|s| s.execution).collect();
    assert_eq!(order[1..], queued[..], "first come, first served");
}

/// Twenty times as many starts as fit, and a crash in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_under_overload_completes_and_the_rest_was_told_to_come_again() {
    let settings = [("executor.max_concurrent_workflows", "4"), ("executor.start_queue_max", "6")];
    let system = tokio::task::block_in_place(|| System::start(Shape::OneProcess, &settings));
    let _logs = system.shown_on_failure();
    let api = system.api();
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Hold(json!("done"))).await;
    let name = unique_name("flow");
    api.define(&format!("name: {name}\ntasks: [{{id: one, capability: {}}}]\n", agent.capability)).await;
    let first = api.start(&name, &json!({})).await;
    agent.until_asked(1).await;

    let path = format!("/workflows/{name}/execute");
    let body = json!({"input": {}});
    let answers = join_all((0..200).map(|_| api.post(&path, &body))).await;
    let mut acknowledged = vec![first];
    let mut refused = 0;
    for answer in answers {
        match answer.status {
            202 => acknowledged.push(answer.body["execution_id"].as_str().unwrap().to_owned()),
            429 => {
                let after =
                    answer.headers.get("retry-after").and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
                assert!(after.is_some_and(|seconds| seconds > 0), "{answer:?}");
                answer.problem(429, "resource_exhausted");
                refused += 1;
            }
            _ => panic!("neither taken nor refused: {answer:?}"),
        }
    }
    assert_eq!(acknowledged.len(), 10, "four run and six wait");
    assert_eq!(refused, 191);

    system.kill("all");
    tokio::task::block_in_place(|| system.restart("all"));
    agent.release();
    for id in &acknowledged {
        assert_eq!(api.ended(id).await["status"], "completed", "{id}");
    }
    // With room again, starts are taken again.
    assert_eq!(api.run(&name, &json!({})).await["status"], "completed");
}
