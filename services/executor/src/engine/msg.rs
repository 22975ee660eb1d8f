//! What a lane is sent, and what it answers.

use std::sync::Arc;

use api::{Fault, log::CallCost};
use base::{CheckpointId, ExecutionId, FailureClass, Tenant, Timestamp, WorkflowId};
use store::{StoreError, journal::Outcome};
use tokio::sync::oneshot;
use workflow::{CallKey, Created, Effect, Input, State, Usage};

use super::{
    admission::Claim,
    command::Command,
    dispatch::Permit,
    hot::{After, Live, Watcher},
    links::ForeignReport,
    present::PublicEvent,
    view::ExecutionView,
};
use crate::{call::CallOutcome, plans::PlanEntry};

/// The answer of a replica that is going down.
pub(crate) fn stopping() -> Fault {
    Fault::unavailable("this replica is stopping; try again").retry_after_ms(1000)
}

/// The answer when the store fails. The cause may name hosts or tables: it goes to the log, the caller is told to
/// retry.
pub(crate) fn away(err: StoreError) -> Fault {
    tracing::error!(error = %err, "the store failed");
    Fault::unavailable("the store is away; try again").retry_after_ms(1000)
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Fault>>;

/// A start, checked and planned.
pub(crate) struct Start {
    pub(crate) id: ExecutionId,
    pub(crate) tenant: Tenant,
    pub(crate) plan: Arc<PlanEntry>,
    pub(crate) created: Created,
    /// Kept when the caller chose the id.
    pub(crate) request_hash: Option<[u8; 32]>,
    pub(crate) exclusive: Option<String>,
    /// What it takes over from another execution.
    pub(crate) seed: Option<Input>,
    pub(crate) reply: Reply<Started>,
    /// Told when the execution ends.
    pub(crate) ended: Option<oneshot::Sender<Arc<ExecutionView>>>,
}

/// A start that is on disk.
#[derive(Clone, Debug)]
pub struct Started {
    /// The execution.
    pub id: ExecutionId,
    /// Its workflow.
    pub workflow_id: WorkflowId,
    /// The same start was there already.
    pub existing: bool,
    /// Place in the start queue, from 1; 0 = running.
    pub queue_position: u32,
}

/// A command that is on disk.
#[derive(Clone, Debug)]
pub struct Commanded {
    /// The status after it.
    pub status: workflow::Status,
    /// Of a pause.
    pub checkpoint: Option<CheckpointId>,
}

/// What a call reports on its way.
#[derive(Clone, Debug)]
pub(crate) enum CallReport {
    Bound {
        agent_task_id: Arc<str>,
        context_id: Arc<str>,
    },
    Progress {
        share: f64,
        text: Arc<str>,
    },
    Done {
        outcome: CallOutcome,
        cost: CallCost,
    },
    /// What a call cost that nobody waits for any more.
    Used {
        usage: Usage,
    },
}

/// One execution's part of a group in flight.
pub(crate) struct Flight {
    pub(crate) id: ExecutionId,
    pub(crate) effects: Vec<Effect>,
    pub(crate) after: Vec<After>,
    pub(crate) publish: Arc<Vec<PublicEvent>>,
    /// Position of its row; 0 when only its `executions` row is written.
    pub(crate) pos: i64,
    /// Shards with new rows in their inboxes.
    pub(crate) mailed: Vec<u16>,
    /// Waits for events that begin with it.
    pub(crate) opened: Vec<super::waits::Opened>,
    /// The row's reason of standing still, before and after.
    pub(crate) recount: Option<super::stuck::Recount>,
}

/// An execution read back from the log.
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) tenant: Tenant,
    pub(crate) plan: Arc<PlanEntry>,
    pub(crate) bytes: u64,
    pub(crate) request_hash: Option<[u8; 32]>,
    pub(crate) status: String,
    /// It was put aside.
    pub(crate) parked: bool,
    /// Why nothing goes on, as its row says.
    pub(crate) stuck: Option<store::journal::Stuck>,
}

/// What a lane is sent.
pub(crate) enum Msg {
    Start(Box<Start>),
    Command {
        id: ExecutionId,
        tenant: Tenant,
        command: Command,
        by: Arc<str>,
        /// Its row in the inbox, deleted with the commit.
        inbox: Option<uuid::Uuid>,
        reply: Reply<Commanded>,
    },
    /// `None`: not in memory.
    Get {
        id: ExecutionId,
        tenant: Tenant,
        tasks: bool,
        reply: oneshot::Sender<Option<Arc<ExecutionView>>>,
    },
    /// The reply gives the last event on disk, or `None` when the execution is not in memory.
    Watch {
        id: ExecutionId,
        tenant: Tenant,
        watcher: Watcher,
        reply: oneshot::Sender<Option<u64>>,
    },
    WatchWorkflow {
        workflow: WorkflowId,
        watcher: tokio::sync::mpsc::Sender<Live>,
        /// Dropped when the log holds all that will not be sent.
        begun: tokio::sync::mpsc::Sender<()>,
    },
    /// Told at the end; dropped when the execution is not in memory.
    WaitEnd {
        id: ExecutionId,
        tenant: Tenant,
        ended: oneshot::Sender<Arc<ExecutionView>>,
    },
    Call {
        id: ExecutionId,
        call: CallKey,
        attempt: u32,
        report: CallReport,
    },
    /// As `Call`, from another process or an earlier time of the shard here; answered when it is on disk.
    Delivered {
        report: ForeignReport,
        reply: Reply<()>,
    },
    /// End a call that this process made for a shard that has moved on.
    AbortCall {
        id: ExecutionId,
        call: CallKey,
        attempt: u32,
    },
    /// Look for a call whose sender is gone, as soon as the fleet is known.
    Recover {
        id: ExecutionId,
        call: CallKey,
        attempt: u32,
    },
    /// What hooks say about a call.
    Gated {
        id: ExecutionId,
        call: CallKey,
        input_hash: [u8; 32],
        pass: crate::hooks::gate::Pass,
    },
    /// What an execution did in the world is done.
    Errand {
        id: ExecutionId,
        errand: super::outside::Errand,
    },
    Granted {
        id: ExecutionId,
        call: CallKey,
        permit: Permit,
    },
    Committed {
        shard: u16,
        result: Result<Vec<Outcome>, StoreError>,
        flights: Vec<Flight>,
    },
    Loaded {
        id: ExecutionId,
        shard: u16,
        /// Of the load that was asked for; an older one is ignored.
        ticket: u64,
        result: Result<Option<Box<Loaded>>, Fault>,
    },
    /// The shard is ours; its next position is `next_pos`.
    Acquire {
        shard: u16,
        next_pos: i64,
        hot: Vec<ExecutionId>,
        /// Executions in which nothing goes on, by reason.
        stuck: Vec<(String, u64)>,
        settling: Arc<super::Settling>,
    },
    /// There is a place for an execution that waited for one.
    Admitted {
        id: ExecutionId,
        claim: Claim,
    },
    /// Stop taking the shard's work; the reply comes when nothing of it is in flight.
    Release {
        shard: u16,
        reply: oneshot::Sender<()>,
    },
    /// Load an execution of ours (its timer passed, or a command waits for it).
    Wake {
        id: ExecutionId,
        shard: u16,
    },
    /// Which callers are alive has changed.
    Members,
    /// No new starts; running work goes on.
    Drain,
}

/// The failure of a call as the state machine takes it.
pub(crate) struct CallFailure {
    pub(crate) class: FailureClass,
    pub(crate) message: Arc<str>,
    pub(crate) outcome_known: bool,
    pub(crate) retry_after: Option<Timestamp>,
}
