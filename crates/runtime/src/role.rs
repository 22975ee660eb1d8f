//! What a service tells the runtime about itself, and what the runtime hands to it.

use std::{convert::Infallible, fmt, future::Future, net::SocketAddr, sync::Arc};

use axum::response::IntoResponse;
use base::CallContext;
use futures::future::BoxFuture;
use http::Request;
use tonic::{body::Body, server::NamedService, service::Routes};
use tower::{Service as TowerService, ServiceExt as _};

use crate::{
    Drain, Metrics, PeerChannel, PeerError, Peers, ReadyFlag, Settings,
    call::{self, Trust},
    ops::{self, Ops},
    process::{Fatal, Tasks},
    readiness::Readiness,
};

type StartFn = dyn Fn(RoleContext) -> BoxFuture<'static, anyhow::Result<Service>> + Send + Sync;

/// One service, as `runtime` starts it: alone in its own binary, or with others in one process.
#[derive(Clone)]
pub struct Role {
    /// Its name, as in the settings: `executor`.
    pub name: &'static str,
    /// Peers it calls. They never order or block the start: the role is not ready until it has seen them.
    pub needs: &'static [&'static str],
    pub(crate) start: Arc<StartFn>,
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Role").field("name", &self.name).field("needs", &self.needs).finish_non_exhaustive()
    }
}

impl Role {
    /// `start` sets the service up (opens its store, spawns its tasks) and returns what it serves. It is called after
    /// all ports are bound; an error ends the process.
    pub fn new<F, Fut>(name: &'static str, needs: &'static [&'static str], start: F) -> Self
    where
        F: Fn(RoleContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<Service>> + Send + 'static,
    {
        Self { name, needs, start: Arc::new(move |ctx| Box::pin(start(ctx))) }
    }
}

/// The addresses a role is bound to, free ports resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundPorts {
    /// Public HTTP.
    pub http: Option<SocketAddr>,
    /// gRPC. `None` when the role is reached inside this process only.
    pub grpc: Option<SocketAddr>,
    /// `/health`, `/ready`, `/metrics` of the process.
    pub internal: Option<SocketAddr>,
}

/// What the runtime hands to a role.
#[derive(Clone, Debug)]
pub struct RoleContext {
    /// The role's name.
    pub role: &'static str,
    /// The effective settings.
    pub settings: Arc<Settings>,
    /// The other services.
    pub peers: Peers,
    /// Instruments.
    pub metrics: Metrics,
    /// Where spans of operations go that have ended.
    pub spans: crate::Spans,
    /// Tells when the process goes down.
    pub drain: Drain,
    /// Where this role listens.
    pub ports: BoundPorts,
    pub(crate) readiness: Readiness,
    pub(crate) tasks: Tasks,
    pub(crate) ops: Ops,
}

impl RoleContext {
    /// The peer called `name`.
    pub fn peer(&self, name: &str) -> Result<PeerChannel, PeerError> {
        self.peers.get(name)
    }

    /// Runs a background task until it ends by itself; it must end when `drain.stopped()` does. An error or a panic
    /// of it ends the process.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.tasks.spawn(self.role, name, task);
    }

    /// Ends the process at once, without draining.
    pub fn fatal(&self) -> Fatal {
        self.tasks.fatal(self.role)
    }

    /// Something that has to be there before the role is ready; it starts as not ready.
    pub fn ready_flag(&self, what: &'static str) -> ReadyFlag {
        let flag = ReadyFlag { readiness: self.readiness.clone(), role: self.role.to_owned(), what };
        flag.not_ready("not there yet");
        flag
    }

    /// A context for a call that this role makes on its own behalf, with the deadline `server.call_timeout`.
    pub fn own_call(&self) -> CallContext {
        call::own_call(self.role, self.settings.server.call_timeout)
    }

    /// Where other replicas reach this role's gRPC: `node.advertise`, else the bound address, with the host name in
    /// place of an unspecified address.
    pub fn advertised(&self) -> String {
        if let Some(address) = &self.settings.node.advertise {
            return address.clone();
        }
        match self.ports.grpc {
            Some(at) if at.ip().is_unspecified() => {
                format!("http://{}:{}", crate::ports::host_name(), at.port())
            }
            Some(at) => format!("http://{at}"),
            None => String::new(),
        }
    }

    /// Name of this replica: `node.id`, else host name and gRPC port.
    pub fn member_id(&self) -> String {
        let port = self.ports.grpc.map_or(0, |at| at.port());
        match &self.settings.node.id {
            Some(id) => id.clone(),
            None if port == 0 => crate::ports::host_name(),
            None => format!("{}-{port}", crate::ports::host_name()),
        }
    }

    /// `/health`, `/ready` and `/metrics` of the process, for a role that serves them at its public door too.
    pub fn ops_router(&self) -> axum::Router {
        ops::router(self.ops.clone())
    }

    /// Reasons why each role of this process is not ready; an empty list means ready.
    pub fn readiness(&self) -> std::collections::BTreeMap<String, Vec<String>> {
        self.readiness.reasons()
    }

    /// All metrics in the Prometheus text format; `None` when they are turned off.
    pub fn prometheus(&self) -> Option<String> {
        self.metrics.prometheus()
    }
}

/// What a role does with its accepted work when the process goes down.
pub(crate) struct DrainHook(pub(crate) Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>);

impl fmt::Debug for DrainHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DrainHook")
    }
}

/// What a role serves.
pub struct Service {
    pub(crate) routes: Routes,
    pub(crate) trust: Trust,
    pub(crate) names: Vec<String>,
    pub(crate) descriptors: Vec<&'static [u8]>,
    pub(crate) http: Option<axum::Router>,
    pub(crate) drain_hooks: Vec<DrainHook>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Default for Service {
    fn default() -> Self {
        Self::new()
    }
}

impl Service {
    /// Serves nothing yet.
    pub fn new() -> Self {
        Self {
            routes: Routes::default(),
            trust: Trust::Inside,
            names: Vec::new(),
            descriptors: Vec::new(),
            http: None,
            drain_hooks: Vec::new(),
        }
    }

    /// Adds a generated gRPC server. It has an entry in health and, with its descriptor, in reflection.
    #[must_use]
    pub fn grpc<S>(mut self, service: S) -> Self
    where
        S: TowerService<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME.to_owned());
        self.routes = self.routes.add_service(service);
        self
    }

    /// Takes all gRPC calls that no added server has: `names` are the services that it answers for.
    #[must_use]
    pub fn grpc_fallback<S>(mut self, names: &[&str], service: S) -> Self
    where
        S: TowerService<Request<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.extend(names.iter().map(|name| (*name).to_owned()));
        let service = service.map_request(|request: Request<axum::body::Body>| request.map(Body::new));
        self.routes = Routes::from(self.routes.into_axum_router().fallback_service(service));
        self
    }

    /// Adds an encoded `FileDescriptorSet` for reflection. It may hold more than this role serves: reflection lists the
    /// added servers only.
    #[must_use]
    pub fn descriptor(mut self, encoded: &'static [u8]) -> Self {
        self.descriptors.push(encoded);
        self
    }

    /// This gRPC port is the public door: tenant and principal in the metadata are dropped, not believed.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.trust = Trust::Outside;
        self
    }

    /// Serves `router` on the role's public HTTP port.
    #[must_use]
    pub fn http(mut self, router: axum::Router) -> Self {
        self.http = Some(router);
        self
    }

    /// Runs after the listeners stopped accepting and before background tasks have to end: finish accepted work here.
    /// Hooks of one role run in the order in which they were added, roles in the reverse of their start.
    #[must_use]
    pub fn on_drain<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.drain_hooks.push(DrainHook(Box::new(move || Box::pin(hook()))));
        self
    }
}
