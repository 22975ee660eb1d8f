//! Folding a fact into the state. Total: a fact that does not fit the state changes only what it names, so that a log
//! written by another build never stops a replay.

use std::{sync::Arc, time::Duration};

use base::{CheckpointId, FailureClass, Timestamp};

use crate::{
    event::{Assignment, CallKey, Decision, Event, Kind, SkipReason},
    state::{Attempt, CallPhase, CallState, Cause, State, Status, TaskPhase, Timer},
};

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
            Kind::TaskCompleted { task, output, call_us } => {
                if output.is_some() {
                    self.close_call(CallKey::new(*task, 0), CallPhase::Completed, *call_us, at);
                }
                self.review.retain(|t| t != task);
                let gathered = output.clone().or_else(|| Some(self.gather(*task)));
                let state = &mut self.tasks[*task as usize];
                state.output = gathered;
                for call in &mut state.calls {
                    // The gathered output holds them; keeping both would double the memory.
                    call.output = None;
                }
                self.end_task(*task, TaskPhase::Completed, at);
            }
            Kind::TaskFailed { call, class, message, tolerated, .. } => {
                self.fail_task(*call, *class, message, *tolerated, at)
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
            Kind::Paused { checkpoint, .. } => self.pause(*checkpoint),
            Kind::Resumed { .. } => self.resume(at),
            Kind::Completed { output } => {
                self.output = Some(output.clone());
                self.finish(Status::Completed, at);
            }
            Kind::Failed { class, message } => {
                let cause = Cause {
                    call: None,
                    attempt: 0,
                    class: *class,
                    message: message.clone(),
                    agent: None,
                    at,
                };
                self.causes.push(cause);
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
            _ => {}
        }
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
        if self.status != Status::Executing {
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

    fn call_mut(&mut self, key: CallKey) -> Option<&mut CallState> {
        self.tasks.get_mut(key.task as usize)?.calls.get_mut(key.item as usize)
    }

    fn leave_agenda(&mut self, task: u32) {
        match self.agenda.front() {
            Some(&first) if first == task => {
                self.agenda.pop_front();
            }
            _ => self.agenda.retain(|&t| t != task),
        }
    }

    fn schedule(&mut self, task: u32, items: u32, width: u32, scattered: bool, at: Timestamp) {
        if self.tasks[task as usize].phase != TaskPhase::Pending {
            return;
        }
        self.leave_agenda(task);
        let seq = self.seq;
        self.tasks[task as usize].schedule(items, width, scattered, at, seq);
        if items == 0 {
            self.review.push_back(task);
        }
        for item in 0..width.min(items) {
            self.make_ready(CallKey::new(task, item), at, at);
        }
        if let Some(total) = self.plan.plan().tasks[task as usize].timeouts.total {
            self.timers.insert((at.plus(total), Timer::Task(task)));
        }
    }

    fn skip(&mut self, task: u32, reason: SkipReason, at: Timestamp) {
        self.leave_agenda(task);
        self.end_task(task, TaskPhase::Skipped(reason), at);
    }

    fn set_timer(&mut self, key: CallKey, when: Option<Timestamp>) {
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
    fn set_ready_timer(&mut self, key: CallKey, now: Timestamp) {
        let paused = self.status == Status::Paused;
        let queue = self.plan.plan().tasks[key.task as usize].timeouts.queue;
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

    fn make_ready(&mut self, key: CallKey, from: Timestamp, now: Timestamp) {
        self.set_phase(key, CallPhase::Ready(from), now);
        self.fresh.push(key);
        self.set_ready_timer(key, now);
    }

    fn start_attempt(&mut self, key: CallKey, attempt: u32, retry: u32, to: &Arc<Assignment>, at: Timestamp) {
        let Some(call) = self.call_mut(key) else { return };
        call.attempt = attempt;
        call.retry = retry;
        call.waiting = None;
        call.current = Some(Box::new(Attempt { to: to.clone(), started_at: at, bound: None, answer: None }));
        if !self.agents.contains(to.agent.as_str()) {
            self.agents.insert(Arc::from(to.agent.as_str()));
        }
        self.open_call(key, at);
    }

    /// An attempt is open from now on.
    fn open_call(&mut self, key: CallKey, at: Timestamp) {
        let limit = self.plan.plan().tasks[key.task as usize].timeouts.attempt;
        self.set_phase(key, CallPhase::Running, at);
        self.set_timer(key, limit.map(|l| at.plus(l)));
    }

    /// The call stands in `phase` from now on, without a timer; counts its time when an attempt was open. Gives the
    /// phase before.
    fn close_call(
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
    fn set_phase(&mut self, key: CallKey, phase: CallPhase, at: Timestamp) -> Option<CallPhase> {
        let call = self.call_mut(key)?;
        call.ended_at = matches!(phase, CallPhase::Completed | CallPhase::Failed).then_some(at);
        let before = std::mem::replace(&mut call.phase, phase);
        match before {
            CallPhase::Running => {
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

    fn agent_of(&self, key: CallKey) -> Option<Arc<str>> {
        Some(Arc::from(self.call(key)?.current.as_ref()?.to.agent.as_str()))
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one event")]
    fn fail_attempt(
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
        self.causes.push(Cause { call: Some(key), attempt, class, message: message.clone(), agent, at });
        if let Some(when) = retry_at {
            self.retries += 1;
            self.make_ready(key, when, at);
        }
    }

    fn item_done(&mut self, key: CallKey, at: Timestamp) {
        let task = &mut self.tasks[key.task as usize];
        task.open = task.open.saturating_sub(1);
        if task.open == 0 {
            self.review.push_back(key.task);
        } else if (task.next_item as usize) < task.calls.len() {
            let next = CallKey::new(key.task, task.next_item);
            task.next_item += 1;
            self.make_ready(next, at, at);
        }
    }

    fn fail_task(
        &mut self,
        key: CallKey,
        class: FailureClass,
        message: &Arc<str>,
        tolerated: bool,
        at: Timestamp,
    ) {
        self.leave_agenda(key.task);
        self.review.retain(|&t| t != key.task);
        if !self.plan.plan().tasks[key.task as usize].optional {
            self.failures += 1;
        }
        let reported = self.call(key).and_then(|c| c.error.as_ref()).is_some_and(|e| e.1 == *message);
        if !reported {
            let (attempt, agent) = (self.call(key).map_or(0, |c| c.attempt), self.agent_of(key));
            self.causes.push(Cause { call: Some(key), attempt, class, message: message.clone(), agent, at });
        }
        let calls = self.tasks[key.task as usize].calls.len() as u32;
        for item in 0..calls {
            let call = CallKey::new(key.task, item);
            if !matches!(self.call(call).map(|c| c.phase), Some(CallPhase::Completed)) {
                self.close_call(call, CallPhase::Failed, 0, at);
            }
        }
        if let Some(call) = self.call_mut(key) {
            call.error.get_or_insert_with(|| Arc::new((class, message.clone())));
        }
        self.end_task(key.task, TaskPhase::Failed, at);
        if !tolerated {
            self.review.push_back(key.task);
        }
    }

    /// The task is over: its successors have one less to wait for.
    fn end_task(&mut self, task: u32, phase: TaskPhase, at: Timestamp) {
        let seq = self.seq;
        let state = &mut self.tasks[task as usize];
        if !matches!(state.phase, TaskPhase::Pending | TaskPhase::Scheduled) {
            return;
        }
        state.phase = phase;
        state.ended_at = Some(at);
        state.ended_seq = seq;
        if phase == TaskPhase::Completed {
            self.completed += 1;
        }
        let scheduled = state.scheduled_at;
        self.unfinished -= 1;
        if let (Some(total), Some(from)) = (self.plan.plan().tasks[task as usize].timeouts.total, scheduled) {
            self.timers.remove(&(from.plus(total), Timer::Task(task)));
        }
        let plan = self.plan.clone();
        for &next in plan.successors(task) {
            let waiting = &mut self.tasks[next as usize];
            waiting.missing = waiting.missing.saturating_sub(1);
            match phase {
                TaskPhase::Failed | TaskPhase::Skipped(SkipReason::DependencyFailed) => {
                    waiting.failed_before = true
                }
                TaskPhase::Skipped(_) => waiting.skipped_before += 1,
                _ => {}
            }
            if waiting.missing == 0 && waiting.phase == TaskPhase::Pending {
                self.agenda.push_back(next);
            }
        }
    }

    fn finish(&mut self, status: Status, at: Timestamp) {
        for task in 0..self.tasks.len() as u32 {
            let open = matches!(self.tasks[task as usize].phase, TaskPhase::Pending | TaskPhase::Scheduled);
            if open && status != Status::Completed {
                for item in 0..self.tasks[task as usize].calls.len() as u32 {
                    let key = CallKey::new(task, item);
                    if !matches!(
                        self.call(key).map(|c| c.phase),
                        Some(CallPhase::Completed | CallPhase::Failed)
                    ) {
                        self.close_call(key, CallPhase::Failed, 0, at);
                    }
                }
                let ended = &mut self.tasks[task as usize];
                (ended.phase, ended.ended_at, ended.ended_seq) = (TaskPhase::Cancelled, Some(at), self.seq);
            }
        }
        self.status = status;
        self.ended_at = Some(at);
        self.agenda.clear();
        self.review.clear();
        self.timers.clear();
        self.fresh.clear();
    }
}

/// Calls that may leave, in order of task and item.
pub(crate) fn ready_calls(tasks: &[crate::state::TaskState]) -> impl Iterator<Item = CallKey> + '_ {
    tasks.iter().enumerate().filter(|(_, t)| t.phase == TaskPhase::Scheduled).flat_map(|(t, task)| {
        let ready = task.calls.iter().enumerate().filter(|(_, c)| matches!(c.phase, CallPhase::Ready(_)));
        ready.map(move |(i, _)| CallKey::new(t as u32, i as u32))
    })
}
