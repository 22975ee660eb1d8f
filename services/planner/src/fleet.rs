//! The registered agents as a local snapshot, and how the language sees them.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use base::{Tenant, units::Resources};
use catalog::{Outcome, Snapshot};
use language::{Candidate, Chance, Offer, Offers, Shortage};
use runtime::RoleContext;
use workflow::plan::Need;

/// Most candidates that an explanation names for a task.
const CANDIDATES_MAX: usize = 20;
/// The cheapest and the fastest agents that a task is allocated from: so many of each.
const CHOICES_MAX: usize = 8;
/// Longest pause before the watch is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The last snapshot. Empty until the registry was seen.
#[derive(Debug, Default)]
pub(crate) struct Fleet(ArcSwapOption<Snapshot>);

impl Fleet {
    /// The agents of `tenant`; `None` when they are not known.
    pub(crate) fn of(&self, tenant: &Tenant) -> Option<View> {
        // The watch carries the tenant of the service's own calls.
        (*tenant == Tenant::default()).then(|| self.0.load_full()).flatten().map(View)
    }
}

/// Follows the registry until the role stops.
pub(crate) async fn follow(ctx: RoleContext, fleet: Arc<Fleet>) -> anyhow::Result<()> {
    let peer = ctx.peer("registry")?;
    let first = Duration::from_millis(50);
    let mut pause = first;
    loop {
        let known = fleet.0.load_full().unwrap_or_default();
        let put = |snapshot| {
            fleet.0.store(Some(snapshot));
            pause = first;
        };
        tokio::select! {
            () = ctx.drain.stopped() => return Ok(()),
            end = api::fleet::watch(peer.clone(), known, put) => if let Err(status) = end {
                tracing::info!(reason = %status.message(), "the registry's watch broke; going on with the known fleet");
            },
        }
        tokio::select! {
            () = ctx.drain.stopped() => return Ok(()),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

/// The agents of one tenant at one moment.
#[derive(Clone, Debug)]
pub(crate) struct View(Arc<Snapshot>);

impl Offers for View {
    fn total(&self) -> Option<Resources> {
        if self.0.is_empty() {
            return None;
        }
        Some(self.0.agents().fold(Resources::default(), |sum, agent| sum.plus(&agent.total_room())))
    }

    fn offer(&self, need: &Need, resources: &Resources) -> Offer {
        let wanted = catalog_need(need, *resources);
        let matched = self.0.matches(&wanted);
        let shortage = match &matched.outcome {
            Outcome::Now => None,
            Outcome::Later(why) => Some(Shortage::Away { why: why.clone() }),
            Outcome::Never(why) => Some(self.shortage(&wanted, why.clone())),
        };
        let choices = matched.choices(CHOICES_MAX).into_iter().map(|c| Chance {
            agent_id: c.agent.id().clone(),
            expected: c.expected,
            cost: c.cost,
            capacity: u32::try_from(c.agent.capacity()).unwrap_or(u32::MAX),
        });
        let choices = choices.collect();
        let several = matched.candidates.len();
        let candidates = matched
            .candidates
            .iter()
            .take(CANDIDATES_MAX)
            .enumerate()
            .map(|(place, c)| {
                let agent = &c.agent;
                let order = format!("{} of {several}", place + 1);
                let why = format!("cost {}, score {}, {}", c.cost, agent.score(), agent.status().as_str());
                Candidate { agent_id: agent.id().clone(), reason: format!("{order} that fit: {why}") }
            })
            .collect();
        Offer { candidates, shortage, choices }
    }
}

impl View {
    /// What a `never` means: a capability that nobody has, a size that nobody has, or something else.
    fn shortage(&self, need: &catalog::Need, why: String) -> Shortage {
        let mut names = need.capabilities.iter().chain(&need.capability);
        if let Some(name) = names.find(|name| self.0.offering(name).next().is_none()) {
            let nearest = self.0.nearest_capability(name).map(str::to_owned);
            return Shortage::Capability { name: name.clone(), nearest };
        }
        let any_size = catalog::Need { resources: Resources::default(), ..need.clone() };
        match self.0.matches(&any_size).outcome {
            Outcome::Never(_) => Shortage::Agent { why },
            Outcome::Now | Outcome::Later(_) => Shortage::TooSmall { why },
        }
    }
}

fn catalog_need(need: &Need, resources: Resources) -> catalog::Need {
    catalog::Need {
        agent: need.agent.clone(),
        agent_type: need.agent_type.clone(),
        capabilities: need.capabilities.clone(),
        capability: need.capability.clone(),
        tags: need.tags.clone(),
        requirements: need.requirements.clone(),
        resources,
        region: None,
    }
}
