//! Listeners, the services that every role has, and the watch over needed peers.

use std::{future::Future, net::SocketAddr, time::Duration};

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_client::HealthClient, health_server::HealthServer},
    server::{HealthReporter, HealthService},
};
use tower::Layer as _;

use crate::{
    PeerChannel,
    call::{self, CallLayer, Trust},
    peers::HereService,
    readiness::Readiness,
};

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Adds health and reflection (v1 and v1alpha) to a role's gRPC services.
pub(crate) fn with_common(
    routes: Routes,
    names: &[String],
    descriptors: &[&'static [u8]],
    health: &HealthReporter,
) -> Result<Routes, String> {
    let health = HealthServer::new(HealthService::from_health_reporter(health.clone()));
    let reflection = || {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        for descriptor in descriptors {
            builder = builder.register_encoded_file_descriptor_set(descriptor);
        }
        names.iter().fold(builder, |builder, name| builder.with_service_name(name))
    };
    let v1 = reflection().with_service_name("grpc.reflection.v1.ServerReflection");
    let v1alpha = reflection().with_service_name("grpc.reflection.v1alpha.ServerReflection");
    let routes = routes
        .add_service(health)
        .add_service(v1.build_v1().map_err(|e| e.to_string())?)
        .add_service(v1alpha.build_v1alpha().map_err(|e| e.to_string())?);
    Ok(routes.prepare())
}

/// The server as other roles of this process call it.
pub(crate) fn inside(routes: Routes) -> HereService {
    CallLayer::new(Trust::Inside).layer(routes)
}

/// Serves gRPC until `stop`, then until the calls that it has accepted have ended.
pub(crate) async fn grpc(
    listener: TcpListener,
    routes: Routes,
    trust: Trust,
    stop: impl Future<Output = ()> + Send,
) {
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(CallLayer::new(trust))
        .add_routes(routes)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop)
        .await;
    if let Err(e) = served {
        tracing::error!(error = %e, "gRPC listener failed");
    }
}

/// Serves HTTP until `stop`, then until the requests that it has accepted have ended.
pub(crate) async fn http(
    listener: TcpListener,
    router: axum::Router,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let listener = listener.tap_io(|stream| {
        // Without it small answers wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
    });
    let service = router.into_make_service_with_connect_info::<Peer>();
    if let Err(e) = axum::serve(listener, service).with_graceful_shutdown(stop).await {
        tracing::error!(error = %e, "HTTP listener failed");
    }
}

type Peer = SocketAddr;

/// Watches one needed peer.
pub(crate) struct PeerWatch {
    pub role: &'static str,
    pub need: &'static str,
    pub peer: PeerChannel,
    /// Whether its health entry is ours to write: not when its role runs here and reports itself.
    pub reported: bool,
    pub every: Duration,
    pub readiness: Readiness,
    pub health: HealthReporter,
    pub stopped: CancellationToken,
}

impl PeerWatch {
    /// Until the peer is seen it is asked ten times as often.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut seen = false;
        loop {
            let answer = self.ask().await;
            if answer.is_some() && !seen {
                seen = true;
                self.readiness.set(self.role, self.need, None);
                tracing::debug!(role = self.role, peer = self.need, "peer seen");
            }
            if self.reported {
                let status =
                    if answer == Some(true) { ServingStatus::Serving } else { ServingStatus::NotServing };
                self.health.set_service_status(self.need, status).await;
            }
            if seen && !self.reported {
                // A role of this process does not go away before it.
                return Ok(());
            }
            let pause = if seen { self.every } else { self.every / 10 };
            tokio::select! {
                () = self.stopped.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// `None` when nobody answers, else whether it is ready.
    async fn ask(&self) -> Option<bool> {
        if !self.peer.has_started() {
            return None;
        }
        let ctx = call::own_call(self.role, self.every.max(Duration::from_secs(1)));
        let request = call::request(&ctx, HealthCheckRequest { service: self.need.to_owned() });
        match HealthClient::new(self.peer.clone()).check(request).await {
            Ok(answer) => Some(answer.into_inner().status == ServingStatus::Serving as i32),
            // It is there and has no such entry yet.
            Err(status) if status.code() == tonic::Code::NotFound => Some(false),
            Err(_) => None,
        }
    }
}
