//! A server process with a folder.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{janitor, process::Process};

/// A folder and at most one running process that works in it.
pub(crate) struct Server {
    pub(crate) process: Process,
    folder: TempDir,
}

impl Server {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&format!("orchestra-{name}-"))
            .tempdir()
            .expect("a folder for temporary files can be made");
        janitor::folder(folder.path());
        Self { process: Process::new(name, folder.path()), folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the process. Its log lies in the folder.
    pub(crate) fn start(&mut self, mut command: Command, package: &str) {
        command.current_dir("/");
        if let Err(error) = self.process.try_start(&mut command) {
            missing(&command, package, &error);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill();
        janitor::remove(self.folder.path());
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
