//! Removing agents: draining until no executor has a call on them, or at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base::{AgentId, Tenant};
use serde_json::{Map, Value, json};
use store::{StoreError, registry::Watcher};
use tokio::time::Instant;

use super::{App, Known};
use crate::error::RegistryError;

/// How often draining agents are looked at.
const SWEEP: Duration = Duration::from_millis(500);

/// How an agent is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaveMode {
    /// Running calls end.
    Drain,
    /// As `Drain`, but not while calls run.
    RefuseIfBusy,
    /// Running calls are cut.
    Force,
}

/// What an executor says.
#[derive(Clone, Debug)]
pub(crate) struct UseReport {
    pub(crate) member: String,
    pub(crate) revision: u64,
    pub(crate) in_flight: HashMap<AgentId, u32>,
}

/// Reports as they were written last, so that equal ones are not written each time.
#[derive(Debug)]
pub(crate) struct Reports {
    /// Every executor that lives has had time to report by then, also when the registry was away before.
    settled_at: Instant,
    expiry: Duration,
    written: Mutex<HashMap<String, (Watcher, Instant)>>,
}

impl Reports {
    /// Reports count for `expiry`.
    pub(crate) fn new(expiry: Duration) -> Self {
        Self { settled_at: Instant::now() + expiry, expiry, written: Mutex::default() }
    }

    /// Whether the report is to be written; remembers it then.
    fn is_news(&self, watcher: &Watcher, now: Instant) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, (_, at)| now.saturating_duration_since(*at) < self.expiry);
        let old = written
            .get(&watcher.member)
            .is_some_and(|(w, at)| w == watcher && now.saturating_duration_since(*at) < self.expiry / 3);
        if !old {
            written.insert(watcher.member.clone(), (watcher.clone(), now));
        }
        !old
    }

    fn forget(&self, member: &str) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(member);
    }
}

/// Watchers are kept per tenant: an executor has a watch for each.
fn watcher_name(tenant: &Tenant, member: &str) -> String {
    format!("{tenant}/{member}")
}

fn is_of(watcher: &Watcher, tenant: &Tenant) -> bool {
    watcher.member.strip_prefix(tenant.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

fn calls(watcher: &Watcher, tenant: &Tenant, agent: &AgentId) -> u64 {
    let calls: Map<String, Value> = serde_json::from_str(&watcher.in_flight).unwrap_or_default();
    calls.get(&format!("{tenant}/{agent}")).and_then(Value::as_u64).unwrap_or(0)
}

/// Whether no executor has, or can begin, a call on an agent that drains since `revision`: every live one has seen that
/// revision and has none in flight.
fn is_quiet(watchers: &[Watcher], tenant: &Tenant, agent: &AgentId, revision: u64) -> bool {
    let own = watchers.iter().filter(|w| is_of(w, tenant));
    own.into_iter().all(|w| w.acked_revision >= revision && calls(w, tenant, agent) == 0)
}

impl App {
    /// Records what an executor has seen and has in flight.
    pub(crate) async fn report_use(&self, tenant: &Tenant, report: UseReport) -> Result<(), RegistryError> {
        if report.member.is_empty() || report.member.len() > 256 {
            let rule = "must be the executor's name, at most 256 bytes".into();
            return Err(RegistryError::BadRequest { field: "member_id", rule });
        }
        let in_flight: Map<String, Value> = report
            .in_flight
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(id, n)| (format!("{tenant}/{id}"), json!(n)))
            .collect();
        let watcher = Watcher {
            member: watcher_name(tenant, &report.member),
            acked_revision: report.revision,
            in_flight: Value::Object(in_flight).to_string(),
        };
        if self.reports.is_news(&watcher, Instant::now())
            && let Err(error) = self.repo.store().put_watcher(&watcher, self.options.executor_expiry).await
        {
            self.reports.forget(&watcher.member);
            return Err(error.into());
        }
        Ok(())
    }

    /// Removes an agent. Returns it as it is then; of one that is gone at once, as it was.
    pub(crate) async fn remove(
        &self,
        tenant: &Tenant,
        id: &AgentId,
        mode: LeaveMode,
    ) -> Result<Arc<Known>, RegistryError> {
        let known = self.present(tenant, id).await?;
        match mode {
            LeaveMode::Force => {
                self.repo.remove(&known, false, self.now()).await?;
                tracing::info!(%tenant, agent = %id, "agent removed at once; its running calls are cut");
                self.wrote().await?;
                return Ok(known);
            }
            LeaveMode::RefuseIfBusy if !known.is_draining() => {
                let watchers = self.repo.store().watchers().await?;
                let own = watchers.iter().filter(|w| is_of(w, tenant));
                let running: u64 = own.map(|w| calls(w, tenant, id)).sum();
                if running > 0 {
                    return Err(RegistryError::Busy { id: id.clone(), calls: running });
                }
            }
            LeaveMode::RefuseIfBusy | LeaveMode::Drain => {}
        }
        if !known.is_draining() {
            self.repo.drain(&known, self.now()).await?;
            tracing::info!(%tenant, agent = %id, "agent drains");
            self.wrote().await?;
        }
        // With nobody to wait for it is gone before the answer.
        self.sweep().await?;
        self.refresh().await?;
        Ok(self.feed.get(tenant, id).unwrap_or(known))
    }

    /// Deletes draining agents that nobody uses any more.
    async fn sweep(&self) -> Result<(), StoreError> {
        self.refresh().await?;
        let draining = self.feed.select(Known::is_draining);
        if draining.is_empty() || Instant::now() < self.reports.settled_at {
            return Ok(());
        }
        let watchers = self.repo.store().watchers().await?;
        let mut removed = false;
        for known in draining {
            if is_quiet(&watchers, &known.tenant, &known.id, known.changed) {
                removed |= self.repo.remove(&known, true, self.now()).await?;
                tracing::info!(tenant = %known.tenant, agent = %known.id, "agent removed: no executor uses it");
            }
        }
        if removed { self.wrote().await } else { Ok(()) }
    }
}

/// Looks at draining agents until the process stops.
pub(crate) async fn run(app: Arc<App>) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            () = app.drain.draining() => return Ok(()),
        }
        if app.feed.select(Known::is_draining).is_empty() {
            continue;
        }
        if let Err(error) = app.sweep().await {
            tracing::warn!(%error, "draining agents were not looked at; trying again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watcher(member: &str, acked_revision: u64, in_flight: &str) -> Watcher {
        Watcher { member: member.into(), acked_revision, in_flight: in_flight.into() }
    }

    #[test]
    fn a_drain_waits_for_every_executor_of_the_tenant() {
        let (tenant, agent) = (Tenant::default(), AgentId::new("a").unwrap());
        for (name, watchers, want) in [
            ("nobody lives", vec![], true),
            (
                "all have seen it and have none",
                vec![watcher("default/1", 5, "{}"), watcher("default/2", 9, "{}")],
                true,
            ),
            ("one has not seen it", vec![watcher("default/1", 4, "{}")], false),
            ("one has a call", vec![watcher("default/1", 5, "{\"default/a\": 1}")], false),
            ("another agent's call", vec![watcher("default/1", 5, "{\"default/b\": 1}")], true),
            ("another tenant's executor", vec![watcher("default2/1", 1, "{\"default/a\": 1}")], true),
        ] {
            assert_eq!(is_quiet(&watchers, &tenant, &agent, 5), want, "{name}");
        }
    }

    #[test]
    fn a_report_that_says_nothing_new_is_written_now_and_then_only() {
        let reports = Reports::new(Duration::from_secs(10));
        let same = watcher("default/1", 5, "{}");
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert!(reports.is_news(&same, at(0)) && !reports.is_news(&same, at(1)));
        assert!(reports.is_news(&watcher("default/1", 6, "{}"), at(1)), "another revision");
        assert!(reports.is_news(&same, at(2)), "back again");
        assert!(!reports.is_news(&same, at(4)) && reports.is_news(&same, at(6)), "before it expires");
        reports.forget("default/1");
        assert!(reports.is_news(&same, at(6)), "a failed write is written again");
    }
}
