//! The registry's metrics, under the names of the documentation.

use std::sync::Weak;

use runtime::{CounterFamily, Metrics};

use crate::app::App;

/// Instruments that are counted; gauges read the memory when they are exported.
#[derive(Clone, Debug)]
pub(crate) struct RegistryMetrics {
    checks: CounterFamily,
}

impl RegistryMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            checks: metrics.counters("orchestra.agent.health_checks", "Probes of agent instances, by result"),
        }
    }

    pub(crate) fn probed(&self, answered: bool) {
        self.checks.with(&[("result", if answered { "answered" } else { "failed" })]).inc();
    }
}

/// Registers the gauges that show each agent.
pub(crate) fn observe(metrics: &Metrics, app: Weak<App>) {
    let score = app.clone();
    metrics.observe("orchestra.agent.health_score", "Health of each agent, 0 to 100", move || {
        let Some(app) = score.upgrade() else { return Vec::new() };
        let agents = app.feed.select(|_| true);
        agents
            .iter()
            .map(|k| (labels(k.tenant.as_str(), k.id.as_str()), f64::from(k.entry.score())))
            .collect()
    });
    metrics.observe("orchestra.agent.instances", "Instances of each agent, by health", move || {
        let Some(app) = app.upgrade() else { return Vec::new() };
        let mut series = Vec::new();
        for known in app.feed.select(|_| true) {
            for &status in catalog::Status::ALL {
                let count = known.entry.instances.iter().filter(|i| i.status == status).count();
                let mut labels = labels(known.tenant.as_str(), known.id.as_str());
                labels.push(("health".into(), status.as_str().into()));
                series.push((labels, count as f64));
            }
        }
        series
    });
}

fn labels(tenant: &str, agent: &str) -> Vec<(String, String)> {
    vec![("tenant".into(), tenant.into()), ("agent".into(), agent.into())]
}
