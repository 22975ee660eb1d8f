//! What handlers share: the services behind the door, limits, and the state of this process.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use api::Fault;
use base::{CallContext, ErrorCode};
use proto::{
    planner::v1::{
        pattern_service_client::PatternServiceClient, planner_service_client::PlannerServiceClient,
    },
    registry::v1::registry_service_client::RegistryServiceClient,
};
use runtime::{PeerChannel, RoleContext, call};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::{
    door::DoorRules, executors::Executors, metrics::DoorMetrics, origin::Origins, problem::Problem,
    schema::Schemas,
};

/// How long a read is tried again while a service is away.
const READ_PATIENCE: Duration = Duration::from_secs(3);
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A client of the registry.
pub(crate) type Registry = RegistryServiceClient<PeerChannel>;
/// A client of the planner.
pub(crate) type Planner = PlannerServiceClient<PeerChannel>;
/// A client of the planner's patterns.
pub(crate) type Patterns = PatternServiceClient<PeerChannel>;

/// Limits of the door, from the settings `gateway.*`.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes of a request body.
    pub body_max: usize,
    pub page_max: u32,
    pub page_default: u32,
    pub wait_max: Duration,
    pub request_timeout: Duration,
    /// Messages that may wait for a slow subscriber.
    pub backlog_max: usize,
    /// Bytes of a message from a WebSocket client.
    pub message_max: usize,
    pub ping_interval: Duration,
}

/// How often a call may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// A read: for a short while, a person waits.
    Read,
    /// A change that is safe to repeat: until the request's deadline, so that it survives a takeover.
    UntilDeadline,
    /// A change that is not: only when the receiver says that it did not take it (`not_owner`).
    OnlyRefused,
}

/// The state of the gateway.
pub(crate) struct App {
    pub registry: Registry,
    pub planner: Planner,
    pub patterns: Patterns,
    pub executors: Executors,
    pub limits: Limits,
    pub schemas: Schemas,
    pub rules: Arc<DoorRules>,
    /// One permit for each open WebSocket or SSE connection.
    pub streams: Arc<Semaphore>,
    pub role: RoleContext,
    pub started: Instant,
    /// The OpenAPI document as JSON text; filled when the router is made.
    pub document: std::sync::OnceLock<String>,
}

impl App {
    pub(crate) fn new(role: RoleContext) -> anyhow::Result<Self> {
        let (gateway, server) = (&role.settings.gateway, &role.settings.server);
        let message_max = server.grpc_message_max.len();
        // Behind a listener on all addresses the name is whatever the world calls it.
        let loopback = role.ports.http.map_or(server.host, |at| at.ip()).is_loopback();
        let rules = DoorRules {
            origins: Origins::new(&gateway.allowed_origins, loopback),
            metrics: DoorMetrics::new(role.metrics.clone()),
            timeout: gateway.request_timeout,
        };
        let registry = RegistryServiceClient::new(role.peer("registry")?);
        let planner = PlannerServiceClient::new(role.peer("planner")?);
        let patterns = PatternServiceClient::new(role.peer("planner")?);
        Ok(Self {
            registry: registry.max_decoding_message_size(message_max).max_encoding_message_size(message_max),
            planner: planner.max_decoding_message_size(message_max).max_encoding_message_size(message_max),
            patterns: patterns.max_decoding_message_size(message_max).max_encoding_message_size(message_max),
            executors: Executors::new(role.peer("executor")?, role.peers.clone(), message_max),
            limits: Limits {
                body_max: gateway.body_max.len(),
                page_max: gateway.page_max,
                page_default: gateway.page_default,
                wait_max: gateway.wait_max,
                request_timeout: gateway.request_timeout,
                backlog_max: gateway.websocket_backlog_max as usize,
                message_max: gateway.websocket_message_max.len(),
                ping_interval: gateway.websocket_ping_interval,
            },
            schemas: Schemas::default(),
            rules: Arc::new(rules),
            streams: Arc::new(Semaphore::new(gateway.websocket_max as usize)),
            started: Instant::now(),
            document: std::sync::OnceLock::new(),
            role,
        })
    }
}

/// Calls a role through `client`; repeated as `retry` says while it is away.
pub(crate) async fn ask<C, M, T, F, Fut>(
    client: &C,
    ctx: &CallContext,
    retry: Retry,
    message: M,
    call: F,
) -> Result<T, Problem>
where
    C: Clone,
    M: Clone,
    F: Fn(C, Request<M>) -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    repeat(ctx, retry, || call(client.clone(), call::request(ctx, message.clone()))).await
}

/// Repeats `attempt` while the other side is away.
pub(crate) async fn repeat<T, F, Fut>(ctx: &CallContext, retry: Retry, attempt: F) -> Result<T, Problem>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let mut patience = Patience::new(ctx, retry);
    loop {
        match attempt().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => {
                if !patience.again(&status).await {
                    return Err(Problem::from(&status));
                }
            }
        }
    }
}

/// Decides whether a failed call is tried again, and waits before it is.
pub(crate) struct Patience {
    retry: Retry,
    until: Instant,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new(ctx: &CallContext, retry: Retry) -> Self {
        let left = call::time_left(ctx).unwrap_or(READ_PATIENCE);
        let patience = if retry == Retry::Read { left.min(READ_PATIENCE) } else { left };
        Self { retry, until: Instant::now() + patience, pause: PAUSE_FIRST }
    }

    /// `false` when the answer is final or the time is up.
    pub(crate) async fn again(&mut self, status: &Status) -> bool {
        let may = match Fault::from_status(status).code {
            ErrorCode::NotOwner => true,
            ErrorCode::Unavailable => self.retry != Retry::OnlyRefused,
            _ => false,
        };
        if !may || Instant::now() + self.pause >= self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}
