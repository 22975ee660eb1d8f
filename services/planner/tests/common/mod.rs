//! A planner beside a registry and an executor that say what a test wants.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use api::Fault;
use futures::{StreamExt as _, stream};
use proto::{
    executor::v1::{Execution, ListExecutionsRequest, ListExecutionsResponse},
    planner::{
        internal::v1::planner_internal_service_client::PlannerInternalServiceClient,
        v1::{
            ExplainPlanRequest, pattern_service_client::PatternServiceClient,
            planner_service_client::PlannerServiceClient,
        },
    },
    registry::v1::{Agent, WatchAgentsRequest, WatchAgentsResponse},
};
use runtime::{Config, Options, PeerChannel, Role, Running, Service, Settings, config::SecretUrl};
use tempfile::TempDir;
use tonic::{Request, Response, Status, body::Body, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// A database of its own.
pub(crate) enum Backend {
    Sqlite(TempDir),
    Postgres(String),
}

pub(crate) fn each_backend() -> Vec<Backend> {
    vec![Backend::Sqlite(TempDir::new().unwrap()), Backend::Postgres(testkit::fresh_database())]
}

impl Backend {
    fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => folder.path().display().to_string(),
            Self::Postgres(url) => url.clone(),
        }
    }
}

/// An agent called `id` that offers `cook` in two seconds. `extra` are further keys of its definition.
pub(crate) fn agent(id: &str, extra: &str) -> Agent {
    let definition_json = format!(
        r#"{{"id": "{id}", "name": "{id}", "type": "cook", "version": "1.0.0", "endpoint": "http://127.0.0.1:9", {extra}
            "capabilities": [{{"id": "cook", "performance": {{"responseTime": {{"target": 2000}}}}}}]}}"#
    );
    Agent { definition_json, agent_id: id.into(), revision: 1, state: "active".into(), ..Default::default() }
}

/// What the executor says.
#[derive(Clone, Default)]
pub(crate) struct Executor {
    active: Arc<Mutex<HashMap<String, String>>>,
    away: Arc<AtomicBool>,
}

impl Executor {
    pub(crate) fn run(&self, workflow: &str, execution: &str) {
        self.active.lock().unwrap().insert(workflow.into(), execution.into());
    }
    pub(crate) fn end(&self, workflow: &str) {
        self.active.lock().unwrap().remove(workflow);
    }
    pub(crate) fn be_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    fn list(&self, request: &ListExecutionsRequest) -> Result<Response<ListExecutionsResponse>, Status> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Status::unavailable("away"));
        }
        assert!(request.statuses.is_empty(), "active ones are asked for");
        let active = self.active.lock().unwrap();
        let of = |name: &str| name == request.workflow || name.split('@').next() == Some(&request.workflow);
        let executions = active
            .iter()
            .filter(|(name, _)| of(name))
            .map(|(_, id)| Execution { execution_id: id.clone(), ..Default::default() })
            .collect();
        Ok(Response::new(ListExecutionsResponse { executions, next_page_token: String::new() }))
    }

    /// Answers one method; a whole generated server would have to name them all.
    fn role(&self) -> Role {
        let this = self.clone();
        Role::new("executor", &[], move |_| {
            let this = this.clone();
            let door = service_fn(move |request: http::Request<Body>| {
                let this = this.clone();
                async move {
                    let answer = service_fn(move |request: Request<ListExecutionsRequest>| {
                        let answer = this.list(request.get_ref());
                        async move { answer }
                    });
                    Ok::<_, Infallible>(Grpc::new(ProstCodec::default()).unary(answer, request).await)
                }
            });
            async move { Ok(Service::new().grpc_fallback(&["orchestra.executor.v1.ExecutorService"], door)) }
        })
    }
}

/// A registry whose watch gives `agents` and then stays silent.
fn registry(agents: Vec<Agent>) -> Role {
    Role::new("registry", &[], move |_| {
        let agents = agents.clone();
        let door = service_fn(move |request: http::Request<Body>| {
            let agents = agents.clone();
            async move {
                let answer = service_fn(move |_: Request<WatchAgentsRequest>| {
                    let whole = WatchAgentsResponse {
                        revision: 1,
                        snapshot: true,
                        snapshot_complete: true,
                        changed: agents.clone(),
                        removed: Vec::new(),
                    };
                    let rest = stream::pending::<Result<WatchAgentsResponse, Status>>();
                    let all = stream::iter([Ok(whole)]).chain(rest).boxed();
                    async move { Ok::<_, Status>(Response::new(all)) }
                });
                Ok::<_, Infallible>(Grpc::new(ProstCodec::default()).server_streaming(answer, request).await)
            }
        });
        async move { Ok(Service::new().grpc_fallback(&["orchestra.registry.v1.RegistryService"], door)) }
    })
}

/// A running planner and clients of it.
pub(crate) struct Planner {
    pub(crate) public: PlannerServiceClient<PeerChannel>,
    pub(crate) patterns: PatternServiceClient<PeerChannel>,
    pub(crate) inside: PlannerInternalServiceClient<PeerChannel>,
    pub(crate) executor: Executor,
    running: Running,
}

impl Planner {
    pub(crate) async fn start(backend: &Backend, agents: Vec<Agent>) -> Self {
        Self::start_with(backend, agents, |_| {}).await
    }

    pub(crate) async fn start_with(
        backend: &Backend,
        agents: Vec<Agent>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = Settings::default().on_free_ports();
        settings.database.url = SecretUrl::new(backend.url());
        settings.server.peer_check_interval = Duration::from_millis(200);
        change(&mut settings);
        let executor = Executor::default();
        let roles = [planner::role(), registry(agents), executor.role()];
        let running =
            runtime::start(&roles, &Config::from_settings(settings), Options::default()).await.unwrap();
        let peer = running.peers().get("planner").unwrap();
        Self {
            patterns: PatternServiceClient::new(peer.clone()),
            public: PlannerServiceClient::new(peer.clone()).max_decoding_message_size(usize::MAX),
            inside: PlannerInternalServiceClient::new(peer).max_decoding_message_size(usize::MAX),
            executor,
            running,
        }
    }

    /// Waits until the registry's agents were seen.
    pub(crate) async fn knows_the_fleet(&mut self) {
        let public = self.public.clone();
        testkit::wait_for("the fleet", Duration::from_secs(20), async || {
            let source = "name: probe\ntasks: [{id: cook}]".to_owned();
            let request = ExplainPlanRequest { source, ..Default::default() };
            let answer = public.clone().explain_plan(request).await.unwrap().into_inner();
            answer.plan_json.contains("agent_id").then_some(())
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        drop((self.public, self.patterns, self.inside));
        assert!(self.running.drain().await, "everything ended in time");
    }
}

/// What a status says.
pub(crate) fn fault(status: Status) -> Fault {
    Fault::from_status(&status)
}
