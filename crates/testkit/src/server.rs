//! A server process with a folder, and the janitor that outlives us to clean up.

use std::{
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use tempfile::TempDir;

/// Waits for the pipe from the test process to close, then ends the last server it heard of and removes the folder.
const JANITOR: &str = r#"trap '' INT TERM HUP
pid=0
while read -r line; do pid=$line; done
[ "$pid" = 0 ] || kill -9 "$pid" 2>/dev/null
for i in 1 2 3 4 5; do rm -rf "$0" 2>/dev/null && break; sleep 0.2; done"#;

/// A folder and at most one running process that works in it.
pub(crate) struct Server {
    folder: TempDir,
    child: Option<Child>,
    janitor: Child,
}

impl Server {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&format!("orchestra-{name}-"))
            .tempdir()
            .expect("a folder for temporary files can be made");
        let janitor = Command::new("sh")
            .args(["-c", JANITOR])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh can be started");
        Self { folder, child: None, janitor }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Process id, 0 when none runs.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Starts the process. Its output goes to `log` in the folder.
    pub(crate) fn start(&mut self, mut command: Command, package: &str) {
        assert!(self.child.is_none(), "the server runs already");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder().join("log"))
            .expect("a log file can be made");
        let error_log = log.try_clone().expect("a file handle can be copied");
        let child = command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(error_log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| missing(&command, package, &error));
        self.tell_janitor(child.id());
        self.child = Some(child);
    }

    /// How the process ended, when it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("an own child can be waited for")?;
        self.child = None;
        self.tell_janitor(0);
        Some(status)
    }

    /// Sends a signal by name: `TERM`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// When the process does not run.
    pub(crate) fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("the server runs");
        let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the server does not take signal {name}");
    }

    /// Waits for the process to end.
    pub(crate) fn wait(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().expect("an own child can be waited for");
            self.tell_janitor(0);
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().expect("an own child can be killed");
        }
        self.wait();
    }

    /// The end of the log, for messages.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(self.folder().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned()
    }

    fn tell_janitor(&mut self, pid: u32) {
        if let Some(pipe) = &mut self.janitor.stdin {
            // A janitor that is gone costs a leftover folder, not the test.
            let _ = writeln!(pipe, "{pid}").and_then(|()| pipe.flush());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.tell_janitor(0);
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// Ends the test with the remedy when a program is not there.
pub(crate) fn missing(command: &Command, package: &str, error: &std::io::Error) -> ! {
    let program = command.get_program().to_string_lossy();
    panic!("{program} cannot be started ({error}); install it: apt-get install {package}")
}

/// Runs a helper program to its end and returns what it printed.
pub(crate) fn run(mut command: Command, package: &str) -> Result<String, String> {
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => missing(&command, package, &error),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{command:?} failed: {} {}", text(&output.stdout), text(&output.stderr))),
    }
}
