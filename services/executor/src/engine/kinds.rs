//! Figures of chains, graphs and workflows, under the prefix of `telemetry.metrics_prefix`. What a definition was
//! written as decides: `chain`, `graph`, and everything else is a workflow.

use std::time::Duration;

use runtime::{Counter, Gauge, Histogram, Metrics};
use workflow::{State, Status};

/// What a definition was written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrittenAs {
    Chain,
    Graph,
    Workflow,
}

impl WrittenAs {
    pub(super) fn of(state: &State) -> Self {
        match state.plan().plan().metadata.get("dialect").and_then(|d| d.as_str()) {
            Some("chain") => Self::Chain,
            Some("graph") => Self::Graph,
            _ => Self::Workflow,
        }
    }
}

struct OfKind {
    executions: Counter,
    errors: Counter,
    duration: Histogram,
    active: Gauge,
}

impl OfKind {
    fn new(metrics: &Metrics, kind: &str) -> Self {
        let name = |what: &str| metrics.prefixed(&format!("{kind}.{what}"));
        Self {
            executions: metrics.counter(&name("executions"), "Executions that ended"),
            errors: metrics.counter(&name("errors"), "Executions that ended otherwise than completed"),
            duration: metrics.histogram(&name("duration"), "From creation to end", "ms"),
            active: metrics.gauge(&name("active"), "Executions in memory"),
        }
    }
}

/// The figures of all kinds.
pub(super) struct Kinds {
    chain: OfKind,
    graph: OfKind,
    workflow: OfKind,
    graph_nodes: Histogram,
}

impl Kinds {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            chain: OfKind::new(metrics, "chain"),
            graph: OfKind::new(metrics, "graph"),
            workflow: OfKind::new(metrics, "workflow"),
            graph_nodes: metrics.histogram(
                &metrics.prefixed("graph.nodes"),
                "Nodes of graphs whose executions ended",
                "1",
            ),
        }
    }

    fn of(&self, state: &State) -> &OfKind {
        match WrittenAs::of(state) {
            WrittenAs::Chain => &self.chain,
            WrittenAs::Graph => &self.graph,
            WrittenAs::Workflow => &self.workflow,
        }
    }

    /// Counts an execution as active until what is returned is dropped.
    pub(super) fn active(&self, state: &State) -> Active {
        let gauge = self.of(state).active.clone();
        gauge.add(1.0);
        Active(gauge)
    }

    /// An execution has ended after `runtime`.
    pub(super) fn ended(&self, state: &State, runtime: Duration) {
        let kind = self.of(state);
        kind.executions.inc();
        if state.status() != Status::Completed {
            kind.errors.inc();
        }
        kind.duration.record_ms(runtime);
        if WrittenAs::of(state) == WrittenAs::Graph {
            self.graph_nodes.record(state.plan().plan().tasks.len() as f64);
        }
    }
}

/// An execution that is in memory.
pub(crate) struct Active(Gauge);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.add(-1.0);
    }
}
