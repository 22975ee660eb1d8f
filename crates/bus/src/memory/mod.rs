//! The bus of one process: the same guarantees as Redis Streams, all lost with the process.
//!
//! A stream is a queue in memory with consumer groups beside it ([`state`]), never a broadcast that drops what lags:
//! a full stream makes publishers wait. Locks are held for pushes and pops only, never across an await.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::Instant};

use crate::{
    Bus, BusError, Consumer, EntryId, GroupStats, Kind, Limits, Message, Metrics, PublishError, Stream,
    Subscription,
};

mod consumer;
mod state;

use consumer::InProcessConsumer;
use state::StreamState;

/// Bounds of the in-process bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InProcessOptions {
    /// Bounds that both backends have. Here `log_len_max` is 65,536 and `retention` one hour unless set otherwise.
    pub limits: Limits,
    /// Most bytes in one stream before publishers wait.
    pub stream_bytes_max: usize,
}

impl Default for InProcessOptions {
    fn default() -> Self {
        let limits =
            Limits { log_len_max: 65_536, retention: Duration::from_secs(3600), ..Limits::default() };
        Self { limits, stream_bytes_max: 64 * 1024 * 1024 }
    }
}

/// Event streams within one process. Cheap to clone: all clones are one bus.
#[derive(Clone)]
pub struct InProcessBus {
    shared: Arc<Shared>,
}

struct Shared {
    options: InProcessOptions,
    started: Instant,
    started_ms: u64,
    streams: Mutex<HashMap<Stream, Arc<Channel>>>,
    metrics: Arc<Metrics>,
}

/// One stream with those who wait at both ends.
struct Channel {
    state: Mutex<StreamState>,
    /// Consumers wait here for entries.
    filled: Notify,
    /// Publishers wait here for room.
    drained: Notify,
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for InProcessBus {
    fn default() -> Self {
        Self::new(InProcessOptions::default())
    }
}

impl InProcessBus {
    /// An empty bus.
    pub fn new(options: InProcessOptions) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            shared: Arc::new(Shared {
                options,
                started: Instant::now(),
                started_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
                streams: Mutex::default(),
                metrics: Arc::default(),
            }),
        }
    }

    /// Forgets every entry and every group, as a crash of the process does. For tests of those who must survive that.
    pub fn wipe(&self) {
        let streams = self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, channel) in streams.iter() {
            *channel.lock() = StreamState::new(stream.kind());
            channel.filled.notify_waiters();
            channel.drained.notify_waiters();
        }
    }
}

impl Shared {
    fn channel(&self, stream: &Stream) -> Arc<Channel> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let state = Mutex::new(StreamState::new(stream.kind()));
            Arc::new(Channel { state, filled: Notify::new(), drained: Notify::new() })
        };
        streams.entry(stream.clone()).or_insert_with(new).clone()
    }

    /// Time since the bus began: what idle times are measured in.
    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Milliseconds since 1970, never going back.
    fn now_ms(&self) -> u64 {
        self.started_ms.saturating_add(u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn oldest_ms(&self) -> u64 {
        let retention = u64::try_from(self.options.limits.retention.as_millis()).unwrap_or(u64::MAX);
        self.now_ms().saturating_sub(retention)
    }

    fn full(&self, stream: &Stream, accepted: usize) -> PublishError {
        let limits = &self.options.limits;
        let entries = match stream.kind() {
            Kind::Queue => limits.queue_len_max,
            Kind::Log => limits.log_len_max,
        };
        self.metrics.family(stream.family()).full.fetch_add(1, Relaxed);
        PublishError::Full {
            stream: stream.key().to_owned(),
            limit: format!("{entries} entries or {} bytes", self.options.stream_bytes_max),
            waited: limits.publish_timeout,
            accepted,
        }
    }
}

/// Refuses messages above the limit before anything is sent.
pub(crate) fn check_sizes(
    stream: &Stream,
    messages: &[Message],
    limits: &Limits,
) -> Result<(), PublishError> {
    let bytes_max = limits.message_bytes_max;
    match messages.iter().map(Message::size_bytes).enumerate().find(|(_, bytes)| *bytes > bytes_max) {
        Some((index, bytes)) => {
            Err(PublishError::TooLarge { stream: stream.key().to_owned(), index, bytes, bytes_max })
        }
        None => Ok(()),
    }
}

#[async_trait]
impl Bus for InProcessBus {
    async fn publish(&self, stream: &Stream, messages: &[Message]) -> Result<Vec<EntryId>, PublishError> {
        let Shared { options, metrics, .. } = &*self.shared;
        check_sizes(stream, messages, &options.limits)?;
        let channel = self.shared.channel(stream);
        let deadline = Instant::now() + options.limits.publish_timeout;
        let mut ids = Vec::with_capacity(messages.len());
        loop {
            // Registered before the look at the state: room that comes up in between wakes us.
            let drained = channel.drained.notified();
            let before = ids.len();
            {
                let now_ms = self.shared.now_ms();
                let mut state = channel.lock();
                state.trim(self.shared.oldest_ms());
                for message in &messages[before..] {
                    match state.push(message, now_ms, &options.limits, options.stream_bytes_max) {
                        Some(id) => ids.push(id),
                        None => break,
                    }
                }
            }
            if ids.len() > before {
                channel.filled.notify_waiters();
                metrics.family(stream.family()).published.fetch_add((ids.len() - before) as u64, Relaxed);
            }
            if ids.len() == messages.len() {
                return Ok(ids);
            }
            if tokio::time::timeout_at(deadline, drained).await.is_err() {
                return Err(self.shared.full(stream, ids.len()));
            }
        }
    }

    fn subscribe(&self, stream: &Stream, subscription: Subscription) -> Box<dyn Consumer> {
        Box::new(InProcessConsumer::new(self.shared.clone(), stream, subscription))
    }

    async fn read(
        &self,
        stream: &Stream,
        after: Option<EntryId>,
        count: usize,
    ) -> Result<Vec<(EntryId, Message)>, BusError> {
        Ok(self.shared.channel(stream).lock().read(after.unwrap_or_default(), count))
    }

    async fn stats(&self, stream: &Stream, group: &str) -> Result<GroupStats, BusError> {
        let stats = self.shared.channel(stream).lock().stats(group, self.shared.elapsed());
        self.shared.metrics.record_group(stream, group, stats);
        Ok(stats)
    }

    async fn trim(&self, stream: &Stream) -> Result<u64, BusError> {
        let channel = self.shared.channel(stream);
        let removed = channel.lock().trim(self.shared.oldest_ms());
        if removed > 0 {
            channel.drained.notify_waiters();
            channel.filled.notify_waiters();
        }
        Ok(removed)
    }

    async fn ping(&self) -> Result<(), BusError> {
        Ok(())
    }

    fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }
}
