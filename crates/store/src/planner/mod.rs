//! The planner's tables: workflows and their immutable versions, patterns of users.

mod patterns;

use base::{Tenant, Timestamp, WorkflowId};

use crate::{
    database::{Database, DatabaseOptions},
    db::{Db, Row, Tx, Value},
    error::{OpenError, StoreError},
    journal::{PAGE_MAX, Result},
    migrate,
};

pub use patterns::{DeletePatternError, PatternUse, PutPatternError, StoredPattern};

/// The planner's store.
#[derive(Clone, Debug)]
pub struct PlannerStore {
    db: Db,
}

/// A version of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowVersion {
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// Its tenant.
    pub tenant: Tenant,
    /// Its name.
    pub name: String,
    /// The version.
    pub version: String,
    /// Who decides in it.
    pub orchestration_pattern: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Number of tasks.
    pub tasks: u32,
    /// Hash of the canonical definition.
    pub content_hash: String,
    /// The dialect it was written in.
    pub dialect: String,
    /// `yaml` or `json`.
    pub format: String,
    /// The text as it was given.
    pub source: String,
    /// The canonical definition, JSON.
    pub definition: String,
    /// The compiled plan, JSON.
    pub plan: String,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When the workflow got its newest version.
    pub updated_at: Timestamp,
}

/// Which workflows to list. Fields combine with AND; `None` = any.
#[derive(Clone, Debug, Default)]
pub struct WorkflowFilter {
    /// Only of this tenant.
    pub tenant: Tenant,
    /// Only names that begin like this.
    pub name_prefix: Option<String>,
    /// Only with this pattern.
    pub orchestration_pattern: Option<String>,
    /// Only with this tag.
    pub tag: Option<String>,
}

/// A version that was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutVersionError {
    /// The same name and version exist with another content; versions are immutable.
    #[error("version {version} exists with another content: give the new content another version")]
    Conflict {
        /// The version.
        version: String,
        /// Hash of what is stored.
        stored_hash: String,
    },
    /// A tag holds a line break.
    #[error("tag {0:?} holds a line break")]
    BadTag(String),
    /// It was expanded with a pattern that was deleted meanwhile.
    #[error("pattern {0} was deleted meanwhile")]
    PatternGone(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const COLUMNS: &str = "v.workflow_id, v.tenant, v.name, v.version, v.orchestration_pattern, v.tags, v.tasks,
    v.content_hash, v.dialect, v.format, v.source, v.definition::text, v.plan, v.created_at, v.updated_at";

impl PlannerStore {
    /// Opens the database and brings its schema up to date.
    pub async fn open(
        database: &Database,
        options: &DatabaseOptions,
    ) -> std::result::Result<Self, OpenError> {
        Ok(Self { db: Db::open(database, &migrate::PLANNER, options).await? })
    }

    /// The database: ping and close.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Stores a version that was expanded with `uses`, which becomes the newest. `false` when the same content is there
    /// already: nothing changes.
    pub async fn put_version(
        &self,
        new: &WorkflowVersion,
        uses: &[PatternUse],
    ) -> std::result::Result<bool, PutVersionError> {
        if let Some(bad) = new.tags.iter().find(|tag| tag.contains('\n')) {
            return Err(PutVersionError::BadTag(bad.clone()));
        }
        let mut tx = self.db.begin().await?;
        // The row of the workflow first: writers of its versions wait for each other here.
        let seq = next_seq(&mut tx, new).await?;
        let sql = "SELECT content_hash FROM workflow_versions WHERE workflow_id = $1 AND version = $2";
        let stored = tx.read(sql, vec![new.workflow_id.uuid().into(), (&new.version).into()]).await?;
        if let Some(row) = stored.first() {
            let stored_hash: String = row.get(0)?;
            return match stored_hash == new.content_hash {
                true => Ok(false),
                false => Err(PutVersionError::Conflict { version: new.version.clone(), stored_hash }),
            };
        }
        insert(&mut tx, new, seq).await?;
        let (tenant, of) = (&new.tenant, (new.name.as_str(), new.version.as_str()));
        if let Some(gone) = patterns::put_uses(&mut tx, tenant, "workflow", of, uses).await? {
            return Err(PutVersionError::PatternGone(gone));
        }
        tx.commit().await?;
        Ok(true)
    }

    /// A version of a workflow, or its newest.
    pub async fn get_version(
        &self,
        tenant: &Tenant,
        workflow: WorkflowId,
        version: Option<&str>,
    ) -> Result<Option<WorkflowVersion>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM workflows AS w
             JOIN workflow_versions AS v ON v.workflow_id = w.workflow_id
                 AND v.version = coalesce($3::text, w.latest_version)
             WHERE w.workflow_id = $1 AND w.tenant = $2"
        );
        let version: Value = version.map(str::to_owned).into();
        let rows = self.db.read(&sql, vec![workflow.uuid().into(), tenant.into(), version]).await?;
        rows.first().map(read_version).transpose()
    }

    /// Version, hash of the content and time of creation of a version or of the newest: what tells whether a plan is still
    /// the one that is known, without reading it.
    pub async fn get_edition(
        &self,
        tenant: &Tenant,
        workflow: WorkflowId,
        version: Option<&str>,
    ) -> Result<Option<(String, String, Timestamp)>> {
        let sql = "SELECT v.version, v.content_hash, v.created_at FROM workflows AS w
             JOIN workflow_versions AS v ON v.workflow_id = w.workflow_id
                 AND v.version = coalesce($3::text, w.latest_version)
             WHERE w.workflow_id = $1 AND w.tenant = $2";
        let version: Value = version.map(str::to_owned).into();
        let rows = self.db.read(sql, vec![workflow.uuid().into(), tenant.into(), version]).await?;
        rows.first().map(|row| Ok((row.get(0)?, row.get(1)?, row.time(2)?))).transpose()
    }

    /// The versions of a workflow, newest first, at most 1,000.
    pub async fn list_versions(&self, tenant: &Tenant, workflow: WorkflowId) -> Result<Vec<String>> {
        let sql = "SELECT version FROM workflow_versions WHERE workflow_id = $1 AND tenant = $2
            ORDER BY seq DESC LIMIT 1000";
        let rows = self.db.read(sql, vec![workflow.uuid().into(), tenant.into()]).await?;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The newest version of every workflow that fits, by name, after `after`, at most `limit`.
    pub async fn list_workflows(
        &self,
        filter: &WorkflowFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<WorkflowVersion>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM workflows AS w
             JOIN workflow_versions AS v ON v.workflow_id = w.workflow_id AND v.version = w.latest_version
             WHERE w.tenant = $1 AND w.name > $2
                 AND ($3::text IS NULL OR substr(w.name, 1, length($3::text)) = $3::text)
                 AND ($4::text IS NULL OR v.orchestration_pattern = $4::text)
                 AND ($5::text IS NULL OR strpos(v.tags, $5::text) > 0)
             ORDER BY w.name LIMIT $6"
        );
        let tag = filter.tag.as_ref().map(|tag| format!("\n{tag}\n"));
        let values: Vec<Value> = vec![
            (&filter.tenant).into(),
            after.unwrap_or_default().into(),
            filter.name_prefix.clone().into(),
            filter.orchestration_pattern.clone().into(),
            tag.into(),
            limit.min(PAGE_MAX).into(),
        ];
        self.db.read(&sql, values).await?.iter().map(read_version).collect()
    }

    /// Names what is stored: changes whenever a version comes or goes.
    pub async fn state(&self) -> Result<String> {
        let sql = "SELECT count(*), coalesce(sum(last_seq), 0)::bigint, coalesce(max(updated_at), 0) FROM workflows";
        let versions = "SELECT count(*) FROM workflow_versions";
        let (rows, versions) =
            (self.db.read(sql, Vec::new()).await?, self.db.read(versions, Vec::new()).await?);
        let (Some(row), Some(versions)) = (rows.first(), versions.first()) else { return Ok(String::new()) };
        let numbers = [row.get::<i64>(0)?, row.get(1)?, row.get(2)?, versions.get(0)?];
        Ok(numbers.map(|n| n.to_string()).join("."))
    }

    /// The newest version of every workflow, of all tenants, whose plan has triggers: tenant, name, version, plan.
    pub async fn with_triggers(&self) -> Result<Vec<(Tenant, String, String, String)>> {
        let sql = "SELECT v.tenant, v.name, v.version, v.plan FROM workflows AS w
            JOIN workflow_versions AS v ON v.workflow_id = w.workflow_id AND v.version = w.latest_version
            WHERE strpos(v.plan, '\"triggers\":[{') > 0 ORDER BY v.tenant, v.name";
        let rows = self.db.read(sql, Vec::new()).await?;
        rows.iter().map(|row| Ok((row.tenant(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).collect()
    }

    /// Deletes one version, or the workflow with all of them; says how many versions went.
    pub async fn delete(&self, tenant: &Tenant, workflow: WorkflowId, version: Option<&str>) -> Result<u64> {
        let mut tx = self.db.begin().await?;
        let id = workflow.uuid();
        // Locks the workflow against a version that is being stored.
        let lock =
            "UPDATE workflows SET last_seq = last_seq WHERE workflow_id = $1 AND tenant = $2 RETURNING name";
        let locked = tx.read(lock, vec![id.into(), tenant.into()]).await?;
        let Some(row) = locked.first() else { return Ok(0) };
        patterns::drop_uses(&mut tx, tenant, &row.get::<String>(0)?, version).await?;
        let sql = "DELETE FROM workflow_versions WHERE workflow_id = $1 AND ($2::text IS NULL OR version = $2::text)";
        let one: Value = version.map(str::to_owned).into();
        let deleted = tx.write(sql, vec![id.into(), one]).await?;
        let newest = "SELECT version FROM workflow_versions WHERE workflow_id = $1 ORDER BY seq DESC LIMIT 1";
        match tx.read(newest, vec![id.into()]).await?.first() {
            Some(row) => {
                let latest: String = row.get(0)?;
                let sql = "UPDATE workflows SET latest_version = $2 WHERE workflow_id = $1";
                tx.write(sql, vec![id.into(), latest.into()]).await?;
            }
            None => {
                tx.write("DELETE FROM workflows WHERE workflow_id = $1", vec![id.into()]).await?;
            }
        }
        tx.commit().await?;
        Ok(deleted)
    }
}

async fn next_seq(tx: &mut Tx, new: &WorkflowVersion) -> Result<i64> {
    let sql =
        "INSERT INTO workflows (workflow_id, tenant, name, latest_version, last_seq, created_at, updated_at)
        VALUES ($1, $2, $3, $4, 1, $5, $5)
        ON CONFLICT (workflow_id) DO UPDATE SET last_seq = workflows.last_seq + 1,
            latest_version = excluded.latest_version, updated_at = excluded.updated_at
        RETURNING last_seq";
    let values = vec![
        new.workflow_id.uuid().into(),
        (&new.tenant).into(),
        (&new.name).into(),
        (&new.version).into(),
        new.created_at.into(),
    ];
    tx.read(sql, values).await?.first().map_or(Ok(1), |row| row.get(0))
}

async fn insert(tx: &mut Tx, new: &WorkflowVersion, seq: i64) -> Result<()> {
    let sql =
        "INSERT INTO workflow_versions (workflow_id, version, tenant, name, seq, orchestration_pattern, tags,
            tasks, content_hash, dialect, format, source, definition, plan, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::jsonb, $14, $15, $16)";
    let tags = match new.tags.as_slice() {
        [] => String::new(),
        tags => format!("\n{}\n", tags.join("\n")),
    };
    let values = vec![
        new.workflow_id.uuid().into(),
        (&new.version).into(),
        (&new.tenant).into(),
        (&new.name).into(),
        seq.into(),
        (&new.orchestration_pattern).into(),
        tags.into(),
        new.tasks.into(),
        (&new.content_hash).into(),
        (&new.dialect).into(),
        (&new.format).into(),
        (&new.source).into(),
        (&new.definition).into(),
        (&new.plan).into(),
        new.created_at.into(),
        new.updated_at.into(),
    ];
    tx.write(sql, values).await.map(drop)
}

fn read_version(row: &Row) -> Result<WorkflowVersion> {
    let tags: String = row.get(5)?;
    Ok(WorkflowVersion {
        workflow_id: WorkflowId::new(row.get(0)?),
        tenant: row.tenant(1)?,
        name: row.get(2)?,
        version: row.get(3)?,
        orchestration_pattern: row.get(4)?,
        tags: tags.lines().filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        tasks: row.small(6)?,
        content_hash: row.get(7)?,
        dialect: row.get(8)?,
        format: row.get(9)?,
        source: row.get(10)?,
        definition: row.get(11)?,
        plan: row.get(12)?,
        created_at: row.time(13)?,
        updated_at: row.time(14)?,
    })
}
