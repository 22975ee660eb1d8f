//! A throwaway Temporal: its own test server, in memory, with a worker made with its own SDK.

use std::{net::TcpStream, path::Path, process::Command, time::Duration};

use crate::{Process, port::free_port, server::Server, wait::wait_for_blocking};

const START_DEADLINE: Duration = Duration::from_secs(60);
/// The queue that its worker polls.
const TASK_QUEUE: &str = "tests";

/// A Temporal of our own on 127.0.0.1, gone when dropped. Its worker runs `echo`, `fail`, `refuse`, `wait` and
/// `chapters`, see `crates/testkit/temporal/worker.py`.
pub struct Temporal {
    server: Server,
    worker: Process,
    port: u16,
}

impl Temporal {
    /// Starts the server and the worker.
    ///
    /// # Panics
    /// When what `scripts/temporal.sh` fetches is missing, or does not come up.
    pub fn start() -> Self {
        let server = Server::new("temporal");
        let worker = Process::new("temporal-worker", server.folder());
        let mut temporal = Self { server, worker, port: free_port() };
        temporal.launch();
        temporal
    }

    /// `http://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The task queue of its worker.
    pub fn task_queue(&self) -> &'static str {
        TASK_QUEUE
    }

    /// `kill -9` of both. It keeps nothing: [`Temporal::restart`] starts an empty one.
    pub fn kill(&mut self) {
        self.worker.kill();
        self.server.process.kill();
    }

    /// SIGSTOP of the server: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.server.process.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.server.process.signal("CONT");
    }

    /// Starts an empty one on the same port; kills the old one when it runs.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    fn launch(&mut self) {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let fetched = here.join("../../target/temporal");
        let jars = fetched.join("server");
        assert!(jars.is_dir(), "{} is missing: run scripts/temporal.sh", jars.display());
        let mut java = Command::new("java");
        // It is idle most of the time, and many may run beside each other.
        java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        java.arg("-cp").arg(jars.join("*")).arg("io.temporal.testserver.TestServer");
        java.arg(self.port.to_string());
        self.server.start(java, "default-jre-headless");
        let port = self.port;
        wait_for_blocking("Temporal", START_DEADLINE, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
        });
        let mut python = Command::new(fetched.join("python/bin/python"));
        python.arg(here.join("temporal/worker.py")).arg(format!("127.0.0.1:{port}")).arg(TASK_QUEUE);
        self.worker.start(python);
        wait_for_blocking("Temporal's worker", START_DEADLINE, || {
            let log = self.worker.log_tail();
            assert!(self.worker.runs(), "Temporal's worker ended: {log}");
            log.lines().any(|line| line == "ready").then_some(())
        });
    }
}

impl Drop for Temporal {
    fn drop(&mut self) {
        self.kill();
    }
}
