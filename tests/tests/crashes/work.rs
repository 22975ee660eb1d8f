//! Work that is under way while something dies, and the checks that it survived.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent::Effect;
use harness::{Act, Api, PATIENCE, System, TestAgent};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{unique_name, wait_for};
use tokio::task::JoinSet;

/// Steps of one execution, one after another.
pub(crate) const STEPS: usize = 2;
/// Starts that are on their way at the same time.
const AT_ONCE: usize = 16;

/// A workflow of [`STEPS`] steps, its agent, and the starts that were acknowledged.
pub(crate) struct Work {
    pub(crate) agent: TestAgent,
    pub(crate) workflow: String,
    api: Api,
    acknowledged: Arc<Mutex<BTreeMap<usize, String>>>,
}

impl Work {
    pub(crate) async fn prepare(system: &System, effect: Effect) -> Self {
        Self::prepare_with(system, effect, |seen| Act::Answer(json!(seen.task))).await
    }

    pub(crate) async fn prepare_with(
        system: &System,
        effect: Effect,
        script: impl Fn(&harness::Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        let api = system.api();
        let agent = TestAgent::start(&api, effect, script).await;
        let workflow = unique_name("work");
        let mut text = format!("name: {workflow}\ntasks:\n");
        for step in 0..STEPS {
            let after = if step == 0 { String::new() } else { format!(", depends_on: [step{}]", step - 1) };
            text += &format!("  - {{id: step{step}, capability: {}{after}}}\n", agent.capability);
        }
        api.define(&text).await;
        Self { agent, workflow, api, acknowledged: Arc::default() }
    }

    /// Starts `count` executions, each under a key of its own, over and over until it is acknowledged: what a careful
    /// client does. Runs by itself.
    pub(crate) fn start(&self, count: usize) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        let next = Arc::new(Mutex::new(0..count));
        for _ in 0..AT_ONCE.min(count) {
            let (api, workflow, next) = (self.api.clone(), self.workflow.clone(), next.clone());
            let acknowledged = self.acknowledged.clone();
            clients.spawn(async move {
                loop {
                    let Some(number) = next.lock().unwrap().next() else { return };
                    let id = acknowledged_start(&api, &workflow, number).await;
                    acknowledged.lock().unwrap().insert(number, id);
                }
            });
        }
        clients
    }

    /// Waits until all clients have been told that their starts are accepted.
    pub(crate) async fn all_acknowledged(&self, clients: JoinSet<()>, count: usize) -> Vec<String> {
        clients.join_all().await;
        let ids: Vec<String> = self.acknowledged.lock().unwrap().values().cloned().collect();
        assert_eq!(ids.len(), count);
        ids
    }

    /// All of these complete, and every step of each of them had its effect once.
    pub(crate) async fn check(&self, ids: &[String]) {
        let mut ends = JoinSet::new();
        for chunk in ids.chunks(ids.len().div_ceil(8).max(1)) {
            let (api, chunk) = (self.api.clone(), chunk.to_vec());
            ends.spawn(async move {
                for id in chunk {
                    let ended = api.ended(&id).await;
                    assert_eq!(ended["status"], "completed", "{ended:#}");
                }
            });
        }
        ends.join_all().await;
        self.check_effects(ids);
    }

    /// Every step of each execution had its effect once: the agent was asked under one effect key, and did not work on
    /// one key twice.
    pub(crate) fn check_effects(&self, ids: &[String]) {
        let mut effects: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for seen in self.agent.seen() {
            effects
                .entry((seen.execution.clone(), seen.task.clone()))
                .or_default()
                .push(seen.effect_key.clone());
        }
        for id in ids {
            for step in 0..STEPS {
                let keys = effects.get(&(id.clone(), format!("step{step}"))).cloned().unwrap_or_default();
                assert_eq!(keys.len(), 1, "step{step} of {id} was worked on under {keys:?}");
            }
        }
        assert_eq!(effects.len(), ids.len() * STEPS, "nothing but what was acknowledged was worked on");
    }
}

/// Starts number `number` of a workflow until somebody says that it is accepted.
async fn acknowledged_start(api: &Api, workflow: &str, number: usize) -> String {
    let path = format!("/workflows/{workflow}/execute");
    let body = json!({"input": {"number": number}});
    let key = format!("{workflow}-{number}");
    let give_up = tokio::time::Instant::now() + PATIENCE * 2;
    loop {
        let request = api.request(Method::POST, &path).header("idempotency-key", &key).json(&body);
        let answer = api.try_send(request.timeout(Duration::from_secs(10))).await;
        match answer.as_ref().map(|got| (got.status, got.body["execution_id"].as_str())) {
            Some((200 | 202, Some(id))) => return id.to_owned(),
            // Away, busy, or the fleet is not known yet: try again.
            None | Some((429 | 500..=599, _)) => {}
            Some(_) => panic!("start {number} was refused: {answer:?}"),
        }
        assert!(tokio::time::Instant::now() < give_up, "start {number} is not acknowledged: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The value of an execution's task once it needs a decision.
pub(crate) async fn until_undecided(api: &Api, id: &str, task: &str) -> Value {
    api.until_task(id, task, "needs_decision").await
}

/// The other executor has every shard within ten seconds.
pub(crate) async fn taken_over(system: &System, by: &str) {
    wait_for("the other executor to take over", Duration::from_secs(10), async || {
        let left =
            system.sql(&format!("SELECT count(*) FROM executor.shards WHERE member IS DISTINCT FROM '{by}'"));
        (left == ["0"]).then_some(())
    })
    .await;
}
