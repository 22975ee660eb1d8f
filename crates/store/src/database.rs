//! Where a service keeps its data.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use crate::{
    error::OpenError,
    journal::Journal,
    postgres::{PostgresJournal, PostgresOptions},
    sqlite::{SqliteJournal, SqliteOptions},
};

/// A folder of SQLite files, one per service, or a PostgreSQL database with one schema per service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// The folder; it must exist.
    Folder(PathBuf),
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
    Postgres(String),
}

/// How a service opens its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseOptions {
    /// PostgreSQL: connections for reads and everything but the journal's commits.
    pub connections: u32,
    /// PostgreSQL: connections that commit groups of the journal, 1 to 4.
    pub committers: usize,
    /// SQLite: connections that read.
    pub readers: usize,
    /// How long a call waits for a connection.
    pub acquire_timeout: Duration,
    /// Opens the journal even with `fsync=off` or `synchronous_commit=off`.
    pub allow_unsafe_durability: bool,
}

impl Default for DatabaseOptions {
    /// 8 connections, 2 committers, 4 readers, 5 s to get a connection, safe durability only.
    fn default() -> Self {
        Self {
            connections: 8,
            committers: 2,
            readers: 4,
            acquire_timeout: Duration::from_secs(5),
            allow_unsafe_durability: false,
        }
    }
}

impl FromStr for Database {
    type Err = OpenError;

    /// Reads `postgres://…`, `postgresql://…` or `sqlite:FOLDER` (also `sqlite://FOLDER`).
    fn from_str(text: &str) -> Result<Self, OpenError> {
        let text = text.trim();
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        let folder = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:"));
        match folder {
            Some(folder) if !folder.is_empty() => Ok(Self::Folder(folder.into())),
            _ => Err(OpenError::BadUrl {
                // Up to the colon only: the rest may hold a password.
                url: text.split(':').next().unwrap_or_default().to_owned(),
                why: "write postgres://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:FOLDER".to_owned(),
            }),
        }
    }
}

impl Database {
    /// Opens the executor's journal, and gives what an operator should know about the server.
    pub async fn open_journal(
        &self,
        with: &DatabaseOptions,
    ) -> Result<(Arc<dyn Journal>, Vec<String>), OpenError> {
        match self {
            Self::Folder(folder) => {
                let mut options = SqliteOptions::new(folder.join("executor.db"));
                options.readers = with.readers;
                let open = tokio::task::spawn_blocking(move || SqliteJournal::open(&options)).await;
                let failed = |err: tokio::task::JoinError| OpenError::Failed {
                    what: folder.display().to_string(),
                    why: err.to_string(),
                };
                Ok((Arc::new(open.map_err(failed)??), Vec::new()))
            }
            Self::Postgres(url) => {
                let journal = PostgresJournal::open(&PostgresOptions {
                    committers: with.committers,
                    connections: with.connections,
                    acquire_timeout: with.acquire_timeout,
                    allow_unsafe_durability: with.allow_unsafe_durability,
                    ..PostgresOptions::new(url)
                })
                .await?;
                let warnings = journal.warnings().to_vec();
                Ok((Arc::new(journal), warnings))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_written() {
        for (text, want) in [
            ("postgres://u@h/d", Some(Database::Postgres("postgres://u@h/d".into()))),
            ("postgresql://u@h/d", Some(Database::Postgres("postgresql://u@h/d".into()))),
            ("sqlite:./data", Some(Database::Folder("./data".into()))),
            ("sqlite:///var/lib/x", Some(Database::Folder("/var/lib/x".into()))),
            ("sqlite:", None),
            ("mysql://u:secret@h/d", None),
        ] {
            let read = text.parse::<Database>();
            if let Err(err) = &read {
                assert!(!err.to_string().contains("secret"), "{err}");
            }
            assert_eq!(read.ok(), want, "{text}");
        }
    }
}
