//! The conversation of a session.

use base::{ExecutionId, Tenant};
use uuid::Uuid;

use super::{SessionChange, SessionStore, TurnRow};
use crate::{
    db::Value,
    journal::{PAGE_MAX, Result},
    tables::{Cells, Statement},
};

const COLUMNS: &str = "turn, role, parts, execution_id, at, bytes, ends";

impl SessionStore {
    /// Turns in order, after the turn `after`, at most `limit`.
    pub async fn turns(&self, tenant: &Tenant, id: &str, after: u64, limit: u32) -> Result<Vec<TurnRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM session_turns WHERE tenant = $1 AND session_id = $2 AND turn > $3
             ORDER BY turn LIMIT $4"
        );
        let values = vec![tenant.into(), id.into(), after.into(), limit.min(PAGE_MAX).into()];
        self.tables.read(&sql, values).await?.iter().map(read).collect()
    }

    /// The newest `limit` turns, in order.
    pub async fn newest_turns(&self, tenant: &Tenant, id: &str, limit: u32) -> Result<Vec<TurnRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM session_turns WHERE tenant = $1 AND session_id = $2 ORDER BY turn DESC LIMIT $3"
        );
        let values = vec![tenant.into(), id.into(), limit.min(PAGE_MAX).into()];
        let mut turns: Vec<TurnRow> =
            self.tables.read(&sql, values).await?.iter().map(read).collect::<Result<_>>()?;
        turns.reverse();
        Ok(turns)
    }

    /// The first turn that is kept when only turns from the number `turn` on, and only those that begin at `total` bytes
    /// or later, are. `None`: none of those that are stored.
    pub async fn first_kept(
        &self,
        tenant: &Tenant,
        id: &str,
        turn: u64,
        total: u64,
    ) -> Result<Option<TurnRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM session_turns WHERE tenant = $1 AND session_id = $2 AND turn >= $3
                AND ends - bytes >= $4 ORDER BY turn LIMIT 1"
        );
        let values = vec![tenant.into(), id.into(), turn.into(), total.into()];
        self.tables.read(&sql, values).await?.first().map(read).transpose()
    }
}

/// What is written beside the session's row, by the winner alone.
pub(super) fn statements(change: &SessionChange, token: Uuid) -> Vec<Statement> {
    let row = &change.row;
    let own = "EXISTS (SELECT 1 FROM sessions WHERE tenant = $1 AND session_id = $2 AND token = $3::uuid)";
    let of_it = || -> Vec<Value> { vec![(&row.tenant).into(), (&row.session_id).into(), token.into()] };
    let mut all = Vec::with_capacity(change.turns.len() + 1);
    for turn in &change.turns {
        let sql = format!(
            "INSERT INTO session_turns (tenant, session_id, turn, role, parts, execution_id, at, bytes, ends)
             SELECT $1::text, $2::text, $4::bigint, $5::text, $6::text, $7::uuid, $8::bigint, $9::bigint, $10::bigint
             WHERE {own}"
        );
        let mut values = of_it();
        values.extend([
            turn.turn.into(),
            (&turn.role).into(),
            (&turn.parts).into(),
            Value::Id(turn.execution_id.map(|id| id.uuid())),
            turn.at.into(),
            turn.bytes.into(),
            turn.ends.into(),
        ]);
        all.push(Statement::new(sql, values));
    }
    if change.keep_from > 1 {
        let sql = format!(
            "DELETE FROM session_turns WHERE tenant = $1 AND session_id = $2 AND turn < $4::bigint AND {own}"
        );
        let mut values = of_it();
        values.push(change.keep_from.into());
        all.push(Statement::new(sql, values));
    }
    all
}

fn read(row: &Cells) -> Result<TurnRow> {
    Ok(TurnRow {
        turn: row.unsigned(0)?,
        role: row.text(1)?,
        parts: row.text(2)?,
        execution_id: if row.is_null(3) { None } else { Some(ExecutionId::new(row.id(3)?)) },
        at: row.time(4)?,
        bytes: row.unsigned(5)?,
        ends: row.unsigned(6)?,
    })
}
