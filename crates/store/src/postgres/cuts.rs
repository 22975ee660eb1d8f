//! Calls that were cut and whose agents are to be told.

use async_trait::async_trait;
use uuid::Uuid;

use super::{PostgresJournal, link::retrying};
use crate::journal::{CutRow, Cuts, PAGE_MAX, Result, columns};

#[async_trait]
impl Cuts for PostgresJournal {
    async fn read_cuts(&self, shard: u16, after: Option<Uuid>, limit: u32) -> Result<Vec<CutRow>> {
        retrying(&self.pool, |pool| async move {
            let sql = "SELECT shard, call, tenant, execution_id, instance, agent_task_id, cut_at FROM cuts
                WHERE shard = $1 AND ($2::uuid IS NULL OR call > $2) ORDER BY call LIMIT $3";
            let query = sqlx::query(sql).bind(shard as i16).bind(after).bind(i64::from(limit.min(PAGE_MAX)));
            query.fetch_all(&pool).await?.iter().map(columns::cut).collect()
        })
        .await
    }

    async fn delete_cuts(&self, calls: &[(u16, Uuid)]) -> Result<()> {
        retrying(&self.pool, |pool| async move {
            sqlx::query(
                "DELETE FROM cuts AS c USING unnest($1::smallint[], $2::uuid[]) AS d(shard, call)
                 WHERE c.shard = d.shard AND c.call = d.call",
            )
            .bind(calls.iter().map(|(shard, _)| *shard as i16).collect::<Vec<_>>())
            .bind(calls.iter().map(|(_, call)| *call).collect::<Vec<_>>())
            .execute(&pool)
            .await
            .map(drop)
        })
        .await
    }
}
