//! The executor's journal: what it promises, whichever database is behind it.
//!
//! [`Journal`] is six small traits in one object. Writes of executions go through [`Log::commit`] and nothing else.
//! Reads see every commit that was answered before they began.

pub(crate) mod columns;
pub mod group;
pub(crate) mod list;
pub mod rows;

use std::time::Duration;

use async_trait::async_trait;
use base::{CheckpointId, ExecutionId, Tenant, Timestamp, WorkflowId};
use uuid::Uuid;

pub use group::*;
pub use rows::*;

use crate::{
    error::{OpenError, StoreError},
    tables::Tables,
};

/// Result of a journal call.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Largest page of every paged read.
pub const PAGE_MAX: u32 = 1000;

/// Body bytes after which a page of a shard's log ends.
pub(crate) const PAGE_BYTES: usize = 8 << 20;

/// How long a dead member that owns nothing is remembered: one day, in microseconds.
pub(crate) const MEMBER_KEPT_US: i64 = 24 * 3600 * 1_000_000;

/// The event log and large payloads.
#[async_trait]
pub trait Log: Send + Sync {
    /// Writes every item of `group` in one durable transaction, or none when this member is fenced off. The outcome of
    /// each item stands at its index: an item that lost a unique race is `Rejected`, the others commit; a group that
    /// the database refuses for another reason is written item by item and only the guilty ones are `Failed`.
    ///
    /// Waits as long as the database is away (an unknown outcome is found out, never guessed), so a caller bounds
    /// what it lets wait. Dropping the future does not stop the commit.
    ///
    /// # Errors
    /// `Fenced`, `TwoOwners`, `Fatal`: end the process. `Unavailable`: the journal was closed; whether the group was
    /// written is not known when the database was away at that moment.
    async fn commit(&self, group: Group) -> Result<Vec<Outcome>>;

    /// Writes large payloads; a row that exists is left alone. To be awaited before an event that refers to them joins
    /// a group.
    async fn put_payloads(&self, rows: Vec<PayloadRow>) -> Result<()>;
    /// One payload.
    async fn read_payload(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        hash: [u8; 32],
    ) -> Result<Option<PayloadRow>>;

    /// All that is kept of an execution of any tenant, in as few trips as the database allows. What is committed
    /// meanwhile may be in the log already and not in the row. History is bounded when written, so this is not paged.
    async fn read_recorded(&self, execution: ExecutionId) -> Result<Option<Recorded>>;
    /// Rows of a shard from `from_pos` on, in order: at most `limit`, and the body bytes stop at about 8 MiB.
    async fn read_shard_log(&self, shard: u16, from_pos: i64, limit: u32) -> Result<Vec<LogEntry>>;
    /// The last position ever given out in a shard, 0 before the first. Retention does not lower it.
    async fn last_pos(&self, shard: u16) -> Result<i64>;
}
/// The rows of executions.
#[async_trait]
pub trait Executions: Send + Sync {
    /// One execution of a tenant.
    async fn get_execution(&self, tenant: &Tenant, id: ExecutionId) -> Result<Option<ExecutionRow>>;
    /// One execution of any tenant: for owners that recover it, never for callers.
    async fn find_execution(&self, id: ExecutionId) -> Result<Option<ExecutionRow>>;
    /// A page of executions, newest first. `limit` is cut to [`PAGE_MAX`]. Rows that come or change while a caller
    /// turns the pages never make it see one twice.
    async fn list_executions(
        &self,
        filter: &ExecutionFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<ExecutionRow>>;
    /// The execution of a workflow that started last.
    async fn newest_of_workflow(&self, tenant: &Tenant, workflow: WorkflowId)
    -> Result<Option<ExecutionRow>>;
    /// Executions of a workflow that have not ended, newest first, at most `limit`.
    async fn active_of_workflow(
        &self,
        tenant: &Tenant,
        workflow: WorkflowId,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>>;
    /// Executions of a shard to recover: neither ended nor parked, by id, after `after`, at most `limit`.
    async fn hot_executions(
        &self,
        shard: u16,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<ExecutionId>>;
    /// Parked executions of these shards whose timer has passed at `now`, the earliest first, at most `limit`.
    async fn due(&self, shards: &[u16], now: Timestamp, limit: u32) -> Result<Vec<Due>>;
    /// Earliest timer of the parked executions of these shards, passed or not.
    async fn next_wake(&self, shards: &[u16]) -> Result<Option<Timestamp>>;
    /// How many executions of these shards have not ended.
    async fn count_active(&self, shards: &[u16]) -> Result<u64>;
    /// Executions of the shard in which nothing goes on, counted by reason.
    async fn count_stuck(&self, shard: u16) -> Result<Vec<(String, u64)>>;
    /// The stored snapshot of an execution.
    async fn read_snapshot(&self, execution: ExecutionId) -> Result<Option<Snapshot>>;
    /// Checkpoints of an execution, oldest first.
    async fn list_checkpoints(&self, tenant: &Tenant, execution: ExecutionId) -> Result<Vec<CheckpointRow>>;
    /// One checkpoint.
    async fn get_checkpoint(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        checkpoint: CheckpointId,
    ) -> Result<Option<CheckpointRow>>;
}

/// Members, shards and leases.
#[async_trait]
pub trait Members: Send + Sync {
    /// Creates the shards the first time; the number is fixed from then on.
    ///
    /// # Errors
    /// `ShardCount` when the database has another number.
    async fn ensure_shards(&self, count: u16) -> std::result::Result<(), OpenError>;
    /// Begins a new incarnation. What an earlier incarnation of the same member owned now belongs to this one, and
    /// the earlier one can no longer write.
    async fn join(&self, join: Join) -> Result<Membership>;
    /// Extends the lease by `lease` from now on the database's clock, in one statement.
    ///
    /// # Errors
    /// `Fenced` when the incarnation is over; `Unavailable` when nobody knows.
    async fn renew(&self, by: &Membership, lease: Duration) -> Result<()>;
    /// All members and the owner of every shard.
    async fn roster(&self) -> Result<Roster>;
    /// Takes a shard that nobody owns. `true` when the shard is now the caller's, `false` when it is somebody else's.
    ///
    /// # Errors
    /// `Fenced`.
    async fn claim(&self, by: &Membership, shard: u16) -> Result<bool>;
    /// Takes at most `limit` shards of a member whose lease has run out on the database's clock. First ends its
    /// incarnation, which waits out a commit in flight, then moves the shards. Empty when the member is alive.
    ///
    /// # Errors
    /// `Fenced`: the caller itself.
    async fn take_over(&self, by: &Membership, dead: &MemberId, limit: u16) -> Result<Vec<u16>>;
    /// Gives an own shard to a living member. The caller has no group of that shard in flight. `false` when the shard
    /// is not the caller's or the other member is not alive.
    ///
    /// # Errors
    /// `Fenced`.
    async fn hand_over(&self, by: &Membership, shard: u16, to: &MemberId) -> Result<bool>;
    /// Ends the own incarnation in an orderly way: its shards belong to nobody.
    async fn leave(&self, by: &Membership) -> Result<()>;
}

/// What goes to and comes from the bus, as rows.
#[async_trait]
pub trait Mail: Send + Sync {
    /// Leaves a command for the owner of a shard. Safe to repeat.
    async fn put_inbox(&self, row: InboxRow) -> Result<()>;
    /// Commands for these shards, oldest first, at most `limit`.
    async fn read_inbox(&self, shards: &[u16], limit: u32) -> Result<Vec<InboxRow>>;
    /// Records how far shards have been published. A position never falls.
    async fn put_published(&self, positions: &[ShardPos]) -> Result<()>;
    /// How far these shards have been published; a shard without a row was not yet.
    async fn read_published(&self, shards: &[u16]) -> Result<Vec<ShardPos>>;
    /// Records how far a consumer has read the shards of a cluster.
    async fn put_positions(&self, consumer: &str, cluster: &str, positions: &[ShardPos]) -> Result<()>;
    /// How far a consumer has read.
    async fn read_positions(&self, consumer: &str, cluster: &str) -> Result<Vec<ShardPos>>;
    /// Keeps a message that a consumer gave up on. Safe to repeat.
    async fn put_dead_letter(&self, letter: DeadLetter) -> Result<()>;
    /// Dead letters of a tenant by id, after `after`, at most `limit`.
    async fn list_dead_letters(
        &self,
        tenant: &Tenant,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>>;
    /// One dead letter.
    async fn get_dead_letter(&self, tenant: &Tenant, id: Uuid) -> Result<Option<DeadLetter>>;
    /// Marks a dead letter. `false` when there is none.
    async fn mark_dead_letter(&self, tenant: &Tenant, id: Uuid, state: LetterState) -> Result<bool>;
    /// Deletes a dead letter. `false` when there is none.
    async fn delete_dead_letter(&self, tenant: &Tenant, id: Uuid) -> Result<bool>;
}

/// Calls that were cut and whose agents are to be told. They are written with the events that cut them.
#[async_trait]
pub trait Cuts: Send + Sync {
    /// Cut calls of a shard by id, after `after`, at most `limit`.
    async fn read_cuts(&self, shard: u16, after: Option<Uuid>, limit: u32) -> Result<Vec<CutRow>>;
    /// Forgets calls whose agents were told or given up, by shard and id. Safe to repeat.
    async fn delete_cuts(&self, calls: &[(u16, Uuid)]) -> Result<()>;
}

/// The executor's store.
#[async_trait]
pub trait Journal: Log + Executions + Members + Mail + Cuts {
    /// `sqlite` or `postgres`.
    fn backend(&self) -> &'static str;
    /// The tables beside the journal: events, triggers, waits, schedules. Usable until the journal is closed.
    fn tables(&self) -> Tables;
    /// Whether the database answers.
    async fn ping(&self) -> Result<()>;
    /// Deletes executions that ended before `ended_before`, with log, payloads and checkpoints: at most `limit`, never
    /// one whose events have not all been published. Forgets members that own nothing and have been dead for a day.
    /// On SQLite commits wait meanwhile, about 0.1 ms per execution: take small batches.
    async fn sweep(&self, ended_before: Timestamp, limit: u32) -> Result<Swept>;
    /// Writes what was accepted, then closes. Later commits are `Unavailable`. A database that is away is waited for as
    /// long as one commit may take.
    async fn close(&self);
}
