//! How many executions run at once, and who waits for a place.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use base::{ExecutionId, WorkflowId};
use tokio::sync::mpsc;

use super::msg::Msg;

/// Whether a start runs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It does.
    Now,
    /// It waits; its place, from 1.
    Queued(u32),
    /// The queue is full.
    Full,
}

struct Waiter {
    id: ExecutionId,
    workflow: WorkflowId,
    limit: Option<u32>,
    lane: mpsc::UnboundedSender<Msg>,
}

#[derive(Default)]
struct Inner {
    active: u32,
    by_workflow: HashMap<WorkflowId, u32>,
    /// Higher priority first, then first come.
    queue: BTreeMap<(i64, u64), Waiter>,
    places: HashMap<ExecutionId, (i64, u64)>,
    next: u64,
    /// Takings of shards under way: who runs already is not all counted yet.
    settling: u32,
}

/// Shards are being taken: as long as it lives nobody is let in whom an execution that is still being read back may
/// have to stop. Otherwise a queue that is read back first would run ahead of those that ran before it.
pub struct Settling(Arc<Admission>);

impl Drop for Settling {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.settling -= 1;
        inner.admit_next(self.0.places());
    }
}

/// The replica's places.
pub(crate) struct Admission {
    /// Places of the whole cluster.
    whole: u32,
    /// This replica's share of them.
    max: AtomicU32,
    queue_max: u32,
    inner: Mutex<Inner>,
}

impl Admission {
    pub(crate) fn new(max: u32, queue_max: u32) -> Self {
        Self { whole: max.max(1), max: AtomicU32::new(max.max(1)), queue_max, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shards are about to be taken.
    pub(crate) fn settle(self: &Arc<Self>) -> Arc<Settling> {
        self.lock().settling += 1;
        Arc::new(Settling(self.clone()))
    }

    fn places(&self) -> u32 {
        self.max.load(Ordering::Relaxed)
    }

    /// This replica owns `owned` of `all` shards: its share of the places.
    pub(crate) fn set_share(&self, owned: u32, all: u32) {
        let share = (u64::from(self.whole) * u64::from(owned)).div_ceil(u64::from(all.max(1)));
        self.max.store(u32::try_from(share).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
        self.lock().admit_next(self.places());
    }

    /// Active, its maximum, queued, its maximum.
    pub(crate) fn load(&self) -> (u32, u32, u32, u32) {
        let inner = self.lock();
        (inner.active, self.places(), inner.queue.len() as u32, self.queue_max)
    }

    /// A place for an execution, now or later. `limit`: executions of the workflow at once. `must`: it is on disk
    /// already and cannot be refused.
    pub(crate) fn enter(
        &self,
        id: ExecutionId,
        workflow: WorkflowId,
        limit: Option<u32>,
        priority: i32,
        must: bool,
        lane: &mpsc::UnboundedSender<Msg>,
    ) -> Admitted {
        let mut inner = self.lock();
        let known = inner.settling == 0 || (!must && limit.is_none());
        if known && inner.room(self.places(), workflow, limit) {
            inner.take(workflow, limit);
            return Admitted::Now;
        }
        if !must && inner.queue.len() as u32 >= self.queue_max {
            return Admitted::Full;
        }
        inner.next += 1;
        let place = (-i64::from(priority), inner.next);
        inner.queue.insert(place, Waiter { id, workflow, limit, lane: lane.clone() });
        inner.places.insert(id, place);
        Admitted::Queued(inner.queue.range(..=place).count() as u32)
    }

    /// Takes a place without asking: the execution ran before this process did.
    pub(crate) fn resume(&self, workflow: WorkflowId, limit: Option<u32>) {
        self.lock().take(workflow, limit);
    }

    /// Place in the queue, from 1; 0 = not queued.
    pub(crate) fn position(&self, id: ExecutionId) -> u32 {
        let inner = self.lock();
        inner.places.get(&id).map_or(0, |place| inner.queue.range(..=*place).count() as u32)
    }

    /// An execution ended or was put aside: its place goes to the next that may run.
    pub(crate) fn leave(&self, workflow: WorkflowId, limit: Option<u32>) {
        let mut inner = self.lock();
        inner.give_back(workflow, limit);
        inner.admit_next(self.places());
    }

    /// An execution ended before it ran.
    pub(crate) fn forget(&self, id: ExecutionId) {
        let mut inner = self.lock();
        if let Some(place) = inner.places.remove(&id) {
            inner.queue.remove(&place);
        }
    }
}

impl Inner {
    fn room(&self, max: u32, workflow: WorkflowId, limit: Option<u32>) -> bool {
        let own = limit.is_none_or(|l| self.by_workflow.get(&workflow).copied().unwrap_or(0) < l);
        self.active < max && own
    }

    fn take(&mut self, workflow: WorkflowId, limit: Option<u32>) {
        self.active += 1;
        if limit.is_some() {
            *self.by_workflow.entry(workflow).or_default() += 1;
        }
    }

    fn give_back(&mut self, workflow: WorkflowId, limit: Option<u32>) {
        self.active = self.active.saturating_sub(1);
        if limit.is_some()
            && let Some(n) = self.by_workflow.get_mut(&workflow)
        {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.by_workflow.remove(&workflow);
            }
        }
    }

    fn admit_next(&mut self, max: u32) {
        while self.settling == 0 && self.active < max {
            let next =
                self.queue.iter().find(|(_, w)| self.room(max, w.workflow, w.limit)).map(|(place, _)| *place);
            let Some(waiter) = next.and_then(|place| self.queue.remove(&place)) else { return };
            self.places.remove(&waiter.id);
            self.take(waiter.workflow, waiter.limit);
            let _ = waiter.lane.send(Msg::Admitted {
                id: waiter.id,
                workflow: waiter.workflow,
                limit: waiter.limit,
            });
        }
    }
}
