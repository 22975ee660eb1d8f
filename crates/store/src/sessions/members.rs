//! Executions of sessions: known before they start, marked once what they leave is saved.

use base::{ExecutionId, Tenant, Timestamp};
use uuid::Uuid;

use super::{MemberRow, SavedExecution, SessionChange, SessionStore};
use crate::{
    journal::{PAGE_MAX, Result},
    tables::{Cells, Statement},
};

const COLUMNS: &str = "execution_id, session_id, workflow, joined_at, saved_at, status, note";

impl SessionStore {
    /// Notes that an execution is about to start in a session. Safe to repeat; the first session counts.
    pub async fn join(
        &self,
        tenant: &Tenant,
        session: &str,
        execution: ExecutionId,
        workflow: &str,
        now: Timestamp,
    ) -> Result<()> {
        let sql = "INSERT INTO session_executions (tenant, execution_id, session_id, workflow, joined_at, status, note)
            VALUES ($1, $2, $3, $4, $5, '', '') ON CONFLICT DO NOTHING";
        let values =
            vec![tenant.into(), execution.uuid().into(), session.into(), workflow.into(), now.into()];
        self.tables.write(sql, values).await.map(drop)
    }

    /// The execution as a member of its session.
    pub async fn member(&self, tenant: &Tenant, execution: ExecutionId) -> Result<Option<MemberRow>> {
        let sql = format!("SELECT {COLUMNS} FROM session_executions WHERE tenant = $1 AND execution_id = $2");
        let rows = self.tables.read(&sql, vec![tenant.into(), execution.uuid().into()]).await?;
        rows.first().map(read).transpose()
    }

    /// Executions of a session, in the order in which they joined, after the one that joined at `after`, at most
    /// `limit`.
    pub async fn members(
        &self,
        tenant: &Tenant,
        session: &str,
        after: Option<(Timestamp, ExecutionId)>,
        limit: u32,
    ) -> Result<Vec<MemberRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM session_executions WHERE tenant = $1 AND session_id = $2
                AND (joined_at > $3 OR (joined_at = $3 AND execution_id > $4))
             ORDER BY joined_at, execution_id LIMIT $5"
        );
        let (at, id) =
            after.map_or((Timestamp::from_micros(i64::MIN), Uuid::nil()), |(at, id)| (at, id.uuid()));
        let values = vec![tenant.into(), session.into(), at.into(), id.into(), limit.min(PAGE_MAX).into()];
        self.tables.read(&sql, values).await?.iter().map(read).collect()
    }

    /// Executions of a session that have ended and are not saved, in the order of their ends, at most `limit`.
    pub async fn unsaved(&self, tenant: &Tenant, session: &str, limit: u32) -> Result<Vec<ExecutionId>> {
        let sql = "SELECT m.execution_id FROM session_executions AS m
            JOIN executions AS e ON e.execution_id = m.execution_id AND e.tenant = m.tenant
            WHERE m.tenant = $1 AND m.session_id = $2 AND m.saved_at IS NULL AND e.completed_at IS NOT NULL
            ORDER BY e.completed_at LIMIT $3";
        let rows = self.tables.read(sql, vec![tenant.into(), session.into(), limit.into()]).await?;
        rows.iter().map(|row| row.id(0).map(ExecutionId::new)).collect()
    }

    /// The same of all sessions.
    pub async fn unsaved_of_all(&self, limit: u32) -> Result<Vec<(Tenant, ExecutionId)>> {
        let sql = "SELECT m.tenant, m.execution_id FROM session_executions AS m
            JOIN executions AS e ON e.execution_id = m.execution_id AND e.tenant = m.tenant
            WHERE m.saved_at IS NULL AND e.completed_at IS NOT NULL ORDER BY e.completed_at LIMIT $1";
        let rows = self.tables.read(sql, vec![limit.into()]).await?;
        rows.iter().map(|row| Ok((row.tenant(0)?, ExecutionId::new(row.id(1)?)))).collect()
    }

    /// Forgets executions that joined before `before` and never started: their start was refused, or its process died.
    pub async fn forget_never_started(&self, before: Timestamp) -> Result<()> {
        let sql = "DELETE FROM session_executions WHERE saved_at IS NULL AND joined_at < $1
            AND NOT EXISTS (SELECT 1 FROM executions AS e WHERE e.execution_id = session_executions.execution_id)";
        self.tables.write(sql, vec![before.into()]).await.map(drop)
    }

    /// Marks an execution whose session is gone.
    pub async fn mark_saved(&self, tenant: &Tenant, saved: &SavedExecution, now: Timestamp) -> Result<()> {
        let sql = "UPDATE session_executions SET saved_at = $3, status = $4, note = $5
            WHERE tenant = $1 AND execution_id = $2 AND saved_at IS NULL";
        let values = vec![
            tenant.into(),
            saved.execution_id.uuid().into(),
            now.into(),
            (&saved.status).into(),
            (&saved.note).into(),
        ];
        self.tables.write(sql, values).await.map(drop)
    }
}

/// Marks the execution, by the winner alone.
pub(super) fn saved(change: &SessionChange, saved: &SavedExecution, token: Uuid) -> Statement {
    let row = &change.row;
    let sql = "UPDATE session_executions SET saved_at = $4, status = $5, note = $6
        WHERE tenant = $1 AND execution_id = $7 AND session_id = $2 AND EXISTS
            (SELECT 1 FROM sessions WHERE tenant = $1 AND session_id = $2 AND token = $3::uuid)";
    let values = vec![
        (&row.tenant).into(),
        (&row.session_id).into(),
        token.into(),
        row.updated_at.into(),
        (&saved.status).into(),
        (&saved.note).into(),
        saved.execution_id.uuid().into(),
    ];
    Statement::new(sql, values)
}

fn read(row: &Cells) -> Result<MemberRow> {
    Ok(MemberRow {
        execution_id: ExecutionId::new(row.id(0)?),
        session_id: row.text(1)?,
        workflow: row.text(2)?,
        joined_at: row.time(3)?,
        saved_at: row.opt_time(4)?,
        status: row.text(5)?,
        note: row.text(6)?,
    })
}
