//! An agent that does what the test says, and remembers what it was asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agent::{Agent, Call, Effect, Failure, Running, ServeOptions, Skill};
use serde_json::{Value, json};
use testkit::{unique_name, wait_for};
use tokio::{runtime::Runtime, sync::watch};

use crate::{Api, PATIENCE};

/// One call that was worked on. A repeated message is one call.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The agent that was called.
    pub agent: String,
    /// The task.
    pub task: String,
    /// Item of a scattered task.
    pub index: Option<u64>,
    /// The execution.
    pub execution: String,
    /// The same for every send of one attempt.
    pub message: String,
    /// The same for every attempt of the task.
    pub effect_key: String,
    /// What it is given.
    pub input: Value,
    /// Which call with this effect key it is, from 1.
    pub nth: usize,
}

/// What the agent does with a call.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers at once.
    Answer(Value),
    /// Answers when the test releases it ([`TestAgent::release`]).
    Hold(Value),
    /// Fails: tried, and it did not work.
    Fail(String),
    /// Refuses the call.
    Reject(String),
    /// Asks a question and answers with what it was told.
    Ask(String),
    /// Says that it is half done, and goes on until it is cancelled.
    Never,
}

/// Chooses what to do with a call.
pub type Script = Arc<dyn Fn(&Seen) -> Act + Send + Sync>;

#[derive(Default)]
struct Memory {
    seen: Vec<Seen>,
    cancelled: Vec<Seen>,
    by_key: BTreeMap<String, usize>,
}

struct Mind {
    script: Script,
    memory: Mutex<Memory>,
    released: watch::Sender<bool>,
}

impl Mind {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn handle(self: Arc<Self>, agent: String, call: Call) -> Result<Value, Failure> {
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let mut seen = Seen {
            agent,
            task: text(call.task_id()),
            index: call.position().map(|(index, _)| index),
            execution: text(call.execution_id()),
            message: call.message_id().to_owned(),
            effect_key: text(call.effect_key()),
            input: call.input(),
            nth: 0,
        };
        {
            let mut memory = self.memory();
            let count = memory.by_key.entry(seen.effect_key.clone()).or_default();
            *count += 1;
            seen.nth = *count;
            memory.seen.push(seen.clone());
        }
        match (self.script)(&seen) {
            Act::Answer(value) => Ok(value),
            Act::Hold(value) => {
                let mut released = self.released.subscribe();
                tokio::select! {
                    _ = released.wait_for(|released| *released) => Ok(value),
                    () = call.cancelled() => Err(self.cancelled(seen)),
                }
            }
            Act::Fail(why) => Err(Failure::Failed(why)),
            Act::Reject(why) => Err(Failure::Rejected(why)),
            Act::Ask(question) => {
                let answer = call.ask(&question).await.map_err(|_| self.cancelled(seen))?;
                let data = answer.parts.iter().find_map(|part| part.as_data());
                Ok(json!({"answered": data.and_then(|data| data.value()), "text": answer.text()}))
            }
            Act::Never => {
                call.progress(0.5, "half of it");
                call.cancelled().await;
                Err(self.cancelled(seen))
            }
        }
    }

    fn cancelled(&self, seen: Seen) -> Failure {
        self.memory().cancelled.push(seen);
        Failure::Failed("cancelled".into())
    }
}

/// One or more agents with one capability of their own, in this process.
pub struct TestAgent {
    /// The capability that only they have.
    pub capability: String,
    /// Their ids.
    pub ids: Vec<String>,
    mind: Arc<Mind>,
    running: Vec<Running>,
    /// Its own, so that it can die with everything it has open.
    runtime: Option<Runtime>,
}

impl Drop for TestAgent {
    fn drop(&mut self) {
        self.crash();
    }
}

impl TestAgent {
    /// Starts one agent with these effects and registers it.
    pub async fn start(
        api: &Api,
        effect: Effect,
        script: impl Fn(&Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::several(api, 1, effect, script).await
    }

    /// Starts `count` agents of the same capability.
    ///
    /// # Panics
    /// When one cannot be started or is not accepted.
    pub async fn several(
        api: &Api,
        count: usize,
        effect: Effect,
        script: impl Fn(&Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        let mut all = Self::nobody(script);
        for _ in 0..count {
            all.join(api, effect, 64).await;
        }
        all
    }

    fn nobody(script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        let mind =
            Mind { script: Arc::new(script), memory: Mutex::default(), released: watch::channel(false).0 };
        Self::of(unique_name("skill"), Arc::new(mind))
    }

    fn of(capability: String, mind: Arc<Mind>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = Some(runtime.expect("a runtime can be made"));
        Self { capability, ids: Vec::new(), mind, running: Vec::new(), runtime }
    }

    /// `count` more agents of the same capability and memory that can die on their own.
    pub async fn twin(&self, api: &Api, count: usize, effect: Effect) -> Self {
        let mut twin = Self::of(self.capability.clone(), Arc::clone(&self.mind));
        for _ in 0..count {
            twin.join(api, effect, 64).await;
        }
        twin
    }

    /// Starts one more agent with room for `capacity` calls.
    ///
    /// # Panics
    /// When it cannot be started or is not accepted.
    pub async fn join(&mut self, api: &Api, effect: Effect, capacity: u32) {
        let id = unique_name("agent");
        let mut running = self.serve(&id, effect, capacity, Some(api.base().to_owned())).await;
        assert!(running.registered().await, "{id} is registered");
        self.ids.push(id);
        self.running.push(running);
    }

    /// One agent of two instances, each at an address of its own.
    ///
    /// # Panics
    /// When it cannot be started or is not accepted.
    pub async fn of_two_instances(
        api: &Api,
        effect: Effect,
        script: impl Fn(&Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        let mut all = Self::nobody(script);
        let mut instances = Vec::new();
        for name in ["one", "two"] {
            let running = all.serve(name, effect, 64, None).await;
            instances.push(json!({"id": name, "endpoint": running.url}));
            all.running.push(running);
        }
        let id = unique_name("agent");
        let definition = json!({
            "id": id, "name": id, "type": "test", "version": "1.0.0", "instances": instances,
            "capabilities": [{"id": all.capability, "name": "test", "effect": effect.as_str()}],
        });
        api.post("/agents", &definition).await.expect(201);
        all.ids.push(id);
        all
    }

    /// Two agents of the same capability: one costs 9 and means to answer within a second, one costs 1 and takes three.
    ///
    /// # Panics
    /// When one is not accepted.
    pub async fn dear_and_cheap(
        api: &Api,
        effect: Effect,
        script: impl Fn(&Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        let mut all = Self::nobody(script);
        for (kind, cost, target_ms) in [("dear", 9, 1000), ("cheap", 1, 3000)] {
            let id = unique_name(kind);
            let running = all.serve(&id, effect, 64, None).await;
            let definition = json!({
                "id": id, "name": id, "type": "test", "version": "1.0.0", "endpoint": running.url, "cost": cost,
                "capabilities": [{
                    "id": all.capability, "name": "test", "effect": effect.as_str(),
                    "performance": {"responseTime": {"target": target_ms}},
                }],
            });
            api.post("/agents", &definition).await.expect(201);
            all.running.push(running);
            all.ids.push(id);
        }
        all
    }

    async fn serve(&self, id: &str, effect: Effect, capacity: u32, register: Option<String>) -> Running {
        let (mind, name) = (self.mind.clone(), id.to_owned());
        let skill = Skill::new(&self.capability, "Does what the test says")
            .effect(effect)
            .handler(move |call: Call| mind.clone().handle(name.clone(), call));
        let options = ServeOptions {
            register,
            id: Some(id.to_owned()),
            drain: Duration::from_millis(100),
            ..ServeOptions::default()
        };
        let agent = Agent::new(id, "For tests").capacity(capacity).skill(skill);
        let runtime = self.runtime.as_ref().expect("the agent has not crashed");
        let started = runtime.spawn(agent.start(options)).await.expect("starting does not panic");
        started.expect("an agent can be started")
    }

    /// Everything that is held is answered, and what comes later is not held.
    pub fn release(&self) {
        self.mind.released.send_replace(true);
    }

    /// Everything it was asked.
    pub fn seen(&self) -> Vec<Seen> {
        self.mind.memory().seen.clone()
    }

    /// How many calls it has worked on.
    pub fn count(&self) -> usize {
        self.mind.memory().seen.len()
    }

    /// The calls that were cancelled.
    pub fn cancelled(&self) -> Vec<Seen> {
        self.mind.memory().cancelled.clone()
    }

    /// Waits until it has been asked so many times.
    pub async fn until_asked(&self, times: usize) -> Vec<Seen> {
        wait_for(&format!("{times} calls"), PATIENCE, async || {
            let seen = self.seen();
            (seen.len() >= times).then_some(seen)
        })
        .await
    }

    /// Waits until so many calls were cancelled.
    pub async fn until_cancelled(&self, times: usize) {
        let what = format!("{times} cancelled calls");
        wait_for(&what, PATIENCE, async || (self.cancelled().len() >= times).then_some(())).await;
    }

    /// How often each effect key was worked on.
    pub fn effects(&self) -> BTreeMap<String, usize> {
        self.mind.memory().by_key.clone()
    }

    /// It is gone as after `kill -9`: nobody listens, connections are cut, and it stays registered.
    pub fn crash(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Takes it off the register and stops it.
    pub async fn stop(mut self) {
        for running in std::mem::take(&mut self.running) {
            let _ = running.stop().await;
        }
    }
}
