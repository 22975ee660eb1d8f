//! Groups into rows: a loop of prepared statements in one transaction.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, ffi};

use super::{classify, i64_of};
use crate::{
    error::StoreError,
    journal::{ExecutionInsert, ExecutionUpdate, ExecutionWrite, Group, Item, Outcome, Rejection, columns},
};

const LOG: &str = "INSERT INTO log (execution_id, first_seq, count, shard, pos, tenant, schema, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const INSERT: &str =
    "INSERT INTO executions (execution_id, tenant, workflow_id, workflow_name, workflow_version,
    shard, status, current_phase, priority, request_hash, started_at, wake_at, completed_at, allocated_agents,
    task_states, performance_metrics, correlation_id)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, coalesce(?14, '[]'), coalesce(?15, '{}'),
    coalesce(?16, '{}'), ?17) ON CONFLICT DO NOTHING";
const UPDATE: &str = "UPDATE executions SET status = ?2, current_phase = coalesce(?3, current_phase), wake_at = ?4,
    completed_at = ?5, allocated_agents = coalesce(?6, allocated_agents), task_states = coalesce(?7, task_states),
    performance_metrics = coalesce(?8, performance_metrics), stuck_reason = ?9, stuck_detail = ?10
    WHERE execution_id = ?1";
const SNAPSHOT: &str =
    "UPDATE executions SET snapshot_seq = ?2, snapshot_schema = ?3, snapshot = ?4 WHERE execution_id = ?1";
const TAKE: &str =
    "INSERT INTO exclusive (tenant, key, execution_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
const HOLDER: &str = "SELECT execution_id FROM exclusive WHERE tenant = ?1 AND key = ?2";
const RELEASE: &str = "DELETE FROM exclusive WHERE tenant = ?1 AND key = ?2 AND execution_id = ?3";
const DONE: &str = "DELETE FROM inbox WHERE shard = ?1 AND command_id = ?2";
const CHECKPOINT: &str = "INSERT INTO checkpoints (tenant, execution_id, checkpoint_id, seq, created_at,
    state_snapshot, recovery_instructions) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
const MEMBER: &str = "SELECT 1 FROM members WHERE id = ?1 AND incarnation = ?2";

type Outcomes = Result<Vec<Outcome>, StoreError>;

/// Why a transaction was given up.
enum Stop {
    /// The log has such a row already.
    Duplicate(StoreError),
    /// The database refuses something.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(err: rusqlite::Error) -> Self {
        Self::Sql(err)
    }
}

impl Stop {
    fn into_error(self) -> StoreError {
        match self {
            Self::Duplicate(err) => err,
            Self::Sql(err) => classify(err),
        }
    }
}

/// Writes all groups in one transaction; when the database refuses that, each group alone, and then each item of the
/// refused group alone, so that only the guilty one fails.
pub(crate) fn commit_groups(conn: &mut Connection, groups: &[Group]) -> Vec<Outcomes> {
    match transaction(conn, groups) {
        Ok(outcomes) => outcomes,
        Err(stop) => match stop.into_error() {
            fatal @ StoreError::Fatal(_) => groups.iter().map(|_| Err(fatal.clone())).collect(),
            _ if groups.len() > 1 => groups.iter().map(|group| commit_group(conn, group)).collect(),
            why => vec![item_by_item(conn, &groups[0], why)],
        },
    }
}

fn commit_group(conn: &mut Connection, group: &Group) -> Outcomes {
    match transaction(conn, std::slice::from_ref(group)) {
        Ok(mut outcomes) => outcomes.pop().unwrap_or_else(|| Ok(Vec::new())),
        Err(stop) => item_by_item(conn, group, stop.into_error()),
    }
}

fn item_by_item(conn: &mut Connection, group: &Group, why: StoreError) -> Outcomes {
    if why.ends_the_process() {
        return Err(why);
    }
    if group.items.len() == 1 {
        return Ok(vec![Outcome::Failed(why.to_string())]);
    }
    let mut outcomes = Vec::with_capacity(group.items.len());
    for item in &group.items {
        let alone = Group { by: group.by.clone(), shard: group.shard, items: vec![item.clone()] };
        outcomes.append(&mut commit_group(conn, &alone)?);
    }
    Ok(outcomes)
}

fn transaction(conn: &mut Connection, groups: &[Group]) -> Result<Vec<Outcomes>, Stop> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut outcomes = Vec::with_capacity(groups.len());
    for group in groups {
        outcomes.push(write_group(&tx, group)?);
    }
    tx.commit()?;
    Ok(outcomes)
}

fn write_group(tx: &Transaction<'_>, group: &Group) -> Result<Outcomes, Stop> {
    let mut member = tx.prepare_cached(MEMBER)?;
    if !member.exists((group.by.id.as_str(), i64_of(group.by.incarnation)))? {
        return Ok(Err(StoreError::Fenced));
    }
    group.items.iter().map(|item| write_item(tx, group.shard, item)).collect::<Result<_, _>>().map(Ok)
}

fn write_item(tx: &Transaction<'_>, shard: u16, item: &Item) -> Result<Outcome, Stop> {
    if let Err(why) = item.check(shard) {
        return Ok(Outcome::Failed(why));
    }
    match &item.write {
        Some(ExecutionWrite::Insert(insert)) => {
            if let Some(lost) = insert_execution(tx, shard, item, insert)? {
                return Ok(Outcome::Rejected(lost));
            }
        }
        Some(ExecutionWrite::Update(update)) => update_execution(tx, item, update)?,
        None => {}
    }
    if let Some(row) = &item.log {
        let written = tx.prepare_cached(LOG)?.execute((
            item.execution_id.as_bytes(),
            row.first_seq,
            row.count,
            shard,
            row.pos,
            item.tenant.as_str(),
            row.schema,
            &row.body[..],
        ));
        if let Err(err) = written {
            return Err(match is_duplicate(&err) {
                true => {
                    Stop::Duplicate(StoreError::two_owners(item.execution_id, row.first_seq, shard, row.pos))
                }
                false => Stop::Sql(err),
            });
        }
    }
    if let Some(checkpoint) = &item.checkpoint {
        tx.prepare_cached(CHECKPOINT)?.execute((
            item.tenant.as_str(),
            item.execution_id.as_bytes(),
            checkpoint.checkpoint_id.as_bytes(),
            checkpoint.seq,
            checkpoint.created_at.micros(),
            &checkpoint.state_snapshot,
            &checkpoint.recovery_instructions,
        ))?;
    }
    for command in &item.inbox_done {
        tx.prepare_cached(DONE)?.execute((shard, command.as_bytes()))?;
    }
    super::cuts::write(tx, shard, item)?;
    super::waits::write(tx, item)?;
    for row in &item.mail {
        super::mail::put(tx, row)?;
    }
    Ok(Outcome::Committed)
}

fn insert_execution(
    tx: &Transaction<'_>,
    shard: u16,
    item: &Item,
    insert: &ExecutionInsert,
) -> Result<Option<Rejection>, Stop> {
    let id = item.execution_id.as_bytes();
    let tenant = item.tenant.as_str();
    let written = tx.prepare_cached(INSERT)?.execute(rusqlite::params![
        id,
        tenant,
        insert.workflow_id.as_bytes(),
        insert.workflow_name,
        insert.workflow_version,
        shard,
        insert.status,
        insert.current_phase,
        insert.priority,
        insert.request_hash,
        insert.started_at.micros(),
        columns::wake_column(insert.wake),
        insert.completed_at.map(|at| at.micros()),
        insert.summary.allocated_agents,
        insert.summary.task_states,
        insert.summary.performance_metrics,
        insert.correlation_id,
    ])?;
    if written == 0 {
        return Ok(Some(Rejection::StartKeyTaken));
    }
    let Some(key) = &insert.exclusive else { return Ok(None) };
    if tx.prepare_cached(TAKE)?.execute((tenant, key, id))? == 1 {
        return Ok(None);
    }
    // The row of the execution goes again: a rejected item writes nothing.
    tx.prepare_cached("DELETE FROM executions WHERE execution_id = ?1")?.execute([id])?;
    let by =
        tx.prepare_cached(HOLDER)?.query_row((tenant, key), |row| columns::execution_id(row)).optional()?;
    Ok(Some(Rejection::ExclusiveTaken { by }))
}

fn update_execution(tx: &Transaction<'_>, item: &Item, update: &ExecutionUpdate) -> Result<(), Stop> {
    let id = item.execution_id.as_bytes();
    tx.prepare_cached(UPDATE)?.execute((
        id,
        &update.status,
        &update.current_phase,
        columns::wake_column(update.wake),
        update.completed_at.map(|at| at.micros()),
        &update.summary.allocated_agents,
        &update.summary.task_states,
        &update.summary.performance_metrics,
        update.stuck.as_ref().map(|s| &s.reason),
        update.stuck.as_ref().map(|s| &s.detail),
    ))?;
    if let Some(snapshot) = &update.snapshot {
        tx.prepare_cached(SNAPSHOT)?.execute((id, snapshot.seq, snapshot.schema, &snapshot.body[..]))?;
    }
    if let Some(key) = &update.release_exclusive {
        tx.prepare_cached(RELEASE)?.execute((item.tenant.as_str(), key, id))?;
    }
    Ok(())
}

fn is_duplicate(err: &rusqlite::Error) -> bool {
    const UNIQUE: [i32; 3] =
        [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CONSTRAINT_PRIMARYKEY, ffi::SQLITE_CONSTRAINT_ROWID];
    err.sqlite_error().is_some_and(|cause| UNIQUE.contains(&cause.extended_code))
}
