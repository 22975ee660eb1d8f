//! Calls to other replicas.

use std::time::Duration;

use api::Fault;
use async_trait::async_trait;
use proto::executor::internal::v1::{
    self as pb, executor_internal_service_client::ExecutorInternalServiceClient as Client,
};
use runtime::{PeerChannel, RoleContext};
use tonic::{Request, Status};

/// Longest wait for another replica's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The other replicas, by address. A trait so that tests need no network.
#[async_trait]
pub trait Others: Send + Sync + 'static {
    /// Brings what a call reported to the owner of its execution.
    async fn deliver(&self, address: &str, request: pb::DeliverResultRequest) -> Result<(), Fault>;
    /// Asks the member that made a call to end it.
    async fn abort(&self, address: &str, request: pb::AbortCallRequest) -> Result<(), Fault>;
    /// Borrows slots.
    async fn lend(
        &self,
        address: &str,
        request: pb::LendSlotsRequest,
    ) -> Result<pb::LendSlotsResponse, Fault>;
    /// Asks whether a member takes shards, or tells it that it got some.
    async fn offer(&self, address: &str, request: pb::OfferShardsRequest) -> Result<bool, Fault>;
}

/// Over gRPC.
#[derive(Clone, Debug)]
pub struct Dialled {
    ctx: RoleContext,
}

impl Dialled {
    /// Dials with the role's peers, on its own behalf.
    pub fn new(ctx: RoleContext) -> Self {
        Self { ctx }
    }

    fn client(&self, address: &str) -> Result<Client<PeerChannel>, Fault> {
        let channel = self.ctx.peers.dial(address).map_err(|e| Fault::unavailable(e.to_string()))?;
        let max = self.ctx.settings.server.grpc_message_max.len();
        Ok(Client::new(channel).max_decoding_message_size(max).max_encoding_message_size(max))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = runtime::call::request(&self.ctx.own_call(), message);
        request.set_timeout(ANSWER_WITHIN);
        request
    }
}

fn fault(status: &Status) -> Fault {
    Fault::from_status(status)
}

#[async_trait]
impl Others for Dialled {
    async fn deliver(&self, address: &str, request: pb::DeliverResultRequest) -> Result<(), Fault> {
        let request = self.request(request);
        self.client(address)?.deliver_result(request).await.map(drop).map_err(|s| fault(&s))
    }
    async fn abort(&self, address: &str, request: pb::AbortCallRequest) -> Result<(), Fault> {
        let request = self.request(request);
        self.client(address)?.abort_call(request).await.map(drop).map_err(|s| fault(&s))
    }
    async fn lend(
        &self,
        address: &str,
        request: pb::LendSlotsRequest,
    ) -> Result<pb::LendSlotsResponse, Fault> {
        let request = self.request(request);
        self.client(address)?
            .lend_slots(request)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|s| fault(&s))
    }
    async fn offer(&self, address: &str, request: pb::OfferShardsRequest) -> Result<bool, Fault> {
        let request = self.request(request);
        let answer = self.client(address)?.offer_shards(request).await.map_err(|s| fault(&s))?;
        Ok(answer.into_inner().accepts)
    }
}

impl super::Cluster {
    /// Living replicas beside this one.
    pub fn other_members(&self) -> Vec<super::Member> {
        let me = self.inner.me.id.as_str();
        self.shard_map().members().iter().filter(|m| *m.id != *me).cloned().collect()
    }
}
