//! Events as they come, for whoever looks on.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use api::Fault;
use base::Tenant;
use futures::{Stream, stream};
use store::topics::{EventFilter, EventRow};
use tokio::sync::{broadcast, watch};

use super::Inner;
use crate::engine::away;

/// Events read at once.
const PAGE: u32 = 200;
/// Pause before a read that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a look gave.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) events: Vec<EventRow>,
    /// Where to go on after it.
    pub(super) pos: i64,
}

struct Watcher {
    inner: Arc<Inner>,
    tenant: Tenant,
    filter: EventFilter,
    pos: i64,
    head: watch::Receiver<i64>,
    volatile: broadcast::Receiver<Arc<EventRow>>,
    passing: VecDeque<EventRow>,
}

/// Tells watchers that there are new events, wherever they were written, until the replica stops.
pub(super) async fn follow_head(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.drain.draining() => return,
            () = tokio::time::sleep(inner.options.watch_interval) => {}
        }
        if inner.head.receiver_count() == 0 {
            continue;
        }
        match inner.events.head().await {
            Ok(head) => inner.saw(head),
            Err(error) => tracing::debug!(%error, "new events could not be looked for"),
        }
    }
}

impl Inner {
    /// The newest position that is known here.
    pub(super) fn saw(&self, head: i64) {
        self.head.send_if_modified(|known| {
            let newer = head > *known;
            *known = head.max(*known);
            newer
        });
    }

    /// Follows events after `from`, or from now on.
    pub(super) async fn watch(
        self: &Arc<Self>,
        tenant: Tenant,
        filter: EventFilter,
        from: Option<i64>,
    ) -> Result<impl Stream<Item = Seen> + Send + use<>, Fault> {
        let (head, volatile) = (self.head.subscribe(), self.volatile.subscribe());
        let pos = match from {
            Some(pos) => pos,
            None => self.events.head().await.map_err(away)?,
        };
        let inner = self.clone();
        let watcher = Watcher { inner, tenant, filter, pos, head, volatile, passing: VecDeque::new() };
        Ok(stream::unfold(watcher, |mut watcher| async move {
            let seen = watcher.next().await?;
            Some((seen, watcher))
        }))
    }
}

impl Watcher {
    /// `None`: the replica goes down.
    async fn next(&mut self) -> Option<Seen> {
        loop {
            if !self.passing.is_empty() {
                return Some(Seen { events: self.passing.drain(..).collect(), pos: self.pos });
            }
            // Marked before the read: what comes meanwhile is another change.
            let head = *self.head.borrow_and_update();
            match self.read().await {
                Some(Seen { events, pos }) if !events.is_empty() => return Some(Seen { events, pos }),
                Some(_) => self.pos = self.pos.max(head),
                None => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            }
            tokio::select! {
                () = self.inner.drain.draining() => return None,
                changed = self.head.changed() => changed.ok()?,
                passing = self.volatile.recv() => self.pass(passing),
            }
        }
    }

    async fn read(&mut self) -> Option<Seen> {
        let page = self.inner.events.list(&self.tenant, &self.filter, None, Some(self.pos), PAGE).await;
        match page {
            Ok(events) => {
                self.pos = events.last().map_or(self.pos, |row| row.pos);
                Some(Seen { events, pos: self.pos })
            }
            Err(error) => {
                tracing::debug!(%error, "a watch of events waits for the store");
                None
            }
        }
    }

    fn pass(&mut self, event: Result<Arc<EventRow>, broadcast::error::RecvError>) {
        // One that lagged missed volatile events, as it may.
        let Ok(row) = event else { return };
        let (own, f) = (&row.event, &self.filter);
        let is = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|w| w == text);
        let fits = own.tenant == self.tenant
            && (f.kinds.is_empty() || f.kinds.contains(&own.kind))
            && is(&f.topic, &own.topic)
            && is(&f.source, &own.source)
            && is(&f.key, &own.key)
            && f.since.is_none_or(|since| own.at >= since)
            && f.until.is_none_or(|until| own.at < until);
        if fits {
            self.passing.push_back((*row).clone());
        }
    }
}
