//! What starts executions when an event comes.

use base::{Tenant, Timestamp};
use uuid::Uuid;

use crate::{
    db::Value,
    journal::{PAGE_MAX, Result},
    tables::{Cells, Statement, Tables},
};

/// The triggers of the executor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TriggerStore {
    tables: Tables,
}

/// A trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerRow {
    /// Its tenant.
    pub tenant: Tenant,
    /// Its id.
    pub id: Uuid,
    /// Its name, unique for the workflow.
    pub name: String,
    /// What it starts: name, `name@version` or UUID.
    pub workflow: String,
    /// The version of the workflow whose plan holds it; empty = it was registered by itself.
    pub workflow_version: String,
    /// The topic it listens to.
    pub topic: String,
    /// CEL over `event`; empty = every event.
    pub filter: String,
    /// CEL over `event` that gives the start key; empty = the event's id.
    pub key: String,
    /// JSON template of the input; `None` = the event's payload.
    pub input: Option<String>,
    /// Priority of what it starts; `None` = the event's.
    pub priority: Option<i32>,
    /// What happens while the workflow's only execution runs: `wait` or `skip`.
    pub on_busy: String,
    /// It starts nothing at the moment.
    pub paused: bool,
    /// Events accepted before this do not count.
    pub since: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A workflow version whose triggers are here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SyncedPlan {
    /// Its tenant.
    pub tenant: Tenant,
    /// The workflow's name.
    pub workflow: String,
    /// Its version.
    pub version: String,
}

const COLUMNS: &str =
    "tenant, id, name, workflow, workflow_version, topic, filter, key, input, priority, on_busy, paused,
    since, created_at, updated_at";
/// What was paused stays so, and what counted from the beginning goes on counting.
const PUT: &str =
    "INSERT INTO triggers (tenant, id, name, workflow, workflow_version, topic, filter, key, input, priority,
        on_busy, paused, since, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
    ON CONFLICT (tenant, id) DO UPDATE SET name = excluded.name, workflow = excluded.workflow,
        workflow_version = excluded.workflow_version, topic = excluded.topic, filter = excluded.filter,
        key = excluded.key, input = excluded.input, priority = excluded.priority, on_busy = excluded.on_busy,
        updated_at = excluded.updated_at";
const CHANGED: &str = "UPDATE trigger_head SET revision = revision + 1";

impl TriggerStore {
    /// Over the journal's tables.
    pub fn new(tables: Tables) -> Self {
        Self { tables }
    }

    /// Writes a trigger; one with its id keeps whether it is paused, since when it counts and when it was made.
    pub async fn put(&self, row: &TriggerRow) -> Result<()> {
        self.tables.write_all(vec![put(row), changed()]).await.map(drop)
    }

    /// One trigger.
    pub async fn get(&self, tenant: &Tenant, id: Uuid) -> Result<Option<TriggerRow>> {
        let sql = format!("SELECT {COLUMNS} FROM triggers WHERE tenant = $1 AND id = $2");
        self.tables.read(&sql, vec![tenant.into(), id.into()]).await?.first().map(trigger).transpose()
    }

    /// Triggers of a tenant by id, after `after`, at most `limit`.
    pub async fn list(&self, tenant: &Tenant, after: Option<Uuid>, limit: u32) -> Result<Vec<TriggerRow>> {
        let sql =
            format!("SELECT {COLUMNS} FROM triggers WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3");
        let values =
            vec![tenant.into(), after.unwrap_or(Uuid::nil()).into(), limit.clamp(1, PAGE_MAX).into()];
        self.tables.read(&sql, values).await?.iter().map(trigger).collect()
    }

    /// Pauses or resumes. `false` when there is none.
    pub async fn pause(&self, tenant: &Tenant, id: Uuid, paused: bool, at: Timestamp) -> Result<bool> {
        let sql =
            "UPDATE triggers SET paused = $3, updated_at = $4 WHERE tenant = $1 AND id = $2 RETURNING name";
        let values = vec![tenant.into(), id.into(), i64::from(paused).into(), at.into()];
        self.changing(Statement::new(sql, values)).await
    }

    /// Deletes. `false` when there is none.
    pub async fn delete(&self, tenant: &Tenant, id: Uuid) -> Result<bool> {
        let sql = "DELETE FROM triggers WHERE tenant = $1 AND id = $2 RETURNING name";
        self.changing(Statement::new(sql, vec![tenant.into(), id.into()])).await
    }

    async fn changing(&self, statement: Statement) -> Result<bool> {
        let done = self.tables.write_all(vec![statement, changed()]).await?;
        Ok(done.first().is_some_and(|rows| !rows.is_empty()))
    }

    /// Grows with every change.
    pub async fn revision(&self) -> Result<i64> {
        let rows = self.tables.read("SELECT revision FROM trigger_head", Vec::new()).await?;
        rows.first().map_or(Ok(0), |row| row.int(0))
    }

    /// Every trigger that is not paused, of all tenants: for those who match events.
    pub async fn all_running(&self) -> Result<Vec<TriggerRow>> {
        let sql = format!("SELECT {COLUMNS} FROM triggers WHERE paused = 0");
        self.tables.read(&sql, Vec::new()).await?.iter().map(trigger).collect()
    }

    /// The plans whose triggers are here.
    pub async fn synced(&self) -> Result<Vec<SyncedPlan>> {
        let sql = "SELECT tenant, workflow, version FROM synced_plans";
        let plan = |row: &Cells| {
            Ok(SyncedPlan { tenant: row.tenant(0)?, workflow: row.text(1)?, version: row.text(2)? })
        };
        self.tables.read(sql, Vec::new()).await?.iter().map(plan).collect()
    }

    /// Replaces the triggers of a workflow by those of its newest plan. Safe to repeat.
    pub async fn sync(&self, plan: &SyncedPlan, rows: &[TriggerRow]) -> Result<()> {
        let mut all = forget(plan);
        all.extend(rows.iter().map(put));
        // What the new version has no more goes; what it still has was just put under the new version.
        let sql = "DELETE FROM triggers WHERE tenant = $1 AND workflow = $2 AND workflow_version <> ''
            AND workflow_version <> $3";
        all.push(Statement::new(sql, of(plan)));
        all.push(Statement::new(
            "INSERT INTO synced_plans (tenant, workflow, version) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            of(plan),
        ));
        all.push(changed());
        self.tables.write_all(all).await.map(drop)
    }

    /// Forgets the triggers and schedules of a workflow that is gone.
    pub async fn unsync(&self, plan: &SyncedPlan) -> Result<()> {
        let mut all = forget(plan);
        for table in ["triggers", "schedules"] {
            let sql =
                format!("DELETE FROM {table} WHERE tenant = $1 AND workflow = $2 AND workflow_version <> ''");
            all.push(Statement::new(sql, vec![(&plan.tenant).into(), (&plan.workflow).into()]));
        }
        all.push(changed());
        self.tables.write_all(all).await.map(drop)
    }
}

fn forget(plan: &SyncedPlan) -> Vec<Statement> {
    let sql = "DELETE FROM synced_plans WHERE tenant = $1 AND workflow = $2";
    vec![Statement::new(sql, vec![(&plan.tenant).into(), (&plan.workflow).into()])]
}

fn of(plan: &SyncedPlan) -> Vec<Value> {
    vec![(&plan.tenant).into(), (&plan.workflow).into(), (&plan.version).into()]
}

fn changed() -> Statement {
    Statement::new(CHANGED, Vec::new())
}

fn put(row: &TriggerRow) -> Statement {
    let values = vec![
        (&row.tenant).into(),
        row.id.into(),
        (&row.name).into(),
        (&row.workflow).into(),
        (&row.workflow_version).into(),
        (&row.topic).into(),
        (&row.filter).into(),
        (&row.key).into(),
        row.input.clone().into(),
        Value::Int(row.priority.map(i64::from)),
        (&row.on_busy).into(),
        i64::from(row.paused).into(),
        row.since.into(),
        row.created_at.into(),
        row.updated_at.into(),
    ];
    Statement::new(PUT, values)
}

fn trigger(row: &Cells) -> Result<TriggerRow> {
    Ok(TriggerRow {
        tenant: row.tenant(0)?,
        id: row.id(1)?,
        name: row.text(2)?,
        workflow: row.text(3)?,
        workflow_version: row.text(4)?,
        topic: row.text(5)?,
        filter: row.text(6)?,
        key: row.text(7)?,
        input: row.opt_text(8)?,
        priority: row.opt_int(9)?.map(|n| i32::try_from(n).unwrap_or(i32::MAX)),
        on_busy: row.text(10)?,
        paused: row.int(11)? != 0,
        since: row.time(12)?,
        created_at: row.time(13)?,
        updated_at: row.time(14)?,
    })
}
