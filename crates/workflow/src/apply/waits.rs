//! Tasks that wait for something from outside, and what comes.

use std::sync::Arc;

use base::{Payload, Timestamp};
use serde_json::Value;

use super::{Kind, State, TaskPhase, Timer};
use crate::{
    input::to_value,
    plan::{NodeKind, Wait},
    state::Review,
    wait::{Asked, Decided, Waiting},
};

impl State {
    pub(super) fn apply_wait(&mut self, kind: &Kind, at: Timestamp) {
        match kind {
            Kind::WaitOpened { task, until, key } => self.open_wait(*task, *until, key.clone(), at),
            Kind::EventReceived { event, expires } => self.mailbox.keep(event.clone(), *expires, at),
            Kind::EventTaken { tasks, event_id } => self.take_event(tasks, event_id),
            Kind::SignalReceived { name, payload, id, .. } => self.take_signal(name, payload, id),
            Kind::ApprovalAsked { task, title } => {
                let asked = Asked { title: title.clone(), at, escalated: 0, decided: None };
                self.begin_wait(*task, Waiting::Approval(asked), at);
                self.arm_escalation(*task);
            }
            Kind::ApprovalEscalated { task, step } => {
                if let Some(due) = self.escalation_due(*task) {
                    self.timers.remove(&(due, Timer::Escalation(*task)));
                }
                if let Some(Waiting::Approval(asked)) = self.wait_mut(*task) {
                    asked.escalated = step + 1;
                }
                self.arm_escalation(*task);
            }
            Kind::ApprovalDecided { task, verdict, by, comment, form } => {
                if let Some(due) = self.escalation_due(*task) {
                    self.timers.remove(&(due, Timer::Escalation(*task)));
                }
                if let Some(Waiting::Approval(asked)) = self.wait_mut(*task) {
                    let (verdict, by, comment) = (*verdict, by.clone(), comment.clone());
                    asked.decided = Some(Decided { verdict, by, comment, form: form.clone() });
                    self.review.push_back(Review::Task(*task));
                }
            }
            Kind::StepGranted { task, .. } => {
                if let Some(Waiting::Step { granted, .. }) = self.wait_mut(*task) {
                    *granted = true;
                    self.review.push_back(Review::Task(*task));
                }
            }
            Kind::EventEmitted { task, event } => {
                self.begin_wait(*task, Waiting::Publish { event: event.clone(), done: false }, at);
            }
            Kind::EventPublished { task } => {
                if let Some(Waiting::Publish { done, .. }) = self.wait_mut(*task) {
                    *done = true;
                    self.review.push_back(Review::Task(*task));
                }
            }
            Kind::ChildStarted { task, child } => {
                let child = child.clone();
                self.lend(*task, &child);
                self.begin_wait(*task, Waiting::Child { child, since: at, version: None, outcome: None }, at);
            }
            Kind::ChildAccepted { task, version: found } => {
                if let Some(Waiting::Child { version, child, .. }) = self.wait_mut(*task) {
                    *version = Some(found.clone());
                    if child.detached {
                        self.review.push_back(Review::Task(*task));
                    }
                }
            }
            Kind::ChildEnded { task, outcome: found, spent } => {
                self.settle_loan(self.child(*task).map(|child| child.execution), *spent);
                let open = self.tasks[*task as usize].phase == TaskPhase::Scheduled;
                if let Some(Waiting::Child { outcome, .. }) = self.wait_mut(*task) {
                    *outcome = Some(found.clone());
                    if open {
                        self.review.push_back(Review::Task(*task));
                    }
                }
            }
            Kind::ChildSettled { execution, spent } => self.settle_loan(Some(*execution), *spent),
            _ => {}
        }
    }

    fn wait_mut(&mut self, task: u32) -> Option<&mut Waiting> {
        self.tasks.get_mut(task as usize)?.more.as_mut()?.wait.as_mut()
    }

    fn begin_wait(&mut self, task: u32, wait: Waiting, at: Timestamp) {
        if self.enter(task, at) {
            self.tasks[task as usize].more().wait = Some(wait);
        }
    }

    fn open_wait(&mut self, task: u32, until: Option<Timestamp>, key: Option<Arc<str>>, at: Timestamp) {
        let timer = until.unwrap_or(at);
        match self.task_plan(task).kind.clone() {
            NodeKind::Scope(_) if self.tasks[task as usize].phase == TaskPhase::Scheduled => {
                self.review.retain(|r| *r != Review::Scope(task));
                self.tasks[task as usize].more().wait = Some(Waiting::Pause { until: timer });
                self.timers.insert((timer, Timer::Wait(task)));
            }
            NodeKind::Wait(Wait::Timer { .. }) if self.untriggered(task).is_none() => {
                self.begin_wait(task, Waiting::Timer { until: timer }, at);
                self.timers.insert((timer, Timer::Wait(task)));
            }
            NodeKind::Wait(Wait::Event { .. }) if self.untriggered(task).is_none() => {
                self.begin_wait(task, Waiting::Event { key, since: at, taken: Vec::new() }, at);
                self.listeners.insert(task);
            }
            NodeKind::Wait(Wait::Signal { name, .. }) if self.untriggered(task).is_none() => {
                let payload = self.mailbox.take_signal(&name);
                if payload.is_some() {
                    self.review.push_back(Review::Task(task));
                }
                self.begin_wait(task, Waiting::Signal { since: at, payload }, at);
            }
            NodeKind::Wait(Wait::Step) if self.untriggered(task).is_none() => {
                self.begin_wait(task, Waiting::Step { since: at, granted: false }, at);
            }
            // An event-driven task waits for the event that starts it.
            _ => {
                self.leave_agenda(task);
                self.tasks[task as usize].more().wait =
                    Some(Waiting::Event { key, since: at, taken: Vec::new() });
                self.listeners.insert(task);
            }
        }
    }

    /// The topic whose event has to start the task before it may run.
    pub(crate) fn untriggered(&self, task: u32) -> Option<&str> {
        let state = &self.tasks[task as usize];
        let triggered = state.more.as_ref().is_some_and(|m| m.trigger.is_some());
        if triggered || state.phase != TaskPhase::Pending { None } else { self.driven_by(task) }
    }

    fn take_event(&mut self, tasks: &[u32], id: &str) {
        let Some(event) = self.mailbox.take(id) else { return };
        let known = self.tasks.len();
        for &task in tasks.iter().filter(|t| (**t as usize) < known) {
            let count = match &self.task_plan(task).kind {
                NodeKind::Wait(Wait::Event { count, .. }) => *count as usize,
                _ => 1,
            };
            if self.untriggered(task).is_some() {
                let more = self.tasks[task as usize].more();
                (more.trigger, more.wait) = (Some(event.clone()), None);
                self.listeners.remove(&task);
                self.agenda.push_back(task);
                continue;
            }
            if let Some(Waiting::Event { taken, .. }) = self.wait_mut(task) {
                taken.push(event.clone());
                if taken.len() >= count {
                    self.listeners.remove(&task);
                    self.review.push_back(Review::Task(task));
                }
            }
        }
    }

    /// Every open wait for the signal takes it; when there is none, the first that opens will.
    fn take_signal(&mut self, name: &Arc<str>, payload: &Payload, id: &Arc<str>) {
        self.mailbox.know_signal(id);
        let open: Vec<u32> = self.awaited_signals().filter(|(_, n)| **n == **name).map(|(t, _)| t).collect();
        if open.is_empty() {
            self.mailbox.signals.push_back((name.clone(), payload.clone()));
        }
        for task in open {
            if let Some(Waiting::Signal { payload: found, .. }) = self.wait_mut(task) {
                *found = Some(payload.clone());
                self.review.push_back(Review::Task(task));
            }
        }
    }

    pub(crate) fn escalation_due(&self, task: u32) -> Option<Timestamp> {
        let asked = self.approval(task).filter(|a| a.decided.is_none())?;
        let NodeKind::Wait(Wait::Approval(plan)) = &self.task_plan(task).kind else { return None };
        Some(asked.at.plus(plan.escalate.get(asked.escalated as usize)?.after))
    }

    fn arm_escalation(&mut self, task: u32) {
        if let Some(due) = self.escalation_due(task) {
            self.timers.insert((due, Timer::Escalation(task)));
        }
    }

    /// The pause before a loop's next turn is over.
    pub(super) fn end_pause(&mut self, task: u32) {
        if let Some(Waiting::Pause { until }) = self.wait_mut(task) {
            let until = *until;
            self.tasks[task as usize].more().wait = None;
            self.timers.remove(&(until, Timer::Wait(task)));
        }
    }

    pub(super) fn set_vars(&mut self, task: Option<u32>, vars: &Payload, by: &str, at: Timestamp) {
        let mut all = match self.vars.take().map(Arc::unwrap_or_clone) {
            Some(Value::Object(all)) => all,
            _ => serde_json::Map::new(),
        };
        if let Value::Object(new) = to_value(vars) {
            all.extend(new);
        }
        self.vars = Some(Arc::new(Value::Object(all)));
        match task {
            Some(task) => self.complete(task, Some(vars), 0, at),
            None if by.is_empty() => self.vars_begun = true,
            None => {}
        }
    }

    pub(super) fn switch_mode(&mut self, task: u32, topic: Option<Arc<str>>) {
        self.modes.insert(task, topic);
        // It is looked at again: what is kept may start it now, or nothing has to.
        if self.tasks[task as usize].phase == TaskPhase::Pending && self.listeners.remove(&task) {
            self.tasks[task as usize].more().wait = None;
            self.agenda.push_back(task);
        }
    }
}
