//! The durable queue of occasions.

use std::time::Duration;

use base::{ExecutionId, Tenant, Timestamp};
use uuid::Uuid;

use super::{Claim, Claimant, HookStore, RequestRow, Statement, ids, opt_id, runs};
use crate::{
    db::Value,
    journal::{PAGE_MAX, Result, ShardPos},
    tables::Cells,
};

const COLUMNS: &str =
    "tenant, request_id, partition, trigger, execution_id, task_id, item, hooks, document, requested_at";

/// Partition of requests that nobody but their asker runs.
pub const NO_PARTITION: u32 = u32::MAX;

/// A request to run: whose it is, its id, its execution.
pub type Due = (Tenant, Uuid, Option<ExecutionId>);

impl HookStore {
    /// Writes requests and how far the log was read for them, all or nothing. A request that is there is left alone:
    /// the same occasion was found before.
    pub async fn put_requests(
        &self,
        rows: &[RequestRow],
        consumer: &str,
        cluster: &str,
        positions: &[ShardPos],
    ) -> Result<()> {
        let mut statements: Vec<Statement> = rows.iter().map(insert).collect();
        statements.extend(positions.iter().map(|at| position(consumer, cluster, at)));
        if statements.is_empty() {
            return Ok(());
        }
        self.tables.write_all(statements).await.map(drop)
    }

    /// Writes a request (unless it is there) and claims it in one transaction.
    pub async fn request_and_claim(&self, row: &RequestRow, by: &Claimant, lease: Duration) -> Result<Claim> {
        let mut statements = vec![insert(row)];
        statements.extend(self.claiming(&row.tenant, row.request_id, by, lease));
        claimed(self.tables.write_all(statements).await?)
    }

    /// Claims a request for `lease` on the database's clock. What the same member claimed in an earlier life is free at
    /// once, what another holds when its lease has run out.
    pub async fn claim(&self, tenant: &Tenant, id: Uuid, by: &Claimant, lease: Duration) -> Result<Claim> {
        claimed(self.tables.write_all(self.claiming(tenant, id, by, lease)).await?)
    }

    fn claiming(&self, tenant: &Tenant, id: Uuid, by: &Claimant, lease: Duration) -> Vec<Statement> {
        let now = self.now();
        let claim = format!(
            "UPDATE hook_requests SET claimed_by = $3, incarnation = $4, claimed_until = {now} + $5
             WHERE tenant = $1 AND request_id = $2 AND finished_at IS NULL
                AND (claimed_until <= {now} OR (claimed_by = $3 AND incarnation <> $4))
             RETURNING request_id"
        );
        let values = || vec![tenant.into(), id.into()];
        let mut own = values();
        own.extend([(&by.member).into(), by.incarnation.into(), micros(lease)]);
        let row = format!(
            "SELECT {COLUMNS}, finished_at, verdict FROM hook_requests WHERE tenant = $1 AND request_id = $2"
        );
        vec![Statement::new(claim, own), Statement::new(row, values()), runs::of_request(values())]
    }

    /// Extends a claim. `false`: it is not the caller's any more.
    pub async fn extend(&self, tenant: &Tenant, id: Uuid, by: &Claimant, lease: Duration) -> Result<bool> {
        let sql = format!(
            "UPDATE hook_requests SET claimed_until = {} + $5 WHERE tenant = $1 AND request_id = $2
                AND claimed_by = $3 AND incarnation = $4 AND finished_at IS NULL RETURNING request_id",
            self.now()
        );
        let values =
            vec![tenant.into(), id.into(), (&by.member).into(), by.incarnation.into(), micros(lease)];
        Ok(!self.tables.write(&sql, values).await?.is_empty())
    }

    /// All hooks of a claimed request have ended. `false`: it is not the caller's (any more), or was finished before.
    pub async fn finish(
        &self,
        tenant: &Tenant,
        id: Uuid,
        by: &Claimant,
        verdict: &str,
        at: Timestamp,
    ) -> Result<bool> {
        let sql =
            "UPDATE hook_requests SET finished_at = $5, verdict = $6 WHERE tenant = $1 AND request_id = $2
            AND claimed_by = $3 AND incarnation = $4 AND finished_at IS NULL RETURNING request_id";
        let values = vec![
            tenant.into(),
            id.into(),
            (&by.member).into(),
            by.incarnation.into(),
            at.into(),
            verdict.into(),
        ];
        Ok(!self.tables.write(sql, values).await?.is_empty())
    }

    /// Requests of a partition that nobody runs and that were written at or before `before`, the oldest first.
    pub async fn due_requests(
        &self,
        partition: u32,
        by: &Claimant,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Due>> {
        let sql = format!(
            "SELECT tenant, request_id, execution_id FROM hook_requests
             WHERE partition = $1 AND finished_at IS NULL AND requested_at <= $2
                AND (claimed_until <= {} OR (claimed_by = $3 AND incarnation <> $4))
             ORDER BY requested_at LIMIT $5",
            self.now()
        );
        let values = vec![
            partition.into(),
            before.into(),
            (&by.member).into(),
            by.incarnation.into(),
            limit.min(PAGE_MAX).into(),
        ];
        let rows = self.tables.read(&sql, values).await?;
        rows.iter()
            .map(|row| Ok((row.tenant(0)?, row.id(1)?, opt_id(row, 2)?.map(ExecutionId::new))))
            .collect()
    }

    /// Deletes runs and requests that ended before `before`, at most `limit` of each; says how many rows went.
    pub async fn sweep_hooks(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let delete = |table: &str, id: &str, old: &str| {
            let sql = format!(
                "DELETE FROM {table} WHERE (tenant, {id}) IN (SELECT tenant, {id} FROM {table} WHERE {old} LIMIT $2)
                 RETURNING 1"
            );
            Statement::new(sql, vec![before.into(), limit.into()])
        };
        let ended = "finished_at IS NOT NULL AND finished_at < $1";
        // What stood before a call that was given up is never finished.
        let held = format!("finished_at IS NULL AND partition = {NO_PARTITION} AND requested_at < $1");
        let all = vec![
            delete("hook_runs", "run_id", ended),
            delete("hook_requests", "request_id", ended),
            delete("hook_requests", "request_id", &held),
        ];
        let gone = self.tables.write_all(all).await?;
        Ok(gone.iter().map(|rows| rows.len() as u64).sum())
    }
}

fn micros(lease: Duration) -> Value {
    Value::Int(Some(i64::try_from(lease.as_micros()).unwrap_or(i64::MAX / 2)))
}

fn insert(row: &RequestRow) -> Statement {
    let sql = "INSERT INTO hook_requests (tenant, request_id, partition, trigger, execution_id, task_id, item, hooks,
            document, requested_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
    let values = vec![
        (&row.tenant).into(),
        row.request_id.into(),
        row.partition.into(),
        (&row.trigger).into(),
        row.execution_id.map(ExecutionId::uuid).into(),
        row.task_id.clone().into(),
        Value::Int(row.item.map(i64::from)),
        serde_json::json!(row.hooks.iter().map(Uuid::to_string).collect::<Vec<_>>()).to_string().into(),
        (&row.document).into(),
        row.requested_at.into(),
    ];
    Statement::new(sql, values)
}

fn position(consumer: &str, cluster: &str, at: &ShardPos) -> Statement {
    let sql = "INSERT INTO consumer_positions (consumer, cluster, shard, incarnation, pos)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (consumer, cluster, shard) DO UPDATE SET
        incarnation = excluded.incarnation, pos = excluded.pos";
    let shard = u32::from(at.shard);
    let values = vec![consumer.into(), cluster.into(), shard.into(), at.incarnation.into(), at.pos.into()];
    Statement::new(sql, values)
}

/// The answers of the last three statements: claim, row, runs.
fn claimed(mut done: Vec<Vec<Cells>>) -> Result<Claim> {
    let runs = done.pop().unwrap_or_default();
    let rows = done.pop().unwrap_or_default();
    let mine = done.pop().is_some_and(|rows| !rows.is_empty());
    let Some(row) = rows.first() else { return Ok(Claim::Gone) };
    if row.opt_int(10)?.is_some() {
        return Ok(Claim::Done(row.opt_text(11)?.unwrap_or_default()));
    }
    if !mine {
        return Ok(Claim::Busy);
    }
    let ended = runs.iter().map(runs::read).collect::<Result<_>>()?;
    Ok(Claim::Yours(Box::new(read(row)?), ended))
}

fn read(row: &Cells) -> Result<RequestRow> {
    Ok(RequestRow {
        tenant: row.tenant(0)?,
        request_id: row.id(1)?,
        partition: row.small(2)?,
        trigger: row.text(3)?,
        execution_id: opt_id(row, 4)?.map(ExecutionId::new),
        task_id: row.opt_text(5)?,
        item: super::opt_small(row, 6)?,
        hooks: ids(&row.text(7)?)?,
        document: row.text(8)?,
        requested_at: row.time(9)?,
    })
}
