//! A program that runs, with its log, and a janitor that ends it when the test process dies in any way.

use std::{
    fs,
    io::Write as _,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use testkit::wait_for_blocking;

/// Ends what is still on its list when the pipe from the test process closes.
const JANITOR: &str = r#"trap '' INT TERM HUP
list=
while read -r what pid; do
    case $what in
        +) list="$list $pid" ;;
        -) list=$(for p in $list; do [ "$p" = "$pid" ] || printf '%s ' "$p"; done) ;;
    esac
done
for p in $list; do kill -9 "$p" 2>/dev/null; done"#;

/// How long a signalled process may take to end.
const END_DEADLINE: Duration = Duration::from_secs(30);
const LOG_TAIL_BYTES: usize = 6000;

#[allow(clippy::zombie_processes, reason = "it outlives this process: that is what it is for")]
fn tell_janitor(line: &str) {
    static JANITOR_PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let pipe = JANITOR_PIPE.get_or_init(|| {
        let mut janitor = Command::new("sh")
            .args(["-c", JANITOR])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh can be started");
        Mutex::new(janitor.stdin.take().expect("the pipe was asked for"))
    });
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = writeln!(pipe, "{line}").and_then(|()| pipe.flush());
}

/// A process that may be killed and started again. Its output grows one log file over all its lives.
pub struct Process {
    name: String,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Not started yet; the log goes into `folder`.
    pub fn new(name: &str, folder: &Path) -> Self {
        Self { name: name.to_owned(), log: folder.join(format!("{name}.log")), child: None }
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it runs already or cannot be started.
    pub fn start(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = fs::File::options().create(true).append(true).open(&self.log).expect("a log can be made");
        let errors = log.try_clone().expect("a file handle can be copied");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0).spawn();
        let child = child.unwrap_or_else(|e| panic!("{} cannot be started: {e}", self.name));
        tell_janitor(&format!("+ {}", child.id()));
        self.child = Some(child);
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.ended().is_none() && self.child.is_some()
    }

    /// How it ended, if it has since the last look.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("an own child can be waited for")?;
        self.forget();
        Some(status)
    }

    /// Process id.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map(Child::id).unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    /// Sends a signal by name: `TERM`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|s| s.success()), "{} does not take signal {name}", self.name);
    }

    /// `kill -9`, and waits until it is gone. Nothing happens when it does not run.
    pub fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
            self.forget();
        }
    }

    /// Waits until it has ended by itself; the signal that ended it, if one did.
    ///
    /// # Panics
    /// When it goes on for 30 s.
    pub fn wait(&mut self) -> Option<i32> {
        let what = format!("the end of {}", self.name);
        wait_for_blocking(&what, END_DEADLINE, || self.ended()).signal()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned();
        format!("--- {}\n{tail}", self.log.display())
    }

    fn forget(&mut self) {
        if let Some(child) = self.child.take() {
            tell_janitor(&format!("- {}", child.id()));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
