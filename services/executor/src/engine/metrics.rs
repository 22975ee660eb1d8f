//! What the engine counts, under the names of the sources. Atomic adds only: the hot path never formats or locks.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use runtime::{Counter, CounterFamily, Histogram, Metrics};
use workflow::{Event, Kind, State, Status};

use super::kinds::Kinds;

/// Counters and histograms of a replica.
pub struct EngineMetrics {
    started: Counter,
    completed: Counter,
    failed: Counter,
    cancelled: Counter,
    terminated: Counter,
    compensated: Counter,
    execution_duration: Histogram,
    stages_executed: Counter,
    stages_success: Counter,
    stages_failed: Counter,
    stage_duration: Histogram,
    calls: Counter,
    attempts_failed: Counter,
    retries: Counter,
    events: Counter,
    tokens: Counter,
    money_micros: Counter,
    cancels_told: Counter,
    cancels_given_up: Counter,
    shards_unreadable: Counter,
    coordination_latency: Histogram,
    pub(super) kinds: Kinds,
    pub(super) stuck: super::stuck::StuckGauge,
    /// Time with an agent at work and whole runtime, in seconds, by orchestration pattern.
    patterns: Mutex<BTreeMap<String, (f64, f64)>>,
    /// Ends by completion and all ends, for the completion rate.
    ends: [AtomicU64; 2],
}

impl EngineMetrics {
    /// Registers the instruments.
    pub fn new(metrics: &Metrics) -> Self {
        let ends: CounterFamily =
            metrics.counters("orchestra.executions.completed", "Executions that ended, by status");
        let end = |status: Status| ends.with(&[("status", status.as_str())]);
        let cancels =
            metrics.counters("orchestra.cancels", "Cut calls, by whether their agent could be told");
        Self {
            started: metrics.counter("orchestra.executions.started", "Executions that were created"),
            completed: end(Status::Completed),
            failed: end(Status::Failed),
            cancelled: end(Status::Cancelled),
            terminated: end(Status::Terminated),
            compensated: end(Status::Compensated),
            execution_duration: metrics.histogram(
                "orchestra.execution.duration",
                "From creation to end",
                "ms",
            ),
            stages_executed: metrics.counter("orchestra.stages.executed", "Tasks that were scheduled"),
            stages_success: metrics.counter("orchestra.stages.success", "Tasks that completed"),
            stages_failed: metrics.counter("orchestra.stages.failed", "Tasks that failed for good"),
            stage_duration: metrics.histogram(
                "orchestra.stage.duration",
                "From scheduled to completed",
                "ms",
            ),
            calls: metrics.counter("orchestra.calls.started", "Calls to agents that left"),
            attempts_failed: metrics.counter("orchestra.attempts.failed", "Attempts that failed"),
            retries: metrics.counter("orchestra.retries", "Attempts that are repeated"),
            cancels_told: cancels.with(&[("outcome", "told")]),
            cancels_given_up: cancels.with(&[("outcome", "given_up")]),
            shards_unreadable: metrics.counter(
                "orchestra.shards.unreadable",
                "Shards handed back because their log holds events of a newer build",
            ),
            tokens: metrics.counter("orchestra.usage.tokens", "Tokens that agents reported for calls"),
            money_micros: metrics.counter(
                "orchestra.usage.money_micros",
                "Money that agents reported for calls, in millionths of the currency",
            ),
            events: metrics.counter("orchestra.events.written", "Events written to the log"),
            coordination_latency: metrics.histogram(
                "coordination_latency",
                "Time of an execution in which no agent worked",
                "ms",
            ),
            kinds: Kinds::new(metrics),
            stuck: Default::default(),
            patterns: Mutex::default(),
            ends: Default::default(),
        }
    }

    /// An agent was told that a call was cut.
    pub(crate) fn told(&self) {
        self.cancels_told.inc();
    }

    /// The log of a shard is beyond this build.
    pub(crate) fn shard_unreadable(&self) {
        self.shards_unreadable.inc();
    }

    /// An agent could not be told that a call was cut.
    pub(crate) fn not_told(&self) {
        self.cancels_given_up.inc();
    }

    /// Executions in which nothing goes on, by reason, of the shards that are looked after here.
    pub fn stuck(&self) -> Vec<(&'static str, i64)> {
        self.stuck.read()
    }

    /// Share of ended executions that completed, 0 to 1; 1 before the first ended.
    pub(crate) fn completion_rate(&self) -> f64 {
        let [completed, all] = [0, 1].map(|i: usize| self.ends[i].load(Ordering::Relaxed));
        if all == 0 { 1.0 } else { completed as f64 / all as f64 }
    }

    /// Share of the runtime in which an agent worked, 0 to 1, by orchestration pattern.
    pub(crate) fn pattern_efficiency(&self) -> Vec<(String, f64)> {
        let patterns = self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
        patterns
            .iter()
            .map(|(name, (busy, all))| (name.clone(), if *all > 0.0 { busy / all } else { 0.0 }))
            .collect()
    }

    pub(crate) fn events(&self, state: &State, events: &[Event]) {
        self.events.add(events.len() as u64);
        for event in events {
            match &event.kind {
                Kind::Created(_) => self.started.inc(),
                Kind::TaskScheduled { .. } => self.stages_executed.inc(),
                Kind::TaskCompleted { task, .. } => {
                    self.stages_success.inc();
                    let own = state.tasks().get(*task as usize);
                    let since = own.and_then(|t| t.scheduled_at).unwrap_or(event.at);
                    self.stage_duration.record_ms(event.at.since(since));
                }
                Kind::TaskFailed { .. } => self.stages_failed.inc(),
                Kind::Spent { usage, .. } => {
                    self.tokens.add(usage.tokens);
                    self.money_micros.add(usage.money_micros);
                }
                Kind::AttemptStarted { .. } => self.calls.inc(),
                Kind::AttemptFailed { retry_at, .. } => {
                    self.attempts_failed.inc();
                    if retry_at.is_some() {
                        self.retries.inc();
                    }
                }
                _ => {}
            }
        }
    }

    pub(crate) fn ended(&self, state: &State) {
        let status = state.status();
        match status {
            Status::Completed => self.completed.inc(),
            Status::Failed => self.failed.inc(),
            Status::Cancelled => self.cancelled.inc(),
            Status::Terminated => self.terminated.inc(),
            Status::Compensated => self.compensated.inc(),
            Status::Planning | Status::Executing | Status::Paused | Status::Compensating => {}
        }
        self.ends[0].fetch_add(u64::from(status == Status::Completed), Ordering::Relaxed);
        self.ends[1].fetch_add(1, Ordering::Relaxed);
        let runtime: Duration = state.runtime(state.time());
        self.execution_duration.record_ms(runtime);
        self.kinds.ended(state, runtime);
        let busy = state.busy(state.time());
        self.coordination_latency.record_ms(runtime.saturating_sub(busy));
        let pattern = &state.plan().plan().pattern;
        if !pattern.is_empty() {
            let mut patterns = self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
            // Names are checked when a definition is stored, so there are few.
            let sums = patterns.entry(pattern.clone()).or_default();
            *sums = (sums.0 + busy.as_secs_f64(), sums.1 + runtime.as_secs_f64());
        }
    }
}
