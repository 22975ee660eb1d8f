//! What each role waits for before it is ready.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Reasons why a role is not ready, by name.
type Waiting = BTreeMap<String, BTreeMap<&'static str, String>>;

/// The readiness of all roles of this process.
#[derive(Clone, Debug)]
pub(crate) struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Waiting,
    draining: bool,
}

impl Readiness {
    pub(crate) fn new(roles: &[&str]) -> Self {
        let waiting = roles.iter().map(|role| ((*role).to_owned(), BTreeMap::new())).collect();
        let state = Mutex::new(State { waiting, draining: false });
        Self(Arc::new(Inner { state, changed: watch::Sender::new(0) }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, role: &str, what: &'static str, reason: Option<String>) {
        if let Some(waiting) = self.state().waiting.get_mut(role) {
            match reason {
                Some(reason) => waiting.insert(what, reason),
                None => waiting.remove(what),
            };
        }
        self.0.changed.send_modify(|n| *n += 1);
    }

    pub(crate) fn drain(&self) {
        self.state().draining = true;
        self.0.changed.send_modify(|n| *n += 1);
    }

    /// For each role, the reasons why it is not ready; none = ready.
    pub(crate) fn reasons(&self) -> BTreeMap<String, Vec<String>> {
        let state = self.state();
        let draining = state.draining.then(|| "draining".to_owned());
        let waiting = state.waiting.iter();
        waiting
            .map(|(role, reasons)| (role.clone(), draining.iter().chain(reasons.values()).cloned().collect()))
            .collect()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.reasons().values().all(Vec::is_empty)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }
}

/// One thing that a role waits for: "database", "lease". Not ready until `ready()`.
#[derive(Clone, Debug)]
pub struct ReadyFlag {
    pub(crate) readiness: Readiness,
    pub(crate) role: String,
    pub(crate) what: &'static str,
}

impl ReadyFlag {
    /// This part is ready.
    pub fn ready(&self) {
        self.readiness.set(&self.role, self.what, None);
    }
    /// This part is not ready any more; `reason` is shown at `/ready`.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.readiness.set(&self.role, self.what, Some(format!("{}: {}", self.what, reason.into())));
    }
}
