//! Runs what was written down. The rows are the queue; the stream carries wake-ups, so that a lost one costs seconds.
//!
//! A partition is looked after by the replica that has the shard of its number. Requests of one execution run one after
//! the other, those of others beside them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use base::Tenant;
use bus::{ConsumerOptions, Message, Received, Sharing, Subscription, header};
use bytes::Bytes;
use hooks::Verdict;
use store::{
    StoreError,
    hooks::{Claim, RequestRow},
};
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
};
use uuid::Uuid;

use super::{Inner, runner::FIRST_CLAIM};

/// The consumer group of wake-ups.
const GROUP: &str = "hooks";
/// Requests that are looked for at once.
const ROWS: u32 = 256;
/// Rows that one sweep deletes at most.
const FORGET_ROWS: u32 = 1000;

/// Partitions that are to be looked at.
#[derive(Default)]
pub(crate) struct Wanted {
    partitions: Mutex<BTreeSet<u32>>,
    notify: Notify,
}

impl Wanted {
    pub(crate) fn look(&self, partition: u32) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).insert(partition);
        self.notify.notify_one();
    }
    fn take(&self) -> BTreeSet<u32> {
        std::mem::take(&mut *self.partitions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    /// The partition of a shard's requests.
    pub(crate) fn partition_of(&self, shard: u16) -> u32 {
        u32::from(shard) % self.partitions()
    }

    fn partitions(&self) -> u32 {
        self.options.partitions.clamp(1, u32::from(self.owner.shard_count()).max(1))
    }

    fn own_partitions(&self) -> BTreeSet<u32> {
        let partitions = self.partitions();
        self.owner.shards().into_iter().map(u32::from).filter(|shard| *shard < partitions).collect()
    }

    /// Wakes whoever looks after these requests. The rows are on disk.
    pub(crate) async fn announce(&self, requests: &[RequestRow]) {
        let mut by_partition: BTreeMap<u32, Vec<Message>> = BTreeMap::new();
        for request in requests {
            let message = Message::new(request.request_id.to_string().into_bytes())
                .with_header(header::TENANT, request.tenant.to_string().into_bytes())
                .with_header(header::KIND, Bytes::from_static(b"hook"));
            by_partition.entry(request.partition).or_default().push(message);
        }
        for (partition, messages) in by_partition {
            if let Err(error) = self.bus.publish(&self.options.keys.hooks(partition), &messages).await {
                tracing::debug!(%error, "hooks are found without a wake-up");
            }
        }
    }

    /// Does what the verdict of a request says, and closes it.
    pub(crate) async fn settle(&self, request: &RequestRow, verdict: &Verdict) -> Result<(), StoreError> {
        let variables = verdict.set.variables.clone();
        if let (Some(memory), Some(execution), false) =
            (&self.memory, request.execution_id, variables.is_empty())
            && let Err(fault) = memory.write(&request.tenant, execution, variables).await
        {
            if fault.code.is_retryable() {
                return Err(StoreError::Unavailable(fault.to_string()));
            }
            tracing::warn!(%fault, execution = %execution, "variables that a hook set are not kept");
        }
        let text = serde_json::to_string(verdict).unwrap_or_else(|_| "{}".into());
        self.store.finish(&request.tenant, request.request_id, &self.me, &text, self.clock.now()).await?;
        Ok(())
    }

    /// Runs one request, unless somebody else does. A critical failure cancels the execution.
    async fn work(&self, tenant: &Tenant, id: Uuid) -> Result<(), StoreError> {
        let Claim::Yours(request, ended) = self.store.claim(tenant, id, &self.me, FIRST_CLAIM).await? else {
            return Ok(());
        };
        let Some(verdict) = self.run_request(&request, &ended).await? else { return Ok(()) };
        if let (Some((hook, why)), Some(execution)) = (&verdict.abort, request.execution_id) {
            let reason = format!("hook {hook} ({}): {why}", request.trigger);
            let by = format!("hook:{hook}");
            let asked = self.owner.cancel(tenant, execution, &reason, &by, request.request_id).await;
            if let Err(fault) = asked {
                return Err(StoreError::Unavailable(fault.to_string()));
            }
        }
        self.settle(&request, &verdict).await
    }
}

impl Inner {
    /// Runs requests of one execution, in their order.
    async fn work_off(&self, requests: Vec<(Tenant, Uuid)>) -> Result<(), StoreError> {
        for (tenant, id) in requests {
            self.work(&tenant, id).await?;
        }
        Ok(())
    }
}

/// Runs requests until hooks stop.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut all = tokio::time::interval(inner.options.sweep_every);
    all.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut open = JoinSet::new();
    // Executions with hooks under way: what comes next waits, so that order holds.
    let busy: Arc<Mutex<BTreeSet<Uuid>>> = Arc::default();
    loop {
        let partitions = tokio::select! {
            () = inner.stopped() => return,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            () = inner.queue.notify.notified() => inner.queue.take(),
            _ = all.tick() => inner.own_partitions(),
        };
        let own = inner.own_partitions();
        for partition in partitions.into_iter().filter(|p| own.contains(p)) {
            let due = inner.store.due_requests(partition, &inner.me, inner.clock.now(), ROWS).await;
            let due = due.unwrap_or_else(|error| {
                tracing::warn!(%error, "hooks that are to run cannot be read; they are looked for again");
                Vec::new()
            });
            let mut lines: HashMap<Uuid, Vec<(Tenant, Uuid)>> = HashMap::new();
            {
                let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
                for (tenant, id, execution) in due {
                    let line = execution.map_or(id, base::ExecutionId::uuid);
                    if !busy.contains(&line) {
                        lines.entry(line).or_default().push((tenant, id));
                    }
                }
                busy.extend(lines.keys());
            }
            for (line, requests) in lines {
                let (inner, busy) = (inner.clone(), busy.clone());
                open.spawn(async move {
                    let done = inner.work_off(requests).await;
                    busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&line);
                    match done {
                        Ok(()) => inner.queue.look(partition),
                        Err(error) => tracing::warn!(%error, "hooks could not be run; they are tried again"),
                    }
                });
            }
        }
    }
}

/// Listens to the wake-ups of own partitions until hooks stop.
pub(crate) async fn listen(inner: Arc<Inner>) {
    let mut changes = inner.owner.changes();
    let mut listeners: BTreeMap<u32, AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let own = inner.own_partitions();
        listeners.retain(|partition, task| {
            let stays = own.contains(partition);
            if !stays {
                task.abort();
            }
            stays
        });
        for partition in own {
            listeners.entry(partition).or_insert_with(|| tasks.spawn(wake(inner.clone(), partition)));
        }
        tokio::select! {
            () = inner.stopped() => return,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

async fn wake(inner: Arc<Inner>, partition: u32) {
    let options = ConsumerOptions {
        sharing: Sharing::Exclusive,
        claim_after: inner.options.claim_after,
        deliveries_max: inner.options.deliveries_max,
        ..ConsumerOptions::default()
    };
    let subscription = Subscription::new(GROUP, inner.me.member.as_str()).with(options);
    let mut consumer = inner.bus.subscribe(&inner.options.keys.hooks(partition), subscription);
    let acks = consumer.acks();
    loop {
        match consumer.next().await {
            Ok(Received::CatchUp(_)) => inner.queue.look(partition),
            Ok(Received::Batch(batch)) => {
                // The rows are the queue: a wake-up is done as soon as it is heard.
                inner.queue.look(partition);
                let receipts: Vec<_> = batch.iter().map(|d| d.receipt).collect();
                if let Err(error) = acks.ack(&receipts).await {
                    tracing::debug!(%error, "wake-ups of hooks could not be acknowledged; they come again");
                }
            }
            Err(error) => {
                tracing::error!(%error, "wake-ups of hooks cannot be read; they are found every few seconds");
                return;
            }
        }
    }
}

/// Deletes old runs until hooks stop.
pub(crate) async fn forget(inner: Arc<Inner>) {
    let mut every = tokio::time::interval(inner.options.forget_every);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = inner.stopped() => return,
            _ = every.tick() => {}
        }
        // One replica is enough.
        if inner.owner.shards().first() == Some(&0) {
            inner.forget_old().await;
        }
    }
}

impl Inner {
    /// Deletes runs and requests that ended before the retention began.
    pub(crate) async fn forget_old(&self) {
        let retention = i64::try_from(self.options.retention.as_micros()).unwrap_or(i64::MAX);
        let before = base::Timestamp::from_micros(self.clock.now().micros().saturating_sub(retention));
        loop {
            match self.store.sweep_hooks(before, FORGET_ROWS).await {
                Ok(gone) if gone >= u64::from(FORGET_ROWS) => tokio::task::yield_now().await,
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(%error, "old runs of hooks could not be deleted; it is tried again");
                    return;
                }
            }
        }
    }
}
