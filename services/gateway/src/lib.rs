//! Gateway service: the public door. It owns nothing durable.
//!
//! - REST under `/api/v1` and, the same router, under `/api/v1/orchestra` (`rest`, documented at
//!   `/api/v1/openapi.json`, readable at `/docs`), with errors as problem details (`problem`).
//! - Live streams of executions and workflows over WebSocket and SSE (`watch`, `live`).
//! - Public gRPC: frames of the services' own contracts, passed on by an allow-list (`forward`).
//! - It finds the executor that owns an execution (`executors`) and hides that owners move.
//!
//! It refuses browser requests from other origins and names that are made to resolve to loopback (`origin`), bodies
//! over their limit, and whatever a caller says about who it is.

mod app;
mod door;
mod executors;
mod extract;
mod forward;
mod live;
mod metrics;
mod model;
mod origin;
mod payload;
mod problem;
mod rest;
mod router;
mod schema;
mod seen;
mod watch;

use std::sync::Arc;

use runtime::{Role, RoleContext, Service};

use crate::{app::App, forward::Forward};

/// The role, for a service on its own or with others in one process.
pub fn role() -> Role {
    Role::new("gateway", &["registry", "planner", "executor"], start)
}

async fn start(role: RoleContext) -> anyhow::Result<Service> {
    let app = Arc::new(App::new(role.clone())?);
    let router = router::router(&app);
    let sampled = Arc::clone(&app.rules);
    let drain = role.drain.clone();
    role.spawn("cpu sampling", async move {
        loop {
            tokio::select! {
                () = drain.stopped() => return Ok(()),
                () = tokio::time::sleep(metrics::SAMPLE_EVERY) => sampled.metrics.sample_cpu(),
            }
        }
    });
    let names = forward::names();
    let forward = Forward::new(&role)?;
    Ok(Service::new().grpc_fallback(&names, forward).descriptor(proto::DESCRIPTORS).public().http(router))
}

/// The OpenAPI 3.1 document of the REST API, as JSON.
pub fn openapi_json() -> String {
    serde_json::to_string_pretty(&router::document()).unwrap_or_default()
}
