//! What always holds: of a state, after every step; of a log, at the end.

use std::collections::BTreeMap;

use base::Timestamp;
use workflow::{
    CallKey, CallPhase, Decision, Event, Kind, State, Status, TaskPhase, TurnPhase, Why,
    plan::{Join, NodeKind, ScopeMode},
};

/// Remembers how far the log was looked at.
#[derive(Default)]
pub(crate) struct Checks {
    seen: usize,
    over: BTreeMap<u32, TaskPhase>,
    scheduled: BTreeMap<u32, (u32, u32)>,
    items: BTreeMap<CallKey, ()>,
}

impl Checks {
    pub(crate) fn state(&mut self, seed: u64, state: &State, log: &[Event]) {
        for event in &log[self.seen..] {
            self.event(seed, state, &event.kind);
        }
        self.seen = log.len();
        let calls = || state.tasks().iter().flat_map(|t| &t.calls);
        let count = |f: fn(CallPhase) -> bool| calls().filter(|c| f(c.phase)).count() as u32;
        let running = count(|p| p == CallPhase::Running);
        let asking = count(|p| p == CallPhase::Input);
        let ready = count(|p| matches!(p, CallPhase::Ready(_)));
        assert_eq!((state.in_flight(), state.waiting_calls()), (running, ready), "seed {seed}: counters");
        assert!(running + asking <= state.calls_max(), "seed {seed}: more calls than allowed");
        assert_eq!(state.room(), state.calls_max() - running - asking, "seed {seed}: room");
        let completed = state.tasks().iter().filter(|t| t.phase == TaskPhase::Completed).count();
        assert_eq!(state.completed_tasks() as usize, completed, "seed {seed}: completed tasks");
        for (task, (_, width)) in &self.scheduled {
            let busy =
                |p: CallPhase| !matches!(p, CallPhase::Waiting | CallPhase::Completed | CallPhase::Failed);
            let wide = state.tasks()[*task as usize].calls.iter().filter(|c| busy(c.phase)).count();
            assert!(wide <= *width as usize, "seed {seed}: task {task} is wider than its width");
        }
        scopes(seed, state);
        // Something is under way, or something is named that has to come.
        let waits = |t: &workflow::TaskState| t.is_open() && t.waiting().is_some();
        let named = !state.is_active()
            || running + asking + ready + count(|p| p == CallPhase::Decision) > 0
            || state.tasks().iter().any(waits)
            || state.stuck(usize::MAX).iter().any(|reason| reason.why == Why::NoRoom);
        assert!(named, "seed {seed}: it waits for nothing: {log:#?}");
        // And whoever asks is told what that is.
        let told = state.status().is_final() || !state.stuck(1).is_empty();
        assert!(told, "seed {seed}: it waits without a reason: {log:#?}");
        let limits = &state.plan().plan().limits;
        assert!(limits.max_retries.is_none_or(|max| state.retries() <= max), "seed {seed}: retries");
    }

    /// Folds one fact into what is known from the log alone.
    fn event(&mut self, seed: u64, state: &State, kind: &Kind) {
        let (task, phase) = match kind {
            Kind::TaskScheduled { task, items, width, .. } => {
                let again = self.scheduled.insert(*task, (*items, *width));
                assert_eq!(again, None, "seed {seed}: task {task} is scheduled twice");
                if matches!(state.task_plan(*task).join, Join::All | Join::BestEffort) {
                    for before in state.before(*task) {
                        let over = self.over.get(&before);
                        assert!(over.is_some(), "seed {seed}: task {task} runs before {before}");
                    }
                }
                return;
            }
            Kind::AttemptStarted { call, .. } => {
                let known = self.scheduled.get(&call.task).is_some_and(|(items, _)| call.item < *items);
                assert!(
                    known && !self.over.contains_key(&call.task),
                    "seed {seed}: {call:?} runs out of place"
                );
                return;
            }
            Kind::ItemCompleted { call, .. } => {
                assert_eq!(self.items.insert(*call, ()), None, "seed {seed}: {call:?} completes twice");
                return;
            }
            Kind::Reset { tasks, .. } => {
                for task in tasks {
                    self.over.remove(task);
                    self.scheduled.remove(task);
                    self.items.retain(|call, ()| call.task != *task);
                }
                return;
            }
            Kind::Seeded { tasks, .. } => {
                self.over.extend(tasks.iter().map(|s| (s.task, TaskPhase::Completed)));
                return;
            }
            Kind::VariablesSet { task: None, .. } => return,
            Kind::Routed { task, .. }
            | Kind::VariablesSet { task: Some(task), .. }
            | Kind::TaskRecovered { call: CallKey { task, .. }, .. } => (*task, TaskPhase::Completed),
            Kind::TaskCancelled { task, .. } => (*task, TaskPhase::Cancelled),
            Kind::TaskCompleted { task, .. } => (*task, TaskPhase::Completed),
            Kind::TaskFailed { call, .. } => (call.task, TaskPhase::Failed),
            Kind::TaskSkipped { task, reason } => (*task, TaskPhase::Skipped(*reason)),
            _ => return,
        };
        assert_eq!(self.over.insert(task, phase), None, "seed {seed}: task {task} ends twice");
    }

    /// After a tick nothing is due but retries that wait for somebody to take them.
    pub(crate) fn ticked(&mut self, seed: u64, state: &State, now: Timestamp) {
        let mut at = Timestamp::from_micros(i64::MIN);
        if state.status().is_final() {
            return;
        }
        while let Some(due) = state.next_timer(at).filter(|due| *due <= now) {
            let retries = state.tasks().iter().flat_map(|t| &t.calls);
            let a_retry = retries.filter(|c| c.attempt > 0).any(|c| c.phase == CallPhase::Ready(due));
            assert!(a_retry, "seed {seed}: a timer of {due} is still set at {now}: {state:#?}");
            at = due;
        }
    }
}

/// The last attempt of a call, as the log tells it.
#[derive(Default)]
struct Last {
    attempt: u32,
    retry: u32,
    repeats: bool,
    known: Option<bool>,
    decided: bool,
    over: bool,
}

pub(crate) fn log(seed: u64, state: &State, log: &[Event]) {
    undone(seed, state, log);
    let plan = state.plan();
    let was_reset = log.iter().any(|e| matches!(e.kind, Kind::Reset { .. }));
    assert!(log.is_sorted_by_key(|e| e.at), "seed {seed}: time runs backwards");
    let mut calls: BTreeMap<CallKey, Last> = BTreeMap::new();
    let (mut allowed, mut ends) = (plan.plan().limits.allowed_failures, 0);
    for event in log {
        match &event.kind {
            Kind::AttemptStarted { call, attempt, retry, to } => {
                let last = calls.entry(*call).or_default();
                let raised = last.known == Some(true);
                assert_eq!(*attempt, last.attempt + 1, "seed {seed}: {call:?}");
                assert_eq!(*retry, last.retry + u32::from(raised), "seed {seed}: the message id of {call:?}");
                let unknown = last.attempt > 0 && last.known != Some(true) && !last.repeats;
                assert!(!unknown || last.decided, "seed {seed}: {call:?} was silently repeated");
                assert!(!last.over, "seed {seed}: {call:?} was done already");
                *last = Last {
                    attempt: *attempt,
                    retry: *retry,
                    repeats: to.effect.repeats(),
                    ..Last::default()
                };
            }
            Kind::AttemptFailed { call, outcome_known, .. } => {
                calls.entry(*call).or_default().known = Some(*outcome_known);
            }
            Kind::DecisionMade { call, decision: Decision::Retry, .. } => {
                calls.entry(*call).or_default().decided = true;
            }
            Kind::ItemCompleted { call, .. } => calls.entry(*call).or_default().over = true,
            Kind::TaskCompleted { task, output: Some(_), .. } => {
                calls.entry(CallKey::new(*task, 0)).or_default().over = true;
            }
            Kind::Reset { tasks, .. } => calls.retain(|call, _| !tasks.contains(&call.task)),
            Kind::TaskFailed { call, tolerated: true, spared: false, .. }
                if !state.task_plan(call.task).optional && !was_reset =>
            {
                assert!(allowed > 0, "seed {seed}: more failures than allowed");
                allowed -= 1;
            }
            Kind::Completed { .. }
            | Kind::Failed { .. }
            | Kind::Cancelled { .. }
            | Kind::Terminated { .. }
            | Kind::Compensated => {
                ends += 1;
            }
            _ => {}
        }
    }
    assert_eq!(ends, 1, "seed {seed}: an execution ends once");
}

/// No scope runs more turns at once than its width, and no task of its body holds more of them than its own.
fn scopes(seed: u64, state: &State) {
    for (task, own) in (0..).zip(state.tasks()).filter(|(_, t)| t.phase == TaskPhase::Scheduled) {
        let (Some(turns), NodeKind::Scope(scope)) = (own.turns(), &state.task_plan(task).kind) else {
            continue;
        };
        if let ScopeMode::Loop { max, .. } = &scope.mode {
            assert!(
                turns.turns.len() <= *max as usize,
                "seed {seed}: task {task} has more turns than its most"
            );
        }
        let running = turns.turns.iter().filter(|t| state.turns()[**t as usize].phase == TurnPhase::Running);
        let ScopeMode::ForEach { width, .. } = &scope.mode else {
            assert!(running.count() <= 1, "seed {seed}: two turns of {task} at once");
            continue;
        };
        let wide = width.unwrap_or(u32::MAX) as usize;
        assert!(running.count() <= wide, "seed {seed}: {task} is wider than its width");
        let mut inside: BTreeMap<u32, u32> = BTreeMap::new();
        for (index, t) in (0..).zip(state.tasks()).filter(|(_, t)| t.phase == TaskPhase::Scheduled) {
            if state.turn_of(index).is_some_and(|turn| turn.scope == Some(task) && !turn.undo) {
                let inside = inside.entry(t.node()).or_default();
                *inside += 1;
                let fits = state.task_plan(index).width.is_none_or(|w| *inside <= w);
                assert!(fits, "seed {seed}: too many turns in task {index}");
            }
        }
    }
}

/// What compensation undid: exactly the completed tasks with a compensation, the last that completed first.
fn undone(seed: u64, state: &State, log: &[Event]) {
    let Some(began) = log.iter().position(|e| matches!(e.kind, Kind::CompensationStarted { .. })) else {
        assert!(!log.iter().any(|e| matches!(e.kind, Kind::TaskCompensating { .. })), "seed {seed}");
        return;
    };
    if log.iter().any(|e| matches!(e.kind, Kind::Reset { .. })) {
        return;
    }
    let completed = log[..began].iter().filter_map(|e| match &e.kind {
        Kind::TaskCompleted { task, .. }
        | Kind::Routed { task, .. }
        | Kind::TaskRecovered { call: CallKey { task, .. }, .. }
        | Kind::VariablesSet { task: Some(task), .. } => Some(*task),
        _ => None,
    });
    let has = |task: &u32| state.task_plan(*task).compensate.is_some();
    let covered = |task: &u32| {
        let mut at = state.turn_of(*task).and_then(|t| t.scope);
        while let Some(scope) = at {
            if has(&scope) && state.tasks()[scope as usize].phase == TaskPhase::Completed {
                return true;
            }
            at = state.turn_of(scope).and_then(|t| t.scope);
        }
        false
    };
    let mut wanted: Vec<u32> = completed.filter(|t| has(t) && !covered(t)).collect();
    wanted.reverse();
    let done: Vec<u32> = log[began..]
        .iter()
        .filter_map(|e| match &e.kind {
            Kind::TaskCompensating { task } => Some(*task),
            _ => None,
        })
        .collect();
    let twice = done.iter().collect::<std::collections::BTreeSet<_>>().len() != done.len();
    assert!(!twice, "seed {seed}: undone twice: {done:?}");
    let of_completed: Vec<u32> =
        done.into_iter().filter(|t| state.tasks()[*t as usize].phase == TaskPhase::Completed).collect();
    assert!(wanted.starts_with(&of_completed), "seed {seed}: {of_completed:?} for {wanted:?}: {log:#?}");
    if state.status() == Status::Compensated {
        assert_eq!(of_completed, wanted, "seed {seed}");
    }
}
