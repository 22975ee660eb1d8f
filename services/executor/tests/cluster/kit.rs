//! Replicas in one process over one real store: scripted agents, and a network that can be cut.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use api::Fault;
use async_trait::async_trait;
use base::{CallContext, ExecutionId, Payload, WorkflowId};
use bus::Bus;
use executor::{
    app::{App, Defaults, StartRequest},
    budgets::Budgets,
    call::{AgentCaller, CallOutcome, CallRequest, CallSink, CancelRequest, Told},
    cluster::{Cluster, Options, Others, Seat},
    engine::{Engine, EngineMetrics, Limits, Parts},
    plans::{FoundPlan, PlanSource},
};
use proto::executor::internal::v1 as pb;
use store::{
    Journal, PostgresJournal, PostgresOptions, SqliteJournal, SqliteOptions,
    budgets::{BudgetRow, BudgetStore},
    journal::{Join, MemberId, Membership},
};
use tokio::sync::watch;

pub(crate) const SHARDS: u16 = 8;
pub(crate) const LEASE: Duration = Duration::from_millis(1500);
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Plans by name.
pub(crate) type Named = Arc<Mutex<BTreeMap<String, serde_json::Value>>>;

/// `w`: three tasks, one after the other; executions at once. And others by name.
struct Plans(Option<u32>, Named);

#[async_trait]
impl PlanSource for Plans {
    async fn plan(
        &self,
        context: &CallContext,
        workflow: &str,
        _: Option<(&str, &str)>,
    ) -> Result<FoundPlan, Fault> {
        let wanted = workflow.split('@').next().unwrap_or_default();
        for (name, plan) in &*self.1.lock().unwrap() {
            let workflow_id = WorkflowId::from_name(&context.tenant, name);
            if name == wanted || workflow_id.to_string() == wanted {
                let mut plan = plan.clone();
                plan["schema"] = 2.into();
                plan["name"] = name.as_str().into();
                plan["version"] = "1".into();
                let plan_json = plan.to_string();
                let (version, edition) = ("1".into(), String::new());
                return Ok(FoundPlan { workflow_id, name: name.clone(), version, edition, plan_json });
            }
        }
        let known = WorkflowId::from_name(&context.tenant, "w").to_string();
        if wanted != "w" && wanted != known {
            return Err(Fault::not_found("workflow", wanted));
        }
        let task = |n: u32| {
            let after: Vec<u32> = n.checked_sub(1).into_iter().collect();
            serde_json::json!({"id": format!("t{n}"), "need": {"agent": "worker"}, "input": "execution", "after": after})
        };
        let tasks: Vec<_> = (0..3).map(task).collect();
        let limits = serde_json::json!({"concurrency": self.0});
        let plan =
            serde_json::json!({"schema": 1, "name": "w", "version": "1", "tasks": tasks, "limits": limits});
        Ok(FoundPlan {
            edition: String::new(),
            workflow_id: WorkflowId::from_name(&context.tenant, "w"),
            name: "w".into(),
            version: "1".into(),
            plan_json: plan.to_string(),
        })
    }
}

/// Agents that answer when they may, and remember who called.
pub(crate) struct Agents {
    open: watch::Sender<bool>,
    /// Sends by message id.
    pub(crate) sends: Mutex<BTreeMap<String, u32>>,
    now: AtomicU32,
    pub(crate) at_once_max: AtomicU32,
    /// What calls that are cut cost.
    pub(crate) bill: watch::Sender<Bill>,
}

/// What an agent says of the cost of a call that is cut.
#[derive(Clone, Copy)]
pub(crate) enum Bill {
    Nothing,
    /// It is not known yet.
    Later,
    This(workflow::Usage),
}

impl Agents {
    pub(crate) fn new(open: bool) -> Arc<Self> {
        Arc::new(Self {
            open: watch::channel(open).0,
            sends: Mutex::default(),
            now: AtomicU32::new(0),
            at_once_max: AtomicU32::new(0),
            bill: watch::channel(Bill::Nothing).0,
        })
    }

    pub(crate) fn open(&self, open: bool) {
        let _ = self.open.send_replace(open);
    }

    /// Calls that have not been answered.
    pub(crate) fn waiting(&self) -> u32 {
        self.now.load(Ordering::SeqCst)
    }

    pub(crate) fn messages(&self) -> usize {
        self.sends.lock().unwrap().len()
    }

    /// Messages that were sent more than once.
    pub(crate) fn repeated(&self) -> usize {
        self.sends.lock().unwrap().values().filter(|n| **n > 1).count()
    }
}

struct Count<'a>(&'a Agents);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl AgentCaller for Agents {
    async fn call(&self, request: CallRequest, _: Arc<dyn CallSink>) -> CallOutcome {
        *self.sends.lock().unwrap().entry(request.message_id.clone()).or_default() += 1;
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_once_max.fetch_max(now, Ordering::SeqCst);
        let _count = Count(self);
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| *open).await;
        tokio::task::yield_now().await;
        CallOutcome::Completed(Payload::json_text(format!("{{\"task\":\"{}\"}}", request.task_id)))
    }
    async fn cancel(&self, _: CancelRequest) -> Told {
        let mut bill = self.bill.subscribe();
        let known = bill.wait_for(|bill| !matches!(bill, Bill::Later)).await.map(|bill| *bill);
        match known {
            Ok(Bill::This(usage)) => Told::Spent(usage),
            _ => Told::Yes,
        }
    }
}

/// Replicas by address.
#[derive(Default)]
pub(crate) struct Network(Mutex<HashMap<String, Cluster>>, Mutex<HashSet<String>>);

impl Network {
    fn at(&self, address: &str) -> Result<Cluster, Fault> {
        self.0.lock().unwrap().get(address).cloned().ok_or_else(|| Fault::unavailable("nobody there"))
    }
    /// Whether a member that is no replica of ours takes shards; nobody answers for it otherwise.
    pub(crate) fn takes(&self, name: &str, takes: bool) {
        let address = format!("http://{name}:1");
        let mut all = self.1.lock().unwrap();
        let _ = if takes { all.insert(address) } else { all.remove(&address) };
    }
    fn put(&self, address: &str, cluster: Option<Cluster>) {
        let mut all = self.0.lock().unwrap();
        match cluster {
            Some(cluster) => all.insert(address.to_owned(), cluster),
            None => all.remove(address),
        };
    }
}

#[async_trait]
impl Others for Network {
    async fn deliver(&self, address: &str, request: pb::DeliverResultRequest) -> Result<(), Fault> {
        self.at(address)?.deliver_result(request).await
    }
    async fn abort(&self, address: &str, request: pb::AbortCallRequest) -> Result<(), Fault> {
        self.at(address)?.abort_call(&request).await
    }
    async fn lend(
        &self,
        address: &str,
        request: pb::LendSlotsRequest,
    ) -> Result<pb::LendSlotsResponse, Fault> {
        Ok(self.at(address)?.lend_slots(&request))
    }
    async fn offer(&self, address: &str, request: pb::OfferShardsRequest) -> Result<bool, Fault> {
        if self.1.lock().unwrap().contains(address) {
            return Ok(true);
        }
        Ok(self.at(address)?.offer_shards(&request).accepts)
    }
}

/// What replicas share.
pub(crate) struct World {
    pub(crate) agents: Arc<Agents>,
    pub(crate) network: Arc<Network>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) keys: bus::Keys,
    pub(crate) capacity: u32,
    /// Executions of the workflow at once.
    pub(crate) concurrency: Option<u32>,
    pub(crate) fleet_known: bool,
    /// Beside `w`.
    pub(crate) plans: Named,
    /// What the tenant may spend.
    pub(crate) budget: Option<BudgetRow>,
    store: Store,
}

enum Store {
    Postgres(String),
    Sqlite(tempfile::TempDir),
}

impl World {
    pub(crate) async fn postgres() -> Self {
        let url = tokio::task::spawn_blocking(testkit::fresh_database).await.unwrap();
        Self::of(Store::Postgres(url))
    }
    pub(crate) fn sqlite() -> Self {
        Self::of(Store::Sqlite(tempfile::tempdir().unwrap()))
    }
    fn of(store: Store) -> Self {
        Self {
            agents: Agents::new(true),
            network: Arc::default(),
            bus: Arc::new(bus::InProcessBus::default()),
            keys: bus::Keys::new(&testkit::unique_name("cluster")),
            capacity: 64,
            concurrency: None,
            fleet_known: true,
            plans: Arc::default(),
            budget: None,
            store,
        }
    }

    pub(crate) async fn journal(&self) -> Arc<dyn Journal> {
        match &self.store {
            Store::Postgres(url) => {
                Arc::new(PostgresJournal::open(&PostgresOptions::new(url)).await.unwrap())
            }
            Store::Sqlite(folder) => {
                let path = folder.path().join("executor.db");
                testkit::wait_for("the file to be free", SOON, async || {
                    SqliteJournal::open(&SqliteOptions::new(&path))
                        .ok()
                        .map(|j| Arc::new(j) as Arc<dyn Journal>)
                })
                .await
            }
        }
    }

    pub(crate) fn fleet(&self) -> Arc<catalog::Snapshot> {
        let agent = serde_json::json!({
            "id": "worker", "name": "worker", "type": "worker", "version": "1", "endpoint": "http://worker:1",
            "capabilities": [], "instances": [{"id": "a", "capacity": self.capacity}],
        });
        let entry =
            catalog::AgentEntry::from_json(&agent.to_string(), 1, catalog::AgentState::Active).unwrap();
        Arc::new(catalog::Snapshot::of(1, [Arc::new(entry)]))
    }

    pub(crate) fn options(&self, name: &str) -> Options {
        Options {
            member_id: name.into(),
            address: format!("http://{name}:1"),
            cluster: "test".into(),
            shards: SHARDS,
            lease: LEASE,
            renewal: LEASE / 5,
            keys: self.keys.clone(),
            partitions: 3,
            inbox_every: Duration::from_millis(200),
            sweep_every: Duration::from_millis(100),
            ..Options::default()
        }
    }

    /// A member that is no replica of ours, of a build that reads the log up to `schema`. It never renews its lease.
    pub(crate) async fn stranger(&self, name: &str, schema: u16) -> (Arc<dyn Journal>, Membership) {
        let journal = self.journal().await;
        journal.ensure_shards(SHARDS).await.unwrap();
        let join = Join {
            id: MemberId::new(name).unwrap(),
            address: format!("http://{name}:1"),
            lease: 10 * SOON,
            reads_up_to: schema,
            region: "local".into(),
            cluster: "test".into(),
        };
        let me = journal.join(join).await.unwrap();
        (journal, me)
    }

    pub(crate) async fn replica(&self, name: &str) -> Replica {
        self.replica_with(self.options(name)).await
    }

    pub(crate) async fn replica_with(&self, options: Options) -> Replica {
        let journal = self.journal().await;
        let clock = Arc::new(runtime::SystemClock);
        let failed = Arc::new(watch::channel(None).0);
        let fatal: Arc<dyn Fn(&str) + Send + Sync> = Arc::new({
            let failed = failed.clone();
            move |why: &str| drop(failed.send_replace(Some(why.to_owned())))
        });
        let address = options.address.clone();
        let seat = Seat::join(options, journal.clone(), clock.clone(), fatal.clone()).await.unwrap();
        let limits = Limits { shards: SHARDS, lanes: 2, ..Limits::default() };
        let engine = Engine::start(Parts {
            journal: journal.clone(),
            clock: clock.clone(),
            caller: self.agents.clone(),
            plans: Arc::new(Plans(self.concurrency, self.plans.clone())),
            publisher: seat.publisher(),
            limits,
            me: seat.me().clone(),
            metrics: Arc::new(EngineMetrics::new(&runtime::Metrics::detached())),
            fatal,
        });
        if self.fleet_known {
            engine.set_fleet(self.fleet());
        }
        let cluster = seat.start(engine.clone(), self.bus.clone(), self.network.clone()).await;
        self.network.put(&address, Some(cluster.clone()));
        let defaults = Defaults {
            timeout: Duration::from_secs(600),
            allocation_timeout: Duration::from_secs(300),
            checkpoint_every: Duration::from_secs(300),
            event_ttl: Duration::from_secs(3600),
            compensation_timeout: Duration::ZERO,
            retry: workflow::plan::RetryPolicy::default(),
            payload_bytes_max: 8 << 20,
        };
        let mut app = App::new(engine.clone(), journal.clone(), clock.clone(), self.bus.clone(), defaults);
        let budgets = BudgetStore::new(journal.tables());
        if let Some(row) = &self.budget {
            budgets.put(row).await.unwrap();
        }
        let budgets = Budgets::new(budgets, engine.clone(), clock);
        budgets.refresh().await.unwrap();
        app = app.with_budgets(budgets.clone());
        engine.use_children(Arc::new(app.clone()));
        Replica { journal, engine, cluster, app, budgets, failed, address, network: self.network.clone() }
    }
}

pub(crate) struct Replica {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) engine: Engine,
    pub(crate) cluster: Cluster,
    pub(crate) app: App,
    pub(crate) budgets: Budgets,
    pub(crate) failed: Arc<watch::Sender<Option<String>>>,
    address: String,
    network: Arc<Network>,
}

impl Replica {
    pub(crate) fn shards(&self) -> usize {
        self.cluster.shard_map().here().len()
    }

    pub(crate) async fn owns(&self, n: usize) {
        testkit::wait_for(&format!("{n} shards at {}", self.address), SOON, async || {
            (self.shards() == n).then_some(())
        })
        .await;
    }

    /// Starts one execution in a shard that is here.
    pub(crate) async fn start(&self, key: &str) -> ExecutionId {
        let id = ExecutionId::from_key(&base::Tenant::default(), key);
        assert_eq!(self.cluster.owner_of(id), executor::cluster::Place::Here, "{key}");
        self.try_start(id).await.unwrap()
    }

    /// Starts another workflow in a shard that is here.
    pub(crate) async fn start_of(&self, workflow: &str, key: &str) -> ExecutionId {
        let request = StartRequest {
            workflow: workflow.into(),
            execution_id: id_of(key).to_string(),
            ..StartRequest::default()
        };
        self.app.start(&CallContext::default(), request).await.unwrap().id
    }

    pub(crate) async fn try_start(&self, id: ExecutionId) -> Result<ExecutionId, Fault> {
        let request = StartRequest {
            workflow: "w@1".into(),
            input: Some(Payload::json_text("{\"n\":1}")),
            execution_id: id.to_string(),
            ..StartRequest::default()
        };
        self.app.start(&CallContext::default(), request).await.map(|done| done.id)
    }

    /// As `kill -9`: nothing is said, nothing more is done.
    pub(crate) async fn die(self) {
        self.engine.stop();
        self.network.put(&self.address, None);
        drop(self.cluster);
        drop((self.app, self.budgets));
        self.journal.close().await;
    }

    pub(crate) async fn drain(&self, grace: Duration) {
        self.engine.drain().await;
        self.cluster.drain(grace).await;
        self.network.put(&self.address, None);
        self.journal.close().await;
        self.engine.stop();
    }
}

/// Keys whose executions lie in every shard, `each` per shard.
pub(crate) fn keys(each: usize) -> Vec<String> {
    let mut counts = [0usize; SHARDS as usize];
    let mut keys = Vec::new();
    for n in 0u32.. {
        let key = format!("k{n}");
        let shard = ExecutionId::from_key(&base::Tenant::default(), &key).shard(u32::from(SHARDS)) as usize;
        if counts[shard] < each {
            counts[shard] += 1;
            keys.push(key);
        }
        if keys.len() == each * usize::from(SHARDS) {
            break;
        }
    }
    keys
}

pub(crate) fn id_of(key: &str) -> ExecutionId {
    ExecutionId::from_key(&base::Tenant::default(), key)
}

/// Waits until all executions have ended, and says how.
pub(crate) async fn all_completed(journal: &Arc<dyn Journal>, ids: &[ExecutionId]) {
    for id in ids {
        let status = testkit::wait_for("an execution to end", SOON, async || {
            let row = journal.find_execution(*id).await.unwrap()?;
            row.completed_at.map(|_| row.status)
        })
        .await;
        assert_eq!(status, "completed", "{id}");
    }
}
