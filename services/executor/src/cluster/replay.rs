//! Rows of a shard's log as the messages that were, or would have been, published.
//!
//! One place makes both: what a publisher sends live and what a consumer reads back are the same bytes.

use std::{collections::BTreeMap, sync::Arc};

use api::Fault;
use base::{ErrorCode, ExecutionId, Tenant};
use bus::{Message, Position, header};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use prost::Message as _;
use proto::event::v1::{EventBatch, LifecycleEvent};
use store::journal::{LogEntry, LogRow};

use crate::engine::{EngineShared, PublicEvent, ReadBack, away, present, stream_name};

/// Executions that are folded at once.
const FOLDS_AT_ONCE: usize = 8;
/// Header of a message whose events did not fit: `ReadLog` has them.
pub(crate) const TRUNCATED: &str = "truncated";
/// Full name of what the body is.
const KIND: &str = "orchestra.event.v1.EventBatch";

/// A row that is on disk, as people and other services see it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) shard: u16,
    pub(crate) pos: i64,
    pub(crate) tenant: Tenant,
    pub(crate) events: Arc<Vec<PublicEvent>>,
}

/// Makes messages.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    pub(crate) cluster: Arc<str>,
    pub(crate) incarnation: u64,
    /// Largest message on the bus, in bytes.
    pub(crate) bytes_max: usize,
}

impl Encoder {
    /// The events of `row`, which follows position `previous`.
    pub(crate) fn batch(&self, row: &Row, previous: i64) -> EventBatch {
        EventBatch {
            tenant: row.tenant.to_string(),
            cluster: self.cluster.to_string(),
            shard: u32::from(row.shard),
            incarnation: self.incarnation,
            pos: row.pos.unsigned_abs(),
            previous_pos: previous.unsigned_abs(),
            events: row.events.iter().map(event).collect(),
        }
    }

    /// As a message of the bus. What is too large for it is left out: first the events' data, then the events.
    pub(crate) fn message(&self, row: &Row, previous: i64) -> Message {
        let mut batch = self.batch(row, previous);
        let mut truncated = false;
        if batch.encoded_len() > self.bytes_max {
            truncated = true;
            for event in &mut batch.events {
                event.data_json = "{}".into();
            }
            if batch.encoded_len() > self.bytes_max {
                batch.events.clear();
            }
        }
        let position = Position {
            cluster: self.cluster.clone(),
            shard: u32::from(row.shard),
            incarnation: self.incarnation,
            pos: row.pos.unsigned_abs(),
            previous: previous.unsigned_abs(),
        };
        let message = Message::new(batch.encode_to_vec())
            .with_header(header::TENANT, row.tenant.to_string().into_bytes())
            .with_header(header::KIND, Bytes::from_static(KIND.as_bytes()))
            .at(position);
        if truncated { message.with_header(TRUNCATED, Bytes::from_static(b"1")) } else { message }
    }
}

fn event(event: &PublicEvent) -> LifecycleEvent {
    LifecycleEvent {
        r#type: stream_name(event.kind).into(),
        workflow_id: event.workflow_id.to_string(),
        execution_id: event.execution_id.to_string(),
        seq: event.seq,
        timestamp: event.at.rfc3339(),
        data_json: event.data.to_string(),
    }
}

/// At most `limit` rows of a shard from `from` on, in order. Rows of executions that were deleted meanwhile are holes.
///
/// # Errors
/// When the store or the planner is away, or a row cannot be read by this build.
pub(crate) async fn rows(
    shared: &Arc<EngineShared>,
    shard: u16,
    from: i64,
    limit: u32,
) -> Result<Page, Fault> {
    let entries = shared.journal.read_shard_log(shard, from, limit).await.map_err(away)?;
    let last = entries.last().map_or(from - 1, |e| e.row.pos);
    let mut wanted: BTreeMap<ExecutionId, BTreeMap<i64, LogEntry>> = BTreeMap::new();
    for entry in entries {
        wanted.entry(entry.execution_id).or_default().insert(entry.row.pos, entry);
    }
    let folds = wanted.into_iter().map(|(id, entries)| present_rows(shared.clone(), shard, id, entries));
    let mut rows: Vec<Row> = stream::iter(folds).buffer_unordered(FOLDS_AT_ONCE).try_concat().await?;
    rows.sort_unstable_by_key(|row| row.pos);
    Ok(Page { rows, last })
}

/// A part of a shard's log.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// The last position it covers, holes included; before its start when there is nothing.
    pub(crate) last: i64,
}

/// What these rows of one execution say, with the state folded as it was at each event.
async fn present_rows(
    shared: Arc<EngineShared>,
    shard: u16,
    id: ExecutionId,
    wanted: BTreeMap<i64, LogEntry>,
) -> Result<Vec<Row>, Fault> {
    let Some(ReadBack { row, log }) = shared.read(id).await? else { return Ok(Vec::new()) };
    let plan = shared.plan_by_id(&row.tenant, row.workflow_id, &row.workflow_version).await?;
    let mut out = Vec::with_capacity(wanted.len());
    let mut state = None;
    for (LogRow { pos, .. }, events) in log {
        let mut said = Vec::new();
        for event in &events {
            match &mut state {
                None => state = workflow::fold(id, plan.compiled.clone(), [event]),
                Some(state) => state.apply(event),
            }
            let Some(state) = &state else {
                return Err(Fault::new(ErrorCode::Internal, format!("the log of {id} has no beginning")));
            };
            if wanted.contains_key(&pos) {
                said.extend(present(state, state.seq(), event));
            }
        }
        if wanted.contains_key(&pos) {
            out.push(Row { shard, pos, tenant: row.tenant.clone(), events: Arc::new(said) });
        }
    }
    Ok(out)
}
