//! What facts and inputs carry beside calls: user events, verdicts, children, turns, changes of the plan.

use std::sync::{Arc, OnceLock};

use base::{ExecutionId, FailureClass, Payload, Timestamp};

use crate::{
    compiled::Compiled,
    event::Kind,
    plan::Budget,
    state::{State, Status},
};

/// A user event on its way to waits and event-driven tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct UserEvent {
    /// Names it; an execution takes an id once.
    pub id: Arc<str>,
    /// Its topic.
    pub topic: Arc<str>,
    /// Its type; empty = the topic.
    pub event_type: Arc<str>,
    /// Who published it.
    pub source: Arc<str>,
    /// Correlation key; empty = none.
    pub key: Arc<str>,
    /// What it says.
    pub payload: Payload,
    /// When it was published.
    pub at: Timestamp,
    /// Higher is taken first.
    pub priority: i32,
}

/// How a person decided an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Approved,
    /// No: the task fails with class `rejected`.
    Rejected,
    /// The form was filled in.
    Answered,
}

impl Verdict {
    /// Text for people and outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Answered => "answered",
        }
    }
}

/// What an agent reported that a call cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens.
    pub tokens: u64,
    /// Money in millionths of the currency.
    pub money_micros: u64,
}

/// What was spent or is held back for calls under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// Calls to agents.
    pub calls: u64,
    /// Tokens.
    pub tokens: u64,
    /// Money in millionths of the currency.
    pub money_micros: u64,
}

impl Spending {
    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, o: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(o.calls),
            tokens: self.tokens.saturating_add(o.tokens),
            money_micros: self.money_micros.saturating_add(o.money_micros),
        }
    }
}

/// A sub-workflow that a task starts.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildStart {
    /// Its execution: the same for every repeat of the start.
    pub execution: ExecutionId,
    /// Name of the workflow.
    pub workflow: Arc<str>,
    /// A version or a range; empty = the newest.
    pub version: Arc<str>,
    /// Its input.
    pub input: Payload,
    /// Nobody waits for its end.
    pub detached: bool,
    /// What it may spend: what is left of its parent's budget. All zero = no limit.
    pub budget: Budget,
    /// Its depth below the first execution.
    pub depth: u32,
    /// Whether its budget is held back from its parent's until it has ended; in logs of before nothing was.
    pub lent: bool,
}

/// How a sub-workflow ended.
#[derive(Clone, Debug, PartialEq)]
pub enum ChildOutcome {
    /// With this output.
    Completed(Payload),
    /// It failed, was cancelled, terminated or compensated.
    Failed {
        /// Class.
        class: FailureClass,
        /// Words.
        message: Arc<str>,
    },
}

impl ChildOutcome {
    /// What the parent of an execution is told when `kind` is its end; `None` when it is not.
    pub fn of(state: &State, kind: &Kind) -> Option<Self> {
        let failed = |class, message: &str| Some(Self::Failed { class, message: message.into() });
        match kind {
            Kind::Completed { output } => Some(Self::Completed(output.clone())),
            Kind::Failed { class, message } => failed(*class, message),
            Kind::Cancelled { by, reason } => failed(FailureClass::Operator, &why("cancelled", by, reason)),
            Kind::Terminated { by, reason } => failed(FailureClass::Operator, &why("terminated", by, reason)),
            Kind::Compensated => match state.undone().map(|undone| &undone.because) {
                Some(Because::Failed { class, message }) => failed(*class, message),
                Some(Because::Cancelled { by, reason }) => {
                    failed(FailureClass::Operator, &why("cancelled", by, reason))
                }
                None => failed(FailureClass::Error, Status::Compensated.as_str()),
            },
            _ => None,
        }
    }
}

fn why(what: &str, by: &str, reason: &str) -> String {
    match reason {
        "" => format!("the sub-workflow was {what} by {by}"),
        reason => format!("the sub-workflow was {what} by {by}: {reason}"),
    }
}

/// What a turn of a scope gave.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnResult {
    /// Its output.
    Output(Payload),
    /// A task of it failed uncaught.
    Failed {
        /// Class.
        class: FailureClass,
        /// Words.
        message: Arc<str>,
    },
}

/// Why completed work is undone.
#[derive(Clone, Debug, PartialEq)]
pub enum Because {
    /// The execution failed.
    Failed {
        /// Class.
        class: FailureClass,
        /// Words.
        message: Arc<str>,
    },
    /// Somebody cancelled it.
    Cancelled {
        /// Who.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
}

/// The plan that an execution goes on with.
#[derive(Clone, Debug)]
pub struct PlanChange {
    /// The whole new plan as JSON.
    pub plan: Payload,
    /// Number of the change, from 1.
    pub revision: u32,
    /// Who changed it.
    pub by: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
    compiled: OnceLock<Option<Arc<Compiled>>>,
}

impl PlanChange {
    /// A change as the log tells it.
    pub fn new(plan: Payload, revision: u32, by: Arc<str>, reason: Arc<str>) -> Self {
        Self { plan, revision, by, reason, compiled: OnceLock::new() }
    }
    /// A change whose plan is compiled already.
    pub(crate) fn with(self, compiled: Arc<Compiled>) -> Self {
        let _ = self.compiled.set(Some(compiled));
        self
    }
    /// The plan, compiled once; `None` when it does not compile, which was checked before it was written.
    pub fn compiled(&self) -> Option<Arc<Compiled>> {
        let compile = || {
            let plan = serde_json::from_slice(self.plan.bytes()).ok()?;
            Compiled::new(plan).ok().map(Arc::new)
        };
        self.compiled.get_or_init(compile).clone()
    }
}

impl PartialEq for PlanChange {
    fn eq(&self, o: &Self) -> bool {
        self.plan == o.plan && self.revision == o.revision && (&self.by, &self.reason) == (&o.by, &o.reason)
    }
}

/// A task that an execution takes over as done from the one it is forked from.
#[derive(Clone, Debug, PartialEq)]
pub struct Seed {
    /// Index of the task in the plan.
    pub task: u32,
    /// Its output; `None` = it was skipped there.
    pub output: Option<Payload>,
}
