//! The lock that keeps a second process away from a database file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use crate::error::OpenError;

/// Held as long as the value lives; the system frees it when the process dies.
#[derive(Debug)]
pub(crate) struct FileLock(#[expect(dead_code, reason = "closing the file frees the lock")] File);

impl FileLock {
    /// Locks `<database>.lock` and writes into it who holds it.
    pub(crate) fn acquire(database: &Path) -> Result<Self, OpenError> {
        let path = lock_path(database);
        let failed = |err: std::io::Error| OpenError::Failed {
            what: path.display().to_string(),
            why: err.to_string(),
        };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder may be writing its line at this moment; a lock without a name is still taken.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    known => known.to_owned(),
                };
                return Err(OpenError::Locked { path: database.to_path_buf(), holder });
            }
            Err(TryLockError::Error(err)) => return Err(failed(err)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        let program = std::env::args().next().unwrap_or_default();
        let program = Path::new(&program).file_name().map(|n| n.to_string_lossy().into_owned());
        writeln!(file, "process {} ({})", std::process::id(), program.as_deref().unwrap_or("unknown"))
            .map_err(failed)?;
        Ok(Self(file))
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
