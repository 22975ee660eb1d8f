//! The entries: an eviction policy of `foyer`, and an index that knows what lies in each namespace.

use std::{
    collections::{HashMap, HashSet},
    hash::RandomState,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use api::Fault;
use base::{Clock, ErrorCode, Payload, Tenant, Timestamp};
use foyer_common::event::{Event, EventListener};
use foyer_memory::{Cache, CacheBuilder, CacheProperties, EvictionConfig, FifoConfig, LfuConfig, LruConfig};

use super::limits::{
    CacheOptions, ENTRY_OVERHEAD, KEY_BYTES_MAX, NAMESPACE_BYTES_MAX, Strategy, check_name, pattern,
};

type Place = (Tenant, Arc<str>);

/// Names an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EntryKey {
    place: Place,
    key: Arc<str>,
}

#[derive(Clone, Debug)]
struct Entry {
    value: Payload,
    stored_at: Timestamp,
    expires_at: Option<Timestamp>,
    /// What it counts, in bytes.
    weight: usize,
}

type Entries = Cache<EntryKey, Arc<Entry>, RandomState, CacheProperties>;

/// A value that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The value.
    pub value: Payload,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// When it stops being believed.
    pub expires_at: Option<Timestamp>,
}

/// What happened in one namespace since the start of the process, and what lies in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceStats {
    /// Its name.
    pub namespace: String,
    /// Looks that found something.
    pub hits: u64,
    /// Looks that did not.
    pub misses: u64,
    /// Values that were stored.
    pub stored: u64,
    /// Values that had to go because there was no room.
    pub evicted: u64,
    /// Values whose time was over.
    pub expired: u64,
    /// Values that somebody took out.
    pub invalidated: u64,
    /// Entries now.
    pub entries: u64,
    /// Bytes now.
    pub bytes: u64,
}

impl NamespaceStats {
    /// Hits among all looks, 0 to 1; 0 before the first look.
    pub fn hit_rate(&self) -> f64 {
        let looks = self.hits + self.misses;
        if looks == 0 { 0.0 } else { self.hits as f64 / looks as f64 }
    }

    fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.stored += other.stored;
        self.evicted += other.evicted;
        self.expired += other.expired;
        self.invalidated += other.invalidated;
        self.entries += other.entries;
        self.bytes += other.bytes;
    }
}

/// The cache as a tenant sees it.
#[derive(Clone, Debug, Default)]
pub struct CacheStats {
    /// All namespaces together; its name is empty.
    pub total: NamespaceStats,
    /// Each namespace, by name.
    pub namespaces: Vec<NamespaceStats>,
}

impl CacheStats {
    /// Adds what another replica has.
    pub(super) fn add(&mut self, other: &Self) {
        self.total.add(&other.total);
        for theirs in &other.namespaces {
            match self.namespaces.binary_search_by(|ours| ours.namespace.cmp(&theirs.namespace)) {
                Ok(at) => self.namespaces[at].add(theirs),
                Err(at) => self.namespaces.insert(at, theirs.clone()),
            }
        }
    }
}

#[derive(Default)]
struct Namespace {
    keys: HashSet<Arc<str>>,
    stats: NamespaceStats,
}

/// Keys that the policy put out: taken from the index by whoever caused it, who holds the index already.
#[derive(Default)]
struct Left(Mutex<Vec<(EntryKey, usize)>>);

impl EventListener for Left {
    type Key = EntryKey;
    type Value = Arc<Entry>;

    fn on_leave(&self, reason: Event, key: &EntryKey, value: &Arc<Entry>) {
        if matches!(reason, Event::Evict) {
            lock(&self.0).push((key.clone(), value.weight));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic inside leaves counts at worst one off; a cache that goes on beats one that is gone.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers and values of all tenants on this replica. Every change holds the one lock of the index, for microseconds.
pub struct ResultCache {
    entries: Entries,
    left: Arc<Left>,
    index: Mutex<HashMap<Place, Namespace>>,
    /// What happened in namespaces that are not kept any more, all tenants together.
    gone: Mutex<NamespaceStats>,
    clock: Arc<dyn Clock>,
    options: CacheOptions,
}

impl std::fmt::Debug for ResultCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResultCache").field("options", &self.options).finish_non_exhaustive()
    }
}

impl ResultCache {
    /// An empty cache; times of entries are `clock`'s.
    pub fn new(options: CacheOptions, clock: Arc<dyn Clock>) -> Self {
        let left = Arc::new(Left::default());
        let policy: EvictionConfig = match options.strategy {
            // One list: what is used goes to its end.
            Strategy::Lru => LruConfig { high_priority_pool_ratio: 0.0 }.into(),
            Strategy::Lfu => LfuConfig::default().into(),
            Strategy::Fifo => FifoConfig::default().into(),
        };
        let entries = CacheBuilder::new(options.size_bytes_max)
            .with_name("orchestra.result_cache")
            // The index has one lock: more shards would only make the bound and the policy coarser.
            .with_shards(1)
            .with_eviction_config(policy)
            .with_hash_builder(RandomState::new())
            .with_weighter(|_: &EntryKey, entry: &Arc<Entry>| entry.weight)
            .with_event_listener(left.clone())
            .build();
        Self { entries, left, index: Mutex::default(), gone: Mutex::default(), clock, options }
    }

    /// What bounds it.
    pub fn options(&self) -> &CacheOptions {
        &self.options
    }

    /// The value under `key`, when it is there and still believed.
    pub fn get(&self, tenant: &Tenant, namespace: &str, key: &str) -> Option<Found> {
        let place: Place = (tenant.clone(), namespace.into());
        let name = EntryKey { place, key: key.into() };
        let now = self.clock.now();
        let mut index = lock(&self.index);
        let entry = self.entries.get(&name).map(|entry| entry.value().clone());
        let fresh = entry.as_ref().filter(|e| e.expires_at.is_none_or(|at| now < at));
        if let Some(space) = self.space(&mut index, &name.place) {
            match fresh {
                Some(_) => space.stats.hits += 1,
                None => space.stats.misses += 1,
            }
        } else {
            lock(&self.gone).misses += 1;
        }
        let found =
            fresh.map(|e| Found { value: e.value.clone(), stored_at: e.stored_at, expires_at: e.expires_at });
        if let (None, Some(old)) = (&found, &entry) {
            self.take(&mut index, &name, old.weight, |stats| stats.expired += 1);
        }
        found
    }

    /// Stores a value. `ttl`: how long it is believed, in place of the cache's own time; zero stores nothing.
    ///
    /// # Errors
    /// `invalid_argument` for a name that cannot be one, `payload_too_large` for a value above the limit,
    /// `resource_exhausted` when there are too many namespaces.
    pub fn set(
        &self,
        tenant: &Tenant,
        namespace: &str,
        key: &str,
        value: Payload,
        ttl: Option<Duration>,
    ) -> Result<Option<Found>, Fault> {
        check_name("namespace", namespace, NAMESPACE_BYTES_MAX)?;
        check_name("key", key, KEY_BYTES_MAX)?;
        self.options.check_value(&value)?;
        let weight = ENTRY_OVERHEAD + namespace.len() + key.len() + value.len() + value.media_type().len();
        if weight > self.options.size_bytes_max {
            let text =
                format!("the entry takes {weight} bytes, the cache has {}", self.options.size_bytes_max);
            return Err(
                Fault::new(ErrorCode::PayloadTooLarge, format!("{text} (cache.max_size)")).field("value")
            );
        }
        let ttl = ttl.or(self.options.ttl);
        if ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Ok(None);
        }
        let now = self.clock.now();
        let place: Place = (tenant.clone(), namespace.into());
        let name = EntryKey { place, key: key.into() };
        let entry = Entry { value, stored_at: now, expires_at: ttl.map(|ttl| now.plus(ttl)), weight };
        let mut index = lock(&self.index);
        if self.space(&mut index, &name.place).is_none() {
            let text =
                format!("{} namespaces have entries (cache.namespaces_max)", self.options.namespaces_max);
            return Err(Fault::new(ErrorCode::ResourceExhausted, text).field("namespace"));
        }
        let old = self.entries.remove(&name).map(|old| old.value().weight);
        if let Some(old) = old {
            self.take(&mut index, &name, old, |_| {});
        }
        if let Some(space) = self.space(&mut index, &name.place) {
            space.keys.insert(name.key.clone());
            space.stats.stored += 1;
            space.stats.entries += 1;
            space.stats.bytes += weight as u64;
        }
        let found =
            Found { value: entry.value.clone(), stored_at: entry.stored_at, expires_at: entry.expires_at };
        drop(self.entries.insert(name, Arc::new(entry)));
        self.settle(&mut index);
        Ok(Some(found))
    }

    /// Takes one value out. `false` when it was not there.
    pub fn delete(&self, tenant: &Tenant, namespace: &str, key: &str) -> bool {
        let name = EntryKey { place: (tenant.clone(), namespace.into()), key: key.into() };
        let mut index = lock(&self.index);
        self.remove(&mut index, &name)
    }

    /// Takes out what lies in `namespace` under a key that `pattern_text` matches anywhere; an empty pattern matches
    /// all. Gives how many there were.
    ///
    /// # Errors
    /// `invalid_argument` when the pattern is none.
    pub fn invalidate(&self, tenant: &Tenant, namespace: &str, pattern_text: &str) -> Result<u64, Fault> {
        let matcher = pattern(pattern_text)?;
        let place: Place = (tenant.clone(), namespace.into());
        let mut index = lock(&self.index);
        let hit: Vec<Arc<str>> = index
            .get(&place)
            .map(|space| space.keys.iter().filter(|key| matcher.is_match(key)).cloned().collect())
            .unwrap_or_default();
        let removed = hit.into_iter().map(|key| EntryKey { place: place.clone(), key });
        Ok(removed.filter(|name| self.remove(&mut index, name)).count() as u64)
    }

    /// What happened and what lies in it, of one tenant.
    pub fn stats(&self, tenant: &Tenant) -> CacheStats {
        let mut out = CacheStats::default();
        for ((_, name), space) in lock(&self.index).iter().filter(|((owner, _), _)| owner == tenant) {
            out.total.add(&space.stats);
            out.namespaces.push(NamespaceStats { namespace: name.to_string(), ..space.stats.clone() });
        }
        out.namespaces.sort_by(|a, b| a.namespace.cmp(&b.namespace));
        out
    }

    /// The same of all tenants together, for metrics.
    pub fn totals(&self) -> NamespaceStats {
        let mut out = lock(&self.gone).clone();
        lock(&self.index).values().for_each(|space| out.add(&space.stats));
        out
    }

    /// The namespace, made when there is room for one more: one without entries is forgotten for it.
    fn space<'a>(
        &self,
        index: &'a mut HashMap<Place, Namespace>,
        place: &Place,
    ) -> Option<&'a mut Namespace> {
        if !index.contains_key(place) {
            if index.len() >= self.options.namespaces_max {
                let idle =
                    index.iter().find(|(_, space)| space.keys.is_empty()).map(|(place, _)| place.clone())?;
                if let Some(old) = index.remove(&idle) {
                    lock(&self.gone).add(&old.stats);
                }
            }
            index.insert(place.clone(), Namespace::default());
        }
        index.get_mut(place)
    }

    fn remove(&self, index: &mut HashMap<Place, Namespace>, name: &EntryKey) -> bool {
        let Some(weight) = self.entries.remove(name).map(|old| old.value().weight) else { return false };
        self.take(index, name, weight, |stats| stats.invalidated += 1);
        true
    }

    /// The entry is not among the entries (any more): neither is it in the index.
    fn take(
        &self,
        index: &mut HashMap<Place, Namespace>,
        name: &EntryKey,
        weight: usize,
        note: impl FnOnce(&mut NamespaceStats),
    ) {
        drop(self.entries.remove(name));
        let Some(space) = index.get_mut(&name.place) else { return };
        if space.keys.remove(&name.key) {
            space.stats.entries -= 1;
            space.stats.bytes = space.stats.bytes.saturating_sub(weight as u64);
            note(&mut space.stats);
        }
    }

    /// Takes what the policy put out from the index.
    fn settle(&self, index: &mut HashMap<Place, Namespace>) {
        let left = std::mem::take(&mut *lock(&self.left.0));
        for (name, weight) in left {
            self.take(index, &name, weight, |stats| stats.evicted += 1);
        }
    }
}
