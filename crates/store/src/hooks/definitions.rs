//! Definitions of hooks.

use base::Tenant;
use uuid::Uuid;

use super::{HookError, HookFilter, HookRow, HookStore, Statement};
use crate::{
    db::Value,
    error::StoreError,
    journal::{PAGE_MAX, Result},
    tables::Cells,
};

const COLUMNS: &str =
    "tenant, hook_id, name, trigger, command, args::text, always_run, timeout_ms, enabled, priority,
    on_failure, condition, revision, created_at, updated_at";

type Written<T> = std::result::Result<T, HookError>;

impl HookStore {
    /// Stores a new hook, when the tenant has fewer than `most`. Safe to repeat: the same id with the same content is
    /// there already.
    pub async fn put_hook(&self, new: &HookRow, most: u64) -> Written<()> {
        let sql = "INSERT INTO workflow_hooks (tenant, hook_id, name, trigger, command, args, always_run, timeout_ms,
                enabled, priority, on_failure, condition, revision, created_at, updated_at)
            SELECT $1::text, $2::uuid, $3::text, $4::text, $5::text, $6::jsonb, $7::bigint, $8::bigint, $9::bigint,
                $10::bigint, $11::text, $12::text, $13::bigint, $14::bigint, $15::bigint
            WHERE (SELECT count(*) FROM workflow_hooks WHERE tenant = $1::text) < $16::bigint
            ON CONFLICT DO NOTHING RETURNING revision";
        let mut values = values(new);
        values.push(most.into());
        if self.change(sql, values).await?.is_some() {
            return Ok(());
        }
        match self.get_hook(&new.tenant, &new.hook_id.to_string()).await? {
            Some(found) if found == *new => Ok(()),
            Some(found) => Err(HookError::Changed(found.revision)),
            None if self.has_name(new).await? => Err(HookError::NameTaken(new.name.clone())),
            None => Err(HookError::Full(most)),
        }
    }

    /// Replaces a hook and counts its revision up. `expected` is the one it must have (`None` = any). Gives what is
    /// stored now; it keeps the time of its creation.
    pub async fn replace_hook(&self, new: &HookRow, expected: Option<u64>) -> Written<HookRow> {
        let sql = format!(
            "UPDATE workflow_hooks SET name = $3, trigger = $4, command = $5, args = $6::jsonb, always_run = $7,
                timeout_ms = $8, enabled = $9, priority = $10, on_failure = $11, condition = $12,
                revision = revision + 1, updated_at = $13
             WHERE tenant = $1 AND hook_id = $2 AND ($14::bigint IS NULL OR revision = $14::bigint)
                AND NOT EXISTS (SELECT 1 FROM workflow_hooks AS o
                    WHERE o.tenant = $1 AND o.name = $3 AND o.hook_id <> $2)
             RETURNING {COLUMNS}"
        );
        let mut values = values(new);
        values.truncate(12);
        values.push(new.updated_at.into());
        values.push(expected.map_or(Value::Int(None), Value::from));
        if let Some(row) = self.change(&sql, values).await? {
            return Ok(read(&row)?);
        }
        match self.get_hook(&new.tenant, &new.hook_id.to_string()).await? {
            None => Err(HookError::NotFound),
            Some(found) if expected.is_some_and(|e| e != found.revision) => {
                Err(HookError::Changed(found.revision))
            }
            Some(_) => Err(HookError::NameTaken(new.name.clone())),
        }
    }

    /// Deletes a hook. Its runs stay until their time is over.
    pub async fn delete_hook(&self, tenant: &Tenant, id: Uuid, expected: Option<u64>) -> Written<()> {
        let sql = "DELETE FROM workflow_hooks WHERE tenant = $1 AND hook_id = $2
                AND ($3::bigint IS NULL OR revision = $3::bigint) RETURNING revision";
        let expected: Value = expected.map_or(Value::Int(None), Value::from);
        if self.change(sql, vec![tenant.into(), id.into(), expected]).await?.is_some() {
            return Ok(());
        }
        let found = self.get_hook(tenant, &id.to_string()).await?;
        Err(found.map_or(HookError::NotFound, |found| HookError::Changed(found.revision)))
    }

    /// One hook, by id or, when `key` is no UUID, by name.
    pub async fn get_hook(&self, tenant: &Tenant, key: &str) -> Result<Option<HookRow>> {
        let (column, value): (_, Value) = match Uuid::try_parse(key) {
            Ok(id) => ("hook_id", id.into()),
            Err(_) => ("name", key.into()),
        };
        let sql = format!("SELECT {COLUMNS} FROM workflow_hooks WHERE tenant = $1 AND {column} = $2");
        let rows = self.tables.read(&sql, vec![tenant.into(), value]).await?;
        rows.first().map(read).transpose()
    }

    /// Hooks by name, after `after`, at most `limit`.
    pub async fn list_hooks(
        &self,
        filter: &HookFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<HookRow>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM workflow_hooks WHERE tenant = $1 AND name > $2
                AND ($3::text IS NULL OR trigger = $3::text)
                AND ($4::bigint IS NULL OR enabled = $4::bigint)
                AND ($5::text IS NULL OR substr(name, 1, length($5::text)) = $5::text)
             ORDER BY name LIMIT $6"
        );
        let values = vec![
            (&filter.tenant).into(),
            after.unwrap_or_default().into(),
            filter.trigger.clone().into(),
            Value::Int(filter.enabled.map(i64::from)),
            filter.name_prefix.clone().into(),
            limit.min(PAGE_MAX).into(),
        ];
        self.tables.read(&sql, values).await?.iter().map(read).collect()
    }

    /// Grows with every change of any hook.
    pub async fn hooks_revision(&self) -> Result<u64> {
        let rows = self.tables.read("SELECT revision FROM hook_head", Vec::new()).await?;
        rows.first().map_or(Ok(0), |row| row.unsigned(0))
    }

    /// All enabled hooks of all tenants.
    pub async fn enabled_hooks(&self) -> Result<Vec<HookRow>> {
        let sql = format!("SELECT {COLUMNS} FROM workflow_hooks WHERE enabled = 1");
        self.tables.read(&sql, Vec::new()).await?.iter().map(read).collect()
    }

    /// One change; gives the row of its RETURNING. Writers wait for each other at the head, so that counts hold.
    async fn change(&self, sql: &str, values: Vec<Value>) -> Result<Option<Cells>> {
        let head = Statement::new("UPDATE hook_head SET revision = revision + 1", Vec::new());
        let done = self.tables.write_all(vec![head, Statement::new(sql, values)]).await;
        match done {
            Ok(mut done) => Ok(done.pop().and_then(|rows| rows.into_iter().next())),
            // A name that was taken in the same moment.
            Err(StoreError::Refused(why)) if why.to_lowercase().contains("unique") => Ok(None),
            Err(err) => Err(err),
        }
    }

    async fn has_name(&self, new: &HookRow) -> Result<bool> {
        let sql = "SELECT 1 FROM workflow_hooks WHERE tenant = $1 AND name = $2 AND hook_id <> $3";
        let values = vec![(&new.tenant).into(), (&new.name).into(), new.hook_id.into()];
        Ok(!self.tables.read(sql, values).await?.is_empty())
    }
}

fn values(row: &HookRow) -> Vec<Value> {
    vec![
        (&row.tenant).into(),
        row.hook_id.into(),
        (&row.name).into(),
        (&row.trigger).into(),
        (&row.command).into(),
        serde_json::json!(row.args).to_string().into(),
        i64::from(row.always_run).into(),
        row.timeout_ms.into(),
        i64::from(row.enabled).into(),
        i64::from(row.priority).into(),
        row.on_failure.clone().into(),
        (&row.condition).into(),
        row.revision.into(),
        row.created_at.into(),
        row.updated_at.into(),
    ]
}

fn read(row: &Cells) -> Result<HookRow> {
    Ok(HookRow {
        tenant: row.tenant(0)?,
        hook_id: row.id(1)?,
        name: row.text(2)?,
        trigger: row.text(3)?,
        command: row.text(4)?,
        args: super::list(&row.text(5)?)?,
        always_run: row.int(6)? != 0,
        timeout_ms: row.small(7)?,
        enabled: row.int(8)? != 0,
        priority: row.signed(9)?,
        on_failure: row.opt_text(10)?,
        condition: row.text(11)?,
        revision: row.unsigned(12)?,
        created_at: row.time(13)?,
        updated_at: row.time(14)?,
    })
}
