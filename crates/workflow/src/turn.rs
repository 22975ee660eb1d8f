//! Turns: copies of a body in the tasks of the running execution.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::{FailureClass, Payload, Timestamp};

/// Where a turn stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnPhase {
    /// Its tasks run.
    Running,
    /// It gave its output.
    Completed,
    /// A task of it failed uncaught.
    Failed,
    /// It was not needed any more.
    Cancelled,
}

/// Tasks of a turn by their offset in the body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Span {
    /// Side by side from here.
    From(u32),
    /// After a change of the plan: one by one.
    Each(Vec<u32>),
}

/// One turn. Number 0 of all is the execution itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// The scope's task, or the one that is undone; `None` = the execution itself.
    pub scope: Option<u32>,
    /// Whether it undoes `scope`.
    pub undo: bool,
    /// From 0.
    pub number: u32,
    /// Where it stands.
    pub phase: TurnPhase,
    /// What it runs over, in a scope over a list.
    pub item: Option<Payload>,
    /// `loop.carry`.
    pub carry: Option<Payload>,
    /// What it gave.
    pub output: Option<Payload>,
    /// Why it failed.
    pub error: Option<Arc<(FailureClass, Arc<str>)>>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    pub(crate) block: u32,
    pub(crate) tasks: Span,
    /// Tasks that did not end yet.
    pub(crate) unfinished: u32,
}

impl Turn {
    /// The task at `offset` of the body.
    pub(crate) fn task(&self, offset: u32) -> u32 {
        match &self.tasks {
            Span::From(first) => first + offset,
            Span::Each(tasks) => tasks.get(offset as usize).copied().unwrap_or(u32::MAX),
        }
    }
}

/// The turns of a scope's task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopeState {
    /// Its turns in their order, as indices of [`crate::State::turns`].
    pub turns: Vec<u32>,
    /// Turns that completed.
    pub completed: u32,
    /// Turns that failed.
    pub failed: u32,
    /// Turns it makes when it runs over a list.
    pub items: u32,
    /// At once.
    pub(crate) width: u32,
    pub(crate) gates: BTreeMap<u32, Gate>,
}

impl ScopeState {
    /// Turns under way.
    pub fn running(&self) -> u32 {
        (self.turns.len() as u32).saturating_sub(self.completed + self.failed)
    }
}

/// Where items wait for a task of their turn that takes only so many at once, or takes them in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gate {
    /// Turns in the task now.
    pub inside: BTreeSet<u32>,
    /// Turns that wait, by number.
    pub waiting: BTreeSet<u32>,
    /// Turns that came by out of order; all below `next` did.
    pub passed: BTreeSet<u32>,
    /// The first turn that has not come by.
    pub next: u32,
}

impl Gate {
    /// A turn has come by, through the task or past it.
    pub(crate) fn pass(&mut self, turn: u32) {
        self.waiting.remove(&turn);
        if turn >= self.next {
            self.passed.insert(turn);
        }
        while self.passed.remove(&self.next) {
            self.next += 1;
        }
    }

    /// The turn that may go in now.
    pub(crate) fn admits(&self, width: Option<u32>, ordered: bool) -> Option<u32> {
        let first = *self.waiting.first()?;
        let room = width.is_none_or(|w| (self.inside.len() as u32) < w);
        (room && (!ordered || first == self.next)).then_some(first)
    }
}
