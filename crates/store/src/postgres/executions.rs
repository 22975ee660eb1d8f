//! Rows of executions and checkpoints.

use async_trait::async_trait;
use base::{CheckpointId, ExecutionId, Tenant, Timestamp, WorkflowId};
use sqlx::{AssertSqlSafe, Postgres, Row, postgres::PgArguments, query::Query};
use uuid::Uuid;

use super::{PostgresJournal, link::retrying, shard_array};
use crate::journal::{
    CheckpointRow, Cursor, Due, ExecutionFilter, ExecutionRow, Executions, PAGE_MAX, Page, Result, Snapshot,
    columns,
    list::{self, Arg, Dialect},
};

const DIALECT: Dialect = Dialect {
    sign: '$',
    columns: "execution_id, tenant, workflow_id, workflow_name, workflow_version, shard, status, current_phase, \
        priority, request_hash, started_at, wake_at, completed_at, allocated_agents::text, task_states::text, \
        performance_metrics::text, correlation_id, stuck_reason, stuck_detail",
    has_agent: "allocated_agents @> to_jsonb({}::text)",
};

/// One execution.
pub(super) fn find() -> String {
    format!("SELECT {} FROM executions WHERE execution_id = $1", DIALECT.columns)
}

const DUE: &str = "SELECT execution_id, shard, wake_at FROM executions
    WHERE shard = ANY($1) AND completed_at IS NULL AND wake_at <= $2 ORDER BY wake_at LIMIT $3";

fn bind<'q>(sql: String, args: &'q [Arg]) -> Query<'q, Postgres, PgArguments> {
    let query = sqlx::query(AssertSqlSafe(sql));
    args.iter().fold(query, |query, arg| match arg {
        Arg::Text(text) => query.bind(text.as_str()),
        Arg::Id(id) => query.bind(*id),
        Arg::Int(number) => query.bind(*number),
    })
}

impl PostgresJournal {
    async fn list(&self, sql: String, args: Vec<Arg>) -> Result<Vec<ExecutionRow>> {
        let (sql, args) = (&sql, &args);
        retrying(&self.pool, |pool| async move {
            let rows = bind(sql.clone(), args).fetch_all(&pool).await?;
            rows.iter().map(columns::execution).collect()
        })
        .await
    }

    /// The plan the server makes for a list query, for the test that it walks an index.
    #[doc(hidden)]
    pub async fn explain_list(&self, filter: &ExecutionFilter, after: Option<Cursor>) -> Result<Vec<String>> {
        let (sql, args) = list::list_sql(DIALECT, filter, after, 10);
        self.explain(sql, args).await
    }

    /// The plans of what a status (and a start whose key is known) reads: the execution, and its log.
    #[doc(hidden)]
    pub async fn explain_status(&self) -> Result<Vec<String>> {
        let id = Arg::Id(Uuid::nil());
        let mut all = self.explain(find(), vec![id.clone()]).await?;
        all.extend(self.explain(super::log::OF_EXECUTION.to_owned(), vec![id]).await?);
        Ok(all)
    }

    /// The plan of the query for due timers.
    #[doc(hidden)]
    pub async fn explain_due(&self) -> Result<Vec<String>> {
        let sql = DUE.replace("$1", "ARRAY[1::smallint, 2::smallint]").replace("$2", "5").replace("$3", "9");
        self.explain(sql, Vec::new()).await
    }

    async fn explain(&self, sql: String, args: Vec<Arg>) -> Result<Vec<String>> {
        let (sql, args) = (&sql, &args);
        retrying(&self.pool, |pool| async move {
            let rows = bind(format!("EXPLAIN {sql}"), args).fetch_all(&pool).await?;
            rows.iter().map(|row| row.try_get(0)).collect()
        })
        .await
    }
}

#[async_trait]
impl Executions for PostgresJournal {
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
        retrying(&self.pool, |pool| async move {
            let sql = "SELECT execution_id FROM executions WHERE shard = $1 AND wake_at IS NULL
                AND completed_at IS NULL AND ($2::uuid IS NULL OR execution_id > $2)
                ORDER BY execution_id LIMIT $3";
            let query = sqlx::query(sql)
                .bind(shard as i16)
                .bind(after.map(|id| id.uuid()))
                .bind(i64::from(limit.min(PAGE_MAX)));
            query.fetch_all(&pool).await?.iter().map(columns::execution_id).collect()
        })
        .await
    }

    async fn due(&self, shards: &[u16], now: Timestamp, limit: u32) -> Result<Vec<Due>> {
        retrying(&self.pool, |pool| async move {
            let query = sqlx::query(DUE)
                .bind(shard_array(shards))
                // Rows without a timer hold the largest number: they are never due.
                .bind(now.micros().min(i64::MAX - 1))
                .bind(i64::from(limit.min(PAGE_MAX)));
            query.fetch_all(&pool).await?.iter().map(columns::due).collect()
        })
        .await
    }

    async fn next_wake(&self, shards: &[u16]) -> Result<Option<Timestamp>> {
        let earliest: Option<i64> = retrying(&self.pool, |pool| async move {
            let sql = "SELECT min((SELECT min(wake_at) FROM executions WHERE shard = s.shard
                AND completed_at IS NULL AND wake_at < 9223372036854775807)) FROM unnest($1::smallint[]) AS s(shard)";
            sqlx::query_scalar(sql).bind(shard_array(shards)).fetch_one(&pool).await
        })
        .await?;
        Ok(earliest.map(Timestamp::from_micros))
    }

    async fn count_active(&self, shards: &[u16]) -> Result<u64> {
        let count: i64 = retrying(&self.pool, |pool| async move {
            let sql = "SELECT count(*) FROM executions WHERE shard = ANY($1) AND completed_at IS NULL";
            sqlx::query_scalar(sql).bind(shard_array(shards)).fetch_one(&pool).await
        })
        .await?;
        Ok(count.unsigned_abs())
    }

    async fn count_stuck(&self, shard: u16) -> Result<Vec<(String, u64)>> {
        let counted: Vec<(String, i64)> = retrying(&self.pool, |pool| async move {
            let sql = "SELECT stuck_reason, count(*) FROM executions
                WHERE shard = $1 AND stuck_reason IS NOT NULL GROUP BY stuck_reason";
            sqlx::query_as(sql).bind(shard as i16).fetch_all(&pool).await
        })
        .await?;
        Ok(counted.into_iter().map(|(reason, n)| (reason, n.unsigned_abs())).collect())
    }

    async fn read_snapshot(&self, execution: ExecutionId) -> Result<Option<Snapshot>> {
        retrying(&self.pool, |pool| async move {
            let sql = "SELECT snapshot_seq, snapshot_schema, snapshot FROM executions
                WHERE execution_id = $1 AND snapshot IS NOT NULL";
            let row = sqlx::query(sql).bind(execution.uuid()).fetch_optional(&pool).await?;
            row.as_ref().map(columns::snapshot).transpose()
        })
        .await
    }

    async fn list_checkpoints(&self, tenant: &Tenant, execution: ExecutionId) -> Result<Vec<CheckpointRow>> {
        self.checkpoints(tenant, execution, None).await
    }

    async fn get_checkpoint(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        checkpoint: CheckpointId,
    ) -> Result<Option<CheckpointRow>> {
        Ok(self.checkpoints(tenant, execution, Some(checkpoint.uuid())).await?.pop())
    }
}

impl PostgresJournal {
    async fn checkpoints(
        &self,
        tenant: &Tenant,
        execution: ExecutionId,
        one: Option<Uuid>,
    ) -> Result<Vec<CheckpointRow>> {
        retrying(&self.pool, |pool| async move {
            let sql = "SELECT execution_id, checkpoint_id, seq, created_at, state_snapshot::text,
                    recovery_instructions::text FROM checkpoints
                WHERE tenant = $1 AND execution_id = $2 AND ($3::uuid IS NULL OR checkpoint_id = $3)
                ORDER BY seq, created_at, checkpoint_id";
            let query = sqlx::query(sql).bind(tenant.as_str()).bind(execution.uuid()).bind(one);
            query.fetch_all(&pool).await?.iter().map(columns::checkpoint).collect()
        })
        .await
    }
}
