//! Runs an executable: no shell, a clean environment, bounded in time, memory, files and output.
//!
//! The limits are set from outside right after the start, before the first byte of input is given, and are inherited by
//! what the program starts. It runs in a process group of its own, which is killed as a whole when the time is over, when
//! it writes too much, or when nobody waits any more.

use std::{path::Path, process::Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

/// Longest end of the error output that is told, in bytes.
const STDERR_TOLD: usize = 2048;

/// Bounds of one command.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Seconds of processor time.
    pub cpu_seconds: u64,
    /// Bytes of address space.
    pub memory_bytes: u64,
    /// Open files.
    pub files: u64,
    /// Bytes of a file that it writes.
    pub file_bytes: u64,
    /// Bytes that it may write to its output, and as many to its error output.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu_seconds: 30,
            memory_bytes: 1 << 30,
            files: 128,
            file_bytes: 64 << 20,
            output_bytes: 64 << 10,
        }
    }
}

/// What to run.
pub(crate) struct Job<'a> {
    pub(crate) program: &'a str,
    pub(crate) args: &'a [String],
    pub(crate) input: Vec<u8>,
    pub(crate) dir: &'a Path,
    pub(crate) env: Vec<(&'static str, String)>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: std::process::ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Ended {
    /// Why it did not succeed.
    pub(crate) fn failure(&self) -> Option<String> {
        if self.status.success() {
            return None;
        }
        let from = self.stderr.len().saturating_sub(STDERR_TOLD);
        let told = String::from_utf8_lossy(&self.stderr[from..]);
        let told = told.trim();
        let colon = if told.is_empty() { "" } else { ": " };
        Some(format!("it ended with {}{colon}{told}", self.status))
    }
}

/// Kills the group when it is dropped: leaving in any way leaves nothing behind.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Gone already: nothing is left to be killed.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Runs it to its end.
///
/// # Errors
/// It cannot be started, or writes too much.
pub(crate) async fn run(job: Job<'_>, limits: &Limits) -> Result<Ended, String> {
    let mut child = Command::new(job.program)
        .args(job.args)
        .current_dir(job.dir)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .envs(job.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("{} cannot be started: {e}", job.program))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let group = Group(pid);
    confine(pid, limits).map_err(|e| format!("{} cannot be confined: {e}", job.program))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input is free to.
            let _ = stdin.write_all(&job.input).await;
            let _ = stdin.shutdown().await;
        }
    };
    let most = limits.output_bytes;
    let read = async { tokio::try_join!(all(stdout, most), all(stderr, most)) };
    let ((), read) = tokio::join!(feed, read);
    let (stdout, stderr) = read.map_err(|e| format!("{} {e}", job.program))?;
    let status = child.wait().await.map_err(|e| format!("{} was lost: {e}", job.program))?;
    drop(group);
    Ok(Ended { status, stdout, stderr })
}

/// Sets the limits of a process that has just begun.
fn confine(pid: Option<Pid>, limits: &Limits) -> rustix::io::Result<()> {
    for (resource, most) in [
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::As, limits.memory_bytes),
        (Resource::Nofile, limits.files),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Core, 0),
    ] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        match prlimit(pid, resource, limit) {
            // It has ended already.
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

async fn all(from: Option<impl AsyncRead + Unpin>, most: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    if let Some(from) = from {
        let read = from.take(most as u64 + 1).read_to_end(&mut out).await;
        read.map_err(|e| format!("cannot be read: {e}"))?;
    }
    if out.len() > most {
        return Err(format!("wrote more than {most} bytes (hooks.output_max)"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn go(program: &str, args: &[&str], input: &str, limits: &Limits) -> Result<Ended, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let dir = std::env::temp_dir();
        let job = Job {
            program,
            args: &args,
            input: input.into(),
            dir: &dir,
            env: vec![("ORCHESTRA_TRIGGER", "x".into())],
        };
        run(job, limits).await
    }

    fn text(ended: &Ended) -> &str {
        std::str::from_utf8(&ended.stdout).unwrap()
    }

    #[tokio::test]
    async fn a_program_gets_its_input_and_gives_its_output() {
        let ended = go("/usr/bin/sort", &["-r"], "a\nc\nb\n", &Limits::default()).await.unwrap();
        assert_eq!((text(&ended), ended.failure()), ("c\nb\na\n", None));
        let ended = go("/bin/ls", &["/nowhere"], "", &Limits::default()).await.unwrap();
        assert!(ended.failure().unwrap().contains("/nowhere"), "{:?}", ended.failure());
        assert!(go("/nowhere", &[], "", &Limits::default()).await.unwrap_err().contains("cannot be started"));
    }

    #[tokio::test]
    async fn arguments_are_not_read_by_a_shell() {
        let ended = go("/bin/echo", &["$HOME; `id` *"], "", &Limits::default()).await.unwrap();
        assert_eq!(text(&ended), "$HOME; `id` *\n");
    }

    #[tokio::test]
    async fn the_environment_is_clean_and_the_directory_is_the_set_one() {
        let ended = go("/usr/bin/env", &[], "", &Limits::default()).await.unwrap();
        let mut names: Vec<&str> = text(&ended).lines().filter_map(|l| l.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, ["LANG", "ORCHESTRA_TRIGGER", "PATH"]);
        let ended = go("/bin/pwd", &["-P"], "", &Limits::default()).await.unwrap();
        assert_eq!(Path::new(text(&ended).trim()), std::env::temp_dir().canonicalize().unwrap());
    }

    #[tokio::test]
    async fn the_limits_hold() {
        let limits = Limits {
            cpu_seconds: 7,
            memory_bytes: 512 << 20,
            files: 33,
            file_bytes: 1 << 20,
            output_bytes: 4096,
        };
        // The input is given after the limits: what the program does with it, it does under them.
        let script = "cat /proc/self/limits >/dev/null; read x; cat /proc/self/limits";
        let ended = go("/bin/sh", &["-c", script], "go\n", &limits).await.unwrap();
        let value = |name: &str| {
            let line = text(&ended).lines().find(|l| l.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(value("Max cpu time"), 7);
        assert_eq!(value("Max address space"), 512 << 20);
        assert_eq!(value("Max open files"), 33);
        assert_eq!(value("Max file size"), 1 << 20);
        assert_eq!(value("Max core file size"), 0);
    }

    #[tokio::test]
    async fn too_much_output_ends_it() {
        let limits = Limits { output_bytes: 1000, ..Limits::default() };
        let failed = go("/usr/bin/yes", &[], "", &limits).await.unwrap_err();
        assert!(failed.contains("more than 1000 bytes"), "{failed}");
    }

    #[tokio::test]
    async fn leaving_kills_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        // The grandchild writes its number and would outlive its parent.
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let args = ["-c", script.as_str()];
        let limits = Limits::default();
        let written = async || std::fs::read_to_string(&file).ok()?.trim().parse::<u32>().ok();
        let pid = tokio::select! {
            ended = go("/bin/sh", &args, "", &limits) => panic!("{ended:?}"),
            pid = testkit::wait_for("the grandchild", Duration::from_secs(30), written) => pid,
        };
        // The call was dropped, as by a timeout.
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let gone = async || gone().then_some(());
        testkit::wait_for("the grandchild to be gone", Duration::from_secs(30), gone).await;
    }
}
