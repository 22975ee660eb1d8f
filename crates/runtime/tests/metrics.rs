//! Names and values of metrics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

use runtime::{Metrics, Settings, Telemetry};

#[test]
fn metrics_keep_the_sources_names() {
    let mut settings = Settings::default();
    settings.telemetry.metrics_prefix = "beluga.orchestration".into();
    let telemetry = Telemetry::new(&settings, "test").unwrap();
    let metrics = telemetry.metrics();
    for name in ["orchestra.executions.started", "orchestra.stages.failed", "orchestra.agent.health_checks"] {
        metrics.counter(name, "help").inc();
    }
    metrics.counters("orchestra.executions.started", "help").with(&[("tenant", "acme")]).add(4);
    metrics.gauge("workflow_completion_rate", "help").set(0.5);
    metrics.gauges("orchestra.agent.health_score", "help").with(&[("agent", "a")]).set(98.0);
    metrics.histogram("orchestra.execution.duration", "help", "ms").record(12.0);
    metrics.counter(&metrics.prefixed("chain.executions"), "help").add(2);
    metrics.observe("consumer_lag", "help", || vec![(vec![("stream".into(), "s".into())], 7.0)]);
    let text = metrics.prometheus().unwrap();
    for want in [
        "orchestra_executions_started_total 1",
        "orchestra_executions_started_total{tenant=\"acme\"} 4",
        "orchestra_stages_failed_total 1",
        "orchestra_agent_health_checks_total 1",
        "workflow_completion_rate 0.5",
        "orchestra_agent_health_score{agent=\"a\"} 98",
        "orchestra_execution_duration_count 1",
        "orchestra_execution_duration_sum 12",
        "orchestra_execution_duration_bucket{le=\"25\"} 1",
        "beluga_orchestration_chain_executions_total 2",
        "consumer_lag{stream=\"s\"} 7",
    ] {
        assert!(text.lines().any(|line| line == want), "{want:?} is missing in:\n{text}");
    }
}

#[test]
fn the_same_name_is_the_same_instrument() {
    let metrics = Metrics::detached();
    metrics.counter("a.b", "").inc();
    metrics.counter("a.b", "").inc();
    assert_eq!(metrics.counter("a.b", "").value(), 2);
    let family = metrics.counters("a.b", "");
    family.with(&[("k", "v")]).add(3);
    assert_eq!(family.total(), 5);
    let gauge = metrics.gauge("g", "");
    gauge.add(5.0);
    gauge.add(-2.0);
    assert!((metrics.gauge("g", "").value() - 3.0).abs() < f64::EPSILON);
    let histogram = metrics.histogram("h", "", "ms");
    histogram.record(1.0);
    metrics.histogram("h", "", "ms").record_ms(std::time::Duration::from_millis(3));
    assert_eq!(histogram.count(), 2);
    assert!((histogram.mean() - 2.0).abs() < 0.01);
    assert_eq!(metrics.prometheus(), None);
}

#[test]
fn a_gauge_that_was_removed_is_not_shown_any_more() {
    let telemetry = Telemetry::new(&Settings::default(), "test").unwrap();
    let gauges = telemetry.metrics().gauges("orchestra.agent.health_score", "help");
    gauges.with(&[("agent", "gone")]).set(1.0);
    gauges.with(&[("agent", "stays")]).set(2.0);
    gauges.remove(&[("agent", "gone")]);
    let text = telemetry.metrics().prometheus().unwrap();
    assert!(text.contains("stays") && !text.contains("gone"), "{text}");
}
