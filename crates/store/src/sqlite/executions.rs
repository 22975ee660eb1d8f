//! Rows of executions and checkpoints.

use async_trait::async_trait;
use base::{CheckpointId, ExecutionId, Tenant, Timestamp, WorkflowId};
use rusqlite::{
    OptionalExtension, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use super::{SqliteJournal, classify};
use crate::journal::{
    CheckpointRow, Cursor, Due, ExecutionFilter, ExecutionRow, Executions, PAGE_MAX, Page, Result, Snapshot,
    columns,
    list::{self, Arg, Dialect},
};

/// How SQLite writes the list query.
pub(crate) const DIALECT: Dialect = Dialect {
    sign: '?',
    columns: "execution_id, tenant, workflow_id, workflow_name, workflow_version, shard, status, current_phase, \
        priority, request_hash, started_at, wake_at, completed_at, allocated_agents, task_states, \
        performance_metrics, correlation_id, stuck_reason, stuck_detail",
    has_agent: "EXISTS (SELECT 1 FROM json_each(allocated_agents) AS a WHERE a.value = {})",
};

impl ToSql for Arg {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Id(id) => ValueRef::Blob(id.as_bytes()),
            Self::Int(number) => ValueRef::Integer(*number),
        }))
    }
}

impl SqliteJournal {
    async fn list(&self, sql: String, args: Vec<Arg>) -> Result<Vec<ExecutionRow>> {
        self.readers
            .read(move |conn| {
                let read = || -> rusqlite::Result<Vec<ExecutionRow>> {
                    let mut query = conn.prepare_cached(&sql)?;
                    query.query_map(params_from_iter(args), |row| columns::execution(row))?.collect()
                };
                read().map_err(classify)
            })
            .await
    }

    /// The plan SQLite makes for a list query, for the test that it walks an index.
    #[doc(hidden)]
    pub async fn explain_list(&self, filter: &ExecutionFilter, after: Option<Cursor>) -> Result<Vec<String>> {
        let (sql, args) = list::list_sql(DIALECT, filter, after, 10);
        self.explain(format!("EXPLAIN QUERY PLAN {sql}"), args).await
    }

    /// The plans of what a status (and a start whose key is known) reads: the execution, and its log.
    #[doc(hidden)]
    pub async fn explain_status(&self) -> Result<Vec<String>> {
        let id = Arg::Id(uuid::Uuid::nil());
        let mut all = self.explain(format!("EXPLAIN QUERY PLAN {}", find()), vec![id.clone()]).await?;
        let log = format!("EXPLAIN QUERY PLAN {}", super::log::of_execution());
        all.extend(self.explain(log, vec![id]).await?);
        Ok(all)
    }

    /// The plan of the query for due timers.
    #[doc(hidden)]
    pub async fn explain_due(&self) -> Result<Vec<String>> {
        let args = vec![Arg::Text("[1]".into()), Arg::Int(1), Arg::Int(10)];
        self.explain(format!("EXPLAIN QUERY PLAN {DUE}"), args).await
    }

    async fn explain(&self, sql: String, args: Vec<Arg>) -> Result<Vec<String>> {
        self.readers
            .read(move |conn| {
                let read = || -> rusqlite::Result<Vec<String>> {
                    conn.prepare(&sql)?.query_map(params_from_iter(args), |row| row.get(3))?.collect()
                };
                read().map_err(classify)
            })
            .await
    }
}

/// One execution.
pub(super) fn find() -> String {
    format!("SELECT {} FROM executions WHERE execution_id = ?1", DIALECT.columns)
}

const DUE: &str = "SELECT execution_id, shard, wake_at FROM executions
    WHERE shard IN (SELECT value FROM json_each(?1)) AND completed_at IS NULL AND wake_at <= ?2
    ORDER BY wake_at LIMIT ?3";

/// A list of shards as one bound value.
pub(super) fn shard_list(shards: &[u16]) -> String {
    let numbers: Vec<String> = shards.iter().map(u16::to_string).collect();
    format!("[{}]", numbers.join(","))
}

#[async_trait]
impl Executions for SqliteJournal {
    async fn get_execution(&self, tenant: &Tenant, id: ExecutionId) -> Result<Option<ExecutionRow>> {
        Ok(self.find_execution(id).await?.filter(|row| row.tenant == *tenant))
    }

    async fn find_execution(&self, id: ExecutionId) -> Result<Option<ExecutionRow>> {
        Ok(self.list(find(), vec![Arg::Id(id.uuid())]).await?.pop())
    }

    async fn list_executions(
        &self,
        filter: &ExecutionFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<ExecutionRow>> {
        let limit = limit.clamp(1, PAGE_MAX);
        let (sql, args) = list::list_sql(DIALECT, filter, after, i64::from(limit) + 1);
        Ok(list::page(self.list(sql, args).await?, limit as usize))
    }

    async fn newest_of_workflow(
        &self,
        tenant: &Tenant,
        workflow: WorkflowId,
    ) -> Result<Option<ExecutionRow>> {
        let filter = ExecutionFilter {
            tenant: tenant.clone(),
            workflow_id: Some(workflow),
            ..ExecutionFilter::default()
        };
        Ok(self.list_executions(&filter, None, 1).await?.rows.pop())
    }

    async fn active_of_workflow(
        &self,
        tenant: &Tenant,
        workflow: WorkflowId,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>> {
        let (sql, args) = list::active_sql(DIALECT, tenant, workflow, limit.min(PAGE_MAX));
        self.list(sql, args).await
    }

    async fn hot_executions(
        &self,
        shard: u16,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<ExecutionId>> {
        let sql = "SELECT execution_id FROM executions
            WHERE shard = ?1 AND wake_at IS NULL AND completed_at IS NULL AND execution_id > ?2
            ORDER BY execution_id LIMIT ?3";
        self.rows(sql, move |q| {
            let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_bytes());
            q.query_map((shard, after, limit.min(PAGE_MAX)), |row| columns::execution_id(row))?.collect()
        })
        .await
    }

    async fn due(&self, shards: &[u16], now: Timestamp, limit: u32) -> Result<Vec<Due>> {
        let shards = shard_list(shards);
        // Rows without a timer hold the largest number: they are never due.
        let now = now.micros().min(i64::MAX - 1);
        self.rows(DUE, move |q| {
            q.query_map((shards, now, limit.min(PAGE_MAX)), |row| columns::due(row))?.collect()
        })
        .await
    }

    async fn next_wake(&self, shards: &[u16]) -> Result<Option<Timestamp>> {
        let shards = shard_list(shards);
        let sql = "SELECT min((SELECT min(wake_at) FROM executions WHERE shard = s.value
            AND completed_at IS NULL AND wake_at < 9223372036854775807)) FROM json_each(?1) AS s";
        let earliest: Option<i64> = self.rows(sql, move |q| q.query_row([shards], |row| row.get(0))).await?;
        Ok(earliest.map(Timestamp::from_micros))
    }

    async fn count_stuck(&self, shard: u16) -> Result<Vec<(String, u64)>> {
        let sql = "SELECT stuck_reason, count(*) FROM executions
            WHERE shard = ?1 AND stuck_reason IS NOT NULL GROUP BY stuck_reason";
        self.rows(sql, move |q| {
            q.query_map([shard], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?.collect()
        })
        .await
    }

    async fn count_active(&self, shards: &[u16]) -> Result<u64> {
        let shards = shard_list(shards);
        let sql = "SELECT count(*) FROM executions
            WHERE shard IN (SELECT value FROM json_each(?1)) AND completed_at IS NULL";
        let count: i64 = self.rows(sql, move |q| q.query_row([shards], |row| row.get(0))).await?;
        Ok(count.unsigned_abs())
    }

    async fn read_snapshot(&self, execution: ExecutionId) -> Result<Option<Snapshot>> {
        let sql = "SELECT snapshot_seq, snapshot_schema, snapshot FROM executions
            WHERE execution_id = ?1 AND snapshot IS NOT NULL";
        self.rows(sql, move |q| q.query_row([execution.as_bytes()], |row| columns::snapshot(row)).optional())
            .await
    }

    async fn list_checkpoints(&self, tenant: &Tenant, execution: ExecutionId) -> Result<Vec<CheckpointRow>> {
        let tenant = tenant.clone();
        let sql = "SELECT execution_id, checkpoint_id, seq, created_at, state_snapshot, recovery_instructions
            FROM checkpoints WHERE tenant = ?1 AND execution_id = ?2 ORDER BY seq, created_at, checkpoint_id";
        self.rows(sql, move |q| {
            q.query_map((tenant.as_str(), execution.as_bytes()), |row| columns::checkpoint(row))?.collect()
        })
        .await
    }

    async fn get_checkpoint(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        checkpoint: CheckpointId,
    ) -> Result<Option<CheckpointRow>> {
        let tenant = tenant.clone();
        let sql = "SELECT execution_id, checkpoint_id, seq, created_at, state_snapshot, recovery_instructions
            FROM checkpoints WHERE tenant = ?1 AND execution_id = ?2 AND checkpoint_id = ?3";
        self.rows(sql, move |q| {
            q.query_row((tenant.as_str(), execution.as_bytes(), checkpoint.as_bytes()), |row| {
                columns::checkpoint(row)
            })
            .optional()
        })
        .await
    }
}
