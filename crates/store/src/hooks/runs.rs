//! The log of runs.

use base::{ExecutionId, Tenant, Timestamp};
use uuid::Uuid;

use super::{HookStore, RunFilter, RunRow, Statement, opt_id, opt_small};
use crate::{
    db::Value,
    journal::{PAGE_MAX, Result},
    tables::Cells,
};

const COLUMNS: &str =
    "tenant, run_id, request_id, hook_id, hook_name, trigger, action, execution_id, task_id, item,
    state, decision, message, settings, output, started_at, finished_at";

impl HookStore {
    /// Records how a hook ended. A run that is there is left alone.
    pub async fn put_run(&self, run: &RunRow) -> Result<()> {
        let sql = format!(
            "INSERT INTO hook_runs ({COLUMNS})
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
             ON CONFLICT DO NOTHING"
        );
        let values = vec![
            (&run.tenant).into(),
            run.run_id.into(),
            run.request_id.into(),
            run.hook_id.into(),
            (&run.hook_name).into(),
            (&run.trigger).into(),
            (&run.action).into(),
            run.execution_id.map(ExecutionId::uuid).into(),
            run.task_id.clone().into(),
            Value::Int(run.item.map(i64::from)),
            (&run.state).into(),
            (&run.decision).into(),
            (&run.message).into(),
            (&run.settings).into(),
            (&run.output).into(),
            run.started_at.into(),
            run.finished_at.into(),
        ];
        self.tables.write(&sql, values).await.map(drop)
    }

    /// One run.
    pub async fn get_run(&self, tenant: &Tenant, id: Uuid) -> Result<Option<RunRow>> {
        let sql = format!("SELECT {COLUMNS} FROM hook_runs WHERE tenant = $1 AND run_id = $2");
        let rows = self.tables.read(&sql, vec![tenant.into(), id.into()]).await?;
        rows.first().map(read).transpose()
    }

    /// Runs, the newest first, those before `before` (start and id of the last one seen), at most `limit`.
    pub async fn list_runs(
        &self,
        filter: &RunFilter,
        before: Option<(Timestamp, Uuid)>,
        limit: u32,
    ) -> Result<Vec<RunRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM hook_runs WHERE tenant = $1
                AND ($2::uuid IS NULL OR hook_id = $2::uuid)
                AND ($3::uuid IS NULL OR execution_id = $3::uuid)
                AND ($4::text IS NULL OR trigger = $4::text)
                AND ($5::text IS NULL OR state = $5::text)
                AND ($6::bigint IS NULL OR started_at >= $6::bigint)
                AND ($7::bigint IS NULL OR started_at < $7::bigint)
                AND ($8::bigint IS NULL OR started_at < $8::bigint OR (started_at = $8::bigint AND run_id < $9::uuid))
             ORDER BY started_at DESC, run_id DESC LIMIT $10"
        );
        let (at, id) = before.unzip();
        let values = vec![
            (&filter.tenant).into(),
            filter.hook.into(),
            filter.execution.map(ExecutionId::uuid).into(),
            filter.trigger.clone().into(),
            filter.state.clone().into(),
            filter.since.into(),
            filter.until.into(),
            at.into(),
            id.into(),
            limit.min(PAGE_MAX).into(),
        ];
        self.tables.read(&sql, values).await?.iter().map(read).collect()
    }
}

/// The runs of a request; `values` are tenant and request.
pub(super) fn of_request(values: Vec<Value>) -> Statement {
    Statement::new(format!("SELECT {COLUMNS} FROM hook_runs WHERE tenant = $1 AND request_id = $2"), values)
}

pub(super) fn read(row: &Cells) -> Result<RunRow> {
    Ok(RunRow {
        tenant: row.tenant(0)?,
        run_id: row.id(1)?,
        request_id: row.id(2)?,
        hook_id: row.id(3)?,
        hook_name: row.text(4)?,
        trigger: row.text(5)?,
        action: row.text(6)?,
        execution_id: opt_id(row, 7)?.map(ExecutionId::new),
        task_id: row.opt_text(8)?,
        item: opt_small(row, 9)?,
        state: row.text(10)?,
        decision: row.text(11)?,
        message: row.text(12)?,
        settings: row.text(13)?,
        output: row.text(14)?,
        started_at: row.time(15)?,
        finished_at: row.time(16)?,
    })
}
