//! Every named place where a process can die.

use agent::Effect;
use executor::engine::crash::POINTS;
use harness::{Api, PATIENCE, Shape, System};
use serde_json::json;
use testkit::wait_for;

use crate::work::{Work, taken_over};

/// Executions under way at each place.
const EXECUTIONS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_survives_a_crash_at_every_named_point() {
    every_point(Shape::OneProcess).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_survives_a_crash_at_every_named_point() {
    every_point(Shape::Cluster).await;
}

async fn every_point(shape: Shape) {
    // Every call streams, so that there is a moment between "sent" and "answered".
    let system = tokio::task::block_in_place(|| System::start(shape, &[("executor.short_call", "0s")]));
    let _logs = system.shown_on_failure();
    for point in POINTS {
        // Nobody reads the streams of one process, so it publishes nothing and does not come by.
        if shape == Shape::OneProcess && point.contains("publish") {
            continue;
        }
        // It comes by there only in a cancel, which has tests of its own.
        if point == "cut-not-told" {
            continue;
        }
        eprintln!("{shape:?}: {point}");
        crash_at(&system, point).await;
    }
}

/// Kills the executor when it comes by `point`, starts it again, and checks that nothing is lost or done twice.
async fn crash_at(system: &System, point: &str) {
    let victim = system.shape().executor();
    let work = Work::prepare(system, Effect::Idempotent).await;
    let handover = point == "in-handover";
    system.kill(victim);
    if handover && system.shape() == Shape::Cluster {
        // Alone it takes everything; when the other comes back it hands over.
        system.kill("executor-2");
    }
    system.launch(victim, &[("ORCHESTRA_CRASH_AT", point)]);
    if handover {
        system.wait_ready(victim);
        if system.shape() == Shape::Cluster {
            taken_over(system, victim).await;
        }
    }
    let clients = work.start(EXECUTIONS);
    match (point, system.shape()) {
        ("in-handover", Shape::Cluster) => system.launch("executor-2", &[]),
        ("in-handover", Shape::OneProcess) => system.signal(victim, "TERM"),
        ("in-checkpoint", _) => pause_until_dead(system, &work).await,
        _ => {}
    }
    system.wait_end(victim);
    system.restart(victim);
    if handover && system.shape() == Shape::Cluster {
        system.wait_ready("executor-2");
    }
    let ids = work.all_acknowledged(clients, EXECUTIONS).await;
    let api = system.api();
    for id in &ids {
        // A pause whose answer was lost may have been committed.
        let execution = api.execution(id).await;
        if execution["status"] == "paused" {
            api.post(&format!("/executions/{id}/resume"), &json!({})).await.expect(200);
        }
    }
    work.check(&ids).await;
    work.agent.stop().await;
}

/// Pauses executions of its own until the process that owns one of them has died of it.
async fn pause_until_dead(system: &System, work: &Work) {
    let (api, victim) = (system.api(), system.shape().executor());
    let held = Held::start(&api, work).await;
    wait_for("the process to die in a checkpoint", PATIENCE, async || {
        if !system.runs(victim) {
            return Some(());
        }
        held.pause_one(&api).await;
        None
    })
    .await;
    held.end(&api).await;
}

/// Executions of a workflow that waits for its agent, to be paused.
struct Held {
    agent: harness::TestAgent,
    workflow: String,
    started: std::sync::Mutex<Vec<String>>,
}

impl Held {
    async fn start(api: &Api, work: &Work) -> Self {
        let agent = harness::TestAgent::start(api, Effect::Pure, |_| harness::Act::Hold(json!("held"))).await;
        let workflow = format!("{}-held", work.workflow);
        api.define(&format!("name: {workflow}\ntasks: [{{id: one, capability: {}}}]\n", agent.capability))
            .await;
        Self { agent, workflow, started: std::sync::Mutex::default() }
    }

    async fn pause_one(&self, api: &Api) {
        let path = format!("/workflows/{}/execute", self.workflow);
        let start = api.request(reqwest::Method::POST, &path).json(&json!({"input": {}}));
        let Some(got) = api.try_send(start).await else { return };
        let Some(id) = got.body["execution_id"].as_str().map(str::to_owned) else { return };
        self.started.lock().unwrap().push(id.clone());
        let pause = api.request(reqwest::Method::POST, &format!("/executions/{id}/pause")).json(&json!({}));
        // The answer is lost when it dies.
        let _ = api.try_send(pause.timeout(std::time::Duration::from_secs(2))).await;
    }

    /// All of them end when they are let go, whether their pause was recorded or not.
    async fn end(self, api: &Api) {
        let started = self.started.lock().unwrap().clone();
        let (agent, api) = (self.agent, api.clone());
        agent.release();
        tokio::spawn(async move {
            let _keep = agent;
            for id in started {
                let path = format!("/executions/{id}/terminate");
                let _ = api.try_send(api.request(reqwest::Method::POST, &path).json(&json!({}))).await;
            }
        });
    }
}
