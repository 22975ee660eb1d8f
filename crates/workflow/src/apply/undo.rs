//! Compensation begins, goes through its tasks and leaves its record.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::{FailureClass, Timestamp};

use super::{State, Status, Timer};
use crate::{facts::Because, saga::Undoing, turn::TurnPhase};

impl State {
    pub(super) fn start_undoing(&mut self, because: &Because, at: Timestamp) {
        let (left, unclear) = self.to_undo();
        if let Because::Failed { class, message } = because {
            self.note_failure(*class, message, at);
        }
        self.close_everything(at);
        for turn in self.turns.iter_mut().skip(1).filter(|t| t.phase == TurnPhase::Running) {
            turn.phase = TurnPhase::Cancelled;
            turn.ended_at = Some(at);
        }
        self.timers.clear();
        let own = self.plan.plan().saga.timeout;
        let limit = own.unwrap_or(self.created.settings.saga_timeout);
        if limit > Duration::ZERO {
            self.timers.insert((at.plus(limit), Timer::Saga));
        }
        self.status = Status::Compensating;
        let (because, done) = (because.clone(), BTreeMap::new());
        self.undoing = Some(Box::new(Undoing { because, left, unclear, current: None, done }));
    }

    pub(crate) fn undo_task(&mut self, task: u32, at: Timestamp) {
        let Some(block) = self.plan.at(self.tasks[task as usize].node).undo else { return };
        let turn = self.push_turn(task, true, block, 0, at);
        self.open_turn(turn);
        if let Some(undoing) = &mut self.undoing {
            undoing.left.retain(|t| *t != task);
            undoing.current = Some((task, turn));
        }
    }

    pub(super) fn undone_task(
        &mut self,
        task: u32,
        failure: Option<(FailureClass, &Arc<str>)>,
        at: Timestamp,
    ) {
        self.forget_reviews(task, 0, true);
        let failure = failure.map(|(class, message)| Arc::new((class, message.clone())));
        let Some(undoing) = &mut self.undoing else { return };
        undoing.left.retain(|t| *t != task);
        undoing.unclear.retain(|t| *t != task);
        let current = undoing.current.filter(|(t, _)| *t == task);
        if current.is_some() {
            undoing.current = None;
        }
        undoing.done.insert(task, failure.clone());
        if undoing.left.is_empty() && undoing.current.is_none() {
            self.timers.retain(|(_, timer)| *timer != Timer::Saga);
        }
        if let Some((_, turn)) = current {
            let phase = if failure.is_none() { TurnPhase::Completed } else { TurnPhase::Failed };
            self.close_turn(turn, phase, at);
            self.turns[turn as usize].error = failure;
        }
    }
}
