//! The programs under test.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Names a folder with the built programs; nothing is built then.
const FOLDER: &str = "ORCHESTRA_TEST_BIN";

/// The path of a program of the workspace (`orchestra`, `supervisor-agent`), built first if need be.
///
/// # Panics
/// When it cannot be built, or is not in the folder that `ORCHESTRA_TEST_BIN` names.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let path = BUILT.get_or_init(folder).join(name);
    assert!(
        path.exists(),
        "{} is missing; build it: cargo build -p orchestra -p orchestra-example-agents",
        path.display()
    );
    path
}

fn folder() -> PathBuf {
    if let Some(given) = env::var_os(FOLDER) {
        return given.into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Cargo's own lock makes this once for all; with nothing to do it takes a moment.
    let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "-p", "orchestra", "-p", "orchestra-example-agents"])
        .current_dir(&root)
        .status();
    assert!(
        built.as_ref().is_ok_and(std::process::ExitStatus::success),
        "the programs under test do not build ({built:?}): cargo build -p orchestra -p orchestra-example-agents"
    );
    // This test lies in target/debug/deps.
    let here = env::current_exe().expect("a process knows its program");
    here.ancestors().nth(2).expect("tests are built below a profile's folder").to_owned()
}
