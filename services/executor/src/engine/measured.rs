//! What calls cost, by instance, until the registry is told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use proto::registry::internal::v1::AgentUse;

#[derive(Clone, Copy, Default)]
struct Sum {
    calls: u64,
    failures: u64,
    call_us: u64,
}

/// Sums since the last report. Bounded by the fleet.
#[derive(Default)]
pub(crate) struct Measured {
    sums: Mutex<HashMap<Arc<str>, Sum>>,
}

impl Measured {
    /// Counts one call at `agent/instance`.
    pub(crate) fn record(&self, instance: &Arc<str>, failed: bool, call_us: u64) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = sums.entry(instance.clone()).or_default();
        sum.calls += 1;
        sum.failures += u64::from(failed);
        sum.call_us += call_us;
    }

    /// Gives the sums and starts anew.
    pub(crate) fn take(&self) -> Vec<AgentUse> {
        let sums = std::mem::take(&mut *self.sums.lock().unwrap_or_else(PoisonError::into_inner));
        let use_of = |(key, sum): (Arc<str>, Sum)| {
            let (agent, instance) = key.split_once('/').unwrap_or((&key, ""));
            AgentUse {
                agent_id: agent.into(),
                instance_id: instance.into(),
                calls: sum.calls,
                failures: sum.failures,
                call_us: sum.call_us,
            }
        };
        sums.into_iter().map(use_of).collect()
    }
}
