//! The fleet as a local snapshot, followed from the registry: its readers ask no other service.

use std::sync::Arc;

use base::AgentId;
use catalog::{AgentEntry, AgentState, Change, Snapshot};
use proto::registry::v1::{
    Agent, WatchAgentsRequest, WatchAgentsResponse, registry_service_client::RegistryServiceClient,
};
use tonic::{
    Status,
    body::Body,
    client::GrpcService,
    codegen::{Body as HttpBody, Bytes, StdError},
};

/// Largest message of a watch, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Follows the registry behind `peer` until the stream ends: `put` gets each whole snapshot. `known` resumes where an
/// earlier watch stopped; an empty one starts anew.
///
/// # Errors
/// The status with which the stream broke.
pub async fn watch<C>(peer: C, known: Arc<Snapshot>, mut put: impl FnMut(Arc<Snapshot>)) -> Result<(), Status>
where
    C: GrpcService<Body>,
    C::Error: Into<StdError>,
    C::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <C::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    let mut client = RegistryServiceClient::new(peer).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let from_revision = if known.is_empty() { 0 } else { known.revision() };
    let mut stream = client.watch_agents(WatchAgentsRequest { from_revision }).await?.into_inner();
    let mut present = known;
    let mut whole: Vec<Arc<AgentEntry>> = Vec::new();
    while let Some(message) = stream.message().await? {
        if message.snapshot {
            whole.extend(message.changed.iter().filter_map(entry));
            if !message.snapshot_complete {
                continue;
            }
            present = Arc::new(Snapshot::of(message.revision, std::mem::take(&mut whole)));
        } else {
            present = Arc::new(present.with(message.revision, changes(&message)));
        }
        put(present.clone());
    }
    Ok(())
}

fn changes(message: &WatchAgentsResponse) -> Vec<Change> {
    let put = message.changed.iter().filter_map(entry).map(Change::Put);
    let gone = message.removed.iter().filter_map(|id| AgentId::new(id).ok()).map(Change::Remove);
    put.chain(gone).collect()
}

fn entry(agent: &Agent) -> Option<Arc<AgentEntry>> {
    let state = AgentState::parse(&agent.state).unwrap_or_default();
    match AgentEntry::from_json(&agent.definition_json, agent.revision, state) {
        Ok(entry) => Some(Arc::new(entry)),
        Err(rejected) => {
            tracing::warn!(
                agent = %agent.agent_id,
                ?rejected,
                "an agent of the registry cannot be read; it is left out"
            );
            None
        }
    }
}
