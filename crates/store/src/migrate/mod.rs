//! Migrations: plain SQL per backend, applied in order, each once, never changed afterwards.

mod postgres;
mod sqlite;

use crate::error::OpenError;

pub(crate) use postgres::migrate as migrate_postgres;
pub(crate) use sqlite::migrate as migrate_sqlite;

/// One step of a schema's history.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Number, from 1, without gaps.
    pub version: u32,
    /// For people.
    pub name: &'static str,
    /// Statements for SQLite.
    pub sqlite: &'static str,
    /// Statements for PostgreSQL; names are not qualified.
    pub postgres: &'static str,
}

/// The schema of one service: a file on SQLite, a schema of this name on PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// Its name.
    pub name: &'static str,
    /// Its history, oldest first.
    pub migrations: &'static [Migration],
}

macro_rules! migration {
    ($schema:literal, $version:literal, $name:literal) => {
        Migration {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("../../migrations/", $schema, "/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../../migrations/", $schema, "/postgres/", $name, ".sql")),
        }
    };
}

/// The executor's schema.
pub const EXECUTOR: Schema = Schema {
    name: "executor",
    migrations: &[
        migration!("executor", 1, "0001_journal"),
        migration!("executor", 2, "0002_cuts"),
        migration!("executor", 3, "0003_topics"),
        migration!("executor", 4, "0004_hooks"),
        migration!("executor", 5, "0005_sessions"),
        migration!("executor", 6, "0006_budgets"),
        migration!("executor", 7, "0007_correlation"),
        migration!("executor", 8, "0008_stuck"),
        migration!("executor", 9, "0009_asked"),
        migration!("executor", 10, "0010_counted"),
    ],
};

/// The registry's schema.
pub const REGISTRY: Schema = Schema {
    name: "registry",
    migrations: &[migration!("registry", 1, "0001_agents"), migration!("registry", 2, "0002_events")],
};

/// The planner's schema.
pub const PLANNER: Schema = Schema {
    name: "planner",
    migrations: &[migration!("planner", 1, "0001_workflows"), migration!("planner", 2, "0002_patterns")],
};

/// A row of the table of applied migrations.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) version: u32,
    pub(crate) checksum: String,
}

pub(crate) fn checksum(sql: &str) -> String {
    blake3::hash(sql.as_bytes()).to_hex().to_string()
}

impl Schema {
    /// The migrations that are missing after `applied`.
    pub(crate) fn missing(
        &self,
        applied: &[Applied],
        sql: fn(&Migration) -> &'static str,
    ) -> Result<&'static [Migration], OpenError> {
        let known = self.migrations.last().map_or(0, |m| m.version);
        if let Some(newest) = applied.iter().map(|a| a.version).max().filter(|v| *v > known) {
            return Err(OpenError::NewerSchema { schema: self.name, found: newest, known });
        }
        let mut done = 0;
        for migration in self.migrations {
            let Some(row) = applied.iter().find(|a| a.version == migration.version) else { break };
            if row.checksum != checksum(sql(migration)) {
                return Err(OpenError::ChangedMigration { schema: self.name, version: migration.version });
            }
            done += 1;
        }
        Ok(&self.migrations[done..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(version: u32, sql: &str) -> Applied {
        Applied { version, checksum: checksum(sql) }
    }

    #[test]
    fn only_what_is_missing_is_applied() {
        let sql = EXECUTOR.migrations[0].sqlite;
        let missing = |rows: &[Applied]| EXECUTOR.missing(rows, |m| m.sqlite).map(<[Migration]>::len);
        let count = EXECUTOR.migrations.len();
        assert_eq!(missing(&[]).unwrap(), count);
        assert_eq!(missing(&[applied(1, sql)]).unwrap(), count - 1);
        assert!(matches!(
            missing(&[applied(1, "other")]),
            Err(OpenError::ChangedMigration { version: 1, .. })
        ));
        let newer = [applied(1, sql), applied(99, "x")];
        assert!(matches!(missing(&newer), Err(OpenError::NewerSchema { found: 99, .. })));
    }

    /// What they ask stands in their log alone.
    #[test]
    fn executions_that_may_ask_for_approvals_and_are_not_in_memory_are_due_after_the_step_that_lists_approvals()
     {
        let mut conn = rusqlite::Connection::open_in_memory().unwrap();
        migrate_sqlite(&mut conn, &Schema { migrations: &EXECUTOR.migrations[..8], ..EXECUTOR }).unwrap();
        // Each: parked until, ended, why it stands still; whether it is due then.
        let rows = [
            (Some(i64::MAX), None, Some("approval"), true),
            (Some(i64::MAX), None, Some("paused"), true),
            (Some(77), None, None, true),
            (Some(i64::MAX), None, Some("signal"), false),
            (None, None, Some("approval"), false),
            (Some(77), Some(5), None, false),
        ];
        for (n, (wake_at, completed_at, stuck, _)) in rows.iter().enumerate() {
            conn.execute(
                "INSERT INTO executions (execution_id, tenant, workflow_id, workflow_name, workflow_version, shard,
                    status, current_phase, priority, started_at, wake_at, completed_at, stuck_reason)
                VALUES (?1, 't', x'00', 'w', '1', 0, 'executing', '', 0, ?2, ?3, ?4, ?5)",
                ([n as u8], n as i64, wake_at, completed_at, stuck),
            )
            .unwrap();
        }
        migrate_sqlite(&mut conn, &EXECUTOR).unwrap();
        let sql = "SELECT coalesce(wake_at = 0, 0) FROM executions ORDER BY started_at";
        let mut due = conn.prepare(sql).unwrap();
        let due: Vec<bool> = due.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(due, rows.map(|(.., due)| due));
    }
}
