//! What a lane is sent, and what it answers.

use std::{sync::Arc, time::Duration};

use base::{CheckpointId, ErrorCode, ExecutionId, FailureClass, Payload, Tenant, Timestamp, WorkflowId};
use store::{StoreError, journal::Outcome};
use tokio::sync::oneshot;
use workflow::{CallKey, Created, Effect, Resolution, State};

use super::{
    dispatch::Permit,
    hot::{After, Live, Watcher},
    present::PublicEvent,
    view::ExecutionView,
};
use crate::{call::CallOutcome, plans::PlanEntry};

/// Why the engine refuses or fails.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// The stable code.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// Executions to look at.
    pub related: Vec<String>,
    /// The field that is wrong.
    pub field: String,
}

impl EngineError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None, related: Vec::new(), field: String::new() }
    }
    pub(crate) fn field(mut self, field: &str) -> Self {
        self.field = field.into();
        self
    }
    pub(crate) fn retry_in(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, format!("execution {what} does not exist"))
    }
    pub(crate) fn stopping() -> Self {
        Self::new(ErrorCode::Unavailable, "this replica is stopping; try again")
            .retry_in(Duration::from_secs(1))
    }
}

impl From<StoreError> for EngineError {
    fn from(err: StoreError) -> Self {
        // The cause may name hosts or tables: it goes to the log, the caller is told to retry.
        tracing::error!(error = %err, "the store failed");
        Self::new(ErrorCode::Unavailable, "the store is away; try again").retry_in(Duration::from_secs(1))
    }
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// A start, checked and planned.
pub(crate) struct Start {
    pub(crate) id: ExecutionId,
    pub(crate) tenant: Tenant,
    pub(crate) plan: Arc<PlanEntry>,
    pub(crate) created: Created,
    /// Kept when the caller chose the id.
    pub(crate) request_hash: Option<[u8; 32]>,
    pub(crate) exclusive: Option<String>,
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

/// A command on one execution.
#[derive(Clone, Debug)]
pub enum Command {
    /// No new call.
    Pause {
        /// Why.
        reason: String,
    },
    /// Go on.
    Resume,
    /// End it and tell the agents.
    Cancel {
        /// Why.
        reason: String,
    },
    /// End it at once.
    Terminate {
        /// Why.
        reason: String,
    },
    /// End a wait for a decision.
    Resolve {
        /// The task's id.
        task: String,
        /// The item; 0 for a task that does not scatter.
        item: u32,
        /// The decision.
        decision: Resolution,
    },
    /// Answer an agent's question.
    Answer {
        /// The task's id.
        task: String,
        /// The item; 0 for a task that does not scatter.
        item: u32,
        /// The answer.
        input: Payload,
    },
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
#[derive(Debug)]
pub(crate) enum CallReport {
    Bound { agent_task_id: Arc<str>, context_id: Arc<str> },
    Progress { share: f64, text: Arc<str> },
    Done { outcome: CallOutcome, call_us: u64 },
}

/// One execution's part of a group in flight.
pub(crate) struct Flight {
    pub(crate) id: ExecutionId,
    pub(crate) effects: Vec<Effect>,
    pub(crate) after: Vec<After>,
    pub(crate) publish: Arc<Vec<PublicEvent>>,
    /// Position of its row; 0 when only its `executions` row is written.
    pub(crate) pos: i64,
}

/// An execution read back from the log.
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) tenant: Tenant,
    pub(crate) plan: Arc<PlanEntry>,
    pub(crate) bytes: u64,
    pub(crate) request_hash: Option<[u8; 32]>,
    pub(crate) status: String,
}

/// What a lane is sent.
pub(crate) enum Msg {
    Start(Box<Start>),
    Command {
        id: ExecutionId,
        tenant: Tenant,
        command: Command,
        by: Arc<str>,
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
        tenant: Tenant,
        workflow: WorkflowId,
        watcher: tokio::sync::mpsc::Sender<Live>,
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
        result: Result<Option<Box<Loaded>>, EngineError>,
    },
    /// The shard is ours; its next position is `next_pos`.
    Acquire {
        shard: u16,
        next_pos: i64,
        hot: Vec<ExecutionId>,
    },
    /// There is a place for an execution that waited for one.
    Admitted {
        id: ExecutionId,
        workflow: WorkflowId,
        limit: Option<u32>,
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
