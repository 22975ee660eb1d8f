//! One step: an input, the facts it gives, everything that follows from them without waiting for anybody, and what
//! has to be done about it.

use std::{collections::VecDeque, sync::Arc};

use base::{ExecutionId, FailureClass, Timestamp};

use crate::{
    apply::ready_calls,
    compiled::Compiled,
    decide::{Input, Refusal, decide, give_up},
    event::{CallKey, Created, Event, Kind, SkipReason},
    state::{Attempt, CallPhase, State, Status, TaskPhase},
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
    /// Start the sub-workflow of the task (`State::child`); a repeat is the same execution.
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
    /// Publish the event of the task (`State::emitted`); a repeat has the same id.
    Publish {
        /// The task.
        task: u32,
    },
    /// Tell the people who are asked (`State::approval`).
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
    /// Tell an operator that the task could not be undone (`State::undone` says why).
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
}

/// Starts an execution: the state and the facts of its creation. Nothing runs before [`Input::Admit`].
pub fn create(id: ExecutionId, plan: Arc<Compiled>, created: Created, now: Timestamp) -> (State, Step) {
    let created = Arc::new(created);
    let state = State::begin(id, plan, created.clone(), now);
    (state, Step { events: vec![Event { at: now, kind: Kind::Created(created) }], effects: vec![] })
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
        for call in fresh.into_iter().filter(|_| self.status == Status::Executing) {
            if let Some(CallPhase::Ready(at)) = self.call(call).map(|c| c.phase) {
                step.effects.push(Effect::Dispatch { call, at });
            }
        }
        Ok(step)
    }

    fn fold_one(&mut self, kind: Kind, at: Timestamp, step: &mut Step) {
        for call in cut_by(self, &kind) {
            let state = self.call(call);
            if let Some((attempt, number)) = state.and_then(|c| c.current.clone().map(|a| (a, c.attempt))) {
                step.effects.push(Effect::Abort { call, attempt, number });
            }
        }
        match &kind {
            Kind::AttemptStarted { call, .. } => step.effects.push(Effect::Send(*call)),
            Kind::AttemptAdopted { call, .. } => step.effects.push(Effect::Recover(*call)),
            Kind::InputProvided { call, .. } => step.effects.push(Effect::SendAnswer(*call)),
            Kind::Completed { .. }
            | Kind::Failed { .. }
            | Kind::Cancelled { .. }
            | Kind::Terminated { .. } => {
                step.effects.push(Effect::Ended);
            }
            _ => {}
        }
        let event = Event { at, kind };
        self.apply(&event);
        step.events.push(event);
    }

    /// All that should be happening now: what recovery does after a fold. The pure counterpart of the effects that
    /// steps give one by one.
    pub fn outstanding(&self) -> Vec<Effect> {
        if self.status.is_final() {
            return vec![Effect::Ended];
        }
        let mut out = Vec::new();
        if self.status == Status::Executing {
            for call in ready_calls(&self.tasks) {
                if let Some(CallPhase::Ready(at)) = self.call(call).map(|c| c.phase) {
                    out.push(Effect::Dispatch { call, at });
                }
            }
        }
        out.extend(self.open_calls().map(|(call, _)| Effect::Recover(call)));
        out
    }

    /// Whether some call waits for an instance, now or after a delay.
    pub fn outstanding_dispatch(&self) -> bool {
        self.waiting_calls > 0 && self.status == Status::Executing
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
                let held =
                    |c: &crate::state::CallState| matches!(c.phase, CallPhase::Input | CallPhase::Decision);
                let calls = task.calls.iter().enumerate().filter(move |(_, c)| held(c));
                calls.map(move |(i, _)| CallKey::new(t as u32, i as u32))
            },
        )
    }
}

/// Open attempts (and questions) that this fact ends from our side.
fn cut_by(state: &State, kind: &Kind) -> Vec<CallKey> {
    let waits = |key: &CallKey| {
        matches!(state.call(*key).map(|c| c.phase), Some(CallPhase::Running | CallPhase::Input))
    };
    match kind {
        Kind::AttemptFailed { call, class: FailureClass::Timeout, outcome_known: false, .. } => vec![*call],
        Kind::TaskFailed { call, .. } => {
            let items = 0..state.tasks[call.task as usize].calls.len() as u32;
            items.map(|item| CallKey::new(call.task, item)).filter(waits).collect()
        }
        Kind::Failed { .. } | Kind::Cancelled { .. } | Kind::Terminated { .. } => {
            let open = state.open_calls().map(|(call, _)| call);
            open.chain(state.held_calls().filter(waits)).collect()
        }
        _ => vec![],
    }
}

/// Facts that follow from the state alone: one at a time, in a fixed order.
fn follow(state: &State) -> Vec<Kind> {
    if state.status.is_final() {
        return vec![];
    }
    if let Some(&task) = state.review.front() {
        return review(state, task);
    }
    if state.status != Status::Executing {
        return vec![];
    }
    if state.unfinished == 0 {
        return match state.final_output() {
            Ok(output) => vec![Kind::Completed { output }],
            Err(e) => vec![Kind::Failed { class: FailureClass::Definition, message: e.to_string().into() }],
        };
    }
    let room = state.plan.plan().limits.queue_size.is_none_or(|max| state.waiting_calls < max.max(1));
    match state.agenda.front() {
        Some(&task) if room => schedule(state, task),
        _ => vec![],
    }
}

fn review(state: &State, task: u32) -> Vec<Kind> {
    match state.tasks[task as usize].phase {
        TaskPhase::Scheduled => vec![Kind::TaskCompleted { task, output: None, call_us: 0 }],
        _ => {
            let id = &state.plan.plan().tasks[task as usize].id;
            let cause = state.causes.iter().rev().find(|c| c.call.is_some_and(|k| k.task == task));
            let class = cause.map_or(FailureClass::Error, |c| c.class);
            let words = cause.map_or("failed", |c| &*c.message);
            vec![Kind::Failed { class, message: format!("task {id}: {words}").into() }]
        }
    }
}

fn schedule(state: &State, task: u32) -> Vec<Kind> {
    let own = &state.tasks[task as usize];
    let before = state.plan.plan().tasks[task as usize].after.len() as u32;
    if own.failed_before {
        return vec![Kind::TaskSkipped { task, reason: SkipReason::DependencyFailed }];
    }
    if before > 0 && own.skipped_before == before {
        return vec![Kind::TaskSkipped { task, reason: SkipReason::DependenciesSkipped }];
    }
    let planned =
        state.condition(task).and_then(|run| if run { state.scatter(task).map(Some) } else { Ok(None) });
    match planned {
        Ok(Some(s)) => {
            vec![Kind::TaskScheduled { task, items: s.items, width: s.width, scattered: s.scattered }]
        }
        Ok(None) => vec![Kind::TaskSkipped { task, reason: SkipReason::Condition }],
        Err(e) => {
            vec![give_up(state, CallKey::new(task, 0), FailureClass::Definition, &e.to_string().into())]
        }
    }
}
