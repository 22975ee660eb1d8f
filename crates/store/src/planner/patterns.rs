//! Patterns of users: immutable versions, and who was expanded with which.

use base::{Tenant, Timestamp};

use super::PlannerStore;
use crate::{
    db::{Row, Tx, Value},
    error::StoreError,
    journal::Result,
};

/// A version of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPattern {
    /// Its tenant.
    pub tenant: Tenant,
    /// Its name.
    pub name: String,
    /// The version.
    pub version: String,
    /// Hash of the text.
    pub content_hash: String,
    /// The text as it was given.
    pub source: String,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// A pattern that something was expanded with. Ordered, so that writers lock in one order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatternUse {
    /// The pattern.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A pattern that was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutPatternError {
    /// The version exists with another text; versions are immutable.
    #[error("version {version} exists with another content: give the new content another version")]
    Conflict {
        /// The version.
        version: String,
    },
    /// It is built from a pattern that was deleted meanwhile.
    #[error("pattern {0} was deleted meanwhile")]
    Gone(String),
    /// The tenant has as many versions as it may have.
    #[error("there are {0} versions of patterns already")]
    Full(u32),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A pattern that was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeletePatternError {
    /// Stored versions were expanded with it.
    #[error("it is used")]
    Used {
        /// Some of them, `workflow name@version` or `pattern name@version`.
        by: Vec<String>,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Most users that a refusal names.
const USERS_MAX: u32 = 10;

impl PlannerStore {
    /// Stores a version of a pattern that is built from `uses`. `false` when the same text is there already. A tenant
    /// has at most `versions_max` versions of all its patterns.
    pub async fn put_pattern(
        &self,
        new: &StoredPattern,
        uses: &[PatternUse],
        versions_max: u32,
    ) -> std::result::Result<bool, PutPatternError> {
        let mut tx = self.db.begin().await?;
        let insert = "INSERT INTO patterns (tenant, name, version, content_hash, source, seq, created_at)
            VALUES ($1, $2, $3, $4, $5, 1, $6) ON CONFLICT (tenant, name, version) DO NOTHING";
        let values: Vec<Value> = vec![
            (&new.tenant).into(),
            (&new.name).into(),
            (&new.version).into(),
            (&new.content_hash).into(),
            (&new.source).into(),
            new.created_at.into(),
        ];
        if tx.write(insert, values).await? == 0 {
            let sql = "SELECT content_hash FROM patterns WHERE tenant = $1 AND name = $2 AND version = $3";
            let key: Vec<Value> = vec![(&new.tenant).into(), (&new.name).into(), (&new.version).into()];
            let stored = tx.read(sql, key).await?;
            let hash: Option<String> = stored.first().map(|row| row.get(0)).transpose()?;
            return match hash.as_deref() == Some(&new.content_hash) {
                true => Ok(false),
                false => Err(PutPatternError::Conflict { version: new.version.clone() }),
            };
        }
        let count =
            tx.read("SELECT count(*) FROM patterns WHERE tenant = $1", vec![(&new.tenant).into()]).await?;
        let count: i64 = count.first().map_or(Ok(0), |row| row.get(0))?;
        if count > i64::from(versions_max) {
            return Err(PutPatternError::Full(versions_max));
        }
        if let Some(gone) = put_uses(&mut tx, &new.tenant, "pattern", (&new.name, &new.version), uses).await?
        {
            return Err(PutPatternError::Gone(gone));
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Name, version and content hash of every pattern of a tenant.
    pub async fn list_patterns(&self, tenant: &Tenant) -> Result<Vec<(PatternUse, String)>> {
        let sql =
            "SELECT name, version, content_hash FROM patterns WHERE tenant = $1 ORDER BY name, created_at";
        let rows = self.db.read(sql, vec![tenant.into()]).await?;
        rows.iter().map(|row| Ok((read_use(row)?, row.get(2)?))).collect()
    }

    /// One version of a pattern.
    pub async fn get_pattern(
        &self,
        tenant: &Tenant,
        name: &str,
        version: &str,
    ) -> Result<Option<StoredPattern>> {
        let sql = "SELECT tenant, name, version, content_hash, source, created_at FROM patterns
            WHERE tenant = $1 AND name = $2 AND version = $3";
        let rows = self.db.read(sql, vec![tenant.into(), name.into(), version.into()]).await?;
        let read = |row: &Row| {
            Ok(StoredPattern {
                tenant: row.tenant(0)?,
                name: row.get(1)?,
                version: row.get(2)?,
                content_hash: row.get(3)?,
                source: row.get(4)?,
                created_at: row.time(5)?,
            })
        };
        rows.first().map(read).transpose()
    }

    /// Deletes one version, or all of a name; says how many went. Refused while anything stored was expanded with it.
    pub async fn delete_pattern(
        &self,
        tenant: &Tenant,
        name: &str,
        version: Option<&str>,
    ) -> std::result::Result<u64, DeletePatternError> {
        let mut tx = self.db.begin().await?;
        let one: Value = version.map(str::to_owned).into();
        let named = || -> Vec<Value> { vec![tenant.into(), name.into(), one.clone()] };
        // Locks the rows against what is being stored with them.
        let which = "tenant = $1 AND name = $2 AND ($3::text IS NULL OR version = $3::text)";
        if tx.write(&format!("UPDATE patterns SET seq = seq WHERE {which}"), named()).await? == 0 {
            return Ok(0);
        }
        let sql = format!(
            "SELECT kind, name, version FROM pattern_uses
             WHERE tenant = $1 AND pattern = $2 AND ($3::text IS NULL OR pattern_version = $3::text)
             ORDER BY kind DESC, name, version LIMIT {USERS_MAX}"
        );
        let users = tx.read(&sql, named()).await?;
        if !users.is_empty() {
            let said = |row: &Row| -> Result<String> {
                Ok(format!("{} {}@{}", row.get::<String>(0)?, row.get::<String>(1)?, row.get::<String>(2)?))
            };
            return Err(DeletePatternError::Used { by: users.iter().map(said).collect::<Result<_>>()? });
        }
        let own = "DELETE FROM pattern_uses WHERE tenant = $1 AND kind = 'pattern' AND name = $2
            AND ($3::text IS NULL OR version = $3::text)";
        tx.write(own, named()).await?;
        let deleted = tx.write(&format!("DELETE FROM patterns WHERE {which}"), named()).await?;
        tx.commit().await?;
        Ok(deleted)
    }

    /// The patterns that a stored version of the workflow called `name` was expanded with.
    pub async fn patterns_of(&self, tenant: &Tenant, name: &str, version: &str) -> Result<Vec<PatternUse>> {
        let sql = "SELECT pattern, pattern_version FROM pattern_uses
            WHERE tenant = $1 AND kind = 'workflow' AND name = $2 AND version = $3";
        let rows = self.db.read(sql, vec![tenant.into(), name.into(), version.into()]).await?;
        rows.iter().map(read_use).collect()
    }
}

fn read_use(row: &Row) -> Result<PatternUse> {
    Ok(PatternUse { name: row.get(0)?, version: row.get(1)? })
}

/// Writes down what `(name, version)` was expanded with. Names the first pattern that is not there any more.
pub(super) async fn put_uses(
    tx: &mut Tx,
    tenant: &Tenant,
    kind: &str,
    (name, version): (&str, &str),
    uses: &[PatternUse],
) -> Result<Option<String>> {
    for used in uses {
        let lock = "UPDATE patterns SET seq = seq WHERE tenant = $1 AND name = $2 AND version = $3";
        let key: Vec<Value> = vec![tenant.into(), (&used.name).into(), (&used.version).into()];
        if tx.write(lock, key.clone()).await? == 0 {
            return Ok(Some(format!("{}@{}", used.name, used.version)));
        }
        let insert = "INSERT INTO pattern_uses (tenant, pattern, pattern_version, kind, name, version)
            VALUES ($1, $2, $3, $4, $5, $6)";
        let values = key.into_iter().chain([kind.into(), name.into(), version.into()]).collect();
        tx.write(insert, values).await?;
    }
    Ok(None)
}

/// Forgets what deleted versions of a workflow were expanded with; `None` = all of its versions.
pub(super) async fn drop_uses(tx: &mut Tx, tenant: &Tenant, name: &str, version: Option<&str>) -> Result<()> {
    let sql = "DELETE FROM pattern_uses WHERE tenant = $1 AND kind = 'workflow' AND name = $2
        AND ($3::text IS NULL OR version = $3::text)";
    let one: Value = version.map(str::to_owned).into();
    tx.write(sql, vec![tenant.into(), name.into(), one]).await.map(drop)
}
