//! Sessions: their variables, their conversation, and the executions that belong to them.
//!
//! A session changes by compare-and-set of its version ([`SessionStore::change`]): who read an older one reads again. What
//! an execution leaves is saved in the same transaction that marks it as saved, so it is saved once, whoever tries.

mod members;
mod rows;
mod turns;

use base::{ExecutionId, Tenant, Timestamp};
use uuid::Uuid;

use crate::{
    db::Value,
    journal::{PAGE_MAX, Result},
    tables::{Statement, Tables},
};

pub use rows::{MemberRow, SessionRow, TurnRow};

/// The tables of sessions.
#[derive(Clone, Debug)]
pub struct SessionStore {
    tables: Tables,
}

/// One change of a session: everything or nothing.
#[derive(Clone, Debug)]
pub struct SessionChange {
    /// The session as it is to be. Its version is the one that was read; the stored one is one higher.
    pub row: SessionRow,
    /// Turns that are appended.
    pub turns: Vec<TurnRow>,
    /// Turns before this one go.
    pub keep_from: u64,
    /// The execution whose leavings these are.
    pub saved: Option<SavedExecution>,
}

/// An execution whose leavings are saved.
#[derive(Clone, Debug)]
pub struct SavedExecution {
    /// The execution.
    pub execution_id: ExecutionId,
    /// How it ended.
    pub status: String,
    /// What could not be saved, and conflicts; empty = nothing to say.
    pub note: String,
}

const COLUMNS: &str =
    "tenant, session_id, version, vars, vars_count, turns_next, turns_count, turns_bytes, turns_total,
    created_at, updated_at";

impl SessionStore {
    /// Over the executor's tables.
    pub fn new(tables: Tables) -> Self {
        Self { tables }
    }

    /// Makes an empty session. `false` when there is one already.
    pub async fn create(&self, tenant: &Tenant, id: &str, now: Timestamp) -> Result<bool> {
        let sql = "INSERT INTO sessions (tenant, session_id, version, token, vars, vars_count, turns_next, turns_count,
                turns_bytes, turns_total, created_at, updated_at)
            VALUES ($1, $2, 1, $3, '{}', 0, 1, 0, 0, 0, $4, $4) ON CONFLICT DO NOTHING RETURNING version";
        let values = vec![tenant.into(), id.into(), Uuid::nil().into(), now.into()];
        Ok(!self.tables.write(sql, values).await?.is_empty())
    }

    /// One session.
    pub async fn get(&self, tenant: &Tenant, id: &str) -> Result<Option<SessionRow>> {
        let sql = format!("SELECT {COLUMNS} FROM sessions WHERE tenant = $1 AND session_id = $2");
        let rows = self.tables.read(&sql, vec![tenant.into(), id.into()]).await?;
        rows.first().map(SessionRow::read).transpose()
    }

    /// Sessions by id, whose id begins with `prefix`, after `after`, at most `limit`.
    pub async fn list(
        &self,
        tenant: &Tenant,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<SessionRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sessions WHERE tenant = $1 AND session_id > $2
                AND substr(session_id, 1, length($3::text)) = $3::text ORDER BY session_id LIMIT $4"
        );
        let values = vec![tenant.into(), after.into(), prefix.into(), limit.min(PAGE_MAX).into()];
        self.tables.read(&sql, values).await?.iter().map(SessionRow::read).collect()
    }

    /// Writes a change, when the session still has the version that was read and, when it saves an execution, that is
    /// not saved yet. `token` names the change: a new one each time. `false`: somebody else was first (or the session is
    /// gone), nothing was written.
    pub async fn change(&self, change: &SessionChange, token: Uuid) -> Result<bool> {
        let row = &change.row;
        let sql = "UPDATE sessions SET version = version + 1, token = $4, vars = $5, vars_count = $6, turns_next = $7,
                turns_count = $8, turns_bytes = $9, turns_total = $10, updated_at = $11
            WHERE tenant = $1 AND session_id = $2 AND version = $3 AND NOT EXISTS
                (SELECT 1 FROM session_executions AS m WHERE m.tenant = $1 AND m.execution_id = $12::uuid
                    AND m.saved_at IS NOT NULL)
            RETURNING version";
        let values = vec![
            (&row.tenant).into(),
            (&row.session_id).into(),
            row.version.into(),
            token.into(),
            (&row.vars).into(),
            row.vars_count.into(),
            row.turns_next.into(),
            row.turns_count.into(),
            row.turns_bytes.into(),
            row.turns_total.into(),
            row.updated_at.into(),
            Value::Id(change.saved.as_ref().map(|saved| saved.execution_id.uuid())),
        ];
        let mut all = vec![Statement::new(sql, values)];
        all.extend(turns::statements(change, token));
        all.extend(change.saved.iter().map(|saved| members::saved(change, saved, token)));
        let done = self.tables.write_all(all).await?;
        Ok(done.first().is_some_and(|rows| !rows.is_empty()))
    }

    /// Deletes a session with its conversation and the list of its executions (not the executions). `false` when there
    /// is none.
    pub async fn delete(&self, tenant: &Tenant, id: &str) -> Result<bool> {
        let of_it = || -> Vec<Value> { vec![tenant.into(), id.into()] };
        let from = |table: &str, more: &str| {
            Statement::new(
                format!("DELETE FROM {table} WHERE tenant = $1 AND session_id = $2{more}"),
                of_it(),
            )
        };
        let all = vec![
            from("sessions", " RETURNING version"),
            from("session_turns", ""),
            from("session_executions", ""),
        ];
        let done = self.tables.write_all(all).await?;
        Ok(done.first().is_some_and(|rows| !rows.is_empty()))
    }

    /// Sessions that nobody changed since `before` and none of whose executions is open: at most `limit`.
    pub async fn idle(&self, before: Timestamp, limit: u32) -> Result<Vec<(Tenant, String)>> {
        let sql = "SELECT s.tenant, s.session_id FROM sessions AS s WHERE s.updated_at < $1
                AND NOT EXISTS (SELECT 1 FROM session_executions AS m WHERE m.tenant = s.tenant
                    AND m.session_id = s.session_id AND m.saved_at IS NULL)
            ORDER BY s.updated_at LIMIT $2";
        let rows = self.tables.read(sql, vec![before.into(), limit.min(PAGE_MAX).into()]).await?;
        rows.iter().map(|row| Ok((row.tenant(0)?, row.text(1)?))).collect()
    }
}
