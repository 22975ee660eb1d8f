//! A gRPC service for tests: tonic-health's contract under another name, since every role serves the real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print
#![allow(dead_code)] // each test file uses its part

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use base::CallContext;
use futures::{Stream, StreamExt as _, stream};
use http::Request;
use runtime::{Config, PeerChannel, Role, Service, Settings};
use tokio::sync::Notify;
use tonic::{Response, Status, body::Body, server::NamedService};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};
use tower::Service as TowerService;

const REAL: &str = "/grpc.health.v1.Health/";
const RENAMED: &str = "/test.Health/";

/// What the service saw and what it waits for.
#[derive(Clone, Default)]
pub(crate) struct Probe {
    pub(crate) seen: Arc<Mutex<Vec<CallContext>>>,
    pub(crate) arrived: Arc<Notify>,
    pub(crate) go: Arc<Notify>,
}

#[tonic::async_trait]
impl Health for Probe {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.seen.lock().unwrap().push(runtime::call::context(&request));
        self.arrived.notify_one();
        match request.into_inner().service.as_str() {
            "panic" => panic!("secret text"),
            "never" => std::future::pending().await,
            "wait" => self.go.notified().await,
            "refused" => return Err(Status::resource_exhausted("full")),
            _ => {}
        }
        Ok(Response::new(HealthCheckResponse { status: 1 }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = stream::iter([Ok(HealthCheckResponse { status: 1 })]);
        let rest = match request.into_inner().service.as_str() {
            // The first message leaves before: an encoder gathers what is ready.
            "panic" => stream::once(async {
                tokio::task::yield_now().await;
                panic!("secret text")
            })
            .boxed(),
            "never" => stream::pending().boxed(),
            _ => stream::empty().boxed(),
        };
        Ok(Response::new(first.chain(rest).boxed()))
    }
}

/// Replaces the service's name in the path of a call.
#[derive(Clone)]
pub(crate) struct Renamed<S> {
    inner: S,
    from: &'static str,
    to: &'static str,
}

impl<S> NamedService for Renamed<S> {
    const NAME: &'static str = "test.Health";
}

impl<S: TowerService<Request<Body>, Error = Infallible>> TowerService<Request<Body>> for Renamed<S> {
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }
    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        let uri = request.uri().to_string().replace(self.from, self.to);
        *request.uri_mut() = uri.parse().unwrap();
        self.inner.call(request)
    }
}

pub(crate) fn client(peer: PeerChannel) -> HealthClient<Renamed<PeerChannel>> {
    HealthClient::new(Renamed { inner: peer, from: REAL, to: RENAMED })
}

/// A client of a service that nobody has.
pub(crate) fn misdirected(peer: PeerChannel) -> HealthClient<Renamed<PeerChannel>> {
    HealthClient::new(Renamed { inner: peer, from: REAL, to: "/test.Nobody/" })
}

/// The role `name` that serves `probe`.
pub(crate) fn serving(name: &'static str, probe: &Probe) -> Role {
    let probe = probe.clone();
    Role::new(name, &[], move |_| {
        let server = Renamed { inner: HealthServer::new(probe.clone()), from: RENAMED, to: REAL };
        async move { Ok(Service::new().grpc(server)) }
    })
}

/// A role that serves nothing and needs `needs`.
pub(crate) fn needing(name: &'static str, needs: &'static [&'static str]) -> Role {
    Role::new(name, needs, |_| async { Ok(Service::new()) })
}

pub(crate) fn asking(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

/// Settings on free ports, with short drains.
pub(crate) fn config(change: impl FnOnce(&mut Settings)) -> Config {
    let mut settings = Settings::default().on_free_ports();
    settings.server.drain_timeout = Duration::from_secs(20);
    settings.server.peer_check_interval = Duration::from_millis(200);
    change(&mut settings);
    Config::from_settings(settings)
}

/// Waits for `condition`, at most 20 s.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "never: {what}");
}
