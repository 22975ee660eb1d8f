//! Calls and shards that part ways: a call belongs to the process that made it, its execution to the shard's owner.

use api::Fault;
use base::{ErrorCode, ExecutionId};

use super::{
    lane::Lane,
    links::ForeignReport,
    msg::{CallReport, Msg, Reply},
};

/// The answer of a replica that does not own the execution.
pub(crate) fn not_here() -> Fault {
    Fault::new(ErrorCode::NotOwner, "the shard is not here")
}

impl Lane {
    /// Whether work of the shard is taken: it is ours and not about to leave.
    pub(crate) fn takes(&self, shard: u16) -> bool {
        self.shards.get(&shard).is_some_and(|s| s.release.is_none())
    }

    /// What a call of this process reports.
    pub(crate) fn reported(&mut self, report: ForeignReport) {
        let Some(shard) = self.shards.get_mut(&self.shared.shard_of(report.id)) else {
            return self.bring(report);
        };
        if shard.release.is_some() {
            return shard.late.push(report);
        }
        let ForeignReport { id, call, attempt, report } = report;
        // The execution has ended or was put aside: what its call cost is written nevertheless.
        if matches!(report, CallReport::Used { .. }) && !self.hot.contains_key(&id) {
            self.load(id, self.shared.shard_of(id), None);
        }
        match self.loading.get_mut(&id) {
            Some(loading) => loading.waiting.push(Msg::Call { id, call, attempt, report }),
            None => self.call_report(id, call, attempt, report),
        }
    }

    /// Hands a report on to whoever owns the execution now.
    pub(crate) fn bring(&mut self, report: ForeignReport) {
        if matches!(report.report, CallReport::Done { .. }) {
            self.orphans.remove(&(report.id, report.call));
        }
        // Progress gives way: nobody waits for it.
        if matches!(report.report, CallReport::Progress { .. }) {
            return;
        }
        match self.shared.links.get() {
            Some(links) => links.elsewhere.bring(report),
            None => tracing::warn!(execution = %report.id, "a result came for a shard that is not here"),
        }
    }

    /// A report that was brought here: by another process, or by our own for a shard that has come back.
    pub(crate) fn delivered(&mut self, report: ForeignReport, reply: Reply<()>) {
        let shard = self.shared.shard_of(report.id);
        if !self.takes(shard) {
            let _ = reply.send(Err(not_here()));
            return;
        }
        if !self.hot.contains_key(&report.id) {
            self.load(report.id, shard, None);
        }
        if let Some(loading) = self.loading.get_mut(&report.id) {
            return loading.waiting.push(Msg::Delivered { report, reply });
        }
        let ForeignReport { id, call, attempt, report } = report;
        self.call_report(id, call, attempt, report);
        match self.hot.get_mut(&id) {
            Some(hot) => hot.when_durable(Box::new(move || drop(reply.send(Ok(()))))),
            None => drop(reply.send(Ok(()))),
        }
        self.mark_unsettled(id);
    }

    /// Something waits for the execution's next group.
    pub(crate) fn mark_unsettled(&mut self, id: ExecutionId) {
        if self.hot.get(&id).is_some_and(|hot| !hot.pending.is_empty()) {
            self.mark(id);
        }
    }

    /// What waited for an execution that will not be here.
    pub(crate) fn turn_away(&mut self, waiting: Vec<Msg>, why: &Fault) {
        for msg in waiting {
            match msg {
                Msg::Command { reply, .. } => drop(reply.send(Err(why.clone()))),
                Msg::Delivered { reply, .. } => drop(reply.send(Err(why.clone()))),
                Msg::Start(start) => drop(start.reply.send(Err(why.clone()))),
                Msg::Call { id, call, attempt, report } => {
                    self.bring(ForeignReport { id, call, attempt, report });
                }
                _ => {}
            }
        }
    }
}
