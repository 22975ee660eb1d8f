//! What the store keeps of an execution, as events.

use std::{collections::HashMap, sync::Arc};

use api::Fault;
use base::{ErrorCode, ExecutionId, Payload};
use store::journal::{ExecutionRow, LogEntry, LogRow, PayloadRow, Recorded};

use super::{EngineShared, msg::away};

/// What is kept of an execution: its row, and its log as events.
pub(crate) struct ReadBack {
    pub(crate) row: ExecutionRow,
    /// The events of each row of the log.
    pub(crate) log: Vec<(LogRow, Vec<workflow::Event>)>,
}

impl ReadBack {
    /// Size of its log.
    pub(crate) fn bytes(&self) -> u64 {
        self.log.iter().map(|(row, _)| row.body.len() as u64).sum()
    }

    /// Its row, and all events in order.
    pub(crate) fn events(self) -> (ExecutionRow, Vec<workflow::Event>) {
        (self.row, self.log.into_iter().flat_map(|(_, events)| events).collect())
    }
}

impl EngineShared {
    /// What is kept of an execution of any tenant. `None`: it is not there.
    pub(crate) async fn read(&self, id: ExecutionId) -> Result<Option<ReadBack>, Fault> {
        let Some(recorded) = self.journal.read_recorded(id).await.map_err(away)? else { return Ok(None) };
        let Recorded { row, log, payloads } = recorded;
        let large: HashMap<[u8; 32], Payload> = payloads.into_iter().map(payload_of).collect();
        let decode = |entry: LogEntry| {
            let (shard, row) = (entry.shard, entry.row);
            if row.schema > api::log::LOG_SCHEMA {
                return Err(self.log_schemas.cannot_read(shard, row.schema, &self.metrics));
            }
            let events = api::log::decode_row(row.body.clone(), &|hash| large.get(hash).cloned());
            let events = events.map_err(|e| match e.is_newer() {
                true => self.log_schemas.cannot_read(shard, row.schema, &self.metrics),
                false => Fault::new(ErrorCode::Internal, e.to_string()),
            })?;
            self.log_schemas.met(shard, row.schema);
            Ok((row, events))
        };
        let log = log.into_iter().map(decode).collect::<Result<_, Fault>>()?;
        Ok(Some(ReadBack { row, log }))
    }
}

fn payload_of(row: PayloadRow) -> ([u8; 32], Payload) {
    (row.hash, Payload::new(Arc::from(row.media_type), row.body))
}
