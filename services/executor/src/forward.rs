//! One hop to the owner of an execution.

use std::time::Duration;

use base::{CallContext, ExecutionId};
use proto::executor::v1::executor_service_client::ExecutorServiceClient;
use runtime::{PeerChannel, Peers};
use tonic::{Request, metadata::MetadataMap};

use crate::cluster::{Cluster, Place};

/// Marks a call that another replica passed on: it is never passed on again.
const HOP: &str = "x-orchestra-hop";

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
        if metadata.contains_key(HOP) {
            return None;
        }
        let Place::At(member) = self.cluster.owner_of(id) else { return None };
        let channel = self.peers.dial(&member.address).ok()?;
        let client = ExecutorServiceClient::new(channel);
        Some(client.max_decoding_message_size(self.bytes_max).max_encoding_message_size(self.bytes_max))
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

    /// Whether an execution would be looked after here.
    pub(crate) fn is_here(&self, id: ExecutionId) -> bool {
        self.cluster.owner_of(id) == Place::Here
    }
}
