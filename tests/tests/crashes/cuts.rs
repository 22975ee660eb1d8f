//! A cancel reaches the agent although the process died after the commit and before it told anybody.

use agent::Effect;
use harness::{Act, Api, PATIENCE, Shape, System, TestAgent};
use reqwest::Method;
use serde_json::json;
use testkit::{unique_name, wait_for};

use crate::work::taken_over;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_tells_the_agent_of_a_cancel_after_a_crash() {
    told_after_a_crash(Shape::OneProcess).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_tells_the_agent_of_a_cancel_after_a_crash() {
    told_after_a_crash(Shape::Cluster).await;
}

async fn told_after_a_crash(shape: Shape) {
    // Every call streams: the agent names it long before it ends.
    let system = tokio::task::block_in_place(|| System::start(shape, &[("executor.short_call", "0s")]));
    let _logs = system.shown_on_failure();
    let (api, victim) = (system.api(), shape.executor());
    let agent = TestAgent::start(&api, Effect::Pure, |_| Act::Never).await;
    let workflow = unique_name("cut");
    api.define(&format!("name: {workflow}\ntasks: [{{id: one, capability: {}}}]\n", agent.capability)).await;
    // The agent's name for the call is on disk only after a second: before, the agent has to be asked for it.
    for (told, named) in [(1, false), (2, true)] {
        system.kill(victim);
        if shape == Shape::Cluster && !named {
            system.kill("executor-2");
        }
        system.launch(victim, &[("ORCHESTRA_CRASH_AT", "cut-not-told")]);
        system.wait_ready(victim);
        if shape == Shape::Cluster && !named {
            taken_over(&system, victim).await;
        }
        let id = started(&api, &workflow).await;
        agent.until_asked(told).await;
        if named {
            let accepted = |e: &serde_json::Value| e["type"] == "task.accepted";
            wait_for("the name on disk", PATIENCE, async || {
                api.history(&id).await.iter().any(accepted).then_some(())
            })
            .await;
        }
        // Its answer is lost with the process, or came before it died.
        let cancel = api.request(Method::POST, &format!("/executions/{id}/cancel")).json(&json!({}));
        let _ = api.try_send(cancel.timeout(PATIENCE)).await;
        system.wait_end(victim);
        assert_eq!(agent.cancelled().len(), told - 1, "it died before it told the agent");
        system.restart(victim);
        agent.until_cancelled(told).await;
        assert_eq!(api.ended(&id).await["status"], "cancelled");
        assert_eq!(agent.cancelled()[told - 1].execution, id);
        assert_eq!(agent.count(), told, "nothing was sent again");
    }
    agent.stop().await;
}

/// Starts one as soon as the executor knows the agent.
async fn started(api: &Api, workflow: &str) -> String {
    wait_for("a start", PATIENCE, async || {
        let path = format!("/workflows/{workflow}/execute");
        let got = api.try_send(api.request(Method::POST, &path).json(&json!({"input": {}}))).await?;
        (got.status < 300).then(|| got.body["execution_id"].as_str().unwrap().to_owned())
    })
    .await
}
