//! Facts about calls.

use std::{sync::Arc, time::Duration};

use base::{FailureClass, Timestamp};

use super::{
    Assignment, CallKey, CallPhase, CallState, Cause, Decision, Kind, State, Status, TaskPhase, Timer,
};
use crate::{
    facts::Spending,
    state::Review,
    task::{Attempt, TaskState},
};

impl State {
    pub(super) fn apply_call(&mut self, kind: &Kind, at: Timestamp) {
        match kind {
            Kind::AttemptStarted { call, attempt, retry, to } => {
                self.start_attempt(*call, *attempt, *retry, to, at)
            }
            Kind::AttemptBound { call, agent_task_id, context_id } => {
                if let Some(open) = self.call_mut(*call).and_then(|c| c.current.as_mut()) {
                    open.bound = Some((agent_task_id.clone(), context_id.clone()));
                }
            }
            Kind::AttemptAdopted { call, caller } => {
                if let Some(open) = self.call_mut(*call).and_then(|c| c.current.as_mut()) {
                    open.to = Arc::new(Assignment { caller: caller.clone(), ..(*open.to).clone() });
                }
            }
            Kind::AttemptFailed { call, class, message, outcome_known, retry_at, call_us } => {
                self.fail_attempt(*call, *class, message, *outcome_known, *retry_at, *call_us, at);
            }
            Kind::ItemCompleted { call, output, call_us } => {
                let before = self.close_call(*call, CallPhase::Completed, *call_us, at);
                if let Some(c) = self.call_mut(*call) {
                    c.output = Some(output.clone());
                }
                if before.is_some_and(|phase| phase != CallPhase::Completed) {
                    self.item_done(*call, at);
                }
            }
            Kind::InputRequired { call, prompt, agent_task_id, context_id, call_us } => {
                self.close_call(*call, CallPhase::Input, *call_us, at);
                if let Some(c) = self.call_mut(*call) {
                    c.prompt = Some(prompt.clone());
                    if let Some(open) = &mut c.current {
                        open.bound = Some((agent_task_id.clone(), context_id.clone()));
                        // The answer before has served.
                        open.answer = None;
                    }
                }
            }
            Kind::InputProvided { call, input, .. } => {
                if let Some(c) = self.call_mut(*call) {
                    c.prompt = None;
                    if let Some(open) = &mut c.current {
                        open.answer = Some(input.clone());
                    }
                }
                self.open_call(*call, at);
            }
            Kind::NeedsDecision { call, message } => {
                self.close_call(*call, CallPhase::Decision, 0, at);
                if let Some(c) = self.call_mut(*call) {
                    c.waiting = Some(message.clone());
                }
            }
            Kind::DecisionMade { call, decision, .. } => {
                if let Some(c) = self.call_mut(*call) {
                    c.waiting = None;
                }
                if *decision == Decision::Failed {
                    self.tasks[call.task as usize].more().unclear = false;
                }
                if *decision == Decision::Retry {
                    self.make_ready(*call, at, at);
                }
            }
            Kind::NoAgent { call, reason } => {
                // Another reason is no longer wait: the limit counts from the first.
                let first = self.call_mut(*call).is_some_and(|c| c.waiting.replace(reason.clone()).is_none());
                if first {
                    self.set_ready_timer(*call, at);
                }
            }
            Kind::Spent { call, attempt, usage } => {
                let more = Spending { calls: 0, tokens: usage.tokens, money_micros: usage.money_micros };
                self.spent = self.spent.plus(more);
                if let Some(c) = self.call_mut(*call) {
                    c.billed = *attempt;
                }
            }
            _ => {}
        }
    }

    pub(super) fn call_mut(&mut self, key: CallKey) -> Option<&mut CallState> {
        self.tasks.get_mut(key.task as usize)?.calls.get_mut(key.item as usize)
    }

    pub(super) fn set_timer(&mut self, key: CallKey, when: Option<Timestamp>) {
        let Some(call) = self.call_mut(key) else { return };
        let old = std::mem::replace(&mut call.timer, when);
        if let Some(old) = old {
            self.timers.remove(&(old, Timer::Call(key)));
        }
        if let Some(new) = when {
            self.timers.insert((new, Timer::Call(key)));
        }
    }

    /// Queue limit from the first readiness, allocation limit from the moment no agent was found, or the retry's time.
    /// None of them in a pause.
    pub(super) fn set_ready_timer(&mut self, key: CallKey, now: Timestamp) {
        let paused = self.status == Status::Paused;
        let queue = self.task_plan(key.task).timeouts.queue;
        let allocation = self.created.allocation_timeout;
        let Some(call) = self.call_mut(key) else { return };
        let CallPhase::Ready(from) = call.phase else { return };
        let queued = if call.attempt == 0 { queue.map(|q| from.plus(q)) } else { None };
        let unserved =
            call.waiting.is_some().then(|| now.plus(allocation)).filter(|_| allocation > Duration::ZERO);
        let limit = [queued, unserved].into_iter().flatten().min();
        // A retry's own time is a timer too: an execution that was put aside must wake up for it.
        let when = if from > now { Some(from) } else { limit };
        self.set_timer(key, when.filter(|_| !paused));
    }

    pub(super) fn make_ready(&mut self, key: CallKey, from: Timestamp, now: Timestamp) {
        self.set_phase(key, CallPhase::Ready(from), now);
        self.fresh.push(key);
        self.set_ready_timer(key, now);
    }

    pub(super) fn start_attempt(
        &mut self,
        key: CallKey,
        attempt: u32,
        retry: u32,
        to: &Arc<Assignment>,
        at: Timestamp,
    ) {
        let Some(call) = self.call_mut(key) else { return };
        call.attempt = attempt;
        call.retry = retry;
        call.waiting = None;
        call.current = Some(Box::new(Attempt { to: to.clone(), started_at: at, bound: None, answer: None }));
        self.spent.calls += 1;
        if !self.agents.contains(to.agent.as_str()) {
            self.agents.insert(Arc::from(to.agent.as_str()));
        }
        self.open_call(key, at);
    }

    /// An attempt is open from now on.
    pub(super) fn open_call(&mut self, key: CallKey, at: Timestamp) {
        let limit = self.task_plan(key.task).timeouts.attempt;
        self.set_phase(key, CallPhase::Running, at);
        self.set_timer(key, limit.map(|l| at.plus(l)));
    }

    /// The call stands in `phase` from now on, without a timer; counts its time when an attempt was open. Gives the
    /// phase before.
    pub(super) fn close_call(
        &mut self,
        key: CallKey,
        phase: CallPhase,
        call_us: u64,
        at: Timestamp,
    ) -> Option<CallPhase> {
        let before = self.set_phase(key, phase, at)?;
        self.set_timer(key, None);
        if before == CallPhase::Running {
            self.agent_us = self.agent_us.saturating_add(call_us);
        }
        Some(before)
    }

    /// The only place where a call changes its phase: the counters follow it.
    pub(super) fn set_phase(&mut self, key: CallKey, phase: CallPhase, at: Timestamp) -> Option<CallPhase> {
        let call = self.call_mut(key)?;
        call.ended_at = matches!(phase, CallPhase::Completed | CallPhase::Failed).then_some(at);
        let before = std::mem::replace(&mut call.phase, phase);
        match before {
            CallPhase::Running => {
                self.hold_back(key.task, false);
                self.in_flight -= 1;
                if self.in_flight == 0 {
                    self.busy += self.busy_since.take().map_or(Duration::ZERO, |since| at.since(since));
                }
            }
            CallPhase::Ready(_) => self.waiting_calls -= 1,
            CallPhase::Input => self.asking -= 1,
            _ => {}
        }
        match phase {
            CallPhase::Running => {
                self.hold_back(key.task, true);
                self.in_flight += 1;
                if self.in_flight == 1 {
                    self.busy_since = Some(at);
                }
            }
            CallPhase::Ready(_) => self.waiting_calls += 1,
            CallPhase::Input => self.asking += 1,
            _ => {}
        }
        Some(before)
    }

    /// What an open attempt may still spend is held back until its end.
    fn hold_back(&mut self, task: u32, open: bool) {
        let spend = self.task_plan(task).spend;
        let held = &mut self.reserved;
        let parts = [(&mut held.tokens, spend.tokens), (&mut held.money_micros, spend.money_micros)];
        for (sum, part) in parts {
            *sum = if open { sum.saturating_add(part) } else { sum.saturating_sub(part) };
        }
    }

    pub(super) fn agent_of(&self, key: CallKey) -> Option<Arc<str>> {
        Some(Arc::from(self.call(key)?.current.as_ref()?.to.agent.as_str()))
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one event")]
    pub(super) fn fail_attempt(
        &mut self,
        key: CallKey,
        class: FailureClass,
        message: &Arc<str>,
        outcome_known: bool,
        retry_at: Option<Timestamp>,
        call_us: u64,
        at: Timestamp,
    ) {
        self.close_call(key, CallPhase::Failed, call_us, at);
        let agent = self.agent_of(key);
        let Some(call) = self.call_mut(key) else { return };
        call.error = Some(Arc::new((class, message.clone())));
        if let Some(open) = &call.current {
            call.tried.push(open.to.instance.clone());
        }
        let attempt = call.attempt;
        if outcome_known {
            call.retry += 1;
        }
        if !outcome_known {
            self.tasks[key.task as usize].more().unclear = true;
        }
        self.causes.push(Cause { call: Some(key), attempt, class, message: message.clone(), agent, at });
        if let Some(when) = retry_at {
            self.retries += 1;
            self.make_ready(key, when, at);
        }
    }

    pub(super) fn item_done(&mut self, key: CallKey, at: Timestamp) {
        let task = &mut self.tasks[key.task as usize];
        task.open = task.open.saturating_sub(1);
        if task.open == 0 {
            self.review.push_back(Review::Task(key.task));
        } else if (task.next_item as usize) < task.calls.len() {
            let next = CallKey::new(key.task, task.next_item);
            task.next_item += 1;
            self.make_ready(next, at, at);
        }
    }
}

/// Calls that may leave, in order of task and item.
pub(crate) fn ready_calls(tasks: &[TaskState]) -> impl Iterator<Item = CallKey> + '_ {
    tasks.iter().enumerate().filter(|(_, t)| t.phase == TaskPhase::Scheduled).flat_map(|(t, task)| {
        let ready = task.calls.iter().enumerate().filter(|(_, c)| matches!(c.phase, CallPhase::Ready(_)));
        ready.map(move |(i, _)| CallKey::new(t as u32, i as u32))
    })
}
