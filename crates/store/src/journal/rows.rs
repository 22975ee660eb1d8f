//! What is read back.

use base::{CheckpointId, ExecutionId, Tenant, Timestamp, WorkflowId};
use bytes::Bytes;
use uuid::Uuid;

use super::group::{CutWrite, LogRow, MemberId, Stuck, Wake};

/// A row of the log with its place.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its tenant.
    pub tenant: Tenant,
    /// The shard.
    pub shard: u16,
    /// The events.
    pub row: LogRow,
}

/// All that is kept of one execution.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its row.
    pub row: ExecutionRow,
    /// Its log, in order.
    pub log: Vec<LogEntry>,
    /// Its large payloads, in no order.
    pub payloads: Vec<super::PayloadRow>,
}

/// A row of `executions` without its snapshot.
#[derive(Clone, Debug)]
pub struct ExecutionRow {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its tenant.
    pub tenant: Tenant,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// Its name at the start.
    pub workflow_name: String,
    /// Its version.
    pub workflow_version: String,
    /// The shard.
    pub shard: u16,
    /// Status text.
    pub status: String,
    /// What it was doing when the row was written.
    pub current_phase: String,
    /// Higher runs first.
    pub priority: i32,
    /// Hash of the request that started it under a caller's key.
    pub request_hash: Option<[u8; 32]>,
    /// What ties it to other work of the caller.
    pub correlation_id: Option<String>,
    /// When it was created.
    pub started_at: Timestamp,
    /// Hot or parked.
    pub wake: Wake,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// JSON array of agent ids.
    pub allocated_agents: String,
    /// JSON object.
    pub task_states: String,
    /// JSON object.
    pub performance_metrics: String,
    /// Why nothing goes on, when nothing does.
    pub stuck: Option<Stuck>,
}

/// An execution whose timer has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its shard.
    pub shard: u16,
    /// When it was due.
    pub wake_at: Timestamp,
}

/// Which executions to list. Fields combine with AND.
#[derive(Clone, Debug, Default)]
pub struct ExecutionFilter {
    /// Only of this tenant.
    pub tenant: Tenant,
    /// Only of this workflow.
    pub workflow_id: Option<WorkflowId>,
    /// Only in one of these statuses; empty = any. At most 16.
    pub statuses: Vec<String>,
    /// Only started at or after.
    pub started_from: Option<Timestamp>,
    /// Only started before.
    pub started_before: Option<Timestamp>,
    /// Only those whose `allocated_agents` hold this agent.
    pub agent: Option<String>,
    /// Only those that were started with this correlation id.
    pub correlation_id: Option<String>,
    /// Only those in which nothing goes on for one of these reasons; empty = whether something goes on or not. At most
    /// 32.
    pub stuck: Vec<String>,
}

/// The place after which a page begins: the last row of the page before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Its start.
    pub started_at: Timestamp,
    /// Its id.
    pub execution_id: ExecutionId,
}

/// One page, newest first (by start, then by id, both falling).
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// A stored checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its id.
    pub checkpoint_id: CheckpointId,
    /// The last event it covers.
    pub seq: i64,
    /// When it was taken.
    pub created_at: Timestamp,
    /// JSON text.
    pub state_snapshot: String,
    /// JSON text.
    pub recovery_instructions: String,
}

/// What a replica says about itself when it joins.
#[derive(Clone, Debug)]
pub struct Join {
    /// Its name.
    pub id: MemberId,
    /// Where other replicas reach it.
    pub address: String,
    /// How long a renewal holds. The database's clock counts it.
    pub lease: std::time::Duration,
    /// Newest log schema it can read.
    pub reads_up_to: u16,
    /// Region.
    pub region: String,
    /// Cluster.
    pub cluster: String,
}

/// A member as the others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// Its name.
    pub id: MemberId,
    /// Its present incarnation.
    pub incarnation: u64,
    /// Where it is reached.
    pub address: String,
    /// End of its lease on the database's clock.
    pub expires_at: Timestamp,
    /// Whether the lease still held on the database's clock when the row was read.
    pub alive: bool,
    /// Newest log schema it can read.
    pub reads_up_to: u16,
    /// Region.
    pub region: String,
    /// Cluster.
    pub cluster: String,
}

/// The members and who owns what, read at one moment.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// All members, dead ones included, by name.
    pub members: Vec<MemberRow>,
    /// Owner of every shard, by shard; `None` = nobody.
    pub shards: Vec<Option<MemberId>>,
}

/// A command that waits for a shard's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRow {
    /// The shard.
    pub shard: u16,
    /// The command; putting the same one twice keeps one.
    pub command_id: Uuid,
    /// Tenant of the execution.
    pub tenant: Tenant,
    /// The execution.
    pub execution_id: ExecutionId,
    /// What it asks for.
    pub kind: String,
    /// Encoded command.
    pub body: Bytes,
    /// When it was put.
    pub created_at: Timestamp,
}

/// A cut call with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutRow {
    /// The shard.
    pub shard: u16,
    /// Tenant of the execution.
    pub tenant: Tenant,
    /// The execution.
    pub execution_id: ExecutionId,
    /// The call.
    pub cut: CutWrite,
}

/// How far a shard's log has been published, or a consumer has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardPos {
    /// The shard.
    pub shard: u16,
    /// Incarnation of the publisher.
    pub incarnation: u64,
    /// Last position.
    pub pos: i64,
}

/// Whether a dead letter still waits for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterState {
    /// Nobody has dealt with it.
    Waiting,
    /// It was put back on its stream.
    Redriven,
}

impl LetterState {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Redriven => "redriven",
        }
    }
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "waiting" => Ok(Self::Waiting),
            "redriven" => Ok(Self::Redriven),
            other => Err(format!("unknown state {other:?}")),
        }
    }
}

/// A message that a consumer gave up on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id; writing the same one twice keeps the first.
    pub id: Uuid,
    /// Tenant.
    pub tenant: Tenant,
    /// The stream it came from.
    pub stream: String,
    /// The consumer group that gave up.
    pub consumer: String,
    /// Why.
    pub reason: String,
    /// The message.
    pub body: Bytes,
    /// How often it was delivered.
    pub deliveries: u32,
    /// When it was given up.
    pub created_at: Timestamp,
    /// Whether it still waits.
    pub state: LetterState,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Executions with all that belonged to them.
    pub executions: u32,
    /// More are old enough: sweep again.
    pub more: bool,
}
