//! The sources' own names of settings, accepted as they stand in the environment and at the top of a file.

/// What a bare number counts under an alias. A value with a unit of its own (`30s`) is taken as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The value as it is.
    None,
    /// Milliseconds.
    Ms,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

impl Unit {
    /// The suffix that makes a duration of a bare number.
    pub(crate) const fn suffix(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Ms => Some("ms"),
            Self::Seconds => Some("s"),
            Self::Minutes => Some("m"),
            Self::Hours => Some("h"),
        }
    }
}

/// One name from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    /// The name as the source writes it; a dot stands for nesting in a file.
    pub name: &'static str,
    /// The setting it sets.
    pub path: &'static str,
    /// The unit of a bare number.
    pub unit: Unit,
}

const fn alias(name: &'static str, path: &'static str, unit: Unit) -> Alias {
    Alias { name, path, unit }
}

/// Every alias. A name in capitals comes from a deployment, camelCase from the TypeScript API, `With…` from the
/// Go options. `workflowTimeout` counts ms and `WithWorkflowTimeout` seconds, each as its source does.
pub const ALIASES: &[Alias] = &[
    alias("PORT", "gateway.http_port", Unit::None),
    alias("NODE_ENV", "node.environment", Unit::None),
    alias("ALLOWED_ORIGINS", "gateway.allowed_origins", Unit::None),
    alias("PROMETHEUS_ENABLED", "telemetry.prometheus_enabled", Unit::None),
    alias("HEALTH_CHECK_INTERVAL_MS", "registry.health_check_interval", Unit::Ms),
    alias("DATABASE_URL", "database.url", Unit::None),
    alias("REDIS_STREAMS_URL", "bus.url", Unit::None),
    alias("MAX_CONCURRENT_WORKFLOWS", "executor.max_concurrent_workflows", Unit::None),
    alias("WORKFLOW_TIMEOUT_HOURS", "executor.workflow_timeout", Unit::Hours),
    alias("AGENT_ALLOCATION_TIMEOUT_SECONDS", "executor.agent_allocation_timeout", Unit::Seconds),
    alias("SAGA_COMPENSATION_TIMEOUT_SECONDS", "executor.compensation_timeout", Unit::Seconds),
    alias("CIRCUIT_BREAKER_ENABLED", "executor.breaker_enabled", Unit::None),
    alias("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "executor.breaker_failures", Unit::None),
    alias("CHECKPOINT_INTERVAL_MINUTES", "executor.checkpoint_interval", Unit::Minutes),
    alias("EVENT_RETENTION_HOURS", "bus.retention", Unit::Hours),
    alias("EnabledFeatures.Chains", "planner.chains", Unit::None),
    alias("EnabledFeatures.Graphs", "planner.graphs", Unit::None),
    alias("EnabledFeatures.Workflows", "planner.workflows", Unit::None),
    alias("EnabledFeatures.Scheduler", "schedules.enabled", Unit::None),
    alias("EnabledFeatures.MessageBus", "topics.enabled", Unit::None),
    alias("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint", Unit::None),
    alias("healthCheckInterval", "registry.health_check_interval", Unit::Ms),
    alias("workflowTimeout", "executor.workflow_timeout", Unit::Ms),
    alias("maxConcurrentWorkflows", "executor.max_concurrent_workflows", Unit::None),
    alias("retryPolicy.maxAttempts", "retry.max_attempts", Unit::None),
    alias("retryPolicy.backoffStrategy", "retry.backoff", Unit::None),
    alias("retryPolicy.baseDelay", "retry.base_delay", Unit::Ms),
    alias("retryPolicy.maxDelay", "retry.max_delay", Unit::Ms),
    alias("retryPolicy.retryableErrors", "retry.retryable_errors", Unit::None),
    alias("cacheConfig.ttl", "cache.ttl", Unit::Ms),
    alias("cacheConfig.maxSize", "cache.max_size", Unit::None),
    alias("cacheConfig.strategy", "cache.strategy", Unit::None),
    alias("enableTelemetry", "telemetry.enabled", Unit::None),
    alias("logLevel", "telemetry.log_level", Unit::None),
    alias("WithChainTimeout", "planner.chain_timeout", Unit::Seconds),
    alias("WithChainRetries", "planner.chain_retries", Unit::None),
    alias("WithGraphMaxWorkers", "planner.graph_max_workers", Unit::None),
    alias("WithGraphParallelExecution", "planner.graph_parallel", Unit::None),
    alias("WithWorkflowTaskQueue", "planner.task_queue", Unit::None),
    alias("WithWorkflowTimeout", "executor.workflow_timeout", Unit::Seconds),
    alias("WithMetricsPrefix", "telemetry.metrics_prefix", Unit::None),
    alias("WithHealthCheckInterval", "registry.health_check_interval", Unit::Seconds),
    alias("WithLogger", "telemetry.log_format", Unit::None),
];

/// Names of the sources whose services this build does not have: in a file they are refused by name.
pub(crate) const NOT_YET: &[&str] = &[
    "METRICS_RETENTION_HOURS",
    "AUTO_SCALING_ENABLED",
    "SCALING_CHECK_INTERVAL_MS",
    "COMPLIANCE_VALIDATION_ENABLED",
    "DEFAULT_COMPLIANCE_LEVEL",
    "KUBERNETES_CONFIG_PATH",
    "metricsCollectionInterval",
    "loadBalancingStrategy",
];

/// The alias called `name`. In the environment a dot is written `_` (`retryPolicy_maxAttempts`).
pub(crate) fn find(name: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|a| a.name == name || (a.name.contains('.') && a.name.replace('.', "_") == name))
}

/// The known name that `name` was probably meant to be: a right key in a wrong section, else the nearest by spelling.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let moved = candidates.clone().find(|c| c.rsplit('.').next() == Some(last));
    moved.or_else(|| base::finding::nearest(name, candidates))
}
