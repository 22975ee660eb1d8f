//! Breakers of instances: told of every call that ends, looked at again when one may be tried.

use std::{collections::BTreeSet, fmt, sync::Arc};

use balance::breaker::Gate;
use base::{AgentId, Timestamp};
use catalog::AgentState;

use super::{Dispatcher, Inner, NeedClass, SlotKey};

/// Every instance that could take a call is left alone by its breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Whose they are.
    pub(crate) agents: BTreeSet<AgentId>,
    /// When the first of them is tried again; a time that has passed = a call tries it now.
    pub(crate) until: Timestamp,
}

/// Agents that are named in words; all of them stand in the list.
const NAMED: usize = 5;

impl Broken {
    /// It in words.
    pub(crate) fn words(agents: &[String], until: Timestamp) -> String {
        let named = agents[..agents.len().min(NAMED)].join(", ");
        let more = match agents.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("breaker open until {}: {named}{more}", until.rfc3339())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agents: Vec<String> = self.agents.iter().map(ToString::to_string).collect();
        f.write_str(&Self::words(&agents, self.until))
    }
}

impl Dispatcher {
    /// Breakers that are not closed.
    pub(crate) fn broken_now(&self) -> usize {
        self.lock().broken.len()
    }

    /// Lets calls try the instances whose breakers have been open for long enough.
    pub(crate) fn try_broken(self: &Arc<Self>) {
        let mut inner = self.lock();
        if inner.broken.is_empty() {
            return;
        }
        let now = inner.clock.now();
        let due: BTreeSet<AgentId> =
            inner.broken.iter().take_while(|(at, _)| *at <= now).map(|(_, slot)| slot.0.clone()).collect();
        for agent in &due {
            inner.reopen(agent);
        }
        let granted = inner.serve(&self.region);
        drop(inner);
        self.tell(granted);
    }
}

impl Inner {
    /// A call at the instance ended.
    pub(super) fn tell_breaker(&mut self, slot: &SlotKey, probe: bool, failed: Option<bool>) {
        let Some(own) = self.slots.get_mut(slot) else { return };
        let before = own.breaker;
        let opened = own.breaker.ended(&self.rule, probe, failed, self.clock.now());
        if opened.is_some() || before != own.breaker {
            let closed = own.breaker.gate(|| self.clock.now()) == Gate::Closed;
            self.note_breaker(slot, opened, closed);
        }
    }

    fn note_breaker(&mut self, slot: &SlotKey, opened: Option<Timestamp>, closed: bool) {
        if opened.is_some() || closed {
            self.broken.retain(|(_, key)| key != slot);
        }
        if let Some(until) = opened {
            tracing::warn!(instance = %slot.1, until = until.rfc3339(), "calls fail in a row; its breaker is open");
            self.broken.insert((until, slot.clone()));
        }
    }

    /// Breakers of instances that are gone.
    pub(super) fn forget_breakers(&mut self) {
        let slots = &self.slots;
        self.broken.retain(|(_, slot)| slots.contains_key(slot));
    }

    /// The breakers that keep a call of the class from leaving; `None` = a breaker is closed.
    pub(super) fn broken(&self, class: &NeedClass) -> Option<Broken> {
        if self.broken.is_empty() {
            return None;
        }
        let matched = self.matched.get(&class.id)?;
        let (mut agents, mut until) = (BTreeSet::new(), None::<Timestamp>);
        for seat in &matched.seats.all {
            let agent = &matched.candidates[seat.at.0].agent;
            if agent.state == AgentState::Draining || !agent.instances[seat.at.1].status.takes_calls() {
                continue;
            }
            let gate = self.slots.get(&seat.slot).map(|own| own.breaker.gate(|| self.clock.now()));
            let (Gate::Open(at) | Gate::HalfOpen(at) | Gate::Probed(at)) = gate? else { return None };
            agents.insert(agent.id().clone());
            until = Some(until.map_or(at, |first| first.min(at)));
        }
        Some(Broken { agents, until: until? })
    }
}
