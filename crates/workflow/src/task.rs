//! One task of an execution and its calls.

use std::sync::{Arc, OnceLock};

use base::{FailureClass, Payload, Timestamp};
use serde_json::Value;

use crate::{
    event::{Assignment, SkipReason},
    facts::UserEvent,
    turn::ScopeState,
    wait::Waiting,
};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskPhase {
    /// Waits for others.
    Pending,
    /// Its calls are under way.
    Scheduled,
    /// Done.
    Completed,
    /// Failed for good.
    Failed,
    /// Did not run.
    Skipped(SkipReason),
    /// The execution, its turn or those who needed it ended before it did.
    Cancelled,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPhase {
    /// Behind other items of its task.
    Waiting,
    /// May leave from this point in time on.
    Ready(Timestamp),
    /// An attempt is open.
    Running,
    /// The agent waits for input.
    Input,
    /// Somebody has to decide.
    Decision,
    /// Done.
    Completed,
    /// Failed for good, or its task or execution ended.
    Failed,
}

/// One open or finished attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Where it went.
    pub to: Arc<Assignment>,
    /// When it started.
    pub started_at: Timestamp,
    /// The agent's task and context id, once known.
    pub bound: Option<(Arc<str>, Arc<str>)>,
    /// Answer to the agent's question that has to be sent.
    pub answer: Option<Payload>,
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallState {
    /// Where it stands.
    pub phase: CallPhase,
    /// Attempts so far, the open one included.
    pub attempt: u32,
    /// Rises only after a committed, known failure: it is part of the message id.
    pub retry: u32,
    /// The newest attempt.
    pub current: Option<Box<Attempt>>,
    /// Instances that failed, newest last.
    pub tried: Vec<Arc<str>>,
    /// Output, of a scattered task's item.
    pub output: Option<Payload>,
    /// Why the last attempt failed.
    pub error: Option<Arc<(FailureClass, Arc<str>)>>,
    /// Why it waits: no agent, or the agent's question.
    pub waiting: Option<Arc<str>>,
    /// What the agent asks.
    pub prompt: Option<Payload>,
    /// When it completed or failed for good.
    pub ended_at: Option<Timestamp>,
    /// The timer that is set for it.
    pub(crate) timer: Option<Timestamp>,
    /// Newest attempt whose cost was reported.
    pub(crate) billed: u32,
}

impl CallState {
    fn new() -> Self {
        Self {
            phase: CallPhase::Waiting,
            attempt: 0,
            retry: 0,
            current: None,
            tried: Vec::new(),
            output: None,
            error: None,
            waiting: None,
            prompt: None,
            ended_at: None,
            timer: None,
            billed: 0,
        }
    }
}

/// One task.
#[derive(Clone, Debug)]
pub struct TaskState {
    /// Where it stands.
    pub phase: TaskPhase,
    /// Whether its output is gathered from items.
    pub scattered: bool,
    /// Its calls; empty before it is scheduled.
    pub calls: Vec<CallState>,
    /// Output, once completed.
    pub output: Option<Payload>,
    /// When it was scheduled.
    pub scheduled_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    pub(crate) missing: u32,
    pub(crate) failed_before: bool,
    /// Calls not done yet.
    pub(crate) open: u32,
    /// The next item that may become ready.
    pub(crate) next_item: u32,
    /// Number of the event that scheduled it; 0 before.
    pub(crate) scheduled_seq: u64,
    /// Number of the event that ended it; 0 before.
    pub(crate) ended_seq: u64,
    /// The scattered list, derived once from the state; not part of it.
    pub(crate) list: OnceLock<Option<Arc<Vec<Value>>>>,
    /// Its node in the plan.
    pub(crate) node: u32,
    /// The turn it stands in; 0 = the execution itself.
    pub(crate) turn: u32,
    /// Edges to it that were taken.
    pub(crate) taken: u32,
    /// Whether it was put on the agenda, or waits at a gate for it.
    pub(crate) queued: bool,
    /// How often it was reset.
    pub(crate) generation: u32,
    /// Number of the event that added it; 0 = it was there from the start.
    pub(crate) born: u64,
    /// What most tasks never have.
    pub(crate) more: Option<Box<More>>,
}

/// What most tasks never have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct More {
    /// Whom an earlier answer named.
    pub picked: Option<Arc<str>>,
    /// What a switch chose.
    pub cases: Vec<Arc<str>>,
    /// Variables when it was scheduled.
    pub vars: Option<Arc<Value>>,
    /// The event that started it.
    pub trigger: Option<Arc<UserEvent>>,
    /// What it waits for.
    pub wait: Option<Waiting>,
    /// Its turns.
    pub scope: Option<ScopeState>,
    /// Why it failed, or the failure that a value answered.
    pub error: Option<Arc<(FailureClass, Arc<str>)>>,
    /// Whether a call of it may have done its work without anybody knowing.
    pub unclear: bool,
    /// Whether another execution did its work, which undoes it when it has to.
    pub taken_over: bool,
    /// Its id, when a change of the plan removed it.
    pub removed: Option<Arc<str>>,
}

impl PartialEq for TaskState {
    fn eq(&self, o: &Self) -> bool {
        (self.phase, self.scattered, self.missing, self.failed_before, self.open, self.next_item)
            == (o.phase, o.scattered, o.missing, o.failed_before, o.open, o.next_item)
            && (self.scheduled_at, self.ended_at) == (o.scheduled_at, o.ended_at)
            && (self.scheduled_seq, self.ended_seq) == (o.scheduled_seq, o.ended_seq)
            && self.calls == o.calls
            && self.output == o.output
            && (self.node, self.turn, self.taken, self.queued, self.generation)
                == (o.node, o.turn, o.taken, o.queued, o.generation)
            && self.more == o.more
    }
}

impl TaskState {
    pub(crate) fn new(node: u32, turn: u32, missing: u32, generation: u32) -> Self {
        Self {
            node,
            turn,
            taken: 0,
            queued: false,
            generation,
            born: 0,
            more: None,
            phase: TaskPhase::Pending,
            scattered: false,
            calls: Vec::new(),
            output: None,
            scheduled_at: None,
            ended_at: None,
            missing,
            failed_before: false,
            open: 0,
            next_item: 0,
            scheduled_seq: 0,
            ended_seq: 0,
            list: OnceLock::new(),
        }
    }

    /// `items` calls, all of them waiting; the first `width` are about to be made ready.
    pub(crate) fn schedule(&mut self, items: u32, width: u32, scattered: bool, at: Timestamp, seq: u64) {
        self.phase = TaskPhase::Scheduled;
        self.scattered = scattered;
        self.scheduled_at = Some(at);
        self.scheduled_seq = seq;
        self.open = items;
        self.next_item = width.min(items);
        self.calls = (0..items).map(|_| CallState::new()).collect();
    }

    /// Whether it neither ended nor was skipped.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, TaskPhase::Pending | TaskPhase::Scheduled)
    }
    /// Number of its node ([`crate::Compiled::node`]); changes with the plan.
    pub fn node(&self) -> u32 {
        self.node
    }
    /// How often it was reset: part of its message ids.
    pub fn generation(&self) -> u32 {
        self.generation
    }
    /// Whom an earlier answer named to do it.
    pub fn picked(&self) -> Option<&Arc<str>> {
        self.more.as_ref()?.picked.as_ref()
    }
    /// What it waits for, when it is no call.
    pub fn waiting(&self) -> Option<&Waiting> {
        self.more.as_ref()?.wait.as_ref()
    }
    /// Why it failed; of a completed task the failure that a value answered.
    pub fn error(&self) -> Option<&(FailureClass, Arc<str>)> {
        self.more.as_ref()?.error.as_deref()
    }
    /// Its turns so far, when it is a scope.
    pub fn turns(&self) -> Option<&ScopeState> {
        self.more.as_ref()?.scope.as_ref()
    }
    pub(crate) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }
}
