//! Finds the replica that owns an execution, and tries again when it moves.

use std::{
    collections::HashMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use api::Fault;
use arc_swap::ArcSwap;
use base::{CallContext, ErrorCode, ExecutionId};
use proto::executor::{
    internal::v1::{
        ListShardsRequest, ListShardsResponse,
        executor_internal_service_client::ExecutorInternalServiceClient,
    },
    v1::executor_service_client::ExecutorServiceClient,
};
use runtime::{PeerChannel, Peers, call};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use crate::{
    app::{Patience, Retry, repeat},
    problem::Problem,
};

/// A client of one executor replica, or of any.
pub(crate) type Client = ExecutorServiceClient<PeerChannel>;

/// The way to a replica, for a client of any contract that executors serve.
#[derive(Clone, Debug)]
pub(crate) struct Dialled {
    pub(crate) channel: PeerChannel,
    /// Largest message, in bytes.
    pub(crate) message_max: usize,
}

/// Two refreshes of the map are at least this far apart.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);
/// A map older than this is read anew before it is believed: owners may have moved while nobody asked.
const MAP_AGE_MAX: Duration = Duration::from_secs(30);
const REFRESH_TIMEOUT: Duration = Duration::from_secs(2);

/// Who owns which shard, as last heard.
#[derive(Debug, Default)]
struct ShardMap {
    shard_count: u32,
    owners: HashMap<u32, Arc<str>>,
    addresses: Vec<Arc<str>>,
    read_at: Option<Instant>,
}

impl ShardMap {
    fn new(answer: ListShardsResponse) -> Self {
        let mut map =
            Self { shard_count: answer.shard_count, read_at: Some(Instant::now()), ..Self::default() };
        for member in answer.members {
            if member.address.is_empty() {
                continue;
            }
            let address: Arc<str> = member.address.into();
            map.owners.extend(member.shards.into_iter().map(|shard| (shard, Arc::clone(&address))));
            map.addresses.push(address);
        }
        map
    }

    fn owner(&self, id: ExecutionId) -> Option<&Arc<str>> {
        if self.shard_count == 0 {
            return None;
        }
        self.owners.get(&id.shard(self.shard_count))
    }

    fn is_fresh(&self) -> bool {
        self.read_at.is_some_and(|at| at.elapsed() < MAP_AGE_MAX)
    }
}

/// The executors.
#[derive(Debug)]
pub(crate) struct Executors {
    any: PeerChannel,
    peers: Peers,
    map: ArcSwap<ShardMap>,
    /// Held while the map is read, so that many failed calls read it once.
    refreshing: Mutex<()>,
    message_max: usize,
}

impl Executors {
    pub(crate) fn new(any: PeerChannel, peers: Peers, message_max: usize) -> Self {
        Self { any, peers, map: ArcSwap::default(), refreshing: Mutex::new(()), message_max }
    }

    fn client(&self, channel: PeerChannel) -> Client {
        Client::new(channel)
            .max_decoding_message_size(self.message_max)
            .max_encoding_message_size(self.message_max)
    }

    /// Any replica.
    pub(crate) fn any(&self) -> Client {
        self.client(self.any.clone())
    }

    /// The owner of `id` as far as it is known, else any replica, which passes the call on.
    pub(crate) async fn owner(&self, ctx: &CallContext, id: ExecutionId) -> Client {
        // In the same process nothing is nearer than the role itself.
        if self.any.is_here() {
            return self.any();
        }
        if !self.map.load().is_fresh() {
            self.refresh(ctx).await;
        }
        let address = self.map.load().owner(id).cloned();
        match address.and_then(|address| self.peers.dial(&address).ok()) {
            Some(channel) => self.client(channel),
            None => self.any(),
        }
    }

    /// Every replica that is known; at least one.
    pub(crate) async fn all(&self, ctx: &CallContext) -> Vec<Client> {
        if !self.any.is_here() && !self.map.load().is_fresh() {
            self.refresh(ctx).await;
        }
        let map = self.map.load();
        let dialled = map.addresses.iter().filter_map(|address| self.peers.dial(address).ok());
        let all: Vec<Client> = dialled.map(|channel| self.client(channel)).collect();
        if self.any.is_here() || all.is_empty() { vec![self.any()] } else { all }
    }

    /// Addresses of the replicas, in order; empty when there is only the one in this process.
    pub(crate) async fn members(&self, ctx: &CallContext) -> Vec<String> {
        if self.any.is_here() {
            return vec![];
        }
        self.forget();
        self.refresh(ctx).await;
        let mut members: Vec<String> = self.map.load().addresses.iter().map(ToString::to_string).collect();
        members.sort_unstable();
        members
    }

    /// Lets the next look at the map read it anew.
    pub(crate) fn forget(&self) {
        let map = self.map.load();
        if map.is_fresh() && map.read_at.is_some_and(|at| at.elapsed() >= REFRESH_PAUSE) {
            let ShardMap { shard_count, owners, addresses, .. } = &**map;
            self.map.store(Arc::new(ShardMap {
                shard_count: *shard_count,
                owners: owners.clone(),
                addresses: addresses.clone(),
                read_at: None,
            }));
        }
    }

    /// Reads the shard map from any replica; a failure keeps the old one.
    async fn refresh(&self, ctx: &CallContext) {
        let asked = Instant::now();
        let _one = self.refreshing.lock().await;
        let recent = |at: Instant| at >= asked || at.elapsed() < REFRESH_PAUSE;
        if self.map.load().read_at.is_some_and(recent) {
            return;
        }
        let ask = ExecutorInternalServiceClient::new(self.any.clone());
        let mut request = call::request(ctx, ListShardsRequest {});
        request.set_timeout(REFRESH_TIMEOUT);
        match { ask }.list_shards(request).await {
            Ok(answer) => {
                let map = ShardMap::new(answer.into_inner());
                for gone in &self.map.load().addresses {
                    if !map.addresses.contains(gone) {
                        self.peers.hang_up(gone);
                    }
                }
                self.map.store(Arc::new(map));
            }
            Err(status) => tracing::debug!(error = %status, "the shard map cannot be read"),
        }
    }

    /// Calls the owner of `id`; when it moved or is away, reads the map anew and tries again as `retry` says.
    pub(crate) async fn call_owner<M, T, F, Fut>(
        &self,
        ctx: &CallContext,
        id: ExecutionId,
        retry: Retry,
        message: impl Fn() -> M,
        call: F,
    ) -> Result<T, Problem>
    where
        F: Fn(Client, Request<M>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut patience = Patience::new(ctx, retry);
        let mut client = self.owner(ctx, id).await;
        let mut failures = 0u32;
        loop {
            let status = match call(client, call::request(ctx, message())).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            failures += 1;
            if !patience.again(&status).await {
                return Err(Problem::from(&status));
            }
            if !self.any.is_here() {
                self.refresh(ctx).await;
            }
            // The map may still name a replica that just went away: every other try goes to any other.
            let elsewhere = Fault::from_status(&status).code == ErrorCode::Unavailable && failures % 2 == 1;
            client = if elsewhere { self.any() } else { self.owner(ctx, id).await };
        }
    }

    /// Calls another of the executors' public contracts at any replica, which passes on what lies elsewhere.
    pub(crate) async fn call_service<M, T, F, Fut>(
        &self,
        ctx: &CallContext,
        retry: Retry,
        message: impl Fn() -> M,
        call: F,
    ) -> Result<T, Problem>
    where
        F: Fn(Dialled, Request<M>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let to = || Dialled { channel: self.any.clone(), message_max: self.message_max };
        repeat(ctx, retry, || call(to(), call::request(ctx, message()))).await
    }

    /// Calls any replica.
    pub(crate) async fn call_any<M, T, F, Fut>(
        &self,
        ctx: &CallContext,
        retry: Retry,
        message: impl Fn() -> M,
        call: F,
    ) -> Result<T, Problem>
    where
        F: Fn(Client, Request<M>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        repeat(ctx, retry, || call(self.any(), call::request(ctx, message()))).await
    }
}
