//! A program that runs, with its log.

use std::{
    fs, io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::{janitor, wait_for_blocking};

/// How long a signalled process may take to end.
const END_DEADLINE: Duration = Duration::from_secs(30);
const LOG_TAIL_BYTES: usize = 6000;

/// A process that may be killed and started again. Its output grows one log file over all its lives. It ends when it is
/// dropped, and also when the test process dies in any way.
#[derive(Debug)]
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
        self.try_start(&mut command).unwrap_or_else(|e| panic!("{} cannot be started: {e}", self.name));
    }

    /// The same; the error of the system when there is no such program.
    pub(crate) fn try_start(&mut self, command: &mut Command) -> io::Result<()> {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = fs::File::options().create(true).append(true).open(&self.log).expect("a log can be made");
        let errors = log.try_clone().expect("a file handle can be copied");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0).spawn()?;
        janitor::began(child.id());
        self.child = Some(child);
        Ok(())
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

    /// Process id; `None` when it does not run.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
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
            janitor::ended(child.id());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
