//! A copy of the project for each execution: nothing that fails touches the original.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use agent::Failure;
use serde_json::{Value, json};

use super::{Job, Shop, find, need_text};

/// The project that is begun with when none is named: `examples/development/textkit`.
const NEW: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../../../development/textkit/Cargo.toml")),
    ("src/lib.rs", include_str!("../../../development/textkit/src/lib.rs")),
    ("src/main.rs", include_str!("../../../development/textkit/src/main.rs")),
    ("src/trimmed.rs", include_str!("../../../development/textkit/src/trimmed.rs")),
];

const FILES_MAX: usize = 5_000;
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// Copies `project`, or a new one when none is named, to the execution's workspace. A copy that is already there is kept, so a repeat changes nothing; an
/// unfinished one was made under another name and does not count.
///
/// # Errors
/// When the project is no Rust package, has too many files, or cannot be read.
pub fn prepare(shop: &Shop, job: &Job, input: &Value) -> Result<Value, Failure> {
    let project = match find(input, "project") {
        Some(_) => Some(Path::new(need_text(input, "project")?)),
        None => None,
    };
    if let Some(project) = project.filter(|project| !project.join("Cargo.toml").is_file()) {
        return Err(Failure::Rejected(format!("input.project: {} has no Cargo.toml", project.display())));
    }
    let name = &job.execution;
    let workspace = shop.work.join(name);
    if !workspace.join("Cargo.toml").is_file() {
        let unfinished = shop.work.join(format!("{name}.{}.new", std::process::id()));
        let made = match project {
            Some(project) => copy(project, &unfinished, &mut 0),
            None => begin(&unfinished),
        };
        let made = made.and_then(|()| fs::rename(&unfinished, &workspace));
        if let Err(err) = made {
            let _ = fs::remove_dir_all(&unfinished);
            // Another call of the same execution may have been first.
            if !workspace.join("Cargo.toml").is_file() {
                let of = project.map_or("a new project".into(), Path::to_string_lossy);
                return Err(Failure::failed(format!("copy of {of}: {err}")));
            }
        }
    }
    let path = workspace.canonicalize().map_err(Failure::failed)?;
    Ok(json!({"workspace": path.to_string_lossy()}))
}

fn begin(to: &Path) -> io::Result<()> {
    fs::create_dir_all(to.join("src"))?;
    NEW.iter().try_for_each(|(name, text)| fs::write(to.join(name), text))
}

fn copy(from: &Path, to: &Path, files: &mut usize) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        if kind.is_dir() && !LEFT_OUT.iter().any(|n| name == *n) {
            copy(&entry.path(), &to.join(&name), files)?;
        } else if kind.is_file() {
            *files += 1;
            if *files > FILES_MAX {
                return Err(io::Error::other(format!("more than {FILES_MAX} files")));
            }
            fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}

/// The workspace that a task before this one prepared. Only folders below the team's own are accepted.
///
/// # Errors
/// When none is named, it is not there, or lies elsewhere.
pub fn given(shop: &Shop, input: &Value) -> Result<PathBuf, Failure> {
    let named = find(input, "workspace").and_then(|w| w.as_str().or_else(|| w["workspace"].as_str()));
    let named = named.ok_or_else(|| Failure::Rejected("input.workspace is missing".into()))?;
    let path = Path::new(named);
    let refused = |why: String| Failure::Rejected(format!("input.workspace: {named}: {why}"));
    if path.components().any(|c| c == Component::ParentDir) {
        return Err(refused("holds \"..\"".into()));
    }
    let path = path.canonicalize().map_err(|e| refused(e.to_string()))?;
    let root = shop.work.canonicalize().map_err(|e| refused(e.to_string()))?;
    if !path.starts_with(&root) || path == root {
        return Err(refused(format!("lies outside of {}", root.display())));
    }
    Ok(path)
}

/// Writes a file at once or not at all.
///
/// # Errors
/// Those of the file system.
pub fn write(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
    written.map_err(|err| Failure::failed(format!("{}: {err}", path.display())))
}
