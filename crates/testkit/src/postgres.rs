//! A throwaway PostgreSQL 15.

use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::{
    port::{free_port, unique_name},
    server::{Server, run},
};

const BIN: &str = "/usr/lib/postgresql/15/bin";
const PACKAGE: &str = "postgresql-15";
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How a PostgreSQL is started.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Server settings, name and value, on top of ours: `("synchronous_commit", "off")`. Durability is left as
    /// PostgreSQL has it, `fsync` on.
    pub settings: Vec<(String, String)>,
}

/// A PostgreSQL server of our own on 127.0.0.1, gone when dropped. User `postgres`, no password.
pub struct Postgres {
    server: Server,
    port: u16,
    options: PostgresOptions,
}

/// The URL of a new, empty database on the server that all tests of this process share.
///
/// # Panics
/// When the Debian package `postgresql-15` is missing, with the remedy.
pub fn fresh_database() -> String {
    Postgres::shared().fresh_database()
}

impl Postgres {
    /// Starts one with default settings.
    ///
    /// # Panics
    /// When the Debian package `postgresql-15` is missing, with the remedy.
    pub fn start() -> Self {
        Self::start_with(PostgresOptions::default())
    }

    /// Starts one with these settings.
    ///
    /// # Panics
    /// When the Debian package `postgresql-15` is missing, with the remedy.
    pub fn start_with(options: PostgresOptions) -> Self {
        let server = Server::new("postgres");
        copy_template(server.folder());
        let mut postgres = Self { server, port: free_port(), options };
        // Another process may take the port between our look and the bind.
        for _ in 0..10 {
            if postgres.launch() {
                return postgres;
            }
            postgres.port = free_port();
        }
        panic!("PostgreSQL did not start on ten ports; its log ends: {}", postgres.server.process.log_tail());
    }

    /// The one that all tests of this process share. Never stop it: take a database of your own with
    /// [`fresh_database`](Self::fresh_database).
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// `postgres://postgres@127.0.0.1:PORT/postgres`.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of a database on this server.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Process id of the server; its backends are its children.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.server.process.pid()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates an empty database with a name of its own and returns its URL.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn fresh_database(&self) -> String {
        let name = unique_name("test");
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url_of(&name)
    }

    /// Runs SQL through psql and returns the rows, one a line, columns separated by `|`.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(Path::new(BIN).join("psql"));
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"]);
        psql.args(["-p", &self.port.to_string(), "-d", database, "-c", sql]);
        run(psql, PACKAGE).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Stops it the clean way (fast shutdown: clients are disconnected).
    pub fn stop(&mut self) {
        self.server.process.signal("INT");
        self.server.process.wait();
    }

    /// `kill -9` of the server; its backends follow by themselves.
    pub fn kill(&mut self) {
        self.server.process.kill();
    }

    /// Starts it again on the same port and the same data; kills it first when it runs.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart(&mut self) {
        self.kill();
        // Backends of a killed server hold its shared memory until they notice, and the new one refuses until then.
        let give_up = Instant::now() + START_DEADLINE;
        while !self.launch() {
            assert!(
                Instant::now() < give_up,
                "PostgreSQL did not come back; its log ends: {}",
                self.server.process.log_tail()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGSTOP to the server process: no new connections; existing backends go on.
    pub fn pause(&self) {
        self.server.process.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.server.process.signal("CONT");
    }

    /// False when it ended instead of coming up.
    fn launch(&mut self) -> bool {
        let data = data_of(self.server.folder());
        let mut command = as_postgres("postgres");
        command.arg("-D").arg(&data);
        let port = self.port.to_string();
        let folder = self.server.folder().to_string_lossy().into_owned();
        let ours = [
            ("listen_addresses", "127.0.0.1"),
            ("port", &port),
            ("unix_socket_directories", &folder),
            ("max_connections", "300"),
            ("shared_buffers", "64MB"),
            ("autovacuum_naptime", "1h"),
        ];
        let theirs = self.options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in ours.into_iter().chain(theirs) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let pid_file = data.join("postmaster.pid");
        self.server.start(command, PACKAGE);
        let give_up = Instant::now() + START_DEADLINE;
        loop {
            if self.server.process.ended().is_some() {
                return false;
            }
            if is_ready(&pid_file, self.server.process.pid()) {
                return true;
            }
            assert!(
                Instant::now() < give_up,
                "PostgreSQL does not come up: {}",
                self.server.process.log_tail()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The first line of the file is the process id, the eighth says `ready`.
fn is_ready(pid_file: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(pid_file).unwrap_or_default();
    let mut lines = text.lines();
    lines.next().is_some_and(|first| first.trim() == pid.to_string())
        && lines.nth(6).is_some_and(|state| state.trim() == "ready")
}

fn data_of(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A program of PostgreSQL, run as the user `postgres` when we are root, for PostgreSQL refuses root.
fn as_postgres(program: &str) -> Command {
    let path = Path::new(BIN).join(program);
    assert!(path.exists(), "{} is missing; install it: apt-get install {PACKAGE}", path.display());
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(path);
    command
}

/// Fills `folder` with a data folder. `initdb` takes seconds, so it runs once per version and is copied from then on.
fn copy_template(folder: &Path) {
    let template = template();
    let data = data_of(folder);
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=auto"]).arg(&template).arg(&data);
    run(copy, "coreutils").unwrap_or_else(|error| panic!("{error}"));
    if is_root() {
        let mut chown = Command::new("chown");
        chown.args(["-R", "postgres:postgres"]).arg(folder);
        run(chown, "coreutils").unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The data folder that all others are copied from, made when it is not there.
fn template() -> PathBuf {
    let mut version = Command::new(Path::new(BIN).join("postgres"));
    version.arg("--version");
    let version = run(version, PACKAGE).unwrap_or_else(|error| panic!("{error}"));
    let version = version.split_whitespace().nth(2).unwrap_or("15");
    let cache = cache_folder();
    let template = cache.join(format!("postgres-{version}"));
    if !template.join("PG_VERSION").exists() {
        build_template(&cache, &template);
    }
    template
}

fn cache_folder() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"));
    let cache = target.join("testkit");
    match fs::create_dir_all(&cache) {
        Ok(()) => cache,
        Err(_) => env::temp_dir(),
    }
}

/// Several test processes may build it at once: each builds its own, and one rename wins.
fn build_template(cache: &Path, template: &Path) {
    let build = Server::new("initdb");
    if is_root() {
        let mut chown = Command::new("chown");
        chown.arg("postgres:postgres").arg(build.folder());
        run(chown, "coreutils").unwrap_or_else(|error| panic!("{error}"));
    }
    let data = data_of(build.folder());
    let mut initdb = as_postgres("initdb");
    initdb.current_dir("/").arg("-D").arg(&data);
    initdb.args([
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
        "--no-instructions",
    ]);
    run(initdb, PACKAGE).unwrap_or_else(|error| panic!("{error}"));
    let ours = cache.join(unique_name("initdb"));
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(&data).arg(&ours);
    run(copy, "coreutils").unwrap_or_else(|error| panic!("{error}"));
    if fs::rename(&ours, template).is_err() {
        fs::remove_dir_all(&ours).expect("an own folder can be removed");
    }
}
