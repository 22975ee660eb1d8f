//! What always holds: of a state, after every step; of a log, at the end.

use std::collections::BTreeMap;

use base::Timestamp;
use workflow::{CallKey, CallPhase, Compiled, Decision, Event, Kind, State, Status, TaskPhase};

/// Remembers how far the log was looked at.
#[derive(Default)]
pub(crate) struct Checks {
    seen: usize,
    over: BTreeMap<u32, TaskPhase>,
    scheduled: BTreeMap<u32, (u32, u32)>,
    items: BTreeMap<CallKey, ()>,
}

impl Checks {
    pub(crate) fn state(&mut self, seed: u64, plan: &Compiled, state: &State, log: &[Event]) {
        for event in &log[self.seen..] {
            self.event(seed, plan, &event.kind);
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
        let named = match state.status() {
            Status::Planning | Status::Paused => true,
            Status::Executing => running + asking + ready + count(|p| p == CallPhase::Decision) > 0,
            _ => true,
        };
        assert!(named, "seed {seed}: it waits for nothing: {log:#?}");
        let limits = &plan.plan().limits;
        assert!(limits.max_retries.is_none_or(|max| state.retries() <= max), "seed {seed}: retries");
    }

    /// Folds one fact into what is known from the log alone.
    fn event(&mut self, seed: u64, plan: &Compiled, kind: &Kind) {
        let (task, phase) = match kind {
            Kind::TaskScheduled { task, items, width, .. } => {
                let again = self.scheduled.insert(*task, (*items, *width));
                assert_eq!(again, None, "seed {seed}: task {task} is scheduled twice");
                for before in &plan.plan().tasks[*task as usize].after {
                    let over = self.over.get(before);
                    let fine = matches!(over, Some(TaskPhase::Completed | TaskPhase::Skipped(_)));
                    assert!(fine, "seed {seed}: task {task} runs before {before}: {over:?}");
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
        while let Some(due) = state.next_timer(at).filter(|due| *due <= now) {
            let retries = state.tasks().iter().flat_map(|t| &t.calls);
            let a_retry = retries.filter(|c| c.attempt > 0).any(|c| c.phase == CallPhase::Ready(due));
            assert!(a_retry, "seed {seed}: a timer of {due} is still set at {now}");
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

pub(crate) fn log(seed: u64, plan: &Compiled, log: &[Event]) {
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
            Kind::TaskFailed { call, tolerated: true, .. }
                if !plan.plan().tasks[call.task as usize].optional =>
            {
                assert!(allowed > 0, "seed {seed}: more failures than allowed");
                allowed -= 1;
            }
            Kind::Completed { .. }
            | Kind::Failed { .. }
            | Kind::Cancelled { .. }
            | Kind::Terminated { .. } => {
                ends += 1;
            }
            _ => {}
        }
    }
    assert_eq!(ends, 1, "seed {seed}: an execution ends once");
}
