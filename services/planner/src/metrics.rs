//! The planner's metrics, under the names of the sources.

use std::time::Duration;

use language::Analysis;
use runtime::{CounterFamily, Histogram, Metrics};
use workflow::plan::Plan;

/// Instruments of the planner.
#[derive(Clone, Debug)]
pub(crate) struct PlannerMetrics {
    planning: Histogram,
    resolution: Histogram,
    effectiveness: Histogram,
    definitions: CounterFamily,
}

impl PlannerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            planning: metrics.histogram("planning_time", "Text to checked and compiled plan", "ms"),
            resolution: metrics.histogram(
                "dependency_resolution_time",
                "Levels and critical path of a plan",
                "ms",
            ),
            effectiveness: metrics.histogram(
                "optimization_effectiveness",
                "Work of a plan over its longest way: how much can run at once",
                "1",
            ),
            definitions: metrics.counters("orchestra.planner.definitions", "Definitions read, by result"),
        }
    }

    pub(crate) fn compiled(&self, took: Duration, accepted: bool) {
        self.planning.record_ms(took);
        self.definitions.with(&[("result", if accepted { "accepted" } else { "refused" })]).inc();
    }

    pub(crate) fn analysed(&self, took: Duration, plan: &Plan, analysis: &Analysis) {
        self.resolution.record_ms(took);
        // Where the times of tasks are not known, each counts as one.
        let work: Duration = plan.tasks.iter().filter_map(|task| task.expected).sum();
        let ratio = match analysis.unknown_durations {
            0 if !analysis.duration.is_zero() => work.as_secs_f64() / analysis.duration.as_secs_f64(),
            _ => plan.tasks.len() as f64 / f64::from(analysis.depth.max(1)),
        };
        self.effectiveness.record(ratio);
    }
}
