//! From committed events to requests.
//!
//! Lanes hand committed rows over in memory and never wait; what does not fit, and what was committed before this
//! replica knew of any hook, is read from the log. Requests and how far the log was read for them are one transaction.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use base::Tenant;
use hooks::{Fact, occasions};
use store::{StoreError, hooks::RequestRow, journal::ShardPos};
use tokio::sync::mpsc;

use super::{Book, Inner, gate::tags_of};
use crate::{
    cluster::replay::{self, Row},
    engine::{Engine, EngineShared, PublicEvent, Publisher, away},
};

/// The consumer's name in the table of positions.
const CONSUMER: &str = "hooks";
/// Rows that wait in memory.
const ROWS_MAX: usize = 8192;
/// Rows of one transaction.
const ROUND_ROWS: usize = 256;
/// Rows of one page that is read back.
const PAGE_ROWS: u32 = 256;
/// How often positions are stored while no hook asks for anything.
const MARK_EVERY: Duration = Duration::from_secs(30);
/// Pause before the store is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The lanes' side.
pub(crate) struct Tap {
    book: Arc<Book>,
    rows: mpsc::Sender<Row>,
    /// Newest committed position of each shard.
    newest: Vec<AtomicI64>,
    /// Newest position of each shard that was not handed over.
    missed: Vec<AtomicI64>,
}

impl Publisher for Tap {
    fn wants(&self) -> bool {
        self.book.is_active()
    }

    fn committed(&self, shard: u16, pos: i64, tenant: &Tenant, events: &Arc<Vec<PublicEvent>>) {
        let at = usize::from(shard);
        if self.book.is_active() {
            let row = Row { shard, pos, tenant: tenant.clone(), events: events.clone() };
            // Without events it was closed before anybody wanted them: the log has them.
            if (events.is_empty() || self.rows.try_send(row).is_err())
                && let Some(missed) = self.missed.get(at)
            {
                missed.fetch_max(pos, Ordering::AcqRel);
            }
        }
        if let Some(newest) = self.newest.get(at) {
            newest.fetch_max(pos, Ordering::AcqRel);
        }
    }
}

fn read(all: &[AtomicI64], shard: u16) -> i64 {
    all.get(usize::from(shard)).map_or(0, |n| n.load(Ordering::Acquire))
}

/// The consumer of own shards.
pub(crate) struct Feed {
    inner: Arc<Inner>,
    engine: Weak<EngineShared>,
    tap: Arc<Tap>,
    rows: mpsc::Receiver<Row>,
    /// How far each own shard is read.
    last: HashMap<u16, i64>,
    /// As stored.
    marked: HashMap<u16, i64>,
    /// There was no hook the last time.
    idle: bool,
}

impl Feed {
    pub(crate) fn new(inner: &Arc<Inner>, engine: &Engine) -> (Self, Arc<Tap>) {
        let (sender, rows) = mpsc::channel(ROWS_MAX);
        let shards = usize::from(inner.owner.shard_count());
        let zeros = || (0..shards).map(|_| AtomicI64::new(0)).collect();
        let tap = Arc::new(Tap { book: inner.book.clone(), rows: sender, newest: zeros(), missed: zeros() });
        let feed = Self {
            inner: inner.clone(),
            engine: Arc::downgrade(engine.shared()),
            tap: tap.clone(),
            rows,
            last: HashMap::new(),
            marked: HashMap::new(),
            idle: true,
        };
        (feed, tap)
    }

    /// Follows own shards until hooks stop.
    pub(crate) async fn run(mut self) {
        let inner = self.inner.clone();
        let mut changes = inner.owner.changes();
        let mut refresh = tokio::time::interval(inner.options.refresh_every);
        let mut mark = tokio::time::interval(MARK_EVERY);
        for timer in [&mut refresh, &mut mark] {
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let mut batch = Vec::with_capacity(ROUND_ROWS);
        self.shards_changed().await;
        loop {
            tokio::select! {
                () = inner.stopped() => break,
                changed = changes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.shards_changed().await;
                }
                _ = refresh.tick() => self.refresh().await,
                () = inner.book.changed.notified() => self.refresh().await,
                _ = mark.tick() => self.mark().await,
                n = self.rows.recv_many(&mut batch, ROUND_ROWS) => {
                    if n == 0 {
                        break;
                    }
                    self.round(&mut batch).await;
                }
            }
        }
        self.mark().await;
    }

    /// Shards came or went.
    async fn shards_changed(&mut self) {
        let here = self.inner.owner.shards();
        self.last.retain(|shard, _| here.contains(shard));
        self.marked.retain(|shard, _| here.contains(shard));
        let new: Vec<u16> = here.into_iter().filter(|shard| !self.last.contains_key(shard)).collect();
        if new.is_empty() {
            return;
        }
        let from = loop {
            match self.begin(&new).await {
                Ok(from) => break from,
                Err(error) => {
                    tracing::warn!(%error, "how far hooks have read cannot be looked up; it is tried again");
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        };
        for (shard, last) in from {
            self.last.insert(shard, last);
        }
        if self.inner.book.is_active() {
            for shard in new {
                self.catch_up(shard).await;
            }
        }
    }

    /// Where to begin. A shard that was never read before begins at its end when there is no hook, else at its beginning:
    /// hooks look at nothing older than themselves.
    async fn begin(&mut self, shards: &[u16]) -> Result<Vec<(u16, i64)>, StoreError> {
        let journal = &self.inner.journal;
        let stored = journal.read_positions(CONSUMER, &self.inner.options.cluster).await?;
        let stored: HashMap<u16, i64> = stored.iter().map(|at| (at.shard, at.pos)).collect();
        let active = self.inner.book.is_active();
        let mut from = Vec::with_capacity(shards.len());
        for shard in shards {
            let last = match stored.get(shard) {
                Some(pos) => *pos,
                None if active => 0,
                None => journal.last_pos(*shard).await?,
            };
            if let Some(pos) = stored.get(shard) {
                self.marked.insert(*shard, *pos);
            }
            from.push((*shard, last));
        }
        Ok(from)
    }

    /// Looks for changed hooks. As long as there are none, what was committed before the look needs no reading.
    async fn refresh(&mut self) {
        let before: Vec<(u16, i64)> =
            self.last.keys().map(|shard| (*shard, read(&self.tap.newest, *shard))).collect();
        if let Err(error) = self.inner.book.refresh().await {
            tracing::warn!(%error, "changed hooks cannot be read; the known ones stay");
            return;
        }
        if !self.inner.book.is_active() {
            for (shard, newest) in before {
                if let Some(last) = self.last.get_mut(&shard) {
                    *last = newest.max(*last);
                }
            }
            self.idle = true;
        } else if std::mem::replace(&mut self.idle, false) {
            for (shard, _) in before {
                self.catch_up(shard).await;
            }
        }
    }

    /// Takes in rows as they were committed.
    async fn round(&mut self, batch: &mut Vec<Row>) {
        let mut requests = Vec::new();
        for row in batch.drain(..) {
            let Some(last) = self.last.get(&row.shard).copied() else { continue };
            if row.pos <= last {
                continue;
            }
            // What is missing in between is read first; it holds this row too.
            if self.idle || read(&self.tap.missed, row.shard) > last {
                self.commit(std::mem::take(&mut requests)).await;
                self.catch_up(row.shard).await;
                continue;
            }
            requests.extend(self.requests(&row));
            self.last.insert(row.shard, row.pos);
        }
        self.commit(requests).await;
    }

    /// Reads from the log what was not handed over.
    async fn catch_up(&mut self, shard: u16) {
        loop {
            let Some(last) = self.last.get(&shard).copied() else { return };
            let Some(engine) = self.engine.upgrade() else { return };
            let page = match replay::rows(&engine, shard, last + 1, PAGE_ROWS).await {
                Ok(page) => page,
                Err(fault) => {
                    tracing::warn!(shard, %fault, "the log cannot be read for hooks; it is tried again");
                    tokio::time::sleep(AGAIN_AFTER).await;
                    continue;
                }
            };
            drop(engine);
            if page.last <= last {
                return;
            }
            let requests = page.rows.iter().flat_map(|row| self.requests(row)).collect();
            self.last.insert(shard, page.last);
            self.commit(requests).await;
        }
    }

    /// What the events of a row ask for.
    fn requests(&self, row: &Row) -> Vec<RequestRow> {
        let matcher = self.inner.book.matcher();
        let fleet = self.engine.upgrade().map(|engine| engine.dispatcher.fleet());
        let tags = |capability: &str| fleet.as_ref().map(|f| tags_of(f, capability)).unwrap_or_default();
        let mut found = Vec::new();
        let (mut seq, mut part) = (0, 0);
        for event in row.events.iter() {
            part = if event.seq == seq { part + 1 } else { 0 };
            seq = event.seq;
            let fact = Fact {
                kind: event.kind,
                workflow: event.workflow_id,
                execution: event.execution_id,
                seq,
                part,
                at: event.at,
                data: &event.data,
            };
            for occasion in occasions(&fact, tags) {
                if !matcher.listens(&row.tenant, occasion.trigger) {
                    continue;
                }
                let hooks = matcher.matching(&row.tenant, &occasion);
                if hooks.is_empty() {
                    continue;
                }
                found.push(RequestRow {
                    tenant: row.tenant.clone(),
                    request_id: occasion.id(),
                    partition: self.inner.partition_of(row.shard),
                    trigger: occasion.trigger.as_str().into(),
                    execution_id: occasion.subject.execution,
                    task_id: occasion.subject.task.clone(),
                    item: occasion.subject.item,
                    hooks: hooks.iter().map(|hook| hook.id).collect(),
                    document: occasion.document.to_string(),
                    requested_at: occasion.at,
                });
            }
        }
        found
    }

    /// Writes requests with how far the log was read; without requests the position waits for its time.
    async fn commit(&mut self, requests: Vec<RequestRow>) {
        if requests.is_empty() {
            return;
        }
        self.write(&requests).await;
        self.inner.announce(&requests).await;
    }

    /// Stores how far own shards are read.
    async fn mark(&mut self) {
        self.write(&[]).await;
    }

    async fn write(&mut self, requests: &[RequestRow]) {
        let incarnation = self.inner.me.incarnation;
        let moved = self.last.iter().filter(|(shard, pos)| self.marked.get(shard) != Some(pos));
        let positions: Vec<ShardPos> =
            moved.map(|(shard, pos)| ShardPos { shard: *shard, incarnation, pos: *pos }).collect();
        let cluster = &self.inner.options.cluster;
        loop {
            let written = self.inner.store.put_requests(requests, CONSUMER, cluster, &positions).await;
            match written {
                Ok(()) => break,
                Err(error) if requests.is_empty() => {
                    tracing::debug!(%error, "how far hooks have read could not be stored");
                    return;
                }
                Err(error) => {
                    drop(away(error));
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        }
        self.marked.extend(positions.iter().map(|at| (at.shard, at.pos)));
    }
}
