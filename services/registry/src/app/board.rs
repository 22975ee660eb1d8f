//! What is known about the health of instances right now: probes, heartbeats, measured calls. In memory only.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::{AgentId, Tenant, Timestamp};
use catalog::{
    AgentDefinition,
    health::{Beat, Facts, Probes, Targets, assess},
    measure::Measured,
    snapshot::{HealthReport, InstanceHealth},
};
use tokio::time::Instant;

/// Names an agent.
pub(crate) type AgentKey = (Tenant, AgentId);

/// One instance that is due to be probed.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) agent: AgentKey,
    pub(crate) instance: String,
}

/// A heartbeat as it came.
#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Instant,
    degraded: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    probes: Probes,
    heard: Option<Heard>,
    measured: Measured,
    last_check: Option<Timestamp>,
    next_probe: Option<Instant>,
}

impl Watched {
    /// Counts go on from where they were written.
    fn seeded(written: Option<&InstanceHealth>) -> Self {
        let Some(written) = written else { return Self::default() };
        let measured =
            Measured { calls_total: written.calls, failures_total: written.failures, ..Measured::default() };
        Self { measured, ..Self::default() }
    }

    /// Nothing was learned about it since this replica began to look after it.
    fn is_blank(&self) -> bool {
        self.probes.count == 0 && self.heard.is_none() && self.measured.calls < 1.0
    }
}

#[derive(Debug, Default)]
struct Agent {
    instances: BTreeMap<String, Watched>,
}

#[derive(Debug, Default)]
struct State {
    agents: HashMap<AgentKey, Agent>,
    schedule: BTreeSet<(Instant, Tenant, AgentId, String)>,
}

/// Limits of judgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) heartbeat_expiry: Duration,
    pub(crate) unhealthy_after: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Board {
    rules: Rules,
    state: Mutex<State>,
}

impl Board {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after exactly the instances of `definition`; new ones are probed after what `first_probe` gives.
    pub(crate) fn follow(
        &self,
        key: &AgentKey,
        definition: &AgentDefinition,
        written: &HealthReport,
        first_probe: impl Fn() -> Duration,
    ) {
        let state = &mut *self.lock();
        let agent = state.agents.entry(key.clone()).or_default();
        let wanted: BTreeSet<String> = definition.instances().into_iter().map(|i| i.id).collect();
        let now = Instant::now();
        agent.instances.retain(|id, watched| {
            let keep = wanted.contains(id);
            if let (false, Some(at)) = (keep, watched.next_probe) {
                state.schedule.remove(&(at, key.0.clone(), key.1.clone(), id.clone()));
            }
            keep
        });
        for id in wanted {
            let watched =
                agent.instances.entry(id.clone()).or_insert_with(|| Watched::seeded(written.checks.get(&id)));
            if watched.next_probe.is_none() {
                let at = now + first_probe();
                watched.next_probe = Some(at);
                state.schedule.insert((at, key.0.clone(), key.1.clone(), id));
            }
        }
    }

    /// Looks after the agent no longer.
    pub(crate) fn forget(&self, key: &AgentKey) {
        let state = &mut *self.lock();
        let Some(agent) = state.agents.remove(key) else { return };
        for (id, watched) in agent.instances {
            if let Some(at) = watched.next_probe {
                state.schedule.remove(&(at, key.0.clone(), key.1.clone(), id));
            }
        }
    }

    /// Agents that are looked after.
    pub(crate) fn keys(&self) -> Vec<AgentKey> {
        self.lock().agents.keys().cloned().collect()
    }

    /// Takes at most `limit` instances whose probe is due, and says when the next one is.
    pub(crate) fn take_due(&self, limit: usize) -> (Vec<Due>, Option<Instant>) {
        let state = &mut *self.lock();
        let now = Instant::now();
        let mut due = Vec::new();
        while due.len() < limit && state.schedule.first().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, tenant, agent, instance)) = state.schedule.pop_first() else { break };
            if let Some(watched) = state
                .agents
                .get_mut(&(tenant.clone(), agent.clone()))
                .and_then(|a| a.instances.get_mut(&instance))
            {
                watched.next_probe = None;
                due.push(Due { agent: (tenant, agent), instance });
            }
        }
        (due, state.schedule.first().map(|(at, ..)| *at))
    }

    /// Records a probe and plans the next one.
    pub(crate) fn probed(&self, due: &Due, answered: bool, now: Timestamp, next: Instant) {
        let state = &mut *self.lock();
        let Some(watched) = state.agents.get_mut(&due.agent).and_then(|a| a.instances.get_mut(&due.instance))
        else {
            return;
        };
        watched.probes = watched.probes.then(answered);
        watched.last_check = Some(now);
        if watched.next_probe.is_none() {
            watched.next_probe = Some(next);
            let (tenant, agent) = due.agent.clone();
            state.schedule.insert((next, tenant, agent, due.instance.clone()));
        }
    }

    /// Records a heartbeat; `false` when the agent has no such instance. An empty instance means the only one.
    pub(crate) fn heard(&self, key: &AgentKey, instance: &str, degraded: bool, now: Timestamp) -> bool {
        let state = &mut *self.lock();
        let Some(agent) = state.agents.get_mut(key) else { return false };
        let found = match instance {
            "" if agent.instances.len() == 1 => agent.instances.values_mut().next(),
            id => agent.instances.get_mut(id),
        };
        let Some(watched) = found else { return false };
        watched.heard = Some(Heard { at: Instant::now(), degraded });
        watched.last_check = Some(now);
        true
    }

    /// Adds what an executor measured. An instance that is not known is passed over: it may just have gone.
    pub(crate) fn measured(&self, key: &AgentKey, instance: &str, report: (u64, u64, u64), now: Timestamp) {
        let state = &mut *self.lock();
        let Some(agent) = state.agents.get_mut(key) else { return };
        if let Some(watched) = agent.instances.get_mut(instance) {
            watched.measured = watched.measured.plus(now, report.0, report.1, report.2);
        }
    }

    /// Judges the agent as of now. What nothing was learned about yet stays as `written` says.
    pub(crate) fn judge(
        &self,
        definition: &AgentDefinition,
        key: &AgentKey,
        written: &HealthReport,
        now: Timestamp,
    ) -> HealthReport {
        let state = self.lock();
        let mut checks = BTreeMap::new();
        let targets = Targets::of(definition);
        let instances = state.agents.get(key).map(|a| a.instances.iter()).into_iter().flatten();
        for (id, watched) in instances {
            let health = match written.checks.get(id) {
                Some(old) if watched.is_blank() => old.clone(),
                Some(_) | None => InstanceHealth {
                    assessment: assess(&self.facts(watched, targets, now)),
                    last_check: watched.last_check,
                    calls: watched.measured.calls_total,
                    failures: watched.measured.failures_total,
                    mean_ms: watched.measured.at(now).mean_ms(),
                },
            };
            checks.insert(id.clone(), health);
        }
        drop(state);
        HealthReport::of(definition, checks)
    }

    fn facts(&self, watched: &Watched, targets: Targets, now: Timestamp) -> Facts {
        let beat = watched.heard.map(|heard| Beat {
            age: heard.at.elapsed(),
            expires_in: self.rules.heartbeat_expiry,
            degraded: heard.degraded,
        });
        Facts {
            probes: watched.probes,
            beat,
            measured: watched.measured.at(now),
            targets,
            unhealthy_after: self.rules.unhealthy_after,
        }
    }
}
