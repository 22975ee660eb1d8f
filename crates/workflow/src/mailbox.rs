//! Events and signals that came before anybody waited for them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use base::{Payload, Timestamp};

use crate::facts::UserEvent;

/// What is kept until somebody takes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mailbox {
    /// Higher priorities first, else in order of arrival: so events of one key keep their order.
    pub events: Vec<(Timestamp, Arc<UserEvent>)>,
    /// Ids of events that were received, and until when a repeat is recognised.
    seen: BTreeMap<Arc<str>, Timestamp>,
    /// The same by the time they are forgotten.
    forget: BTreeSet<(Timestamp, Arc<str>)>,
    /// Signals nobody waited for, oldest first.
    pub signals: VecDeque<(Arc<str>, Payload)>,
    /// Ids of signals that were received.
    signal_ids: BTreeSet<Arc<str>>,
}

impl Mailbox {
    /// Whether an event of this id was received before.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.seen.contains_key(id)
    }
    /// Whether a signal of this id was received before.
    pub(crate) fn knows_signal(&self, id: &str) -> bool {
        self.signal_ids.contains(id)
    }
    /// How many are kept at `now`.
    pub(crate) fn len(&self, now: Timestamp) -> usize {
        self.events.iter().filter(|(expires, _)| *expires > now).count() + self.signals.len()
    }

    /// Keeps an event, and forgets what has expired at `now`.
    pub(crate) fn keep(&mut self, event: Arc<UserEvent>, expires: Timestamp, now: Timestamp) {
        self.events.retain(|(until, _)| *until > now);
        while let Some((at, id)) = self.forget.first().cloned().filter(|(at, _)| *at <= now) {
            self.forget.remove(&(at, id.clone()));
            self.seen.remove(&id);
        }
        self.seen.insert(event.id.clone(), expires);
        self.forget.insert((expires, event.id.clone()));
        let behind = self.events.partition_point(|(_, e)| e.priority >= event.priority);
        self.events.insert(behind, (expires, event));
    }

    /// Takes a kept event out.
    pub(crate) fn take(&mut self, id: &str) -> Option<Arc<UserEvent>> {
        let at = self.events.iter().position(|(_, e)| &*e.id == id)?;
        Some(self.events.remove(at).1)
    }

    /// Remembers a signal's id, when it has one.
    pub(crate) fn know_signal(&mut self, id: &Arc<str>) {
        if !id.is_empty() {
            self.signal_ids.insert(id.clone());
        }
    }

    /// Takes the oldest signal of this name out.
    pub(crate) fn take_signal(&mut self, name: &str) -> Option<Payload> {
        let at = self.signals.iter().position(|(n, _)| &**n == name)?;
        self.signals.remove(at).map(|(_, payload)| payload)
    }
}
