//! How many executions run at once, and who waits for a place.
//!
//! The places of the replica, and those of a tenant in it, are soft: its share of the cluster's. The places of a workflow
//! that limits itself are hard: among others a replica uses those that it was lent.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use base::{ExecutionId, Tenant, WorkflowId};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

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
    /// As many starts of the tenant wait as may.
    TenantFull,
}

/// What an execution takes a place of.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) tenant: Tenant,
    pub(crate) workflow: WorkflowId,
    /// Executions of the workflow at once.
    pub(crate) limit: Option<u32>,
}

/// What each tenant may have over the whole cluster; 0 = no limit of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quota {
    /// Executions at once.
    pub(crate) running: u32,
    /// Starts that wait.
    pub(crate) queued: u32,
}

impl Quota {
    /// The part of a replica that owns `owned` of `all` shards.
    fn share(self, owned: u32, all: u32) -> Self {
        let part = |whole| if whole == 0 { 0 } else { share_of(whole, owned, all) };
        Self { running: part(self.running), queued: part(self.queued) }
    }
}

/// At least one.
fn share_of(whole: u32, owned: u32, all: u32) -> u32 {
    let share = (u64::from(whole) * u64::from(owned)).div_ceil(u64::from(all.max(1)));
    u32::try_from(share).unwrap_or(u32::MAX).max(1)
}

struct Waiter {
    id: ExecutionId,
    claim: Claim,
    lane: mpsc::UnboundedSender<Msg>,
}

/// What a replica uses and would like to use of the places of a workflow that limits itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlaceDemand {
    /// Executions of it at once, over all replicas.
    pub(crate) limit: u32,
    pub(crate) in_use: u32,
    pub(crate) want: u32,
    /// What it was lent and goes on to use: never more than it uses and wants.
    pub(crate) held: u32,
}

#[derive(Default)]
struct Inner {
    active: u32,
    /// This replica's part of what each tenant may have.
    quota: Quota,
    /// Executions that run and starts that wait, by tenant; kept while tenants have a quota.
    by_tenant: HashMap<Tenant, (u32, u32)>,
    /// Executions that run, of workflows that limit themselves.
    by_workflow: HashMap<WorkflowId, PlaceDemand>,
    /// Places that other replicas lend to this one, none where absent; `None` = it is alone: all.
    lent: Option<HashMap<WorkflowId, u32>>,
    /// Executions whose shard has left. Their next owner may not have counted them yet: for a while both do.
    departed: Vec<(Instant, WorkflowId)>,
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
    /// Of the whole cluster.
    quota: Quota,
    /// What is wanted or used of lent places has changed.
    wanting: Notify,
    inner: Mutex<Inner>,
}

impl Admission {
    pub(crate) fn new(max: u32, queue_max: u32, quota: Quota) -> Self {
        Self {
            quota,
            whole: max.max(1),
            max: AtomicU32::new(max.max(1)),
            queue_max,
            wanting: Notify::new(),
            inner: Mutex::new(Inner { quota, ..Inner::default() }),
        }
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
        self.max.store(share_of(self.whole, owned, all), Ordering::Relaxed);
        let mut inner = self.lock();
        inner.quota = self.quota.share(owned, all);
        inner.admit_next(self.places());
    }

    /// Active, its maximum, queued, its maximum.
    pub(crate) fn load(&self) -> (u32, u32, u32, u32) {
        let inner = self.lock();
        (inner.active, self.places(), inner.queue.len() as u32, self.queue_max)
    }

    /// A place for an execution, now or later. `must`: it is on disk already and cannot be refused.
    pub(crate) fn enter(
        &self,
        id: ExecutionId,
        claim: Claim,
        priority: i32,
        must: bool,
        lane: &mpsc::UnboundedSender<Msg>,
    ) -> Admitted {
        let mut inner = self.lock();
        let limited = claim.limit.is_some();
        let known = inner.settling == 0 || (!must && !limited);
        if known && inner.room(self.places(), &claim) {
            inner.take(&claim);
            return Admitted::Now;
        }
        let waits = inner.by_tenant.get(&claim.tenant).map_or(0, |of| of.1);
        if !must && inner.quota.queued > 0 && waits >= inner.quota.queued {
            return Admitted::TenantFull;
        }
        if !must && inner.queue.len() as u32 >= self.queue_max {
            return Admitted::Full;
        }
        inner.next += 1;
        let place = (-i64::from(priority), inner.next);
        inner.count(&claim.tenant, 0, 1);
        inner.queue.insert(place, Waiter { id, claim, lane: lane.clone() });
        inner.places.insert(id, place);
        if limited && inner.lent.is_some() {
            self.wanting.notify_one();
        }
        Admitted::Queued(inner.queue.range(..=place).count() as u32)
    }

    /// Takes a place without asking: the execution ran before this process did.
    pub(crate) fn resume(&self, claim: &Claim) {
        self.lock().take(claim);
    }

    /// Place in the queue, from 1; 0 = not queued.
    pub(crate) fn position(&self, id: ExecutionId) -> u32 {
        let inner = self.lock();
        inner.places.get(&id).map_or(0, |place| inner.queue.range(..=*place).count() as u32)
    }

    /// Places in the queue, from 1, of those that stand in it: one walk, whatever their number.
    pub(crate) fn positions(&self, ids: &[ExecutionId]) -> HashMap<ExecutionId, u32> {
        let inner = self.lock();
        let wanted: HashMap<(i64, u64), ExecutionId> =
            ids.iter().filter_map(|id| Some((*inner.places.get(id)?, *id))).collect();
        match wanted.is_empty() {
            true => HashMap::new(),
            false => {
                (1..).zip(inner.queue.keys()).filter_map(|(n, at)| Some((*wanted.get(at)?, n))).collect()
            }
        }
    }

    /// An execution ended or was put aside: its place goes to the next that may run.
    pub(crate) fn leave(&self, claim: &Claim) {
        let mut inner = self.lock();
        inner.active = inner.active.saturating_sub(1);
        inner.count(&claim.tenant, -1, 0);
        if claim.limit.is_some() {
            inner.give_back(claim.workflow);
            if inner.lent.is_some() {
                self.wanting.notify_one();
            }
        }
        inner.admit_next(self.places());
    }

    /// The shard of an execution that runs is about to leave: its place of the workflow stays counted here for a while
    /// after [`Admission::leave`].
    pub(crate) fn departs(&self, claim: &Claim) {
        if let Some(limit) = claim.limit {
            let mut inner = self.lock();
            inner.take_of_workflow(claim.workflow, limit);
            inner.departed.push((Instant::now(), claim.workflow));
        }
    }

    /// Places of workflows that other replicas lend to this one, none where absent; `None` = it is alone: all.
    pub(crate) fn set_lent(&self, lent: Option<HashMap<WorkflowId, u32>>) {
        let mut inner = self.lock();
        inner.lent = lent;
        inner.admit_next(self.places());
    }

    /// What is used and wanted of the places of workflows that limit themselves. From now on the places are shared with
    /// others: what is held and neither used nor wanted is given back by this. Executions that departed longer than
    /// `departed` ago are the business of their new owner. `None` while executions are being read back: what they use
    /// is not known yet.
    pub(crate) fn share_places(&self, departed: Duration) -> Option<HashMap<WorkflowId, PlaceDemand>> {
        let mut inner = self.lock();
        while let Some((at, workflow)) = inner.departed.first().copied()
            && at.elapsed() >= departed
        {
            inner.departed.remove(0);
            inner.give_back(workflow);
        }
        let had_all = inner.lent.is_none();
        if inner.settling > 0 {
            inner.lent.get_or_insert_default();
            return None;
        }
        let mut demand = inner.by_workflow.clone();
        for waiter in inner.queue.values() {
            if let Some(limit) = waiter.claim.limit {
                let of = demand.entry(waiter.claim.workflow).or_default();
                (of.limit, of.want) = (of.limit.max(limit), of.want + 1);
            }
        }
        for workflow in inner.lent.iter().flatten().map(|(workflow, _)| *workflow) {
            demand.entry(workflow).or_default();
        }
        for (workflow, of) in &mut demand {
            let lent = inner.lent.as_ref().and_then(|lent| lent.get(workflow).copied()).unwrap_or(0);
            of.held = if had_all { of.limit } else { lent }.min(of.in_use + of.want);
        }
        inner.lent = Some(demand.iter().filter(|(_, of)| of.held > 0).map(|(w, of)| (*w, of.held)).collect());
        Some(demand)
    }

    /// Waits until what is used or wanted of lent places changes.
    pub(crate) async fn wanting(&self) {
        self.wanting.notified().await;
    }

    /// Whether an execution waits that only a place from others can let in.
    pub(crate) fn waits_for_others(&self) -> bool {
        let inner = self.lock();
        inner.lent.is_some() && inner.queue.values().any(|w| w.claim.limit.is_some())
    }

    /// An execution ended before it ran.
    pub(crate) fn forget(&self, id: ExecutionId) {
        let mut inner = self.lock();
        if let Some(waiter) = inner.places.remove(&id).and_then(|place| inner.queue.remove(&place)) {
            inner.count(&waiter.claim.tenant, 0, -1);
        }
    }
}

impl Inner {
    fn room(&self, max: u32, claim: &Claim) -> bool {
        let Claim { tenant, workflow, limit } = claim;
        let runs = || self.by_tenant.get(tenant).map_or(0, |of| of.0);
        if self.quota.running > 0 && runs() >= self.quota.running {
            return false;
        }
        let own = limit.is_none_or(|limit| {
            let may = match &self.lent {
                None => limit,
                Some(lent) => lent.get(workflow).map_or(0, |n| (*n).min(limit)),
            };
            self.by_workflow.get(workflow).map_or(0, |of| of.in_use) < may
        });
        self.active < max && own
    }

    fn take(&mut self, claim: &Claim) {
        self.active += 1;
        self.count(&claim.tenant, 1, 0);
        if let Some(limit) = claim.limit {
            self.take_of_workflow(claim.workflow, limit);
        }
    }

    /// More or fewer executions of the tenant run, or wait.
    fn count(&mut self, tenant: &Tenant, running: i32, queued: i32) {
        if (self.quota.running, self.quota.queued) == (0, 0) {
            return;
        }
        let of = self.by_tenant.entry(tenant.clone()).or_default();
        *of = (of.0.saturating_add_signed(running), of.1.saturating_add_signed(queued));
        if *of == (0, 0) {
            self.by_tenant.remove(tenant);
        }
    }

    fn take_of_workflow(&mut self, workflow: WorkflowId, limit: u32) {
        let of = self.by_workflow.entry(workflow).or_default();
        (of.limit, of.in_use) = (of.limit.max(limit), of.in_use + 1);
    }

    fn give_back(&mut self, workflow: WorkflowId) {
        if let Some(of) = self.by_workflow.get_mut(&workflow) {
            of.in_use = of.in_use.saturating_sub(1);
            if of.in_use == 0 {
                self.by_workflow.remove(&workflow);
            }
        }
    }

    fn admit_next(&mut self, max: u32) {
        while self.settling == 0 && self.active < max {
            let next = self.queue.iter().find(|(_, w)| self.room(max, &w.claim)).map(|(place, _)| *place);
            let Some(waiter) = next.and_then(|place| self.queue.remove(&place)) else { return };
            let Waiter { id, claim, lane } = waiter;
            self.places.remove(&id);
            self.count(&claim.tenant, 0, -1);
            self.take(&claim);
            let _ = lane.send(Msg::Admitted { id, claim });
        }
    }
}
