//! The settings tree: every setting of every service, with its default, bounds and meaning.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{
    leaf::{Backoff, Bytes, CacheStrategy, LogFormat, PeerAddress, Secret, SecretUrl},
    tree::section,
};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}
const YEARS_10: Duration = base::time::DURATION_MAX;

section! {
    /// Everything that can be set. One tree for all services; a service reads its own section and the shared ones.
    Settings {
        sections {
            /// What this process is and where it stands.
            node: NodeSettings;
            /// What all listeners share.
            server: ServerSettings;
            /// Where the other services are.
            peers: PeerSettings;
            /// Where state is kept.
            database: DatabaseSettings;
            /// Event streams.
            bus: BusSettings;
            /// Logs, traces and metrics.
            telemetry: TelemetrySettings;
            /// The retry policy of a task that has none of its own.
            retry: RetrySettings;
            /// The registry: agents, instances, health.
            registry: RegistrySettings;
            /// The planner: definitions and plans.
            planner: PlannerSettings;
            /// The executor: executions and their log.
            executor: ExecutorSettings;
            /// The executor's result cache.
            cache: CacheSettings;
            /// Sessions: what executions share.
            sessions: SessionSettings;
            /// Hooks: what they may do, and their bounds.
            hooks: HookSettings;
            /// User events: topics, triggers, deliveries.
            topics: TopicSettings;
            /// Executions that start by the clock.
            schedules: ScheduleSettings;
            /// Other workflow engines, which tasks name with `provider`.
            providers: ProviderSettings;
            /// The gateway: the public door.
            gateway: GatewaySettings;
        }
    }
}

section! {
    /// What this process is and where it stands.
    NodeSettings {
        /// Name of this replica; a restarted replica with the same name takes its predecessor's shards at once.
        /// Unset: host name and gRPC port.
        id: Option<String> = None;
        /// Cluster that instances, members and messages carry.
        cluster: String = "local".into();
        /// Region that instances, members and messages carry.
        region: String = "local".into();
        /// Run mode. Any other value than `production` makes `telemetry.log_format = auto` print for people.
        environment: String = "production".into();
        /// Address under which other replicas reach this one's gRPC, `http://host:port`.
        /// Unset: the bound address, or the host name when bound to all addresses.
        advertise: Option<String> = None;
    }
}

section! {
    /// What all listeners share.
    ServerSettings {
        /// Address that every listener binds to. There is no authentication yet: other than loopback is a decision.
        host: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        /// After SIGTERM or SIGINT: how long accepted work may take to end before the process exits.
        drain_timeout: Duration = secs(30), in Duration::ZERO..=hours(24);
        /// After SIGTERM: how long the process is "not ready" but still accepts, so that load balancers notice.
        drain_delay: Duration = Duration::ZERO, in Duration::ZERO..=secs(300);
        /// Largest gRPC message that is accepted or sent.
        grpc_message_max: Bytes = Bytes::mib(64), in Bytes::kib(64)..=Bytes::gib(1);
        /// Deadline of a call to a peer that brings none of its own (streams have none).
        call_timeout: Duration = secs(30), in ms(10)..=hours(1);
        /// How often the health of needed peers is looked at.
        peer_check_interval: Duration = secs(5), in ms(100)..=hours(1);
    }
}

section! {
    /// Where the other services are.
    PeerSettings {
        /// The registry's gRPC address.
        registry: PeerAddress = PeerAddress::Auto;
        /// The planner's gRPC address.
        planner: PeerAddress = PeerAddress::Auto;
        /// The executors' gRPC addresses: any one of them tells the shard map.
        executor: PeerAddress = PeerAddress::Auto;
    }
}

section! {
    /// Where state is kept.
    DatabaseSettings {
        /// A folder (SQLite, one file for each service) or a `postgres://` URL (one schema for each service).
        url: SecretUrl = SecretUrl::new("./orchestra-data");
        /// PostgreSQL: connections for everything but the executor's commits, for each service.
        pool_max: u32 = 10, in 1..=1000;
        /// PostgreSQL: connections that commit the executor's groups of events, each its own pipeline.
        committers: u32 = 2, in 1..=4;
        /// SQLite: connections that read, for each service.
        readers: u32 = 4, in 1..=64;
        /// How long a request waits for a connection.
        acquire_timeout: Duration = secs(5), in ms(10)..=secs(300);
        /// Starts even when PostgreSQL runs with `fsync=off` or `synchronous_commit=off`: acknowledged work can
        /// then be lost.
        allow_unsafe_durability: bool = false;
    }
}

section! {
    /// Event streams.
    BusSettings {
        /// A `redis://` or `rediss://` URL. Unset: streams inside this process, for one process only.
        url: Option<SecretUrl> = None;
        /// How long entries stay in the streams that can be read again; inside a process at most an hour.
        retention: Duration = hours(168), in secs(60)..=YEARS_10;
        /// How long a command to Redis may take.
        response_timeout: Duration = secs(5), in ms(100)..=secs(300);
        /// Partitions of the event streams.
        partitions: u32 = 16, in 1..=1024;
        /// An entry that a consumer has not acknowledged for this long is claimed by another.
        claim_after: Duration = secs(30), in secs(1)..=hours(24);
        /// Deliveries of an entry before it becomes a dead letter.
        deliveries_max: u32 = 5, in 1..=1000;
    }
}

section! {
    /// Logs, traces and metrics.
    TelemetrySettings {
        /// `false` sends nothing and serves no metrics; logs stay.
        enabled: bool = true;
        /// `debug`, `info`, `warn`, `error`, or directives such as `info,executor=debug`.
        log_level: String = "info".into();
        /// How log lines look; they go to stderr.
        log_format: LogFormat = LogFormat::Auto;
        /// OTLP/gRPC endpoint for traces, metrics and logs, `http://collector:4317`. Unset: nothing is sent.
        otlp_endpoint: Option<SecretUrl> = None;
        /// Share of traces that are recorded when the caller has not decided.
        sampling_ratio: f64 = 1.0, in 0.0..=1.0;
        /// How often metrics are sent by OTLP.
        export_interval: Duration = secs(10), in ms(100)..=hours(1);
        /// Serves `/metrics` in the Prometheus text format.
        prometheus_enabled: bool = true;
        /// Leads the names of the chain, graph and workflow metrics: `<prefix>.chain.executions`.
        metrics_prefix: String = "orchestra".into();
    }
}

section! {
    /// The retry policy of a task that has none of its own.
    RetrySettings {
        /// Attempts in all, the first included; 1 never retries.
        max_attempts: u32 = 3, in 1..=1000;
        /// How the delay grows.
        backoff: Backoff = Backoff::Exponential;
        /// Delay before the first retry.
        base_delay: Duration = secs(1), in Duration::ZERO..=hours(24);
        /// Longest delay.
        max_delay: Duration = secs(60), in Duration::ZERO..=hours(24);
        /// Failures that are retried: classes (`timeout`, `unavailable`, …) or words of the message. Empty: all that
        /// may be retried.
        retryable_errors: Vec<String> = Vec::new();
    }
}

section! {
    /// The registry: agents, instances, health.
    RegistrySettings {
        /// gRPC port.
        grpc_port: u16 = 3021;
        /// Port of `/health`, `/ready` and `/metrics`.
        internal_port: u16 = 3031;
        /// How often each instance is probed.
        health_check_interval: Duration = secs(30), in ms(100)..=hours(24);
        /// How long a probe may take.
        probe_timeout: Duration = secs(5), in ms(10)..=secs(300);
        /// Probes that run at the same time.
        probe_concurrency: u32 = 64, in 1..=10_000;
        /// Share of the interval by which probes are spread at random.
        probe_jitter: f64 = 0.2, in 0.0..=1.0;
        /// Failed probes in a row before an instance is unhealthy.
        unhealthy_after: u32 = 3, in 1..=100;
        /// An instance that sends heartbeats and is silent for this long is unhealthy.
        heartbeat_expiry: Duration = secs(90), in secs(1)..=hours(24);
        /// Changed health is written at once, unchanged health this often.
        heartbeat_flush_interval: Duration = secs(30), in ms(100)..=hours(1);
        /// How often a watch looks for changes that no nudge announced.
        watch_poll_interval: Duration = secs(1), in ms(10)..=secs(60);
        /// An executor that has not reported for this long no longer holds the removal of an agent back. At least
        /// three reports; executors report every 2 s.
        executor_expiry: Duration = secs(10), in ms(100)..=hours(1);
        /// Largest agent description.
        agent_max: Bytes = Bytes::mib(1), in Bytes::kib(1)..=Bytes::mib(64);
    }
}

section! {
    /// The planner: definitions and plans.
    PlannerSettings {
        /// gRPC port.
        grpc_port: u16 = 3022;
        /// Port of `/health`, `/ready` and `/metrics`.
        internal_port: u16 = 3032;
        /// Largest definition.
        definition_max: Bytes = Bytes::mib(32), in Bytes::kib(1)..=Bytes::gib(1);
        /// Most tasks of one definition.
        nodes_max: u32 = 100_000, in 1..=1_000_000;
        /// Deepest nesting of a definition.
        depth_max: u32 = 64, in 4..=512;
        /// Most YAML aliases that one definition may expand.
        aliases_max: u32 = 1_000, in 0..=1_000_000;
        /// Plans kept in memory.
        plan_cache_max: u32 = 1_000, in 1..=1_000_000;
        /// Timeout of a chain that sets none.
        chain_timeout: Option<Duration> = None;
        /// Retries of a chain that sets none.
        chain_retries: Option<u32> = None;
        /// Tasks of a graph that run at the same time when the graph sets no maximum.
        graph_max_workers: Option<u32> = None;
        /// Whether the nodes of a graph that says nothing may run in parallel.
        graph_parallel: bool = true;
        /// Task queue of work for another engine that names none; shown as that of every workflow.
        task_queue: String = "default".into();
        /// `false` refuses chains: none is stored, planned or started.
        chains: bool = true;
        /// `false` refuses graphs: none is stored, planned or started.
        graphs: bool = true;
        /// `false` refuses workflows, that is what is neither a chain nor a graph: none is stored, planned or started.
        workflows: bool = true;
    }
}

section! {
    /// The executor: executions and their log.
    ExecutorSettings {
        /// gRPC port.
        grpc_port: u16 = 3023;
        /// Port of `/health`, `/ready` and `/metrics`.
        internal_port: u16 = 3033;
        /// Shards of the executions. Fixed once a database is in use.
        shards: u32 = 64, in 1..=4096;
        /// Threads of shard actors; 0 = one for each core.
        lanes: u32 = 0, in 0..=1024;
        /// Most rows of one group commit.
        group_rows_max: u32 = 1024, in 1..=65_536;
        /// Most bytes of one group commit.
        group_bytes_max: Bytes = Bytes::mib(4), in Bytes::kib(64)..=Bytes::mib(256);
        /// Executions that are active at the same time in the whole cluster; more wait in the queue.
        max_concurrent_workflows: u32 = 1000, in 1..=10_000_000;
        /// Starts that wait in the queue before more are refused (429).
        start_queue_max: u32 = 10_000, in 0..=10_000_000;
        /// Executions of one tenant at once, over all replicas: a soft limit, of which each replica has the share of its
        /// shards. More wait in the queue. 0 = no limit of its own.
        tenant_concurrent_workflows: u32 = 0, in 0..=10_000_000;
        /// Starts of one tenant that wait in the queue before more are refused (429); soft likewise. 0 = no limit of its
        /// own.
        tenant_start_queue_max: u32 = 0, in 0..=10_000_000;
        /// Timeout of an execution that sets none.
        workflow_timeout: Duration = hours(24), in secs(1)..=YEARS_10;
        /// How long a task waits for an agent before it fails.
        agent_allocation_timeout: Duration = secs(300), in ms(1)..=YEARS_10;
        /// An event that reaches an execution before a task waits for it is kept for this long.
        event_ttl: Duration = hours(24), in Duration::ZERO..=YEARS_10;
        /// How long all compensation of an execution may take when its workflow sets no `saga.timeout`; what is not undone
        /// by then becomes dead letters. 0 = as long as it takes.
        compensation_timeout: Duration = secs(600), in Duration::ZERO..=YEARS_10;
        /// How often a long execution is checkpointed.
        checkpoint_interval: Duration = secs(300), in secs(1)..=YEARS_10;
        /// Most events of one execution; a warning at half.
        history_events_max: u32 = 50_000, in 100..=10_000_000;
        /// Most bytes of one execution's events; a warning at half.
        history_bytes_max: Bytes = Bytes::mib(50), in Bytes::kib(64)..=Bytes::gib(4);
        /// Payloads above this lie in rows of their own.
        payload_inline_max: Bytes = Bytes::kib(64), in Bytes::kib(1)..=Bytes::mib(1);
        /// Largest payload (input, output, signal).
        payload_max: Bytes = Bytes::mib(8), in Bytes::kib(64)..=Bytes::gib(1);
        /// A replica silent for this long loses its shards. At least three renewals.
        lease: Duration = secs(5), in ms(100)..=secs(300);
        /// How often the lease is renewed.
        lease_renewal: Duration = ms(1500), in ms(10)..=secs(100);
        /// A call expected to take less sends and waits; others stream or are polled.
        short_call: Duration = ms(2000), in Duration::ZERO..=secs(600);
        /// Timeout of one attempt of a task that sets none.
        attempt_timeout: Duration = secs(600), in ms(1)..=YEARS_10;
        /// How long an agent that cannot be told that a call was cut (cancel, terminate, failure) is told again.
        cancel_within: Duration = secs(300), in Duration::ZERO..=hours(168);
        /// Whether an instance that fails one call after another is left alone for a while (circuit breaker).
        breaker_enabled: bool = true;
        /// Calls in a row that time out, break or do not reach an instance before its breaker opens. Each replica counts
        /// its own.
        breaker_failures: u32 = 5, in 1..=10_000;
        /// How long a breaker is open the first time; then one call tries the instance, and each failure of that call
        /// doubles the time.
        breaker_open_min: Duration = secs(1), in ms(10)..=hours(1);
        /// How long a breaker is open at most before the instance is tried again.
        breaker_open_max: Duration = secs(30), in ms(10)..=hours(24);
        /// Largest answer of an agent.
        answer_max: Bytes = Bytes::mib(8), in Bytes::kib(1)..=Bytes::gib(1);
        /// An execution in which nothing happens for this long leaves memory.
        park_after: Duration = secs(60), in ms(10)..=hours(24);
        /// An execution in which nothing goes on for this long is marked as stuck, with the reason.
        stuck_after: Duration = secs(10), in ms(10)..=hours(24);
        /// How often parked executions whose timer is due are looked for.
        sweep_interval: Duration = secs(1), in ms(10)..=secs(300);
        /// Ended executions and their log are deleted after this long. Unset: never.
        execution_retention: Option<Duration> = None;
    }
}

section! {
    /// The executor's result cache: answers of pure capabilities, in the memory of each replica.
    CacheSettings {
        /// `false` remembers nothing and keeps nothing.
        enabled: bool = true;
        /// Which entry goes when there is no room.
        strategy: CacheStrategy = CacheStrategy::Lru;
        /// How long an entry is believed that sets no time of its own. Unset: until there is no room.
        ttl: Option<Duration> = Some(secs(300));
        /// Bytes of one replica's cache: keys, values and 256 bytes for each entry.
        max_size: Bytes = Bytes::mib(100), in Bytes::kib(64)..=Bytes::gib(64);
        /// Largest value; larger answers are not remembered.
        entry_max: Bytes = Bytes::mib(1), in Bytes::kib(1)..=Bytes::mib(64);
        /// Namespaces with entries, over all tenants.
        namespaces_max: u32 = 1_000, in 1..=1_000_000;
        /// Remembers every call of a pure capability; else only those of tasks with `cache`.
        all_pure: bool = false;
    }
}

section! {
    /// Sessions: variables and a conversation that executions share.
    SessionSettings {
        /// Variables of one session.
        vars_max: u32 = 200, in 1..=100_000;
        /// Bytes of one session's variables together, as JSON.
        vars_size_max: Bytes = Bytes::kib(256), in Bytes::kib(1)..=Bytes::mib(4);
        /// Turns of one session's conversation; the oldest go.
        turns_max: u32 = 1_000, in 1..=1_000_000;
        /// Bytes of one session's conversation; the oldest turns go.
        turns_size_max: Bytes = Bytes::mib(1), in Bytes::kib(4)..=Bytes::mib(256);
        /// Turns that an execution loads when its workflow does not say; 0 = none.
        history: u32 = 20, in 0..=1_000;
        /// Sessions that nobody has changed for this long are deleted. Unset: never.
        retention: Option<Duration> = None;
    }
}

section! {
    /// Hooks: what they may do, and their bounds.
    HookSettings {
        /// `false` runs no hook and serves none.
        enabled: bool = true;
        /// Executables that hooks may run, by absolute path. No shell reads their arguments.
        commands: Vec<String> = Vec::new();
        /// Formatters of `builtin:formatter`: `rs=/usr/bin/rustfmt --edition 2024`. The file's path is appended.
        formatters: Vec<String> = Vec::new();
        /// Working directory of commands and formatters. Unset: the system's folder for temporary files.
        working_dir: Option<String> = None;
        /// Files that built-in functions read or format lie in this folder. Unset: they touch no files.
        files_root: Option<String> = None;
        /// Signs webhooks (HMAC-SHA256). Unset: there are no webhooks.
        webhook_secret: Option<Secret> = None;
        /// Lets webhooks reach loopback, private and link-local addresses.
        webhook_private: bool = false;
        /// Tries of a webhook within the hook's timeout.
        webhook_attempts: u32 = 3, in 1..=20;
        /// Pause before the second try; doubled with each.
        webhook_base_delay: Duration = ms(500), in Duration::ZERO..=secs(60);
        /// Longest `timeout_ms` of a hook.
        timeout_max: Duration = secs(300), in ms(1)..=hours(24);
        /// Hooks of one tenant.
        hooks_max: u32 = 1_000, in 1..=100_000;
        /// Hooks that a replica runs at once: so many before calls, and as many others.
        concurrency: u32 = 32, in 1..=10_000;
        /// Processor time of a command.
        command_cpu: Duration = secs(30), in secs(1)..=hours(24);
        /// Address space of a command.
        command_memory: Bytes = Bytes::gib(1), in Bytes::mib(16)..=Bytes::gib(1024);
        /// Open files of a command.
        command_files: u32 = 128, in 8..=1_000_000;
        /// Largest file that a command writes.
        command_file_size: Bytes = Bytes::mib(64), in Bytes::kib(1)..=Bytes::gib(1024);
        /// Largest output of a command or answer of a webhook.
        output_max: Bytes = Bytes::kib(64), in Bytes::kib(1)..=Bytes::mib(16);
        /// Largest task input that hooks are told; larger ones are left out.
        input_max: Bytes = Bytes::kib(256), in Bytes::kib(1)..=Bytes::mib(64);
        /// Runs are kept this long after their end.
        log_retention: Duration = hours(168), in secs(1)..=YEARS_10;
        /// How often hooks that were changed on another replica are looked for.
        refresh_interval: Duration = secs(1), in ms(10)..=secs(300);
        /// Bytes of the search cache of one replica.
        search_cache_max: Bytes = Bytes::mib(16), in Bytes::kib(64)..=Bytes::gib(64);
        /// How long the search cache believes a result.
        search_cache_ttl: Duration = secs(300), in secs(1)..=YEARS_10;
    }
}

section! {
    /// User events: topics, triggers, deliveries. How long events are kept is `bus.retention`.
    TopicSettings {
        /// `false` refuses events; triggers start nothing and executions get none.
        enabled: bool = true;
        /// Publishes what happens to agents as events of the topic `agent_status`.
        agent_status: bool = true;
        /// Publishes every task result as an event of the topic `data_updates`. Each result is then written twice.
        data_updates: bool = false;
        /// Publishes starts, assignments and ends of executions as events of the topic `workflow_status`.
        workflow_status: bool = false;
        /// Topics whose events are never written to disk, by name; `metrics.*` means all that begin with `metrics.`.
        volatile: Vec<String> = Vec::new();
        /// Largest payload of an event.
        payload_max: Bytes = Bytes::kib(256), in Bytes::kib(1)..=Bytes::kib(768);
        /// Most events of one request.
        batch_max: u32 = 1_000, in 1..=10_000;
        /// Events that may wait in one replica to be written before more are refused (429).
        queue_max: u32 = 10_000, in 1..=1_000_000;
        /// Most events of one group commit.
        group_rows_max: u32 = 512, in 1..=4_096;
        /// Events that a tenant may publish in a second on one replica; more are refused (429). 0 = no limit.
        rate_max: u32 = 0, in 0..=10_000_000;
        /// Starts and deliveries that one replica makes at the same time.
        concurrency: u32 = 32, in 1..=1_000;
        /// How often new events are looked for that no nudge announced.
        poll_interval: Duration = secs(1), in ms(10)..=secs(60);
        /// A start that found the workflow busy is tried again after this long, later less often (up to 30 times that).
        busy_retry: Duration = secs(1), in ms(10)..=hours(1);
    }
}

section! {
    /// Executions that start by the clock.
    ScheduleSettings {
        /// `false` refuses new schedules; those that exist start nothing, and their times pass.
        enabled: bool = true;
        /// Missed times are made up for when they are no older, unless the schedule says otherwise.
        catch_up: Duration = hours(1), in Duration::ZERO..=hours(8784);
        /// Longest pause between two looks at what is due; a fire that waits for an execution is looked at this often.
        poll_interval: Duration = secs(1), in ms(10)..=secs(60);
        /// Most times of one backfill.
        backfill_max: u32 = 1_000, in 1..=100_000;
    }
}

section! {
    /// Other workflow engines, which tasks name with `provider`. One without an address is off.
    ProviderSettings {
        /// Temporal: the frontend's address, `http://host:7233`, or `https://` for TLS. Unset: there is no `temporal`.
        temporal_address: Option<SecretUrl> = None;
        /// Temporal: the namespace.
        temporal_namespace: String = "default".into();
        /// Temporal: an API key, as Temporal Cloud gives them; needs `https://`. Unset: none is sent.
        temporal_api_key: Option<Secret> = None;
        /// Temporal: a PEM file with the authority that signed the server's certificate. Unset: the system's.
        temporal_ca_file: Option<String> = None;
        /// Another Orchestra: the public gRPC address of its gateway, `http://host:3014`. Unset: there is no `orchestra`.
        orchestra_address: Option<SecretUrl> = None;
        /// Runs at one engine at the same time, over all executors.
        concurrency: u32 = 1_000, in 1..=1_000_000;
        /// How long a start, signal, query or cancel may take.
        call_timeout: Duration = secs(10), in ms(10)..=secs(300);
        /// Longest wait of one question for a result; it is asked again until the attempt's time is over.
        poll: Duration = secs(20), in ms(100)..=secs(60);
    }
}

section! {
    /// The gateway: the public door.
    GatewaySettings {
        /// Public HTTP port: REST, WebSocket, SSE, OpenAPI.
        http_port: u16 = 3013;
        /// Public gRPC port.
        grpc_port: u16 = 3014;
        /// Port of `/health`, `/ready` and `/metrics` for the inside.
        internal_port: u16 = 3034;
        /// Browser origins that may send requests; others are refused. Empty: same origin only.
        allowed_origins: Vec<String> = Vec::new();
        /// Largest request body.
        body_max: Bytes = Bytes::mib(32), in Bytes::kib(1)..=Bytes::gib(1);
        /// Most items of a page.
        page_max: u32 = 500, in 1..=10_000;
        /// Items of a page when the request names no number.
        page_default: u32 = 50, in 1..=10_000;
        /// Longest wait of `execute?wait=`.
        wait_max: Duration = secs(300), in ms(1)..=hours(1);
        /// Timeout of a request that does not wait or stream.
        request_timeout: Duration = secs(30), in ms(10)..=hours(1);
        /// Open WebSocket and SSE connections.
        websocket_max: u32 = 10_000, in 1..=1_000_000;
        /// Messages that may wait for a slow WebSocket client before it is disconnected.
        websocket_backlog_max: u32 = 1_000, in 1..=1_000_000;
        /// Largest message from a WebSocket client.
        websocket_message_max: Bytes = Bytes::kib(64), in Bytes::kib(1)..=Bytes::mib(16);
        /// How often a silent WebSocket or SSE connection is pinged.
        websocket_ping_interval: Duration = secs(20), in ms(100)..=hours(1);
    }
}

/// A role's listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Public HTTP (the gateway only).
    pub http: Option<SocketAddr>,
    /// gRPC.
    pub grpc: SocketAddr,
    /// `/health`, `/ready`, `/metrics`.
    pub internal: SocketAddr,
}

impl Settings {
    /// The listeners of the role called `role`; port 0 everywhere (any free one) for a role that has no section.
    pub fn ports(&self, role: &str) -> Ports {
        let at = |port| SocketAddr::new(self.server.host, port);
        let (http, grpc, internal) = match role {
            "registry" => (None, self.registry.grpc_port, self.registry.internal_port),
            "planner" => (None, self.planner.grpc_port, self.planner.internal_port),
            "executor" => (None, self.executor.grpc_port, self.executor.internal_port),
            "gateway" => (Some(self.gateway.http_port), self.gateway.grpc_port, self.gateway.internal_port),
            _ => (None, 0, 0),
        };
        Ports { http: http.map(at), grpc: at(grpc), internal: at(internal) }
    }

    /// Where the peer called `role` is; `Auto` for one without a setting.
    pub fn peer(&self, role: &str) -> PeerAddress {
        match role {
            "registry" => self.peers.registry.clone(),
            "planner" => self.peers.planner.clone(),
            "executor" => self.peers.executor.clone(),
            _ => PeerAddress::Auto,
        }
    }

    /// Listens on loopback with any free port everywhere: for tests and embedding.
    #[must_use]
    pub fn on_free_ports(mut self) -> Self {
        self.server.host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for port in [
            &mut self.registry.grpc_port,
            &mut self.registry.internal_port,
            &mut self.planner.grpc_port,
            &mut self.planner.internal_port,
            &mut self.executor.grpc_port,
            &mut self.executor.internal_port,
            &mut self.gateway.http_port,
            &mut self.gateway.grpc_port,
            &mut self.gateway.internal_port,
        ] {
            *port = 0;
        }
        self
    }

    /// Name of this replica in `role`: `node.id`, else host name and gRPC port.
    pub fn member_id(&self, role: &str) -> String {
        self.node
            .id
            .clone()
            .unwrap_or_else(|| format!("{}-{}", crate::ports::host_name(), self.ports(role).grpc.port()))
    }
}
