//! The life of a service binary: exit codes, signals, drain. Without the test harness, since this very program is also the
//! service: `main` runs it when the parent says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a test may panic and print

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use axum::routing::get;
use runtime::{Role, Service};

const AS_SERVICE: &str = "RUNTIME_TEST_AS_SERVICE";

fn main() -> ExitCode {
    if let Ok(folder) = std::env::var(AS_SERVICE) {
        return runtime::run(&[role(folder)]);
    }
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let tests: &[(&str, fn())] = &[
        ("a signal ends an idle service with code 0", idle),
        ("a signal waits for accepted work", in_flight),
        ("a second signal aborts with code 130", second_signal),
        ("wrong settings and taken ports end the start with code 2", not_started),
        ("a failed part ends the process with code 1", failed_part),
        ("the effective settings are printed with secrets masked", print_config),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// A gateway whose requests and drain wait for files in `folder`.
fn role(folder: String) -> Role {
    Role::new("gateway", &[], move |ctx| {
        let (fatal, at_request, at_drain) = (ctx.fatal(), folder.clone(), folder.clone());
        async move {
            let router = axum::Router::new()
                .route(
                    "/slow",
                    get(move || async move {
                        std::fs::write(format!("{at_request}/arrived"), "").unwrap();
                        file(&format!("{at_request}/go")).await;
                        "done"
                    }),
                )
                .route("/fatal", get(move || async move { fatal.end("fenced off") }));
            Ok(Service::new().http(router).on_drain(move || async move {
                if Path::new(&format!("{at_drain}/hang")).exists() {
                    std::future::pending::<()>().await;
                }
            }))
        }
    })
}

async fn file(path: &str) {
    while !Path::new(path).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Running {
    child: Child,
    folder: tempfile::TempDir,
    http: SocketAddr,
    internal: SocketAddr,
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(AS_SERVICE, folder).current_dir(folder).env_remove("RUST_BACKTRACE");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn spawn() -> Running {
    let folder = tempfile::tempdir().unwrap();
    let (http, grpc, internal) = (free(), free(), free());
    let mut command = command(folder.path());
    command.env("PORT", http.port().to_string());
    command.arg("--set").arg(format!("gateway.grpc_port={}", grpc.port()));
    command.arg("--set").arg(format!("gateway.internal_port={}", internal.port()));
    let child = command.stderr(Stdio::null()).spawn().unwrap();
    let running = Running { child, folder, http, internal };
    until("ready", || request(internal, "/ready").starts_with("HTTP/1.1 200"));
    running
}

impl Running {
    fn signal(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").arg("-c").arg(kill).status().unwrap().success());
    }
    fn exit_code(mut self) -> Option<i32> {
        let mut code = None;
        until("exit", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The whole answer to `GET path`, or nothing when there is none.
fn request(at: SocketAddr, path: &str) -> String {
    use std::io::Write as _;
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(at) {
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

fn idle() {
    let running = spawn();
    running.signal();
    assert_eq!(running.exit_code(), Some(0));
}

fn in_flight() {
    let running = spawn();
    let http = running.http;
    let accepted = std::thread::spawn(move || request(http, "/slow"));
    let file = |name: &str| running.folder.path().join(name);
    until("arrived", || file("arrived").exists());
    running.signal();
    until("draining", || request(running.internal, "/ready").contains("draining"));
    until("no new connections", || TcpStream::connect(http).is_err());
    std::fs::write(file("go"), "").unwrap();
    assert!(accepted.join().unwrap().ends_with("done"));
    assert_eq!(running.exit_code(), Some(0));
}

fn second_signal() {
    let running = spawn();
    std::fs::write(running.folder.path().join("hang"), "").unwrap();
    running.signal();
    until("draining", || request(running.internal, "/ready").contains("draining"));
    running.signal();
    assert_eq!(running.exit_code(), Some(130));
}

fn not_started() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    for (arg, want) in [
        ("gateway.body=5", "flag --set gateway.body: is not a setting; did you mean gateway.body_max?"),
        (&*format!("gateway.http_port={taken}"), "set gateway.http_port to another port"),
    ] {
        let output = command(folder.path()).arg("--set").arg(arg).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(want), "{text}");
    }
}

fn failed_part() {
    let running = spawn();
    request(running.http, "/fatal");
    assert_eq!(running.exit_code(), Some(1));
}

fn print_config() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("orchestra.toml"), "[executor]\nshards = 8\n").unwrap();
    let mut command = command(folder.path());
    let output =
        command.env("DATABASE_URL", "postgres://u:geheim@h/d").arg("--print-config").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("url = \"postgres://u:****@h/d\"") && !text.contains("geheim"), "{text}");
    assert!(text.contains("# file ./orchestra.toml, key executor.shards"), "{text}");
}
