//! Planner service: workflow definitions in, immutable versions and plans out.
//!
//! It owns the tables `workflows`, `workflow_versions`, `patterns` and `pattern_uses`, and nothing else. A version is stored only when its
//! definition has no error; what no fleet can ever fit is refused at once. The registry's agents are a local snapshot:
//! no request waits for the registry. It refuses to delete what has active executions, and to guess whether it has any
//! when no executor answers.

mod app;
mod config;
mod editions;
mod error;
mod fleet;
mod grpc;
mod metrics;
mod patterns;

use std::sync::Arc;

use anyhow::Context as _;
use proto::planner::{
    internal::v1::planner_internal_service_server::PlannerInternalServiceServer,
    v1::{pattern_service_server::PatternServiceServer, planner_service_server::PlannerServiceServer},
};
use runtime::{Role, RoleContext, Service};
use store::planner::PlannerStore;

use crate::{
    app::App, config::Options, editions::Editions, fleet::Fleet, grpc::Planner, metrics::PlannerMetrics,
};

/// The planner, alone in its process or beside others.
pub fn role() -> Role {
    role_with(Vec::new())
}

/// The same where the program has workflow engines of its own: definitions may name them.
pub fn role_with(engines: Vec<language::Provider>) -> Role {
    Role::new("planner", &["registry", "executor"], move |ctx| start(ctx, engines.clone()))
}

async fn start(ctx: RoleContext, engines: Vec<language::Provider>) -> anyhow::Result<Service> {
    let store = PlannerStore::open(&ctx.settings.open_database()?, &ctx.settings.database_options())
        .await
        .context("the planner's database")?;
    let fleet = Arc::new(Fleet::default());
    ctx.spawn("fleet", fleet::follow(ctx.clone(), fleet.clone()));
    let app = Arc::new(App {
        store: store.clone(),
        fleet,
        executor: ctx.peer("executor")?,
        metrics: PlannerMetrics::new(&ctx.metrics),
        options: Options::of(&ctx.settings, engines),
        compiled: app::cache(&ctx.settings),
        patterns: app::cache(&ctx.settings),
        editions: Editions::new(store.db().is_own(), app::cache(&ctx.settings)),
    });
    let max = ctx.settings.server.grpc_message_max.len();
    let planner = Planner::new(app);
    // A plan is larger than the text it was made from; only executors fetch plans.
    let inside = PlannerInternalServiceServer::new(planner.clone())
        .max_decoding_message_size(max)
        .max_encoding_message_size(usize::MAX);
    let patterns = PatternServiceServer::new(planner.clone())
        .max_decoding_message_size(max)
        .max_encoding_message_size(usize::MAX);
    let public = PlannerServiceServer::new(planner)
        .max_decoding_message_size(max)
        .max_encoding_message_size(usize::MAX);
    let service = Service::new().grpc(public).grpc(patterns).grpc(inside).descriptor(proto::DESCRIPTORS);
    Ok(service.on_drain(move || async move {
        store.db().close().await;
    }))
}
