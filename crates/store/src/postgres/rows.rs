//! Rows into values.

use base::{BadId, CheckpointId, ExecutionId, Tenant, Timestamp, WorkflowId};
use bytes::Bytes;
use sqlx::{Decode, Error, Postgres, Result, Row, Type, postgres::PgRow};
use uuid::Uuid;

use crate::{
    journal::{
        CheckpointRow, CutRow, CutWrite, DeadLetter, Due, ExecutionRow, InboxRow, LetterState, LogEntry,
        LogRow, MemberId, MemberRow, PayloadRow, ShardPos, Snapshot,
    },
    sqlite::wake_of,
};

fn bad(err: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Decode(Box::new(err))
}

fn small<T: TryFrom<i64>>(value: i64, what: &str) -> Result<T> {
    T::try_from(value).map_err(|_| Error::Decode(format!("{what} {value} is out of range").into()))
}

fn at<'r, T: Decode<'r, Postgres> + Type<Postgres>>(row: &'r PgRow, column: usize) -> Result<T> {
    row.try_get(column)
}

fn shard(row: &PgRow, column: usize) -> Result<u16> {
    small(at::<i16>(row, column)?.into(), "shard")
}

fn tenant(row: &PgRow, column: usize) -> Result<Tenant> {
    Tenant::new(at::<&str>(row, column)?).map_err(bad)
}

fn time(row: &PgRow, column: usize) -> Result<Timestamp> {
    at(row, column).map(Timestamp::from_micros)
}

fn body(row: &PgRow, column: usize) -> Result<Bytes> {
    at::<Vec<u8>>(row, column).map(Bytes::from)
}

fn hash(bytes: &[u8]) -> Result<[u8; 32]> {
    <[u8; 32]>::try_from(bytes).map_err(|_| Error::Decode("a hash has 32 bytes".into()))
}

/// The first column.
pub(super) fn execution_id(row: &PgRow) -> Result<ExecutionId> {
    at(row, 0).map(ExecutionId::new)
}

/// execution_id, first_seq, count, shard, pos, tenant, schema, body
pub(super) fn log_entry(row: &PgRow) -> Result<LogEntry> {
    Ok(LogEntry {
        execution_id: execution_id(row)?,
        tenant: tenant(row, 5)?,
        shard: shard(row, 3)?,
        row: LogRow {
            first_seq: at(row, 1)?,
            count: small(at::<i32>(row, 2)?.into(), "count")?,
            pos: at(row, 4)?,
            schema: small(at::<i32>(row, 6)?.into(), "schema")?,
            body: body(row, 7)?,
        },
    })
}

/// The columns of the list query.
pub(super) fn execution(row: &PgRow) -> Result<ExecutionRow> {
    Ok(ExecutionRow {
        execution_id: execution_id(row)?,
        tenant: tenant(row, 1)?,
        workflow_id: WorkflowId::new(at(row, 2)?),
        workflow_name: at(row, 3)?,
        workflow_version: at(row, 4)?,
        shard: shard(row, 5)?,
        status: at(row, 6)?,
        current_phase: at(row, 7)?,
        priority: at(row, 8)?,
        request_hash: at::<Option<&[u8]>>(row, 9)?.map(hash).transpose()?,
        started_at: time(row, 10)?,
        wake: wake_of(at(row, 11)?),
        completed_at: at::<Option<i64>>(row, 12)?.map(Timestamp::from_micros),
        allocated_agents: at(row, 13)?,
        task_states: at(row, 14)?,
        performance_metrics: at(row, 15)?,
    })
}

/// execution_id, shard, wake_at
pub(super) fn due(row: &PgRow) -> Result<Due> {
    Ok(Due { execution_id: execution_id(row)?, shard: shard(row, 1)?, wake_at: time(row, 2)? })
}

/// snapshot_seq, snapshot_schema, snapshot
pub(super) fn snapshot(row: &PgRow) -> Result<Snapshot> {
    let schema = small(at::<i32>(row, 1)?.into(), "schema")?;
    Ok(Snapshot { seq: at(row, 0)?, schema, body: body(row, 2)? })
}

/// execution_id, checkpoint_id, seq, created_at, state_snapshot, recovery_instructions
pub(super) fn checkpoint(row: &PgRow) -> Result<CheckpointRow> {
    Ok(CheckpointRow {
        execution_id: execution_id(row)?,
        checkpoint_id: CheckpointId::new(at(row, 1)?),
        seq: at(row, 2)?,
        created_at: time(row, 3)?,
        state_snapshot: at(row, 4)?,
        recovery_instructions: at(row, 5)?,
    })
}

/// tenant, execution_id, hash, media_type, body
pub(super) fn payload(row: &PgRow) -> Result<PayloadRow> {
    Ok(PayloadRow {
        tenant: tenant(row, 0)?,
        execution_id: ExecutionId::new(at(row, 1)?),
        hash: hash(at(row, 2)?)?,
        media_type: at(row, 3)?,
        body: body(row, 4)?,
    })
}

pub(super) fn member_id(text: &str) -> Result<MemberId> {
    MemberId::new(text).map_err(|err: BadId| bad(err))
}

/// id, incarnation, address, expires_at, alive, reads_up_to, region, cluster
pub(super) fn member(row: &PgRow) -> Result<MemberRow> {
    Ok(MemberRow {
        id: member_id(at(row, 0)?)?,
        incarnation: small(at(row, 1)?, "incarnation")?,
        address: at(row, 2)?,
        expires_at: time(row, 3)?,
        alive: at(row, 4)?,
        reads_up_to: small(at::<i32>(row, 5)?.into(), "reads_up_to")?,
        region: at(row, 6)?,
        cluster: at(row, 7)?,
    })
}

/// shard, command_id, tenant, execution_id, kind, body, created_at
pub(super) fn inbox(row: &PgRow) -> Result<InboxRow> {
    Ok(InboxRow {
        shard: shard(row, 0)?,
        command_id: at(row, 1)?,
        tenant: tenant(row, 2)?,
        execution_id: ExecutionId::new(at(row, 3)?),
        kind: at(row, 4)?,
        body: body(row, 5)?,
        created_at: time(row, 6)?,
    })
}

/// shard, call, tenant, execution_id, instance, agent_task_id, cut_at
pub(super) fn cut(row: &PgRow) -> Result<CutRow> {
    Ok(CutRow {
        shard: shard(row, 0)?,
        tenant: tenant(row, 2)?,
        execution_id: ExecutionId::new(at(row, 3)?),
        cut: CutWrite {
            call: at(row, 1)?,
            instance: at(row, 4)?,
            agent_task_id: at(row, 5)?,
            cut_at: time(row, 6)?,
        },
    })
}

/// shard, incarnation, pos
pub(super) fn shard_pos(row: &PgRow) -> Result<ShardPos> {
    Ok(ShardPos { shard: shard(row, 0)?, incarnation: small(at(row, 1)?, "incarnation")?, pos: at(row, 2)? })
}

/// tenant, id, stream, consumer, reason, body, deliveries, created_at, state
pub(super) fn dead_letter(row: &PgRow) -> Result<DeadLetter> {
    Ok(DeadLetter {
        tenant: tenant(row, 0)?,
        id: at::<Uuid>(row, 1)?,
        stream: at(row, 2)?,
        consumer: at(row, 3)?,
        reason: at(row, 4)?,
        body: body(row, 5)?,
        deliveries: small(at::<i32>(row, 6)?.into(), "deliveries")?,
        created_at: time(row, 7)?,
        state: LetterState::parse(at(row, 8)?).map_err(|why| Error::Decode(why.into()))?,
    })
}
