//! All agents of a tenant at one revision: immutable, shared by `Arc`, indexed by what tasks ask for.
//!
//! [`Snapshot::with`] costs the number of agents plus the changed agents' index entries in pointer copies; a lookup
//! costs a hash. Put it behind an `ArcSwap` and read it without a lock.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use base::{AgentId, Timestamp, finding::nearest, units::Resources};
use serde_json::{Value, json};

use crate::{
    definition::{AgentDefinition, Capability, FullInstance, Rejected},
    health::{Assessment, Status, combine},
};

/// Whether an agent takes new calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AgentState {
    /// It does.
    #[default]
    Active,
    /// It is being removed: running calls end, new ones go elsewhere.
    Draining,
}

impl AgentState {
    /// The text form of the contracts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
        }
    }
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Draining].into_iter().find(|s| s.as_str() == text)
    }
}

/// What is measured about an agent, in the form of S0's `healthStatus`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthReport {
    /// The agent as a whole.
    pub overall: Assessment,
    /// When an instance was last looked at.
    pub last_check: Option<Timestamp>,
    /// By instance id.
    pub checks: BTreeMap<String, InstanceHealth>,
}

/// What is measured about one instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceHealth {
    /// Status, score and reason.
    pub assessment: Assessment,
    /// When it was last looked at.
    pub last_check: Option<Timestamp>,
    /// All calls that executors reported.
    pub calls: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Mean time of recent calls, ms.
    pub mean_ms: Option<f64>,
}

impl HealthReport {
    /// Of these instances; those that are not in the definition are left out, those without a check are unknown.
    pub fn of(definition: &AgentDefinition, mut known: BTreeMap<String, InstanceHealth>) -> Self {
        let mut checks = BTreeMap::new();
        let mut parts = Vec::new();
        for instance in definition.instances() {
            let check = known.remove(&instance.id).unwrap_or_else(|| InstanceHealth {
                assessment: crate::health::assess(&crate::health::Facts::default()),
                ..InstanceHealth::default()
            });
            parts.push((check.assessment.clone(), instance.capacity));
            checks.insert(instance.id, check);
        }
        let overall = combine(parts.iter().map(|(a, c)| (a, *c)));
        let last_check = checks.values().filter_map(|c| c.last_check).max();
        Self { overall, last_check, checks }
    }

    /// `{status, score, lastCheck, checks: [{instance, status, score, message, lastCheck, calls, failures,
    /// responseTime}]}`
    pub fn to_value(&self) -> Value {
        let checks: Vec<Value> = self
            .checks
            .iter()
            .map(|(id, c)| {
                let mut value = assessment_value(&c.assessment, c.last_check);
                value["instance"] = json!(id);
                if c.calls > 0 {
                    value["calls"] = json!(c.calls);
                    value["failures"] = json!(c.failures);
                }
                if let Some(ms) = c.mean_ms {
                    value["responseTime"] = crate::amount::number((ms * 100.0).round() / 100.0);
                }
                value
            })
            .collect();
        let mut value = assessment_value(&self.overall, self.last_check);
        value["checks"] = Value::Array(checks);
        value
    }

    /// Whether a caller would act differently: another status or score, of the agent or of an instance.
    pub fn differs(&self, other: &Self) -> bool {
        let key = |a: &Assessment| (a.status, a.score);
        let checks =
            |r: &Self| r.checks.iter().map(|(id, c)| (id.clone(), key(&c.assessment))).collect::<Vec<_>>();
        key(&self.overall) != key(&other.overall) || checks(self) != checks(other)
    }

    /// Whether the status differs, of the agent or of an instance.
    pub fn status_differs(&self, other: &Self) -> bool {
        let checks =
            |r: &Self| r.checks.iter().map(|(id, c)| (id.clone(), c.assessment.status)).collect::<Vec<_>>();
        self.overall.status != other.overall.status || checks(self) != checks(other)
    }

    /// Reads what [`HealthReport::to_value`] writes; what is odd counts as unknown.
    pub fn from_value(value: &Value) -> Self {
        let checks = value["checks"].as_array().into_iter().flatten().filter_map(|check| {
            let (assessment, last_check) = assessment_from(check);
            let health = InstanceHealth {
                assessment,
                last_check,
                calls: check["calls"].as_u64().unwrap_or(0),
                failures: check["failures"].as_u64().unwrap_or(0),
                mean_ms: check["responseTime"].as_f64(),
            };
            Some((check["instance"].as_str()?.to_owned(), health))
        });
        let (overall, last_check) = assessment_from(value);
        Self { overall, last_check, checks: checks.collect() }
    }
}

fn assessment_value(a: &Assessment, at: Option<Timestamp>) -> Value {
    let mut value = json!({"status": a.status.as_str(), "score": a.score});
    if !a.reason.is_empty() {
        value["message"] = json!(a.reason);
    }
    if let Some(at) = at {
        value["lastCheck"] = json!(at.rfc3339());
    }
    value
}

fn assessment_from(value: &Value) -> (Assessment, Option<Timestamp>) {
    let score = value["score"].as_u64().unwrap_or(u64::from(crate::health::UNKNOWN_SCORE)).min(100);
    let assessment = Assessment {
        status: value["status"].as_str().and_then(Status::parse).unwrap_or_default(),
        score: u8::try_from(score).unwrap_or(100),
        reason: value["message"].as_str().unwrap_or_default().to_owned().into(),
    };
    (assessment, value["lastCheck"].as_str().and_then(Timestamp::parse_rfc3339))
}

/// An instance with how it is.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceEntry {
    /// Where and how to call it.
    pub instance: FullInstance,
    /// How it is.
    pub status: Status,
    /// 0 to 100.
    pub score: u8,
}

/// An agent with how it is.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentEntry {
    /// As its owner describes it.
    pub definition: AgentDefinition,
    /// Rises with every change.
    pub revision: u64,
    /// Whether it takes new calls.
    pub state: AgentState,
    /// What is measured.
    pub health: HealthReport,
    /// Where it runs, every default filled in.
    pub instances: Vec<InstanceEntry>,
}

impl AgentEntry {
    /// Joins a definition and what is measured.
    pub fn new(definition: AgentDefinition, revision: u64, state: AgentState, health: HealthReport) -> Self {
        let health = HealthReport::of(&definition, health.checks);
        let instances = definition.instances().into_iter().map(|instance| {
            let a = health.checks.get(&instance.id).map(|c| &c.assessment);
            let (status, score) =
                a.map_or((Status::Unknown, crate::health::UNKNOWN_SCORE), |a| (a.status, a.score));
            InstanceEntry { instance, status, score }
        });
        Self { instances: instances.collect(), definition, revision, state, health }
    }

    /// Reads the JSON of a watch: a definition with `healthStatus`. Keys of a newer release are passed over.
    ///
    /// # Errors
    /// When the definition does not hold up.
    pub fn from_json(text: &str, revision: u64, state: AgentState) -> Result<Self, Rejected> {
        let value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let definition = crate::read::from_stored(&value)?;
        Ok(Self::new(definition, revision, state, HealthReport::from_value(&value["healthStatus"])))
    }

    /// The JSON of S0, `healthStatus` included.
    pub fn to_value(&self) -> Value {
        let mut value = self.definition.to_value();
        value["healthStatus"] = self.health.to_value();
        value
    }

    /// Its id.
    pub fn id(&self) -> &AgentId {
        &self.definition.id
    }
    /// How it is as a whole.
    pub fn status(&self) -> Status {
        self.health.overall.status
    }
    /// 0 to 100.
    pub fn score(&self) -> u8 {
        self.health.overall.score
    }
    /// Whether new calls may go to some instance, in `region` when one is asked for.
    pub fn takes_calls(&self, region: Option<&str>) -> bool {
        self.state == AgentState::Active
            && self
                .instances
                .iter()
                .any(|i| i.status.takes_calls() && region.is_none_or(|r| i.instance.region == r))
    }
    /// Calls at once over all its instances.
    pub fn capacity(&self) -> u64 {
        self.instances.iter().map(|i| u64::from(i.instance.capacity)).sum()
    }
    /// How long a call of the capability usually takes: as the agent declares, else as was measured over all its calls.
    pub fn expected(&self, capability: Option<&str>) -> Option<Duration> {
        let measured = || {
            let known = self.health.checks.values().filter_map(|c| Some((c.mean_ms?, c.calls.max(1) as f64)));
            let (sum, calls) = known.fold((0.0, 0.0), |(sum, all), (ms, n)| (sum + ms * n, all + n));
            (calls > 0.0).then(|| sum / calls)
        };
        let ms = self.declared_ms(capability).or_else(measured).filter(|ms| ms.is_finite() && *ms >= 0.0)?;
        Some(Duration::from_micros((ms * 1000.0) as u64))
    }
    /// What the agent itself says about it.
    pub(crate) fn declared_ms(&self, capability: Option<&str>) -> Option<f64> {
        self.definition.capability(capability?)?.performance.response_ms_target
    }
    /// What one instance offers at most; undeclared dimensions are unlimited.
    pub fn room(&self) -> Resources {
        self.definition.resources.room()
    }
    /// What all instances offer together; undeclared dimensions are unlimited.
    pub fn total_room(&self) -> Resources {
        self.room().times(self.instances.len().max(1) as u64)
    }
}

/// One change on the way from one snapshot to the next.
#[derive(Clone, Debug)]
pub enum Change {
    /// An agent is new or different.
    Put(Arc<AgentEntry>),
    /// An agent is gone.
    Remove(AgentId),
}

type Agents = BTreeMap<AgentId, Arc<AgentEntry>>;
type Index = HashMap<Arc<str>, Arc<Agents>>;

/// All agents of a tenant at one revision.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    revision: u64,
    agents: Agents,
    by_type: Index,
    by_capability: Index,
    by_tag: Index,
}

impl Snapshot {
    /// Of these agents.
    pub fn of(revision: u64, agents: impl IntoIterator<Item = Arc<AgentEntry>>) -> Self {
        Self::default().with(revision, agents.into_iter().map(Change::Put))
    }

    /// The next snapshot, after these changes in order.
    #[must_use]
    pub fn with(&self, revision: u64, changes: impl IntoIterator<Item = Change>) -> Self {
        let mut next = Self { revision, ..self.clone() };
        for change in changes {
            let (id, entry) = match change {
                Change::Put(entry) => (entry.id().clone(), Some(entry)),
                Change::Remove(id) => (id, None),
            };
            if let Some(old) = next.agents.remove(&id) {
                next.index(&old, false);
            }
            if let Some(entry) = entry {
                next.index(&entry, true);
                next.agents.insert(id, entry);
            }
        }
        next
    }

    fn index(&mut self, entry: &Arc<AgentEntry>, put: bool) {
        let d = &entry.definition;
        let types = Some(d.agent_type.as_str()).filter(|t| !t.is_empty());
        let tags =
            d.metadata.tags.iter().chain(d.capabilities.iter().flat_map(|c| &c.tags)).map(String::as_str);
        update(&mut self.by_type, types.into_iter(), entry, put);
        update(&mut self.by_capability, d.capabilities.iter().map(|c| c.id.as_str()), entry, put);
        update(&mut self.by_tag, tags, entry, put);
    }

    /// The revision it stands at.
    pub fn revision(&self) -> u64 {
        self.revision
    }
    /// How many agents there are.
    pub fn len(&self) -> usize {
        self.agents.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }
    /// The agent of that id.
    pub fn agent(&self, id: &AgentId) -> Option<&Arc<AgentEntry>> {
        self.agents.get(id)
    }
    /// All agents, by id.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<AgentEntry>> {
        self.agents.values()
    }
    /// Agents of a type, by id.
    pub fn of_type(&self, agent_type: &str) -> impl Iterator<Item = &Arc<AgentEntry>> {
        entries(&self.by_type, agent_type)
    }
    /// Agents that offer a capability, by id.
    pub fn offering(&self, capability: &str) -> impl Iterator<Item = &Arc<AgentEntry>> {
        entries(&self.by_capability, capability)
    }
    /// Agents that carry a tag, themselves or on a capability, by id.
    pub fn tagged(&self, tag: &str) -> impl Iterator<Item = &Arc<AgentEntry>> {
        entries(&self.by_tag, tag)
    }
    /// Every declaration of a capability, by agent id.
    pub fn declarations<'a>(
        &'a self,
        capability: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<AgentEntry>, &'a Capability)> {
        self.offering(capability).filter_map(move |e| Some((e, e.definition.capability(capability)?)))
    }
    /// Ids of all capabilities on offer, in no order.
    pub fn capability_ids(&self) -> impl Iterator<Item = &str> {
        self.by_capability.keys().map(|k| &**k)
    }
    /// All agent types, in no order.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.by_type.keys().map(|k| &**k)
    }
    /// The capability on offer that was probably meant.
    pub fn nearest_capability(&self, word: &str) -> Option<&str> {
        nearest(word, sorted(self.capability_ids()))
    }
    /// The type that was probably meant.
    pub fn nearest_type(&self, word: &str) -> Option<&str> {
        nearest(word, sorted(self.types()))
    }
    /// The agent that was probably meant.
    pub fn nearest_agent(&self, word: &str) -> Option<&str> {
        nearest(word, self.agents.keys().map(AgentId::as_str))
    }
}

/// Sorted, so that ties are broken the same way every time.
fn sorted<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut words: Vec<&str> = words.collect();
    words.sort_unstable();
    words
}

fn entries<'a>(index: &'a Index, key: &str) -> impl Iterator<Item = &'a Arc<AgentEntry>> {
    index.get(key).into_iter().flat_map(|agents| agents.values())
}

fn update<'a>(index: &mut Index, keys: impl Iterator<Item = &'a str>, entry: &Arc<AgentEntry>, put: bool) {
    for key in keys {
        if put {
            let agents = match index.get_mut(key) {
                Some(agents) => agents,
                None => index.entry(Arc::from(key)).or_default(),
            };
            Arc::make_mut(agents).insert(entry.id().clone(), entry.clone());
        } else if let Some(agents) = index.get_mut(key) {
            Arc::make_mut(agents).remove(entry.id());
            if agents.is_empty() {
                index.remove(key);
            }
        }
    }
}
