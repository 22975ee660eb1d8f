//! What ties an engine to the other replicas: its lease, and where results of calls go whose shard has moved on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::ExecutionId;
use tokio::{sync::Notify, time::Instant};
use workflow::CallKey;

use super::msg::CallReport;

/// Whether this replica may act: on the monotonic clock, from before the last renewal was sent.
///
/// While it is closed the lanes stand still: no call starts, nothing is published or answered. What was committed
/// meanwhile is acted on when it opens again, or by the next owner when it never does.
#[derive(Clone, Debug)]
pub struct LeaseGate(Option<Arc<Gate>>);

#[derive(Debug)]
struct Gate {
    base: Instant,
    /// Microseconds after `base` until which it is open.
    until_us: AtomicU64,
    renewed: Notify,
}

impl LeaseGate {
    /// Open for ever: nobody else can open the database.
    pub fn always() -> Self {
        Self(None)
    }

    /// Closed until it is first extended.
    pub fn closed() -> Self {
        let gate = Gate { base: Instant::now(), until_us: AtomicU64::new(0), renewed: Notify::new() };
        Self(Some(Arc::new(gate)))
    }

    /// Open until `until`; never shortens.
    pub fn extend(&self, until: Instant) {
        if let Some(gate) = &self.0 {
            let us = until.saturating_duration_since(gate.base).as_micros();
            gate.until_us.fetch_max(u64::try_from(us).unwrap_or(u64::MAX), Ordering::Relaxed);
            gate.renewed.notify_waiters();
        }
    }

    /// Whether it is open now.
    pub fn is_valid(&self) -> bool {
        self.left() > Duration::ZERO
    }

    /// For how long it is still open.
    pub fn left(&self) -> Duration {
        let Some(gate) = &self.0 else { return Duration::MAX };
        let until = Duration::from_micros(gate.until_us.load(Ordering::Relaxed));
        until.saturating_sub(gate.base.elapsed())
    }

    /// Waits until it is open.
    pub async fn valid(&self) {
        let Some(gate) = &self.0 else { return };
        loop {
            let mut renewed = std::pin::pin!(gate.renewed.notified());
            renewed.as_mut().enable();
            if self.is_valid() {
                return;
            }
            renewed.await;
        }
    }
}

/// What a call of this process reported after its shard had moved on.
#[derive(Clone, Debug)]
pub(crate) struct ForeignReport {
    pub(crate) id: ExecutionId,
    pub(crate) call: CallKey,
    pub(crate) attempt: u32,
    pub(crate) report: CallReport,
}

/// The other replicas, as the lanes see them. Nothing here blocks.
pub(crate) trait Elsewhere: Send + Sync + 'static {
    /// Brings what a call reported to the owner of its execution, sooner or later.
    fn bring(&self, report: ForeignReport);
    /// There are new rows in the inboxes of these shards: their owners look at once.
    fn look(&self, shards: Vec<u16>);
    /// Asks the member that made a call to end it. Best effort.
    fn abort(&self, member: &str, id: ExecutionId, call: CallKey, attempt: u32);
}

/// Set once, before the first shard is acquired.
pub(crate) struct Links {
    pub(crate) lease: LeaseGate,
    pub(crate) elsewhere: Arc<dyn Elsewhere>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_gate_is_open_until_its_renewal_has_run_out() {
        let gate = LeaseGate::closed();
        assert!(!gate.is_valid());
        gate.extend(Instant::now() + Duration::from_secs(3));
        assert!(gate.is_valid());
        tokio::time::advance(Duration::from_secs(2)).await;
        gate.extend(Instant::now());
        assert!(gate.is_valid(), "an older renewal does not shorten a newer one");
        tokio::time::advance(Duration::from_millis(1001)).await;
        assert!(!gate.is_valid());
        let waiter = tokio::spawn({
            let gate = gate.clone();
            async move { gate.valid().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        gate.extend(Instant::now() + Duration::from_secs(1));
        waiter.await.unwrap();
        assert!(LeaseGate::always().is_valid());
    }
}
