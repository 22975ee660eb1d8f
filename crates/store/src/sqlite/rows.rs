//! Rows into values.

use base::{BadId, CheckpointId, ExecutionId, Tenant, Timestamp, WorkflowId};
use bytes::Bytes;
use rusqlite::{Error, Result, Row, types::Type};
use uuid::Uuid;

use super::{id_column, wake_of};
use crate::journal::{
    CheckpointRow, CutRow, CutWrite, DeadLetter, ExecutionRow, InboxRow, LetterState, LogEntry, LogRow,
    MemberId, MemberRow, PayloadRow, ShardPos,
};

fn bad(column: usize, err: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, Box::new(err))
}

fn tenant(row: &Row<'_>, column: usize) -> Result<Tenant> {
    Tenant::new(row.get_ref(column)?.as_str()?).map_err(|err| bad(column, err))
}

fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    row.get(column).map(Timestamp::from_micros)
}

fn body(row: &Row<'_>, column: usize) -> Result<Bytes> {
    Ok(Bytes::copy_from_slice(row.get_ref(column)?.as_blob()?))
}

fn uuid(row: &Row<'_>, column: usize) -> Result<Uuid> {
    Uuid::from_slice(row.get_ref(column)?.as_blob()?).map_err(|err| bad(column, err))
}

fn unsigned(row: &Row<'_>, column: usize) -> Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|err| bad(column, err))
}

pub(crate) fn execution_id(row: &Row<'_>) -> Result<ExecutionId> {
    id_column(row, 0, ExecutionId::from_slice)
}

/// execution_id, first_seq, count, shard, pos, tenant, schema, body
pub(crate) fn log_entry(row: &Row<'_>) -> Result<LogEntry> {
    Ok(LogEntry {
        execution_id: execution_id(row)?,
        tenant: tenant(row, 5)?,
        shard: row.get(3)?,
        row: LogRow {
            first_seq: row.get(1)?,
            count: row.get(2)?,
            pos: row.get(4)?,
            schema: row.get(6)?,
            body: body(row, 7)?,
        },
    })
}

/// The columns of the list query.
pub(crate) fn execution(row: &Row<'_>) -> Result<ExecutionRow> {
    Ok(ExecutionRow {
        execution_id: execution_id(row)?,
        tenant: tenant(row, 1)?,
        workflow_id: id_column(row, 2, WorkflowId::from_slice)?,
        workflow_name: row.get(3)?,
        workflow_version: row.get(4)?,
        shard: row.get(5)?,
        status: row.get(6)?,
        current_phase: row.get(7)?,
        priority: row.get(8)?,
        request_hash: row.get(9)?,
        started_at: time(row, 10)?,
        wake: wake_of(row.get(11)?),
        completed_at: row.get::<_, Option<i64>>(12)?.map(Timestamp::from_micros),
        allocated_agents: row.get(13)?,
        task_states: row.get(14)?,
        performance_metrics: row.get(15)?,
    })
}

/// execution_id, checkpoint_id, seq, created_at, state_snapshot, recovery_instructions
pub(crate) fn checkpoint(row: &Row<'_>) -> Result<CheckpointRow> {
    Ok(CheckpointRow {
        execution_id: execution_id(row)?,
        checkpoint_id: id_column(row, 1, CheckpointId::from_slice)?,
        seq: row.get(2)?,
        created_at: time(row, 3)?,
        state_snapshot: row.get(4)?,
        recovery_instructions: row.get(5)?,
    })
}

/// tenant, execution_id, hash, media_type, body
pub(crate) fn payload(row: &Row<'_>) -> Result<PayloadRow> {
    Ok(PayloadRow {
        tenant: tenant(row, 0)?,
        execution_id: id_column(row, 1, ExecutionId::from_slice)?,
        hash: row.get(2)?,
        media_type: row.get(3)?,
        body: body(row, 4)?,
    })
}

pub(crate) fn member_id(row: &Row<'_>, column: usize) -> Result<MemberId> {
    let read = |text: &str| MemberId::new(text).map_err(|err: BadId| bad(column, err));
    read(row.get_ref(column)?.as_str()?)
}

/// id, incarnation, address, expires_at, reads_up_to, region, cluster
pub(crate) fn member(row: &Row<'_>, now: Timestamp) -> Result<MemberRow> {
    let expires_at = time(row, 3)?;
    Ok(MemberRow {
        id: member_id(row, 0)?,
        incarnation: unsigned(row, 1)?,
        address: row.get(2)?,
        expires_at,
        alive: expires_at > now,
        reads_up_to: row.get(4)?,
        region: row.get(5)?,
        cluster: row.get(6)?,
    })
}

/// shard, command_id, tenant, execution_id, kind, body, created_at
pub(crate) fn inbox(row: &Row<'_>) -> Result<InboxRow> {
    Ok(InboxRow {
        shard: row.get(0)?,
        command_id: uuid(row, 1)?,
        tenant: tenant(row, 2)?,
        execution_id: id_column(row, 3, ExecutionId::from_slice)?,
        kind: row.get(4)?,
        body: body(row, 5)?,
        created_at: time(row, 6)?,
    })
}

/// shard, call, tenant, execution_id, instance, agent_task_id, cut_at
pub(crate) fn cut(row: &Row<'_>) -> Result<CutRow> {
    Ok(CutRow {
        shard: row.get(0)?,
        tenant: tenant(row, 2)?,
        execution_id: id_column(row, 3, ExecutionId::from_slice)?,
        cut: CutWrite {
            call: uuid(row, 1)?,
            instance: row.get(4)?,
            agent_task_id: row.get(5)?,
            cut_at: time(row, 6)?,
        },
    })
}

/// shard, incarnation, pos
pub(crate) fn shard_pos(row: &Row<'_>) -> Result<ShardPos> {
    Ok(ShardPos { shard: row.get(0)?, incarnation: unsigned(row, 1)?, pos: row.get(2)? })
}

/// tenant, id, stream, consumer, reason, body, deliveries, created_at, state
pub(crate) fn dead_letter(row: &Row<'_>) -> Result<DeadLetter> {
    let state: String = row.get(8)?;
    Ok(DeadLetter {
        tenant: tenant(row, 0)?,
        id: uuid(row, 1)?,
        stream: row.get(2)?,
        consumer: row.get(3)?,
        reason: row.get(4)?,
        body: body(row, 5)?,
        deliveries: row.get(6)?,
        created_at: time(row, 7)?,
        state: LetterState::parse(&state)
            .map_err(|why| Error::FromSqlConversionFailure(8, Type::Text, why.into()))?,
    })
}
