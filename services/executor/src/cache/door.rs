//! The cache's public contract. What a caller stores lies with the owner of its key's shard; what concerns everybody is
//! asked of everybody.

use std::sync::Arc;

use api::{Fault, payload};
use base::{CallContext, ExecutionId, Tenant};
use proto::executor::v1::{
    self as pb, cache_service_client::CacheServiceClient, cache_service_server::CacheService,
};
use runtime::{PeerChannel, call};
use tonic::{Request, Response, Status};

use super::{
    limits::{KEY_BYTES_MAX, NAMESPACE_BYTES_MAX, check_name},
    memory::{CacheStats, Found, NamespaceStats, ResultCache},
};
use crate::forward::Forward;

type Answer<T> = Result<Response<T>, Status>;

/// Serves a cache to callers.
#[derive(Clone)]
pub struct CacheDoor {
    cache: Arc<ResultCache>,
    forward: Forward,
}

impl CacheDoor {
    /// Serves `cache`; what lies elsewhere is passed on.
    pub fn new(cache: Arc<ResultCache>, forward: Forward) -> Self {
        Self { cache, forward }
    }

    fn client(&self, channel: PeerChannel) -> CacheServiceClient<PeerChannel> {
        let max = self.forward.bytes_max();
        CacheServiceClient::new(channel).max_decoding_message_size(max).max_encoding_message_size(max)
    }

    /// The replica where the key lies, when that is another one.
    fn elsewhere<T>(
        &self,
        request: &Request<T>,
        context: &CallContext,
        (namespace, key): (&str, &str),
    ) -> Result<Option<CacheServiceClient<PeerChannel>>, Fault> {
        check_name("namespace", namespace, NAMESPACE_BYTES_MAX)?;
        check_name("key", key, KEY_BYTES_MAX)?;
        let owner = self.forward.owner_channel(place(&context.tenant, namespace, key), request.metadata());
        Ok(owner.map(|channel| self.client(channel)))
    }
}

/// What stands for a key among executions: it names a shard.
fn place(tenant: &Tenant, namespace: &str, key: &str) -> ExecutionId {
    ExecutionId::from_key(tenant, &format!("cache {} {namespace}{key}", namespace.len()))
}

fn entry(namespace: String, key: String, found: &Found) -> pb::CacheEntry {
    pb::CacheEntry {
        namespace,
        key,
        value: Some(payload::to_wire(&found.value)),
        stored_at: found.stored_at.rfc3339(),
        expires_at: found.expires_at.map(base::Timestamp::rfc3339).unwrap_or_default(),
    }
}

fn not_there(namespace: &str, key: &str) -> Fault {
    Fault::not_found("cache entry", format_args!("{namespace}/{key}"))
}

fn wire(stats: &NamespaceStats) -> pb::CacheNamespace {
    pb::CacheNamespace {
        namespace: stats.namespace.clone(),
        hits: stats.hits,
        misses: stats.misses,
        stored: stats.stored,
        evicted: stats.evicted,
        expired: stats.expired,
        invalidated: stats.invalidated,
        entries: stats.entries,
        bytes: stats.bytes,
        hit_rate: stats.hit_rate(),
    }
}

fn read(wire: pb::CacheNamespace) -> NamespaceStats {
    NamespaceStats {
        namespace: wire.namespace,
        hits: wire.hits,
        misses: wire.misses,
        stored: wire.stored,
        evicted: wire.evicted,
        expired: wire.expired,
        invalidated: wire.invalidated,
        entries: wire.entries,
        bytes: wire.bytes,
    }
}

#[tonic::async_trait]
impl CacheService for CacheDoor {
    async fn get_cache_entry(&self, request: Request<pb::GetCacheEntryRequest>) -> Answer<pb::CacheEntry> {
        let context = call::context(&request);
        let asked = request.get_ref();
        if let Some(mut owner) = self.elsewhere(&request, &context, (&asked.namespace, &asked.key))? {
            return owner.get_cache_entry(self.forward.request(&context, request.into_inner(), None)).await;
        }
        let pb::GetCacheEntryRequest { namespace, key } = request.into_inner();
        let found = self.cache.get(&context.tenant, &namespace, &key);
        let found = found.ok_or_else(|| not_there(&namespace, &key))?;
        Ok(Response::new(entry(namespace, key, &found)))
    }

    async fn set_cache_entry(&self, request: Request<pb::SetCacheEntryRequest>) -> Answer<pb::CacheEntry> {
        let context = call::context(&request);
        let asked = request.get_ref();
        if let Some(mut owner) = self.elsewhere(&request, &context, (&asked.namespace, &asked.key))? {
            return owner.set_cache_entry(self.forward.request(&context, request.into_inner(), None)).await;
        }
        let pb::SetCacheEntryRequest { namespace, key, value, ttl_ms } = request.into_inner();
        let value = payload::from_wire(value, "value")?;
        let ttl =
            (ttl_ms > 0).then(|| std::time::Duration::from_millis(ttl_ms).min(base::time::DURATION_MAX));
        let stored = self.cache.set(&context.tenant, &namespace, &key, value, ttl)?;
        let stored = stored.ok_or_else(|| Fault::bad("ttl", "must be longer than nothing"))?;
        Ok(Response::new(entry(namespace, key, &stored)))
    }

    async fn delete_cache_entry(
        &self,
        request: Request<pb::DeleteCacheEntryRequest>,
    ) -> Answer<pb::InvalidateCacheResponse> {
        let context = call::context(&request);
        let asked = request.get_ref();
        if let Some(mut owner) = self.elsewhere(&request, &context, (&asked.namespace, &asked.key))? {
            return owner
                .delete_cache_entry(self.forward.request(&context, request.into_inner(), None))
                .await;
        }
        let pb::DeleteCacheEntryRequest { namespace, key } = request.into_inner();
        let removed = self.cache.delete(&context.tenant, &namespace, &key);
        Ok(Response::new(pb::InvalidateCacheResponse { removed: u64::from(removed) }))
    }

    async fn invalidate_cache(
        &self,
        request: Request<pb::InvalidateCacheRequest>,
    ) -> Answer<pb::InvalidateCacheResponse> {
        let context = call::context(&request);
        let others = self.forward.others(request.metadata());
        let asked = request.into_inner();
        check_name("namespace", &asked.namespace, NAMESPACE_BYTES_MAX)?;
        let mut removed = self.cache.invalidate(&context.tenant, &asked.namespace, &asked.pattern)?;
        let calls = others.into_iter().map(|channel| {
            let (mut to, request) =
                (self.client(channel), self.forward.request(&context, asked.clone(), None));
            async move { to.invalidate_cache(request).await }
        });
        let mut missing = None;
        for answer in futures::future::join_all(calls).await {
            match answer {
                Ok(answer) => removed += answer.into_inner().removed,
                Err(status) => missing = Some(status),
            }
        }
        match missing {
            None => Ok(Response::new(pb::InvalidateCacheResponse { removed })),
            Some(status) => {
                tracing::warn!(error = %status, "a replica did not take an invalidation");
                let text = "not every replica answered; those that did have taken the entries out: try again";
                Err(Fault::unavailable(text).retry_after_ms(1000).into())
            }
        }
    }

    async fn get_cache_stats(&self, request: Request<pb::GetCacheStatsRequest>) -> Answer<pb::CacheStats> {
        let context = call::context(&request);
        let mut stats = self.cache.stats(&context.tenant);
        let calls = self.forward.others(request.metadata()).into_iter().map(|channel| {
            let request = self.forward.request(&context, pb::GetCacheStatsRequest {}, None);
            let mut to = self.client(channel);
            async move { to.get_cache_stats(request).await }
        });
        let mut replicas = 1;
        // A replica that does not answer is as good as gone, and its cache with it: the number says how many did.
        for answer in futures::future::join_all(calls).await.into_iter().flatten() {
            replicas += 1;
            stats.add(&of(answer.into_inner()));
        }
        let options = self.cache.options();
        Ok(Response::new(pb::CacheStats {
            total: Some(wire(&stats.total)),
            namespaces: stats.namespaces.iter().map(wire).collect(),
            strategy: options.strategy.as_str().into(),
            size_max: options.size_bytes_max as u64,
            replicas,
        }))
    }
}

fn of(stats: pb::CacheStats) -> CacheStats {
    CacheStats {
        total: read(stats.total.unwrap_or_default()),
        namespaces: stats.namespaces.into_iter().map(read).collect(),
    }
}
