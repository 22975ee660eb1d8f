//! A scripted result cache.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use api::Fault;
use proto::{
    common::v1::Payload,
    executor::v1::{self as wire, cache_service_server::CacheService},
};
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// Keeps values by namespace and key.
#[derive(Clone, Default)]
pub(crate) struct FakeCache {
    values: Arc<Mutex<BTreeMap<(String, String), Payload>>>,
}

fn entry(namespace: String, key: String, value: Payload) -> Response<wire::CacheEntry> {
    let stored_at = "2026-01-01T00:00:00Z".into();
    Response::new(wire::CacheEntry {
        namespace,
        key,
        value: Some(value),
        stored_at,
        expires_at: String::new(),
    })
}

#[tonic::async_trait]
impl CacheService for FakeCache {
    async fn get_cache_entry(
        &self,
        request: Request<wire::GetCacheEntryRequest>,
    ) -> Answer<wire::CacheEntry> {
        let wire::GetCacheEntryRequest { namespace, key } = request.into_inner();
        let found = self.values.lock().unwrap().get(&(namespace.clone(), key.clone())).cloned();
        let found = found.ok_or_else(|| Fault::not_found("cache entry", &key))?;
        Ok(entry(namespace, key, found))
    }
    async fn set_cache_entry(
        &self,
        request: Request<wire::SetCacheEntryRequest>,
    ) -> Answer<wire::CacheEntry> {
        let wire::SetCacheEntryRequest { namespace, key, value, ttl_ms } = request.into_inner();
        let mut entry = entry(namespace.clone(), key.clone(), value.clone().unwrap());
        entry.get_mut().expires_at = if ttl_ms > 0 { format!("in {ttl_ms} ms") } else { String::new() };
        self.values.lock().unwrap().insert((namespace, key), value.unwrap());
        Ok(entry)
    }
    async fn delete_cache_entry(
        &self,
        request: Request<wire::DeleteCacheEntryRequest>,
    ) -> Answer<wire::InvalidateCacheResponse> {
        let wire::DeleteCacheEntryRequest { namespace, key } = request.into_inner();
        let gone = self.values.lock().unwrap().remove(&(namespace, key)).is_some();
        Ok(Response::new(wire::InvalidateCacheResponse { removed: gone.into() }))
    }
    async fn invalidate_cache(
        &self,
        request: Request<wire::InvalidateCacheRequest>,
    ) -> Answer<wire::InvalidateCacheResponse> {
        let asked = request.into_inner();
        if asked.pattern == "(" {
            return Err(Fault::bad("pattern", "is no regular expression").into());
        }
        let mut values = self.values.lock().unwrap();
        let before = values.len();
        values.retain(|(namespace, key), _| *namespace != asked.namespace || !key.contains(&asked.pattern));
        Ok(Response::new(wire::InvalidateCacheResponse { removed: (before - values.len()) as u64 }))
    }
    async fn get_cache_stats(&self, _: Request<wire::GetCacheStatsRequest>) -> Answer<wire::CacheStats> {
        let entries = self.values.lock().unwrap().len() as u64;
        let of = |namespace: &str| wire::CacheNamespace {
            namespace: namespace.into(),
            entries,
            ..Default::default()
        };
        Ok(Response::new(wire::CacheStats {
            total: Some(of("")),
            namespaces: vec![of("n")],
            strategy: "lru".into(),
            size_max: 100,
            replicas: 1,
        }))
    }
}
