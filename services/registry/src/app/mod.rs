//! What the registry does, without transport.

mod agents;
mod board;
mod events;
mod feed;
mod health;
mod import;
mod leave;
mod probe;
mod repo;
mod ring;
mod watch;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use a2a::A2aClient;
use base::{AgentId, Clock as _, Tenant, Timestamp};
use bus::Bus;
use runtime::{Drain, RoleContext, SystemClock};
use store::StoreError;
use tokio::{sync::Notify, time::Instant};

use crate::{config::Options, error::RegistryError, metrics::RegistryMetrics};

pub(crate) use agents::{Filter, Saved};
pub(crate) use board::AgentKey;
pub(crate) use leave::{LeaveMode, UseReport};
pub(crate) use repo::{Known, Repo};
pub(crate) use ring::Ring;
pub(crate) use watch::{Step, Watch};

/// Agents registered after this time since the start are probed at once; those found at the start are spread.
const START_SPREAD: Duration = Duration::from_secs(2);

/// The registry in memory. Shared by all requests and background tasks.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) options: Options,
    pub(crate) feed: feed::Feed,
    pub(crate) ring: Ring,
    repo: Repo,
    board: board::Board,
    reports: leave::Reports,
    metrics: RegistryMetrics,
    drain: Drain,
    a2a: A2aClient,
    http: reqwest::Client,
    bus: BusHandle,
    /// Agents whose health is to be judged soon.
    pending: Mutex<HashSet<AgentKey>>,
    wake: Notify,
    /// Another replica wrote.
    nudged: Notify,
    started: Instant,
    started_at: Timestamp,
}

/// The bus with the registry's place on it.
pub(crate) struct BusHandle(pub(crate) Arc<dyn Bus>);

impl std::fmt::Debug for BusHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bus")
    }
}

impl App {
    /// Reads all agents and begins to look after those that are this replica's.
    pub(crate) async fn open(
        ctx: &RoleContext,
        repo: Repo,
        ring: Ring,
        bus: Arc<dyn Bus>,
    ) -> anyhow::Result<Arc<Self>> {
        let options = Options::of(&ctx.settings);
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.probe_timeout)
            .timeout(options.probe_timeout)
            .pool_idle_timeout(Duration::from_secs(4))
            .build()?;
        let rules = board::Rules {
            heartbeat_expiry: options.heartbeat_expiry,
            unhealthy_after: options.unhealthy_after,
        };
        let app = Arc::new(Self {
            feed: feed::Feed::open(repo.clone()).await?,
            board: board::Board::new(rules),
            reports: leave::Reports::new(options.executor_expiry),
            nudged: Notify::new(),
            metrics: RegistryMetrics::new(&ctx.metrics),
            drain: ctx.drain.clone(),
            a2a: A2aClient::default(),
            http,
            bus: BusHandle(bus),
            pending: Mutex::default(),
            wake: Notify::new(),
            started: Instant::now(),
            started_at: SystemClock.now(),
            options,
            repo,
            ring,
        });
        app.sync_all();
        Ok(app)
    }

    /// Starts what runs in the background. Each ends when the process drains or stops.
    pub(crate) fn spawn(self: &Arc<Self>, ctx: &RoleContext) {
        crate::metrics::observe(&ctx.metrics, Arc::downgrade(self));
        ctx.spawn("registry-follow", watch::follow(self.clone()));
        ctx.spawn("registry-probe", probe::run(self.clone()));
        ctx.spawn("registry-health", health::run(self.clone()));
        ctx.spawn("registry-leave", leave::run(self.clone()));
        ctx.spawn("registry-events", events::run(self.clone()));
        ctx.spawn("registry-ring", ring::run(self.clone()));
    }

    /// Wall-clock time that never runs backwards within this process.
    fn now(&self) -> Timestamp {
        self.started_at.plus(self.started.elapsed())
    }

    /// Brings memory up to date with the store.
    async fn refresh(&self) -> Result<(), StoreError> {
        for key in self.feed.catch_up().await? {
            self.sync(&key);
        }
        Ok(())
    }

    /// After a write of this replica: memory follows at once, and other replicas are told to look.
    async fn wrote(&self) -> Result<(), StoreError> {
        if !self.ring.others().is_empty() {
            let bus = self.bus.0.clone();
            // Off the caller's path: the bus may be away, and then the others poll.
            tokio::spawn(async move {
                if let Err(error) = events::nudge(bus.as_ref()).await {
                    tracing::debug!(%error, "other replicas were not nudged");
                }
            });
        }
        self.refresh().await
    }

    /// Looks after an agent, or no longer, as the feed and the ring say.
    fn sync(&self, key: &AgentKey) {
        match self.feed.get(&key.0, &key.1) {
            Some(known) if self.ring.owns(&key.0, &key.1) => {
                let spread = match self.started.elapsed() < START_SPREAD {
                    true => self.options.probe_interval,
                    false => self.options.probe_interval.min(Duration::from_millis(50)),
                };
                self.board.follow(key, &known.entry.definition, &known.entry.health, || {
                    spread.mul_f64(rand::random::<f64>())
                });
                self.judge_later(key);
            }
            Some(_) | None => self.board.forget(key),
        }
    }

    /// The same for all agents, after the ring changed.
    pub(crate) fn sync_all(&self) {
        for known in self.feed.select(|_| true) {
            self.sync(&known.key());
        }
    }

    /// Judges the agent's health soon, off the caller's path.
    fn judge_later(&self, key: &AgentKey) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        self.wake.notify_one();
    }

    /// Adds what an executor measured about an instance.
    pub(crate) fn measured(&self, key: &AgentKey, instance: &str, calls: u64, failures: u64, call_us: u64) {
        self.board.measured(key, instance, (calls, failures, call_us), self.now());
        self.judge_later(key);
    }

    /// The agent, as every commit before this call left it.
    async fn present(&self, tenant: &Tenant, id: &AgentId) -> Result<Arc<Known>, RegistryError> {
        self.refresh().await?;
        self.feed.get(tenant, id).ok_or_else(|| RegistryError::NotFound(id.clone()))
    }
}
