//! What is written: groups of items, and what became of them.

use std::{borrow::Cow, fmt, sync::Arc};

use base::{BadId, CheckpointId, ExecutionId, Tenant, Timestamp, WorkflowId, ids::check_key};
use bytes::Bytes;
use uuid::Uuid;

use super::InboxRow;

/// Largest number of shards.
pub const SHARDS_MAX: u16 = 4096;
/// Largest position in a shard: it fits a 64-bit number together with a shard.
pub const POS_MAX: i64 = (1 << 48) - 1;

/// The name of an executor replica. It stays the same when the replica restarts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(Arc<str>);

impl MemberId {
    /// Checks and wraps a name (the rule of [`base::ids::check_key`]).
    pub fn new(text: impl AsRef<str>) -> Result<Self, BadId> {
        check_key("member id", text.as_ref())?;
        Ok(Self(Arc::from(text.as_ref())))
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// One life of a member, as [`Members::join`](super::Members::join) gave it out. Every write names it; once the
/// incarnation is over the write is refused as [`Fenced`](crate::StoreError::Fenced).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The member.
    pub id: MemberId,
    /// Larger than every incarnation given out before, of any member.
    pub incarnation: u64,
}

/// What one shard writes in one durable transaction.
///
/// The caller bounds it (rows and bytes); the journal joins the groups of several shards that wait for the same
/// committer and never splits one. An execution appears at most once in a group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Who writes.
    pub by: Membership,
    /// The shard. Groups of a shard go to the same committer, in the order they were given; a caller keeps one in
    /// flight and gathers the next meanwhile.
    pub shard: u16,
    /// What is written.
    pub items: Vec<Item>,
}

/// All that is written for one execution: everything or, when [`Outcome`] says so, nothing of it.
#[derive(Clone, Debug)]
pub struct Item {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its tenant.
    pub tenant: Tenant,
    /// Its new events. Needed when `write` is an insert.
    pub log: Option<LogRow>,
    /// Its row in `executions`, when that changes.
    pub write: Option<ExecutionWrite>,
    /// A checkpoint that belongs to these events.
    pub checkpoint: Option<CheckpointWrite>,
    /// Commands of the inbox of this shard that these events answer: deleted with the same commit.
    pub inbox_done: Vec<Uuid>,
    /// Calls that these events cut: their agents are to be told, whatever happens to this process. None with an insert.
    pub cuts: Vec<CutWrite>,
    /// Waits for events that these events open or close, at most one change of a task.
    pub waits: Vec<WaitWrite>,
    /// What these events ask of other executions: left in the inboxes of their shards with the same commit, so that
    /// neither is there without the other. A row that is there already stays as it is.
    pub mail: Vec<InboxRow>,
}

impl Item {
    /// An item that writes nothing yet.
    pub fn new(execution_id: ExecutionId, tenant: Tenant) -> Self {
        let (inbox_done, cuts, waits, mail) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { execution_id, tenant, log: None, write: None, checkpoint: None, inbox_done, cuts, waits, mail }
    }
    /// Refuses what the tables cannot hold, before anything is written.
    pub(crate) fn check(&self, shard: u16) -> Result<(), String> {
        if shard >= SHARDS_MAX {
            return Err(format!("shard {shard} is not below {SHARDS_MAX}"));
        }
        match (&self.log, &self.write) {
            (Some(row), _) if !(1..=POS_MAX).contains(&row.pos) || row.first_seq < 1 || row.count < 1 => {
                Err(format!("log row {} at {} holds {} events", row.first_seq, row.pos, row.count))
            }
            (None, Some(ExecutionWrite::Insert(_))) => Err("an execution begins with an event".into()),
            (_, Some(ExecutionWrite::Insert(_))) if !self.cuts.is_empty() => {
                Err("an execution that begins has no call that could be cut".into())
            }
            _ => Ok(()),
        }
    }
    /// Bytes of its bodies, for bounding a group. Fixed columns are not counted.
    pub fn bytes(&self) -> usize {
        let summary = |s: &Summary| {
            let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            len(&s.allocated_agents) + len(&s.task_states) + len(&s.performance_metrics)
        };
        let write = match &self.write {
            None => 0,
            Some(ExecutionWrite::Insert(insert)) => summary(&insert.summary),
            Some(ExecutionWrite::Update(update)) => {
                let stuck = update.stuck.as_ref().map_or(0, |s| s.detail.len());
                stuck + summary(&update.summary) + update.snapshot.as_ref().map_or(0, |s| s.body.len())
            }
        };
        let checkpoint = self.checkpoint.as_ref().map_or(0, |c| c.state_snapshot.len());
        let mail: usize = self.mail.iter().map(|row| row.body.len()).sum();
        self.log.as_ref().map_or(0, |row| row.body.len()) + write + checkpoint + mail
    }
}

/// The events of one execution in one group.
#[derive(Clone, Debug)]
pub struct LogRow {
    /// Number of its first event within the execution, from 1.
    pub first_seq: i64,
    /// How many events the body holds.
    pub count: u32,
    /// Position in the shard's log, given by the owner from memory, from 1, rising, at most [`POS_MAX`].
    pub pos: i64,
    /// Schema number of the body.
    pub schema: u16,
    /// The encoded events.
    pub body: Bytes,
}

/// When a row of `executions` is to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Its owner holds it in memory; it is recovered when the owner starts.
    Hot,
    /// Parked with a timer: [`due`](super::Executions::due) finds it from then on.
    At(Timestamp),
    /// Parked without a timer: only a command wakes it.
    OnCommand,
}

/// A change of the row in `executions`.
#[derive(Clone, Debug)]
pub enum ExecutionWrite {
    /// The execution begins.
    Insert(Box<ExecutionInsert>),
    /// It parks, wakes, pauses or ends.
    Update(Box<ExecutionUpdate>),
}

/// Summary columns, as JSON texts. `None` leaves the column as it is (`[]`, `{}`, `{}` at first).
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// A JSON array of agent ids (strings).
    pub allocated_agents: Option<String>,
    /// A JSON object: task id → state.
    pub task_states: Option<String>,
    /// A JSON object of measured figures.
    pub performance_metrics: Option<String>,
}

/// The first row of an execution.
#[derive(Clone, Debug)]
pub struct ExecutionInsert {
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// Its name at the start.
    pub workflow_name: String,
    /// Its version.
    pub workflow_version: String,
    /// Status text.
    pub status: Cow<'static, str>,
    /// What it is doing, for people.
    pub current_phase: Cow<'static, str>,
    /// Hash of the request, when the caller chose the id: a repeated start compares it.
    pub request_hash: Option<[u8; 32]>,
    /// What ties it to other work of the caller; `None` = nothing was given.
    pub correlation_id: Option<String>,
    /// Higher runs first.
    pub priority: i32,
    /// When it was created.
    pub started_at: Timestamp,
    /// Whether it stays in memory.
    pub wake: Wake,
    /// Set when it ended in the same step.
    pub completed_at: Option<Timestamp>,
    /// JSON columns.
    pub summary: Summary,
    /// Only one execution with this key may run in the tenant (`concurrency: 1`).
    /// The item is rejected while another one holds it.
    pub exclusive: Option<String>,
}

/// A later state of the row.
#[derive(Clone, Debug)]
pub struct ExecutionUpdate {
    /// Status text.
    pub status: Cow<'static, str>,
    /// `None` leaves it.
    pub current_phase: Option<Cow<'static, str>>,
    /// Whether it stays in memory.
    pub wake: Wake,
    /// Set when it has ended.
    pub completed_at: Option<Timestamp>,
    /// JSON columns.
    pub summary: Summary,
    /// State to fold from; `None` leaves the stored one.
    pub snapshot: Option<Snapshot>,
    /// Frees the exclusive key that the execution holds.
    pub release_exclusive: Option<String>,
    /// Why nothing goes on; `None` = something does, or it has ended.
    pub stuck: Option<Stuck>,
}

/// Why nothing goes on in an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The machine-readable reason: lists and counts go by it.
    pub reason: String,
    /// A JSON object with the rest.
    pub detail: String,
}

/// A folded state, so that recovery reads only the events after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last event it holds.
    pub seq: i64,
    /// Schema number of the body; another build's is ignored.
    pub schema: u16,
    /// The encoded state.
    pub body: Bytes,
}

/// A checkpoint of an execution.
#[derive(Clone, Debug)]
pub struct CheckpointWrite {
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

/// A call that was cut at an agent which still has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutWrite {
    /// The call: id of its message.
    pub call: Uuid,
    /// Where it went.
    pub instance: String,
    /// What the agent calls it, when that is known.
    pub agent_task_id: Option<String>,
    /// When it was cut.
    pub cut_at: Timestamp,
}

/// A wait for events, or for people, that begins or ends. One for events is found by topic and key when an event comes
/// ([`WaitStore`](crate::topics::WaitStore)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitWrite {
    /// The task waits.
    Open {
        /// The task, by its place in the execution.
        task: u32,
        /// The topic.
        topic: String,
        /// The correlation key; empty = any.
        key: String,
        /// Since when.
        since: Timestamp,
    },
    /// The task asks for an approval; found in the list of open ones ([`AskedStore`](crate::topics::AskedStore)).
    Ask {
        /// The task, by its place in the execution.
        task: u32,
        /// Since when.
        since: Timestamp,
        /// A JSON object: what is asked; `who` lists who may answer, empty = anybody.
        asked: String,
    },
    /// The task waits no more.
    Close {
        /// The task.
        task: u32,
    },
    /// No task of the execution waits any more. Alone among the changes of an item.
    CloseAll,
}

/// What became of an item of a group that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk.
    Committed,
    /// It lost a unique race; nothing of it was written.
    Rejected(Rejection),
    /// The database refuses it for a reason of its own (too large a value, text that JSONB cannot hold); nothing of it
    /// was written and trying again gives the same.
    Failed(String),
}

/// The unique race an insert lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// An execution with this id exists already.
    StartKeyTaken,
    /// Another execution holds the exclusive key.
    ExclusiveTaken {
        /// The holder; `None` when it ended meanwhile.
        by: Option<ExecutionId>,
    },
}

/// A payload too large for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadRow {
    /// Tenant of the execution.
    pub tenant: Tenant,
    /// The execution it belongs to: deleted with it.
    pub execution_id: ExecutionId,
    /// Hash of the content.
    pub hash: [u8; 32],
    /// Media type.
    pub media_type: String,
    /// The content.
    pub body: Bytes,
}
