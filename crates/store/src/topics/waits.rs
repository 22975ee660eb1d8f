//! Who waits for which events.

use base::{ExecutionId, Tenant, Timestamp};

use crate::{
    journal::{PAGE_MAX, Result},
    tables::Tables,
};

/// The waits of running executions, to be read: they are written with the log ([`crate::journal::WaitWrite`]).
#[derive(Clone, Debug)]
pub struct WaitStore {
    tables: Tables,
}

/// A task that waits for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitRow {
    /// Tenant of the execution.
    pub tenant: Tenant,
    /// The execution.
    pub execution_id: ExecutionId,
    /// The task, by its place in the execution.
    pub task: u32,
    /// The topic.
    pub topic: String,
    /// The correlation key; empty = any.
    pub key: String,
    /// Since when; events that were accepted shortly before count as well.
    pub since: Timestamp,
}

impl WaitStore {
    /// Over the journal's tables.
    pub fn new(tables: Tables) -> Self {
        Self { tables }
    }

    /// Tasks that wait for an event of `topic` with `key`, by execution and task, after `after`, at most `limit`. Those
    /// that wait for any key are among them.
    pub async fn waiting(
        &self,
        tenant: &Tenant,
        topic: &str,
        key: &str,
        after: Option<(ExecutionId, u32)>,
        limit: u32,
    ) -> Result<Vec<WaitRow>> {
        let sql = "SELECT execution_id, task, topic, key, since FROM waits
            WHERE tenant = $1 AND topic = $2 AND (key = '' OR key = $3)
                AND (execution_id > $4 OR (execution_id = $4 AND task > $5))
            ORDER BY execution_id, task LIMIT $6";
        let (id, task) = after.map_or((uuid::Uuid::nil(), -1), |(id, task)| (id.uuid(), i64::from(task)));
        let values = vec![
            tenant.into(),
            topic.into(),
            key.into(),
            id.into(),
            task.into(),
            limit.clamp(1, PAGE_MAX).into(),
        ];
        let rows = self.tables.read(sql, values).await?;
        rows.iter()
            .map(|row| {
                Ok(WaitRow {
                    tenant: tenant.clone(),
                    execution_id: ExecutionId::new(row.id(0)?),
                    task: row.small(1)?,
                    topic: row.text(2)?,
                    key: row.text(3)?,
                    since: row.time(4)?,
                })
            })
            .collect()
    }
}
