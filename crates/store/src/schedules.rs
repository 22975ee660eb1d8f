//! Schedules: rows that are looked at when they are due.

use base::{Tenant, Timestamp};
use uuid::Uuid;

use crate::{
    db::Value,
    journal::{PAGE_MAX, Result},
    tables::{Cells, Statement, Tables, places},
    topics::SyncedPlan,
};

/// The schedules of the executor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ScheduleStore {
    tables: Tables,
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Its tenant.
    pub tenant: Tenant,
    /// Its id.
    pub id: Uuid,
    /// Its name, unique in the tenant.
    pub name: String,
    /// What it starts: name, `name@version` or UUID.
    pub workflow: String,
    /// The version of the workflow whose plan holds it; empty = it was made by itself.
    pub workflow_version: String,
    /// The shard whose owner looks after it.
    pub shard: u16,
    /// JSON: when it fires.
    pub spec: String,
    /// JSON text of the input; `None` = the fire itself.
    pub input: Option<String>,
    /// Priority of what it starts.
    pub priority: i32,
    /// It fires nothing at the moment.
    pub paused: bool,
    /// When it is to be looked at; `None` = never by itself.
    pub wake_at: Option<Timestamp>,
    /// JSON: how far it is.
    pub state: String,
    /// Grows with every change; [`ScheduleStore::update`] compares it.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a user changed it last.
    pub updated_at: Timestamp,
}

const COLUMNS: &str =
    "tenant, id, name, workflow, workflow_version, shard, spec, input, priority, paused, wake_at, state,
    revision, created_at, updated_at";
const INSERT: &str =
    "INSERT INTO schedules (tenant, id, name, workflow, workflow_version, shard, spec, input, priority,
        paused, wake_at, state, revision, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
/// A schedule of a plan keeps how far it is and whether it is paused, unless it fires at other times now.
const SYNC: &str = "ON CONFLICT (tenant, id) DO UPDATE SET workflow = excluded.workflow,
        workflow_version = excluded.workflow_version, input = excluded.input, priority = excluded.priority,
        state = CASE WHEN schedules.spec = excluded.spec THEN schedules.state ELSE excluded.state END,
        wake_at = CASE WHEN schedules.spec = excluded.spec THEN schedules.wake_at
            WHEN schedules.paused <> 0 THEN NULL ELSE excluded.wake_at END,
        spec = excluded.spec, revision = schedules.revision + 1, updated_at = excluded.updated_at";

impl ScheduleStore {
    /// Over the journal's tables.
    pub fn new(tables: Tables) -> Self {
        Self { tables }
    }

    /// Writes a new schedule. `false`: its id or name is taken; nothing was written.
    pub async fn insert(&self, row: &ScheduleRow) -> Result<bool> {
        let sql = format!("{INSERT} ON CONFLICT DO NOTHING RETURNING revision");
        Ok(!self.tables.write(&sql, values(row)).await?.is_empty())
    }

    /// Writes all of `row` except id, name, shard and when it was made, if its revision is still the stored one, which
    /// grows by one. `false`: somebody was faster.
    pub async fn update(&self, row: &ScheduleRow) -> Result<bool> {
        let sql =
            "UPDATE schedules SET workflow = $3, workflow_version = $4, spec = $5, input = $6, priority = $7,
                paused = $8, wake_at = $9, state = $10, revision = revision + 1, updated_at = $12
            WHERE tenant = $1 AND id = $2 AND revision = $11 RETURNING revision";
        let values = vec![
            (&row.tenant).into(),
            row.id.into(),
            (&row.workflow).into(),
            (&row.workflow_version).into(),
            (&row.spec).into(),
            row.input.clone().into(),
            i64::from(row.priority).into(),
            i64::from(row.paused).into(),
            row.wake_at.into(),
            (&row.state).into(),
            row.revision.into(),
            row.updated_at.into(),
        ];
        Ok(!self.tables.write(sql, values).await?.is_empty())
    }

    /// One schedule.
    pub async fn get(&self, tenant: &Tenant, id: Uuid) -> Result<Option<ScheduleRow>> {
        let sql = format!("SELECT {COLUMNS} FROM schedules WHERE tenant = $1 AND id = $2");
        self.tables.read(&sql, vec![tenant.into(), id.into()]).await?.first().map(schedule).transpose()
    }

    /// One schedule by its name.
    pub async fn find(&self, tenant: &Tenant, name: &str) -> Result<Option<ScheduleRow>> {
        let sql = format!("SELECT {COLUMNS} FROM schedules WHERE tenant = $1 AND name = $2");
        self.tables.read(&sql, vec![tenant.into(), name.into()]).await?.first().map(schedule).transpose()
    }

    /// Schedules of a tenant by name, after `after`, at most `limit`.
    pub async fn list(&self, tenant: &Tenant, after: &str, limit: u32) -> Result<Vec<ScheduleRow>> {
        let sql =
            format!("SELECT {COLUMNS} FROM schedules WHERE tenant = $1 AND name > $2 ORDER BY name LIMIT $3");
        let values = vec![tenant.into(), after.into(), limit.clamp(1, PAGE_MAX).into()];
        self.tables.read(&sql, values).await?.iter().map(schedule).collect()
    }

    /// Deletes. `false` when there is none.
    pub async fn delete(&self, tenant: &Tenant, id: Uuid) -> Result<bool> {
        let sql = "DELETE FROM schedules WHERE tenant = $1 AND id = $2 RETURNING name";
        Ok(!self.tables.write(sql, vec![tenant.into(), id.into()]).await?.is_empty())
    }

    /// Schedules of these shards that are due at `now`, the earliest first, at most `limit`.
    pub async fn due(&self, shards: &[u16], now: Timestamp, limit: u32) -> Result<Vec<ScheduleRow>> {
        if shards.is_empty() {
            return Ok(Vec::new());
        }
        let mut values: Vec<Value> = vec![now.into(), limit.clamp(1, PAGE_MAX).into()];
        let sql = format!(
            "SELECT {COLUMNS} FROM schedules WHERE wake_at <= $1 AND shard IN ({}) ORDER BY wake_at LIMIT $2",
            places(shards, &mut values)
        );
        self.tables.read(&sql, values).await?.iter().map(schedule).collect()
    }

    /// When the next schedule of these shards is due.
    pub async fn next_wake(&self, shards: &[u16]) -> Result<Option<Timestamp>> {
        if shards.is_empty() {
            return Ok(None);
        }
        let mut values = Vec::new();
        let sql = format!(
            "SELECT min(wake_at) FROM schedules WHERE wake_at IS NOT NULL AND shard IN ({})",
            places(shards, &mut values)
        );
        self.tables.read(&sql, values).await?.first().map_or(Ok(None), |row| row.opt_time(0))
    }

    /// Replaces the schedules of a workflow by those of its newest plan. Safe to repeat.
    pub async fn sync(&self, plan: &SyncedPlan, rows: &[ScheduleRow]) -> Result<()> {
        let mut all: Vec<Statement> =
            rows.iter().map(|row| Statement::new(format!("{INSERT} {SYNC}"), values(row))).collect();
        let sql = "DELETE FROM schedules WHERE tenant = $1 AND workflow = $2 AND workflow_version <> ''
            AND workflow_version <> $3";
        let plan = vec![(&plan.tenant).into(), (&plan.workflow).into(), (&plan.version).into()];
        all.push(Statement::new(sql, plan));
        self.tables.write_all(all).await.map(drop)
    }
}

fn values(row: &ScheduleRow) -> Vec<Value> {
    vec![
        (&row.tenant).into(),
        row.id.into(),
        (&row.name).into(),
        (&row.workflow).into(),
        (&row.workflow_version).into(),
        u32::from(row.shard).into(),
        (&row.spec).into(),
        row.input.clone().into(),
        i64::from(row.priority).into(),
        i64::from(row.paused).into(),
        row.wake_at.into(),
        (&row.state).into(),
        row.revision.into(),
        row.created_at.into(),
        row.updated_at.into(),
    ]
}

fn schedule(row: &Cells) -> Result<ScheduleRow> {
    Ok(ScheduleRow {
        tenant: row.tenant(0)?,
        id: row.id(1)?,
        name: row.text(2)?,
        workflow: row.text(3)?,
        workflow_version: row.text(4)?,
        shard: row.shard(5)?,
        spec: row.text(6)?,
        input: row.opt_text(7)?,
        priority: row.signed(8)?,
        paused: row.int(9)? != 0,
        wake_at: row.opt_time(10)?,
        state: row.text(11)?,
        revision: row.int(12)?,
        created_at: row.time(13)?,
        updated_at: row.time(14)?,
    })
}
