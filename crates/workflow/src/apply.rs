//! Folding a fact into the state. Total: a fact that does not fit the state changes only what it names, so that a log
//! written by another build never stops a replay.

mod calls;
mod change;
mod tasks;
mod turns;
mod undo;
mod waits;

use std::{sync::Arc, time::Duration};

use base::{CheckpointId, Timestamp};

use crate::{
    event::{Assignment, CallKey, Decision, Event, Kind},
    state::{Cause, State, Status, Timer},
    task::{CallPhase, CallState, TaskPhase},
};

pub(crate) use calls::ready_calls;

impl State {
    /// Folds one event. The first event of a log goes through [`crate::fold`].
    pub fn apply(&mut self, event: &Event) {
        let at = event.at;
        self.seq += 1;
        self.time = at;
        if event.kind.task().is_some_and(|task| task as usize >= self.tasks.len()) {
            return;
        }
        match &event.kind {
            // A second creation cannot be: the row's key is unique.
            Kind::Created(_) => {}
            Kind::Admitted => self.admit(at),
            Kind::TaskScheduled { task, items, width, scattered } => {
                self.schedule(*task, *items, *width, *scattered, at)
            }
            Kind::TaskSkipped { task, reason } => self.skip(*task, *reason, at),
            Kind::TaskCompleted { task, output, call_us } => {
                self.complete(*task, output.as_ref(), *call_us, at)
            }
            Kind::TaskFailed { call, class, message, tolerated, spared } => {
                self.fail_task(*call, (*class, message), *tolerated, *spared, at)
            }
            Kind::TaskRecovered { call, class, message, output } => {
                self.recover_task(*call, (*class, message), output, at)
            }
            Kind::TaskCancelled { task, .. } => self.cancel_task(*task, at),
            Kind::Routed { task, cases } => self.route(*task, cases, at),
            Kind::Picked { task, name } => self.tasks[*task as usize].more().picked = Some(name.clone()),
            Kind::Paused { checkpoint, .. } => self.pause(*checkpoint),
            Kind::Resumed { .. } => self.resume(at),
            Kind::Completed { output } => {
                self.output = Some(output.clone());
                self.finish(Status::Completed, at);
            }
            Kind::Failed { class, message } => {
                self.note_failure(*class, message, at);
                self.finish(Status::Failed, at);
            }
            Kind::Cancelled { .. } => self.finish(Status::Cancelled, at),
            Kind::Terminated { .. } => self.finish(Status::Terminated, at),
            Kind::Checkpoint { checkpoint } => {
                self.last_checkpoint = Some(*checkpoint);
                self.timers.retain(|(_, timer)| *timer != Timer::Checkpoint);
                self.arm_checkpoint(at);
            }
            Kind::LateResult { call, what } => {
                self.late.insert((*call, what.clone()));
            }
            Kind::HistoryWarning { .. } => self.warned = true,
            Kind::TurnStarted { scope, turn, item, carry } => {
                self.start_turn(*scope, *turn, item.clone(), carry.clone(), at)
            }
            Kind::TurnEnded { scope, turn, result } => self.end_turn(*scope, *turn, result, at),
            Kind::VariablesSet { task, vars, by } => self.set_vars(*task, vars, by, at),
            Kind::CompensationStarted { because } => self.start_undoing(because, at),
            Kind::TaskCompensating { task } => self.undo_task(*task, at),
            Kind::TaskCompensated { task } => self.undone_task(*task, None, at),
            Kind::CompensationFailed { task, class, message } => {
                self.undone_task(*task, Some((*class, message)), at)
            }
            Kind::Compensated => self.finish(Status::Compensated, at),
            Kind::PlanChanged(change) => self.change_plan(change, at),
            Kind::Reset { tasks, input, .. } => self.reset(tasks, input.as_ref(), at),
            Kind::Seeded { tasks, vars, .. } => self.seed(tasks, vars.as_ref(), at),
            Kind::ModeSwitched { task, topic, .. } => self.switch_mode(*task, topic.clone()),
            Kind::AttemptStarted { .. }
            | Kind::AttemptBound { .. }
            | Kind::AttemptAdopted { .. }
            | Kind::AttemptFailed { .. }
            | Kind::ItemCompleted { .. }
            | Kind::InputRequired { .. }
            | Kind::InputProvided { .. }
            | Kind::NeedsDecision { .. }
            | Kind::DecisionMade { .. }
            | Kind::NoAgent { .. }
            | Kind::Spent { .. } => self.apply_call(&event.kind, at),
            Kind::WaitOpened { .. }
            | Kind::EventReceived { .. }
            | Kind::EventTaken { .. }
            | Kind::SignalReceived { .. }
            | Kind::ApprovalAsked { .. }
            | Kind::ApprovalEscalated { .. }
            | Kind::ApprovalDecided { .. }
            | Kind::StepGranted { .. }
            | Kind::EventEmitted { .. }
            | Kind::EventPublished { .. }
            | Kind::ChildStarted { .. }
            | Kind::ChildAccepted { .. }
            | Kind::ChildEnded { .. }
            | Kind::ChildSettled { .. } => self.apply_wait(&event.kind, at),
        }
    }

    pub(crate) fn note_failure(&mut self, class: base::FailureClass, message: &Arc<str>, at: Timestamp) {
        let cause = Cause { call: None, attempt: 0, class, message: message.clone(), agent: None, at };
        self.causes.push(cause);
    }

    fn admit(&mut self, at: Timestamp) {
        self.started_at = Some(at);
        if self.created.timeout > Duration::ZERO {
            self.timers.insert((at.plus(self.created.timeout), Timer::Execution));
        }
        match self.status {
            Status::Paused => self.before_pause = Status::Executing,
            _ => {
                self.status = Status::Executing;
                self.arm_checkpoint(at);
            }
        }
    }

    fn arm_checkpoint(&mut self, at: Timestamp) {
        let every = self.created.checkpoint_every;
        if every > Duration::ZERO {
            // At least one microsecond, the grain of time here: a checkpoint is never due at its own moment.
            let next = at.plus(every.max(Duration::from_micros(1)));
            self.timers.insert((next, Timer::Checkpoint));
        }
    }

    /// Nothing can leave, so the limits of waiting stand still and no checkpoint is due. The limits of what runs go on.
    fn pause(&mut self, checkpoint: CheckpointId) {
        self.before_pause = self.status;
        self.status = Status::Paused;
        self.last_checkpoint = Some(checkpoint);
        self.timers.retain(|(_, timer)| *timer != Timer::Checkpoint);
        for key in ready_calls(&self.tasks).collect::<Vec<_>>() {
            self.set_timer(key, None);
        }
    }

    /// What waited for the pause to end goes out again, with the limits of waiting counted from now.
    fn resume(&mut self, at: Timestamp) {
        self.status = self.before_pause;
        if !self.is_active() {
            return;
        }
        self.arm_checkpoint(at);
        for key in ready_calls(&self.tasks).collect::<Vec<_>>() {
            if let Some(CallState { phase: CallPhase::Ready(from), .. }) = self.call_mut(key) {
                *from = at.max(*from);
            }
            self.set_ready_timer(key, at);
            self.fresh.push(key);
        }
    }
}
