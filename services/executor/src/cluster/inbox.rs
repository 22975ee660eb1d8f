//! Commands for shards without an owner: rows, and wake-ups on the bus.
//!
//! A replica that cannot reach an owner writes the command down and wakes the shard's stream. The owner reads the
//! inbox on a wake-up, when it takes the shard and every few seconds; the commit that answers a command deletes its
//! row, so it takes effect once.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use api::Fault;
use base::{ErrorCode, ExecutionId, Tenant};
use bus::{ConsumerOptions, DeadLetter, Message, Received, Sharing, Subscription, header};
use bytes::Bytes;
use store::journal::{DeadLetter as Letter, Group, InboxRow, Item, LetterState};
use tokio::{sync::Notify, task::JoinSet};
use uuid::Uuid;

use super::{
    Cluster, Inner,
    orders::{Order, decode, encode},
};
use crate::engine::{CHILD, Command, away};

/// Rows that are read at once.
const ROWS: u32 = 500;
/// How often it is looked whether a command was taken.
const TAKEN_POLL: std::time::Duration = std::time::Duration::from_millis(50);
/// The consumer group of owners.
const GROUP: &str = "executor";
/// Shards whose wake-ups are listened to, each with a consumer of its own; the rows of others are found by looking.
const LISTENED_MAX: usize = 256;

/// Shards whose inbox is to be read.
#[derive(Default)]
pub(crate) struct Wanted {
    shards: Mutex<BTreeSet<u16>>,
    notify: Notify,
    /// Commands that are under way in the engine.
    open: Mutex<HashSet<Uuid>>,
}

impl Wanted {
    pub(crate) fn look(&self, shard: u16) {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).insert(shard);
        self.notify.notify_one();
    }

    fn take(&self) -> Vec<u16> {
        std::mem::take(&mut *self.shards.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }

    fn begin(&self, id: Uuid) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
    }

    fn end(&self, id: Uuid) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

impl Cluster {
    /// Leaves a command for whoever will own the execution. It is on disk when this returns, and takes effect once,
    /// however often the same `command_id` is left.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn leave_command(
        &self,
        tenant: &Tenant,
        id: ExecutionId,
        command: &Command,
        by: &str,
        command_id: Uuid,
    ) -> Result<(), Fault> {
        let inner = &self.inner;
        let shard = id.shard(u32::from(inner.options.shards)) as u16;
        let (kind, body) = encode(command, by);
        let row = InboxRow {
            shard,
            command_id,
            tenant: tenant.clone(),
            execution_id: id,
            kind: kind.into(),
            body,
            created_at: inner.clock.now(),
        };
        inner.journal.put_inbox(row).await.map_err(away)?;
        let wake = Message::new(command_id.to_string().into_bytes())
            .with_header(header::TENANT, tenant.to_string().into_bytes())
            .with_header(header::KIND, Bytes::from_static(b"wake"));
        // Only a wake-up: the owner finds the row without it, a little later.
        if let Err(error) = inner.bus.publish(&inner.options.keys.commands(u32::from(shard)), &[wake]).await {
            tracing::debug!(%error, "a shard's owner could not be woken");
        }
        Ok(())
    }
}

impl Cluster {
    /// Leaves a command and waits at most `wait` for an owner to take it: `true` when one did, with or without an
    /// effect; `false`: it waits on disk.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn leave_and_wait(
        &self,
        tenant: &Tenant,
        id: ExecutionId,
        command: &Command,
        by: &str,
        wait: std::time::Duration,
    ) -> Result<bool, Fault> {
        let command_id = Uuid::now_v7();
        self.leave_command(tenant, id, command, by, command_id).await?;
        let shard = id.shard(u32::from(self.inner.options.shards)) as u16;
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let rows = self.inner.journal.read_inbox(&[shard], ROWS).await.map_err(away)?;
            if rows.iter().all(|row| row.command_id != command_id) {
                return Ok(true);
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(TAKEN_POLL).await;
        }
    }
}

/// Reads inboxes until the cluster stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut all = tokio::time::interval(inner.options.inbox_every);
    all.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut open = JoinSet::new();
    loop {
        let shards = tokio::select! {
            () = inner.stopped() => return,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            () = inner.inbox.notify.notified() => inner.inbox.take(),
            _ = all.tick() => inner.map.load().here().iter().copied().collect(),
        };
        let map = inner.map.load_full();
        let shards: Vec<u16> = shards.into_iter().filter(|s| map.here().contains(s)).collect();
        if shards.is_empty() {
            continue;
        }
        match inner.journal.read_inbox(&shards, ROWS).await {
            Ok(rows) => {
                // Commands on one execution take effect in the order in which they were left.
                let mut by_execution: BTreeMap<ExecutionId, Vec<InboxRow>> = BTreeMap::new();
                for row in rows.into_iter().filter(|row| inner.inbox.begin(row.command_id)) {
                    by_execution.entry(row.execution_id).or_default().push(row);
                }
                for rows in by_execution.into_values() {
                    let inner = inner.clone();
                    open.spawn(async move {
                        let mut waits = false;
                        for row in rows {
                            let id = row.command_id;
                            // What comes after one that waits does too.
                            waits = waits || !inner.obey(row).await;
                            inner.inbox.end(id);
                        }
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "the inbox could not be read"),
        }
    }
}

impl Inner {
    /// `false`: it waits, and is found again by the next owner or the next look.
    async fn obey(&self, row: InboxRow) -> bool {
        let order = match decode(&row, self.options.shards) {
            Ok(order) => order,
            Err(why) => {
                self.give_up(row, &why).await;
                return true;
            }
        };
        let id = row.command_id;
        let done = match order {
            Order::Command(command, by) => {
                let done =
                    self.engine.command_of_inbox(&row.tenant, row.execution_id, *command, &by, id).await;
                done.map(|done| tracing::debug!(execution = %row.execution_id, status = done.status.as_str(), "a command took effect"))
            }
            Order::Start(order) => {
                let (parent, id) = (order.parent.clone(), order.id);
                match self.engine.start_child(*order).await {
                    Err(fault) if !waits(&fault) => {
                        self.strike(&row, vec![self.refusal(&row, &parent, id, &fault)]).await;
                        return true;
                    }
                    Ok(_) => {
                        self.strike(&row, Vec::new()).await;
                        return true;
                    }
                    Err(fault) => Err(fault),
                }
            }
            Order::Usage => match self.engine.count_usage(&row.tenant, row.execution_id).await {
                Err(fault) if waits(&fault) => Err(fault),
                counted => {
                    if let Err(fault) = counted {
                        tracing::warn!(execution = %row.execution_id, %fault, "what it spent cannot be counted");
                    }
                    self.strike(&row, Vec::new()).await;
                    return true;
                }
            },
            Order::Letter(reason) => {
                self.give_up(row, &reason).await;
                return true;
            }
        };
        match done {
            Ok(()) => true,
            Err(error) if error.code.is_retryable() || waits(&error) => {
                tracing::debug!(%error, "a command waits");
                false
            }
            Err(error) => {
                tracing::info!(execution = %row.execution_id, %error, "a command that waited is refused");
                self.strike(&row, Vec::new()).await;
                true
            }
        }
    }

    /// Tells a parent that its sub-workflow cannot start.
    fn refusal(
        &self,
        row: &InboxRow,
        parent: &workflow::Parent,
        child: ExecutionId,
        fault: &Fault,
    ) -> InboxRow {
        InboxRow {
            shard: parent.execution.shard(u32::from(self.options.shards)) as u16,
            command_id: Uuid::new_v5(&parent.execution.uuid(), format!("{child}/refused").as_bytes()),
            tenant: row.tenant.clone(),
            execution_id: parent.execution,
            kind: CHILD.into(),
            body: super::orders::refused(parent, child, fault),
            created_at: self.clock.now(),
        }
    }

    /// A row that no build of ours can read does not block the inbox: it becomes a dead letter.
    async fn give_up(&self, row: InboxRow, why: &str) {
        let stream = self.options.keys.commands(u32::from(row.shard));
        let letter = Letter {
            id: row.command_id,
            tenant: row.tenant.clone(),
            stream: stream.key().to_owned(),
            consumer: GROUP.into(),
            reason: why.to_owned(),
            body: row.body.clone(),
            deliveries: 1,
            created_at: self.clock.now(),
            state: LetterState::Waiting,
        };
        if self.bury(letter, None).await {
            self.strike(&row, Vec::new()).await;
        }
    }

    /// Writes a dead letter and announces it. `false`: it could not be written.
    async fn bury(&self, letter: Letter, place: Option<bus::EntryId>) -> bool {
        let announcement = DeadLetter {
            tenant: letter.tenant.to_string(),
            stream: letter.stream.clone(),
            group: letter.consumer.clone(),
            id: place.unwrap_or_default(),
            deliveries: letter.deliveries,
            reason: letter.reason.clone(),
        };
        if let Err(error) = self.journal.put_dead_letter(letter).await {
            tracing::warn!(%error, "a dead letter could not be written");
            return false;
        }
        if let Err(error) =
            self.bus.publish(&self.options.keys.dead_letters(), &[announcement.to_message()]).await
        {
            tracing::debug!(%error, "a dead letter could not be announced");
        }
        true
    }

    /// Deletes a row without an event, and leaves what follows from it for others with the same commit.
    async fn strike(&self, row: &InboxRow, mail: Vec<InboxRow>) {
        let mut item = Item::new(row.execution_id, row.tenant.clone());
        item.inbox_done.push(row.command_id);
        let shards: Vec<u16> = mail.iter().map(|row| row.shard).collect();
        item.mail = mail;
        let group = Group { by: self.me.clone(), shard: row.shard, items: vec![item] };
        match self.journal.commit(group).await {
            Ok(_) => self.look_into(&shards).await,
            Err(e) if e.ends_the_process() => (self.fatal)(&e.to_string()),
            Err(error) => tracing::warn!(%error, "a refused command stays in the inbox"),
        }
    }

    /// The owners of these shards look into their inboxes at once.
    pub(super) async fn look_into(&self, shards: &[u16]) {
        let map = self.map.load_full();
        let shards: BTreeSet<u16> = shards.iter().copied().collect();
        for shard in shards {
            if map.here().contains(&shard) {
                self.inbox.look(shard);
                continue;
            }
            let wake = Message::new(Bytes::from_static(b"mail"))
                .with_header(header::KIND, Bytes::from_static(b"wake"));
            // Only a wake-up: the owner finds the rows without it, a little later.
            if let Err(error) = self.bus.publish(&self.options.keys.commands(u32::from(shard)), &[wake]).await
            {
                tracing::debug!(%error, "a shard's owner could not be woken");
            }
        }
    }
}

/// Whether the same may go well later without anybody changing it. A workflow that runs alone is waited for.
fn waits(fault: &Fault) -> bool {
    matches!(fault.code, ErrorCode::NotOwner | ErrorCode::AlreadyExecuting) || fault.code.is_retryable()
}

/// Listens to the wake-ups of the shards that are here until the cluster stops.
pub(crate) async fn listen(inner: Arc<Inner>) {
    let mut changes = inner.map_changed.subscribe();
    let mut listeners: BTreeMap<u16, tokio::task::AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let map = inner.map.load_full();
        listeners.retain(|shard, task| {
            let stays = map.here().contains(shard);
            if !stays {
                task.abort();
            }
            stays
        });
        for shard in map.here().iter().take(LISTENED_MAX) {
            listeners.entry(*shard).or_insert_with(|| tasks.spawn(wake(inner.clone(), *shard)));
        }
        tokio::select! {
            () = inner.stopped() => return,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            _ = changes.changed() => {}
        }
    }
}

async fn wake(inner: Arc<Inner>, shard: u16) {
    let options = ConsumerOptions {
        sharing: Sharing::Exclusive,
        claim_after: inner.options.claim_after,
        deliveries_max: inner.options.deliveries_max,
        ..ConsumerOptions::default()
    };
    let stream = inner.options.keys.commands(u32::from(shard));
    let subscription = Subscription::new(GROUP, inner.me.id.as_str()).with(options);
    let mut consumer = inner.bus.subscribe(&stream, subscription);
    let acks = consumer.acks();
    loop {
        match consumer.next().await {
            Ok(Received::CatchUp(_)) => inner.inbox.look(shard),
            Ok(Received::Batch(batch)) => {
                // The rows hold the commands: a wake-up is done as soon as it is heard.
                inner.inbox.look(shard);
                let receipts: Vec<_> = batch.iter().map(|d| d.receipt).collect();
                if let Err(error) = acks.ack(&receipts).await {
                    tracing::debug!(%error, "wake-ups could not be acknowledged; they come again");
                }
            }
            Err(error) => {
                tracing::error!(%error, "wake-ups cannot be read; the inbox is still looked at every few seconds");
                return;
            }
        }
    }
}
