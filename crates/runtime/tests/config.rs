//! Layers, aliases, substitution, unknown keys, rules, masking, and the generated reference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

use std::{path::PathBuf, time::Duration};

use runtime::config::{
    ALIASES, Backoff, Bytes, CacheStrategy, Config, ConfigErrors, Layer, LogFormat, PeerAddress, SecretUrl,
    Settings, Sources, Unit, reference,
};

fn pairs(env: &[(&str, &str)]) -> Vec<(String, String)> {
    env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

struct Given {
    folder: tempfile::TempDir,
    sources: Sources,
}

fn given(file: Option<(&str, &str)>, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Given {
    let folder = tempfile::tempdir().unwrap();
    if let Some((name, text)) = file {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let flags = flags.iter().map(|(k, v)| (format!("--set {k}"), (*k).to_owned(), (*v).to_owned())).collect();
    let sources = Sources { file: None, folder: Some(folder.path().to_owned()), env: pairs(env), flags };
    Given { folder, sources }
}

fn load(
    file: Option<(&str, &str)>,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Config, ConfigErrors> {
    Config::load(&given(file, env, flags).sources)
}

fn refused(file: Option<(&str, &str)>, env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    load(file, env, flags).unwrap_err().to_string()
}

#[test]
fn the_defaults_keep_every_rule() {
    Settings::default().validate().unwrap();
    assert_eq!(load(None, &[], &[]).unwrap().settings, Settings::default());
}

#[test]
fn a_later_layer_wins_and_every_value_knows_its_origin() {
    let file = ("orchestra.toml", "[executor]\nshards = 16\nlanes = 3\ngroup_rows_max = 7\n");
    let env =
        [("ORCHESTRA__EXECUTOR__SHARDS", "32"), ("ORCHESTRA__EXECUTOR__LANES", "4"), ("UNRELATED", "x")];
    let given = given(Some(file), &env, &[("executor.lanes", "5")]);
    let config = Config::load(&given.sources).unwrap();
    let e = &config.settings.executor;
    assert_eq!((e.group_rows_max, e.shards, e.lanes, e.start_queue_max), (7, 32, 5, 10_000));
    let path = given.folder.path().join("orchestra.toml");
    assert_eq!(
        config.origin("executor.group_rows_max"),
        &Layer::File(path, "executor.group_rows_max".into())
    );
    assert_eq!(config.origin("executor.shards"), &Layer::Env("ORCHESTRA__EXECUTOR__SHARDS".into()));
    assert_eq!(config.origin("executor.lanes"), &Layer::Flag("--set executor.lanes".into()));
    assert_eq!(config.origin("executor.start_queue_max"), &Layer::Default);
}

#[test]
fn toml_yaml_and_json_say_the_same() {
    for (name, text) in [
        ("a.toml", "[executor]\nlease = \"9s\"\n[peers]\nplanner = \"http://p:1\"\n"),
        ("a.yaml", "executor:\n  lease: 9s\npeers: {planner: 'http://p:1'}\n"),
        ("a.json", r#"{"executor": {"lease": "9s"}, "peers": {"planner": ["http://p:1"]}}"#),
        ("b.yml", "executor.lease: 9s\npeers.planner: http://p:1\n"),
    ] {
        let mut given = given(Some((name, text)), &[], &[]);
        given.sources.file = Some(given.folder.path().join(name));
        let settings = Config::load(&given.sources).map(|c| c.settings);
        if name == "b.yml" {
            // A dotted key is a key with a dot, which TOML and YAML both can write; it reads as the path.
            assert_eq!(settings.unwrap().executor.lease, Duration::from_secs(9));
            continue;
        }
        let settings = settings.unwrap();
        assert_eq!(settings.executor.lease, Duration::from_secs(9), "{name}");
        assert_eq!(settings.peers.planner, PeerAddress::At(vec!["http://p:1".into()]), "{name}");
    }
}

#[test]
fn the_sources_own_names_work_in_the_environment_and_in_a_file() {
    type Check = fn(&Settings) -> bool;
    let table: &[(&str, &str, Check)] = &[
        ("PORT", "4000", |s| s.gateway.http_port == 4000),
        ("NODE_ENV", "development", |s| s.node.environment == "development"),
        ("ALLOWED_ORIGINS", "http://a, https://b:8443", |s| {
            s.gateway.allowed_origins == ["http://a", "https://b:8443"]
        }),
        ("PROMETHEUS_ENABLED", "false", |s| !s.telemetry.prometheus_enabled),
        ("HEALTH_CHECK_INTERVAL_MS", "15000", |s| {
            s.registry.health_check_interval == Duration::from_secs(15)
        }),
        ("DATABASE_URL", "postgresql://o@h/db", |s| s.is_postgres()),
        ("REDIS_STREAMS_URL", "redis://r:6379", |s| s.bus.url == Some(SecretUrl::new("redis://r:6379"))),
        ("MAX_CONCURRENT_WORKFLOWS", "7", |s| s.executor.max_concurrent_workflows == 7),
        ("WORKFLOW_TIMEOUT_HOURS", "0.5", |s| s.executor.workflow_timeout == Duration::from_secs(1800)),
        ("AGENT_ALLOCATION_TIMEOUT_SECONDS", "10", |s| {
            s.executor.agent_allocation_timeout == Duration::from_secs(10)
        }),
        ("SAGA_COMPENSATION_TIMEOUT_SECONDS", "90", |s| {
            s.executor.compensation_timeout == Duration::from_secs(90)
        }),
        ("CIRCUIT_BREAKER_ENABLED", "false", |s| !s.executor.breaker_enabled),
        ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "3", |s| s.executor.breaker_failures == 3),
        ("CHECKPOINT_INTERVAL_MINUTES", "2", |s| s.executor.checkpoint_interval == Duration::from_secs(120)),
        ("EVENT_RETENTION_HOURS", "1", |s| s.bus.retention == Duration::from_secs(3600)),
        ("EnabledFeatures.Chains", "false", |s| !s.planner.chains),
        ("EnabledFeatures.Graphs", "false", |s| !s.planner.graphs),
        ("EnabledFeatures.Workflows", "false", |s| !s.planner.workflows),
        ("EnabledFeatures.Scheduler", "false", |s| !s.schedules.enabled),
        ("EnabledFeatures.MessageBus", "false", |s| !s.topics.enabled),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317", |s| s.telemetry.otlp_endpoint.is_some()),
        ("healthCheckInterval", "20000", |s| s.registry.health_check_interval == Duration::from_secs(20)),
        ("workflowTimeout", "60000", |s| s.executor.workflow_timeout == Duration::from_secs(60)),
        ("maxConcurrentWorkflows", "10", |s| s.executor.max_concurrent_workflows == 10),
        ("retryPolicy.maxAttempts", "5", |s| s.retry.max_attempts == 5),
        ("retryPolicy.backoffStrategy", "linear", |s| s.retry.backoff == Backoff::Linear),
        ("retryPolicy.baseDelay", "250", |s| s.retry.base_delay == Duration::from_millis(250)),
        ("retryPolicy.maxDelay", "9000", |s| s.retry.max_delay == Duration::from_secs(9)),
        ("retryPolicy.retryableErrors", "timeout,ECONNRESET", |s| {
            s.retry.retryable_errors == ["timeout", "ECONNRESET"]
        }),
        ("cacheConfig.ttl", "60000", |s| s.cache.ttl == Some(Duration::from_secs(60))),
        ("cacheConfig.maxSize", "1048577", |s| s.cache.max_size == Bytes(1_048_577)),
        ("cacheConfig.strategy", "lfu", |s| s.cache.strategy == CacheStrategy::Lfu),
        ("enableTelemetry", "false", |s| !s.telemetry.enabled),
        ("logLevel", "debug", |s| s.telemetry.log_level == "debug"),
        ("WithChainTimeout", "30", |s| s.planner.chain_timeout == Some(Duration::from_secs(30))),
        ("WithChainRetries", "3", |s| s.planner.chain_retries == Some(3)),
        ("WithGraphMaxWorkers", "10", |s| s.planner.graph_max_workers == Some(10)),
        ("WithGraphParallelExecution", "false", |s| !s.planner.graph_parallel),
        ("WithWorkflowTaskQueue", "beluga-workflows", |s| s.planner.task_queue == "beluga-workflows"),
        ("WithWorkflowTimeout", "300", |s| s.executor.workflow_timeout == Duration::from_secs(300)),
        ("WithMetricsPrefix", "beluga.orchestration", |s| {
            s.telemetry.metrics_prefix == "beluga.orchestration"
        }),
        ("WithHealthCheckInterval", "30s", |s| s.registry.health_check_interval == Duration::from_secs(30)),
        ("WithLogger", "json", |s| s.telemetry.log_format == LogFormat::Json),
    ];
    for (name, text, holds) in table {
        let by_env = load(None, &[(&name.replace('.', "_"), text)], &[]).unwrap();
        assert!(holds(&by_env.settings), "{name} in the environment");
        let yaml = match name.split_once('.') {
            Some((head, key)) => format!("{head}:\n  {key}: {text}\n"),
            None => format!("{name}: {text}\n"),
        };
        let by_file = load(Some(("orchestra.yaml", &yaml)), &[], &[]).unwrap();
        assert!(holds(&by_file.settings), "{name} in a file");
    }
    let untested: Vec<_> =
        ALIASES.iter().filter(|a| !table.iter().any(|(name, ..)| *name == a.name)).map(|a| a.name).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn every_alias_names_a_setting_and_a_unit_only_where_time_is_meant() {
    let entries = Config::default().entries();
    for alias in ALIASES {
        let entry = entries.iter().find(|e| e.path == alias.path);
        let entry = entry.unwrap_or_else(|| panic!("{} names {}", alias.name, alias.path));
        assert_eq!(alias.unit != Unit::None, entry.kind.starts_with("duration"), "{}", alias.name);
    }
}

#[test]
fn the_configuration_block_of_the_breakdown_works_as_it_stands() {
    let yaml = "\
DATABASE_URL: postgresql://orchestration:${DB_PASSWORD}@postgres:5432/orchestration
REDIS_STREAMS_URL: redis://redis-cluster:6379
MAX_CONCURRENT_WORKFLOWS: 1000
WORKFLOW_TIMEOUT_HOURS: 24
AGENT_ALLOCATION_TIMEOUT_SECONDS: 300
CHECKPOINT_INTERVAL_MINUTES: 5
SAGA_COMPENSATION_TIMEOUT_SECONDS: 600
EVENT_RETENTION_HOURS: 168
";
    let config = load(Some(("orchestra.yaml", yaml)), &[("DB_PASSWORD", "s3cr$t")], &[]).unwrap();
    let url = &config.settings.database.url;
    assert_eq!(url.expose(), "postgresql://orchestration:s3cr$t@postgres:5432/orchestration");
    let executor = Settings::default().executor;
    assert_eq!(config.settings.executor, executor, "the defaults are those of the source");
}

#[test]
fn variables_inside_values_are_replaced_or_refused() {
    for (text, want) in [
        ("${A}", Ok("one")),
        ("x-${A}-${B}", Ok("x-one-two")),
        ("$$${A}", Ok("$one")),
        ("$A costs 5$", Ok("$A costs 5$")),
        ("$${A}", Ok("${A}")),
        ("${MISSING}", Err("names ${MISSING}, which is not set; set the variable")),
        ("${A", Err("has `${` without `}`")),
    ] {
        let file = format!("node:\n  region: '{text}'\n");
        let env = [("A", "one"), ("B", "two")];
        match (load(Some(("orchestra.yaml", &file)), &env, &[]), want) {
            (Ok(config), Ok(want)) => assert_eq!(config.settings.node.region, want, "{text}"),
            (Err(errors), Err(want)) => {
                let errors = errors.to_string();
                assert!(errors.contains(want) && errors.contains("node.region"), "{text}: {errors}");
            }
            (got, want) => panic!("{text}: {want:?}, {:?}", got.map(|c| c.settings.node.region)),
        }
    }
    let yaml = "executor: {shards: '${SHARDS}'}\nWORKFLOW_TIMEOUT_HOURS: '${HOURS}'\ngateway: {allowed_origins: ['${O}']}\n";
    let env = [("SHARDS", "8"), ("HOURS", "2"), ("O", "http://a")];
    let config = load(Some(("orchestra.yaml", yaml)), &env, &[]).unwrap();
    assert_eq!(config.settings.executor.shards, 8);
    assert_eq!(config.settings.executor.workflow_timeout, Duration::from_secs(7200));
    assert_eq!(config.settings.gateway.allowed_origins, ["http://a"]);
}

#[test]
fn every_refusal_names_layer_key_rule_and_remedy() {
    type Table<'a> = &'a [(
        Option<(&'a str, &'a str)>,
        &'a [(&'a str, &'a str)],
        &'a [(&'a str, &'a str)],
        &'a [&'a str],
    )];
    let yaml = |text| Some(("orchestra.yaml", text));
    let table: Table<'_> = &[
        (
            yaml("executor: {shard: 8}"),
            &[],
            &[],
            &["orchestra.yaml", "executor.shard", "did you mean executor.shards?"],
        ),
        (yaml("shards: 8"), &[], &[], &["shards: is not a setting", "did you mean executor.shards?"]),
        (yaml("executor: 5"), &[], &[], &["executor: must be a table of settings"]),
        (yaml("xyzzy_qqq: 5"), &[], &[], &["xyzzy_qqq: is not a setting", "orchestra config"]),
        (
            yaml("executor: {shards: none}"),
            &[],
            &[],
            &["executor.shards: must be a whole number", "not none", "default is 64"],
        ),
        (yaml("executor: {shards: 0}"), &[], &[], &["must be between 1 and 4096, not 0"]),
        (
            yaml("executor: {lease: 5}"),
            &[],
            &[],
            &["executor.lease: must be a duration with a unit", "default is 5s"],
        ),
        (yaml("telemetry: {log_format: xml}"), &[], &[], &["must be one of auto, pretty, json, not xml"]),
        (
            yaml("metricsCollectionInterval: 5"),
            &[],
            &[],
            &["metricsCollectionInterval: belongs to a service that this build does not have"],
        ),
        (yaml("KUBERNETES_CONFIG_PATH: /x"), &[], &[], &["KUBERNETES_CONFIG_PATH: belongs to a service"]),
        (yaml("a: [1"), &[], &[], &["orchestra.yaml", "correct the YAML"]),
        (yaml("- 1"), &[], &[], &["must be a table of settings"]),
        (
            yaml("PORT: 1\ngateway: {http_port: 2}"),
            &[],
            &[],
            &["gateway.http_port: is set to another value by", "keep one"],
        ),
        (
            None,
            &[("PORT", "70000")],
            &[],
            &["environment variable PORT", "gateway.http_port: must be a whole number between 0 and 65535"],
        ),
        (
            None,
            &[("ORCHESTRA__EXECUTR__SHARDS", "1")],
            &[],
            &["environment variable ORCHESTRA__EXECUTR__SHARDS", "did you mean executor.shards?"],
        ),
        (None, &[("ORCHESTRA__SAGA_COMPENSATION_TIMEOUT_SECONDS", "1")], &[], &["is not a setting"]),
        (
            None,
            &[("HEALTH_CHECK_INTERVAL_MS", "1000"), ("healthCheckInterval", "2000")],
            &[],
            &["is set to another value by environment variable HEALTH_CHECK_INTERVAL_MS"],
        ),
        (
            None,
            &[],
            &[("executor.lease", "3s")],
            &["flag --set executor.lease: must be at least three times"],
        ),
        (None, &[], &[("nope.nope", "3s")], &["flag --set nope.nope", "is not a setting"]),
        (
            None,
            &[("DATABASE_URL", "mysql://u:secret@h/db")],
            &[],
            &["environment variable DATABASE_URL", "must be a folder or a postgres:// URL"],
        ),
        (None, &[("ORCHESTRA__BUS__URL", "http://x")], &[], &["bus.url: must start with redis://"]),
        (
            None,
            &[("PORT", "3014")],
            &[],
            &["gateway.grpc_port: is the same port as gateway.http_port (3014)"],
        ),
        (
            None,
            &[("ALLOWED_ORIGINS", "example.org")],
            &[],
            &["\"example.org\" is not an origin", "scheme://host"],
        ),
        (None, &[("logLevel", "=,=")], &[], &["telemetry.log_level: must be debug"]),
        (
            None,
            &[("ORCHESTRA__PEERS__PLANNER", "planner:3022")],
            &[],
            &["peers.planner: must be `auto`, `here` or addresses"],
        ),
    ];
    for (file, env, flags, wants) in table {
        let text = refused(*file, env, flags);
        for want in *wants {
            assert!(text.contains(want), "{want:?} is missing in: {text}");
        }
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn all_errors_are_shown_at_once() {
    let file = ("orchestra.toml", "[executor]\nshard = 1\nlease = 5\n");
    let errors = load(Some(file), &[("PORT", "x")], &[]).unwrap_err();
    assert_eq!(errors.0.len(), 3, "{errors}");
    assert!(errors.to_string().starts_with("3 settings are wrong\n"));
}

#[test]
fn variables_that_are_not_ours_are_left_alone() {
    for name in ["KUBERNETES_CONFIG_PATH", "AUTO_SCALING_ENABLED", "ORCHESTRA_PORT", "PATH"] {
        assert_eq!(load(None, &[(name, "x")], &[]).unwrap().settings, Settings::default(), "{name}");
    }
    assert_eq!(load(None, &[("PORT", "")], &[]).unwrap().settings, Settings::default(), "empty is not set");
}

#[test]
fn a_named_file_must_exist_and_a_default_one_need_not() {
    let sources = Sources { file: Some(PathBuf::from("/nonexistent/x.toml")), ..Sources::default() };
    let errors = Config::load(&sources).unwrap_err().to_string();
    assert!(errors.contains("file /nonexistent/x.toml: file: cannot be read"), "{errors}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.ini");
    std::fs::write(&file, "").unwrap();
    let errors = Config::load(&Sources { file: Some(file), ..Sources::default() }).unwrap_err().to_string();
    assert!(errors.contains("name it .toml, .yaml or .json"), "{errors}");
}

#[test]
fn passwords_are_masked_when_shown_and_whole_when_not() {
    for (url, want) in [
        ("postgres://u:p%40ss@h:5432/db", "postgres://u:****@h:5432/db"),
        ("postgres://u:p@ss@h/db", "postgres://u:****@h/db"),
        ("postgres://u:p/w@h/db", "postgres://u:****@h/db"),
        ("postgres://u@h/db?password=x&sslmode=require", "postgres://u@h/db?password=****&sslmode=require"),
        ("postgres://h/db", "postgres://h/db"),
        ("./orchestra-data", "./orchestra-data"),
    ] {
        let config = load(None, &[("DATABASE_URL", url)], &[]).unwrap();
        let shown = config.render(true);
        assert!(shown.contains(&format!("url = \"{want}\"")), "{url}: {shown}");
        assert!(config.render(false).contains(&format!("url = \"{url}\"")), "{url}");
        assert_eq!(config.settings.database.url.to_string(), want);
        assert!(format!("{:?}", config.settings).contains(want), "Debug masks too");
    }
}

#[test]
fn what_is_rendered_reads_back_as_the_same_settings() {
    let env = [
        ("DATABASE_URL", "postgres://u:p@h/db"),
        ("WORKFLOW_TIMEOUT_HOURS", "1"),
        ("ALLOWED_ORIGINS", "http://a"),
    ];
    let config =
        load(None, &env, &[("executor.payload_max", "4MB"), ("peers.executor", "http://a:1,http://b:1")])
            .unwrap();
    let rendered = config.render(false);
    assert!(rendered.contains("# environment variable WORKFLOW_TIMEOUT_HOURS"), "{rendered}");
    let again = load(Some(("orchestra.toml", &rendered)), &[], &[]).unwrap();
    assert_eq!(again.settings, config.settings);
    assert_eq!(again.settings.executor.payload_max, Bytes::mib(4));
}

#[test]
fn a_database_is_a_folder_or_postgresql() {
    for (url, folder) in [
        ("./data", Some("./data")),
        ("sqlite:///var/lib/orchestra", Some("/var/lib/orchestra")),
        ("sqlite:./data", Some("./data")),
        ("postgres://u@h/db", None),
        ("postgresql://u@h/db", None),
    ] {
        let settings = load(None, &[("DATABASE_URL", url)], &[]).unwrap().settings;
        assert_eq!(settings.sqlite_folder(), folder.map(PathBuf::from), "{url}");
        assert_eq!(settings.is_postgres(), folder.is_none(), "{url}");
    }
}

#[test]
fn settings_of_a_program_show_what_it_changed() {
    let mut settings = Settings::default().on_free_ports();
    settings.executor.shards = 8;
    let config = Config::from_settings(settings);
    assert_eq!(config.origin("executor.shards"), &Layer::Program);
    assert_eq!(config.origin("executor.lanes"), &Layer::Default);
}

#[test]
fn the_reference_page_is_what_the_code_generates() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let want = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &want).unwrap();
    }
    let have = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        have == want,
        "docs/configuration.md is out of date: UPDATE_DOCS=1 cargo test -p orchestra-runtime"
    );
}
