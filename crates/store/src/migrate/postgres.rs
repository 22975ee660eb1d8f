//! The runner for PostgreSQL. An advisory lock makes replicas that start together take turns.

use sqlx::{Connection, PgConnection, Row};

use super::{Applied, Schema, checksum};
use crate::error::OpenError;

/// Serialises all migrations of one database. Any fixed number does.
const LOCK: i64 = 0x6f72_6368_6573_7472;

/// Brings the schema up to date over a connection whose search path names it; running it again changes nothing.
pub(crate) async fn migrate(conn: &mut PgConnection, schema: &Schema) -> Result<(), OpenError> {
    let failed = |err: sqlx::Error| OpenError::Failed {
        what: format!("the {} schema", schema.name),
        why: err.to_string(),
    };
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut *conn).await.map_err(failed)?;
    let result = locked(conn, schema).await;
    // The lock goes with the connection in any case.
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK).execute(&mut *conn).await.map_err(failed)?;
    result
}

async fn locked(conn: &mut PgConnection, schema: &Schema) -> Result<(), OpenError> {
    let failed = |err: sqlx::Error| OpenError::Failed {
        what: format!("the {} schema", schema.name),
        why: err.to_string(),
    };
    let applied = applied(conn, schema).await.map_err(failed)?;
    for migration in schema.missing(&applied, |m| m.postgres)? {
        let mut tx = conn.begin().await.map_err(failed)?;
        sqlx::raw_sql(migration.postgres).execute(&mut *tx).await.map_err(failed)?;
        sqlx::query("INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)")
            .bind(migration.version as i32)
            .bind(migration.name)
            .bind(checksum(migration.postgres))
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
    }
    Ok(())
}

async fn applied(conn: &mut PgConnection, schema: &Schema) -> sqlx::Result<Vec<Applied>> {
    let table = format!("{}.schema_migrations", schema.name);
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(&table).fetch_one(&mut *conn).await?;
    // Only a first start needs the right to create a schema.
    if !there {
        let create = format!(
            "CREATE SCHEMA IF NOT EXISTS {0};
             CREATE TABLE {0}.schema_migrations (version integer PRIMARY KEY, name text NOT NULL,
                 checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
            schema.name
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut *conn).await?;
    }
    let rows = sqlx::query("SELECT version, checksum FROM schema_migrations ORDER BY version")
        .fetch_all(&mut *conn)
        .await?;
    rows.iter()
        .map(|row| {
            let version: i32 = row.try_get(0)?;
            Ok(Applied { version: version.unsigned_abs(), checksum: row.try_get(1)? })
        })
        .collect()
}
