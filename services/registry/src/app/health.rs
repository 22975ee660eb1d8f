//! Judging health and writing it down: at once when a status changes, everything else every flush interval in one
//! statement.

use std::{collections::HashSet, sync::Arc, time::Duration};

use catalog::{AgentEntry, snapshot::HealthReport};
use store::{StoreError, registry::AgentEvent};
use tokio::time::{Instant, MissedTickBehavior};

use super::{AgentKey, App, Known, events::tells};

/// How often expired heartbeats are looked for.
const EXPIRY_TICK: Duration = Duration::from_millis(500);
/// Wait after a failed write.
const RETRY: Duration = Duration::from_secs(1);

/// Judges what changed, until the process stops.
pub(crate) async fn run(app: Arc<App>) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(EXPIRY_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut flush_at = Instant::now() + app.options.flush_interval;
    loop {
        let mut all = false;
        tokio::select! {
            () = app.wake.notified() => {}
            _ = tick.tick() => all = true,
            () = app.drain.stopped() => break,
        }
        let flush = Instant::now() >= flush_at;
        let mut keys: HashSet<AgentKey> =
            std::mem::take(&mut *app.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        if all || flush {
            keys.extend(app.board.keys());
        }
        match app.write_health(keys, flush).await {
            Ok(()) if flush => flush_at = Instant::now() + app.options.flush_interval,
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "health was not written; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    // What was learned since the last flush is worth one statement.
    app.write_health(app.board.keys().into_iter().collect(), true).await?;
    Ok(())
}

impl App {
    async fn write_health(&self, keys: HashSet<AgentKey>, flush: bool) -> Result<(), StoreError> {
        let (mut told, mut events, mut quiet) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            let Some(known) = self.feed.get(&key.0, &key.1) else { continue };
            if !self.ring.owns(&key.0, &key.1) {
                continue;
            }
            let written = &known.entry.health;
            let report = self.board.judge(&known.entry.definition, &key, written, self.now());
            match urgency(written, &report, flush) {
                Urgency::None => {}
                Urgency::Quiet => quiet.push((key, report)),
                Urgency::Told => {
                    let (was, is) = (written.overall.status.as_str(), report.overall.status.as_str());
                    let reason = &report.overall.reason;
                    tracing::info!(tenant = %key.0, agent = %key.1, was, is, %reason, "health changed");
                    events.push(health_changed(&known, &report));
                    told.push((key, report));
                }
            }
        }
        if !quiet.is_empty() {
            self.repo.put_health(&quiet, &[], self.now()).await?;
            self.feed.reread(&quiet.into_iter().map(|(key, _)| key).collect()).await?;
        }
        if !told.is_empty() {
            self.repo.put_health(&told, &events, self.now()).await?;
            self.wrote().await?;
        }
        Ok(())
    }
}

fn health_changed(known: &Known, report: &HealthReport) -> AgentEvent {
    let old = &known.entry;
    let after = AgentEntry::new(old.definition.clone(), old.revision, old.state, report.clone());
    let event = tells("agent.health_changed", Some(old), &after);
    AgentEvent { tenant: known.tenant.clone(), agent_id: known.id.clone(), event }
}

/// Whether a report is to be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    /// No.
    None,
    /// Yes, without a new revision: nobody acts on it.
    Quiet,
    /// Yes, and watches are to see it.
    Told,
}

fn urgency(written: &HealthReport, report: &HealthReport, flush: bool) -> Urgency {
    if report.status_differs(written) || (flush && report.differs(written)) {
        return Urgency::Told;
    }
    if flush && report != written { Urgency::Quiet } else { Urgency::None }
}
