//! What can go wrong. A variant exists where a caller acts differently.

use std::path::PathBuf;

use base::ExecutionId;

/// A write or read that did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// This member's incarnation is over: another one took its shards. Nothing was written. Drop everything and exit.
    #[error("this member has been fenced off: its incarnation is over")]
    Fenced,
    /// A log row with this position already exists although this member is not fenced: two processes believe they own
    /// the shard. Nothing of the group was written. Exit.
    #[error("two owners: {what} was already written")]
    TwoOwners {
        /// The row that was there already.
        what: String,
    },
    /// The disk or the database file failed (fsync, IO, full, corrupt). What the journal promised can no longer be
    /// kept, so the process ends.
    #[error("storage failed: {0}")]
    Fatal(String),
    /// The database cannot be reached at the moment, or the store was closed. Try again later; a write that is safe to
    /// repeat says so.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// The database refused the request for a reason that lies in the request. Trying again gives the same.
    #[error("refused by the database: {0}")]
    Refused(String),
    /// A stored row does not read back as what was written (foreign edits, or a bug).
    #[error("unreadable row in {table}: {why}")]
    Unreadable {
        /// The table it was read from.
        table: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// A store that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the file.
    #[error("{path} is in use by {holder}: stop that process, or choose another data directory")]
    Locked {
        /// The database file.
        path: PathBuf,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// The database was written by a newer build.
    #[error(
        "the {schema} schema is at version {found}, this build knows {known}: use a build at least as new as the one that wrote it"
    )]
    NewerSchema {
        /// Name of the schema.
        schema: &'static str,
        /// Version in the database.
        found: u32,
        /// Newest version this build knows.
        known: u32,
    },
    /// A migration that was applied is not the one this build carries under the same number.
    #[error(
        "migration {version} of the {schema} schema differs from the one that was applied: restore the database or use the build that wrote it"
    )]
    ChangedMigration {
        /// Name of the schema.
        schema: &'static str,
        /// Its number.
        version: u32,
    },
    /// The number of shards is fixed when the first member starts.
    #[error("this database has {found} shards, the configuration says {wanted}: set shards to {found}")]
    ShardCount {
        /// Shards in the database.
        found: u16,
        /// Shards in the configuration.
        wanted: u16,
    },
    /// The server would acknowledge what is not on disk.
    #[error(
        "PostgreSQL runs with {setting}=off: acknowledged work could be lost. Turn it on, or allow it with allow_unsafe_durability"
    )]
    UnsafeDurability {
        /// Name of the setting.
        setting: &'static str,
    },
    /// The address is not one this build can open.
    #[error("{url:?} is not a database address: {why}")]
    BadUrl {
        /// What was given, without its password.
        url: String,
        /// The rule and the remedy.
        why: String,
    },
    /// Everything else: no such directory, no permission, no server.
    #[error("cannot open {what}: {why}")]
    Failed {
        /// File or server.
        what: String,
        /// The cause.
        why: String,
    },
}

impl StoreError {
    /// Whether the process must end: it is fenced off, one of two owners, or its disk failed.
    pub fn ends_the_process(&self) -> bool {
        matches!(self, Self::Fenced | Self::TwoOwners { .. } | Self::Fatal(_))
    }

    pub(crate) fn two_owners(execution: ExecutionId, first_seq: i64, shard: u16, pos: i64) -> Self {
        Self::TwoOwners {
            what: format!("event {first_seq} of execution {execution} or position {pos} of shard {shard}"),
        }
    }
}
