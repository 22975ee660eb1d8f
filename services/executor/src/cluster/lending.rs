//! Slots of instances and places of workflows, borrowed and lent. Every replica tells the lenders in rounds what it
//! uses and wants, and may use what they answer until its time is over.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::{AgentId, WorkflowId};
use proto::executor::internal::v1 as pb;
use tokio::time::Instant;

use super::{
    Inner,
    map::{Member, Place, ShardMap, shard_of_agent, shard_of_workflow},
    places::{self, PlaceAsk},
    slots::{InstanceKey, Lender, Report},
};

/// Shortest pause between two rounds, however many calls wait.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest wait for a lender's answer: a late one is not believed.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The lender's side, shared with the server.
#[derive(Default)]
pub(crate) struct Books(Mutex<Ledger>);

pub(super) struct Ledger {
    lender: Lender<InstanceKey>,
    pub(super) places: Lender<WorkflowId>,
    /// When a life of a member was last seen.
    pub(super) seen: HashMap<Arc<str>, Instant>,
    /// Since when a shard is here and slots are lent, and who has reported since.
    pub(super) shards: HashMap<u16, (Instant, BTreeSet<Arc<str>>)>,
    /// Others are here: slots are lent.
    pub(super) shared: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            lender: Lender::with_reserve(),
            places: Lender::on_demand(),
            seen: HashMap::new(),
            shards: HashMap::new(),
            shared: false,
        }
    }
}

impl Books {
    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether others are here. From the moment they are, this replica lends as if its shards had just come: what it
    /// used without asking is known when it has reported too.
    fn share(&self, others: bool) {
        let mut ledger = self.lock();
        if others && !ledger.shared {
            ledger.shards.values_mut().for_each(|since| *since = (Instant::now(), BTreeSet::new()));
        }
        ledger.shared = others;
    }

    pub(crate) fn took(&self, shard: u16) {
        self.lock().shards.insert(shard, (Instant::now(), BTreeSet::new()));
    }

    pub(crate) fn leaves(&self, shard: u16, shards: u16) {
        let mut ledger = self.lock();
        ledger.shards.remove(&shard);
        ledger.lender.forget(|(agent, _)| shard_of_agent(agent, shards) == shard);
        ledger.places.forget(|workflow| shard_of_workflow(*workflow, shards) == shard);
    }
}

impl Inner {
    /// What a borrower may use of the instances that it names and that this replica lends.
    pub(crate) fn lend(
        &self,
        borrower: &Arc<str>,
        reports: &[(InstanceKey, Report)],
    ) -> Vec<(InstanceKey, u32)> {
        let map = self.map.load();
        let living: BTreeSet<Arc<str>> = map.members().iter().map(|m| m.id.clone()).collect();
        let fleet = self.engine.fleet();
        let mut ledger = self.lending.lock();
        if !ledger.shared || !living.contains(borrower) || !self.lease.is_valid() {
            return Vec::new();
        }
        let mut grants = Vec::new();
        let mut reported = BTreeSet::new();
        for (key, report) in reports {
            let shard = shard_of_agent(&key.0, self.options.shards);
            let Some((since, known)) = ledger.shards.get(&shard) else { continue };
            let Some(capacity) = capacity(&fleet, key) else { continue };
            // What an earlier lender gave has run out after a lease, or everybody has said what it holds.
            let known = since.elapsed() >= self.options.lease || living.is_subset(known);
            reported.insert(shard);
            let granted = ledger.lender.lend(key, capacity, borrower, *report, &living, known);
            grants.push((key.clone(), granted));
        }
        for shard in reported {
            if let Some((_, known)) = ledger.shards.get_mut(&shard) {
                known.insert(borrower.clone());
            }
        }
        grants
    }
}

fn capacity(fleet: &catalog::Snapshot, key: &InstanceKey) -> Option<u32> {
    let name = key.1.split_once('/')?.1;
    let entry = fleet.agent(&key.0)?;
    entry.instances.iter().find(|i| i.instance.id == name).map(|i| i.instance.capacity)
}

/// The borrower's side.
struct Borrower {
    /// Slots and until when they may be used.
    held: HashMap<InstanceKey, (u32, Instant)>,
    places: places::Borrower,
    /// It was alone and used every slot without asking.
    had_all: bool,
}

/// What one lender is asked.
#[derive(Default)]
struct Asks {
    slots: Vec<(InstanceKey, Report)>,
    places: Vec<PlaceAsk>,
}

/// What one lender answered, and until when it holds.
struct Granted {
    slots: Vec<(InstanceKey, u32)>,
    places: Vec<(WorkflowId, u32)>,
    until: Instant,
}

/// Keeps what calls need until the cluster stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut borrower =
        Borrower { held: HashMap::new(), places: places::Borrower::default(), had_all: inner.alone };
    let mut changes = inner.map_changed.subscribe();
    loop {
        borrower.round(&inner).await;
        // A lender does not tell when a place is free: who waits for one asks more often.
        let pause = inner.options.lease / if inner.engine.waits_for_others() { 15 } else { 3 };
        tokio::select! {
            () = inner.stopped() => return,
            () = inner.engine.wanting() => tokio::time::sleep(PAUSE).await,
            _ = changes.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Borrower {
    async fn round(&mut self, inner: &Arc<Inner>) {
        let map = inner.map.load_full();
        let others = map.members().iter().any(|m| *m.id != *inner.me.id.as_str());
        inner.lending.share(others);
        if !others {
            self.had_all = true;
            self.held.clear();
            self.places = places::Borrower::default();
            inner.engine.set_lent_places(None);
            return inner.engine.set_lent(None);
        }
        inner.see(&map);
        let now = Instant::now();
        let until = now + inner.options.lease;
        let had_all = std::mem::take(&mut self.had_all);
        if had_all {
            self.held = instances(&inner.engine.fleet()).map(|(key, all)| (key, (all, until))).collect();
        }
        self.held.retain(|_, (_, until)| *until > now);
        self.places.begin(inner, had_all.then_some(until));
        let own: Arc<str> = inner.me.id.as_str().into();
        let (here, elsewhere) = self.asks(inner, &map);
        let slots = inner.lend(&own, &here.slots);
        let places = inner.lend_places(&own, inner.me.incarnation, &here.places);
        self.take(Granted { slots, places, until });
        self.apply(inner);
        let answers = elsewhere.into_values().map(|(lender, asks)| borrow(inner, lender, asks));
        for granted in futures::future::join_all(answers).await.into_iter().flatten() {
            self.take(granted);
        }
        self.apply(inner);
    }

    fn take(&mut self, granted: Granted) {
        let Granted { slots, places, until } = granted;
        self.held.extend(slots.into_iter().map(|(key, n)| (key, (n, until))));
        self.places.take(places, until);
    }

    /// What is to be asked: of ourselves, and of others by name.
    fn asks(&self, inner: &Inner, map: &ShardMap) -> (Asks, BTreeMap<Arc<str>, (Member, Asks)>) {
        let demand: HashMap<InstanceKey, (u32, u32)> =
            inner.engine.demand().into_iter().map(|(a, i, used, want)| ((a, i), (used, want))).collect();
        let (mut here, mut elsewhere) = (Asks::default(), BTreeMap::<Arc<str>, (Member, Asks)>::new());
        let mut at = |shard: u16, put: &mut dyn FnMut(&mut Asks)| match map.place(shard, inner.me.id.as_str())
        {
            Place::Here => put(&mut here),
            Place::At(lender) => {
                let entry = elsewhere.entry(lender.id.clone());
                put(&mut entry.or_insert_with(|| (lender, Asks::default())).1);
            }
            Place::Nobody => {}
        };
        for (key, capacity) in instances(&inner.engine.fleet()) {
            let (in_use, want) = demand.get(&key).copied().unwrap_or_default();
            let held = self.held.get(&key).map_or(0, |(n, _)| *n);
            let report = Report { in_use, want: want.min(capacity), held };
            let shard = shard_of_agent(&key.0, inner.options.shards);
            at(shard, &mut |asks| asks.slots.push((key.clone(), report)));
        }
        for ask in self.places.asks() {
            let shard = shard_of_workflow(ask.workflow, inner.options.shards);
            at(shard, &mut |asks| asks.places.push(ask));
        }
        (here, elsewhere)
    }

    /// The engine may use what does not run out before the next round.
    fn apply(&self, inner: &Inner) {
        let usable_until = Instant::now() + inner.options.lease * 2 / 5;
        let lent = self.held.iter().filter(|(_, (_, until))| *until > usable_until);
        inner.engine.set_lent(Some(lent.map(|(key, (n, _))| (key.clone(), *n)).collect()));
        inner.engine.set_lent_places(Some(self.places.usable(usable_until)));
    }
}

fn instances(fleet: &catalog::Snapshot) -> impl Iterator<Item = (InstanceKey, u32)> {
    fleet.agents().flat_map(|entry| {
        entry.instances.iter().map(|i| {
            let key = format!("{}/{}", entry.id(), i.instance.id);
            ((entry.id().clone(), Arc::from(key)), i.instance.capacity)
        })
    })
}

/// Asks one lender for everything at once. Nothing when it does not answer: what is held runs out by itself.
async fn borrow(inner: &Arc<Inner>, lender: Member, asks: Asks) -> Option<Granted> {
    let want = |(key, report): &(InstanceKey, Report)| pb::SlotWant {
        tenant: base::Tenant::default().to_string(),
        agent_id: key.0.to_string(),
        instance_id: key.1.split_once('/').map_or("", |(_, i)| i).to_owned(),
        in_use: report.in_use,
        want: report.want,
        held: report.held,
    };
    let request = pb::LendSlotsRequest {
        member_id: inner.me.id.to_string(),
        incarnation: inner.me.incarnation,
        wants: asks.slots.iter().map(want).collect(),
        places: asks.places.iter().map(places::encode).collect(),
    };
    let sent = Instant::now();
    let answer = match tokio::time::timeout(ANSWER_WITHIN, inner.others.lend(&lender.address, request)).await
    {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::debug!(lender = %lender.id, %error, "a lender did not answer");
            return None;
        }
        Err(_) => return None,
    };
    let slot =
        |grant: pb::SlotGrant| Some((instance_key(&grant.agent_id, &grant.instance_id)?, grant.granted));
    let place = |grant: pb::PlaceGrant| Some((grant.workflow_id.parse().ok()?, grant.granted));
    Some(Granted {
        slots: answer.grants.into_iter().filter_map(slot).collect(),
        places: answer.places.into_iter().filter_map(place).collect(),
        until: sent + Duration::from_millis(answer.lease_ms),
    })
}

/// `None`: not the id of an agent.
pub(crate) fn instance_key(agent: &str, instance: &str) -> Option<InstanceKey> {
    let agent = AgentId::new(agent).ok()?;
    let key = Arc::from(format!("{agent}/{instance}"));
    Some((agent, key))
}
