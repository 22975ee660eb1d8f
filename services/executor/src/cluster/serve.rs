//! What other replicas and the gateway ask of this one.

use std::sync::Arc;

use api::Fault;
use base::{ExecutionId, WorkflowId};
use prost::Message as _;
use proto::executor::internal::v1 as pb;
use workflow::CallKey;

use super::{Cluster, Inner, courier, lending::instance_key, places, replay, slots::Report};
use crate::engine::{ForeignReport, away};

/// Rows of one answer to `ReadLog`.
const LOG_ROWS_MAX: u32 = 256;

impl Cluster {
    /// Which member owns which shard.
    pub fn list_shards(&self) -> pb::ListShardsResponse {
        let map = self.shard_map();
        let member = |(index, m): (usize, &super::Member)| pb::Member {
            member_id: m.id.to_string(),
            incarnation: m.incarnation,
            address: m.address.clone(),
            shards: map.shards_of(index).map(u32::from).collect(),
            region: m.region.clone(),
        };
        let members = map.members().iter().enumerate().map(member).collect();
        pb::ListShardsResponse { shard_count: u32::from(self.inner.options.shards), members }
    }

    /// Rows of a shard's log as they were, or would have been, published.
    ///
    /// # Errors
    /// A shard that does not exist; the store or the planner is away.
    pub async fn read_log(&self, request: &pb::ReadLogRequest) -> Result<pb::ReadLogResponse, Fault> {
        let inner = &self.inner;
        let shard = u16::try_from(request.shard).ok().filter(|s| *s < inner.options.shards);
        let shard = shard.ok_or_else(|| {
            Fault::bad("shard", format!("shards are numbered from 0 to {}", inner.options.shards - 1))
        })?;
        let from = i64::try_from(request.from_pos).unwrap_or(i64::MAX).max(1);
        let limit = if request.limit == 0 { LOG_ROWS_MAX } else { request.limit.min(LOG_ROWS_MAX) };
        // Read first: a row that is committed meanwhile is at most found twice.
        let last = inner.journal.last_pos(shard).await.map_err(away)?;
        let page = replay::rows(inner.engine.shared(), shard, from, limit).await?;
        let encoder = inner.encoder();
        let mut previous = from - 1;
        let mut batches = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            batches.push(encoder.batch(row, previous).encode_to_vec().into());
            previous = row.pos;
        }
        Ok(pb::ReadLogResponse { batches, last_pos: last.max(page.last).unsigned_abs() })
    }

    /// What a call reported that another member made. Answered when it is on disk.
    ///
    /// # Errors
    /// `not_owner`; a report that is none.
    pub async fn deliver_result(&self, request: pb::DeliverResultRequest) -> Result<(), Fault> {
        let report = courier::decode(request.result)?;
        let call = CallKey::new(request.node, request.item);
        let id = execution(&request.execution_id)?;
        let report = ForeignReport { id, call, attempt: request.attempt, report };
        self.inner.engine.deliver(report).await
    }

    /// Ends a call that this process made for a shard that has moved on.
    ///
    /// # Errors
    /// An id that is none.
    pub async fn abort_call(&self, request: &pb::AbortCallRequest) -> Result<(), Fault> {
        let call = CallKey::new(request.node, request.item);
        self.inner.engine.abort_call(execution(&request.execution_id)?, call, request.attempt).await;
        Ok(())
    }

    /// Lends slots of the agents, and places of the workflows, that hash to a shard of this member.
    pub fn lend_slots(&self, request: &pb::LendSlotsRequest) -> pb::LendSlotsResponse {
        let inner = &self.inner;
        let map = inner.map.load();
        let known = map.member(&request.member_id).is_some_and(|m| m.incarnation == request.incarnation);
        if !known {
            // It has joined a moment ago.
            inner.look_again();
        }
        let report = |w: &pb::SlotWant| {
            let key = instance_key(&w.agent_id, &w.instance_id)?;
            Some((key, Report { in_use: w.in_use, want: w.want, held: w.held }))
        };
        let reports: Vec<_> = request.wants.iter().filter_map(report).collect();
        let borrower: Arc<str> = request.member_id.as_str().into();
        let grants = if known { inner.lend(&borrower, &reports) } else { Vec::new() };
        let asks: Vec<_> = request.places.iter().filter_map(places::decode).collect();
        let places = if known {
            inner.see(&map);
            inner.lend_places(&borrower, request.incarnation, &asks)
        } else {
            Vec::new()
        };
        let place = |(workflow, granted): (WorkflowId, u32)| pb::PlaceGrant {
            workflow_id: workflow.to_string(),
            granted,
        };
        let grant = |(key, granted): ((base::AgentId, Arc<str>), u32)| pb::SlotGrant {
            tenant: base::Tenant::default().to_string(),
            agent_id: key.0.to_string(),
            instance_id: key.1.split_once('/').map_or("", |(_, i)| i).to_owned(),
            granted,
        };
        let lease_ms = u64::try_from(inner.options.lease.as_millis()).unwrap_or(u64::MAX);
        pb::LendSlotsResponse {
            grants: grants.into_iter().map(grant).collect(),
            lease_ms,
            places: places.into_iter().map(place).collect(),
        }
    }

    /// Whether this member takes shards; told that it got some it looks at once.
    pub fn offer_shards(&self, request: &pb::OfferShardsRequest) -> pb::OfferShardsResponse {
        if request.moved {
            self.inner.look_again();
        }
        pb::OfferShardsResponse { accepts: self.inner.accepts() }
    }
}

impl Inner {
    fn accepts(&self) -> bool {
        !self.is_leaving() && self.lease.is_valid()
    }
}

fn execution(text: &str) -> Result<ExecutionId, Fault> {
    text.parse().map_err(|e: base::BadId| Fault::bad("execution_id", e))
}
