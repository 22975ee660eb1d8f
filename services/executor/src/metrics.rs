//! Figures that are read when somebody asks for them.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bus::{Bus, Family};
use runtime::{Drain, Metrics};

use crate::{
    cache::{NamespaceStats, ResultCache},
    engine::{Engine, EngineMetrics},
};

/// Registers gauges over the engine and the bus.
pub(crate) fn export(metrics: &Metrics, engine: &Engine, counts: &Arc<EngineMetrics>, bus: &Arc<dyn Bus>) {
    let load = |index: usize| {
        let engine = engine.clone();
        move || vec![(vec![], f64::from(engine.load()[index]))]
    };
    metrics.observe("orchestra.executions.active", "Executions that have a place", load(0));
    metrics.observe("orchestra.executions.queued", "Executions that wait for a place", load(2));
    metrics.observe("orchestra.calls.in_flight", "Calls open at agents", load(4));
    metrics.observe("orchestra.calls.waiting", "Calls that wait for an instance", load(5));
    let broken = engine.clone();
    metrics.observe(
        "orchestra.breakers.open",
        "Instances that this replica leaves alone because calls failed in a row",
        move || vec![(vec![], broken.breakers_open() as f64)],
    );
    let stuck = counts.clone();
    metrics.observe(
        "orchestra.executions.stuck",
        "Executions in which nothing goes on, by reason",
        move || {
            let shown = stuck.stuck().into_iter();
            shown.map(|(reason, n)| (vec![("reason".to_owned(), reason.to_owned())], n as f64)).collect()
        },
    );
    let (counts, counts_of_patterns) = (counts.clone(), counts.clone());
    metrics.observe(
        "workflow_completion_rate",
        "Share of ended executions that completed, 0 to 1",
        move || vec![(vec![], counts.completion_rate())],
    );
    metrics.observe("pattern_efficiency", "Share of the runtime in which an agent worked, by pattern", {
        let counts = counts_of_patterns;
        move || {
            counts
                .pattern_efficiency()
                .into_iter()
                .map(|(p, v)| (vec![("pattern".to_owned(), p)], v))
                .collect()
        }
    });
    streams(metrics, bus);
}

/// Registers gauges over the result cache, all tenants together: names of namespaces are the callers' and unbounded.
pub(crate) fn export_cache(metrics: &Metrics, cache: &Arc<ResultCache>) {
    let read = |read: fn(&NamespaceStats) -> f64| {
        let cache = cache.clone();
        move || vec![(vec![], read(&cache.totals()))]
    };
    metrics.observe(
        "orchestra.cache.hits",
        "Looks into the result cache that found something",
        read(|s| s.hits as f64),
    );
    metrics.observe("orchestra.cache.misses", "Looks that found nothing", read(|s| s.misses as f64));
    metrics.observe(
        "orchestra.cache.hit_rate",
        "Hits among all looks, 0 to 1",
        read(NamespaceStats::hit_rate),
    );
    metrics.observe(
        "orchestra.cache.evictions",
        "Entries that went for want of room",
        read(|s| s.evicted as f64),
    );
    metrics.observe("orchestra.cache.entries", "Entries in the result cache", read(|s| s.entries as f64));
    metrics.observe("orchestra.cache.bytes", "Bytes in the result cache", read(|s| s.bytes as f64));
}

fn streams(metrics: &Metrics, bus: &Arc<dyn Bus>) {
    let per_family = |read: fn(&bus::FamilyMetrics) -> f64| {
        let bus = bus.clone();
        move || {
            let families = Family::ALL.into_iter();
            families
                .map(|f| (vec![("stream".to_owned(), f.name().to_owned())], read(bus.metrics().family(f))))
                .collect()
        }
    };
    metrics.observe(
        "stream_throughput",
        "Messages published, by family of streams",
        per_family(|f| f.published.load(Relaxed) as f64),
    );
    metrics.observe(
        "message_processing_time",
        "Mean time from delivery to acknowledgement, in ms",
        per_family(|f| {
            let handling = f.handling();
            let count: u64 = handling.buckets.iter().sum();
            if count == 0 { 0.0 } else { handling.sum_us as f64 / count as f64 / 1000.0 }
        }),
    );
    let per_group = |read: fn(&bus::GroupStats) -> u64| {
        let bus = bus.clone();
        move || {
            let groups = bus.metrics().groups().into_iter();
            let labels = |stream: &bus::Stream, group: &str| {
                vec![("stream".to_owned(), stream.key().to_owned()), ("group".to_owned(), group.to_owned())]
            };
            groups.map(|((stream, group), stats)| (labels(&stream, &group), read(&stats) as f64)).collect()
        }
    };
    metrics.observe(
        "consumer_lag",
        "Messages that a consumer group has not read yet",
        per_group(|stats| stats.lag),
    );
    metrics.observe(
        "consumer_pending",
        "Messages handed to a consumer group and not acknowledged",
        per_group(|stats| stats.pending),
    );
    metrics.observe(
        "consumer_oldest_pending_ms",
        "Time since the oldest of them was handed out last, in ms",
        per_group(|stats| stats.oldest_pending_ms),
    );
}

/// How often the figures of consumer groups are asked for.
const GROUPS_EVERY: Duration = Duration::from_secs(15);

/// Keeps the figures of the groups that this process follows, until it stops.
pub(crate) async fn measure_groups(bus: Arc<dyn Bus>, drain: Drain) -> anyhow::Result<()> {
    loop {
        for (stream, group) in bus.metrics().followed() {
            if let Err(error) = bus.stats(&stream, &group).await {
                tracing::debug!(%error, %stream, "the figures of a consumer group cannot be read");
                break;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(GROUPS_EVERY) => {}
            () = drain.stopped() => return Ok(()),
        }
    }
}
