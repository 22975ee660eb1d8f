//! Matching what a task needs to the agents that may do it.

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc, time::Duration};

use base::{AgentId, units::Resources};

use crate::snapshot::{AgentEntry, AgentState, Snapshot};

/// Which agents may do a task. Everything that is stated must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Need {
    /// Only this agent.
    pub agent: Option<AgentId>,
    /// Only agents of this type; empty = any.
    pub agent_type: String,
    /// The agent offers all of these.
    pub capabilities: Vec<String>,
    /// The one skill that is asked for; its price decides.
    pub capability: Option<String>,
    /// The agent carries all of these.
    pub tags: Vec<String>,
    /// Each is a capability, else a tag.
    pub requirements: Vec<String>,
    /// What one call takes; it must fit into one instance.
    pub resources: Resources,
    /// Only agents with an instance there; `None` = anywhere.
    pub region: Option<String>,
}

/// An agent that may do it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The agent.
    pub agent: Arc<AgentEntry>,
    /// Price of one call.
    pub cost: f64,
    /// How long a call usually takes: what the agent declares of the capability, else the measured mean.
    pub expected: Option<Duration>,
    /// Whether that was measured: means of a few calls differ by chance.
    pub measured: bool,
    /// 0 for the cheapest price among the candidates, 1 for the next, …; agents of one price share it.
    pub price_rank: u32,
}

/// What matching came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// These may take it now, best first.
    Now,
    /// Agents that can do it exist and stay, and none takes calls now. The text says why.
    Later(String),
    /// No registered agent can ever do it, or only such that are being removed. The text says why, with the nearest that
    /// exists.
    Never(String),
}

/// Candidates and why there are none.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Cheapest first, then best score, then id. Empty unless the outcome is [`Outcome::Now`].
    pub candidates: Vec<Candidate>,
    /// Whether, and when, it can be done.
    pub outcome: Outcome,
}

impl Match {
    /// The `n` cheapest and the `n` fastest candidates: worth choosing from. Cheapest first.
    pub fn choices(&self, n: usize) -> Vec<&Candidate> {
        let mut by_time: Vec<usize> = (0..self.candidates.len()).collect();
        by_time.sort_by_key(|&at| (self.candidates[at].expected.unwrap_or(Duration::MAX), at));
        let chosen: BTreeSet<usize> =
            (0..n.min(self.candidates.len())).chain(by_time.into_iter().take(n)).collect();
        chosen.into_iter().map(|at| &self.candidates[at]).collect()
    }

    /// The candidates that serve as well as `chosen`, itself among them: none is dearer, none takes longer. A measured
    /// time up to a quarter longer is no longer time. `stated`: how long a call takes whoever does it, where that is said.
    pub fn as_good_as<'a>(
        &'a self,
        chosen: &Candidate,
        stated: Option<Duration>,
    ) -> impl Iterator<Item = &'a Candidate> + use<'a> {
        let slowest = self.candidates.iter().filter_map(|c| c.expected).max().unwrap_or_default();
        // Of an agent that is not known the allocation assumes the slowest time, too.
        let takes = move |c: &Candidate| stated.or(c.expected).unwrap_or(slowest);
        let (best, cost, measured) = (takes(chosen), chosen.cost, chosen.measured);
        self.candidates.iter().filter(move |c| {
            let room = if measured || c.measured { best / 4 } else { Duration::ZERO };
            c.cost <= cost && takes(c) <= best.saturating_add(room)
        })
    }
}

impl Snapshot {
    /// The agents that may do what `need` says: cheapest that fits, then highest score, then id.
    ///
    /// Cost: the shortest index list that the need names, else all agents.
    pub fn matches(&self, need: &Need) -> Match {
        let none = |outcome| Match { candidates: Vec::new(), outcome };
        let wanted = match self.wanted(need) {
            Ok(wanted) => wanted,
            Err(reason) => return none(Outcome::Never(reason)),
        };
        let able: Vec<&Arc<AgentEntry>> = match self.able(need, &wanted) {
            Ok(able) => able,
            Err(reason) => return none(Outcome::Never(reason)),
        };
        let fitting: Vec<&Arc<AgentEntry>> =
            able.iter().copied().filter(|a| need.resources.fits(&a.room())).collect();
        if fitting.is_empty() {
            return none(Outcome::Never(too_small(need, &able)));
        }
        // What is being removed never takes a call again: with nothing else it is as if there were none.
        if fitting.iter().all(|a| a.state == AgentState::Draining) {
            return none(Outcome::Never(leaving(&fitting)));
        }
        let region = need.region.as_deref();
        let ready: Vec<&Arc<AgentEntry>> =
            fitting.iter().copied().filter(|a| a.takes_calls(region)).collect();
        if ready.is_empty() {
            return none(Outcome::Later(not_now(&fitting)));
        }
        Match { candidates: ranked(need, &ready), outcome: Outcome::Now }
    }

    /// Capabilities and tags that the need comes down to; `Err` names one that nobody has.
    fn wanted<'a>(&self, need: &'a Need) -> Result<Wanted<'a>, String> {
        let mut wanted = Wanted::default();
        wanted.capabilities.extend(need.capabilities.iter().chain(&need.capability).map(String::as_str));
        wanted.tags.extend(need.tags.iter().map(String::as_str));
        for word in &need.requirements {
            if self.offering(word).next().is_some() {
                wanted.capabilities.insert(word);
            } else if self.tagged(word).next().is_some() {
                wanted.tags.insert(word);
            } else {
                return Err(with_nearest(
                    format!("no agent offers or is tagged {word}"),
                    self.nearest_capability(word),
                ));
            }
        }
        for word in &wanted.capabilities {
            if self.offering(word).next().is_none() {
                return Err(with_nearest(format!("no agent offers {word}"), self.nearest_capability(word)));
            }
        }
        if let Some(word) = wanted.tags.iter().find(|t| self.tagged(t).next().is_none()) {
            return Err(format!("no agent is tagged {word}"));
        }
        Ok(wanted)
    }

    /// Agents that fulfil everything but resources, by id; never an empty list.
    fn able<'a>(&'a self, need: &Need, wanted: &Wanted<'_>) -> Result<Vec<&'a Arc<AgentEntry>>, String> {
        if let Some(id) = &need.agent {
            let Some(entry) = self.agent(id) else {
                return Err(with_nearest(
                    format!("agent {id} is not registered"),
                    self.nearest_agent(id.as_str()),
                ));
            };
            return match lack(entry, need, wanted) {
                None => Ok(vec![entry]),
                Some(lack) => Err(format!("agent {id} {lack}")),
            };
        }
        if !need.agent_type.is_empty() && self.of_type(&need.agent_type).next().is_none() {
            let reason = format!("no agent is of type {}", need.agent_type);
            return Err(with_nearest(reason, self.nearest_type(&need.agent_type)));
        }
        let able: Vec<_> =
            self.shortest(need, wanted).into_iter().filter(|e| lack(e, need, wanted).is_none()).collect();
        if able.is_empty() { Err(nobody(need, wanted)) } else { Ok(able) }
    }

    /// The shortest list of agents that the indexes give.
    fn shortest<'a>(&'a self, need: &Need, wanted: &Wanted<'_>) -> Vec<&'a Arc<AgentEntry>> {
        let mut best: Option<Vec<&Arc<AgentEntry>>> = None;
        let mut consider = |list: Vec<&'a Arc<AgentEntry>>| {
            if best.as_ref().is_none_or(|b| list.len() < b.len()) {
                best = Some(list);
            }
        };
        for word in &wanted.capabilities {
            consider(self.offering(word).collect());
        }
        for word in &wanted.tags {
            consider(self.tagged(word).collect());
        }
        if !need.agent_type.is_empty() {
            consider(self.of_type(&need.agent_type).collect());
        }
        // Other engines are for those who name them.
        let agents = || self.agents().filter(|entry| !entry.id().as_str().starts_with(PROVIDERS));
        best.unwrap_or_else(|| agents().collect())
    }
}

/// How the ids of other workflow engines begin where they stand among agents: only a need that names one finds it.
pub const PROVIDERS: &str = "provider.";

/// Capabilities and tags that an agent must have.
#[derive(Default)]
struct Wanted<'a> {
    capabilities: BTreeSet<&'a str>,
    tags: BTreeSet<&'a str>,
}

/// What an agent lacks, as the end of a sentence.
fn lack(entry: &AgentEntry, need: &Need, wanted: &Wanted<'_>) -> Option<String> {
    let d = &entry.definition;
    if !need.agent_type.is_empty() && d.agent_type != need.agent_type {
        return Some(format!("is not of type {}", need.agent_type));
    }
    if let Some(word) = wanted.capabilities.iter().find(|c| d.capability(c).is_none()) {
        return Some(format!("does not offer {word}"));
    }
    if let Some(word) = wanted.tags.iter().find(|t| !d.has_tag(t)) {
        return Some(format!("is not tagged {word}"));
    }
    let region = need.region.as_deref()?;
    let there = entry.instances.iter().any(|i| i.instance.region == region);
    (!there).then(|| format!("has no instance in region {region}"))
}

fn with_nearest(reason: String, nearest: Option<&str>) -> String {
    match nearest {
        Some(word) => format!("{reason}; nearest: {word}"),
        None => reason,
    }
}

fn nobody(need: &Need, wanted: &Wanted<'_>) -> String {
    let list = |words: &BTreeSet<&str>| words.iter().copied().collect::<Vec<_>>().join(", ");
    let mut parts = Vec::new();
    if !need.agent_type.is_empty() {
        parts.push(format!("type {}", need.agent_type));
    }
    if !wanted.capabilities.is_empty() {
        parts.push(format!("capabilities {}", list(&wanted.capabilities)));
    }
    if !wanted.tags.is_empty() {
        parts.push(format!("tags {}", list(&wanted.tags)));
    }
    if let Some(region) = &need.region {
        parts.push(format!("region {region}"));
    }
    if parts.is_empty() {
        "no agent is registered".into()
    } else {
        format!("no one agent has {}", parts.join(" and "))
    }
}

fn too_small(need: &Need, able: &[&Arc<AgentEntry>]) -> String {
    let most = able.iter().map(|a| a.room()).reduce(|a, b| a.max(&b)).unwrap_or_default();
    let r = &need.resources;
    let mut parts = Vec::new();
    if r.cpu_millis > most.cpu_millis {
        let (want, have) = (base::units::show_cpu(r.cpu_millis), base::units::show_cpu(most.cpu_millis));
        parts.push(format!("needs {want}, the largest agent has {have}"));
    }
    if r.memory_bytes > most.memory_bytes {
        let (want, have) =
            (base::units::show_memory(r.memory_bytes), base::units::show_memory(most.memory_bytes));
        parts.push(format!("needs {want} of memory, the largest agent has {have}"));
    }
    if r.network_mbps > most.network_mbps {
        parts.push(format!("needs {} Mbit/s, the best agent has {}", r.network_mbps, most.network_mbps));
    }
    if parts.is_empty() { "no one agent has enough of every resource".into() } else { parts.join("; ") }
}

fn not_now(fitting: &[&Arc<AgentEntry>]) -> String {
    let name = |e: &&Arc<AgentEntry>| -> String {
        let why = match e.state {
            AgentState::Draining => "is being removed".into(),
            AgentState::Active if e.health.overall.reason.is_empty() => {
                "has no instance that takes calls".into()
            }
            AgentState::Active => format!("is unhealthy: {}", e.health.overall.reason),
        };
        format!("{} {why}", e.id())
    };
    let shown: Vec<String> = fitting.iter().take(3).map(name).collect();
    let more = fitting.len().saturating_sub(shown.len());
    let tail = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("no agent that can do it takes calls now: {}{tail}", shown.join("; "))
}

fn leaving(fitting: &[&Arc<AgentEntry>]) -> String {
    let shown: Vec<&str> = fitting.iter().take(3).map(|a| a.id().as_str()).collect();
    let more = fitting.len().saturating_sub(shown.len());
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("every agent that can do it is being removed: {}{tail}", shown.join(", "))
}

fn ranked(need: &Need, ready: &[&Arc<AgentEntry>]) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = ready
        .iter()
        .map(|&agent| {
            let capability = need.capability.as_deref().or(need.capabilities.first().map(String::as_str));
            let expected = agent.expected(capability);
            Candidate {
                cost: agent.definition.cost_of(need.capability.as_deref()),
                expected,
                measured: expected.is_some() && agent.declared_ms(capability).is_none(),
                agent: agent.clone(),
                price_rank: 0,
            }
        })
        .collect();
    candidates.sort_by(|a, b| {
        let price = a.cost.total_cmp(&b.cost);
        price.then(b.agent.score().cmp(&a.agent.score())).then_with(|| a.agent.id().cmp(b.agent.id()))
    });
    for i in 1..candidates.len() {
        let dearer = candidates[i].cost.total_cmp(&candidates[i - 1].cost) == Ordering::Greater;
        candidates[i].price_rank = candidates[i - 1].price_rank + u32::from(dearer);
    }
    candidates
}
