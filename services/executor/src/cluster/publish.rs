//! The log is the outbox: what was committed goes to the bus, in order per shard, again after every loss.
//!
//! Lanes hand committed rows over in memory and never wait. What does not fit, and what was committed before this
//! process owned the shard, is read from the log. Positions let consumers drop doubles and see gaps, so publishing
//! again is always safe; how far each shard got is stored every second.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use base::Tenant;
use bus::{Bus, Keys, Message, PublishError};
use store::journal::ShardPos;
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinHandle, JoinSet},
};

use super::{
    Inner,
    replay::{self, Encoder, Row},
};
use crate::engine::{LeaseGate, PublicEvent, Publisher, crash};

/// Rows of one round of publishing.
const ROUND_ROWS: usize = 512;
/// Rows of one page that is read back.
const PAGE_ROWS: u32 = 256;
/// Shards that are read back at once.
const CATCH_UPS_AT_ONCE: usize = 4;
/// How often positions are stored.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// First and longest pause while the bus is away.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// The lanes' side.
pub(crate) struct StreamPublisher {
    rows: mpsc::Sender<Row>,
    /// Newest position of a shard that did not fit into memory.
    missed: Vec<AtomicI64>,
}

impl Publisher for StreamPublisher {
    fn committed(&self, shard: u16, pos: i64, tenant: &Tenant, events: &Arc<Vec<PublicEvent>>) {
        let row = Row { shard, pos, tenant: tenant.clone(), events: events.clone() };
        if self.rows.try_send(row).is_err() {
            // Set before any later row of the shard is sent: the publisher looks here first.
            if let Some(missed) = self.missed.get(usize::from(shard)) {
                missed.fetch_max(pos, Ordering::Release);
            }
        }
    }
}

impl StreamPublisher {
    /// `rows_max`: rows that wait in memory.
    pub(crate) fn new(shards: u16, rows_max: usize) -> (Arc<Self>, mpsc::Receiver<Row>) {
        let (rows, receiver) = mpsc::channel(rows_max.max(1));
        let missed = (0..shards).map(|_| AtomicI64::new(0)).collect();
        (Arc::new(Self { rows, missed }), receiver)
    }

    fn missed(&self, shard: u16) -> i64 {
        self.missed.get(usize::from(shard)).map_or(0, |m| m.load(Ordering::Acquire))
    }
}

/// What the publisher is told.
pub(crate) enum Order {
    /// The shard is ours: go on where it was left.
    Acquire(u16),
    /// It is not any more.
    Release(u16),
    /// Answer when everything that was handed over is published and marked.
    Flush(oneshot::Sender<()>),
}

struct Feed {
    /// Last position given to the bus (or to a round that is under way).
    last: i64,
    /// Newest position that was handed over and dropped while the log is read.
    seen: i64,
    /// Reads the log; ends as soon as it has caught up.
    reading: Option<AbortHandle>,
    /// Distinguishes this time of the shard here from earlier ones.
    epoch: u64,
}

struct Task {
    out: Out,
    inner: Arc<Inner>,
    publisher: Arc<StreamPublisher>,
    feeds: HashMap<u16, Feed>,
    /// Surely on the bus.
    done: BTreeMap<u16, i64>,
    marked: BTreeMap<u16, i64>,
    readers: JoinSet<(u16, u64, i64)>,
    permits: Arc<tokio::sync::Semaphore>,
    round: Option<JoinHandle<()>>,
    round_ends: Vec<(u16, i64)>,
    epochs: u64,
}

/// Publishes until the cluster stops.
pub(crate) async fn run(
    inner: Arc<Inner>,
    publisher: Arc<StreamPublisher>,
    mut rows: mpsc::Receiver<Row>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut task = Task {
        out: Out::new(&inner),
        inner: inner.clone(),
        publisher,
        feeds: HashMap::new(),
        done: BTreeMap::new(),
        marked: BTreeMap::new(),
        readers: JoinSet::new(),
        permits: Arc::new(tokio::sync::Semaphore::new(CATCH_UPS_AT_ONCE)),
        round: None,
        round_ends: Vec::new(),
        epochs: 0,
    };
    let mut mark = tokio::time::interval(MARK_EVERY);
    mark.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut flush: Option<oneshot::Sender<()>> = None;
    let mut batch = Vec::with_capacity(ROUND_ROWS);
    loop {
        if flush.is_some() && rows.is_empty() && task.is_quiet() {
            task.mark().await;
            if let Some(reply) = flush.take() {
                let _ = reply.send(());
            }
        }
        tokio::select! {
            biased;
            () = inner.stopped() => return,
            Some(order) = orders.recv() => match order {
                Order::Acquire(shard) => task.acquire(shard),
                Order::Release(shard) => task.release(shard),
                Order::Flush(reply) => flush = Some(reply),
            },
            () = ended(&mut task.round) => task.round_ended(),
            Some(Ok((shard, epoch, last))) = task.readers.join_next(), if !task.readers.is_empty() => {
                task.caught_up(shard, epoch, last);
            }
            _ = mark.tick() => task.mark().await,
            _ = rows.recv_many(&mut batch, ROUND_ROWS), if task.round.is_none() => task.begin(&mut batch),
        }
    }
}

async fn ended(round: &mut Option<JoinHandle<()>>) {
    match round {
        Some(round) => drop(round.await),
        None => std::future::pending().await,
    }
}

impl Task {
    fn is_quiet(&self) -> bool {
        self.round.is_none() && self.feeds.values().all(|f| f.reading.is_none())
    }

    fn acquire(&mut self, shard: u16) {
        self.release(shard);
        self.epochs += 1;
        self.feeds.insert(shard, Feed { last: 0, seen: 0, reading: None, epoch: self.epochs });
        self.read(shard, None);
    }

    fn release(&mut self, shard: u16) {
        if let Some(Feed { reading: Some(reading), .. }) = self.feeds.remove(&shard) {
            reading.abort();
        }
    }

    /// Publishes from the log what follows `from` (where the last publisher stopped when `None`).
    fn read(&mut self, shard: u16, from: Option<i64>) {
        let Some(feed) = self.feeds.get_mut(&shard) else { return };
        let (inner, out, permits, epoch) =
            (self.inner.clone(), self.out.clone(), self.permits.clone(), feed.epoch);
        feed.reading = Some(self.readers.spawn(async move {
            let _permit = permits.acquire_owned().await;
            (shard, epoch, catch_up(&inner, &out, shard, from).await)
        }));
    }

    fn caught_up(&mut self, shard: u16, epoch: u64, last: i64) {
        let done = self.done.entry(shard).or_default();
        *done = last.max(*done);
        let Some(feed) = self.feeds.get_mut(&shard).filter(|f| f.epoch == epoch) else { return };
        feed.last = last.max(feed.last);
        feed.reading = None;
        if feed.seen > feed.last || self.publisher.missed(shard) > feed.last {
            let from = feed.last;
            self.read(shard, Some(from));
        }
    }

    /// Sorts rows to their streams and sends them.
    fn begin(&mut self, batch: &mut Vec<Row>) {
        let mut streams: BTreeMap<u32, Vec<Message>> = BTreeMap::new();
        for row in batch.drain(..) {
            let Some(feed) = self.feeds.get_mut(&row.shard) else { continue };
            if row.pos <= feed.last {
                continue;
            }
            if feed.reading.is_some() || self.publisher.missed(row.shard) > feed.last {
                feed.seen = feed.seen.max(row.pos);
                if feed.reading.is_none() {
                    let (shard, from) = (row.shard, feed.last);
                    self.read(shard, Some(from));
                }
                continue;
            }
            let message = self.out.encoder.message(&row, feed.last);
            streams.entry(self.out.partition(row.shard)).or_default().push(message);
            feed.last = row.pos;
            self.round_ends.push((row.shard, row.pos));
        }
        if !streams.is_empty() {
            let out = self.out.clone();
            self.round = Some(tokio::spawn(async move {
                let sends = streams.into_iter().map(|(partition, messages)| {
                    let out = out.clone();
                    async move { out.send(partition, messages).await }
                });
                futures::future::join_all(sends).await;
            }));
        }
    }

    fn round_ended(&mut self) {
        self.round = None;
        for (shard, pos) in self.round_ends.drain(..) {
            let done = self.done.entry(shard).or_default();
            *done = pos.max(*done);
        }
    }

    /// Stores how far every shard is published. A failure is made up for the next time.
    async fn mark(&mut self) {
        let changed: Vec<(u16, i64)> = self
            .done
            .iter()
            .filter(|(s, pos)| self.marked.get(s) != Some(pos))
            .map(|(s, p)| (*s, *p))
            .collect();
        if changed.is_empty() {
            return;
        }
        crash::point("published-not-marked");
        let incarnation = self.inner.me.incarnation;
        let positions: Vec<ShardPos> =
            changed.iter().map(|(shard, pos)| ShardPos { shard: *shard, incarnation, pos: *pos }).collect();
        match tokio::time::timeout(PAUSE.1, self.inner.journal.put_published(&positions)).await {
            Ok(Ok(())) => self.marked.extend(changed),
            Ok(Err(error)) => tracing::warn!(%error, "how far events are published could not be stored"),
            Err(_) => tracing::warn!("how far events are published could not be stored in time"),
        }
    }
}

/// Publishes from the log until nothing more is in it; gives the last position.
async fn catch_up(inner: &Arc<Inner>, out: &Out, shard: u16, from: Option<i64>) -> i64 {
    let mut pause = PAUSE.0;
    let mut last = from;
    loop {
        match page(inner, out, shard, &mut last).await {
            Ok(true) => return last.unwrap_or_default(),
            Ok(false) => pause = PAUSE.0,
            Err(error) => {
                tracing::warn!(shard, %error, "the log could not be read for publishing; it is tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

async fn page(inner: &Arc<Inner>, out: &Out, shard: u16, last: &mut Option<i64>) -> Result<bool, api::Fault> {
    let after = match last {
        Some(last) => *last,
        None => {
            let stored = inner.journal.read_published(&[shard]).await.map_err(crate::engine::away)?;
            stored.first().map_or(0, |p| p.pos)
        }
    };
    *last = Some(after);
    let page = replay::rows(inner.engine.shared(), shard, after + 1, PAGE_ROWS).await?;
    let mut previous = after;
    let mut messages = Vec::with_capacity(page.rows.len());
    for row in &page.rows {
        messages.push(out.encoder.message(row, previous));
        previous = row.pos;
    }
    if !messages.is_empty() {
        out.send(out.partition(shard), messages).await;
        *last = Some(previous);
    }
    if page.rows.is_empty() && page.last > after {
        // Nothing but holes: the next message follows what was published last, so the link stays.
        return skip_holes(inner, out, shard, page.last, last).await;
    }
    Ok(page.last <= after)
}

/// Looks beyond holes for the next row, which links to the last one that was published.
async fn skip_holes(
    inner: &Arc<Inner>,
    out: &Out,
    shard: u16,
    mut hole: i64,
    last: &mut Option<i64>,
) -> Result<bool, api::Fault> {
    loop {
        let page = replay::rows(inner.engine.shared(), shard, hole + 1, PAGE_ROWS).await?;
        if let Some(first) = page.rows.first() {
            let message = out.encoder.message(first, last.unwrap_or_default());
            *last = Some(first.pos);
            out.send(out.partition(shard), vec![message]).await;
            return Ok(false);
        }
        if page.last <= hole {
            return Ok(true);
        }
        hole = page.last;
    }
}

/// The way to the bus.
#[derive(Clone)]
pub(crate) struct Out {
    bus: Arc<dyn Bus>,
    keys: Keys,
    partitions: u32,
    lease: LeaseGate,
    encoder: Encoder,
}

impl Out {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        Self {
            bus: inner.bus.clone(),
            keys: inner.options.keys.clone(),
            partitions: inner.options.partitions.max(1),
            lease: inner.lease.clone(),
            encoder: inner.encoder(),
        }
    }

    fn partition(&self, shard: u16) -> u32 {
        u32::from(shard) % self.partitions
    }

    /// Sends until the bus has them all.
    async fn send(&self, partition: u32, messages: Vec<Message>) {
        let stream = self.keys.events(partition);
        let mut pause = PAUSE.0;
        let mut left = &messages[..];
        while !left.is_empty() {
            self.lease.valid().await;
            crash::point("before-publish");
            match self.bus.publish(&stream, left).await {
                Ok(_) => return,
                Err(PublishError::Full { accepted, .. }) if accepted > 0 => left = &left[accepted..],
                // Ours are cut to the bus's limit; a smaller one of the server's is the operator's.
                Err(PublishError::TooLarge { index, .. }) => {
                    tracing::error!(%stream, "an event is larger than the bus takes; consumers read it from the log");
                    if index > 0 && self.bus.publish(&stream, &left[..index]).await.is_err() {
                        continue;
                    }
                    left = &left[index + 1..];
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "events wait for the bus");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}
