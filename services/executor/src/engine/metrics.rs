//! What the engine counts. Atomic adds only: the hot path never formats or locks for them.

use std::sync::atomic::{AtomicU64, Ordering};

use workflow::{Event, Kind, State, Status};

/// Upper bounds of duration buckets, in milliseconds.
pub const BUCKETS_MS: [u64; 12] = [5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30_000, 300_000, 3_600_000];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    counts: [AtomicU64; 13],
    sum_us: AtomicU64,
}

impl Durations {
    /// Counts one duration.
    pub fn record_us(&self, us: u64) {
        let slot = BUCKETS_MS.iter().position(|b| us <= b * 1000).unwrap_or(BUCKETS_MS.len());
        self.counts[slot].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }
    /// Counts per bucket (the last is above all bounds), and the sum in microseconds.
    pub fn read(&self) -> ([u64; 13], u64) {
        let counts = std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed));
        (counts, self.sum_us.load(Ordering::Relaxed))
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters and histograms of a replica.
        #[derive(Debug, Default)]
        pub struct EngineMetrics {
            $($(#[$doc])* pub $name: AtomicU64,)*
            /// From creation to end.
            pub execution_duration: Durations,
            /// From scheduled to end, of a task.
            pub stage_duration: Durations,
            /// Time of an execution in which no agent worked.
            pub coordination: Durations,
        }
        impl EngineMetrics {
            /// Counters by name.
            pub fn counters(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Executions created.
    executions_started,
    /// Executions that completed.
    executions_completed,
    /// Executions that failed.
    executions_failed,
    /// Executions that were cancelled or terminated.
    executions_stopped,
    /// Tasks scheduled.
    stages_executed,
    /// Tasks completed.
    stages_success,
    /// Tasks failed.
    stages_failed,
    /// Calls that left.
    calls_started,
    /// Attempts that failed.
    attempts_failed,
    /// Attempts that are repeated.
    retries,
    /// Events written.
    events_written,
}

impl EngineMetrics {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn events(&self, state: &State, events: &[Event]) {
        self.events_written.fetch_add(events.len() as u64, Ordering::Relaxed);
        for event in events {
            match &event.kind {
                Kind::Created(_) => Self::add(&self.executions_started),
                Kind::TaskScheduled { .. } => Self::add(&self.stages_executed),
                Kind::TaskCompleted { task, .. } => {
                    Self::add(&self.stages_success);
                    let since = state.tasks()[*task as usize].scheduled_at.unwrap_or(event.at);
                    self.stage_duration.record_us(event.at.since(since).as_micros() as u64);
                }
                Kind::TaskFailed { .. } => Self::add(&self.stages_failed),
                Kind::AttemptStarted { .. } => Self::add(&self.calls_started),
                Kind::AttemptFailed { retry_at, .. } => {
                    Self::add(&self.attempts_failed);
                    if retry_at.is_some() {
                        Self::add(&self.retries);
                    }
                }
                _ => {}
            }
        }
    }

    pub(crate) fn ended(&self, state: &State) {
        match state.status() {
            Status::Completed => Self::add(&self.executions_completed),
            Status::Failed => Self::add(&self.executions_failed),
            _ => Self::add(&self.executions_stopped),
        }
        let runtime = state.runtime(state.time());
        self.execution_duration.record_us(runtime.as_micros() as u64);
        self.coordination.record_us(runtime.saturating_sub(state.busy(state.time())).as_micros() as u64);
    }
}
