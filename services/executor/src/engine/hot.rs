//! An execution in memory, with what waits for its next commit.

use std::{collections::HashMap, sync::Arc};

use base::{ExecutionId, Payload, Tenant, Timestamp};
use tokio::{sync::oneshot, task::AbortHandle};
use workflow::{CallKey, Effect, Event, State, Status};

use super::{
    cuts::CallCell,
    dispatch::Permit,
    msg::{Reply, Started},
    present::PublicEvent,
    view::ExecutionView,
};

/// Something that may happen once the facts before it are on disk.
pub(crate) type After = Box<dyn FnOnce() + Send>;

/// Who follows an execution live.
pub(crate) type Watcher = tokio::sync::mpsc::Sender<Live>;

/// What a follower is sent.
#[derive(Clone, Debug)]
pub(crate) enum Live {
    /// Committed events.
    Events(Arc<Vec<PublicEvent>>),
    /// Progress of a call; not an event.
    Progress(CallProgress),
    /// The execution has ended; nothing follows.
    Ended,
}

/// Progress that an agent reported.
#[derive(Clone, Debug)]
pub struct CallProgress {
    /// The call.
    pub call: CallKey,
    /// 0 to 1.
    pub share: f64,
    /// In words.
    pub text: Arc<str>,
}

/// An open call of this process.
pub(crate) struct OpenCall {
    pub(crate) attempt: u32,
    pub(crate) task: AbortHandle,
    pub(crate) cell: Arc<CallCell>,
}

/// What waits for the next group.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) events: Vec<Event>,
    /// The state right after each checkpoint among them.
    pub(crate) checkpoints: Vec<State>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) after: Vec<After>,
    pub(crate) inbox_done: Vec<uuid::Uuid>,
    /// The answers to the starts whose creation is in this group: the first, and repeats of it.
    pub(crate) started: Vec<(Reply<Started>, Started)>,
    /// The end is in this group.
    pub(crate) ended: bool,
    /// The row is to be written although the status did not change.
    pub(crate) row: bool,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.after.is_empty() && !self.row && self.inbox_done.is_empty()
    }
}

/// A call that leaves once its attempt is on disk. The attempt before it may still be on its way there.
pub(crate) struct Leaving {
    pub(crate) attempt: u32,
    pub(crate) input: Payload,
    pub(crate) permit: Permit,
}

/// One execution in memory.
pub(crate) struct Hot {
    pub(crate) id: ExecutionId,
    pub(crate) tenant: Tenant,
    pub(crate) shard: u16,
    pub(crate) state: State,
    /// Number of the last event that is in a group already.
    pub(crate) grouped_seq: u64,
    /// Groups in flight that hold events of this execution (0 or 1) count as not on disk.
    pub(crate) in_group: bool,
    pub(crate) bytes: u64,
    pub(crate) request_hash: Option<[u8; 32]>,
    pub(crate) exclusive: Option<String>,
    pub(crate) pending: Pending,
    /// It stands in its shard's list of executions with something to write.
    pub(crate) dirty: bool,
    /// Inputs of calls that are about to leave.
    pub(crate) outbox: HashMap<CallKey, Leaving>,
    pub(crate) open: HashMap<CallKey, OpenCall>,
    /// Calls that hooks were asked about.
    pub(crate) gates: HashMap<CallKey, super::hooked::Gating>,
    pub(crate) progress: HashMap<CallKey, CallProgress>,
    /// Ready calls that the execution's own limits hold back.
    pub(crate) held: Vec<CallKey>,
    pub(crate) waiters: Vec<oneshot::Sender<Arc<ExecutionView>>>,
    pub(crate) watchers: Vec<Watcher>,
    /// Waits for events that are on disk, or will be with its next group.
    pub(crate) waits: super::waits::Known,
    /// What it does in the world at the moment: it stays in memory meanwhile.
    pub(crate) errands: u32,
    /// The timer that stands in the lane's wheel.
    pub(crate) armed: Option<Timestamp>,
    /// Timers up to here have been looked at.
    pub(crate) fired_to: Timestamp,
    /// The answers to the starts whose creation is on its way to disk.
    pub(crate) in_start: Vec<(Reply<Started>, Started)>,
    /// The row on disk says that it is put aside.
    pub(crate) was_parked: bool,
    /// Status in the row on disk.
    pub(crate) written: Option<Status>,
    /// Open calls of another process that is alive: it will bring their results.
    pub(crate) foreign: Vec<CallKey>,
    pub(crate) admitted: bool,
    /// Since when nothing is going on.
    pub(crate) idle_since: Option<Timestamp>,
    /// The write that puts it aside is on its way.
    pub(crate) parking: bool,
    /// Since when nothing has happened, as far as somebody looked.
    pub(crate) quiet_since: Option<Timestamp>,
    /// Why nothing goes on, as its row is to say.
    pub(crate) stuck: Option<store::journal::Stuck>,
    /// What the newest row says about it.
    pub(crate) told_stuck: Option<store::journal::Stuck>,
    /// The store refused its events once already: it is not read back a second time.
    pub(crate) refused: bool,
    /// Counts it as active as long as it is in memory.
    pub(crate) active: Option<super::kinds::Active>,
}

impl Hot {
    /// Whether this attempt of the call waits for its place on the disk before it leaves.
    pub(crate) fn waits_to_leave(&self, call: CallKey, attempt: u32) -> bool {
        self.outbox.get(&call).is_some_and(|leaving| leaving.attempt == attempt)
    }

    pub(crate) fn new(state: State, tenant: Tenant, shard: u16) -> Self {
        Self {
            id: state.id(),
            tenant,
            shard,
            grouped_seq: 0,
            in_group: false,
            bytes: 0,
            request_hash: None,
            exclusive: None,
            pending: Pending::default(),
            dirty: false,
            outbox: HashMap::new(),
            open: HashMap::new(),
            gates: HashMap::new(),
            progress: HashMap::new(),
            held: Vec::new(),
            waiters: Vec::new(),
            watchers: Vec::new(),
            waits: Default::default(),
            errands: 0,
            armed: None,
            fired_to: Timestamp::default(),
            in_start: Vec::new(),
            refused: false,
            was_parked: false,
            written: None,
            foreign: Vec::new(),
            admitted: false,
            idle_since: None,
            parking: false,
            quiet_since: None,
            stuck: None,
            told_stuck: None,
            active: None,
            state,
        }
    }

    /// Whether everything that happened is on disk.
    pub(crate) fn settled(&self) -> bool {
        !self.in_group && self.pending.is_empty()
    }

    /// Runs `after` once all that happened so far is on disk: now, or with the next group.
    pub(crate) fn when_durable(&mut self, after: After) {
        if self.settled() { after() } else { self.pending.after.push(after) }
    }
}
