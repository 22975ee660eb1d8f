//! Registry service.
//!
//! It owns: agents as their owners describe them, their instances, how they are (probes, heartbeats, what executors
//! measured), and the list of changes that executors, planners and gateways follow. Whom a need is matched to is decided
//! by `catalog`, from a snapshot that each caller keeps by a watch: the registry is not asked once per task.
//!
//! It refuses: definitions with errors (nothing is half registered), an update of something else than the caller read,
//! to believe health that a caller states, new calls to an agent that is being removed, and to let one go while an
//! executor has a call on it, unless forced.
//!
//! What it keeps in memory only (probe results, heartbeats) is learned again after a restart; the status that was
//! written last holds until then. Every replica answers everything; each looks after its share of the agents.

mod app;
mod config;
mod error;
mod grpc;
mod metrics;

use anyhow::Context as _;
use proto::registry::{
    internal::v1::registry_internal_service_server::RegistryInternalServiceServer,
    v1::registry_service_server::RegistryServiceServer,
};
use runtime::{Role, RoleContext, Service, SharedBus};
use store::{Database, registry::RegistryStore};

use app::{App, Repo, Ring};

/// The registry on the bus that the settings name.
pub fn role() -> Role {
    role_on(SharedBus::default())
}

/// The registry on the bus of its process.
pub fn role_on(bus: SharedBus) -> Role {
    Role::new("registry", &[], move |ctx| serve(ctx, bus.clone()))
}

async fn serve(ctx: RoleContext, bus: SharedBus) -> anyhow::Result<Service> {
    let bus = bus.open(&ctx.settings)?;
    let database = ctx.settings.open_database()?;
    let store = RegistryStore::open(&database, &ctx.settings.database_options())
        .await
        .context("the registry's database")?;
    let shared = matches!(database, Database::Postgres(_));
    let ring = Ring::new(ctx.member_id(), ctx.advertised(), shared);
    let app = App::open(&ctx, Repo::new(store.clone()), ring, bus).await?;
    app.spawn(&ctx);
    let limit = usize::try_from(ctx.settings.server.grpc_message_max.0).unwrap_or(usize::MAX);
    let grpc = grpc::Grpc::new(app, shared.then(|| ctx.peers.clone()));
    let public = RegistryServiceServer::new(grpc.clone())
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit);
    Ok(Service::new()
        .grpc(public)
        .grpc(RegistryInternalServiceServer::new(grpc).max_decoding_message_size(limit))
        .descriptor(proto::DESCRIPTORS))
}
