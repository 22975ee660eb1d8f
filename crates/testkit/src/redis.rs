//! A throwaway Redis 7.

use std::{
    fs,
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::{
    port::free_port,
    server::{Server, run},
};

const PACKAGE: &str = "redis-server";
const START_DEADLINE: Duration = Duration::from_secs(20);

/// What a Redis keeps over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing.
    None,
    /// All but the last second: an append-only file, synced every second.
    AofEverySecond,
}

/// A Redis server of our own on 127.0.0.1, gone when dropped.
pub struct Redis {
    server: Server,
    port: u16,
    persistence: Persistence,
}

impl Redis {
    /// Starts one that keeps nothing.
    ///
    /// # Panics
    /// When the Debian package `redis-server` is missing, with the remedy.
    pub fn start() -> Self {
        Self::start_with(Persistence::None)
    }

    /// Starts one with this persistence.
    ///
    /// # Panics
    /// When the Debian package `redis-server` is missing, with the remedy.
    pub fn start_with(persistence: Persistence) -> Self {
        let mut redis = Self { server: Server::new("redis"), port: free_port(), persistence };
        // Another process may take the port between our look and the bind.
        for _ in 0..10 {
            if redis.launch() {
                return redis;
            }
            redis.port = free_port();
        }
        panic!("redis-server did not start on ten ports; its log ends: {}", redis.server.process.log_tail());
    }

    /// The one that all tests of this process share. Use keys under a [`unique_name`](crate::unique_name), and never
    /// flush, stop or restart it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Process id of the server.
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

    /// Runs a command through redis-cli and returns the raw reply.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn command(&self, args: &[&str]) -> String {
        self.try_command(args).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_command(&self, args: &[&str]) -> Result<String, String> {
        let mut cli = Command::new("redis-cli");
        cli.args(["--raw", "-p", &self.port.to_string()]).args(args);
        run(cli, "redis-tools")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.server.process.kill();
    }

    /// Starts it again on the same port with what its persistence kept; kills it first when it runs.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart(&mut self) {
        self.kill();
        assert!(
            self.launch(),
            "redis-server did not come back; its log ends: {}",
            self.server.process.log_tail()
        );
    }

    /// Starts it again on the same port, with nothing in it.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart_empty(&mut self) {
        self.kill();
        for kept in ["appendonlydir", "dump.rdb"] {
            let kept = self.server.folder().join(kept);
            let _ = fs::remove_dir_all(&kept);
            let _ = fs::remove_file(&kept);
        }
        self.restart();
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.server.process.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.server.process.signal("CONT");
    }

    /// False when it ended instead of coming up.
    fn launch(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
        command.args(["--port", &self.port.to_string(), "--appendfsync", "everysec"]);
        command.args(["--appendonly", if self.persistence == Persistence::None { "no" } else { "yes" }]);
        command.arg("--dir").arg(self.server.folder());
        self.server.start(command, PACKAGE);
        let give_up = Instant::now() + START_DEADLINE;
        loop {
            if self.server.process.ended().is_some() {
                return false;
            }
            // Its own pid in the answer: the port may belong to somebody else's Redis.
            let ours = format!("process_id:{}", self.server.process.pid());
            if self.try_command(&["INFO", "server"]).is_ok_and(|info| info.lines().any(|l| l.trim() == ours))
            {
                return true;
            }
            assert!(
                Instant::now() < give_up,
                "redis-server does not answer: {}",
                self.server.process.log_tail()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
