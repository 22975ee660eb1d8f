//! What a task that is no call waits for.

use std::sync::Arc;

use base::{Payload, Timestamp};

use crate::facts::{ChildOutcome, ChildStart, UserEvent, Verdict};

/// What a task waits for, and what of it is there.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    /// A time.
    Timer {
        /// When.
        until: Timestamp,
    },
    /// Events: of the task's own, or the one that starts an event-driven task.
    Event {
        /// Only events with this key; `None` = any.
        key: Option<Arc<str>>,
        /// Since when.
        since: Timestamp,
        /// What came so far.
        taken: Vec<Arc<UserEvent>>,
    },
    /// A signal.
    Signal {
        /// Since when.
        since: Timestamp,
        /// What came.
        payload: Option<Payload>,
    },
    /// An operator who lets the step go on.
    Step {
        /// Since when.
        since: Timestamp,
        /// Whether somebody did.
        granted: bool,
    },
    /// People.
    Approval(Asked),
    /// The event to be published.
    Publish {
        /// The event.
        event: Arc<UserEvent>,
        /// Whether it was.
        done: bool,
    },
    /// Another workflow.
    Child {
        /// What was started.
        child: Arc<ChildStart>,
        /// Since when.
        since: Timestamp,
        /// The version that runs, once it started.
        version: Option<Arc<str>>,
        /// How it ended.
        outcome: Option<ChildOutcome>,
    },
    /// The pause before a loop's next turn.
    Pause {
        /// Its end.
        until: Timestamp,
    },
}

/// A question to people.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// What is asked.
    pub title: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// Steps of the escalation so far.
    pub escalated: u32,
    /// The answer.
    pub decided: Option<Decided>,
}

/// Somebody's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// Yes, no or a form.
    pub verdict: Verdict,
    /// Who.
    pub by: Arc<str>,
    /// Why.
    pub comment: Arc<str>,
    /// The form.
    pub form: Option<Payload>,
}

impl Waiting {
    /// The time at which it goes on by itself.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Timer { until } | Self::Pause { until } => Some(*until),
            _ => None,
        }
    }
}
