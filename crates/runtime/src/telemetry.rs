//! Logs, traces and metrics: to stderr, to an OTLP collector when one is named, and to Prometheus.

use std::{io::IsTerminal as _, time::Duration};

use opentelemetry::{KeyValue, metrics::MeterProvider as _, trace::TracerProvider as _};
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    logs::SdkLoggerProvider,
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::{Sampler, SdkTracerProvider},
};
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{Metrics, Settings, Spans, config::LogFormat, spans::ChosenIds};

/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Crates whose own spans and log lines would feed the export of spans and log lines.
const QUIET: &str = "h2=off,hyper=off,hyper_util=off,tonic=off,tower=off,reqwest=off,opentelemetry=off,\
    opentelemetry_sdk=off,opentelemetry_otlp=off,rustls=off";

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("telemetry: {what}: {cause}; check telemetry.otlp_endpoint")]
pub struct TelemetryError {
    what: &'static str,
    cause: String,
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> TelemetryError {
    move |e| TelemetryError { what, cause: e.to_string() }
}

/// The telemetry of one process.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    meters: SdkMeterProvider,
    tracer: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    service: String,
    log_level: String,
    json: bool,
}

impl Telemetry {
    /// Builds what the settings ask for, without touching anything global. Must be called inside a Tokio runtime
    /// when an OTLP endpoint is set. An unreachable collector is no error: it is tried again with each export.
    pub fn new(settings: &Settings, service: &str) -> Result<Self, TelemetryError> {
        let t = &settings.telemetry;
        let resource = Resource::builder()
            .with_service_name(service.to_owned())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("deployment.environment.name", settings.node.environment.clone()))
            .with_attribute(KeyValue::new("cloud.region", settings.node.region.clone()))
            .build();
        let endpoint = t.otlp_endpoint.as_ref().filter(|_| t.enabled).map(|url| url.expose().to_owned());
        let mut meters = SdkMeterProvider::builder().with_resource(resource.clone());
        let mut registry = None;
        if t.enabled && t.prometheus_enabled {
            let own = prometheus::Registry::new();
            // Names as the sources write them: no unit behind them, no scope labels.
            let reader = opentelemetry_prometheus::exporter()
                .with_registry(own.clone())
                .without_units()
                .without_target_info()
                .scope_info_enabled(false)
                .build()
                .map_err(failed("Prometheus exporter"))?;
            meters = meters.with_reader(reader);
            registry = Some(own);
        }
        let (mut tracer, mut logs) = (None, None);
        if let Some(endpoint) = endpoint {
            let exporter = opentelemetry_otlp::MetricExporter::builder()
                .with_tonic()
                .with_endpoint(&endpoint)
                .with_timeout(EXPORT_TIMEOUT)
                .build()
                .map_err(failed("OTLP metrics"))?;
            meters = meters
                .with_reader(PeriodicReader::builder(exporter).with_interval(t.export_interval).build());
            tracer = Some(build_tracer(&endpoint, resource.clone(), t.sampling_ratio)?);
            logs = Some(build_logs(&endpoint, resource)?);
        }
        let meters = meters.build();
        let metrics = Metrics::new(meters.meter("orchestra"), &t.metrics_prefix, registry);
        let for_people = settings.node.environment != "production" || std::io::stderr().is_terminal();
        let json = match t.log_format {
            LogFormat::Json => true,
            LogFormat::Pretty => false,
            LogFormat::Auto => !for_people,
        };
        let log_level = t.log_level.clone();
        Ok(Self { metrics, meters, tracer, logs, service: service.to_owned(), log_level, json })
    }

    /// Instruments.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Spans of operations that have ended: exported when an OTLP endpoint is set, nothing otherwise.
    pub fn spans(&self) -> Spans {
        Spans::of(self.tracer.as_ref())
    }

    /// Makes it the process's own: log lines go to stderr, spans and lines to the collector. A program that has set
    /// a subscriber of its own keeps it.
    pub fn install(&self) {
        let quiet_by_default = format!(
            "h2=warn,hyper=warn,tonic=warn,tower=warn,opentelemetry=warn,opentelemetry_sdk=warn,{}",
            self.log_level
        );
        let filter = |directives: &str| EnvFilter::try_new(directives).unwrap_or_default();
        let lines = if self.json {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true);
            layer.with_writer(std::io::stderr).with_filter(filter(&quiet_by_default)).boxed()
        } else {
            let layer = tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal());
            layer.with_writer(std::io::stderr).with_filter(filter(&quiet_by_default)).boxed()
        };
        let spans = self.tracer.as_ref().map(|provider| {
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer(self.service.clone()));
            layer.with_filter(filter(&format!("info,orchestra::rpc=debug,orchestra::http=debug,{QUIET}")))
        });
        let bridge = self.logs.as_ref().map(|provider| {
            let layer = opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge::new(provider);
            layer.with_filter(filter(&format!("{},{QUIET}", self.log_level)))
        });
        // Refused when there is a subscriber already: that is the embedding program's choice.
        let _ = tracing_subscriber::registry().with(lines).with(spans).with(bridge).try_init();
    }

    /// Sends what is left to the collector. Blocks for at most a few export timeouts.
    pub fn shutdown(&self) {
        // An error says that the collector is away; there is nowhere left to tell it.
        if let Some(tracer) = &self.tracer {
            let _ = tracer.shutdown();
        }
        if let Some(logs) = &self.logs {
            let _ = logs.shutdown();
        }
        let _ = self.meters.shutdown();
    }
}

fn build_tracer(endpoint: &str, resource: Resource, ratio: f64) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_compression(opentelemetry_otlp::Compression::Gzip)
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(failed("OTLP traces"))?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(sampler)
        .with_id_generator(ChosenIds::default())
        .with_batch_exporter(exporter)
        .build())
}

fn build_logs(endpoint: &str, resource: Resource) -> Result<SdkLoggerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::LogExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(failed("OTLP logs"))?;
    Ok(SdkLoggerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}
