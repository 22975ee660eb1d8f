//! Starts: creation to the first attempt is one step and one commit.

use api::Fault;
use base::{ErrorCode, ExecutionId};
use tokio::sync::oneshot;
use workflow::{Input, create};

use super::{
    admission::Admitted,
    hot::Hot,
    lane::Lane,
    msg::{Msg, Reply, Start, Started},
};

impl Lane {
    pub(crate) fn start(&mut self, start: Start) {
        let Start { id, tenant, plan, created, request_hash, exclusive, seed, reply, ended } = start;
        if let Some(refused) = self.refuse_draining() {
            let _ = reply.send(Err(refused));
            return;
        }
        let shard = self.shared.shard_of(id);
        if !self.takes(shard) {
            let _ = reply.send(Err(Fault::new(ErrorCode::NotOwner, "the shard is not here")));
            return;
        }
        if self.hot.contains_key(&id) {
            self.repeated(id, request_hash, reply, ended);
            return;
        }
        if let Some(loading) = self.loading.get_mut(&id) {
            // It exists, as a rule, and is being read back: a second one in memory would take its place.
            let start = Start { id, tenant, plan, created, request_hash, exclusive, seed, reply, ended };
            return loading.waiting.push(Msg::Start(Box::new(start)));
        }
        let now = self.now();
        let (mut state, mut step) = create(id, plan.compiled.clone(), created, now);
        if let Some(seed) = seed {
            match state.step(&seed, now) {
                Ok(seeded) => step.events.extend(seeded.events),
                Err(refusal) => return drop(reply.send(Err(super::refused(refusal)))),
            }
        }
        if let Some(refused) = self.shared.refuse_unread(&step.events) {
            let _ = reply.send(Err(refused));
            return;
        }
        let place = self.shared.admission.enter(
            id,
            plan.claim(&tenant),
            state.created().priority,
            false,
            &self.grants_tx,
        );
        let full = match place {
            Admitted::Full => Some("the start queue is full; try again later"),
            Admitted::TenantFull => Some("as many starts of the tenant wait as may; try again later"),
            Admitted::Now | Admitted::Queued(_) => None,
        };
        if let Some(words) = full {
            let full = Fault::new(ErrorCode::ResourceExhausted, words);
            let _ = reply.send(Err(full.retry_after_ms(1000)));
            return;
        }
        let mut hot = Hot::new(state, tenant, shard);
        hot.active = Some(self.shared.metrics.kinds.active(&hot.state));
        hot.request_hash = request_hash;
        hot.exclusive = exclusive;
        hot.pending.events = step.events;
        hot.waiters.extend(ended);
        self.hot.insert(id, Box::new(hot));
        self.plans.insert(id, plan.clone());
        self.mark(id);
        let queue_position = match place {
            Admitted::Now => {
                self.admitted(id);
                0
            }
            Admitted::Queued(position) => position,
            Admitted::Full | Admitted::TenantFull => 0,
        };
        self.arm(id);
        let started = Started { id, workflow_id: plan.workflow_id, existing: false, queue_position };
        if let Some(hot) = self.hot.get_mut(&id) {
            hot.pending.started.push((reply, started));
        }
    }

    /// The same id again: the same request gets the same execution, another is refused.
    fn repeated(
        &mut self,
        id: ExecutionId,
        hash: Option<[u8; 32]>,
        reply: Reply<Started>,
        ended: Option<oneshot::Sender<std::sync::Arc<super::view::ExecutionView>>>,
    ) {
        let Some(hot) = self.hot.get_mut(&id) else { return };
        if hot.request_hash != hash {
            let _ = reply.send(Err(key_taken(id)));
            return;
        }
        hot.waiters.extend(ended);
        let workflow_id = hot.state.created().workflow_id;
        let queue_position = self.shared.admission.position(id);
        let started = Started { id, workflow_id, existing: true, queue_position };
        // While the creation is on its way, its fate is the answer to all who asked for it.
        if !hot.in_start.is_empty() {
            hot.in_start.push((reply, started));
        } else if !hot.pending.started.is_empty() {
            hot.pending.started.push((reply, started));
        } else {
            hot.when_durable(Box::new(move || drop(reply.send(Ok(started)))));
            self.mark_unsettled(id);
        }
    }

    /// The execution has a place.
    pub(crate) fn admitted(&mut self, id: ExecutionId) {
        if let Some(hot) = self.hot.get_mut(&id) {
            hot.admitted = true;
            self.feed_fact(id, &Input::Admit);
        }
    }
}

/// The answer to a key that was used for another request.
pub(crate) fn key_taken(id: ExecutionId) -> Fault {
    let mut taken = Fault::new(
        ErrorCode::AlreadyExists,
        "the key was used for another start: use a new key, or send the same request",
    );
    taken.related.push(id.to_string());
    taken
}
