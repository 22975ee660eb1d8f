//! Rows of sessions.

use base::{ExecutionId, Tenant, Timestamp};

use crate::{journal::Result, tables::Cells};

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its tenant.
    pub tenant: Tenant,
    /// Its id.
    pub session_id: String,
    /// Rises with every change.
    pub version: u64,
    /// Variables, a JSON document that the owner of the table understands.
    pub vars: String,
    /// How many there are.
    pub vars_count: u64,
    /// Number of the next turn, from 1.
    pub turns_next: u64,
    /// Turns that are kept.
    pub turns_count: u64,
    /// Bytes of the turns that are kept.
    pub turns_bytes: u64,
    /// Bytes of all turns that there ever were.
    pub turns_total: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl SessionRow {
    pub(super) fn read(row: &Cells) -> Result<Self> {
        Ok(Self {
            tenant: row.tenant(0)?,
            session_id: row.text(1)?,
            version: row.unsigned(2)?,
            vars: row.text(3)?,
            vars_count: row.unsigned(4)?,
            turns_next: row.unsigned(5)?,
            turns_count: row.unsigned(6)?,
            turns_bytes: row.unsigned(7)?,
            turns_total: row.unsigned(8)?,
            created_at: row.time(9)?,
            updated_at: row.time(10)?,
        })
    }
}

/// A turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnRow {
    /// Its number in the session, from 1, never used twice.
    pub turn: u64,
    /// Who speaks.
    pub role: String,
    /// What was said, JSON.
    pub parts: String,
    /// The execution it comes from.
    pub execution_id: Option<ExecutionId>,
    /// When.
    pub at: Timestamp,
    /// What it counts, in bytes.
    pub bytes: u64,
    /// Bytes of all turns up to and with this one.
    pub ends: u64,
}

/// An execution of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The session.
    pub session_id: String,
    /// Name of its workflow.
    pub workflow: String,
    /// When it was started.
    pub joined_at: Timestamp,
    /// When what it left was saved; `None` = it runs, or is about to be saved.
    pub saved_at: Option<Timestamp>,
    /// How it ended; empty before.
    pub status: String,
    /// What could not be saved, and conflicts.
    pub note: String,
}
