//! Who looks after which events: the owner of a shard handles the partition of the same number.
//!
//! Two consumers read every partition from the table, each from its own position: triggers and deliveries. What they do is
//! safe to repeat, and the position is stored after it: after a crash the next owner does the last batch again. The
//! stream only says that there is something; with it gone, a look every second finds it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use api::Fault;
use bus::{ConsumerOptions, Delivery, Received, Sharing, Subscription};
use futures::StreamExt as _;
use store::{journal::ShardPos, topics::EventRow};
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
};

use super::{CLUSTER, GROUP, Inner, TRIGGERS, WAITS, event, matcher::Matcher, order};
use crate::engine::away;

/// Events of a batch.
const BATCH: u32 = 256;
/// First and longest pause before a batch is handled again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Partitions whose stream is listened to, each with a consumer of its own; the events of others are found by looking.
const LISTENED_MAX: usize = 256;

/// What reads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Reader {
    Triggers,
    Waits,
}

impl Reader {
    const ALL: [Self; 2] = [Self::Triggers, Self::Waits];

    fn name(self) -> &'static str {
        match self {
            Self::Triggers => TRIGGERS,
            Self::Waits => WAITS,
        }
    }
}

/// Partitions that have something new.
#[derive(Default)]
pub(super) struct Wanted {
    partitions: Mutex<BTreeSet<u16>>,
    notify: Notify,
}

impl Wanted {
    pub(super) fn look(&self, partitions: impl IntoIterator<Item = u16>) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).extend(partitions);
        self.notify.notify_one();
    }

    fn take(&self) -> BTreeSet<u16> {
        std::mem::take(&mut *self.partitions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What runs, and what is to run again once it has ended.
#[derive(Default)]
struct Running {
    tasks: JoinSet<(Reader, u16, i64)>,
    /// Whether it is wanted again.
    open: HashMap<(Reader, u16), bool>,
    /// How far each has come, while its partition is here.
    done: HashMap<(Reader, u16), i64>,
}

impl Running {
    fn want(&mut self, inner: &Arc<Inner>, reader: Reader, partition: u16) {
        if let Some(again) = self.open.get_mut(&(reader, partition)) {
            *again = true;
            return;
        }
        self.open.insert((reader, partition), false);
        let (inner, known) = (inner.clone(), self.done.get(&(reader, partition)).copied());
        self.tasks.spawn(async move { (reader, partition, inner.read(reader, partition, known).await) });
    }

    fn ended(&mut self, inner: &Arc<Inner>, (reader, partition, done): (Reader, u16, i64)) {
        let again = self.open.remove(&(reader, partition)).unwrap_or(false);
        self.done.insert((reader, partition), done);
        if again {
            self.want(inner, reader, partition);
        }
    }
}

/// Handles events until the replica stops.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut running = Running::default();
    let mut changes = inner.cluster.map_changes();
    let mut look = tokio::time::interval(inner.options.poll_interval);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut head, mut here) = (-1, BTreeSet::new());
    loop {
        let wanted = tokio::select! {
            () = inner.drain.stopped() => return,
            Some(ended) = running.tasks.join_next(), if !running.tasks.is_empty() => {
                if let Ok(ended) = ended {
                    running.ended(&inner, ended);
                }
                continue;
            }
            () = inner.wanted.notify.notified() => inner.wanted.take(),
            _ = look.tick() => inner.touched(&mut head).await,
            _ = changes.changed() => BTreeSet::new(),
        };
        let now_here = inner.here();
        // What has come is read from where its last owner stopped; what has gone is forgotten.
        running.done.retain(|(_, partition), _| now_here.contains(partition));
        let come = now_here.difference(&here).copied();
        let all: BTreeSet<u16> = wanted.into_iter().chain(come).filter(|p| now_here.contains(p)).collect();
        here = now_here;
        for partition in all {
            for reader in Reader::ALL {
                running.want(&inner, reader, partition);
            }
        }
    }
}

impl Inner {
    pub(super) fn here(&self) -> BTreeSet<u16> {
        self.cluster.shard_map().here().clone()
    }

    /// Partitions that got events since the last look that nobody told of.
    async fn touched(&self, head: &mut i64) -> BTreeSet<u16> {
        let look = async {
            let now = self.events.head().await?;
            if now == *head {
                return Ok(BTreeSet::new());
            }
            let touched = self.events.touched((*head).max(0)).await?;
            *head = now;
            Ok::<_, store::StoreError>(touched.into_iter().collect())
        };
        look.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "new events could not be looked for");
            BTreeSet::new()
        })
    }

    /// Handles what a partition has, and says how far it came.
    async fn read(&self, reader: Reader, partition: u16, known: Option<i64>) -> i64 {
        let mut pause = PAUSE.0;
        let mut at = known;
        loop {
            if self.drain.is_draining() || !self.here().contains(&partition) {
                return at.unwrap_or(0);
            }
            match self.batch(reader, partition, &mut at).await {
                Ok(true) => pause = PAUSE.0,
                Ok(false) => return at.unwrap_or(0),
                Err(error) => {
                    tracing::debug!(partition, reader = reader.name(), %error, "events wait to be handled");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.drain.draining() => return at.unwrap_or(0),
                    }
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    /// One batch. `false`: there was none.
    async fn batch(&self, reader: Reader, partition: u16, at: &mut Option<i64>) -> Result<bool, Fault> {
        let after = match *at {
            Some(after) => after,
            None => {
                let stored = self.journal.read_positions(reader.name(), CLUSTER).await.map_err(away)?;
                stored.iter().find(|p| p.shard == partition).map_or(0, |p| p.pos)
            }
        };
        *at = Some(after);
        let rows = self.events.read_partition(partition, after, BATCH).await.map_err(away)?;
        let Some(last) = rows.last().map(|row| row.pos) else { return Ok(false) };
        let matcher = match reader {
            Reader::Triggers => Some(self.matcher_now().await?),
            Reader::Waits => None,
        };
        self.each(rows, matcher.as_deref()).await?;
        let position = ShardPos { shard: partition, incarnation: 0, pos: last };
        self.journal.put_positions(reader.name(), CLUSTER, &[position]).await.map_err(away)?;
        *at = Some(last);
        Ok(true)
    }

    /// Handles the events of a batch, those of a key one after the other: with triggers, or else for those who wait. The
    /// first failure is given back once all that was begun has ended.
    async fn each(&self, rows: Vec<EventRow>, matcher: Option<&Matcher>) -> Result<(), Fault> {
        let chains = order::chains(rows).into_iter().map(|chain| async move {
            for row in &chain {
                match matcher {
                    Some(matcher) => self.fire(matcher, row).await?,
                    None => self.deliver(row).await?,
                }
            }
            Ok(())
        });
        let outcomes: Vec<Result<(), Fault>> =
            futures::stream::iter(chains).buffer_unordered(self.options.concurrency).collect().await;
        outcomes.into_iter().collect()
    }
}

/// Listens to the streams of the partitions that are here, until the replica stops.
pub(super) async fn listen(inner: Arc<Inner>) {
    let mut changes = inner.cluster.map_changes();
    let mut listeners: BTreeMap<u16, AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let here = inner.here();
        listeners.retain(|partition, task| {
            let stays = here.contains(partition) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for partition in here.iter().take(LISTENED_MAX) {
            listeners.entry(*partition).or_insert_with(|| tasks.spawn(hear(inner.clone(), *partition)));
        }
        tokio::select! {
            () = inner.drain.stopped() => return,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            _ = changes.changed() => {}
        }
    }
}

async fn hear(inner: Arc<Inner>, partition: u16) {
    let options = ConsumerOptions {
        sharing: Sharing::Exclusive,
        claim_after: inner.options.claim_after,
        deliveries_max: inner.options.deliveries_max,
        ..ConsumerOptions::default()
    };
    let stream = inner.options.keys.topics(u32::from(partition));
    let subscription = Subscription::new(GROUP, &inner.options.member_id).with(options);
    let mut consumer = inner.bus.subscribe(&stream, subscription);
    let acks = consumer.acks();
    loop {
        match consumer.next().await {
            Ok(Received::CatchUp(_)) => inner.wanted.look([partition]),
            Ok(Received::Batch(batch)) => {
                let mut handled = Vec::with_capacity(batch.len());
                for delivery in &batch {
                    if inner.heard(partition, delivery).await {
                        handled.push(delivery.receipt);
                    }
                }
                if let Err(error) = acks.ack(&handled).await {
                    tracing::debug!(%error, "nudges could not be acknowledged; they come again");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the stream of a partition cannot be read; its events are looked for");
                return;
            }
        }
    }
}

impl Inner {
    /// Whether the message is done with: a nudge is as soon as it is heard, a volatile event once it was handled.
    async fn heard(&self, partition: u16, delivery: &Delivery) -> bool {
        let row = match event::of_message(&delivery.message, self.options.shards) {
            Some(row) if row.pos == 0 => row,
            _ => {
                self.wanted.look([partition]);
                return true;
            }
        };
        if delivery.exhausted {
            tracing::warn!(event = %row.event.id, "a volatile event is given up");
            return true;
        }
        let handle = async {
            let matcher = self.matcher_now().await?;
            self.fire(&matcher, &row).await?;
            self.deliver(&row).await
        };
        match handle.await {
            Ok(()) => {
                let _ = self.volatile.send(Arc::new(row));
                true
            }
            Err(error) => {
                tracing::debug!(event = %row.event.id, %error, "a volatile event is handled again later");
                false
            }
        }
    }
}
