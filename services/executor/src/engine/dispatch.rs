//! Who calls which instance: slots, and calls that wait for one.
//!
//! One short critical section, never held over IO. Waiting calls are kept by what they need, so that many calls
//! waiting for one busy agent do not slow down the others.

mod broken;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use balance::{
    Ask, Breaker, Entry, FairQueue, Slot as Place, WEIGHED_MAX,
    breaker::{Gate, Rule},
    choice::Condition,
    choose, windows,
};
use base::{AgentId, Clock, ExecutionId, Tenant, Timestamp};
use catalog::{AgentEntry, AgentState, Candidate, InstanceEntry, Need, Outcome, Snapshot, Status};
use tokio::sync::{Notify, mpsc, watch};
use workflow::CallKey;

use super::msg::Msg;
pub(crate) use broken::Broken;

/// What a task needs, with a number of its own: calls of one class wait in one queue.
#[derive(Debug)]
pub struct NeedClass {
    id: u64,
    /// What an agent must be and offer.
    pub need: Need,
    preferred: ArcSwapOption<Preference>,
}

/// The agents that the allocation of the plan gives a task: the one it chose, and those that are as good. They count as
/// the cheapest while they have room, and share the calls like agents of one price.
#[derive(Debug, PartialEq)]
pub struct Preference {
    agents: HashSet<AgentId>,
    reason: String,
}

impl Preference {
    /// `slack`: how much later the task could be done.
    pub fn new(agents: impl IntoIterator<Item = AgentId>, slack: Duration) -> Self {
        let why = match slack {
            Duration::ZERO => "critical".to_owned(),
            slack => format!("{} of slack", base::time::show_duration(slack)),
        };
        Self { agents: agents.into_iter().collect(), reason: format!("the plan's choice ({why})") }
    }
}

impl NeedClass {
    /// A class of its own.
    pub fn new(need: Need) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), need, preferred: ArcSwapOption::empty() }
    }

    /// What the allocation says now.
    pub fn prefer(&self, preferred: Option<Preference>) {
        if self.preferred.load().as_deref() != preferred.as_ref() {
            self.preferred.store(preferred.map(Arc::new));
        }
    }
}

/// A call that looks for an instance.
pub(crate) struct Wanted {
    pub(crate) execution: ExecutionId,
    pub(crate) call: CallKey,
    pub(crate) tenant: Tenant,
    pub(crate) priority: i32,
    /// Since when it is ready.
    pub(crate) since: Timestamp,
    /// Instances that failed it, as `agent/instance`.
    pub(crate) tried: Vec<Arc<str>>,
    pub(crate) lane: mpsc::UnboundedSender<Msg>,
}

/// What became of it.
pub(crate) enum Acquired {
    /// It may leave.
    Now(Permit),
    /// Every instance is busy; the lane is told when one is free.
    Queued,
    /// No agent can take it now; it waits for one.
    NoAgent(String),
    /// Too many calls wait already.
    Full,
}

/// What the fleet lacks for a call.
pub(crate) enum Lack {
    /// An agent that can do it.
    Nobody(String),
    /// One that takes calls: such that can do it exist and are not well.
    Unwell(String),
    /// A closed breaker: the others are open.
    Breaker(Broken),
    /// A free instance.
    Room,
}

/// The right to one call at one instance. Dropping it gives the slot back.
pub(crate) struct Permit {
    dispatcher: Arc<Dispatcher>,
    slot: SlotKey,
    /// It shows whether the instance is well again.
    probe: bool,
    /// How it ended, when that is known.
    failed: Option<bool>,
    /// The agent.
    pub(crate) agent: Arc<AgentEntry>,
    /// Index of the instance.
    pub(crate) instance: usize,
    /// Why this one.
    pub(crate) reason: Arc<str>,
}

impl Permit {
    /// Gives the slot back of a call that has ended. `failed`: its instance is away or hangs.
    pub(crate) fn ended(mut self, failed: bool) {
        self.failed = Some(failed);
    }

    pub(crate) fn instance_key(&self) -> Arc<str> {
        self.slot.1.clone()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.dispatcher.release(&self.slot, self.probe, self.failed);
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Permit({})", self.slot.1)
    }
}

/// Agent, and `agent/instance`.
pub(crate) type SlotKey = (AgentId, Arc<str>);

#[derive(Default)]
struct Slot {
    in_use: u32,
    breaker: Breaker,
}

struct Matched {
    candidates: Arc<[Candidate]>,
    seats: Arc<Seats>,
    nobody: Option<String>,
    /// Somebody is there, and takes no calls now.
    unwell: bool,
}

/// The instances of the candidates, and what about them does not change with the calls that they have.
struct Seats {
    /// Best standing first.
    all: Vec<Seat>,
    /// Runs of equal standing.
    equals: Vec<Range<usize>>,
    /// Of each agent those that are in no worse condition and no farther than any other.
    best: HashMap<AgentId, Vec<usize>>,
}

struct Seat {
    /// Index of the candidate, and of the instance.
    at: (usize, usize),
    slot: SlotKey,
}

impl Seats {
    fn of(candidates: &[Candidate], region: &str) -> Self {
        let mut all = Vec::new();
        for (rank, candidate) in candidates.iter().enumerate() {
            for (index, instance) in candidate.agent.instances.iter().enumerate() {
                let place = place(candidate, instance, 0, 1, region);
                let far = !region.is_empty() && place.region != region;
                let standing = (place.condition, far, place.price_rank);
                all.push((standing, Seat { at: (rank, index), slot: slot_key(&candidate.agent, instance) }));
            }
        }
        all.sort_by_key(|(standing, _)| *standing);
        let mut equals = Vec::new();
        let mut begin = 0;
        for run in all.chunk_by(|(a, _), (b, _)| a == b) {
            equals.push(begin..begin + run.len());
            begin += run.len();
        }
        let mut best: HashMap<AgentId, Vec<usize>> = HashMap::new();
        let first = all.first().map(|((condition, far, _), _)| (*condition, *far));
        for (n, ((condition, far, _), seat)) in all.iter().enumerate() {
            if Some((*condition, *far)) == first {
                best.entry(seat.slot.0.clone()).or_default().push(n);
            }
        }
        Self { all: all.into_iter().map(|(_, seat)| seat).collect(), equals, best }
    }
}

type Queue = FairQueue<(ExecutionId, CallKey), Tenant, u64, (Arc<NeedClass>, Wanted)>;

struct Inner {
    fleet: Arc<Snapshot>,
    matched: HashMap<u64, Matched>,
    slots: HashMap<SlotKey, Slot>,
    /// A class is closed in it while no instance has room for it.
    waiting: Queue,
    /// Classes with waiting calls that could use the agent.
    interested: HashMap<AgentId, BTreeSet<u64>>,
    /// What other replicas let us use; `None` = every instance's own capacity.
    lent: Option<HashMap<SlotKey, u32>>,
    in_flight: u32,
    salt: u64,
    rule: Rule,
    clock: Arc<dyn Clock>,
    /// Breakers that are open, and since when they may be tried.
    broken: BTreeSet<(Timestamp, SlotKey)>,
}

/// Chooses instances and keeps their slots.
pub(crate) struct Dispatcher {
    region: String,
    wanting: Notify,
    fleet_known: watch::Sender<bool>,
    inner: Mutex<Inner>,
}

impl Dispatcher {
    /// `waiting_max`: calls that may wait for a slot; `region`: where this replica stands; `rule`: of breakers.
    pub(crate) fn new(waiting_max: usize, region: &str, rule: Rule, clock: Arc<dyn Clock>) -> Self {
        let inner = Inner {
            fleet: Arc::default(),
            matched: HashMap::new(),
            slots: HashMap::new(),
            waiting: FairQueue::new(waiting_max),
            interested: HashMap::new(),
            lent: None,
            in_flight: 0,
            salt: 0,
            rule,
            clock,
            broken: BTreeSet::new(),
        };
        Self {
            region: region.into(),
            wanting: Notify::new(),
            fleet_known: watch::channel(false).0,
            inner: Mutex::new(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic inside leaves counters at worst one off; going on beats stopping every execution.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fleet as the registry tells it.
    pub(crate) fn fleet(&self) -> Arc<Snapshot> {
        self.lock().fleet.clone()
    }

    /// Calls in flight, and calls that wait.
    pub(crate) fn load(&self) -> (u32, u32) {
        let inner = self.lock();
        (inner.in_flight, inner.waiting.len() as u32)
    }

    /// Calls in flight by agent.
    pub(crate) fn in_flight(&self) -> HashMap<AgentId, u32> {
        let mut out = HashMap::new();
        for (key, slot) in self.lock().slots.iter().filter(|(_, s)| s.in_use > 0) {
            *out.entry(key.0.clone()).or_default() += slot.in_use;
        }
        out
    }

    /// Finds an instance for a call, or lets it wait.
    pub(crate) fn acquire(self: &Arc<Self>, class: &Arc<NeedClass>, wanted: Wanted) -> Acquired {
        let mut inner = self.lock();
        let nobody = inner.matched(class, &self.region).nobody.clone();
        if nobody.is_none()
            && !inner.waiting.waits_for(&class.id)
            && let Some(found) = inner.pick(class, &wanted.tried, &self.region)
        {
            drop(inner);
            return Acquired::Now(self.permit(found));
        }
        let nobody = nobody.or_else(|| inner.broken(class).map(|broken| broken.to_string()));
        if !inner.enqueue(class, wanted) {
            return Acquired::Full;
        }
        if inner.lent.is_some() {
            self.wanting.notify_one();
        }
        match nobody {
            Some(reason) => Acquired::NoAgent(reason),
            None => Acquired::Queued,
        }
    }

    /// Agents that could do what is asked for, whether they have room or not, best first.
    pub(crate) fn candidates(&self, class: &NeedClass) -> Vec<Arc<AgentEntry>> {
        self.lock().matched(class, &self.region).candidates.iter().map(|c| c.agent.clone()).collect()
    }

    /// Why a call of the class would not leave now.
    pub(crate) fn lack(&self, class: &NeedClass) -> Lack {
        let mut inner = self.lock();
        match inner.matched(class, &self.region) {
            Matched { nobody: Some(reason), unwell: true, .. } => Lack::Unwell(reason.clone()),
            Matched { nobody: Some(reason), .. } => Lack::Nobody(reason.clone()),
            _ => inner.broken(class).map_or(Lack::Room, Lack::Breaker),
        }
    }

    /// A call no longer waits.
    pub(crate) fn forget(&self, execution: ExecutionId, call: CallKey) {
        self.lock().waiting.remove(&(execution, call));
    }

    /// A slot for a call that is under way already (recovery), even when that is one too many.
    pub(crate) fn adopt(self: &Arc<Self>, instance_key: &str) -> Option<Permit> {
        let mut inner = self.lock();
        let (entry, instance) = inner.find(instance_key)?;
        let slot = (entry.id().clone(), Arc::from(instance_key));
        inner.take(&slot);
        drop(inner);
        Some(self.permit(Found { slot, probe: false, agent: entry, instance, reason: "recovered".into() }))
    }

    /// An instance of the fleet by `agent/instance`: the agent, and the instance's index.
    pub(crate) fn find(&self, instance_key: &str) -> Option<(Arc<AgentEntry>, usize)> {
        self.lock().find(instance_key)
    }

    fn permit(self: &Arc<Self>, found: Found) -> Permit {
        let Found { slot, probe, agent, instance, reason } = found;
        Permit { dispatcher: self.clone(), slot, probe, failed: None, agent, instance, reason }
    }

    fn release(self: &Arc<Self>, slot: &SlotKey, probe: bool, failed: Option<bool>) {
        let mut inner = self.lock();
        if let Some(s) = inner.slots.get_mut(slot) {
            s.in_use = s.in_use.saturating_sub(1);
        }
        inner.in_flight = inner.in_flight.saturating_sub(1);
        inner.tell_breaker(slot, probe, failed);
        inner.reopen(&slot.0);
        let granted = inner.serve(&self.region);
        drop(inner);
        self.tell(granted);
    }

    /// Agents came, went or changed.
    pub(crate) fn set_fleet(self: &Arc<Self>, fleet: Arc<Snapshot>) {
        let mut inner = self.lock();
        inner.fleet = fleet;
        inner.matched.clear();
        inner.interested.clear();
        inner.reopen_all();
        let known: BTreeSet<AgentId> = inner.fleet.agents().map(|a| a.id().clone()).collect();
        inner.slots.retain(|key, slot| slot.in_use > 0 || known.contains(&key.0));
        inner.forget_breakers();
        let granted = inner.serve(&self.region);
        drop(inner);
        self.tell(granted);
        self.fleet_known.send_replace(true);
    }

    /// Whether the registry has told the fleet.
    pub(crate) fn knows_fleet(&self) -> bool {
        *self.fleet_known.borrow()
    }

    /// Waits until it has.
    pub(crate) async fn fleet_known(&self) {
        let _ = self.fleet_known.subscribe().wait_for(|known| *known).await;
    }

    /// How many slots of instances other replicas lend to this one, by `agent/instance`, none where absent;
    /// `None` = this replica is alone: all.
    pub(crate) fn set_lent(self: &Arc<Self>, lent: Option<HashMap<SlotKey, u32>>) {
        let mut inner = self.lock();
        if inner.lent == lent {
            return;
        }
        inner.lent = lent;
        inner.reopen_all();
        let granted = inner.serve(&self.region);
        drop(inner);
        self.tell(granted);
    }

    /// Waits until a call waits although others could lend a slot.
    pub(crate) async fn wanting(&self) {
        self.wanting.notified().await;
    }

    /// Slots in use and calls that would like one, by `agent/instance`.
    pub(crate) fn demand(&self) -> Vec<(AgentId, Arc<str>, u32, u32)> {
        let inner = self.lock();
        let mut demand: HashMap<SlotKey, (u32, u32)> = HashMap::new();
        for (key, slot) in inner.slots.iter().filter(|(_, s)| s.in_use > 0) {
            demand.entry(key.clone()).or_default().0 = slot.in_use;
        }
        for (agent, classes) in &inner.interested {
            let waits = classes.iter().any(|class| inner.waiting.waits_for(class));
            let Some(entry) = inner.fleet.agent(agent).filter(|_| waits) else { continue };
            for instance in &entry.instances {
                demand.entry(slot_key(entry, instance)).or_default().1 = inner.waiting.len() as u32;
            }
        }
        demand.into_iter().map(|((agent, key), (used, want))| (agent, key, used, want)).collect()
    }

    fn tell(self: &Arc<Self>, granted: Vec<(Wanted, Found)>) {
        for (wanted, found) in granted {
            let permit = self.permit(found);
            // A lane that is gone drops the permit, which gives the slot to the next.
            let _ = wanted.lane.send(Msg::Granted { id: wanted.execution, call: wanted.call, permit });
        }
    }
}

struct Found {
    slot: SlotKey,
    probe: bool,
    agent: Arc<AgentEntry>,
    instance: usize,
    reason: Arc<str>,
}

fn slot_key(agent: &AgentEntry, instance: &InstanceEntry) -> SlotKey {
    (agent.id().clone(), format!("{}/{}", agent.id(), instance.instance.id).into())
}

impl Inner {
    fn find(&self, instance_key: &str) -> Option<(Arc<AgentEntry>, usize)> {
        let (agent, name) = instance_key.split_once('/')?;
        let entry = self.fleet.agent(&AgentId::new(agent).ok()?)?.clone();
        let instance = entry.instances.iter().position(|i| i.instance.id == name)?;
        Some((entry, instance))
    }

    fn matched(&mut self, class: &NeedClass, region: &str) -> &Matched {
        let fleet = &self.fleet;
        self.matched.entry(class.id).or_insert_with(|| {
            let found = fleet.matches(&class.need);
            let unwell = matches!(found.outcome, Outcome::Later(_));
            let nobody = match found.outcome {
                Outcome::Now => None,
                Outcome::Later(reason) | Outcome::Never(reason) => Some(reason),
            };
            let seats = Arc::new(Seats::of(&found.candidates, region));
            Matched { candidates: found.candidates.into(), seats, nobody, unwell }
        })
    }

    fn enqueue(&mut self, class: &Arc<NeedClass>, wanted: Wanted) -> bool {
        let entry = Entry {
            key: (wanted.execution, wanted.call),
            tenant: wanted.tenant.clone(),
            priority: wanted.priority,
            time: wanted.since.micros(),
            class: class.id,
            item: (class.clone(), wanted),
        };
        let taken = self.waiting.push(entry).is_ok();
        self.waiting.close(&class.id);
        self.note_interest(class.id);
        taken
    }

    fn note_interest(&mut self, class: u64) {
        let Some(matched) = self.matched.get(&class) else { return };
        for candidate in matched.candidates.iter() {
            self.interested.entry(candidate.agent.id().clone()).or_default().insert(class);
        }
    }

    /// Calls that could use the agent may be looked at again.
    fn reopen(&mut self, agent: &AgentId) {
        let Some(classes) = self.interested.get_mut(agent) else { return };
        classes.retain(|class| self.waiting.waits_for(class));
        for class in classes.iter() {
            self.waiting.open(class);
        }
    }

    /// The fleet changed: every waiting class is looked at again.
    fn reopen_all(&mut self) {
        self.interested.clear();
        for class in self.waiting.classes() {
            self.waiting.open(&class);
        }
    }

    fn room(&self, slot: &SlotKey, instance: &InstanceEntry) -> (u32, u32) {
        let own = instance.instance.capacity;
        let capacity = match &self.lent {
            None => own,
            Some(lent) => lent.get(slot).map_or(0, |n| (*n).min(own)),
        };
        let Some(own) = self.slots.get(slot) else { return (0, capacity) };
        let capacity = match own.breaker.gate(|| self.clock.now()) {
            // Once a call has left for it, it is no longer half-open.
            Gate::Closed | Gate::HalfOpen(_) => capacity,
            Gate::Open(_) | Gate::Probed(_) => 0,
        };
        (own.in_use, capacity)
    }

    fn take(&mut self, slot: &SlotKey) -> &mut Slot {
        self.in_flight += 1;
        let own = self.slots.entry(slot.clone()).or_default();
        own.in_use += 1;
        own
    }

    /// The best instance with room, and takes its slot. Of a large fleet the best of a part of those of equal standing,
    /// so that the lock is held no longer the more agents there are. A preferred agent is looked at first when it is among
    /// the best; a retry looks at all.
    fn pick(&mut self, class: &NeedClass, tried: &[Arc<str>], region: &str) -> Option<Found> {
        let matched = self.matched.get(&class.id)?;
        let (candidates, seats) = (matched.candidates.clone(), matched.seats.clone());
        let preferred = class.preferred.load();
        self.salt = self.salt.wrapping_add(1);
        let tried: Vec<(&str, &str)> = tried.iter().filter_map(|key| key.split_once('/')).collect();
        let ask = Ask { region, tried: &tried, salt: self.salt };
        let all = &seats.all;
        if all.len() <= WEIGHED_MAX || !tried.is_empty() {
            return self.weigh(&candidates, all.iter(), preferred.as_deref(), &ask);
        }
        if let Some(preferred) = preferred.as_deref() {
            let own = preferred.agents.iter().filter_map(|agent| seats.best.get(agent)).flatten();
            let own = own.take(WEIGHED_MAX).map(|n| &all[*n]);
            if let Some(found) = self.weigh(&candidates, own, Some(preferred), &ask) {
                return Some(found);
            }
        }
        let mut parts = seats.equals.iter().flat_map(|run| {
            let start = run.start;
            windows(run.len(), ask.salt).map(move |part| start + part.start..start + part.end)
        });
        parts.find_map(|part| self.weigh(&candidates, all[part].iter(), None, &ask))
    }

    fn weigh<'s>(
        &mut self,
        candidates: &[Candidate],
        seats: impl Iterator<Item = &'s Seat>,
        preferred: Option<&Preference>,
        ask: &Ask<'_>,
    ) -> Option<Found> {
        let seats: Vec<&Seat> = seats.collect();
        let places: Vec<Place<'_>> = seats
            .iter()
            .map(|seat| {
                let (rank, index) = seat.at;
                let candidate = &candidates[rank];
                let instance = &candidate.agent.instances[index];
                let (in_flight, capacity) = self.room(&seat.slot, instance);
                let mut place = place(candidate, instance, in_flight, capacity, ask.region);
                if let Some(preferred) = preferred {
                    let among = preferred.agents.contains(&seat.slot.0);
                    place.price_rank = if among { 0 } else { place.price_rank.saturating_add(1) };
                }
                place
            })
            .collect();
        let choice = choose(&places, ask).ok()?;
        let (seat, mut reason) = (seats[choice.index], choice.reason);
        if let Some(preferred) = preferred.filter(|p| p.agents.contains(&seat.slot.0)) {
            reason = format!("{}, {reason}", preferred.reason);
        }
        let probe = self.take(&seat.slot).breaker.leaves();
        if probe {
            reason.push_str(", tried again after its breaker opened");
        }
        let (rank, instance) = seat.at;
        let (slot, agent) = (seat.slot.clone(), candidates[rank].agent.clone());
        Some(Found { slot, probe, agent, instance, reason: reason.into() })
    }

    /// Gives free slots to calls that wait, in their order. A class that finds no room is closed until there is some.
    fn serve(&mut self, region: &str) -> Vec<(Wanted, Found)> {
        let mut out = Vec::new();
        while let Some(entry) = self.waiting.peek() {
            let (class, tried) = (entry.item.0.clone(), entry.item.1.tried.clone());
            self.matched(&class, region);
            match self.pick(&class, &tried, region) {
                Some(found) => {
                    let Some(entry) = self.waiting.pop() else { return out };
                    out.push((entry.item.1, found));
                }
                None => {
                    self.note_interest(class.id);
                    self.waiting.close(&class.id);
                }
            }
        }
        out
    }
}

/// `home`: the replica's region; an instance that states none is as near as any.
fn place<'a>(
    candidate: &'a Candidate,
    instance: &'a InstanceEntry,
    in_flight: u32,
    capacity: u32,
    home: &'a str,
) -> Place<'a> {
    Place {
        agent: candidate.agent.id().as_str(),
        instance: &instance.instance.id,
        condition: match instance.status {
            Status::Healthy => Condition::Healthy,
            Status::Degraded => Condition::Degraded,
            Status::Unhealthy => Condition::Away,
            Status::Unknown => Condition::Unknown,
        },
        score: instance.score,
        region: if instance.instance.region.is_empty() { home } else { &instance.instance.region },
        capacity,
        in_flight,
        weight: instance.instance.weight,
        price_rank: candidate.price_rank,
        draining: candidate.agent.state == AgentState::Draining,
    }
}
