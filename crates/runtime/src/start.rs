//! Starts roles: bind, start, serve. Each is a phase of its own; how they go down is in `running`.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Instant};

use tokio::{net::TcpListener, task::JoinSet};
use tonic_health::server::HealthReporter;

use crate::{
    BoundPorts, Config, Drain, PeerError, Peers, PortInUse, Role, Running, Settings, Telemetry,
    TelemetryError,
    config::ConfigErrors,
    ops,
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

/// The bound listeners of one role.
pub(crate) struct Listeners {
    pub(crate) http: Option<TcpListener>,
    pub(crate) grpc: Option<TcpListener>,
    pub(crate) bound: BoundPorts,
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
    let mut running = Running {
        bound: listeners.iter().map(|(name, l)| (*name, l.bound)).collect(),
        peers,
        metrics,
        drain: Drain::default(),
        readiness,
        tasks: Tasks::new(),
        started: Arc::new(Instant::now()),
        servers: JoinSet::new(),
        hooks: Vec::new(),
        settings,
        telemetry: Arc::new(telemetry),
    };
    if let Some(internal) = internal {
        // Answers from the first moment on: "not ready" is an answer, a refused connection is a riddle. It stays until
        // the very end, so that a draining process can still be asked.
        let (stopped, ops) = (running.drain.stopped_token(), running.ops());
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
