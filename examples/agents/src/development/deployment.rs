//! Stage 6: a release in a folder, made current at once, checked, and undone when it is not good.
//!
//! `TARGET/releases/<id>/` holds the program, its sources and the quality report; the id is a hash of the sources, so the
//! same release deployed twice is the same folder. `TARGET/current` is a link to the release in use.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use agent::Failure;
use serde_json::{Value, json};

use super::{
    Job, Shop, code, find, need_text, read, requirements::Requirement, tools, validation, workspace,
};

/// Builds the program and makes it the current release: `{target, release, previous, program, bytes}`.
///
/// # Errors
/// When it does not build or the folder cannot be written.
pub fn deploy(shop: &Shop, job: &Job, input: &Value) -> Result<Value, Failure> {
    let root = workspace::given(shop, input)?;
    // Without a folder of the caller's: one beside the workspaces.
    let target = match find(input, "target") {
        Some(_) => PathBuf::from(need_text(input, "target")?),
        None => shop.work.canonicalize().map_err(Failure::failed)?.join("deployed"),
    };
    let package = code::package(&root)?;
    (job.tell)(0.1, "building");
    let built = validation::cargo(shop, &root, &["build", "--quiet", "--bins"])?;
    if !built.ok {
        return Err(Failure::failed(format!("the build fails:\n{}", tools::tail(&built.err, 15))));
    }
    let release = identity(&root)?;
    let folder = target.join("releases").join(&release);
    let failed = |err: std::io::Error| Failure::failed(format!("{}: {err}", folder.display()));
    if !folder.is_dir() {
        let new = target.join("releases").join(format!("{release}.{}.new", std::process::id()));
        fs::create_dir_all(new.join("src")).map_err(failed)?;
        fs::copy(root.join("target/debug").join(&package), new.join(&package)).map_err(failed)?;
        for entry in fs::read_dir(root.join("src")).map_err(failed)?.flatten() {
            fs::copy(entry.path(), new.join("src").join(entry.file_name())).map_err(failed)?;
        }
        if let Some(report) = find(input, "report").and_then(Value::as_str) {
            fs::write(new.join("REPORT.md"), report).map_err(failed)?;
        }
        fs::rename(&new, &folder).map_err(failed)?;
    }
    let previous = current(&target).filter(|p| *p != release);
    point(&target, &release)?;
    let program = folder.join(&package);
    let bytes = fs::metadata(&program).map_err(failed)?.len();
    Ok(json!({"target": target.to_string_lossy(), "release": release, "previous": previous,
        "program": program.to_string_lossy(), "bytes": bytes}))
}

/// Runs the current program of `target` on every criterion: `{checked}`.
///
/// # Errors
/// When one does not hold, or the program is larger than `max_bytes` of the input: the release is not good.
pub fn check(shop: &Shop, _job: &Job, input: &Value) -> Result<Value, Failure> {
    let target = PathBuf::from(need_text(input, "target")?);
    let release = current(&target).ok_or_else(|| Failure::failed("there is no current release"))?;
    let program = PathBuf::from(need_text(input, "program")?);
    if !program.starts_with(target.join("releases").join(&release)) {
        return Err(Failure::failed(format!(
            "release {release} is current, not that of {}",
            program.display()
        )));
    }
    let bytes = fs::metadata(&program).map_err(Failure::failed)?.len();
    if let Some(max) = find(input, "max_bytes").and_then(Value::as_u64).filter(|max| bytes > *max) {
        return Err(Failure::failed(format!("the program has {bytes} bytes, {max} are allowed")));
    }
    let requirements: Vec<Requirement> = read(input, "requirements")?;
    let mut checked = 0;
    for (r, c) in requirements.iter().flat_map(|r| r.criteria.iter().map(move |c| (r, c))) {
        let ran = tools::run(Command::new(&program).arg(&r.function), &c.given, shop.tool_limit)?;
        if !ran.ok || ran.out != c.expected {
            return Err(Failure::failed(format!(
                "{}: {:?} gives {:?}, expected {:?}",
                c.id, c.given, ran.out, c.expected
            )));
        }
        checked += 1;
    }
    Ok(json!({"release": release, "checked": checked}))
}

/// Makes the release before this one current again; without one, there is none. `{current}`.
///
/// # Errors
/// When the folder cannot be written.
pub fn roll_back(_shop: &Shop, _job: &Job, input: &Value) -> Result<Value, Failure> {
    let target = PathBuf::from(need_text(input, "target")?);
    let release = need_text(input, "release")?;
    // Another release that came later is not ours to undo.
    if current(&target).as_deref() == Some(release) {
        match find(input, "previous").and_then(Value::as_str) {
            Some(previous) => point(&target, previous)?,
            None => fs::remove_file(target.join("current")).map_err(Failure::failed)?,
        }
    }
    Ok(json!({"current": current(&target)}))
}

fn current(target: &Path) -> Option<String> {
    Some(fs::read_link(target.join("current")).ok()?.file_name()?.to_str()?.to_owned())
}

/// Links `current` to a release in one step: it is never missing and never half.
fn point(target: &Path, release: &str) -> Result<(), Failure> {
    let failed = |err: std::io::Error| Failure::failed(format!("{}: {err}", target.display()));
    let new = target.join(format!("current.{}.new", std::process::id()));
    let _ = fs::remove_file(&new);
    symlink(Path::new("releases").join(release), &new).map_err(failed)?;
    fs::rename(&new, target.join("current")).map_err(failed)
}

fn identity(root: &Path) -> Result<String, Failure> {
    let mut hash = DefaultHasher::new();
    for name in code::functions(&root.join("src"))?.into_iter().chain(["lib".into(), "main".into()]) {
        name.hash(&mut hash);
        fs::read(root.join("src").join(format!("{name}.rs"))).map_err(Failure::failed)?.hash(&mut hash);
    }
    Ok(format!("{:016x}", hash.finish()))
}
