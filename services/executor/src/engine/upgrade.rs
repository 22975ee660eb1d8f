//! Builds of different ages work on one log: what may be written now, and what this build cannot read.
//!
//! A fact is written only when every living member reads its schema. A row that this build does not know is never
//! skipped: its shard is let go and goes to a member that reads it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use api::{
    Fault,
    log::{LOG_SCHEMA, schema_of},
};
use base::ErrorCode;
use tokio::sync::Notify;
use workflow::Event;

use super::{EngineMetrics, EngineShared, lane::Lane};

/// Schemas of the log, by shard and over all members.
pub(crate) struct Schemas {
    /// Newest schema that every living member reads.
    writes_up_to: AtomicU16,
    /// Newest schema met in each shard, read or written.
    met: Vec<AtomicU16>,
    /// Shards with rows that this build cannot read, and the schema of the newest of them.
    beyond: Mutex<BTreeMap<u16, u16>>,
    noticed: Notify,
}

impl Schemas {
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            writes_up_to: AtomicU16::new(LOG_SCHEMA),
            met: (0..shards).map(|_| AtomicU16::new(0)).collect(),
            beyond: Mutex::default(),
            noticed: Notify::new(),
        }
    }

    /// Up to which schema facts may be written now.
    pub(crate) fn writes_up_to(&self) -> u16 {
        self.writes_up_to.load(Ordering::Acquire)
    }

    /// The oldest living member reads up to `schema`.
    pub(crate) fn all_read(&self, schema: u16) {
        self.writes_up_to.store(schema.min(LOG_SCHEMA), Ordering::Release);
    }

    /// Whether these facts may be written now.
    pub(crate) fn covers(&self, events: &[Event]) -> bool {
        schema_of(events) <= self.writes_up_to() || events.is_empty()
    }

    /// A row of `shard` was read or is about to be written.
    pub(crate) fn met(&self, shard: u16, schema: u16) {
        if let Some(met) = self.met.get(usize::from(shard)) {
            met.fetch_max(schema, Ordering::Relaxed);
        }
    }

    /// What an owner of the shard has to read, as far as this replica knows.
    pub(crate) fn needs(&self, shard: u16) -> u16 {
        self.met.get(usize::from(shard)).map_or(0, |met| met.load(Ordering::Relaxed))
    }

    /// A row of `shard` is of a newer build: the shard is let go.
    pub(crate) fn cannot_read(&self, shard: u16, schema: u16, metrics: &EngineMetrics) -> Fault {
        // A kind that is unknown under a known number needs a newer build all the same.
        let needs = schema.max(LOG_SCHEMA.saturating_add(1));
        self.met(shard, needs);
        let mut beyond = self.beyond.lock().unwrap_or_else(PoisonError::into_inner);
        if beyond.insert(shard, needs).is_none() {
            metrics.shard_unreadable();
            tracing::error!(
                shard,
                schema = needs,
                reads_up_to = LOG_SCHEMA,
                "the log of a shard holds events of a newer build: the shard is handed back; update this replica"
            );
        }
        drop(beyond);
        self.noticed.notify_one();
        let text = "the execution was written by a newer build than this replica; try again";
        Fault::new(ErrorCode::Unavailable, text).retry_after_ms(1000)
    }

    /// Whether this build reads the shard's log, as far as it was read.
    pub(crate) fn readable(&self, shard: u16) -> bool {
        !self.beyond.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&shard)
    }

    /// Waits until a shard turns out to be beyond this build.
    pub(crate) async fn noticed(&self) {
        self.noticed.notified().await;
    }
}

impl EngineShared {
    /// The answer to a start whose first fact a living member cannot read.
    pub(crate) fn refuse_unread(&self, events: &[Event]) -> Option<Fault> {
        (!self.log_schemas.covers(events)).then(|| {
            let text = "a replica of an older build cannot read what this start writes; try again once all are updated";
            Fault::new(ErrorCode::Unavailable, text).retry_after_ms(1000)
        })
    }
}

impl Lane {
    /// What was held back because a member could not read it may go on, when none such lives any more.
    pub(crate) fn take_back_held(&mut self) {
        let now = self.shared.log_schemas.writes_up_to();
        if std::mem::replace(&mut self.writes_up_to, now) >= now {
            return;
        }
        for shard in self.shards.values_mut() {
            shard.dirty.append(&mut shard.unread);
        }
    }
}
