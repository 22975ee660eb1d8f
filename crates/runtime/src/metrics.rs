//! Instruments that cost the hot path an atomic add: counters and gauges are atomics that the exporters observe.
//!
//! Names are written with dots (`orchestra.executions.started`) and travel so by OTLP; Prometheus shows underscores, and
//! `_total` behind counters (`orchestra_executions_started_total`).

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{KeyValue, metrics::Meter};
use prometheus::Encoder as _;

/// Bounds of the buckets of a histogram, in its unit: from a tenth of a millisecond to an hour when that is ms.
const BUCKETS: &[f64] = &[
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    900_000.0,
    3_600_000.0,
];

/// Labels of one series, in the order in which they were given.
type Labels = Vec<(String, String)>;

/// Makes instruments. The same name gives the same instrument again.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    meter: Meter,
    prefix: String,
    prometheus: Option<prometheus::Registry>,
    counters: Mutex<HashMap<String, CounterFamily>>,
    gauges: Mutex<HashMap<String, GaugeFamily>>,
    histograms: Mutex<HashMap<String, opentelemetry::metrics::Histogram<f64>>>,
    series: Mutex<HashMap<(String, Labels), Histogram>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}

/// Whether `name` can be a metric's: letters, digits, `.` and `_`, starting with a letter.
pub(crate) fn is_metric_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 200
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    pub(crate) fn new(meter: Meter, prefix: &str, prometheus: Option<prometheus::Registry>) -> Self {
        Self(Arc::new(Inner {
            meter,
            prefix: prefix.to_owned(),
            prometheus,
            counters: Mutex::default(),
            gauges: Mutex::default(),
            histograms: Mutex::default(),
            series: Mutex::default(),
        }))
    }

    /// Instruments that nothing exports: for tests and for programs that embed a part.
    pub fn detached() -> Self {
        use opentelemetry::metrics::MeterProvider as _;
        let provider = opentelemetry::metrics::noop::NoopMeterProvider::new();
        Self::new(provider.meter("detached"), "orchestra", None)
    }

    /// A counter without labels.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.counters(name, help).with(&[])
    }

    /// A counter whose series differ in labels. Fetch a series once and keep it: `with` looks it up.
    pub fn counters(&self, name: &str, help: &str) -> CounterFamily {
        debug_assert!(is_metric_name(name), "{name}");
        let mut all = lock(&self.0.counters);
        if let Some(family) = all.get(name) {
            return family.clone();
        }
        let family = CounterFamily(Arc::default());
        let observed = family.clone();
        let _registered = self
            .0
            .meter
            .u64_observable_counter(name.to_owned())
            .with_description(help.to_owned())
            .with_callback(move |to| observed.0.each(|value, labels| to.observe(value, labels)))
            .build();
        all.insert(name.to_owned(), family.clone());
        family
    }

    /// A gauge without labels.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.gauges(name, help).with(&[])
    }

    /// A gauge whose series differ in labels.
    pub fn gauges(&self, name: &str, help: &str) -> GaugeFamily {
        debug_assert!(is_metric_name(name), "{name}");
        let mut all = lock(&self.0.gauges);
        if let Some(family) = all.get(name) {
            return family.clone();
        }
        let family = GaugeFamily(Arc::default());
        let observed = family.clone();
        let _registered = self
            .0
            .meter
            .f64_observable_gauge(name.to_owned())
            .with_description(help.to_owned())
            .with_callback(move |to| {
                observed.0.each(|bits, labels| to.observe(f64::from_bits(bits), labels));
            })
            .build();
        all.insert(name.to_owned(), family.clone());
        family
    }

    /// A gauge that is asked when it is exported: `read` returns each series with its labels, and must not block.
    /// To be called once for each name.
    pub fn observe<F>(&self, name: &str, help: &str, read: F)
    where
        F: Fn() -> Vec<(Vec<(String, String)>, f64)> + Send + Sync + 'static,
    {
        debug_assert!(is_metric_name(name), "{name}");
        let _registered = self
            .0
            .meter
            .f64_observable_gauge(name.to_owned())
            .with_description(help.to_owned())
            .with_callback(move |to| {
                for (labels, value) in read() {
                    to.observe(value, &key_values(&labels));
                }
            })
            .build();
    }

    /// A histogram without labels; `unit` as in UCUM (`ms`, `s`, `By`, `1`).
    pub fn histogram(&self, name: &str, help: &str, unit: &'static str) -> Histogram {
        self.histogram_with(name, help, unit, &[])
    }

    /// One series of a histogram.
    pub fn histogram_with(
        &self,
        name: &str,
        help: &str,
        unit: &'static str,
        labels: &[(&str, &str)],
    ) -> Histogram {
        debug_assert!(is_metric_name(name), "{name}");
        let labels = own(labels);
        let mut series = lock(&self.0.series);
        let key = (name.to_owned(), labels);
        if let Some(histogram) = series.get(&key) {
            return histogram.clone();
        }
        let mut all = lock(&self.0.histograms);
        let inner = all.entry(name.to_owned()).or_insert_with(|| {
            let builder = self.0.meter.f64_histogram(name.to_owned()).with_description(help.to_owned());
            builder.with_unit(unit).with_boundaries(BUCKETS.to_vec()).build()
        });
        let histogram =
            Histogram { inner: inner.clone(), labels: key_values(&key.1).into(), totals: Arc::default() };
        series.insert(key, histogram.clone());
        histogram
    }

    /// `<telemetry.metrics_prefix>.<name>`: the name of a chain, graph or workflow metric.
    pub fn prefixed(&self, name: &str) -> String {
        format!("{}.{name}", self.0.prefix)
    }

    /// All metrics in the Prometheus text format; `None` when that is turned off.
    pub fn prometheus(&self) -> Option<String> {
        let registry = self.0.prometheus.as_ref()?;
        let mut out = Vec::new();
        if let Err(e) = prometheus::TextEncoder::new().encode(&registry.gather(), &mut out) {
            tracing::error!(error = %e, "metrics cannot be written");
        }
        Some(String::from_utf8_lossy(&out).into_owned())
    }
}

/// The series of one instrument.
#[derive(Default)]
struct Family {
    series: RwLock<Vec<(Vec<KeyValue>, Arc<AtomicU64>)>>,
}

fn own(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn key_values(labels: &[(String, String)]) -> Vec<KeyValue> {
    labels.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone())).collect()
}

impl Family {
    fn with(&self, labels: &[(&str, &str)]) -> Arc<AtomicU64> {
        let labels = key_values(&own(labels));
        let found = |all: &[(Vec<KeyValue>, Arc<AtomicU64>)]| {
            all.iter().find(|(l, _)| *l == labels).map(|(_, v)| Arc::clone(v))
        };
        if let Some(value) = found(&self.series.read().unwrap_or_else(PoisonError::into_inner)) {
            return value;
        }
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        found(&all).unwrap_or_else(|| {
            let value = Arc::<AtomicU64>::default();
            all.push((labels, Arc::clone(&value)));
            value
        })
    }

    fn each(&self, mut f: impl FnMut(u64, &[KeyValue])) {
        for (labels, value) in &*self.series.read().unwrap_or_else(PoisonError::into_inner) {
            f(value.load(Ordering::Relaxed), labels);
        }
    }
}

/// A counter's series by label.
#[derive(Clone)]
pub struct CounterFamily(Arc<Family>);

impl CounterFamily {
    /// The series with exactly these labels. Label values must come from a bounded set.
    pub fn with(&self, labels: &[(&str, &str)]) -> Counter {
        Counter(self.0.with(labels))
    }
    /// The sum of all series.
    pub fn total(&self) -> u64 {
        let mut sum = 0u64;
        self.0.each(|value, _| sum = sum.wrapping_add(value));
        sum
    }
}

impl fmt::Debug for CounterFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CounterFamily").field(&self.total()).finish()
    }
}

/// Only rises.
#[derive(Clone, Debug)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    /// What it has counted since the start of the process.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A gauge's series by label.
#[derive(Clone)]
pub struct GaugeFamily(Arc<Family>);

impl GaugeFamily {
    /// The series with exactly these labels. Label values must come from a bounded set.
    pub fn with(&self, labels: &[(&str, &str)]) -> Gauge {
        Gauge(self.0.with(labels))
    }
    /// Forgets the series with exactly these labels: what it measured is gone.
    pub fn remove(&self, labels: &[(&str, &str)]) {
        let labels = key_values(&own(labels));
        self.0.series.write().unwrap_or_else(PoisonError::into_inner).retain(|(l, _)| *l != labels);
    }
}

impl fmt::Debug for GaugeFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GaugeFamily").finish_non_exhaustive()
    }
}

/// Rises and falls.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
    /// Adds `by`, which may be negative.
    pub fn add(&self, by: f64) {
        let add = |bits: u64| Some((f64::from_bits(bits) + by).to_bits());
        // The closure never refuses.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
    /// Its value.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Default)]
struct Totals {
    count: AtomicU64,
    thousandths: AtomicU64,
}

/// Counts values by size.
#[derive(Clone)]
pub struct Histogram {
    inner: opentelemetry::metrics::Histogram<f64>,
    labels: Arc<[KeyValue]>,
    totals: Arc<Totals>,
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram").field(&self.totals).finish()
    }
}

impl Histogram {
    /// Records a value in the histogram's unit; negative values count as 0.
    pub fn record(&self, value: f64) {
        let value = value.max(0.0);
        self.inner.record(value, &self.labels);
        self.totals.count.fetch_add(1, Ordering::Relaxed);
        self.totals.thousandths.fetch_add((value * 1000.0) as u64, Ordering::Relaxed);
    }
    /// Records a duration, for a histogram in `ms`.
    pub fn record_ms(&self, took: Duration) {
        self.record(took.as_secs_f64() * 1000.0);
    }
    /// How many values it has seen.
    pub fn count(&self) -> u64 {
        self.totals.count.load(Ordering::Relaxed)
    }
    /// The mean of all values; 0 without any.
    pub fn mean(&self) -> f64 {
        let count = self.count();
        if count == 0 {
            return 0.0;
        }
        self.totals.thousandths.load(Ordering::Relaxed) as f64 / 1000.0 / count as f64
    }
}
