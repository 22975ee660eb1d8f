//! Orchestra as it is installed: release programs, real servers, free ports. All of it is gone when it is dropped.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Persistence, Postgres, PostgresOptions, Process, Redis, free_port, wait_for_blocking};

use crate::{
    agent, client,
    usage::{self, Usages},
};

const START_DEADLINE: Duration = Duration::from_secs(60);

/// What Orchestra runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    /// `orchestra dev`: one process, SQLite, streams in memory.
    Embedded,
    /// PostgreSQL, Redis without persistence, one executor.
    Pg1,
    /// PostgreSQL, Redis without persistence, two executors.
    Pg2,
    /// PostgreSQL, Redis with an append-only file synced every second, one executor.
    Pg1Aof,
}

impl Backend {
    pub(crate) const ALL: [Self; 4] = [Self::Embedded, Self::Pg1, Self::Pg2, Self::Pg1Aof];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Pg1 => "pg+redis, 1 executor",
            Self::Pg2 => "pg+redis, 2 executors",
            Self::Pg1Aof => "pg+redis everysec, 1 executor",
        }
    }

    /// What is on disk before the next thing happens.
    pub(crate) fn durability(self) -> &'static str {
        match self {
            Self::Embedded => "SQLite WAL, synchronous=FULL",
            Self::Pg1 | Self::Pg2 => "PostgreSQL fsync, synchronous_commit=on; Redis keeps nothing",
            Self::Pg1Aof => "PostgreSQL fsync, synchronous_commit=on; Redis AOF everysec",
        }
    }

    fn nodes(self) -> &'static [&'static str] {
        match self {
            Self::Embedded => &["orchestra"],
            Self::Pg1 | Self::Pg1Aof => &["registry", "planner", "executor-1", "gateway"],
            Self::Pg2 => &["registry", "planner", "executor-1", "executor-2", "gateway"],
        }
    }

    /// The process that holds running executions.
    pub(crate) fn executor(self) -> &'static str {
        if self == Self::Embedded { "orchestra" } else { "executor-1" }
    }
}

struct Node {
    name: String,
    process: Process,
    grpc: u16,
    internal: u16,
}

/// Settings on top of the defaults.
pub(crate) type Settings<'a> = &'a [(&'a str, &'a str)];

/// A running Orchestra with its agents.
pub(crate) struct System {
    pub(crate) backend: Backend,
    /// REST.
    pub(crate) http: u16,
    nodes: Vec<Node>,
    agents: Vec<(String, Process, u16)>,
    settings: Vec<(String, String)>,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    // Last: processes end before their folder goes.
    folder: TempDir,
}

impl System {
    /// Starts one and waits until all of it is ready.
    pub(crate) fn start(backend: Backend, settings: Settings<'_>) -> Self {
        let mut system = Self::prepare(backend, settings);
        for name in backend.nodes() {
            system.launch(name);
        }
        for name in backend.nodes() {
            system.wait_ready(name);
        }
        system
    }

    /// Everything but the processes of Orchestra.
    pub(crate) fn prepare(backend: Backend, settings: Settings<'_>) -> Self {
        let folder = tempfile::Builder::new().prefix("orchestra-bench-").tempdir();
        let folder = folder.expect("a temporary folder");
        let node = |name: &&str| Node {
            name: (*name).to_owned(),
            process: Process::new(name, folder.path()),
            grpc: free_port(),
            internal: free_port(),
        };
        let redis = match backend {
            Backend::Embedded => None,
            Backend::Pg1 | Backend::Pg2 => Some(Redis::start()),
            Backend::Pg1Aof => Some(Redis::start_with(Persistence::AofEverySecond)),
        };
        let mut system = Self {
            backend,
            http: free_port(),
            nodes: backend.nodes().iter().map(node).collect(),
            agents: Vec::new(),
            settings: Vec::new(),
            postgres: (backend != Backend::Embedded).then(postgres),
            redis,
            folder,
        };
        system.settings = system.settings_of(settings);
        system
    }

    fn settings_of(&self, more: Settings<'_>) -> Vec<(String, String)> {
        let mut all = Vec::new();
        if let (Some(postgres), Some(redis)) = (&self.postgres, &self.redis) {
            let at = |role: &str| {
                let all = self.nodes.iter().filter(|n| role_of(&n.name) == role);
                all.map(|n| format!("http://127.0.0.1:{}", n.grpc)).collect::<Vec<_>>().join(",")
            };
            all.extend([
                ("database.url".to_owned(), postgres.url()),
                ("bus.url".to_owned(), redis.url()),
                ("peers.registry".to_owned(), at("registry")),
                ("peers.planner".to_owned(), at("planner")),
                ("peers.executor".to_owned(), at("executor")),
            ]);
        }
        all.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        all
    }

    fn command(&self, node: &Node) -> Command {
        let mut command = Command::new(program());
        let role = role_of(&node.name);
        let mut sets = self.settings.clone();
        match self.backend {
            Backend::Embedded => {
                let (http, grpc) = (self.http.to_string(), node.grpc.to_string());
                command.args(["dev", "--port", &http, "--grpc-port", &grpc]);
                command.arg("--data").arg(self.data());
            }
            _ => {
                command.args(["serve", "--role", role]);
                sets.push(("node.id".into(), node.name.clone()));
                sets.push((format!("{role}.grpc_port"), node.grpc.to_string()));
                sets.push((format!("{role}.internal_port"), node.internal.to_string()));
                if role == "gateway" {
                    sets.push(("gateway.http_port".into(), self.http.to_string()));
                }
            }
        }
        for (key, value) in sets {
            command.args(["--set", &format!("{key}={value}")]);
        }
        for name in ["DATABASE_URL", "REDIS_STREAMS_URL", "PORT", "ORCHESTRA_CONFIG", "ORCHESTRA_CRASH_AT"] {
            command.env_remove(name);
        }
        command.args(["--log-level", "warn"]).current_dir(self.folder.path());
        command
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|n| n.name == name).unwrap_or_else(|| panic!("there is no process {name}"))
    }

    /// Starts a process without waiting until it is ready.
    pub(crate) fn launch(&mut self, name: &str) {
        let command = {
            let node = self.nodes.iter().find(|n| n.name == name).expect("a process of this backend");
            self.command(node)
        };
        self.node(name).process.start(command);
    }

    /// Waits until a process says that it is ready; how long that took from now.
    pub(crate) fn wait_ready(&mut self, name: &str) -> Duration {
        let began = Instant::now();
        let http = self.http;
        let embedded = self.backend == Backend::Embedded;
        let node = self.node(name);
        let port = if embedded { http } else { node.internal };
        while !(client::is_ready(port) && (name != "gateway" || client::is_ready(http))) {
            assert!(
                began.elapsed() < START_DEADLINE && node.process.runs(),
                "{name} does not become ready\n{}",
                node.process.log_tail()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        began.elapsed()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, name: &str) {
        self.node(name).process.kill();
    }

    /// Stops a process the clean way.
    pub(crate) fn stop(&mut self, name: &str) {
        let node = self.node(name);
        node.process.signal("TERM");
        node.process.wait();
    }

    /// Starts an agent process and registers it under `id`; where it answers.
    pub(crate) fn agent(&mut self, id: &str, args: &[&str]) -> u16 {
        let port = self.agent_process(id, args);
        self.register(id, &format!("http://127.0.0.1:{port}"), "noop", 100_000);
        port
    }

    /// Starts an agent process that nobody knows yet.
    pub(crate) fn agent_process(&mut self, id: &str, args: &[&str]) -> u16 {
        let port = free_port();
        let mut process = Process::new(id, self.folder.path());
        process.start(agent_command(port, args));
        wait_for_blocking("an agent", START_DEADLINE, || {
            client::ask(port, "GET", "/trace", "text/plain", "").ok()
        });
        self.agents.push((id.to_owned(), process, port));
        port
    }

    /// Starts the example agent of the development pipeline, which registers itself.
    pub(crate) fn developer(&mut self) {
        let grpc = |role: &str| {
            let node = self.nodes.iter().find(|n| n.name == role).unwrap_or(&self.nodes[0]);
            format!("http://127.0.0.1:{}", node.grpc)
        };
        let mut command = Command::new(beside("developer-agent", "orchestra-example-agents"));
        command.args(["--id", "developer", "--register", &format!("http://127.0.0.1:{}", self.http)]);
        command.args(["--registry", &grpc("registry")]).arg("--work").arg(self.folder.path());
        let mut process = Process::new("developer", self.folder.path());
        process.start(command);
        let known = || self.get("/agents/developer").ok();
        wait_for_blocking("the developer to register", START_DEADLINE, known);
        self.agents.push(("developer".into(), process, 0));
    }

    /// Runs a command of the command line against it; what it said when it failed.
    pub(crate) fn orchestra(&self, args: &[&str]) -> Result<(), String> {
        let door = self.nodes.last().map_or(0, |n| n.grpc);
        let mut command = Command::new(program());
        command.env("ORCHESTRA_SERVER", format!("http://127.0.0.1:{door}")).args(args);
        let output = command.current_dir(self.folder.path()).output().map_err(|e| e.to_string())?;
        let said = || String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(()) } else { Err(said()) }
    }

    /// Registers an agent.
    pub(crate) fn register(&self, id: &str, url: &str, capability: &str, capacity: u32) {
        let definition = agent::definition(id, url, capability, capacity);
        self.post("/agents", &definition.to_string()).unwrap_or_else(|e| panic!("{id} is not accepted: {e}"));
    }

    /// `kill -9` of an agent process, and another at the same address.
    pub(crate) fn restart_agent(&mut self, id: &str, args: &[&str]) {
        let found = self.agents.iter_mut().find(|(name, ..)| name == id);
        let (_, process, port) = found.expect("an agent of this system");
        process.kill();
        process.start(agent_command(*port, args));
    }

    /// POST of JSON below `/api/v1`.
    pub(crate) fn post(&self, path: &str, body: &str) -> io::Result<Value> {
        client::json(self.http, "POST", &format!("/api/v1{path}"), body)
    }

    /// GET below `/api/v1`.
    pub(crate) fn get(&self, path: &str) -> io::Result<Value> {
        client::json(self.http, "GET", &format!("/api/v1{path}"), "")
    }

    /// Executions and calls, active and waiting, of all executors.
    pub(crate) fn capacity(&self) -> Value {
        client::json(self.http, "GET", "/workflow-capacity", "").unwrap_or_default()
    }

    /// DELETE below `/api/v1`: whether it was accepted.
    pub(crate) fn delete(&self, path: &str) -> bool {
        client::json(self.http, "DELETE", &format!("/api/v1{path}"), "").is_ok()
    }

    /// Stores a definition written in YAML.
    pub(crate) fn define(&self, yaml: &str) {
        let stored = client::ask(self.http, "POST", "/api/v1/workflows", "application/yaml", yaml);
        assert!(matches!(stored, Ok((200..300, _))), "the definition is refused: {stored:?}\n{yaml:.500}");
    }

    /// Runs one execution to its end; waits before that until the fleet is known everywhere.
    pub(crate) fn warm(&self, workflow: &str) {
        let path = format!("/workflows/{workflow}/execute?wait=60s");
        let mut last = String::new();
        let until = Instant::now() + START_DEADLINE;
        // Several in a row: with two executors each has to have heard of the agents.
        let mut good = 0;
        while good < 20 {
            match self.post(&path, r#"{"input":{}}"#) {
                Ok(answer) if answer["status"] == "completed" => good += 1,
                Ok(answer) => last = answer.to_string(),
                Err(error) => last = error.to_string(),
            }
            assert!(Instant::now() < until, "{workflow} does not run: {last}\n{}", self.logs());
        }
    }

    /// CPU time and memory of every process.
    pub(crate) fn usage(&self) -> Usages {
        let mut all: Usages =
            self.nodes.iter().filter_map(|n| Some((n.name.clone(), usage::of(pid(&n.process)?)))).collect();
        for (id, process, _) in &self.agents {
            let of = pid(process).map(usage::of).unwrap_or_default();
            let agents = all.entry("agents".into()).or_default();
            agents.cpu_seconds += of.cpu_seconds;
            agents.rss_mib += of.rss_mib;
            agents.peak_mib += of.peak_mib;
            let _ = id;
        }
        if let Some(postgres) = &self.postgres {
            all.insert("postgres".into(), usage::of_tree(postgres.pid()));
        }
        if let Some(redis) = &self.redis {
            all.insert("redis".into(), usage::of(redis.pid()));
        }
        all
    }

    /// Peaks count from now.
    pub(crate) fn reset_peaks(&self) {
        let own = self.nodes.iter().filter_map(|n| pid(&n.process));
        own.chain(self.redis.iter().map(Redis::pid)).for_each(usage::reset_peak);
    }

    /// Bytes on disk of everything that the database keeps.
    pub(crate) fn disk_bytes(&self) -> u64 {
        match &self.postgres {
            None => usage::folder_bytes(&self.data()),
            Some(postgres) => {
                let size = postgres.sql("postgres", "SELECT pg_database_size('postgres')");
                size.trim().parse().unwrap_or(0)
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// For files of the harness.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of every log.
    pub(crate) fn logs(&self) -> String {
        self.nodes.iter().map(|n| n.process.log_tail()).collect::<Vec<_>>().join("\n")
    }
}

/// Settings that a small production server has; durability is PostgreSQL's own default.
fn postgres() -> Postgres {
    let settings = [("shared_buffers", "256MB"), ("max_wal_size", "4GB"), ("autovacuum_naptime", "1min")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Postgres::start_with(PostgresOptions { settings })
}

fn agent_command(port: u16, args: &[&str]) -> Command {
    let own = std::env::current_exe().expect("a process knows its program");
    let mut command = Command::new(own);
    command.args(["agent", "--port", &port.to_string()]).args(args);
    command
}

fn role_of(name: &str) -> &str {
    name.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit())
}

fn pid(process: &Process) -> Option<u32> {
    process.id()
}

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Measures this build of `orchestra` from now on.
pub(crate) fn measure_program(path: &Path) {
    let path = path.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    PROGRAM.set(path).expect("the program is chosen once");
}

/// The program that is measured: that of the same build as this one unless another was named.
fn program() -> &'static Path {
    PROGRAM.get_or_init(|| beside("orchestra", "orchestra"))
}

/// A program of the same build as this one.
fn beside(name: &str, package: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its program");
    let path = own.with_file_name(name);
    assert!(path.exists(), "{} is missing; build it: cargo build --release -p {package}", path.display());
    path
}
