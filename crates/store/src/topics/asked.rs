//! Open approvals.

use base::{ExecutionId, Tenant, Timestamp};

use crate::{
    db::Value,
    journal::{PAGE_MAX, Result},
    tables::Tables,
};

/// The approvals that running executions ask for, to be read: they are written with the log
/// ([`crate::journal::WaitWrite`]).
#[derive(Clone, Debug)]
pub struct AskedStore {
    tables: Tables,
}

/// Where a page of open approvals begins: after this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedPlace {
    /// Since when it waits.
    pub since: Timestamp,
    /// The execution.
    pub execution_id: ExecutionId,
    /// The task, by its place in the execution.
    pub task: u32,
}

/// Which open approvals.
#[derive(Clone, Debug, Default)]
pub struct AskedFilter {
    /// Of this tenant.
    pub tenant: Tenant,
    /// Of this execution alone.
    pub execution_id: Option<ExecutionId>,
    /// Those that this principal may answer, or anybody.
    pub who: Option<String>,
}

/// An open approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedRow {
    /// Where it stands in the list.
    pub place: AskedPlace,
    /// A JSON object, as it was written.
    pub asked: String,
}

impl AskedStore {
    /// Over the journal's tables.
    pub fn new(tables: Tables) -> Self {
        Self { tables }
    }

    /// Open approvals, those that wait longest first, after `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(
        &self,
        filter: &AskedFilter,
        after: Option<AskedPlace>,
        limit: u32,
    ) -> Result<Vec<AskedRow>> {
        let (sql, values) = self.query(filter, after, limit);
        let rows = self.tables.read(&sql, values).await?;
        rows.iter()
            .map(|row| {
                let place = AskedPlace {
                    since: row.time(0)?,
                    execution_id: ExecutionId::new(row.id(1)?),
                    task: row.small(2)?,
                };
                Ok(AskedRow { place, asked: row.text(3)? })
            })
            .collect()
    }

    /// The plan of the query, for the test that it walks an index.
    #[doc(hidden)]
    pub async fn explain(&self, filter: &AskedFilter, after: Option<AskedPlace>) -> Result<Vec<String>> {
        let (sql, values) = self.query(filter, after, 10);
        let (explain, column) = match self.tables.pool() {
            Some(_) => ("EXPLAIN", 0),
            None => ("EXPLAIN QUERY PLAN", 3),
        };
        let rows = self.tables.read(&format!("{explain} {sql}"), values).await?;
        rows.iter().map(|row| row.text(column)).collect()
    }

    fn query(&self, filter: &AskedFilter, after: Option<AskedPlace>, limit: u32) -> (String, Vec<Value>) {
        let mut values: Vec<Value> = vec![(&filter.tenant).into()];
        let mut bind = |value: Value| {
            values.push(value);
            format!("${}", values.len())
        };
        let mut sql =
            "SELECT since, execution_id, task, asked FROM waits WHERE tenant = $1 AND asked IS NOT NULL"
                .to_owned();
        if let Some(AskedPlace { since, execution_id, task }) = after {
            let (since, id, task) = (bind(since.into()), bind(execution_id.uuid().into()), bind(task.into()));
            sql.push_str(&format!(" AND (since, execution_id, task) > ({since}, {id}, {task})"));
        }
        if let Some(id) = filter.execution_id {
            sql.push_str(&format!(" AND execution_id = {}", bind(id.uuid().into())));
        }
        if let Some(who) = &filter.who {
            let may = match self.tables.pool() {
                Some(_) => "(asked::jsonb->'who' = '[]' OR asked::jsonb->'who' @> to_jsonb({}::text))",
                None => {
                    "(json_array_length(asked -> 'who') = 0
                        OR EXISTS (SELECT 1 FROM json_each(asked -> 'who') AS w WHERE w.value = {}))"
                }
            };
            sql.push_str(&format!(" AND {}", may.replace("{}", &bind(who.as_str().into()))));
        }
        let limit = bind(limit.clamp(1, PAGE_MAX).into());
        sql.push_str(&format!(" ORDER BY since, execution_id, task LIMIT {limit}"));
        (sql, values)
    }
}
