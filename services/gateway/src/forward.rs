//! The public gRPC door: raw frames of the services' own public contracts, passed on by an allow-list.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use runtime::{PeerChannel, PeerError, RoleContext};
use tonic::{Status, body::Body};
use tower::Service;

/// The contracts that the world may call, and whose they are. Internal contracts are not among them.
pub(crate) const PUBLIC: &[(&str, &str)] = &[
    ("orchestra.registry.v1.RegistryService", "registry"),
    ("orchestra.planner.v1.PlannerService", "planner"),
    ("orchestra.planner.v1.PatternService", "planner"),
    ("orchestra.executor.v1.ExecutorService", "executor"),
    ("orchestra.executor.v1.BudgetService", "executor"),
    ("orchestra.executor.v1.CacheService", "executor"),
    ("orchestra.executor.v1.ControlService", "executor"),
    ("orchestra.executor.v1.EventService", "executor"),
    ("orchestra.executor.v1.ScheduleService", "executor"),
    ("orchestra.executor.v1.SessionService", "executor"),
    ("orchestra.executor.v1.HookService", "executor"),
];

/// Names of the contracts.
pub(crate) fn names() -> Vec<&'static str> {
    PUBLIC.iter().map(|(name, _)| *name).collect()
}

/// Passes calls on without looking into them. Tenant and principal were replaced before (see `runtime::Service::public`).
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    /// In the order of [`PUBLIC`].
    peers: Vec<PeerChannel>,
}

impl Forward {
    pub(crate) fn new(role: &RoleContext) -> Result<Self, PeerError> {
        let peers = PUBLIC.iter().map(|(_, peer)| role.peer(peer)).collect::<Result<_, _>>()?;
        Ok(Self { peers })
    }

    fn peer(&self, path: &str) -> Option<&PeerChannel> {
        let service = path.strip_prefix('/')?.split('/').next()?;
        let at = PUBLIC.iter().position(|(name, _)| *name == service)?;
        self.peers.get(at)
    }
}

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.peer(request.uri().path()) {
            Some(peer) => peer.clone().call(request),
            None => {
                let names = names().join(", ");
                let status = Status::unimplemented(format!("this door serves {names} only"));
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}
