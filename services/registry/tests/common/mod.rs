//! A registry on either database, and a small HTTP agent.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // each test file uses its part

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
    time::Duration,
};

use api::Fault;
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use bus::{Bus, InProcessBus, InProcessOptions};
use proto::registry::{
    internal::v1::{ReportUseRequest, registry_internal_service_client::RegistryInternalServiceClient},
    v1::{
        Agent, GetAgentRequest, ListAgentsRequest, RegisterAgentRequest, WatchAgentsRequest,
        WatchAgentsResponse, registry_service_client::RegistryServiceClient,
    },
};
use runtime::{Config, Options, PeerChannel, Running, Settings, SharedBus, start};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A place for the registry's data.
pub(crate) enum Home {
    Sqlite(TempDir),
    Postgres(String),
}

impl Home {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(TempDir::new().unwrap())
    }
    pub(crate) fn postgres() -> Self {
        Self::Postgres(testkit::fresh_database())
    }
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => folder.path().display().to_string(),
            Self::Postgres(url) => url.clone(),
        }
    }
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }
    /// One of each kind, empty.
    pub(crate) fn both() -> [Self; 2] {
        [Self::sqlite(), Self::postgres()]
    }
}

/// A running registry.
pub(crate) struct Registry {
    pub(crate) running: Running,
    pub(crate) bus: InProcessBus,
}

/// Settings on free ports with short times.
pub(crate) fn settings(home: &Home, change: impl FnOnce(&mut Settings)) -> Config {
    let mut settings = Settings::default().on_free_ports();
    settings.database.url = runtime::config::SecretUrl::new(home.url());
    settings.server.drain_timeout = Duration::from_secs(5);
    settings.registry.health_check_interval = Duration::from_millis(300);
    settings.registry.probe_timeout = Duration::from_millis(300);
    settings.registry.heartbeat_expiry = Duration::from_secs(1);
    settings.registry.heartbeat_flush_interval = Duration::from_millis(200);
    settings.registry.watch_poll_interval = Duration::from_millis(50);
    settings.registry.executor_expiry = Duration::from_millis(600);
    change(&mut settings);
    Config::from_settings(settings)
}

impl Registry {
    pub(crate) async fn start(home: &Home) -> Self {
        Self::start_with(home, |_| {}).await
    }
    /// One that probes nobody: agents of the test need not exist.
    pub(crate) async fn blind(home: &Home) -> Self {
        Self::start_with(home, |s| s.registry.health_check_interval = Duration::from_secs(3600)).await
    }
    pub(crate) async fn start_with(home: &Home, change: impl FnOnce(&mut Settings)) -> Self {
        let bus = InProcessBus::new(InProcessOptions::default());
        Self::start_on(home, bus, change).await
    }
    pub(crate) async fn start_on(home: &Home, bus: InProcessBus, change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_role(
            home,
            registry::role_on(SharedBus::from(Arc::new(bus.clone()) as Arc<dyn Bus>)),
            bus,
            change,
        )
        .await
    }
    /// One whose bus the settings name.
    pub(crate) async fn start_alone(home: &Home, change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_role(home, registry::role(), InProcessBus::new(InProcessOptions::default()), change).await
    }
    async fn start_role(
        home: &Home,
        role: runtime::Role,
        bus: InProcessBus,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let config = settings(home, change);
        // A registry that was stopped lets go of its file when its last connection is closed.
        let started = testkit::wait_for("the database to be free", LONG, async || {
            match start(std::slice::from_ref(&role), &config, Options::default()).await {
                Err(error) if error.to_string().contains("is in use") => None,
                started => Some(started),
            }
        });
        Self { running: started.await.unwrap(), bus }
    }
    /// Drains and lets go of the database.
    pub(crate) async fn stop(self) -> InProcessBus {
        assert!(self.running.drain().await, "drained in time");
        self.bus
    }
    fn peer(&self) -> PeerChannel {
        let address = format!("http://{}", self.running.ports("registry").grpc.unwrap());
        self.running.peers().dial(&address).unwrap()
    }
    pub(crate) fn client(&self) -> RegistryServiceClient<PeerChannel> {
        RegistryServiceClient::new(self.peer())
    }
    pub(crate) fn internal(&self) -> RegistryInternalServiceClient<PeerChannel> {
        RegistryInternalServiceClient::new(self.peer())
    }

    pub(crate) async fn register(&self, definition: Value) -> Result<Agent, Fault> {
        let request = RegisterAgentRequest { definition: definition.to_string(), format: String::new() };
        self.client()
            .register_agent(request)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|s| Fault::from(&s))
    }
    pub(crate) async fn get(&self, id: &str) -> Result<Agent, Fault> {
        let request = GetAgentRequest { agent_id: id.into() };
        self.client().get_agent(request).await.map(tonic::Response::into_inner).map_err(|s| Fault::from(&s))
    }
    pub(crate) async fn list(&self, request: ListAgentsRequest) -> Vec<String> {
        let answer = self.client().list_agents(request).await.unwrap().into_inner();
        answer.agents.into_iter().map(|a| a.agent_id).collect()
    }
    pub(crate) async fn watch(&self, from_revision: u64) -> Follower {
        let stream =
            self.client().watch_agents(WatchAgentsRequest { from_revision }).await.unwrap().into_inner();
        Follower { stream, ..Follower::empty(self).await }
    }
    pub(crate) async fn report(&self, member: &str, revision: u64, in_flight: &[(&str, u32)]) -> u64 {
        let in_flight = in_flight.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect();
        let request =
            ReportUseRequest { member_id: member.into(), revision, in_flight, measured: Vec::new() };
        self.internal().report_use(request).await.unwrap().into_inner().expires_in_ms
    }
    /// Waits until the agent has that health.
    pub(crate) async fn until_health(&self, id: &str, health: &str) -> Agent {
        let mut last = None;
        let waited = tokio::time::timeout(LONG, async {
            loop {
                let agent = self.get(id).await.unwrap();
                if agent.health == health {
                    return agent;
                }
                last = Some(agent);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("never {health}: {last:?}"))
    }
    pub(crate) async fn until_gone(&self, id: &str) {
        testkit::wait_for("the agent to be gone", LONG, async || self.get(id).await.err()).await;
    }
}

/// A client of a watch that applies what it gets.
pub(crate) struct Follower {
    stream: tonic::Streaming<WatchAgentsResponse>,
    pub(crate) agents: BTreeMap<String, Agent>,
    pub(crate) revision: u64,
    pub(crate) snapshots: u32,
    in_snapshot: bool,
}

impl Follower {
    async fn empty(registry: &Registry) -> Self {
        let stream = registry
            .client()
            .watch_agents(WatchAgentsRequest { from_revision: 0 })
            .await
            .unwrap()
            .into_inner();
        Self { stream, agents: BTreeMap::new(), revision: 0, snapshots: 0, in_snapshot: false }
    }

    /// Applies one message.
    pub(crate) async fn step(&mut self) {
        let message = tokio::time::timeout(LONG, self.stream.message()).await.expect("a message").unwrap();
        let message = message.expect("the watch goes on");
        if message.snapshot && !self.in_snapshot {
            self.agents.clear();
            self.snapshots += 1;
        }
        self.in_snapshot = message.snapshot && !message.snapshot_complete;
        assert!(message.revision >= self.revision || message.snapshot, "revisions never fall");
        self.agents.extend(message.changed.into_iter().map(|a| (a.agent_id.clone(), a)));
        for id in message.removed {
            self.agents.remove(&id);
        }
        if !self.in_snapshot {
            self.revision = message.revision;
        }
    }

    /// Follows until `done`.
    pub(crate) async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(LONG, async {
            while !done(self) {
                self.step().await;
            }
        });
        let ended = waited.await;
        let health: Vec<_> = self.agents.values().map(|a| (&a.agent_id, &a.health, a.score)).collect();
        assert!(ended.is_ok(), "never: {what}; {health:?} at revision {}", self.revision);
    }
}

/// The least agent, with `over` put over it.
pub(crate) fn agent(id: &str, over: Value) -> Value {
    let mut value = json!({"id": id, "endpoint": "http://127.0.0.1:9", "capabilities": [{"id": "c"}]});
    for (key, v) in over.as_object().unwrap() {
        value[key] = v.clone();
    }
    value
}

/// An HTTP agent: answers its card and `/health` with a status that the test sets.
#[derive(Clone)]
pub(crate) struct FakeAgent {
    pub(crate) url: String,
    status: Arc<AtomicU16>,
    pub(crate) asked: Arc<AtomicU32>,
}

#[derive(Clone)]
struct Answers {
    status: Arc<AtomicU16>,
    asked: Arc<AtomicU32>,
    card: Arc<String>,
}

impl FakeAgent {
    /// Serves `card`, in which `{url}` stands for its own address.
    pub(crate) async fn start(card: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (status, asked) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU32::new(0)));
        let card = Arc::new(card.replace("{url}", &url));
        let state = Answers { status: status.clone(), asked: asked.clone(), card };
        async fn answer(State(a): State<Answers>) -> impl IntoResponse {
            a.asked.fetch_add(1, Ordering::SeqCst);
            let status = StatusCode::from_u16(a.status.load(Ordering::SeqCst)).unwrap();
            (status, [("content-type", "application/json")], (*a.card).clone())
        }
        async fn never() {
            std::future::pending::<()>().await;
        }
        let router = Router::new()
            .route("/.well-known/agent-card.json", get(answer))
            .route("/health", get(answer))
            .route("/never.json", get(never))
            .with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, status, asked }
    }
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

/// A card of A2A 1.0 with Orchestra's extension.
pub(crate) fn card() -> String {
    json!({
        "name": "Web Searcher", "description": "Searches", "version": "2.0",
        "supportedInterfaces": [
            {"url": "{url}/grpc", "protocolBinding": "GRPC", "protocolVersion": "1.0"},
            {"url": "{url}/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        ],
        "provider": {"organization": "ACME", "url": "https://acme.example"},
        "capabilities": {"streaming": true, "extensions": [{
            "uri": a2a::CAPABILITY_EXTENSION,
            "params": {"agentType": "finder", "capacity": 3, "skills": {"web_search": {"effect": "pure", "version": "7", "maxMs": 900}}}
        }]},
        "defaultInputModes": ["application/json"], "defaultOutputModes": ["application/json"],
        "skills": [{"id": "web_search", "name": "Search", "description": "Finds", "tags": ["web"]}]
    })
    .to_string()
}
