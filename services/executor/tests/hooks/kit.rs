//! One replica over one store, with hooks.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use api::Fault;
use async_trait::async_trait;
use base::{CallContext, Clock, ExecutionId, FailureClass, Payload, Tenant, Timestamp, WorkflowId};
use executor::{
    app::{App, Defaults, StartRequest},
    call::{AgentCaller, CallKind, CallOutcome, CallRequest, CallSink, CancelRequest, Told},
    engine::{Engine, EngineMetrics, ExecutionView, Limits, Parts},
    hooks::{HookOptions, HookParts, Hooks, Owner, RunQuery},
    plans::{FoundPlan, PlanSource},
};
use hooks::{HookSpec, Trigger};
use serde_json::{Value, json};
use store::{
    Journal, PostgresJournal, PostgresOptions, SqliteJournal, SqliteOptions,
    hooks::{HookRow, RunRow},
    journal::{Join, MemberId, Membership},
};
use tokio::sync::watch;
use uuid::Uuid;
use workflow::plan::RetryPolicy;

pub(crate) const SHARDS: u16 = 4;
pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const SECRET: &str = "a secret of the tests";

/// `w`: tasks as they are set.
pub(crate) struct OnePlan(Mutex<Value>);

#[async_trait]
impl PlanSource for OnePlan {
    async fn plan(
        &self,
        context: &CallContext,
        _: &str,
        _: Option<(&str, &str)>,
    ) -> Result<FoundPlan, Fault> {
        let tasks = self.0.lock().unwrap().clone();
        Ok(FoundPlan {
            edition: String::new(),
            workflow_id: WorkflowId::from_name(&context.tenant, "w"),
            name: "w".into(),
            version: "1".into(),
            plan_json: json!({"schema": 1, "name": "w", "version": "1", "tasks": tasks}).to_string(),
        })
    }
}

type Script = Box<dyn Fn(&CallRequest, &Value) -> Result<Value, String> + Send + Sync>;

/// Agents that answer as they are told; `None` = with the input.
pub(crate) struct Agents {
    script: Mutex<Script>,
    pub(crate) seen: Mutex<Vec<(String, String, Value)>>,
}

impl Agents {
    pub(crate) fn script(
        &self,
        script: impl Fn(&CallRequest, &Value) -> Result<Value, String> + Send + Sync + 'static,
    ) {
        *self.script.lock().unwrap() = Box::new(script);
    }
    /// Task and agent of every call.
    pub(crate) fn calls(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().iter().map(|(task, agent, _)| (task.clone(), agent.clone())).collect()
    }
}

#[async_trait]
impl AgentCaller for Agents {
    async fn call(&self, request: CallRequest, _: Arc<dyn CallSink>) -> CallOutcome {
        let CallKind::Send(input) = &request.kind else { panic!("{:?}", request.kind) };
        let input = input.json().map(|v| (*v).clone()).unwrap_or_default();
        let seen = (request.task_id.to_string(), request.agent.id().to_string(), input.clone());
        self.seen.lock().unwrap().push(seen);
        match (self.script.lock().unwrap())(&request, &input) {
            Ok(output) => CallOutcome::Completed(Payload::from_value(&output)),
            Err(message) => CallOutcome::Failed {
                class: FailureClass::Error,
                message,
                outcome_known: true,
                retry_after: None,
            },
        }
    }
    async fn cancel(&self, _: CancelRequest) -> Told {
        Told::Yes
    }
}

/// The shards, all here; cancels are noted.
pub(crate) struct Here {
    changes: watch::Sender<u64>,
    pub(crate) cancels: Mutex<Vec<(ExecutionId, String, Uuid)>>,
}

#[async_trait]
impl Owner for Here {
    fn shards(&self) -> Vec<u16> {
        (0..SHARDS).collect()
    }
    fn shard_count(&self) -> u16 {
        SHARDS
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
    async fn cancel(
        &self,
        _: &Tenant,
        id: ExecutionId,
        reason: &str,
        _: &str,
        command: Uuid,
    ) -> Result<(), Fault> {
        self.cancels.lock().unwrap().push((id, reason.to_owned(), command));
        Ok(())
    }
}

/// The system's clock, and days that have passed besides.
#[derive(Default)]
pub(crate) struct Days(AtomicI64);

impl Days {
    pub(crate) fn pass(&self, days: i64) {
        self.0.fetch_add(days * 24 * 3600 * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for Days {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(runtime::SystemClock.now().micros() + self.0.load(Ordering::SeqCst))
    }
}

enum Store {
    Sqlite(tempfile::TempDir),
    Postgres(String),
}

/// What outlives a process.
pub(crate) struct World {
    store: Store,
    pub(crate) plan: Arc<OnePlan>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) clock: Arc<Days>,
    pub(crate) options: HookOptions,
    pub(crate) fleet: Vec<Value>,
    /// Whether the next life runs hooks at all.
    pub(crate) with_hooks: AtomicBool,
}

pub(crate) fn task(id: &str, capability: &str) -> Value {
    json!({"id": id, "need": {"capability": capability}, "input": "execution"})
}

pub(crate) fn agent(id: &str, cost: f64, capability: &str, tags: &[&str]) -> Value {
    json!({
        "id": id, "name": id, "type": "worker", "version": "1", "endpoint": "http://127.0.0.1:1", "cost": cost,
        "capabilities": [{"id": capability, "name": capability, "tags": tags}],
        "instances": [{"id": "i", "capacity": 8}],
    })
}

impl World {
    pub(crate) fn sqlite() -> Self {
        Self::of(Store::Sqlite(tempfile::tempdir().unwrap()))
    }
    pub(crate) async fn postgres() -> Self {
        Self::of(Store::Postgres(tokio::task::spawn_blocking(testkit::fresh_database).await.unwrap()))
    }

    fn of(store: Store) -> Self {
        let mut options = HookOptions::default();
        options.actions.commands =
            ["/bin/cat", "/bin/sh", "/bin/false", "/usr/bin/sort"].map(String::from).to_vec();
        options.actions.webhooks.secret = SECRET.into();
        options.actions.webhooks.allow_private = true;
        options.actions.webhooks.base_delay = Duration::from_millis(1);
        options.refresh_every = Duration::from_millis(50);
        options.sweep_every = Duration::from_millis(50);
        let script: Script = Box::new(|_, input| Ok(input.clone()));
        Self {
            store,
            plan: Arc::new(OnePlan(Mutex::new(json!([task("t", "work")])))),
            agents: Arc::new(Agents { script: Mutex::new(script), seen: Mutex::default() }),
            clock: Arc::default(),
            options,
            fleet: vec![agent("worker", 1.0, "work", &[])],
            with_hooks: AtomicBool::new(true),
        }
    }

    pub(crate) fn tasks(&self, tasks: Value) {
        *self.plan.0.lock().unwrap() = tasks;
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

    /// A process: its next life, with all shards.
    pub(crate) async fn node(&self) -> Node {
        let journal = self.journal().await;
        journal.ensure_shards(SHARDS).await.unwrap();
        let join = Join {
            id: MemberId::new("executor").unwrap(),
            address: String::new(),
            lease: Duration::from_secs(3600),
            reads_up_to: api::log::LOG_SCHEMA,
            region: String::new(),
            cluster: String::new(),
        };
        let me = journal.join(join).await.unwrap();
        let engine = self.engine(&journal, &me);
        engine.set_members(HashMap::from([(me.id.as_str().into(), me.incarnation)])).await;
        let owner = Arc::new(Here { changes: watch::channel(0).0, cancels: Mutex::default() });
        let hooks = if self.with_hooks.load(Ordering::SeqCst) {
            let parts = HookParts {
                options: self.options.clone(),
                journal: journal.clone(),
                clock: self.clock.clone(),
                bus: Arc::new(bus::InProcessBus::default()),
                engine: engine.clone(),
                owner: owner.clone(),
                me: me.clone(),
                memory: None,
            };
            Some(Hooks::start(parts).await.unwrap())
        } else {
            None
        };
        let settling = engine.settling();
        for shard in 0..SHARDS {
            journal.claim(&me, shard).await.unwrap();
            engine.acquire(shard).await.unwrap();
        }
        drop(settling);
        let defaults = Defaults {
            timeout: Duration::from_secs(3600),
            allocation_timeout: Duration::from_secs(300),
            checkpoint_every: Duration::from_secs(300),
            event_ttl: Duration::from_secs(3600),
            compensation_timeout: Duration::ZERO,
            retry: RetryPolicy::none(),
            payload_bytes_max: 8 << 20,
        };
        let bus = Arc::new(bus::InProcessBus::default());
        let app = App::new(engine.clone(), journal.clone(), self.clock.clone(), bus, defaults);
        Node { journal, engine, app, hooks, owner }
    }

    fn engine(&self, journal: &Arc<dyn Journal>, me: &Membership) -> Engine {
        let engine = Engine::start(Parts {
            journal: journal.clone(),
            clock: self.clock.clone(),
            caller: self.agents.clone(),
            plans: self.plan.clone(),
            publisher: None,
            limits: Limits { shards: SHARDS, lanes: 2, ..Limits::default() },
            me: me.clone(),
            metrics: Arc::new(EngineMetrics::new(&runtime::Metrics::detached())),
            fatal: Arc::new(|why: &str| panic!("{why}")),
        });
        let entries = self.fleet.iter().map(|agent| {
            let entry = catalog::AgentEntry::from_json(&agent.to_string(), 1, catalog::AgentState::Active);
            Arc::new(entry.unwrap())
        });
        engine.set_fleet(Arc::new(catalog::Snapshot::of(1, entries)));
        engine
    }
}

pub(crate) fn me() -> CallContext {
    CallContext::default()
}

/// A hook with every default but these.
pub(crate) fn spec(name: &str, trigger: Trigger, command: &str, args: &[&str]) -> HookSpec {
    HookSpec { args: args.iter().map(|a| (*a).to_owned()).collect(), ..HookSpec::new(name, trigger, command) }
}

/// A command of the shell, for hooks that answer with what they are told to.
pub(crate) fn says(name: &str, trigger: Trigger, script: &str) -> HookSpec {
    spec(name, trigger, "/bin/sh", &["-c", script])
}

/// Appends a line to a file.
pub(crate) fn notes(name: &str, trigger: Trigger, file: &Path) -> HookSpec {
    says(name, trigger, &format!("cat >/dev/null; echo {name} >> {}", file.display()))
}

pub(crate) fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// An execution that has ended.
pub(crate) struct Ran {
    pub(crate) id: ExecutionId,
    view: Arc<ExecutionView>,
}

impl std::ops::Deref for Ran {
    type Target = ExecutionView;
    fn deref(&self) -> &ExecutionView {
        &self.view
    }
}

/// One process.
pub(crate) struct Node {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) engine: Engine,
    pub(crate) app: App,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) owner: Arc<Here>,
}

impl Node {
    pub(crate) fn book(&self) -> Arc<executor::hooks::Book> {
        self.hooks.as_ref().unwrap().book()
    }

    pub(crate) async fn hook(&self, spec: HookSpec) -> HookRow {
        self.book().create(&me(), None, spec).await.unwrap()
    }

    /// Starts the workflow and waits for its end.
    pub(crate) async fn run(&self, input: Value) -> Ran {
        let request = StartRequest {
            workflow: "w".into(),
            input: Some(Payload::from_value(&input)),
            wait: Some(SOON),
            ..StartRequest::default()
        };
        let done = tokio::time::timeout(SOON, self.app.start(&me(), request)).await.unwrap();
        let done = done.unwrap();
        Ran { id: done.id, view: done.ended.unwrap() }
    }

    pub(crate) async fn runs(&self) -> Vec<RunRow> {
        let query = RunQuery { limit: 500, ..RunQuery::default() };
        self.book().runs(&me(), query).await.unwrap()
    }

    /// Waits for so many runs; the oldest first.
    pub(crate) async fn until_runs(&self, n: usize) -> Vec<RunRow> {
        let mut runs = testkit::wait_for(&format!("{n} runs of hooks"), SOON, async || {
            let runs = self.runs().await;
            (runs.len() >= n).then_some(runs)
        })
        .await;
        runs.reverse();
        runs
    }

    /// As `kill -9`, as far as one process can: what is not on disk is lost.
    pub(crate) async fn die(self) {
        if let Some(hooks) = &self.hooks {
            hooks.stop().await;
        }
        self.engine.stop();
        drop(self.app);
        self.journal.close().await;
    }
}
