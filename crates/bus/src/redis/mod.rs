//! The bus on Redis Streams, Redis 7.0 or newer.
//!
//! Publishing, acknowledging and figures share one connection; every consumer has one of its own, because a blocking
//! read would hold up everybody else. Nothing connects before it is needed, and everything reconnects.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use redis::{Pipeline, Script};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use crate::{
    Bus, BusError, Consumer, EntryId, GroupStats, Kind, Limits, Message, Metrics, PublishError, Stream,
    Subscription, memory::check_sizes,
};

mod consumer;
mod link;
mod wire;

use consumer::RedisConsumer;
use link::{Failure, Link};

/// How to reach Redis and how much to ask of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// Bounds that both backends have.
    pub limits: Limits,
    /// How long a connection or a reply may take.
    pub command_timeout: Duration,
    /// Longest wait between two tries to connect; the first is 20 ms, each next one twice that, with jitter.
    pub reconnect_delay_max: Duration,
    /// Most bytes of messages on their way to Redis before publishers wait.
    pub inflight_bytes_max: u32,
    /// How often a publisher trims each re-readable stream it writes to.
    pub trim_every: Duration,
    /// A consumer that holds nothing and has not asked for this long is removed from its group when another one joins.
    pub forget_consumer_after: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            command_timeout: Duration::from_secs(2),
            reconnect_delay_max: Duration::from_secs(2),
            inflight_bytes_max: 16 * 1024 * 1024,
            trim_every: Duration::from_secs(30),
            forget_consumer_after: Duration::from_secs(24 * 3600),
        }
    }
}

/// Most messages in one pipeline: few enough that readers get their turn in between.
const CHUNK_MAX: u64 = 500;
/// How often a publisher looks whether a full stream has room again.
const ROOM_POLL: Duration = Duration::from_millis(10);

/// Event streams on Redis. Cheap to clone: all clones share one connection for commands.
#[derive(Clone)]
pub struct RedisBus {
    shared: Arc<Shared>,
}

struct Shared {
    link: Arc<Link>,
    options: RedisOptions,
    inflight: Semaphore,
    written: Mutex<HashMap<Stream, Written>>,
    trim: Script,
    touch: Script,
    sweep: Script,
    metrics: Arc<Metrics>,
}

/// What a publisher remembers of a stream.
#[derive(Clone, Copy)]
struct Written {
    len: u64,
    trimmed: Instant,
}

impl RedisBus {
    /// A bus on the Redis at `url`, `redis://` or `rediss://`. Connects when it is first used.
    ///
    /// # Errors
    /// [`BusError::Misconfigured`] when the URL cannot be read.
    pub fn new(url: &str, options: RedisOptions) -> Result<Self, BusError> {
        let shared = Shared {
            link: Link::new(url, options.command_timeout)?,
            inflight: Semaphore::new(options.inflight_bytes_max as usize),
            options,
            written: Mutex::default(),
            trim: Script::new(include_str!("trim.lua")),
            touch: Script::new(include_str!("touch.lua")),
            sweep: Script::new(include_str!("sweep.lua")),
            metrics: Arc::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// Groups that lost unhandled entries to trimming stand in a hash beside the stream, in the same slot of a cluster.
fn marks_key(stream: &Stream) -> String {
    let key = stream.key();
    match key.contains('{') {
        true => format!("{key}:trimmed"),
        false => format!("{{{key}}}:trimmed"),
    }
}

impl Shared {
    fn len_max(&self, stream: &Stream) -> u64 {
        match stream.kind() {
            Kind::Queue => self.options.limits.queue_len_max,
            Kind::Log => self.options.limits.log_len_max,
        }
    }

    fn full(&self, stream: &Stream, limit: String, accepted: usize) -> PublishError {
        self.metrics.family(stream.family()).full.fetch_add(1, Relaxed);
        let waited = self.options.limits.publish_timeout;
        PublishError::Full { stream: stream.key().to_owned(), limit, waited, accepted }
    }

    /// Entries that may be added to the stream now, by what is known of its length.
    async fn room(&self, stream: &Stream) -> Result<u64, Failure> {
        let len_max = self.len_max(stream);
        let known = self.written().get(stream).map(|written| written.len);
        let len = match known {
            Some(len) if len < len_max => len,
            _ => {
                let len = match stream.kind() {
                    Kind::Queue => {
                        let reply = self.link.run(redis::cmd("XLEN").arg(stream.key())).await?;
                        wire::integer(&reply).ok_or_else(|| wire::unexpected("length"))?
                    }
                    // Room for a chunk, so that not every single message at the bound trims.
                    Kind::Log => {
                        self.trim(stream, Some(len_max - CHUNK_MAX.min(len_max.div_ceil(10)))).await?.1
                    }
                };
                self.remember(stream, len);
                len
            }
        };
        Ok(len_max.saturating_sub(len))
    }

    fn written(&self) -> std::sync::MutexGuard<'_, HashMap<Stream, Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, stream: &Stream, len: u64) {
        let mut written = self.written();
        written.entry(stream.clone()).or_insert(Written { len, trimmed: Instant::now() }).len = len;
    }

    /// Appends one chunk.
    async fn append(&self, stream: &Stream, chunk: &[Message]) -> Result<Vec<EntryId>, Failure> {
        let mut pipeline = Pipeline::with_capacity(chunk.len() + 1);
        chunk.iter().for_each(|message| wire::add(&mut pipeline, stream, message));
        pipeline.cmd("XLEN").arg(stream.key());
        let mut replies = self.link.run_all(&pipeline).await?;
        let len = replies.pop().as_ref().and_then(wire::integer).ok_or_else(|| wire::unexpected("length"))?;
        self.remember(stream, len);
        let ids: Option<Vec<_>> = replies.iter().map(wire::id).collect();
        self.metrics.family(stream.family()).published.fetch_add(chunk.len() as u64, Relaxed);
        ids.ok_or_else(|| wire::unexpected("entry id"))
    }

    /// Removes old entries, and the oldest above `keep`; says how many went and how many are left.
    async fn trim(&self, stream: &Stream, keep: Option<u64>) -> Result<(u64, u64), Failure> {
        let limits = &self.options.limits;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let oldest = since_epoch.saturating_sub(limits.retention).as_millis();
        let mut script = self.trim.prepare_invoke();
        script.key(stream.key()).key(marks_key(stream));
        script
            .arg(oldest.to_string())
            .arg(keep.map_or_else(|| "none".into(), |keep| keep.to_string()))
            .arg(limits.live_within.as_millis().to_string());
        let reply = wire::array(self.link.run_script(&script).await?).unwrap_or_default();
        match &reply[..] {
            [removed, left] => wire::integer(removed).zip(wire::integer(left)),
            _ => None,
        }
        .ok_or_else(|| wire::unexpected("count of trimmed entries"))
    }

    async fn trim_when_due(&self, stream: &Stream) {
        {
            let mut written = self.written();
            match written.get_mut(stream) {
                Some(written) if written.trimmed.elapsed() >= self.options.trim_every => {
                    written.trimmed = Instant::now();
                }
                _ => return,
            }
        }
        if let Err(failure) = self.trim(stream, None).await {
            tracing::warn!(%stream, ?failure, "stream not trimmed, next try in {:?}", self.options.trim_every);
        }
    }

    /// Waits until so many bytes may be on their way.
    async fn admit(
        &self,
        stream: &Stream,
        messages: &[Message],
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, PublishError> {
        let inflight_max = self.options.inflight_bytes_max;
        let bytes: usize = messages.iter().map(Message::size_bytes).sum();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(inflight_max);
        match tokio::time::timeout_at(deadline, self.inflight.acquire_many(bytes)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(self.full(stream, format!("{inflight_max} bytes on their way to Redis"), 0)),
        }
    }
}

fn publish_error(shared: &Shared, stream: &Stream, failure: Failure, accepted: usize) -> PublishError {
    match failure {
        Failure::Memory(cause) => shared.full(stream, format!("the memory of Redis: {cause}"), accepted),
        failure => BusError::from(failure).for_publish(stream.key()),
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn publish(&self, stream: &Stream, messages: &[Message]) -> Result<Vec<EntryId>, PublishError> {
        let shared = &*self.shared;
        check_sizes(stream, messages, &shared.options.limits)?;
        let deadline = Instant::now() + shared.options.limits.publish_timeout;
        let _permit = shared.admit(stream, messages, deadline).await?;
        let mut ids = Vec::with_capacity(messages.len());
        while ids.len() < messages.len() {
            let accepted = ids.len();
            let failed = |failure| publish_error(shared, stream, failure, accepted);
            let room = shared.room(stream).await.map_err(failed)?.min(CHUNK_MAX) as usize;
            if room == 0 {
                if Instant::now() >= deadline {
                    return Err(shared.full(stream, format!("{} entries", shared.len_max(stream)), accepted));
                }
                tokio::time::sleep(ROOM_POLL).await;
                continue;
            }
            let rest = &messages[accepted..];
            let chunk = &rest[..room.min(rest.len())];
            ids.extend(shared.append(stream, chunk).await.map_err(failed)?);
        }
        if stream.kind() == Kind::Log {
            shared.trim_when_due(stream).await;
        }
        Ok(ids)
    }

    fn subscribe(&self, stream: &Stream, subscription: Subscription) -> Box<dyn Consumer> {
        Box::new(RedisConsumer::new(self.shared.clone(), stream, subscription))
    }

    async fn read(
        &self,
        stream: &Stream,
        after: Option<EntryId>,
        count: usize,
    ) -> Result<Vec<(EntryId, Message)>, BusError> {
        let from = after.map_or("-".into(), |id| format!("({id}"));
        let mut command = redis::cmd("XRANGE");
        command.arg(stream.key()).arg(from).arg("+").arg("COUNT").arg(count);
        let reply = self.shared.link.run(&command).await?;
        let entries = wire::entries(reply).ok_or_else(|| wire::unexpected("list of entries"))?;
        Ok(entries.into_iter().filter_map(|(id, message)| Some((id, message?))).collect())
    }

    async fn stats(&self, stream: &Stream, group: &str) -> Result<GroupStats, BusError> {
        let stats = self.shared.stats(stream, group).await?;
        self.shared.metrics.record_group(stream, group, stats);
        Ok(stats)
    }

    async fn trim(&self, stream: &Stream) -> Result<u64, BusError> {
        match stream.kind() {
            Kind::Queue => Ok(0),
            Kind::Log => Ok(self.shared.trim(stream, None).await?.0),
        }
    }

    async fn ping(&self) -> Result<(), BusError> {
        self.shared.link.run(&redis::cmd("PING")).await?;
        Ok(())
    }

    fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }
}

impl Shared {
    async fn stats(&self, stream: &Stream, group: &str) -> Result<GroupStats, Failure> {
        let key = stream.key();
        let length = wire::integer(&self.link.run(redis::cmd("XLEN").arg(key)).await?);
        let length = length.ok_or_else(|| wire::unexpected("length"))?;
        let nobody = GroupStats { length, lag: length, ..GroupStats::default() };
        let groups = match self.link.run(redis::cmd("XINFO").arg("GROUPS").arg(key)).await {
            Ok(reply) => wire::array(reply).ok_or_else(|| wire::unexpected("list of groups"))?,
            Err(Failure::NoKey) => return Ok(nobody),
            Err(failure) => return Err(failure),
        };
        let mut groups = groups.into_iter().filter_map(wire::array);
        let named = |fields: &Vec<_>| wire::field(fields, "name").and_then(wire::text) == Some(group);
        let Some(fields) = groups.find(named) else { return Ok(nobody) };
        let number = |name| wire::field(&fields, name).and_then(wire::integer);
        let pending = number("pending").unwrap_or(0);
        let lag = match stream.kind() {
            // What is handled is gone.
            Kind::Queue => length.saturating_sub(pending),
            // Redis cannot tell after entries were deleted by hand: then all of the stream is the bound we know.
            Kind::Log => number("lag").unwrap_or(length),
        };
        let oldest_pending_ms = if pending == 0 { 0 } else { self.oldest_pending_ms(key, group).await? };
        let consumers = number("consumers").unwrap_or(0);
        Ok(GroupStats { length, lag, pending, oldest_pending_ms, consumers })
    }

    async fn oldest_pending_ms(&self, key: &str, group: &str) -> Result<u64, Failure> {
        let mut command = redis::cmd("XPENDING");
        let reply = self.link.run(command.arg(key).arg(group).arg("-").arg("+").arg(1)).await?;
        let first = wire::array(reply).and_then(|list| list.into_iter().next()).and_then(wire::array);
        // It may have been acknowledged since.
        Ok(first.as_deref().and_then(|first| first.get(2)).and_then(wire::integer).unwrap_or(0))
    }
}
