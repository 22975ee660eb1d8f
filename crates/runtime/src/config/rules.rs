//! Rules that tie settings to each other. Bounds of a single setting stand at its declaration.

use std::path::PathBuf;

use super::{
    error::{ConfigError, ConfigErrors, Layer},
    settings::Settings,
};

impl Settings {
    /// Checks the rules between settings. Called before a port is bound.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let errors = self.broken_rules();
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
    }

    pub(crate) fn broken_rules(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut rule = |holds: bool, key: &str, rule: String, remedy: &str| {
            if !holds {
                errors.push(ConfigError {
                    layer: Layer::Program,
                    key: key.into(),
                    rule,
                    remedy: remedy.into(),
                });
            }
        };
        let (e, g) = (&self.executor, &self.gateway);
        rule(
            e.lease >= e.lease_renewal * 3,
            "executor.lease",
            format!("must be at least three times executor.lease_renewal ({:?})", e.lease_renewal),
            "raise the lease or renew more often",
        );
        rule(
            e.breaker_open_min <= e.breaker_open_max,
            "executor.breaker_open_min",
            "must not be above executor.breaker_open_max".into(),
            "lower it or raise the maximum",
        );
        rule(
            e.payload_inline_max <= e.payload_max,
            "executor.payload_inline_max",
            "must not be above executor.payload_max".into(),
            "lower it",
        );
        rule(
            self.retry.base_delay <= self.retry.max_delay,
            "retry.base_delay",
            "must not be above retry.max_delay".into(),
            "lower it or raise the maximum",
        );
        rule(
            self.cache.entry_max < self.cache.max_size,
            "cache.entry_max",
            "must be below cache.max_size".into(),
            "lower it or raise the size",
        );
        for command in &self.hooks.commands {
            rule(
                command.starts_with('/'),
                "hooks.commands",
                format!("{command:?} must be an absolute path"),
                "write the path of the executable itself",
            );
        }
        for formatter in &self.hooks.formatters {
            rule(
                formatter.split_once('=').is_some_and(|(ext, run)| !ext.is_empty() && run.starts_with('/')),
                "hooks.formatters",
                format!("{formatter:?} must be EXTENSION=/absolute/path and arguments"),
                "for example rs=/usr/bin/rustfmt --edition 2024",
            );
        }
        rule(
            self.hooks.webhook_secret.as_ref().is_none_or(|s| s.expose().len() >= 16),
            "hooks.webhook_secret",
            "must have at least 16 characters".into(),
            "draw a longer one at random",
        );
        let p = &self.providers;
        for (key, address) in [
            ("providers.temporal_address", &p.temporal_address),
            ("providers.orchestra_address", &p.orchestra_address),
        ] {
            let good = |text: &str| {
                let uri = text.parse::<http::Uri>().ok();
                uri.is_some_and(|u| {
                    u.authority().is_some() && matches!(u.scheme_str(), Some("http" | "https"))
                })
            };
            rule(
                address.as_ref().is_none_or(|a| good(a.expose())),
                key,
                "must be an address such as http://host:7233".into(),
                "add http:// or https://",
            );
        }
        rule(
            p.temporal_api_key.is_none()
                || p.temporal_address.as_ref().is_some_and(|a| a.expose().starts_with("https://")),
            "providers.temporal_api_key",
            "is sent over TLS only".into(),
            "write https:// in providers.temporal_address",
        );
        rule(
            g.page_default <= g.page_max,
            "gateway.page_default",
            "must not be above gateway.page_max".into(),
            "lower it",
        );
        rule(
            self.registry.probe_timeout <= self.registry.health_check_interval,
            "registry.probe_timeout",
            "must not be longer than registry.health_check_interval".into(),
            "lower it or probe less often",
        );
        let database = self.database.url.expose();
        rule(
            !database.is_empty()
                && (!database.contains("://") || self.is_postgres() || database.starts_with("sqlite://")),
            "database.url",
            "must be a folder or a postgres:// URL".into(),
            "other databases are not supported",
        );
        let redis = self.bus.url.as_ref().map_or("redis://", |u| u.expose());
        rule(
            redis.starts_with("redis://") || redis.starts_with("rediss://"),
            "bus.url",
            "must start with redis:// or rediss://".into(),
            "or leave it unset for streams inside one process",
        );
        if let Some(endpoint) = &self.telemetry.otlp_endpoint {
            rule(
                endpoint.expose().parse::<http::Uri>().is_ok_and(|u| u.scheme().is_some()),
                "telemetry.otlp_endpoint",
                "must be a URL such as http://collector:4317".into(),
                "add the scheme",
            );
        }
        rule(
            tracing_subscriber::EnvFilter::try_new(&self.telemetry.log_level).is_ok(),
            "telemetry.log_level",
            "must be debug, info, warn, error, or directives such as info,executor=debug".into(),
            "correct it",
        );
        rule(
            crate::metrics::is_metric_name(&self.telemetry.metrics_prefix),
            "telemetry.metrics_prefix",
            "must be letters, digits, '.' and '_', starting with a letter".into(),
            "correct it",
        );
        if let Some(address) = &self.node.advertise {
            rule(
                address.parse::<http::Uri>().is_ok_and(|u| u.scheme().is_some() && u.port().is_some()),
                "node.advertise",
                "must be an address such as http://executor-0:3023".into(),
                "add scheme and port",
            );
        }
        for origin in &g.allowed_origins {
            let ok = origin == "*"
                || origin.parse::<http::Uri>().is_ok_and(|u| u.scheme().is_some() && u.path().len() <= 1);
            rule(
                ok,
                "gateway.allowed_origins",
                format!("{origin:?} is not an origin"),
                "write scheme://host[:port], without a path",
            );
        }
        for (key, port, other, other_port) in self.port_pairs() {
            rule(
                port == 0 || port != other_port,
                key,
                format!("is the same port as {other} ({port})"),
                "give each listener its own",
            );
        }
        errors
    }

    /// Whether `database.url` names PostgreSQL; otherwise it is a folder of SQLite files.
    pub fn is_postgres(&self) -> bool {
        let url = self.database.url.expose();
        url.starts_with("postgres://") || url.starts_with("postgresql://")
    }

    /// The folder of the SQLite files (one for each service), when `database.url` names one.
    pub fn sqlite_folder(&self) -> Option<PathBuf> {
        let url = self.database.url.expose();
        let folder = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url);
        (!self.is_postgres()).then(|| PathBuf::from(folder))
    }

    fn port_pairs(&self) -> Vec<(&'static str, u16, &'static str, u16)> {
        let ports = [
            ("gateway.http_port", self.gateway.http_port),
            ("gateway.grpc_port", self.gateway.grpc_port),
            ("gateway.internal_port", self.gateway.internal_port),
            ("registry.grpc_port", self.registry.grpc_port),
            ("registry.internal_port", self.registry.internal_port),
            ("planner.grpc_port", self.planner.grpc_port),
            ("planner.internal_port", self.planner.internal_port),
            ("executor.grpc_port", self.executor.grpc_port),
            ("executor.internal_port", self.executor.internal_port),
        ];
        let mut pairs = Vec::new();
        for (i, (key, port)) in ports.iter().enumerate() {
            for (other, other_port) in &ports[..i] {
                pairs.push((*key, *port, *other, *other_port));
            }
        }
        pairs
    }
}
