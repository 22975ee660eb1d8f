//! The result cache: entries, patterns, numbers.

use proto::executor::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::some;
use crate::payload::{Raw, raw};

/// A value to keep.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheValue {
    /// Any JSON, `null` too.
    #[schema(value_type = serde_json::Value)]
    pub value: Raw,
    /// How long it is believed, in ms; default `cache.ttl`.
    #[serde(default, alias = "ttl")]
    #[schema(minimum = 1)]
    pub ttl_ms: Option<u64>,
}

/// A value of the cache.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheEntry {
    /// Where it lies.
    pub namespace: String,
    /// Its name there.
    pub key: String,
    /// The value.
    #[schema(value_type = serde_json::Value)]
    pub value: Option<Raw>,
    /// RFC 3339.
    pub stored_at: String,
    /// RFC 3339; absent = until there is no room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

impl From<wire::CacheEntry> for CacheEntry {
    fn from(entry: wire::CacheEntry) -> Self {
        Self {
            namespace: entry.namespace,
            key: entry.key,
            value: raw(entry.value),
            stored_at: entry.stored_at,
            expires_at: some(entry.expires_at),
        }
    }
}

/// What to take out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheInvalidation {
    /// A regular expression that is looked for anywhere in the key; absent = everything in the namespace.
    #[serde(default)]
    pub pattern: String,
}

/// What was taken out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheRemoved {
    /// Entries.
    pub removed: u64,
}

/// Numbers since the start of each replica.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheNumbers {
    /// The namespace; absent = all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
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

impl From<wire::CacheNamespace> for CacheNumbers {
    fn from(n: wire::CacheNamespace) -> Self {
        Self {
            namespace: some(n.namespace),
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
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheStats {
    /// All namespaces of the tenant.
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

impl From<wire::CacheStats> for CacheStats {
    fn from(stats: wire::CacheStats) -> Self {
        Self {
            total: stats.total.unwrap_or_default().into(),
            namespaces: stats.namespaces.into_iter().map(CacheNumbers::from).collect(),
            strategy: stats.strategy,
            max_size: stats.size_max,
            replicas: stats.replicas,
        }
    }
}
