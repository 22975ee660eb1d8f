//! What the door measures: instruments for Prometheus and OTLP, and the last minute for people (S1-146..151).

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base::Clock as _;
use http::{Method, StatusCode};
use runtime::{Counter, Histogram, Metrics, SystemClock};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Seconds that the figures for people look back.
const WINDOW_S: u64 = 60;
/// Ticks of `/proc/self/stat` in a second: fixed by the Linux ABI.
const TICKS_PER_S: f64 = 100.0;
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// How often the CPU time is sampled.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// The instruments of one method on one route.
#[derive(Clone, Debug)]
pub(crate) struct RouteSeries(Arc<Series>);

#[derive(Debug)]
struct Series {
    method: Method,
    path: String,
    by_class: [Counter; 5],
    duration: Histogram,
}

impl RouteSeries {
    pub(crate) fn is(&self, method: &Method, path: &str) -> bool {
        self.0.method == *method && self.0.path == path
    }
}

/// All that the door measures.
#[derive(Debug)]
pub(crate) struct DoorMetrics {
    metrics: Metrics,
    window: Window,
    cpu: Mutex<VecDeque<(Instant, f64)>>,
}

impl DoorMetrics {
    pub(crate) fn new(metrics: Metrics) -> Self {
        let cpu = Mutex::new(VecDeque::new());
        let made = Self { metrics, window: Window::new(), cpu };
        made.sample_cpu();
        made
    }

    /// The instruments of a route; unknown methods count as one.
    pub(crate) fn route(&self, method: &Method, path: &str) -> RouteSeries {
        let known = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::HEAD];
        let method = if known.contains(method) { method.as_str() } else { "OTHER" };
        let requests = self.metrics.counters("orchestra.http.requests", "HTTP requests, by route and status");
        let series = |class| requests.with(&[("method", method), ("route", path), ("status", class)]);
        let duration = self.metrics.histogram_with(
            "orchestra.http.request.duration",
            "Time from a request's head to its answer's head",
            "ms",
            &[("method", method), ("route", path)],
        );
        RouteSeries(Arc::new(Series {
            method: method.parse().unwrap_or_default(),
            path: path.to_owned(),
            by_class: CLASSES.map(series),
            duration,
        }))
    }

    pub(crate) fn record(&self, series: &RouteSeries, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        series.0.by_class[class].inc();
        series.0.duration.record_ms(took);
        self.window.record(status.is_server_error(), took);
    }

    /// To be called every [`SAMPLE_EVERY`].
    pub(crate) fn sample_cpu(&self) {
        let Some(used) = cpu_seconds() else { return };
        let mut samples = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back((Instant::now(), used));
        while samples.front().is_some_and(|(at, _)| at.elapsed() > Duration::from_secs(WINDOW_S)) {
            samples.pop_front();
        }
    }

    /// The figures of the last minute.
    pub(crate) fn performance(&self) -> PerformanceMetrics {
        let (requests, errors, micros) = self.window.sums();
        let per_request = |n: f64| if requests == 0 { 0.0 } else { n / requests as f64 };
        PerformanceMetrics {
            response_time: round(per_request(micros as f64) / 1000.0),
            throughput: self.window.per_minute(requests),
            error_rate: round(per_request(errors as f64)),
            memory_usage: memory_mb().unwrap_or_default(),
            cpu_usage: self.cpu_percent(),
            timestamp: SystemClock.now().rfc3339(),
        }
    }

    /// Share of all cores that this process used since the oldest sample.
    fn cpu_percent(&self) -> f64 {
        let oldest = self.cpu.lock().unwrap_or_else(PoisonError::into_inner).front().copied();
        let (Some((at, before)), Some(now)) = (oldest, cpu_seconds()) else { return 0.0 };
        let elapsed = at.elapsed().as_secs_f64();
        let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        if elapsed <= 0.0 { 0.0 } else { round(((now - before) / elapsed / cores * 100.0).clamp(0.0, 100.0)) }
    }
}

/// Three decimals are enough for people.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The figures of this process (S1-146..151), over the last minute.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PerformanceMetrics {
    /// Average time of a request, ms.
    pub response_time: f64,
    /// Requests per minute.
    pub throughput: f64,
    /// Share of requests that were answered with 5xx, 0 to 1.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub error_rate: f64,
    /// Resident memory of this process, MB.
    pub memory_usage: f64,
    /// Share of all cores that this process uses, 0 to 100.
    #[schema(minimum = 0.0, maximum = 100.0)]
    pub cpu_usage: f64,
    /// When it was measured, RFC 3339.
    pub timestamp: String,
}

/// Counts of the last minute, by second, without a lock.
#[derive(Debug)]
struct Window {
    started: Instant,
    /// One more than the window has seconds, so that the current second never meets the oldest.
    slots: Vec<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    second: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    micros: AtomicU64,
}

impl Window {
    fn new() -> Self {
        let slots = (0..=WINDOW_S).map(|_| Slot::default()).collect();
        Self { started: Instant::now(), slots }
    }

    fn record(&self, error: bool, took: Duration) {
        let second = self.started.elapsed().as_secs();
        let slot = &self.slots[(second % (WINDOW_S + 1)) as usize];
        // Whoever enters a new second first clears the slot; a count may be lost then, which a figure for people bears.
        if slot.second.swap(second, Ordering::Relaxed) != second {
            for counter in [&slot.requests, &slot.errors, &slot.micros] {
                counter.store(0, Ordering::Relaxed);
            }
        }
        slot.requests.fetch_add(1, Ordering::Relaxed);
        slot.errors.fetch_add(u64::from(error), Ordering::Relaxed);
        slot.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Requests, errors and microseconds of the last minute.
    fn sums(&self) -> (u64, u64, u64) {
        let now = self.started.elapsed().as_secs();
        let oldest = now.saturating_sub(WINDOW_S - 1);
        let mut sums = (0, 0, 0);
        for slot in &self.slots {
            let second = slot.second.load(Ordering::Relaxed);
            if second >= oldest && second <= now {
                sums.0 += slot.requests.load(Ordering::Relaxed);
                sums.1 += slot.errors.load(Ordering::Relaxed);
                sums.2 += slot.micros.load(Ordering::Relaxed);
            }
        }
        sums
    }

    /// A process younger than a minute is not slow: its rate is over the time it has lived.
    fn per_minute(&self, requests: u64) -> f64 {
        let lived = self.started.elapsed().as_secs_f64().clamp(1.0, WINDOW_S as f64);
        round(requests as f64 * 60.0 / lived)
    }
}

/// User and system time of this process.
fn cpu_seconds() -> Option<f64> {
    ticks(&std::fs::read_to_string("/proc/self/stat").ok()?).map(|ticks| ticks / TICKS_PER_S)
}

fn ticks(stat: &str) -> Option<f64> {
    // The command may hold spaces: fields count from behind its closing bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident memory in MB.
fn memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kb: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(round(kb / 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_for_people_are_measured() {
        let metrics = DoorMetrics::new(Metrics::detached());
        let series = metrics.route(&Method::GET, "/x");
        metrics.record(&series, StatusCode::OK, Duration::from_millis(2));
        metrics.record(&series, StatusCode::BAD_GATEWAY, Duration::from_millis(4));
        let shown = metrics.performance();
        assert_eq!((shown.response_time, shown.error_rate), (3.0, 0.5));
        assert!(shown.throughput >= 2.0 && shown.memory_usage > 1.0, "{shown:?}");
        assert!((0.0..=100.0).contains(&shown.cpu_usage), "{shown:?}");
        assert!(series.is(&Method::GET, "/x") && !series.is(&Method::POST, "/x"));
    }

    #[test]
    fn cpu_time_is_read_behind_a_command_with_spaces() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0";
        assert_eq!(ticks(stat), Some(42.0));
        assert_eq!(ticks("nonsense"), None);
    }
}
