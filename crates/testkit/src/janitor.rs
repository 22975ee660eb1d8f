//! A process that outlives this one and cleans up after it, however it ends.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

/// When the pipe from the test process closes: ends what is still on its list, then removes the folders it was told of.
const JANITOR: &str = r#"trap '' INT TERM HUP
pids=
folders=
newline='
'
gone() { for i in 1 2 3 4 5; do rm -rf "$1" 2>/dev/null && break; sleep 0.2; done; }
while read -r what name; do
    case $what in
        began) pids="$pids $name" ;;
        ended) left=; for p in $pids; do [ "$p" = "$name" ] || left="$left $p"; done; pids=$left ;;
        folder) folders="$folders$name$newline" ;;
        remove) gone "$name" ;;
    esac
done
for p in $pids; do kill -9 "$p" 2>/dev/null; done
printf '%s' "$folders" | while read -r folder; do gone "$folder"; done"#;

/// This process is to be ended.
pub(crate) fn began(pid: u32) {
    tell(&format!("began {pid}"));
}

/// It has ended.
pub(crate) fn ended(pid: u32) {
    tell(&format!("ended {pid}"));
}

/// This folder is to be removed at the end.
pub(crate) fn folder(path: &Path) {
    tell(&format!("folder {}", path.display()));
}

/// This folder is to be removed now; what still writes into it may take a moment.
pub(crate) fn remove(path: &Path) {
    tell(&format!("remove {}", path.display()));
}

#[allow(clippy::zombie_processes, reason = "it outlives this process: that is what it is for")]
fn tell(line: &str) {
    static PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let pipe = PIPE.get_or_init(|| {
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
    // A janitor that is gone costs a leftover, not the test.
    let _ = writeln!(pipe, "{line}").and_then(|()| pipe.flush());
}
