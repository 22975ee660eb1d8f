//! The state of the gateway and of what lies behind it: health, readiness, capacity, metrics, the OpenAPI document.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use base::ErrorCode;
use futures::future::join_all;
use http::{StatusCode, header};
use proto::executor::v1 as wire;
use runtime::call;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Answer, json, ok};
use crate::{
    app::App,
    extract::{Call, Query},
    metrics::PerformanceMetrics,
    problem::Problem,
};

/// The state of the system as this gateway sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `healthy`, or `degraded` when a part is not ready. The process runs in both cases.
    pub status: String,
    /// Of this build.
    pub version: String,
    /// Seconds since this gateway started.
    pub uptime_seconds: u64,
    /// The roles of this process.
    pub components: BTreeMap<String, Component>,
}

/// A role of this process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Component {
    /// `healthy` or `degraded`.
    pub status: String,
    /// What it waits for.
    pub waiting_for: Vec<String>,
}

/// Whether requests can be served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// All of it.
    pub ready: bool,
    /// The roles of this process.
    pub components: BTreeMap<String, Component>,
}

/// How much room there is: the sum over all executors that answer.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Capacity {
    /// Executions that are active.
    pub active: u64,
    /// How many may be.
    pub max_concurrent: u64,
    /// Starts that wait for room.
    pub queued: u64,
    /// How many may wait before starts are refused.
    pub queue_max: u64,
    /// Whether a start is accepted now.
    pub accepting: bool,
    /// Calls to agents that are under way.
    pub calls_in_flight: u64,
    /// Calls that wait for an agent.
    pub calls_waiting: u64,
    /// Executors that answered.
    pub executors: u32,
}

/// Which form.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Form {
    /// `json` or `prometheus`.
    format: Option<String>,
}

fn components(app: &App) -> BTreeMap<String, Component> {
    let shown = |waiting_for: Vec<String>| {
        let status = if waiting_for.is_empty() { "healthy" } else { "degraded" };
        Component { status: status.into(), waiting_for }
    };
    app.role.readiness().into_iter().map(|(role, waiting)| (role, shown(waiting))).collect()
}

fn health_of(app: &App) -> Health {
    let components = components(app);
    let well = components.values().all(|c| c.waiting_for.is_empty());
    Health {
        status: if well { "healthy" } else { "degraded" }.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_seconds: app.started.elapsed().as_secs(),
        components,
    }
}

/// Shows the state of the system. 200 as long as the gateway runs: a restart would not bring back what is missing.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, body = Health)))]
pub(crate) async fn health(State(app): State<Arc<App>>) -> Answer {
    ok(&health_of(&app))
}

/// Whether requests can be served: 503 with the reasons when not.
#[utoipa::path(get, path = "/ready", tag = "operations", responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Answer {
    let components = components(&app);
    let ready = components.values().all(|c| c.waiting_for.is_empty());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(json(status, &Readiness { ready, components }))
}

/// How much room there is for executions.
#[utoipa::path(get, path = "/workflow-capacity", tag = "operations", responses((status = 200, body = Capacity)))]
pub(crate) async fn capacity(State(app): State<Arc<App>>, Call(ctx): Call) -> Answer {
    let asked = app.executors.all(&ctx).await.into_iter().map(|mut executor| {
        let request = call::request(&ctx, wire::GetCapacityRequest {});
        async move { executor.get_capacity(request).await }
    });
    let mut sum = Capacity::default();
    let mut refused = None;
    for answer in join_all(asked).await {
        match answer {
            Ok(answer) => {
                let one = answer.into_inner();
                sum.active += u64::from(one.active);
                sum.max_concurrent += u64::from(one.max_concurrent);
                sum.queued += u64::from(one.queued);
                sum.queue_max += u64::from(one.queue_max);
                sum.accepting |= one.accepting;
                sum.calls_in_flight += u64::from(one.calls_in_flight);
                sum.calls_waiting += u64::from(one.calls_waiting);
                sum.executors += 1;
            }
            Err(status) => refused = Some(Problem::from(&status)),
        }
    }
    match refused {
        Some(problem) if sum.executors == 0 => Err(problem),
        _ => ok(&sum),
    }
}

/// The figures of this gateway over the last minute, or with `format=prometheus` all metrics of the process as text.
#[utoipa::path(get, path = "/metrics", tag = "operations", params(Form),
    responses((status = 200, content((PerformanceMetrics = "application/json"), (String = "text/plain")))))]
pub(crate) async fn metrics(State(app): State<Arc<App>>, Query(form): Query<Form>) -> Answer {
    match form.format.as_deref() {
        None | Some("json") => ok(&app.rules.metrics.performance()),
        Some("prometheus") => prometheus(&app),
        Some(other) => {
            Err(Problem::argument("format", format!("format {other:?} is not one of json, prometheus")))
        }
    }
}

/// All metrics of the process in the Prometheus text format; the figures for people with `format=json`.
#[utoipa::path(get, path = "/metrics", tag = "operations", params(Form),
    responses((status = 200, content((String = "text/plain"), (PerformanceMetrics = "application/json")))))]
pub(crate) async fn root_metrics(state: State<Arc<App>>, Query(form): Query<Form>) -> Answer {
    let format = form.format.or_else(|| Some("prometheus".into()));
    metrics(state, Query(Form { format })).await
}

fn prometheus(app: &App) -> Answer {
    let off = || {
        let rule = "metrics are turned off: telemetry.prometheus_enabled or telemetry.enabled is false";
        Problem::new(ErrorCode::NotFound, rule)
    };
    let text = app.role.prometheus().ok_or_else(off)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn document(State(app): State<Arc<App>>) -> Answer {
    let text = app.document.get().cloned().unwrap_or_default();
    Ok(Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(text))
        .unwrap_or_default())
}
