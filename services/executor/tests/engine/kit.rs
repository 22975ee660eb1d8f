//! One replica over one real store, with scripted plans and agents.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use api::Fault;
use async_trait::async_trait;
use base::{CallContext, Clock, ExecutionId, Payload, WorkflowId};
use executor::{
    app::{App, Defaults, StartOutcome, StartRequest},
    call::AgentCaller,
    engine::{Command, Commanded, Engine, EngineMetrics, ExecutionView, Limits, Parts},
    plans::{FoundPlan, PlanSource},
};
use serde_json::{Value, json};
use store::{
    Journal, PostgresJournal, PostgresOptions, SqliteJournal, SqliteOptions,
    journal::{Executions as _, Join, MemberId, Members as _, Membership},
};
use tokio::sync::watch;
use workflow::{Status, plan::RetryPolicy};

use crate::{
    agents::Agents,
    gate::{Gate, Way},
};

pub(crate) const SHARDS: u16 = 4;
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Definitions by name, the newest version last.
#[derive(Default)]
pub(crate) struct Plans(Mutex<BTreeMap<String, Vec<Value>>>);

impl Plans {
    pub(crate) fn put(&self, name: &str, mut plan: Value) {
        let mut all = self.0.lock().unwrap();
        let versions = all.entry(name.to_owned()).or_default();
        if plan["schema"].is_null() {
            plan["schema"] = json!(1);
        }
        plan["name"] = json!(name);
        plan["version"] = json!((versions.len() + 1).to_string());
        versions.push(plan);
    }

    /// A definition as callers write it; gives its name. The same again is no new version.
    fn put_definition(&self, text: &str) -> String {
        let outcome = language::compile(text, &language::Options::default());
        let compiled = outcome.compiled.unwrap_or_else(|| panic!("{text}: {:?}", outcome.findings));
        let plan = compiled.plan;
        if !self.0.lock().unwrap().contains_key(&plan.name) {
            self.put(&plan.name.clone(), serde_json::to_value(&plan).unwrap());
        }
        plan.name
    }
}

#[async_trait]
impl PlanSource for Plans {
    async fn plan(
        &self,
        context: &CallContext,
        workflow: &str,
        inline: Option<(&str, &str)>,
    ) -> Result<FoundPlan, Fault> {
        let own = inline.map(|(text, _)| self.put_definition(text));
        let workflow = own.as_deref().unwrap_or(workflow);
        let (name, version) = match workflow.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (workflow, None),
        };
        let all = self.0.lock().unwrap();
        let id = |known: &str| WorkflowId::from_name(&context.tenant, known);
        let found = all.iter().find(|(known, _)| *known == name || id(known).to_string() == name);
        let (known, versions) = found.ok_or_else(|| Fault::not_found("workflow", name))?;
        let plan = match version {
            Some(version) => versions.iter().find(|v| v["version"] == version),
            None => versions.last(),
        };
        let plan = plan.ok_or_else(|| Fault::not_found("workflow", workflow))?;
        Ok(FoundPlan {
            edition: String::new(),
            workflow_id: id(known),
            name: known.clone(),
            version: plan["version"].as_str().unwrap().into(),
            plan_json: plan.to_string(),
        })
    }
}

/// A task that any worker may do, fed with the execution's input.
pub(crate) fn task(id: &str, more: Value) -> Value {
    let mut task = json!({"id": id, "need": {"agent_type": "worker"}, "input": "execution"});
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    task
}

/// A retry policy as plans write it: `attempts` in all, 1 ms apart.
pub(crate) fn retry(attempts: u32) -> Value {
    let policy = RetryPolicy {
        max_attempts: attempts,
        base_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    serde_json::to_value(policy).unwrap()
}

pub(crate) fn duration(d: Duration) -> Value {
    serde_json::to_value(d).unwrap()
}

enum Store {
    Sqlite(tempfile::TempDir),
    Postgres(String),
}

/// What outlives a process.
pub(crate) struct World {
    pub(crate) plans: Arc<Plans>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) caller: Option<Arc<dyn AgentCaller>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) fleet: Option<Vec<Value>>,
    pub(crate) payload_bytes_max: usize,
    pub(crate) event_ttl: Duration,
    pub(crate) compensation_timeout: Duration,
    pub(crate) spans: runtime::Spans,
    store: Store,
}

impl World {
    pub(crate) fn sqlite() -> Self {
        Self::of(Store::Sqlite(tempfile::tempdir().unwrap()))
    }

    pub(crate) async fn postgres() -> Self {
        Self::of(Store::Postgres(tokio::task::spawn_blocking(testkit::fresh_database).await.unwrap()))
    }

    /// One with each store.
    pub(crate) async fn both() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    fn of(store: Store) -> Self {
        let plans = Arc::new(Plans::default());
        plans.put("one", json!({"tasks": [task("t", json!({}))]}));
        Self {
            plans,
            agents: Agents::new(),
            caller: None,
            clock: Arc::new(runtime::SystemClock),
            limits: Limits { shards: SHARDS, lanes: 2, ..Limits::default() },
            fleet: Some(vec![worker(64)]),
            payload_bytes_max: 8 << 20,
            event_ttl: Duration::from_secs(3600),
            compensation_timeout: Duration::ZERO,
            spans: runtime::Spans::default(),
            store,
        }
    }

    async fn journal(&self) -> Arc<dyn Journal> {
        match &self.store {
            Store::Postgres(url) => {
                Arc::new(PostgresJournal::open(&PostgresOptions::new(url)).await.unwrap())
            }
            Store::Sqlite(folder) => {
                let path = folder.path().join("executor.db");
                testkit::wait_for("the file to be free", SOON, async || {
                    let open = SqliteJournal::open(&SqliteOptions::new(&path)).ok();
                    open.map(|journal| Arc::new(journal) as Arc<dyn Journal>)
                })
                .await
            }
        }
    }

    pub(crate) fn snapshot(&self) -> Option<Arc<catalog::Snapshot>> {
        let agents = self.fleet.as_ref()?.iter().map(|agent| {
            let entry = catalog::AgentEntry::from_json(&agent.to_string(), 1, catalog::AgentState::Active);
            Arc::new(entry.unwrap())
        });
        Some(Arc::new(catalog::Snapshot::of(1, agents)))
    }

    /// The store as a process opens it.
    pub(crate) async fn open(&self) -> Arc<Gate> {
        let journal = Arc::new(Gate::new(self.journal().await));
        journal.ensure_shards(SHARDS).await.unwrap();
        journal
    }

    /// A process: its next life, with all shards.
    pub(crate) async fn node(&self) -> Node {
        let journal = self.open().await;
        let join = Join {
            id: MemberId::new("executor").unwrap(),
            address: String::new(),
            lease: Duration::from_secs(3600),
            reads_up_to: 1,
            region: String::new(),
            cluster: String::new(),
        };
        let me = journal.join(join).await.unwrap();
        let fatal = Fatal::default();
        let engine = self.engine(&journal, me.clone(), &fatal);
        engine.set_members(HashMap::from([(me.id.as_str().into(), me.incarnation)])).await;
        let _settling = engine.settling();
        for shard in 0..SHARDS {
            journal.claim(&me, shard).await.unwrap();
            engine.acquire(shard).await.unwrap();
        }
        self.node_of(engine, journal, fatal)
    }

    pub(crate) fn engine(&self, journal: &Arc<Gate>, me: Membership, fatal: &Fatal) -> Engine {
        let engine = Engine::start(Parts {
            journal: journal.clone(),
            clock: self.clock.clone(),
            caller: self.caller.clone().unwrap_or_else(|| self.agents.clone()),
            plans: self.plans.clone(),
            publisher: None,
            limits: self.limits.clone(),
            me,
            metrics: Arc::new(EngineMetrics::new(&runtime::Metrics::detached())),
            fatal: fatal.told(),
        });
        engine.use_spans(self.spans.clone());
        if let Some(fleet) = self.snapshot() {
            engine.set_fleet(fleet);
        }
        engine
    }

    pub(crate) fn node_of(&self, engine: Engine, journal: Arc<Gate>, fatal: Fatal) -> Node {
        let defaults = Defaults {
            timeout: Duration::from_secs(3600),
            allocation_timeout: Duration::from_secs(300),
            checkpoint_every: Duration::from_secs(300),
            event_ttl: self.event_ttl,
            compensation_timeout: self.compensation_timeout,
            retry: RetryPolicy::none(),
            payload_bytes_max: self.payload_bytes_max,
        };
        let bus = Arc::new(bus::InProcessBus::default());
        let app = App::new(engine.clone(), journal.clone(), self.clock.clone(), bus, defaults);
        Node { journal, engine, app, fatal }
    }
}

/// Why the process would have ended itself.
#[derive(Clone)]
pub(crate) struct Fatal(Arc<watch::Sender<Option<String>>>);

impl Default for Fatal {
    fn default() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }
}

impl Fatal {
    pub(crate) fn told(&self) -> Arc<dyn Fn(&str) + Send + Sync> {
        let all = self.0.clone();
        Arc::new(move |why: &str| drop(all.send_replace(Some(why.to_owned()))))
    }

    pub(crate) fn why(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

/// `worker` with one instance `a` of this capacity.
pub(crate) fn worker(capacity: u32) -> Value {
    agent("worker", json!([{"id": "a", "capacity": capacity}]))
}

pub(crate) fn agent(id: &str, instances: Value) -> Value {
    json!({
        "id": id, "name": id, "type": "worker", "version": "1", "endpoint": "http://127.0.0.1:1",
        "capabilities": [], "instances": instances,
    })
}

/// One process.
pub(crate) struct Node {
    pub(crate) journal: Arc<Gate>,
    pub(crate) engine: Engine,
    pub(crate) app: App,
    pub(crate) fatal: Fatal,
}

pub(crate) fn request(workflow: &str, input: Value) -> StartRequest {
    StartRequest {
        workflow: workflow.into(),
        input: Some(Payload::from_value(&input)),
        ..StartRequest::default()
    }
}

pub(crate) fn keyed(workflow: &str, key: &str) -> StartRequest {
    StartRequest { key: key.into(), ..request(workflow, json!({})) }
}

pub(crate) fn me() -> CallContext {
    CallContext::default()
}

impl Node {
    pub(crate) async fn start(&self, request: StartRequest) -> Result<StartOutcome, Fault> {
        tokio::time::timeout(SOON, self.app.start(&me(), request)).await.unwrap()
    }

    pub(crate) async fn begin(&self, workflow: &str) -> ExecutionId {
        self.start(request(workflow, json!({}))).await.unwrap().id
    }

    /// Starts it and waits for its end.
    pub(crate) async fn run(&self, mut request: StartRequest) -> Arc<ExecutionView> {
        request.wait = Some(SOON);
        self.start(request).await.unwrap().ended.unwrap()
    }

    pub(crate) async fn view(&self, id: ExecutionId) -> Arc<ExecutionView> {
        tokio::time::timeout(SOON, self.app.view(&me(), id, None, true)).await.unwrap().unwrap()
    }

    pub(crate) async fn command(&self, id: ExecutionId, command: Command) -> Result<Commanded, Fault> {
        tokio::time::timeout(SOON, self.app.command(&me(), id, command)).await.unwrap()
    }

    /// Waits until a view of the execution is as asked for.
    pub(crate) async fn until(
        &self,
        what: &str,
        id: ExecutionId,
        right: impl Fn(&ExecutionView) -> bool,
    ) -> Arc<ExecutionView> {
        testkit::wait_for(what, SOON, async || Some(self.view(id).await).filter(|view| right(view))).await
    }

    pub(crate) async fn ended(&self, id: ExecutionId) -> Arc<ExecutionView> {
        self.until("its end", id, |view| view.status().is_final()).await
    }

    pub(crate) async fn completed(&self, id: ExecutionId) -> Arc<ExecutionView> {
        let view = self.ended(id).await;
        assert_eq!(view.status(), Status::Completed, "{:?}", view.causes());
        view
    }

    /// As `kill -9`: what is not on disk is lost.
    pub(crate) async fn die(self) {
        self.journal.set(Way::Cut);
        self.fall().await;
    }

    /// As `kill -9` right after the commit that is on its way.
    pub(crate) async fn fall(self) {
        self.engine.stop();
        drop(self.app);
        self.journal.close().await;
    }

    /// Waits until nothing holds a place, a slot, or stands in a queue.
    pub(crate) async fn idle(&self) {
        testkit::wait_for("every place to be free", SOON, async || {
            let [active, _, queued, _, calls, waiting] = self.engine.load();
            ((active, queued, calls, waiting) == (0, 0, 0, 0)).then_some(())
        })
        .await;
    }

    /// The execution has left memory.
    pub(crate) async fn parked(&self, id: ExecutionId) {
        testkit::wait_for("it to be put aside", SOON, async || {
            let hot = self.journal.hot_executions(0, None, 1000).await.unwrap();
            let mut hot: std::collections::BTreeSet<_> = hot.into_iter().collect();
            for shard in 1..SHARDS {
                hot.extend(self.journal.hot_executions(shard, None, 1000).await.unwrap());
            }
            (!hot.contains(&id)).then_some(())
        })
        .await;
    }
}

/// Waits until so many calls have reached an agent.
pub(crate) async fn calls(agents: &Agents, n: usize) {
    testkit::wait_for(&format!("{n} calls"), SOON, async || (agents.count() >= n).then_some(())).await;
}
