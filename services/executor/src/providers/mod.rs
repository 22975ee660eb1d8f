//! Other workflow engines as something that calls go to: the engines that the settings name, and their places among the
//! agents. To everything else of the executor a run at an engine is a call like any other.

mod caller;
mod orchestra;
mod runs;

use std::sync::Arc;

use anyhow::Context as _;
use base::AgentId;
use catalog::{AgentDefinition, AgentEntry, AgentState, Change, HealthReport, Snapshot};
use provider::{
    Providers,
    temporal::{self, Temporal, TemporalOptions},
};
use runtime::Settings;
use serde_json::json;
use workflow::plan::provider_id;

pub use caller::Callers;
pub use orchestra::Orchestra;

/// The engines that the settings name.
///
/// # Errors
/// A certificate that cannot be read.
pub fn of_settings(settings: &Settings) -> anyhow::Result<Providers> {
    let own = &settings.providers;
    let mut known = Providers::default();
    if let Some(address) = &own.temporal_address {
        let ca = own.temporal_ca_file.as_ref().map(|path| {
            std::fs::read(path).with_context(|| format!("providers.temporal_ca_file: {path} cannot be read"))
        });
        let options = TemporalOptions {
            address: address.expose().to_owned(),
            namespace: own.temporal_namespace.clone(),
            api_key: own.temporal_api_key.as_ref().map(|key| key.expose().to_owned()),
            ca: ca.transpose()?,
            call_timeout: own.call_timeout,
        };
        known = known.with(temporal::NAME, Temporal::new(options));
    }
    if let Some(address) = &own.orchestra_address {
        let engine = Orchestra::new(address.expose(), own.call_timeout)
            .map_err(|fault| anyhow::anyhow!("providers.orchestra_address: {}", fault.message))?;
        known = known.with(orchestra::NAME, Arc::new(engine));
    }
    Ok(known)
}

/// The engines' places among the agents: calls find them by id, and each takes so many at once.
pub fn entries(providers: &Providers, concurrency: u32) -> Vec<Arc<AgentEntry>> {
    let entry = |name: &str| {
        let definition = json!({
            "id": provider_id(name),
            "name": name,
            "description": "another workflow engine",
            // Calls do not go by it: the engine knows where it is.
            "endpoint": "http://provider.invalid",
            "capacity": concurrency,
        });
        match AgentDefinition::from_stored(&definition) {
            Ok(definition) => {
                let (active, health) = (AgentState::Active, HealthReport::default());
                Some(Arc::new(AgentEntry::new(definition, 0, active, health)))
            }
            Err(rejected) => {
                tracing::error!(provider = name, ?rejected, "a provider has no place among the agents");
                None
            }
        }
    };
    providers.iter().filter_map(|(name, _)| entry(name)).collect()
}

/// The registry's agents and the engines. An agent that took the name of an engine gives way to it.
pub fn join(fleet: &Arc<Snapshot>, entries: &[Arc<AgentEntry>]) -> Arc<Snapshot> {
    if entries.is_empty() {
        return fleet.clone();
    }
    Arc::new(fleet.with(fleet.revision(), entries.iter().cloned().map(Change::Put)))
}

/// The engine that an agent's id stands for.
pub(crate) fn provider_of(agent: &AgentId) -> Option<&str> {
    agent.as_str().strip_prefix(catalog::PROVIDERS)
}
