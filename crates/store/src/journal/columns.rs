//! Rows into values, once for both backends. A function names the columns that it reads, in their order.

use base::{CheckpointId, ExecutionId, Tenant, Timestamp, WorkflowId};
use bytes::Bytes;
use uuid::Uuid;

use super::{
    CheckpointRow, CutRow, CutWrite, DeadLetter, Due, ExecutionRow, InboxRow, LetterState, LogEntry, LogRow,
    MemberId, PayloadRow, ShardPos, Snapshot, Stuck, Wake,
};

/// A row of either backend. Columns count from 0.
pub(crate) trait Columns {
    /// What the backend says of a column that does not read.
    type Error;
    /// A whole number of any width; `None` = null.
    fn int(&self, column: usize) -> Result<Option<i64>, Self::Error>;
    /// Text; `None` = null.
    fn text(&self, column: usize) -> Result<Option<&str>, Self::Error>;
    /// Bytes; `None` = null.
    fn bytes(&self, column: usize) -> Result<Option<&[u8]>, Self::Error>;
    /// An id, never null.
    fn uuid(&self, column: usize) -> Result<Uuid, Self::Error>;
    /// A column that holds what nobody writes.
    fn bad(column: usize, why: String) -> Self::Error;
}

type Read<R, T> = Result<T, <R as Columns>::Error>;

fn some<R: Columns, T>(column: usize, value: Option<T>) -> Read<R, T> {
    value.ok_or_else(|| R::bad(column, "is null".to_owned()))
}

/// A whole number that fits.
pub(crate) fn number<R: Columns, T: TryFrom<i64>>(row: &R, column: usize) -> Read<R, T> {
    let value = some::<R, _>(column, row.int(column)?)?;
    T::try_from(value).map_err(|_| R::bad(column, format!("{value} is out of range")))
}

fn text<R: Columns>(row: &R, column: usize) -> Read<R, &str> {
    some::<R, _>(column, row.text(column)?)
}

fn owned<R: Columns>(row: &R, column: usize) -> Read<R, String> {
    text(row, column).map(str::to_owned)
}

fn body<R: Columns>(row: &R, column: usize) -> Read<R, Bytes> {
    some::<R, _>(column, row.bytes(column)?).map(Bytes::copy_from_slice)
}

fn hash<R: Columns>(column: usize, bytes: &[u8]) -> Read<R, [u8; 32]> {
    <[u8; 32]>::try_from(bytes).map_err(|_| R::bad(column, "a hash has 32 bytes".to_owned()))
}

fn tenant<R: Columns>(row: &R, column: usize) -> Read<R, Tenant> {
    Tenant::new(text(row, column)?).map_err(|why| R::bad(column, why.to_string()))
}

pub(crate) fn time<R: Columns>(row: &R, column: usize) -> Read<R, Timestamp> {
    number(row, column).map(Timestamp::from_micros)
}

pub(crate) fn member_id<R: Columns>(row: &R, column: usize) -> Read<R, MemberId> {
    MemberId::new(text(row, column)?).map_err(|why| R::bad(column, why.to_string()))
}

fn execution_at<R: Columns>(row: &R, column: usize) -> Read<R, ExecutionId> {
    row.uuid(column).map(ExecutionId::new)
}

/// `wake_at`: null = hot, the largest number = no timer.
pub(crate) fn wake_column(wake: Wake) -> Option<i64> {
    match wake {
        Wake::Hot => None,
        Wake::At(at) => Some(at.micros().min(i64::MAX - 1)),
        Wake::OnCommand => Some(i64::MAX),
    }
}

pub(crate) fn wake_of(column: Option<i64>) -> Wake {
    match column {
        None => Wake::Hot,
        Some(i64::MAX) => Wake::OnCommand,
        Some(at) => Wake::At(Timestamp::from_micros(at)),
    }
}

/// The first column.
pub(crate) fn execution_id<R: Columns>(row: &R) -> Read<R, ExecutionId> {
    execution_at(row, 0)
}

/// execution_id, first_seq, count, shard, pos, tenant, schema, body
pub(crate) fn log_entry<R: Columns>(row: &R) -> Read<R, LogEntry> {
    Ok(LogEntry {
        execution_id: execution_id(row)?,
        tenant: tenant(row, 5)?,
        shard: number(row, 3)?,
        row: LogRow {
            first_seq: number(row, 1)?,
            count: number(row, 2)?,
            pos: number(row, 4)?,
            schema: number(row, 6)?,
            body: body(row, 7)?,
        },
    })
}

/// The columns of the list query.
pub(crate) fn execution<R: Columns>(row: &R) -> Read<R, ExecutionRow> {
    Ok(ExecutionRow {
        execution_id: execution_id(row)?,
        tenant: tenant(row, 1)?,
        workflow_id: WorkflowId::new(row.uuid(2)?),
        workflow_name: owned(row, 3)?,
        workflow_version: owned(row, 4)?,
        shard: number(row, 5)?,
        status: owned(row, 6)?,
        current_phase: owned(row, 7)?,
        priority: number(row, 8)?,
        request_hash: row.bytes(9)?.map(|bytes| hash::<R>(9, bytes)).transpose()?,
        started_at: time(row, 10)?,
        wake: wake_of(row.int(11)?),
        completed_at: row.int(12)?.map(Timestamp::from_micros),
        allocated_agents: owned(row, 13)?,
        task_states: owned(row, 14)?,
        performance_metrics: owned(row, 15)?,
        correlation_id: row.text(16)?.map(str::to_owned),
        stuck: match (row.text(17)?, row.text(18)?) {
            (Some(reason), detail) => {
                Some(Stuck { reason: reason.into(), detail: detail.unwrap_or("{}").into() })
            }
            (None, _) => None,
        },
    })
}

/// execution_id, shard, wake_at
pub(crate) fn due<R: Columns>(row: &R) -> Read<R, Due> {
    Ok(Due { execution_id: execution_id(row)?, shard: number(row, 1)?, wake_at: time(row, 2)? })
}

/// snapshot_seq, snapshot_schema, snapshot
pub(crate) fn snapshot<R: Columns>(row: &R) -> Read<R, Snapshot> {
    Ok(Snapshot { seq: number(row, 0)?, schema: number(row, 1)?, body: body(row, 2)? })
}

/// execution_id, checkpoint_id, seq, created_at, state_snapshot, recovery_instructions
pub(crate) fn checkpoint<R: Columns>(row: &R) -> Read<R, CheckpointRow> {
    Ok(CheckpointRow {
        execution_id: execution_id(row)?,
        checkpoint_id: CheckpointId::new(row.uuid(1)?),
        seq: number(row, 2)?,
        created_at: time(row, 3)?,
        state_snapshot: owned(row, 4)?,
        recovery_instructions: owned(row, 5)?,
    })
}

/// tenant, execution_id, hash, media_type, body
pub(crate) fn payload<R: Columns>(row: &R) -> Read<R, PayloadRow> {
    Ok(PayloadRow {
        tenant: tenant(row, 0)?,
        execution_id: execution_at(row, 1)?,
        hash: hash::<R>(2, some::<R, _>(2, row.bytes(2)?)?)?,
        media_type: owned(row, 3)?,
        body: body(row, 4)?,
    })
}

/// shard, command_id, tenant, execution_id, kind, body, created_at
pub(crate) fn inbox<R: Columns>(row: &R) -> Read<R, InboxRow> {
    Ok(InboxRow {
        shard: number(row, 0)?,
        command_id: row.uuid(1)?,
        tenant: tenant(row, 2)?,
        execution_id: execution_at(row, 3)?,
        kind: owned(row, 4)?,
        body: body(row, 5)?,
        created_at: time(row, 6)?,
    })
}

/// shard, call, tenant, execution_id, instance, agent_task_id, cut_at
pub(crate) fn cut<R: Columns>(row: &R) -> Read<R, CutRow> {
    Ok(CutRow {
        shard: number(row, 0)?,
        tenant: tenant(row, 2)?,
        execution_id: execution_at(row, 3)?,
        cut: CutWrite {
            call: row.uuid(1)?,
            instance: owned(row, 4)?,
            agent_task_id: row.text(5)?.map(str::to_owned),
            cut_at: time(row, 6)?,
        },
    })
}

/// shard, incarnation, pos
pub(crate) fn shard_pos<R: Columns>(row: &R) -> Read<R, ShardPos> {
    Ok(ShardPos { shard: number(row, 0)?, incarnation: number(row, 1)?, pos: number(row, 2)? })
}

/// tenant, id, stream, consumer, reason, body, deliveries, created_at, state
pub(crate) fn dead_letter<R: Columns>(row: &R) -> Read<R, DeadLetter> {
    Ok(DeadLetter {
        tenant: tenant(row, 0)?,
        id: row.uuid(1)?,
        stream: owned(row, 2)?,
        consumer: owned(row, 3)?,
        reason: owned(row, 4)?,
        body: body(row, 5)?,
        deliveries: number(row, 6)?,
        created_at: time(row, 7)?,
        state: LetterState::parse(text(row, 8)?).map_err(|why| R::bad(8, why.to_string()))?,
    })
}
