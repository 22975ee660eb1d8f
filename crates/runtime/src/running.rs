//! A process that runs: what it serves, what it watches, and how it goes down.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    BoundPorts, Drain, Metrics, Peers, Role, RoleContext, Service, Settings, StartError, TaskFailed,
    Telemetry, ops::Ops, process::Tasks, readiness::Readiness, role::DrainHook, serve, start::Listeners,
};

/// A process that runs.
#[derive(Debug)]
pub struct Running {
    pub(crate) bound: BTreeMap<&'static str, BoundPorts>,
    pub(crate) peers: Peers,
    pub(crate) metrics: Metrics,
    pub(crate) drain: Drain,
    pub(crate) readiness: Readiness,
    pub(crate) tasks: Tasks,
    pub(crate) started: Arc<Instant>,
    pub(crate) servers: JoinSet<()>,
    /// In the order of the start.
    pub(crate) hooks: Vec<(&'static str, Vec<DrainHook>)>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) telemetry: Arc<Telemetry>,
}

impl Drop for Running {
    /// Without a drain background tasks end all the same.
    fn drop(&mut self) {
        self.drain.stop();
    }
}

impl Running {
    pub(crate) fn ops(&self) -> Ops {
        Ops {
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
            started: Arc::clone(&self.started),
        }
    }

    pub(crate) fn context(&self, role: &Role, listeners: &BTreeMap<&'static str, Listeners>) -> RoleContext {
        RoleContext {
            role: role.name,
            settings: Arc::clone(&self.settings),
            peers: self.peers.clone(),
            metrics: self.metrics.clone(),
            spans: self.telemetry.spans(),
            drain: self.drain.clone(),
            ports: listeners.get(role.name).map(|l| l.bound).unwrap_or_default(),
            readiness: self.readiness.clone(),
            tasks: self.tasks.clone(),
            ops: self.ops(),
        }
    }

    pub(crate) fn serve(
        &mut self,
        role: &Role,
        service: Service,
        own: Option<Listeners>,
        health: &HealthReporter,
    ) -> Result<(), StartError> {
        let Service { routes, trust, names, descriptors, http, drain_hooks } = service;
        let routes = serve::with_common(routes, &names, &descriptors, health)
            .map_err(|cause| StartError::Reflection { role: role.name, cause })?;
        self.peers.open(role.name, serve::inside(routes.clone()));
        self.hooks.push((role.name, drain_hooks));
        let bound = own.as_ref().map(|o| o.bound).unwrap_or_default();
        if let Some(own) = own {
            if let Some(listener) = own.grpc {
                let draining = self.drain.draining_token();
                self.servers.spawn(serve::grpc(listener, routes, trust, draining.cancelled_owned()));
            }
            if let Some(listener) = own.http {
                let draining = self.drain.draining_token();
                let router = http.unwrap_or_default();
                self.servers.spawn(serve::http(listener, router, draining.cancelled_owned()));
            }
        }
        self.readiness.set(role.name, "start", None);
        tracing::info!(
            role = role.name,
            http = bound.http.map(tracing::field::display),
            grpc = bound.grpc.map(tracing::field::display),
            internal = bound.internal.map(tracing::field::display),
            "started"
        );
        Ok(())
    }

    /// Looks at each needed peer: the role is not ready until it has been seen once; health shows it from then on.
    pub(crate) fn watch_needs(&self, roles: &[Role], health: &HealthReporter) {
        let here: Vec<&str> = roles.iter().map(|r| r.name).collect();
        for role in roles {
            for need in role.needs.iter().copied() {
                let Ok(peer) = self.peers.get(need) else { continue };
                self.readiness.set(role.name, need, Some(format!("peer {need} has not been seen yet")));
                let watch = serve::PeerWatch {
                    role: role.name,
                    need,
                    peer,
                    reported: !here.contains(&need),
                    every: self.settings.server.peer_check_interval,
                    readiness: self.readiness.clone(),
                    health: health.clone(),
                    stopped: self.drain.stopped_token(),
                };
                self.tasks.spawn(role.name, "peer watch", watch.run());
            }
        }
    }

    /// Keeps gRPC health equal to readiness: one entry for each role and service, "" for all.
    pub(crate) fn report_health(&self, entries: Vec<(&'static str, Vec<String>)>, health: HealthReporter) {
        let readiness = self.readiness.clone();
        let stopped = self.drain.stopped_token();
        self.tasks.spawn("runtime", "health", async move {
            let mut changes = readiness.changes();
            loop {
                changes.borrow_and_update();
                let reasons = readiness.reasons();
                let status = |ready: bool| {
                    if ready { ServingStatus::Serving } else { ServingStatus::NotServing }
                };
                for (role, names) in &entries {
                    let ready = reasons.get(*role).is_some_and(Vec::is_empty);
                    for name in names.iter().map(String::as_str).chain([*role]) {
                        health.set_service_status(name, status(ready)).await;
                    }
                }
                health.set_service_status("", status(reasons.values().all(Vec::is_empty))).await;
                tokio::select! {
                    () = stopped.cancelled() => return Ok(()),
                    changed = changes.changed() => if changed.is_err() { return Ok(()) },
                }
            }
        });
    }

    /// Where the role called `name` listens.
    pub fn ports(&self, name: &str) -> BoundPorts {
        self.bound.get(name).copied().unwrap_or_default()
    }
    /// All roles of this process and where they listen.
    pub fn bound(&self) -> &BTreeMap<&'static str, BoundPorts> {
        &self.bound
    }
    /// The peers of the roles, for a program in the same process (`orchestra dev`, tests).
    pub fn peers(&self) -> &Peers {
        &self.peers
    }
    /// Instruments of the process.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
    /// For each role the reasons why it is not ready.
    pub fn readiness(&self) -> BTreeMap<String, Vec<String>> {
        self.readiness.reasons()
    }
    /// A handle that tells when this process goes down.
    pub fn drain_handle(&self) -> Drain {
        self.drain.clone()
    }

    /// Waits until every role is ready.
    pub async fn ready(&self) {
        let mut changes = self.readiness.changes();
        while !self.readiness.is_ready() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until a background task fails or a role asks for the end of the process.
    pub async fn failed(&self) -> TaskFailed {
        self.tasks.failure().await
    }

    /// Goes down in order: not ready, no new connections, accepted work ends, drain hooks, background tasks. Whatever
    /// takes longer than `server.drain_timeout` in all is cut off with a warning. `true` = all work ended by itself.
    pub async fn drain(mut self) -> bool {
        let started = Instant::now();
        self.readiness.drain();
        tokio::time::sleep(self.settings.server.drain_delay).await;
        self.drain.begin();
        let timeout = self.settings.server.drain_timeout;
        // Listeners first: a hook finishes what they have accepted. At most half of the time, so that one client that
        // holds on to its connection does not cost the hooks theirs.
        let servers = &mut self.servers;
        let end_servers = async { while servers.join_next().await.is_some() {} };
        let listeners_ended = tokio::time::timeout(timeout / 2, end_servers).await.is_ok();
        let hooks = std::mem::take(&mut self.hooks);
        let left = timeout.saturating_sub(started.elapsed());
        let orderly = tokio::time::timeout(left, run_hooks(hooks)).await.is_ok() && listeners_ended;
        self.drain.stop();
        self.servers.abort_all();
        // Tasks see `stopped`; what ignores it ends with the runtime.
        let left = timeout.saturating_sub(started.elapsed()).max(Duration::from_secs(1));
        let ended = tokio::time::timeout(left, self.tasks.ended()).await.is_ok();
        if orderly && ended {
            tracing::info!(took = ?started.elapsed(), "drained");
        } else {
            tracing::warn!(?timeout, "drain timeout: unfinished work was cut off");
        }
        let telemetry = Arc::clone(&self.telemetry);
        // Blocks on the collector; a failed join means that the runtime is going down already.
        let _ = tokio::task::spawn_blocking(move || telemetry.shutdown()).await;
        orderly && ended
    }
}

async fn run_hooks(hooks: Vec<(&'static str, Vec<DrainHook>)>) {
    for (role, hooks) in hooks.into_iter().rev() {
        for hook in hooks {
            (hook.0)().await;
        }
        tracing::debug!(role, "drained");
    }
}
