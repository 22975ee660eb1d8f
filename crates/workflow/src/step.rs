//! One step: an input, the facts it gives, everything that follows from them without waiting for anybody, and what
//! has to be done about it.

use std::{collections::VecDeque, sync::Arc};

use base::{ExecutionId, FailureClass, Timestamp};

use crate::{
    apply::ready_calls,
    compiled::Compiled,
    decide::{Input, Refusal, decide},
    event::{CallKey, Created, Event, Kind},
    follow::follow,
    state::State,
    task::{Attempt, CallPhase, CallState, TaskPhase},
    turn::TurnPhase,
    wait::Waiting,
};

/// Something the shell has to do once the facts are committed.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Find an instance for the call, from `at` on.
    Dispatch {
        /// The call.
        call: CallKey,
        /// Not before.
        at: Timestamp,
    },
    /// Send the call.
    Send(CallKey),
    /// Ask the agent about a call that another process sent, or send it again with the same message id.
    Recover(CallKey),
    /// Send the answer to the agent's question.
    SendAnswer(CallKey),
    /// Stop waiting for a call and tell the agent.
    Abort {
        /// The call.
        call: CallKey,
        /// The attempt that was open.
        attempt: Box<Attempt>,
        /// Its number.
        number: u32,
    },
    /// Start the sub-workflow of the task ([`State::child`]); a repeat is the same execution.
    StartChild {
        /// The task.
        task: u32,
    },
    /// Cancel the sub-workflow of the task: nobody waits for it any more.
    CancelChild {
        /// The task.
        task: u32,
        /// Its execution.
        execution: ExecutionId,
    },
    /// Publish the event of the task ([`State::emitted`]); a repeat has the same id.
    Publish {
        /// The task.
        task: u32,
    },
    /// Tell the people who are asked ([`State::approval`]).
    AskApproval {
        /// The task.
        task: u32,
    },
    /// Tell the people of this step of the escalation.
    Escalate {
        /// The task.
        task: u32,
        /// Index of the step.
        step: u32,
    },
    /// Tell an operator that the task could not be undone ([`State::undone`] says why).
    DeadLetter {
        /// The task.
        task: u32,
    },
    /// The plan is another one: what was derived from it is derived again.
    PlanChanged,
    /// Nothing follows any more.
    Ended,
}

/// What a step gave.
#[derive(Debug, Default)]
pub struct Step {
    /// Facts, already folded into the state.
    pub events: Vec<Event>,
    /// What to do once they are committed.
    pub effects: Vec<Effect>,
    /// The state right after each checkpoint among the facts, in order.
    pub checkpoints: Vec<State>,
}

/// Starts an execution: the state and the facts of its creation. Nothing runs before [`Input::Admit`].
pub fn create(id: ExecutionId, plan: Arc<Compiled>, created: Created, now: Timestamp) -> (State, Step) {
    let created = Arc::new(created);
    let state = State::begin(id, plan, created.clone(), now);
    (state, Step { events: vec![Event { at: now, kind: Kind::Created(created) }], ..Step::default() })
}

/// Folds a log. `None` when it does not begin with a creation.
pub fn fold<'a>(
    id: ExecutionId,
    plan: Arc<Compiled>,
    events: impl IntoIterator<Item = &'a Event>,
) -> Option<State> {
    let mut events = events.into_iter();
    let first = events.next()?;
    let Kind::Created(created) = &first.kind else { return None };
    let mut state = State::begin(id, plan, created.clone(), first.at);
    for event in events {
        state.apply(event);
    }
    state.fresh.clear();
    Some(state)
}

impl State {
    /// Takes an input at `now` (never before the last event) and folds all that follows from it.
    pub fn step(&mut self, input: &Input, now: Timestamp) -> Result<Step, Refusal> {
        let now = now.max(self.time);
        let mut step = Step::default();
        let mut facts = VecDeque::from(decide(self, input, now)?);
        let ticking = matches!(input, Input::Tick { .. });
        loop {
            while let Some(kind) = facts.pop_front() {
                self.fold_one(kind, now, &mut step);
            }
            facts = follow(self).into();
            // Several timers may be due at once; one tick takes them all.
            if facts.is_empty() && ticking && !step.events.is_empty() {
                facts = decide(self, input, now)?.into();
            }
            if facts.is_empty() {
                break;
            }
        }
        let fresh = self.take_fresh();
        // In a pause nothing is dispatched; the end of the pause brings it up again.
        for call in fresh.into_iter().filter(|_| self.is_active()) {
            if let Some(CallPhase::Ready(at)) = self.call(call).map(|c| c.phase) {
                step.effects.push(Effect::Dispatch { call, at });
            }
        }
        Ok(step)
    }

    fn fold_one(&mut self, kind: Kind, at: Timestamp, step: &mut Step) {
        self.cut_by(&kind, &mut step.effects);
        match &kind {
            Kind::AttemptStarted { call, .. } => step.effects.push(Effect::Send(*call)),
            Kind::AttemptAdopted { call, .. } => step.effects.push(Effect::Recover(*call)),
            Kind::InputProvided { call, .. } => step.effects.push(Effect::SendAnswer(*call)),
            Kind::ChildStarted { task, .. } => step.effects.push(Effect::StartChild { task: *task }),
            Kind::EventEmitted { task, .. } => step.effects.push(Effect::Publish { task: *task }),
            Kind::ApprovalAsked { task, .. } => step.effects.push(Effect::AskApproval { task: *task }),
            Kind::ApprovalEscalated { task, step: number } => {
                step.effects.push(Effect::Escalate { task: *task, step: *number });
            }
            Kind::CompensationFailed { task, .. } => step.effects.push(Effect::DeadLetter { task: *task }),
            Kind::PlanChanged(_) => step.effects.push(Effect::PlanChanged),
            Kind::Completed { .. }
            | Kind::Failed { .. }
            | Kind::Cancelled { .. }
            | Kind::Terminated { .. }
            | Kind::Compensated => {
                step.effects.push(Effect::Ended);
            }
            _ => {}
        }
        let event = Event { at, kind };
        self.apply(&event);
        // More may follow in the same step: what a checkpoint says is how things stood at it.
        if matches!(event.kind, Kind::Paused { .. } | Kind::Checkpoint { .. }) {
            step.checkpoints.push(self.clone());
        }
        step.events.push(event);
    }

    /// All that should be happening now: what recovery does after a fold. The pure counterpart of the effects that
    /// steps give one by one.
    pub fn outstanding(&self) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.is_active() {
            for call in ready_calls(&self.tasks) {
                if let Some(CallPhase::Ready(at)) = self.call(call).map(|c| c.phase) {
                    out.push(Effect::Dispatch { call, at });
                }
            }
        }
        for (task, state) in (0..).zip(&self.tasks) {
            if let Some(wait) = state.waiting() {
                self.outstanding_wait(task, wait, &mut out);
            }
        }
        for (task, failure) in self.undone().iter().flat_map(|u| &u.done) {
            if failure.is_some() {
                out.push(Effect::DeadLetter { task: *task });
            }
        }
        if self.status.is_final() {
            out.push(Effect::Ended);
            return out;
        }
        out.extend(self.open_calls().map(|(call, _)| Effect::Recover(call)));
        out
    }

    fn outstanding_wait(&self, task: u32, wait: &Waiting, out: &mut Vec<Effect>) {
        let open = self.tasks[task as usize].phase == TaskPhase::Scheduled;
        match wait {
            Waiting::Publish { done: false, .. } if open => out.push(Effect::Publish { task }),
            Waiting::Approval(asked) if open && asked.decided.is_none() => {
                out.push(Effect::AskApproval { task });
                out.extend((0..asked.escalated).map(|step| Effect::Escalate { task, step }));
            }
            Waiting::Child { child, outcome: None, version, .. } => match open {
                // Asked again, the child's owner says how it ended.
                true if !(child.detached && version.is_some()) => out.push(Effect::StartChild { task }),
                false if !child.detached => {
                    out.push(Effect::CancelChild { task, execution: child.execution });
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// Whether some call waits for an instance, now or after a delay.
    pub fn outstanding_dispatch(&self) -> bool {
        self.waiting_calls > 0 && self.is_active()
    }

    /// Calls with an open attempt.
    pub fn open_calls(&self) -> impl Iterator<Item = (CallKey, &Attempt)> {
        self.tasks.iter().enumerate().filter(|(_, t)| t.phase == TaskPhase::Scheduled).flat_map(
            |(t, task)| {
                task.calls.iter().enumerate().filter(|(_, c)| c.phase == CallPhase::Running).filter_map(
                    move |(i, c)| Some((CallKey::new(t as u32, i as u32), &**c.current.as_ref()?)),
                )
            },
        )
    }

    /// Calls that wait for the agent's question to be answered, or for a decision.
    pub fn held_calls(&self) -> impl Iterator<Item = CallKey> + '_ {
        self.tasks.iter().enumerate().filter(|(_, t)| t.phase == TaskPhase::Scheduled).flat_map(
            |(t, task)| {
                let held = |c: &CallState| matches!(c.phase, CallPhase::Input | CallPhase::Decision);
                let calls = task.calls.iter().enumerate().filter(move |(_, c)| held(c));
                calls.map(move |(i, _)| CallKey::new(t as u32, i as u32))
            },
        )
    }

    /// What this fact ends from our side: open attempts and questions, and sub-workflows that nobody waits for any more.
    fn cut_by(&self, kind: &Kind, out: &mut Vec<Effect>) {
        match kind {
            Kind::AttemptFailed { call, class: FailureClass::Timeout, outcome_known: false, .. } => {
                self.cut_call(*call, out);
            }
            Kind::TaskFailed { call, .. } | Kind::TaskRecovered { call, .. } => self.cut_task(call.task, out),
            Kind::TaskCancelled { task, .. } => self.cut_task(*task, out),
            Kind::TaskCompleted { task, .. } if self.tasks[*task as usize].turns().is_some() => {
                self.cut_rest(*task, out);
            }
            Kind::TurnEnded { scope, turn, result: crate::facts::TurnResult::Failed { .. } } => {
                let turns = self.tasks[*scope as usize].turns();
                if let Some(&turn) = turns.and_then(|s| s.turns.get(*turn as usize)) {
                    self.cut_turn(turn, out);
                }
            }
            Kind::CompensationFailed { task, .. } => {
                if let Some((_, turn)) = self.undone().and_then(|u| u.current).filter(|(t, _)| t == task) {
                    self.cut_turn(turn, out);
                }
            }
            Kind::Reset { tasks, .. } => {
                for task in tasks {
                    self.cut_task(*task, out);
                }
            }
            Kind::Completed { .. }
            | Kind::Failed { .. }
            | Kind::Cancelled { .. }
            | Kind::Terminated { .. }
            | Kind::Compensated
            | Kind::CompensationStarted { .. } => {
                for task in (0..self.tasks.len() as u32).filter(|t| self.tasks[*t as usize].is_open()) {
                    self.cut_own(task, out);
                }
            }
            _ => {}
        }
    }

    fn cut_call(&self, call: CallKey, out: &mut Vec<Effect>) {
        let Some(state) = self.call(call) else { return };
        if let (CallPhase::Running | CallPhase::Input, Some(attempt)) = (state.phase, &state.current) {
            out.push(Effect::Abort { call, attempt: attempt.clone(), number: state.attempt });
        }
    }

    fn cut_own(&self, task: u32, out: &mut Vec<Effect>) {
        let state = &self.tasks[task as usize];
        for item in 0..state.calls.len() as u32 {
            self.cut_call(CallKey::new(task, item), out);
        }
        if let (TaskPhase::Scheduled, Some(Waiting::Child { child, outcome: None, .. })) =
            (state.phase, state.waiting())
            && !child.detached
        {
            out.push(Effect::CancelChild { task, execution: child.execution });
        }
    }

    fn cut_task(&self, task: u32, out: &mut Vec<Effect>) {
        let Some(state) = self.tasks.get(task as usize) else { return };
        self.cut_own(task, out);
        for &turn in state.turns().map(|s| s.turns.as_slice()).unwrap_or_default() {
            self.cut_turn(turn, out);
        }
    }

    /// Turns that a completed scope does not need any more.
    fn cut_rest(&self, task: u32, out: &mut Vec<Effect>) {
        use crate::plan::{Rest, ScopeMode};
        if !matches!(self.scope_mode(task), Some(ScopeMode::ForEach { rest: Rest::Keep, .. })) {
            for &turn in self.tasks[task as usize].turns().map(|s| s.turns.as_slice()).unwrap_or_default() {
                self.cut_turn(turn, out);
            }
        }
    }

    fn cut_turn(&self, turn: u32, out: &mut Vec<Effect>) {
        let own = &self.turns[turn as usize];
        if own.phase != TurnPhase::Running {
            return;
        }
        for offset in 0..self.plan.block(own.block).len {
            let task = own.task(offset);
            if self.tasks.get(task as usize).is_some_and(|t| t.is_open() || t.turns().is_some()) {
                self.cut_task(task, out);
            }
        }
    }
}
