//! One hop to the owner of an execution.

use std::time::Duration;

use api::Fault;
use base::{CallContext, ExecutionId};
use proto::executor::v1::executor_service_client::ExecutorServiceClient;
use runtime::{PeerChannel, Peers};
use tonic::{Request, metadata::MetadataMap};

use crate::{
    cluster::{Cluster, Place},
    engine::Command,
};

/// Marks a call that another replica passed on: it is never passed on again.
const HOP: &str = "x-orchestra-hop";

/// How long a command waits for an owner before its caller is told that it still waits: a take-over takes less.
const OWNER_WITHIN: Duration = Duration::from_secs(12);

/// Finds the owner and passes calls on.
#[derive(Clone)]
pub struct Forward {
    cluster: Cluster,
    peers: Peers,
    bytes_max: usize,
}

impl Forward {
    /// Dials with `peers`; messages are at most `bytes_max` bytes.
    pub fn new(cluster: Cluster, peers: Peers, bytes_max: usize) -> Self {
        Self { cluster, peers, bytes_max }
    }

    /// The owner's client, when the execution is another replica's and the call was not passed on already.
    pub(crate) fn owner(
        &self,
        id: ExecutionId,
        metadata: &MetadataMap,
    ) -> Option<ExecutorServiceClient<PeerChannel>> {
        let client = ExecutorServiceClient::new(self.owner_channel(id, metadata)?);
        Some(client.max_decoding_message_size(self.bytes_max).max_encoding_message_size(self.bytes_max))
    }

    /// The way to the owner of what `id` hashes to, when that is another replica and the call was not passed on already.
    pub(crate) fn owner_channel(&self, id: ExecutionId, metadata: &MetadataMap) -> Option<PeerChannel> {
        if metadata.contains_key(HOP) {
            return None;
        }
        let Place::At(member) = self.cluster.owner_of(id) else { return None };
        self.peers.dial(&member.address).ok()
    }

    /// The ways to all other replicas; none when the call was passed on already.
    pub(crate) fn others(&self, metadata: &MetadataMap) -> Vec<PeerChannel> {
        if metadata.contains_key(HOP) {
            return Vec::new();
        }
        self.cluster.other_members().iter().filter_map(|m| self.peers.dial(&m.address).ok()).collect()
    }

    /// Largest message.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The same request, marked. `timeout`: longer than the call waits.
    pub(crate) fn request<T>(
        &self,
        context: &CallContext,
        message: T,
        timeout: Option<Duration>,
    ) -> Request<T> {
        let mut request = runtime::call::request(context, message);
        request.metadata_mut().insert(HOP, tonic::metadata::MetadataValue::from_static("1"));
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        request
    }

    /// Leaves a command on disk for the next owner of an execution that nobody looks after at the moment, and waits for
    /// that owner.
    pub(crate) async fn leave(
        &self,
        context: &CallContext,
        id: ExecutionId,
        command: &Command,
    ) -> Result<(), Fault> {
        self.cluster.refresh();
        let by = if context.principal.is_empty() { "anonymous" } else { &context.principal };
        let taken = self.cluster.leave_and_wait(&context.tenant, id, command, by, OWNER_WITHIN).await?;
        if taken {
            return Ok(());
        }
        let waits = "the execution has no owner at the moment; the command waits on disk for the next one";
        Err(Fault::unavailable(waits).retry_after_ms(1000))
    }

    /// Whether an execution would be looked after here.
    pub(crate) fn is_here(&self, id: ExecutionId) -> bool {
        self.cluster.owner_of(id) == Place::Here
    }
}
