//! The fleet as a local snapshot, followed from the registry: no RPC per task.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use catalog::AgentEntry;
use proto::registry::internal::v1::{
    ReportUseRequest, registry_internal_service_client::RegistryInternalServiceClient,
};
use runtime::{ReadyFlag, RoleContext};

use crate::{engine::Engine, providers};

/// How often calls in flight are reported to the registry.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// Longest pause before the watch is tried again.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Follows the registry until the role stops. `engines`: what stands among its agents beside them.
pub(crate) async fn follow(
    ctx: RoleContext,
    engine: Engine,
    ready: ReadyFlag,
    engines: Vec<Arc<AgentEntry>>,
) -> anyhow::Result<()> {
    let peer = ctx.peer("registry")?;
    let mut pause = Duration::from_millis(50);
    loop {
        let watch = api::fleet::watch(peer.clone(), engine.fleet(), |fleet| {
            engine.set_fleet(providers::join(&fleet, &engines));
            ready.ready();
        });
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
