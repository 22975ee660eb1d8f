//! Watches: a snapshot, then every change, none missed. And the task that follows the list of changes.
//!
//! A watch keeps nothing but its revision. Each time the feed moves it asks for the difference; one that is slow gets
//! several changes of an agent as one. One that is too far behind begins again with a snapshot.

use std::{sync::Arc, time::Duration};

use base::{AgentId, Tenant};
use bus::{Keys, Received, Subscription};
use tokio::sync::watch::Receiver;

use super::{App, Known, feed::Delta};

/// Wait after a failed read of the list.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Time that removed and replaced changes can be resumed from.
const CHANGES_KEPT: Duration = Duration::from_secs(24 * 3600);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// One step of a watch.
#[derive(Debug)]
pub(crate) enum Step {
    /// Everything there is; what the client had before is void.
    Snapshot { revision: u64, agents: Vec<Arc<Known>> },
    /// What is different.
    Changes { revision: u64, changed: Vec<Arc<Known>>, removed: Vec<AgentId> },
}

/// The state of one watch.
#[derive(Debug)]
pub(crate) struct Watch {
    app: Arc<App>,
    tenant: Tenant,
    at: Option<u64>,
    head: Receiver<u64>,
}

impl Watch {
    /// Begins after `from`; 0 begins with a snapshot.
    pub(crate) fn new(app: Arc<App>, tenant: Tenant, from: u64) -> Self {
        let head = app.feed.head();
        Self { app, tenant, at: Some(from).filter(|f| *f > 0), head }
    }

    /// The next step; waits for it. `None` when the process drains.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        loop {
            // Marked as seen before it is read: a change in between wakes the next turn.
            self.head.borrow_and_update();
            let delta = self.at.map_or(Delta::Restart, |from| self.app.feed.delta(&self.tenant, from));
            match delta {
                Delta::Restart => {
                    let (revision, agents) = self.app.feed.snapshot(&self.tenant);
                    self.at = Some(revision);
                    return Some(Step::Snapshot { revision, agents });
                }
                Delta::Changes { revision, changed, removed } => {
                    self.at = Some(revision);
                    if !changed.is_empty() || !removed.is_empty() {
                        return Some(Step::Changes { revision, changed, removed });
                    }
                }
            }
            tokio::select! {
                moved = self.head.changed() => moved.ok()?,
                () = self.app.drain.draining() => return None,
            }
        }
    }
}

/// Follows the list of changes until the process stops: on a nudge of the bus, and at an interval.
pub(crate) async fn follow(app: Arc<App>) -> anyhow::Result<()> {
    let nudges = tokio::spawn(nudges(app.clone()));
    let mut prune_at = tokio::time::Instant::now();
    let mut wait = app.options.poll_interval;
    loop {
        match app.refresh().await {
            Ok(()) => wait = app.options.poll_interval,
            Err(error) => {
                tracing::warn!(%error, "the list of changes cannot be read; trying again");
                wait = (wait * 2).min(RETRY_MAX).max(app.options.poll_interval);
            }
        }
        if tokio::time::Instant::now() >= prune_at && app.ring.leads("prune") {
            let before = base::Timestamp::from_micros(app.now().micros() - CHANGES_KEPT.as_micros() as i64);
            let pruned = match app.published().await {
                Ok(published) => app.repo.store().forget_changes(before, published).await,
                Err(error) => Err(error),
            };
            match pruned {
                Ok(_) => prune_at = tokio::time::Instant::now() + PRUNE_EVERY,
                Err(error) => tracing::warn!(%error, "old changes were not deleted; trying again"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = app.nudged.notified() => {}
            () = app.drain.stopped() => break,
        }
    }
    nudges.abort();
    Ok(())
}

/// Waits for what other replicas publish. A nudge carries nothing: it only makes this replica read the list.
async fn nudges(app: Arc<App>) {
    let group = format!("registry-watch-{}", app.ring.me());
    let mut consumer = app.bus.0.subscribe(
        &Keys::default().events(super::events::PARTITION),
        Subscription::new(group, app.ring.me()),
    );
    let acks = consumer.acks();
    loop {
        let received = match consumer.next().await {
            Ok(received) => received,
            Err(error) => {
                tracing::error!(%error, "the bus cannot be followed; changes of other replicas are found by polling");
                return;
            }
        };
        app.nudged.notify_one();
        if let Received::Batch(batch) = received {
            let receipts: Vec<_> = batch.iter().map(|d| d.receipt).collect();
            if let Err(error) = acks.ack(&receipts).await {
                tracing::debug!(%error, "nudges were not acknowledged");
            }
        }
    }
}
