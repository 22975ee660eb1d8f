//! How many events a tenant may publish in a second. Pure: the time comes from outside.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base::{Tenant, Timestamp};

/// Tenants that are remembered; with more, those whose bucket is full again are forgotten.
const TENANTS_MAX: usize = 10_000;

/// A bucket for each tenant that holds the events of one second.
#[derive(Debug)]
pub(super) struct Rates {
    /// Events in a second; 0 = no limit.
    per_second: u32,
    buckets: Mutex<HashMap<Tenant, (f64, Timestamp)>>,
}

impl Rates {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, buckets: Mutex::default() }
    }

    /// Takes `events`; or says how long it takes until there is room. More than fit a second wait for a full bucket.
    pub(super) fn take(&self, tenant: &Tenant, events: usize, now: Timestamp) -> Result<(), Duration> {
        if self.per_second == 0 {
            return Ok(());
        }
        let full = f64::from(self.per_second);
        let refilled =
            |(room, since): (f64, Timestamp)| (room + now.since(since).as_secs_f64() * full).min(full);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= TENANTS_MAX {
            buckets.retain(|_, bucket| refilled(*bucket) < full);
        }
        let room = refilled(buckets.get(tenant).copied().unwrap_or((full, now)));
        let wanted = (events as f64).min(full);
        if room < wanted {
            return Err(Duration::from_secs_f64((wanted - room) / full));
        }
        buckets.insert(tenant.clone(), (room - events as f64, now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_above_its_rate_is_told_when_to_come_back() {
        let (rates, tenant) = (Rates::new(10), Tenant::default());
        let at = Timestamp::from_millis;
        assert_eq!(rates.take(&tenant, 10, at(1000)), Ok(()));
        assert_eq!(rates.take(&tenant, 5, at(1000)), Err(Duration::from_millis(500)));
        assert_eq!(rates.take(&Tenant::new("other").unwrap(), 5, at(1000)), Ok(()));
        assert_eq!(rates.take(&tenant, 5, at(1500)), Ok(()));
        assert_eq!(
            rates.take(&tenant, 100, at(2500)),
            Ok(()),
            "a large batch waits for a full bucket, not for ever"
        );
        assert!(rates.take(&tenant, 1, at(2500)).is_err());
        assert_eq!(Rates::new(0).take(&tenant, 1_000_000, at(0)), Ok(()));
    }
}
