//! Undoing completed work: which tasks, in which order, and what became of it.
//!
//! When an execution fails (or is cancelled and its plan says so), what is open is cancelled, and completed tasks with a
//! compensation are undone one after the other, the last that completed first. A scope that has a compensation of its own
//! answers for everything inside it. A call that was open, waits for a decision or failed without anybody knowing whether
//! it did its work is undone too when its task has a compensation; without one it is reported to an operator.

use std::{collections::BTreeMap, sync::Arc};

use base::FailureClass;

use crate::{
    facts::Because,
    plan::Saga,
    state::State,
    task::{CallPhase, TaskPhase},
};

/// Why something failed: class and words.
type Reason = Arc<(FailureClass, Arc<str>)>;

/// A compensation under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Undoing {
    /// Why.
    pub because: Because,
    /// Tasks still to be undone; the next one stands last.
    pub left: Vec<u32>,
    /// Tasks of unknown outcome that nothing undoes; reported one by one, the next one last.
    pub unclear: Vec<u32>,
    /// The task that is being undone, and the turn that does it.
    pub current: Option<(u32, u32)>,
    /// What became of the others: `None` = undone.
    pub done: BTreeMap<u32, Option<Reason>>,
}

impl Saga {
    /// Whether a failure of this class is undone.
    pub fn covers(&self, class: FailureClass) -> bool {
        self.on_failure
            && (self.classes.is_empty() || self.classes.contains(&class))
            && !self.not_classes.contains(&class)
    }
}

impl State {
    /// The compensation under way, or how it went.
    pub fn undone(&self) -> Option<&Undoing> {
        self.undoing.as_deref()
    }

    /// The task that undoes `task`, begun or not; the latter in a state as if it began now. `None`: nothing undoes it. For
    /// those who make its call when the execution itself no longer does.
    #[must_use]
    pub fn with_undo_of(mut self, task: u32) -> Option<(Self, u32)> {
        let undo_of = |state: &Self| state.find_task(&format!("{}:compensate", state.task_path(task)));
        if let Some(known) = undo_of(&self) {
            return Some((self, known));
        }
        self.undo_task(task, self.time);
        let begun = undo_of(&self)?;
        Some((self, begun))
    }

    /// Whether something would be undone for this reason.
    pub(crate) fn compensates(&self, because: &Because) -> bool {
        let saga = &self.plan.plan().saga;
        let wanted = match because {
            Because::Failed { class, .. } => saga.covers(*class),
            Because::Cancelled { .. } => saga.on_cancel,
        };
        wanted && {
            let (undo, _) = self.to_undo();
            !undo.is_empty()
        }
    }

    /// Tasks to undo (the first one last), and tasks of unknown outcome that nothing undoes.
    pub(crate) fn to_undo(&self) -> (Vec<u32>, Vec<u32>) {
        let (mut undo, mut unclear) = (Vec::new(), Vec::new());
        for (task, state) in (0..).zip(&self.tasks) {
            if self.undo_of(state.turn).is_some() || self.is_covered(task) || !self.is_live(state.turn) {
                continue;
            }
            let elsewhere = state.more.as_ref().is_some_and(|m| m.taken_over);
            let has = self.plan.at(state.node).undo.is_some() && !elsewhere;
            match state.phase {
                TaskPhase::Completed if has => undo.push((state.ended_seq, task)),
                TaskPhase::Scheduled if has && self.may_have_worked(task) => undo.push((u64::MAX, task)),
                TaskPhase::Failed if has && self.may_have_worked(task) => undo.push((state.ended_seq, task)),
                TaskPhase::Scheduled if state.calls.iter().any(|c| c.phase == CallPhase::Decision) => {
                    unclear.push(task);
                }
                _ => {}
            }
        }
        undo.sort_unstable();
        unclear.reverse();
        (undo.into_iter().map(|(_, task)| task).collect(), unclear)
    }

    /// Whether a completed scope around the task has a compensation of its own.
    fn is_covered(&self, task: u32) -> bool {
        let mut turn = &self.turns[self.tasks[task as usize].turn as usize];
        while let Some(scope) = turn.scope {
            let state = &self.tasks[scope as usize];
            if state.phase == TaskPhase::Completed && self.plan.at(state.node).undo.is_some() {
                return true;
            }
            turn = &self.turns[state.turn as usize];
        }
        false
    }

    /// Whether a task that did not complete may have done something all the same.
    fn may_have_worked(&self, task: u32) -> bool {
        let state = &self.tasks[task as usize];
        let open = |phase| matches!(phase, CallPhase::Running | CallPhase::Input | CallPhase::Decision);
        state.more.as_ref().is_some_and(|m| m.unclear)
            || state.calls.iter().any(|c| open(c.phase) || c.phase == CallPhase::Completed)
            || self.child(task).is_some()
    }
}
