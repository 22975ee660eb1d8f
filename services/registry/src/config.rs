//! The registry's settings, taken from the tree that all services share.

use std::time::Duration;

use runtime::Settings;

/// What the registry reads of the settings.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How often each instance is probed.
    pub(crate) probe_interval: Duration,
    /// How long a probe or the fetch of a card may take.
    pub(crate) probe_timeout: Duration,
    /// Probes at the same time.
    pub(crate) probe_concurrency: usize,
    /// Share of the interval by which probes are spread.
    pub(crate) probe_jitter: f64,
    /// Failed probes in a row that make an instance unhealthy.
    pub(crate) unhealthy_after: u32,
    /// An instance that sends heartbeats and is silent for this long is unhealthy.
    pub(crate) heartbeat_expiry: Duration,
    /// Unchanged health is written this often.
    pub(crate) flush_interval: Duration,
    /// How often the table of changes is read although nothing announced one.
    pub(crate) poll_interval: Duration,
    /// An executor that is silent for this long no longer holds a drain back.
    pub(crate) executor_expiry: Duration,
    /// Largest definition or card, in bytes.
    pub(crate) definition_bytes_max: usize,
    /// Cluster that events carry.
    pub(crate) cluster: String,
}

impl Options {
    pub(crate) fn of(settings: &Settings) -> Self {
        let own = &settings.registry;
        Self {
            probe_interval: own.health_check_interval,
            probe_timeout: own.probe_timeout,
            probe_concurrency: own.probe_concurrency as usize,
            probe_jitter: own.probe_jitter,
            unhealthy_after: own.unhealthy_after,
            heartbeat_expiry: own.heartbeat_expiry,
            flush_interval: own.heartbeat_flush_interval,
            poll_interval: own.watch_poll_interval,
            executor_expiry: own.executor_expiry,
            definition_bytes_max: usize::try_from(own.agent_max.0).unwrap_or(usize::MAX),
            cluster: settings.node.cluster.clone(),
        }
    }

    /// Time to the next probe of an instance. `random` is from 0 to 1. One that is unhealthy is probed six times as
    /// often, at most once a second, so that it comes back soon after it is well.
    pub(crate) fn next_probe(&self, takes_calls: bool, random: f64) -> Duration {
        let base = match takes_calls {
            true => self.probe_interval,
            false => (self.probe_interval / 6).max(Duration::from_secs(1)).min(self.probe_interval),
        };
        base.mul_f64(1.0 + self.probe_jitter * (random - 0.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sick_instances_are_probed_more_often_and_all_are_spread() {
        let options = Options::of(&Settings::default());
        assert_eq!(options.next_probe(true, 0.5), Duration::from_secs(30));
        assert_eq!(options.next_probe(false, 0.5), Duration::from_secs(5));
        let (early, late) = (options.next_probe(true, 0.0), options.next_probe(true, 1.0));
        assert_eq!((early, late), (Duration::from_secs(27), Duration::from_secs(33)));
        let often = Options { probe_interval: Duration::from_millis(100), ..options };
        assert_eq!(often.next_probe(false, 0.5), Duration::from_millis(100));
    }
}
