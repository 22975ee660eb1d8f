//! The result cache.

use std::time::Duration;

use base::Payload;
use proto::executor::v1::{self as wire, cache_service_client::CacheServiceClient};
use serde::Serialize;
use tonic::transport::Channel;

use super::{Client, executions::millis, model::some};
use crate::{Fault, payload};

/// A value of the cache.
#[derive(Clone, Debug, Serialize)]
pub struct CacheEntry {
    /// Where it lies.
    pub namespace: String,
    /// Its name there.
    pub key: String,
    /// The value as JSON; `null` when it is none.
    pub value: serde_json::Value,
    /// RFC 3339.
    pub stored_at: String,
    /// RFC 3339; `None` = until there is no room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

impl CacheEntry {
    fn of(entry: wire::CacheEntry) -> Result<Self, Fault> {
        let value = payload::from_wire(entry.value, "value")?;
        Ok(Self {
            namespace: entry.namespace,
            key: entry.key,
            value: value.json().map(|value| (*value).clone()).unwrap_or_default(),
            stored_at: entry.stored_at,
            expires_at: some(entry.expires_at),
        })
    }
}

/// Numbers since the start of each replica.
#[derive(Clone, Debug, Serialize)]
pub struct CacheNumbers {
    /// The namespace; empty = all together.
    pub namespace: String,
    /// Looks that found something.
    pub hits: u64,
    /// Looks that did not.
    pub misses: u64,
    /// Hits among all looks, 0 to 1.
    pub hit_rate: f64,
    /// Values stored.
    pub stored: u64,
    /// Values gone because there was no room.
    pub evicted: u64,
    /// Values gone because their time was over.
    pub expired: u64,
    /// Values that somebody took out.
    pub invalidated: u64,
    /// Entries now.
    pub entries: u64,
    /// Bytes now.
    pub bytes: u64,
}

impl CacheNumbers {
    fn of(n: wire::CacheNamespace) -> Self {
        Self {
            namespace: n.namespace,
            hits: n.hits,
            misses: n.misses,
            hit_rate: n.hit_rate,
            stored: n.stored,
            evicted: n.evicted,
            expired: n.expired,
            invalidated: n.invalidated,
            entries: n.entries,
            bytes: n.bytes,
        }
    }
}

/// What the cache did and holds, all replicas together.
#[derive(Clone, Debug, Serialize)]
pub struct CacheStats {
    /// All namespaces.
    pub total: CacheNumbers,
    /// Each namespace, by name.
    pub namespaces: Vec<CacheNumbers>,
    /// `lru`, `lfu` or `fifo`.
    pub strategy: String,
    /// Bytes that one replica may use.
    pub max_size: u64,
    /// Replicas that answered.
    pub replicas: u32,
}

impl Client {
    fn cache(&self) -> CacheServiceClient<Channel> {
        let max = self.options.message_bytes_max;
        CacheServiceClient::new(self.channel()).max_decoding_message_size(max).max_encoding_message_size(max)
    }

    /// A value of the cache.
    ///
    /// # Errors
    /// `not_found` when it is not there or its time is over.
    pub async fn cache_get(&self, namespace: &str, key: &str) -> Result<CacheEntry, Fault> {
        let message = wire::GetCacheEntryRequest { namespace: namespace.into(), key: key.into() };
        let call = || async { self.cache().get_cache_entry(self.request(message.clone())).await };
        CacheEntry::of(self.safely(call).await?)
    }

    /// Keeps a value, in place of an older one. `ttl`: how long it is believed; `None` = the server's setting.
    ///
    /// # Errors
    /// `invalid_argument` for a name, `payload_too_large`.
    pub async fn cache_set(
        &self,
        namespace: &str,
        key: &str,
        value: &Payload,
        ttl: Option<Duration>,
    ) -> Result<CacheEntry, Fault> {
        let message = wire::SetCacheEntryRequest {
            namespace: namespace.into(),
            key: key.into(),
            value: Some(payload::to_wire(value)),
            ttl_ms: ttl.map_or(0, millis),
        };
        let call = || async { self.cache().set_cache_entry(self.request(message.clone())).await };
        CacheEntry::of(self.safely(call).await?)
    }

    /// Takes one value out. `false` when it was not there.
    ///
    /// # Errors
    /// `invalid_argument` for a name.
    pub async fn cache_delete(&self, namespace: &str, key: &str) -> Result<bool, Fault> {
        let message = wire::DeleteCacheEntryRequest { namespace: namespace.into(), key: key.into() };
        let call = || async { self.cache().delete_cache_entry(self.request(message.clone())).await };
        Ok(self.safely(call).await?.removed > 0)
    }

    /// Takes out what `pattern` (a regular expression; empty = all) matches in the namespace, on every replica.
    ///
    /// # Errors
    /// `invalid_argument` for the pattern.
    pub async fn cache_invalidate(&self, namespace: &str, pattern: &str) -> Result<u64, Fault> {
        let message = wire::InvalidateCacheRequest { namespace: namespace.into(), pattern: pattern.into() };
        let call = || async { self.cache().invalidate_cache(self.request(message.clone())).await };
        Ok(self.safely(call).await?.removed)
    }

    /// What the cache did and holds.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn cache_stats(&self) -> Result<CacheStats, Fault> {
        let call =
            || async { self.cache().get_cache_stats(self.request(wire::GetCacheStatsRequest {})).await };
        let stats = self.safely(call).await?;
        Ok(CacheStats {
            total: CacheNumbers::of(stats.total.unwrap_or_default()),
            namespaces: stats.namespaces.into_iter().map(CacheNumbers::of).collect(),
            strategy: stats.strategy,
            max_size: stats.size_max,
            replicas: stats.replicas,
        })
    }
}
