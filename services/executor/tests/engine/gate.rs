//! A journal that can be held, cut off, and told to refuse: the real one stands behind it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use base::{CheckpointId, ExecutionId, Tenant, Timestamp, WorkflowId};
use store::{
    Journal, OpenError, StoreError,
    journal::{
        CheckpointRow, Cursor, CutRow, Cuts, DeadLetter, Due, ExecutionFilter, ExecutionRow, Executions,
        Group, InboxRow, Item, Join, LetterState, Log, LogEntry, Mail, MemberId, Members, Membership,
        Outcome, Page, PayloadRow, Recorded, Result, Roster, ShardPos, Snapshot, Swept,
    },
};
use tokio::sync::watch;
use uuid::Uuid;

/// What happens to commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// They wait.
    Held,
    /// Nothing is written any more: as a process that was killed before its commit.
    Cut,
    /// They are written, and nobody hears of it: as a process that was killed right after its commit.
    Deaf,
}

type Refuse = Box<dyn Fn(&Item) -> bool + Send>;

pub(crate) struct Gate {
    inner: Arc<dyn Journal>,
    way: watch::Sender<Way>,
    refuse: Mutex<Option<Refuse>>,
    refuse_payloads_of: Mutex<Option<ExecutionId>>,
    /// So many writes of payloads find the store away.
    pub(crate) payloads_away: AtomicU32,
    /// Commits that have arrived.
    pub(crate) arrived: AtomicU32,
}

impl Gate {
    pub(crate) fn new(inner: Arc<dyn Journal>) -> Self {
        Self {
            inner,
            way: watch::channel(Way::Open).0,
            refuse: Mutex::default(),
            refuse_payloads_of: Mutex::default(),
            payloads_away: AtomicU32::new(0),
            arrived: AtomicU32::new(0),
        }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// The store refuses these items for good.
    pub(crate) fn refuse(&self, which: impl Fn(&Item) -> bool + Send + 'static) {
        *self.refuse.lock().unwrap() = Some(Box::new(which));
    }

    pub(crate) fn refuse_payloads_of(&self, id: ExecutionId) {
        *self.refuse_payloads_of.lock().unwrap() = Some(id);
    }

    fn refused(&self, item: &Item) -> bool {
        self.refuse.lock().unwrap().as_ref().is_some_and(|refuse| refuse(item))
    }
}

#[async_trait]
impl Log for Gate {
    async fn commit(&self, mut group: Group) -> Result<Vec<Outcome>> {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        let mut way = self.way.subscribe();
        let _ = way.wait_for(|way| *way != Way::Held).await;
        let now = *self.way.borrow();
        if now == Way::Cut {
            return std::future::pending().await;
        }
        let refused: Vec<bool> = group.items.iter().map(|item| self.refused(item)).collect();
        let mut keep = refused.iter().map(|r| !r);
        group.items.retain(|_| keep.next().unwrap());
        let written = if group.items.is_empty() { vec![] } else { self.inner.commit(group).await? };
        if now == Way::Deaf {
            return std::future::pending().await;
        }
        let mut written = written.into_iter();
        let outcome = |r| if r { Outcome::Failed("row too large".into()) } else { written.next().unwrap() };
        Ok(refused.into_iter().map(outcome).collect())
    }
    async fn put_payloads(&self, rows: Vec<PayloadRow>) -> Result<()> {
        let less = |n: u32| n.checked_sub(1);
        if self.payloads_away.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return Err(StoreError::Unavailable("restarting".into()));
        }
        let refused = *self.refuse_payloads_of.lock().unwrap();
        if rows.iter().any(|row| Some(row.execution_id) == refused) {
            return Err(StoreError::Refused("too large a value".into()));
        }
        self.inner.put_payloads(rows).await
    }
    async fn read_payload(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        hash: [u8; 32],
    ) -> Result<Option<PayloadRow>> {
        self.inner.read_payload(tenant, execution, hash).await
    }
    async fn read_recorded(&self, execution: ExecutionId) -> Result<Option<Recorded>> {
        self.inner.read_recorded(execution).await
    }
    async fn read_shard_log(&self, shard: u16, from_pos: i64, limit: u32) -> Result<Vec<LogEntry>> {
        self.inner.read_shard_log(shard, from_pos, limit).await
    }
    async fn last_pos(&self, shard: u16) -> Result<i64> {
        self.inner.last_pos(shard).await
    }
}

#[async_trait]
impl Executions for Gate {
    async fn get_execution(&self, tenant: &Tenant, id: ExecutionId) -> Result<Option<ExecutionRow>> {
        self.inner.get_execution(tenant, id).await
    }
    async fn find_execution(&self, id: ExecutionId) -> Result<Option<ExecutionRow>> {
        self.inner.find_execution(id).await
    }
    async fn list_executions(
        &self,
        filter: &ExecutionFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<ExecutionRow>> {
        self.inner.list_executions(filter, after, limit).await
    }
    async fn newest_of_workflow(
        &self,
        tenant: &Tenant,
        workflow: WorkflowId,
    ) -> Result<Option<ExecutionRow>> {
        self.inner.newest_of_workflow(tenant, workflow).await
    }
    async fn active_of_workflow(
        &self,
        tenant: &Tenant,
        workflow: WorkflowId,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>> {
        self.inner.active_of_workflow(tenant, workflow, limit).await
    }
    async fn hot_executions(
        &self,
        shard: u16,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<ExecutionId>> {
        self.inner.hot_executions(shard, after, limit).await
    }
    async fn due(&self, shards: &[u16], now: Timestamp, limit: u32) -> Result<Vec<Due>> {
        self.inner.due(shards, now, limit).await
    }
    async fn next_wake(&self, shards: &[u16]) -> Result<Option<Timestamp>> {
        self.inner.next_wake(shards).await
    }
    async fn count_active(&self, shards: &[u16]) -> Result<u64> {
        self.inner.count_active(shards).await
    }
    async fn count_stuck(&self, shard: u16) -> Result<Vec<(String, u64)>> {
        self.inner.count_stuck(shard).await
    }
    async fn read_snapshot(&self, execution: ExecutionId) -> Result<Option<Snapshot>> {
        self.inner.read_snapshot(execution).await
    }
    async fn list_checkpoints(&self, tenant: &Tenant, execution: ExecutionId) -> Result<Vec<CheckpointRow>> {
        self.inner.list_checkpoints(tenant, execution).await
    }
    async fn get_checkpoint(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        checkpoint: CheckpointId,
    ) -> Result<Option<CheckpointRow>> {
        self.inner.get_checkpoint(tenant, execution, checkpoint).await
    }
}

#[async_trait]
impl Members for Gate {
    async fn ensure_shards(&self, count: u16) -> std::result::Result<(), OpenError> {
        self.inner.ensure_shards(count).await
    }
    async fn join(&self, join: Join) -> Result<Membership> {
        self.inner.join(join).await
    }
    async fn renew(&self, by: &Membership, lease: std::time::Duration) -> Result<()> {
        self.inner.renew(by, lease).await
    }
    async fn roster(&self) -> Result<Roster> {
        self.inner.roster().await
    }
    async fn claim(&self, by: &Membership, shard: u16) -> Result<bool> {
        self.inner.claim(by, shard).await
    }
    async fn take_over(&self, by: &Membership, dead: &MemberId, limit: u16) -> Result<Vec<u16>> {
        self.inner.take_over(by, dead, limit).await
    }
    async fn hand_over(&self, by: &Membership, shard: u16, to: &MemberId) -> Result<bool> {
        self.inner.hand_over(by, shard, to).await
    }
    async fn leave(&self, by: &Membership) -> Result<()> {
        self.inner.leave(by).await
    }
}

#[async_trait]
impl Mail for Gate {
    async fn put_inbox(&self, row: InboxRow) -> Result<()> {
        self.inner.put_inbox(row).await
    }
    async fn read_inbox(&self, shards: &[u16], limit: u32) -> Result<Vec<InboxRow>> {
        self.inner.read_inbox(shards, limit).await
    }
    async fn put_published(&self, positions: &[ShardPos]) -> Result<()> {
        self.inner.put_published(positions).await
    }
    async fn read_published(&self, shards: &[u16]) -> Result<Vec<ShardPos>> {
        self.inner.read_published(shards).await
    }
    async fn put_positions(&self, consumer: &str, cluster: &str, positions: &[ShardPos]) -> Result<()> {
        self.inner.put_positions(consumer, cluster, positions).await
    }
    async fn read_positions(&self, consumer: &str, cluster: &str) -> Result<Vec<ShardPos>> {
        self.inner.read_positions(consumer, cluster).await
    }
    async fn put_dead_letter(&self, letter: DeadLetter) -> Result<()> {
        self.inner.put_dead_letter(letter).await
    }
    async fn list_dead_letters(
        &self,
        tenant: &Tenant,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>> {
        self.inner.list_dead_letters(tenant, after, limit).await
    }
    async fn get_dead_letter(&self, tenant: &Tenant, id: Uuid) -> Result<Option<DeadLetter>> {
        self.inner.get_dead_letter(tenant, id).await
    }
    async fn mark_dead_letter(&self, tenant: &Tenant, id: Uuid, state: LetterState) -> Result<bool> {
        self.inner.mark_dead_letter(tenant, id, state).await
    }
    async fn delete_dead_letter(&self, tenant: &Tenant, id: Uuid) -> Result<bool> {
        self.inner.delete_dead_letter(tenant, id).await
    }
}

#[async_trait]
impl Cuts for Gate {
    async fn read_cuts(&self, shard: u16, after: Option<Uuid>, limit: u32) -> Result<Vec<CutRow>> {
        self.inner.read_cuts(shard, after, limit).await
    }
    async fn delete_cuts(&self, calls: &[(u16, Uuid)]) -> Result<()> {
        self.inner.delete_cuts(calls).await
    }
}

#[async_trait]
impl Journal for Gate {
    fn backend(&self) -> &'static str {
        self.inner.backend()
    }
    fn tables(&self) -> store::Tables {
        self.inner.tables()
    }
    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }
    async fn sweep(&self, ended_before: Timestamp, limit: u32) -> Result<Swept> {
        self.inner.sweep(ended_before, limit).await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}
