//! `/health`, `/ready` and `/metrics`.

use std::{sync::Arc, time::Instant};

use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use crate::{Metrics, readiness::Readiness};

/// The paths that the router has.
pub const OPS_PATHS: &[&str] = &["/health", "/ready", "/metrics"];

/// What the routes look at.
#[derive(Clone, Debug)]
pub(crate) struct Ops {
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
    pub(crate) started: Arc<Instant>,
}

pub(crate) fn router(ops: Ops) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(ops)
}

/// The process runs. Says nothing of its peers: a restart would not bring them back.
async fn health(State(ops): State<Ops>) -> impl IntoResponse {
    Json(json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": ops.started.elapsed().as_secs(),
    }))
}

async fn ready(State(ops): State<Ops>) -> impl IntoResponse {
    let reasons = ops.readiness.reasons();
    let ready = reasons.values().all(Vec::is_empty);
    let roles: serde_json::Map<String, serde_json::Value> = reasons
        .into_iter()
        .map(|(role, waiting)| (role, json!({ "ready": waiting.is_empty(), "waiting_for": waiting })))
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "roles": roles })))
}

async fn metrics(State(ops): State<Ops>) -> impl IntoResponse {
    match ops.metrics.prometheus() {
        Some(text) => (StatusCode::OK, [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text),
        None => {
            let text = "metrics are turned off: telemetry.prometheus_enabled or telemetry.enabled is false\n";
            (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text.to_owned())
        }
    }
}
