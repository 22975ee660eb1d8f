//! Starts roles: bind, start, serve, drain. Each is a phase of its own.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Instant};

use tokio::{net::TcpListener, task::JoinSet};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    BoundPorts, Config, Drain, Metrics, PeerError, Peers, PortInUse, Role, RoleContext, Service, Settings,
    TaskFailed, Telemetry, TelemetryError,
    config::ConfigErrors,
    ops::{self, Ops},
    ports::{self, BindError},
    process::Tasks,
    readiness::Readiness,
    serve,
};

/// Which listeners a process opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// Those of every role: for a service on its own, or several that others reach.
    #[default]
    EveryRole,
    /// The gateway's public HTTP and gRPC only; all else is reached inside the process (`orchestra dev`).
    GatewayOnly,
}

/// How a process is started.
#[derive(Debug, Default)]
pub struct Options {
    /// Which listeners it opens.
    pub listen: Listen,
    /// Telemetry of the process. Unset: one is built from the settings, and nothing global is installed.
    pub telemetry: Option<Telemetry>,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings break rules.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A port is taken.
    #[error("{0}")]
    PortInUse(PortInUse),
    /// An address cannot be bound for another reason.
    #[error("{what}: cannot listen on {address}: {cause}; check server.host and {setting}")]
    Bind {
        /// What wanted it.
        what: String,
        /// The setting that chooses it.
        setting: String,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// A peer cannot be named.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// Telemetry could not be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// A role refused to start.
    #[error("{role} did not start: {cause:#}")]
    Role {
        /// Its name.
        role: &'static str,
        /// Why.
        cause: anyhow::Error,
    },
    /// A role's descriptors are broken.
    #[error("{role}: reflection: {cause}")]
    Reflection {
        /// Its name.
        role: &'static str,
        /// Why.
        cause: String,
    },
}

impl From<BindError> for StartError {
    fn from(e: BindError) -> Self {
        match e {
            BindError::InUse(port) => Self::PortInUse(port),
            BindError::Other { what, setting, address, cause } => {
                Self::Bind { what, setting, address, cause }
            }
        }
    }
}

struct Listeners {
    http: Option<TcpListener>,
    grpc: Option<TcpListener>,
    bound: BoundPorts,
}

/// A process that runs.
#[derive(Debug)]
pub struct Running {
    bound: BTreeMap<&'static str, BoundPorts>,
    peers: Peers,
    metrics: Metrics,
    drain: Drain,
    readiness: Readiness,
    tasks: Tasks,
    servers: JoinSet<()>,
    /// In the order of the start.
    hooks: Vec<(&'static str, Vec<crate::role::DrainHook>)>,
    settings: Arc<Settings>,
    telemetry: Arc<Telemetry>,
}

/// Starts `roles` in this process. All ports are bound before any of them does work; an error leaves nothing running
/// but background tasks that end with the runtime.
pub async fn start(roles: &[Role], config: &Config, options: Options) -> Result<Running, StartError> {
    let settings = Arc::new(config.settings.clone());
    settings.validate()?;
    let names: Vec<&str> = roles.iter().map(|r| r.name).collect();
    let peers = Peers::new(&names, &needed(roles, &settings))?;
    let readiness = Readiness::new(&names);
    for role in roles {
        readiness.set(role.name, "start", Some("starting".into()));
    }
    let (mut listeners, internal) = bind_all(roles, &settings, options.listen).await?;
    warn_if_open(&settings);

    let telemetry = match options.telemetry {
        Some(telemetry) => telemetry,
        None => Telemetry::new(&settings, &names.join("+"))?,
    };
    let metrics = telemetry.metrics();
    let ops =
        Ops { readiness: readiness.clone(), metrics: metrics.clone(), started: Arc::new(Instant::now()) };
    let mut running = Running {
        bound: listeners.iter().map(|(name, l)| (*name, l.bound)).collect(),
        peers,
        metrics,
        drain: Drain::default(),
        readiness,
        tasks: Tasks::new(),
        servers: JoinSet::new(),
        hooks: Vec::new(),
        settings,
        telemetry: Arc::new(telemetry),
    };
    if let Some(internal) = internal {
        // Answers from the first moment on: "not ready" is an answer, a refused connection is a riddle. It stays until
        // the very end, so that a draining process can still be asked.
        let stopped = running.drain.stopped_token();
        running.tasks.spawn("runtime", "internal http", async move {
            serve::http(internal, ops::router(ops), stopped.cancelled_owned()).await;
            Ok(())
        });
    }
    let health = HealthReporter::new();
    let mut entries = Vec::new();
    for role in roles {
        let ctx = running.context(role, &listeners);
        let service = match (role.start)(ctx).await {
            Ok(service) => service,
            Err(cause) => {
                running.drain.stop();
                return Err(StartError::Role { role: role.name, cause });
            }
        };
        entries.push((role.name, service.names.clone()));
        let own = listeners.remove(role.name);
        running.serve(role, service, own, &health)?;
    }
    running.watch_needs(roles, &health);
    running.report_health(entries, health);
    Ok(running)
}

/// The peers that `roles` need: name, setting, and the address that `auto` stands for elsewhere on this machine.
fn needed(roles: &[Role], settings: &Settings) -> Vec<(String, crate::config::PeerAddress, Option<String>)> {
    let mut names: Vec<&str> = roles.iter().flat_map(|r| r.needs.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    let place = |name: &str| {
        let grpc = settings.ports(name).grpc;
        let host = if grpc.ip().is_unspecified() { "127.0.0.1".to_owned() } else { grpc.ip().to_string() };
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        (grpc.port() != 0).then(|| format!("http://{host}:{}", grpc.port()))
    };
    names.into_iter().map(|name| (name.to_owned(), settings.peer(name), place(name))).collect()
}

async fn bind_all(
    roles: &[Role],
    settings: &Settings,
    listen: Listen,
) -> Result<(BTreeMap<&'static str, Listeners>, Option<TcpListener>), StartError> {
    let mut all = BTreeMap::new();
    let mut internal = None;
    for role in roles {
        let name = role.name;
        let ports = settings.ports(name);
        let open = listen == Listen::EveryRole || name == "gateway";
        let mut own = Listeners { http: None, grpc: None, bound: BoundPorts::default() };
        if let (Some(at), true) = (ports.http, open) {
            let listener = ports::bind(&format!("{name} http"), &format!("{name}.http_port"), at).await?;
            own.bound.http = listener.local_addr().ok();
            own.http = Some(listener);
        }
        if open {
            let listener =
                ports::bind(&format!("{name} grpc"), &format!("{name}.grpc_port"), ports.grpc).await?;
            own.bound.grpc = listener.local_addr().ok();
            own.grpc = Some(listener);
        }
        if listen == Listen::EveryRole && internal.is_none() {
            // One for the process: health and metrics are the process's.
            let what = (format!("{name} internal http"), format!("{name}.internal_port"));
            internal = Some(ports::bind(&what.0, &what.1, ports.internal).await?);
        }
        all.insert(name, own);
    }
    let internal_at = internal.as_ref().and_then(|l| l.local_addr().ok());
    for own in all.values_mut() {
        own.bound.internal = internal_at;
    }
    Ok((all, internal))
}

fn warn_if_open(settings: &Settings) {
    let host = settings.server.host;
    if host.is_loopback() {
        tracing::info!(%host, "listening on loopback only");
    } else {
        tracing::warn!(%host, "listening beyond loopback WITHOUT authentication: whoever reaches it may do anything");
    }
}

impl Drop for Running {
    /// Without a drain background tasks end all the same.
    fn drop(&mut self) {
        self.drain.stop();
    }
}

impl Running {
    fn context(&self, role: &Role, listeners: &BTreeMap<&'static str, Listeners>) -> RoleContext {
        let ops = Ops {
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
            started: Arc::new(Instant::now()),
        };
        RoleContext {
            role: role.name,
            settings: Arc::clone(&self.settings),
            peers: self.peers.clone(),
            metrics: self.metrics.clone(),
            drain: self.drain.clone(),
            ports: listeners.get(role.name).map(|l| l.bound).unwrap_or_default(),
            readiness: self.readiness.clone(),
            tasks: self.tasks.clone(),
            ops,
        }
    }

    fn serve(
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
    fn watch_needs(&self, roles: &[Role], health: &HealthReporter) {
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
    fn report_health(&self, entries: Vec<(&'static str, Vec<String>)>, health: HealthReporter) {
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
        let orderly = tokio::time::timeout(timeout, self.finish_work()).await.is_ok();
        self.drain.stop();
        self.servers.abort_all();
        // Tasks see `stopped`; what ignores it ends with the runtime.
        let left = timeout.saturating_sub(started.elapsed()).max(std::time::Duration::from_secs(1));
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

    async fn finish_work(&mut self) {
        // Listeners and hooks at the same time: a hook may be what ends the streams that a listener waits for.
        let hooks = std::mem::take(&mut self.hooks);
        let run_hooks = async {
            for (role, hooks) in hooks.into_iter().rev() {
                for hook in hooks {
                    (hook.0)().await;
                }
                tracing::debug!(role, "drained");
            }
        };
        let servers = &mut self.servers;
        let end_servers = async { while servers.join_next().await.is_some() {} };
        tokio::join!(run_hooks, end_servers);
    }
}
