//! Places of workflows that limit how many of their executions run at once, borrowed and lent.
//!
//! Other than calls, executions move with their shards, and a replica reports only workflows that it runs. Hence three
//! precautions: an execution that has left counts for one lease at both replicas, a member that is gone keeps for one
//! lease what it had (its executions are being read back elsewhere), and a new lender gives for one lease nobody more
//! than it holds.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use base::WorkflowId;
use proto::executor::internal::v1 as pb;
use tokio::time::Instant;

use super::{
    Inner,
    map::{ShardMap, shard_of_workflow},
    slots::Report,
};

/// What is asked for one workflow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlaceAsk {
    pub(crate) workflow: WorkflowId,
    /// Executions of it at once, over all replicas.
    pub(crate) limit: u32,
    pub(crate) report: Report,
}

pub(crate) fn encode(ask: &PlaceAsk) -> pb::PlaceWant {
    let PlaceAsk { workflow, limit, report } = ask;
    pb::PlaceWant {
        workflow_id: workflow.to_string(),
        limit: *limit,
        in_use: report.in_use,
        want: report.want,
        held: report.held,
    }
}

pub(crate) fn decode(want: &pb::PlaceWant) -> Option<PlaceAsk> {
    let report = Report { in_use: want.in_use, want: want.want, held: want.held };
    Some(PlaceAsk { workflow: want.workflow_id.parse().ok()?, limit: want.limit, report })
}

/// A member's present life: what an earlier one held is an account of its own.
fn life(member: &str, incarnation: u64) -> Arc<str> {
    format!("{member}#{incarnation}").into()
}

impl Inner {
    /// Remembers who is alive.
    pub(crate) fn see(&self, map: &ShardMap) {
        let now = Instant::now();
        let mut ledger = self.lending.lock();
        ledger.seen.extend(map.members().iter().map(|m| (life(&m.id, m.incarnation), now)));
        ledger.seen.retain(|_, at| at.elapsed() < self.options.lease);
    }

    /// What a borrower may use of the places of workflows that it names and that this replica lends.
    pub(crate) fn lend_places(
        &self,
        borrower: &str,
        incarnation: u64,
        asks: &[PlaceAsk],
    ) -> Vec<(WorkflowId, u32)> {
        let lease = self.options.lease;
        let borrower = life(borrower, incarnation);
        let mut ledger = self.lending.lock();
        let recent: BTreeSet<Arc<str>> = ledger.seen.keys().cloned().collect();
        if !ledger.shared || !recent.contains(&borrower) || !self.lease.is_valid() {
            return Vec::new();
        }
        let mut grants = Vec::new();
        for PlaceAsk { workflow, limit, report } in asks {
            let shard = shard_of_workflow(*workflow, self.options.shards);
            let Some((since, _)) = ledger.shards.get(&shard) else { continue };
            let known = since.elapsed() >= lease;
            let granted = ledger.places.lend(workflow, *limit, &borrower, *report, &recent, known);
            grants.push((*workflow, granted));
        }
        grants
    }
}

#[derive(Clone, Copy, Debug)]
struct Held {
    limit: u32,
    report: Report,
    until: Instant,
}

/// What this replica holds, and until when.
#[derive(Debug, Default)]
pub(crate) struct Borrower {
    /// Also what it does not use any more, until the lender has heard of it.
    held: HashMap<WorkflowId, Held>,
    /// Nothing is reported while executions are being read back.
    known: bool,
}

impl Borrower {
    /// Begins a round with what the engine uses and wants. `all_until`: until now it had every place without asking;
    /// what it uses stays its own for so long.
    pub(crate) fn begin(&mut self, inner: &Inner, all_until: Option<Instant>) {
        let demand = inner.engine.share_places(inner.options.lease);
        self.known = demand.is_some();
        let now = Instant::now();
        let demand = demand.unwrap_or_default();
        for (workflow, held) in &mut self.held {
            if self.known && !demand.contains_key(workflow) {
                held.report = Report::default();
            }
        }
        for (workflow, of) in demand {
            let report = Report { in_use: of.in_use, want: of.want.min(of.limit), held: of.held };
            let held = self.held.entry(workflow).or_insert(Held { limit: of.limit, report, until: now });
            if of.limit > 0 {
                held.limit = of.limit;
            }
            held.report = report;
            held.until = all_until.unwrap_or(held.until);
        }
        for held in self.held.values_mut().filter(|held| held.until <= now) {
            held.report.held = 0;
        }
    }

    /// What is to be reported and asked for.
    pub(crate) fn asks(&self) -> Vec<PlaceAsk> {
        let ask = |(workflow, held): (&WorkflowId, &Held)| PlaceAsk {
            workflow: *workflow,
            limit: held.limit,
            report: held.report,
        };
        self.held.iter().filter(|_| self.known).map(ask).collect()
    }

    /// A lender's answer.
    pub(crate) fn take(&mut self, granted: Vec<(WorkflowId, u32)>, until: Instant) {
        for (workflow, n) in granted {
            let Some(held) = self.held.get_mut(&workflow) else { continue };
            if n == 0 && held.report == Report::default() {
                self.held.remove(&workflow);
            } else {
                (held.report.held, held.until) = (n, until);
            }
        }
    }

    /// What may be used and does not run out before `until`.
    pub(crate) fn usable(&self, until: Instant) -> HashMap<WorkflowId, u32> {
        let lasting = self.held.iter().filter(|(_, held)| held.until > until && held.report.held > 0);
        lasting.map(|(workflow, held)| (*workflow, held.report.held)).collect()
    }
}
