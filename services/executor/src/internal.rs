//! The contract between replicas, and with the gateway: decode, ask the cluster, encode.

use proto::executor::internal::v1::{self as pb, executor_internal_service_server::ExecutorInternalService};
use tonic::{Request, Response, Status};

use crate::cluster::Cluster;

type Answer<T> = Result<Response<T>, Status>;

/// The inner door.
#[derive(Clone)]
pub struct Internal {
    cluster: Cluster,
}

impl Internal {
    /// Serves `cluster`.
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }
}

#[tonic::async_trait]
impl ExecutorInternalService for Internal {
    async fn list_shards(&self, _: Request<pb::ListShardsRequest>) -> Answer<pb::ListShardsResponse> {
        Ok(Response::new(self.cluster.list_shards()))
    }
    async fn read_log(&self, request: Request<pb::ReadLogRequest>) -> Answer<pb::ReadLogResponse> {
        Ok(Response::new(self.cluster.read_log(request.get_ref()).await?))
    }
    async fn deliver_result(
        &self,
        request: Request<pb::DeliverResultRequest>,
    ) -> Answer<pb::DeliverResultResponse> {
        self.cluster.deliver_result(request.into_inner()).await?;
        Ok(Response::new(pb::DeliverResultResponse {}))
    }
    async fn abort_call(&self, request: Request<pb::AbortCallRequest>) -> Answer<pb::AbortCallResponse> {
        self.cluster.abort_call(request.get_ref()).await?;
        Ok(Response::new(pb::AbortCallResponse {}))
    }
    async fn lend_slots(&self, request: Request<pb::LendSlotsRequest>) -> Answer<pb::LendSlotsResponse> {
        Ok(Response::new(self.cluster.lend_slots(request.get_ref())))
    }
    async fn offer_shards(
        &self,
        request: Request<pb::OfferShardsRequest>,
    ) -> Answer<pb::OfferShardsResponse> {
        Ok(Response::new(self.cluster.offer_shards(request.get_ref())))
    }
}
