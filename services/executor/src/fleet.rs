//! The fleet as a local snapshot, followed from the registry: no RPC per task.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::AgentId;
use catalog::{AgentEntry, AgentState, Change, Snapshot};
use proto::registry::{
    internal::v1::{ReportUseRequest, registry_internal_service_client::RegistryInternalServiceClient},
    v1::{WatchAgentsRequest, WatchAgentsResponse, registry_service_client::RegistryServiceClient},
};
use runtime::{PeerChannel, ReadyFlag, RoleContext};

use crate::engine::Engine;

/// How often calls in flight are reported to the registry.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// Longest pause before the watch is tried again.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Follows the registry until the role stops.
pub(crate) async fn follow(ctx: RoleContext, engine: Engine, ready: ReadyFlag) -> anyhow::Result<()> {
    let peer = ctx.peer("registry")?;
    let mut pause = Duration::from_millis(50);
    loop {
        let watch = watch_once(peer.clone(), &engine, &ready);
        tokio::select! {
            () = ctx.drain.stopped() => return Ok(()),
            end = watch => match end {
                Ok(()) => pause = Duration::from_millis(50),
                Err(status) => {
                    tracing::info!(reason = %status.message(), "the registry's watch broke; going on with the known fleet");
                }
            },
        }
        tokio::select! {
            () = ctx.drain.stopped() => return Ok(()),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_MAX),
        }
    }
}

async fn watch_once(peer: PeerChannel, engine: &Engine, ready: &ReadyFlag) -> Result<(), tonic::Status> {
    let mut client = RegistryServiceClient::new(peer).max_decoding_message_size(64 << 20);
    let known = engine.fleet();
    let from_revision = if known.is_empty() { 0 } else { known.revision() };
    let mut stream = client.watch_agents(WatchAgentsRequest { from_revision }).await?.into_inner();
    let mut snapshot: Vec<Arc<AgentEntry>> = Vec::new();
    while let Some(message) = stream.message().await? {
        if message.snapshot {
            snapshot.extend(message.changed.iter().filter_map(entry));
            if message.snapshot_complete {
                engine.set_fleet(Arc::new(Snapshot::of(message.revision, std::mem::take(&mut snapshot))));
                ready.ready();
            }
        } else {
            engine.set_fleet(Arc::new(engine.fleet().with(message.revision, changes(&message))));
            ready.ready();
        }
    }
    Ok(())
}

fn changes(message: &WatchAgentsResponse) -> Vec<Change> {
    let put = message.changed.iter().filter_map(entry).map(Change::Put);
    let gone = message.removed.iter().filter_map(|id| AgentId::new(id).ok()).map(Change::Remove);
    put.chain(gone).collect()
}

fn entry(agent: &proto::registry::v1::Agent) -> Option<Arc<AgentEntry>> {
    let state = AgentState::parse(&agent.state).unwrap_or_default();
    match AgentEntry::from_json(&agent.definition_json, agent.revision, state) {
        Ok(entry) => Some(Arc::new(entry)),
        Err(rejected) => {
            tracing::warn!(agent = %agent.agent_id, ?rejected, "an agent of the registry cannot be read; it is left out");
            None
        }
    }
}

/// Tells the registry what is in flight, so that a draining agent is removed when nobody uses it any more.
pub(crate) async fn report(ctx: RoleContext, engine: Engine) -> anyhow::Result<()> {
    let client = RegistryInternalServiceClient::new(ctx.peer("registry")?);
    let member_id = ctx.member_id();
    let mut every = tokio::time::interval(REPORT_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = ctx.drain.stopped() => return Ok(()),
            _ = every.tick() => {}
        }
        let in_flight: BTreeMap<String, u32> =
            engine.in_flight().into_iter().map(|(agent, n)| (agent.to_string(), n)).collect();
        let request = ReportUseRequest {
            member_id: member_id.clone(),
            revision: engine.fleet().revision(),
            in_flight: in_flight.into_iter().collect(),
            measured: engine.take_measured(),
        };
        if let Err(status) = client.clone().report_use(runtime::call::request(&ctx.own_call(), request)).await
        {
            tracing::debug!(reason = %status.message(), "the registry did not take the report");
        }
    }
}
