//! Orchestra in one of its two shapes, every process real.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tempfile::TempDir;
use testkit::{Postgres, Redis, free_port, wait_for_blocking};

use crate::{Api, Process, binary};

/// How long a process may take until it is ready; debug builds on a busy machine are slow.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How Orchestra runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `orchestra dev`: all roles in one process, SQLite, streams in memory.
    OneProcess,
    /// Registry, planner, two executors and a gateway as separate processes, PostgreSQL and Redis.
    Cluster,
}

impl Shape {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::OneProcess, Self::Cluster];

    /// Names of its processes in the order in which they start.
    pub fn nodes(self) -> &'static [&'static str] {
        match self {
            Self::OneProcess => &["all"],
            Self::Cluster => &["registry", "planner", "executor-1", "executor-2", "gateway"],
        }
    }

    /// The process that the tests of crashes hit: the one, or the first executor.
    pub fn executor(self) -> &'static str {
        match self {
            Self::OneProcess => "all",
            Self::Cluster => "executor-1",
        }
    }
}

/// Settings on top of the harness's own: `("executor.start_queue_max", "1")`.
pub type Settings<'a> = &'a [(&'a str, &'a str)];

struct Node {
    process: Process,
    grpc: u16,
    internal: u16,
}

/// A running Orchestra. Everything of it is gone when it is dropped, or when the test process dies.
pub struct System {
    shape: Shape,
    nodes: Mutex<BTreeMap<&'static str, Node>>,
    settings: Vec<(String, String)>,
    /// What each process is started by; nothing when it is started by itself.
    wrapper: Vec<String>,
    http: u16,
    postgres: Option<Mutex<Postgres>>,
    redis: Option<Mutex<Redis>>,
    // Last: processes end before their folder goes.
    folder: TempDir,
}

impl System {
    /// Starts one and waits until all of it is ready.
    ///
    /// # Panics
    /// When a part does not come up; its log is in the message.
    pub fn start(shape: Shape, settings: Settings<'_>) -> Self {
        Self::start_by(&[], shape, settings)
    }

    /// The same, its processes started by this program and its arguments: `["strace", "-D", "-f"]`. It has to leave the
    /// started process in its own place.
    ///
    /// # Panics
    /// When a part does not come up; its log is in the message.
    pub fn start_by(wrapper: &[&str], shape: Shape, settings: Settings<'_>) -> Self {
        let mut system = Self::prepare(shape, settings);
        system.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        for name in shape.nodes() {
            system.launch(name, &[]);
        }
        for name in shape.nodes() {
            system.wait_ready(name);
        }
        system
    }

    /// The one of this shape that the tests of a process share: never kill it or change its limits.
    pub fn shared(shape: Shape) -> &'static Self {
        static SHARED: [OnceLock<System>; 2] = [const { OnceLock::new() }; 2];
        SHARED[usize::from(shape == Shape::Cluster)].get_or_init(|| blocking(|| Self::start(shape, &[])))
    }

    fn prepare(shape: Shape, settings: Settings<'_>) -> Self {
        let folder = tempfile::Builder::new().prefix("orchestra-e2e-").tempdir().expect("a temporary folder");
        let node = |name: &'static str| {
            let process = Process::new(name, folder.path());
            (name, Node { process, grpc: free_port(), internal: free_port() })
        };
        let nodes: BTreeMap<_, _> = shape.nodes().iter().map(|name| node(name)).collect();
        let cluster = shape == Shape::Cluster;
        let mut system = Self {
            shape,
            nodes: Mutex::new(nodes),
            settings: Vec::new(),
            wrapper: Vec::new(),
            http: free_port(),
            postgres: cluster.then(|| Mutex::new(Postgres::start())),
            redis: cluster.then(|| Mutex::new(Redis::start())),
            folder,
        };
        system.settings = system.settings_of(settings);
        system
    }

    fn settings_of(&self, more: Settings<'_>) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = [
            // Failures are noticed in seconds, on a slow machine too.
            ("executor.lease", "3s"),
            ("executor.lease_renewal", "500ms"),
            ("server.peer_check_interval", "250ms"),
            ("registry.watch_poll_interval", "100ms"),
            ("retry.base_delay", "20ms"),
            ("retry.max_delay", "200ms"),
            ("server.drain_timeout", "5s"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        if let (Some(postgres), Some(redis)) = (&self.postgres, &self.redis) {
            let at = |name| format!("http://127.0.0.1:{}", self.nodes()[name].grpc);
            all.extend([
                ("database.url".to_owned(), lock(postgres).url()),
                ("bus.url".to_owned(), lock(redis).url()),
                ("bus.claim_after".to_owned(), "2s".to_owned()),
                ("peers.registry".to_owned(), at("registry")),
                ("peers.planner".to_owned(), at("planner")),
                ("peers.executor".to_owned(), format!("{},{}", at("executor-1"), at("executor-2"))),
            ]);
        }
        for (key, value) in more {
            all.retain(|(k, _)| k != key);
            all.push(((*key).to_owned(), (*value).to_owned()));
        }
        all
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// A REST client of its own runtime.
    pub fn api(&self) -> Api {
        Api::new(self.http_url(), self.grpc_url())
    }

    /// `http://127.0.0.1:PORT` of the gateway.
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// `http://127.0.0.1:PORT` of the public gRPC.
    pub fn grpc_url(&self) -> String {
        let door = if self.shape == Shape::Cluster { "gateway" } else { "all" };
        format!("http://127.0.0.1:{}", self.nodes()[door].grpc)
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<&'static str, Node>> {
        lock(&self.nodes)
    }

    fn command(&self, name: &str, grpc: u16, internal: u16, env: &[(&str, &str)]) -> Command {
        let role = name.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit());
        let mut command = match self.wrapper.split_first() {
            None => Command::new(binary("orchestra")),
            Some((program, args)) => {
                let mut command = Command::new(program);
                command.args(args).arg(binary("orchestra"));
                command
            }
        };
        match self.shape {
            Shape::Cluster => command.args(["serve", "--role", role]),
            Shape::OneProcess => command
                .args(["dev", "--port", &self.http.to_string(), "--grpc-port", &grpc.to_string()])
                .arg("--data")
                .arg(self.folder.path().join("data")),
        };
        let mut set = |key: &str, value: &str| {
            command.args(["--set", &format!("{key}={value}")]);
        };
        for (key, value) in &self.settings {
            set(key, value);
        }
        if self.shape == Shape::Cluster {
            set("node.id", name);
            set(&format!("{role}.grpc_port"), &grpc.to_string());
            set(&format!("{role}.internal_port"), &internal.to_string());
            if role == "gateway" {
                set("gateway.http_port", &self.http.to_string());
            }
        }
        command.args(["--log-level", "info"]);
        for name in ["DATABASE_URL", "REDIS_STREAMS_URL", "PORT", "ORCHESTRA_CONFIG", "ORCHESTRA_CRASH_AT"] {
            command.env_remove(name);
        }
        command.envs(env.iter().copied()).current_dir(self.folder.path());
        command
    }

    /// Starts a process without waiting until it is ready; `env` is for this life only.
    ///
    /// # Panics
    /// When it runs already.
    pub fn launch(&self, name: &str, env: &[(&str, &str)]) {
        let mut nodes = self.nodes();
        let node = nodes.get_mut(name).unwrap_or_else(|| panic!("there is no process {name}"));
        let command = self.command(name, node.grpc, node.internal, env);
        node.process.start(command);
    }

    /// Waits until a process says that it is ready.
    ///
    /// # Panics
    /// When it ends or is not ready within a minute.
    pub fn wait_ready(&self, name: &str) {
        let port = match self.shape {
            Shape::OneProcess => self.http,
            Shape::Cluster => self.nodes()[name].internal,
        };
        let public = (name == "gateway").then_some(self.http);
        blocking(|| {
            wait_for_blocking(&format!("{name} to be ready"), START_DEADLINE, || {
                if !self.runs(name) {
                    panic!("{name} ended before it was ready\n{}", self.logs());
                }
                (is_ready(port) && public.is_none_or(is_ready)).then_some(())
            });
        });
    }

    /// `kill -9` of a process. Nothing happens when it has ended already.
    pub fn kill(&self, name: &str) {
        blocking(|| self.with(name, Process::kill));
    }

    /// Starts a process that has ended, and waits until it is ready.
    pub fn restart(&self, name: &str) {
        self.launch(name, &[]);
        self.wait_ready(name);
    }

    /// Whether a process runs.
    pub fn runs(&self, name: &str) -> bool {
        self.with(name, Process::runs)
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str, signal: &str) {
        self.with(name, |p| p.signal(signal));
    }

    /// Waits until a process has ended by itself; the signal that ended it, if one did.
    pub fn wait_end(&self, name: &str) -> Option<i32> {
        blocking(|| {
            wait_for_blocking(&format!("the end of {name}"), START_DEADLINE, || {
                (!self.runs(name)).then_some(())
            });
        });
        None
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Process) -> T) -> T {
        let mut nodes = self.nodes();
        let node = nodes.get_mut(name).unwrap_or_else(|| panic!("there is no process {name}"));
        act(&mut node.process)
    }

    /// `kill -9` of Redis, and a new one with nothing in it on the same port.
    pub fn restart_redis_empty(&self) {
        let redis = self.redis.as_ref().expect("only the cluster has a Redis");
        blocking(|| lock(redis).restart_empty());
    }

    /// `kill -9` of PostgreSQL, and a start on the same data and port.
    pub fn restart_postgres(&self) {
        let postgres = self.postgres.as_ref().expect("only the cluster has a PostgreSQL");
        blocking(|| lock(postgres).restart());
    }

    /// Rows that the database gives for `sql`, columns separated by `|`.
    pub fn sql(&self, sql: &str) -> Vec<String> {
        let postgres = self.postgres.as_ref().expect("only the cluster has a PostgreSQL");
        blocking(|| lock(postgres).sql("postgres", sql)).lines().map(str::to_owned).collect()
    }

    /// The end of every log.
    pub fn logs(&self) -> String {
        self.nodes().values().map(|node| node.process.log_tail()).collect::<Vec<_>>().join("\n")
    }

    /// The folder of data and logs.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Prints the logs when the test that holds the value panics.
    #[must_use]
    pub fn shown_on_failure(&self) -> impl Drop + use<'_> {
        Shown(self)
    }
}

struct Shown<'a>(&'a System);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0.logs());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets the runtime's other tasks (the agents) go on meanwhile.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => tokio::task::block_in_place(work),
        Err(_) => work(),
    }
}

/// Whether `/ready` on this port answers 200.
fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.write_all(b"GET /ready HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n")?;
        let mut head = [0; 16];
        let read = socket.read(&mut head)?;
        Ok(String::from_utf8_lossy(&head[..read]).into_owned())
    };
    ask().is_ok_and(|head| head.split(' ').nth(1) == Some("200"))
}
