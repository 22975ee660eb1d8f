//! One stream as data: entries, groups, pending lists. No clock, no locks; time is an argument.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use crate::{EntryId, GroupStats, Kind, Limits, Message};

/// An entry that is handed out: id, number of deliveries, content.
pub(super) type Handed = (EntryId, u32, Message);

pub(super) struct StreamState {
    kind: Kind,
    entries: VecDeque<Entry>,
    /// Number of the entry at the front, counted from the first ever. Groups point at entries by number.
    front: u64,
    /// Entries that are still there; a queue has holes where entries were acknowledged.
    len: u64,
    bytes: usize,
    last_id: EntryId,
    groups: HashMap<Arc<str>, Group>,
}

struct Entry {
    id: EntryId,
    message: Option<Message>,
}

#[derive(Default)]
struct Group {
    /// Number of the next entry that was never handed out.
    next: u64,
    pending: BTreeMap<EntryId, Pending>,
    /// Unhandled entries were trimmed and nobody has been told yet.
    missed: bool,
    /// Consumers that are subscribed now, and how often each name is.
    live: HashMap<Arc<str>, u32>,
}

struct Pending {
    number: u64,
    consumer: Arc<str>,
    /// When it was handed out; `None` once it was released.
    since: Option<Duration>,
    deliveries: u32,
}

/// Which pending entries to take over.
pub(super) struct Claim<'a> {
    pub(super) consumer: &'a Arc<str>,
    /// Only entries after this one: pages of one pass.
    pub(super) after: EntryId,
    pub(super) min_idle: Duration,
    pub(super) own_only: bool,
    pub(super) max: usize,
}

impl StreamState {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            entries: VecDeque::new(),
            front: 0,
            len: 0,
            bytes: 0,
            last_id: EntryId::ZERO,
            groups: HashMap::new(),
        }
    }

    /// Appends a message at `ms` if there is room for it. Ids never go back, whatever the clock does.
    pub(super) fn push(
        &mut self,
        message: &Message,
        ms: u64,
        limits: &Limits,
        bytes_max: usize,
    ) -> Option<EntryId> {
        let size = message.size_bytes();
        if self.is_full(size, limits, bytes_max) {
            self.make_room(size, limits, bytes_max);
            if self.is_full(size, limits, bytes_max) {
                return None;
            }
        }
        let id = self.last_id.next().max(EntryId { ms, seq: 0 });
        self.entries.push_back(Entry { id, message: Some(message.clone()) });
        self.last_id = id;
        self.len += 1;
        self.bytes += size;
        Some(id)
    }

    fn is_full(&self, more: usize, limits: &Limits, bytes_max: usize) -> bool {
        let len_max = match self.kind {
            Kind::Queue => limits.queue_len_max,
            Kind::Log => limits.log_len_max,
        };
        // One message always fits an empty stream, or a small bound would make it unpublishable.
        self.len >= len_max || (self.len > 0 && self.bytes + more > bytes_max)
    }

    /// Drops the oldest entries of a log that every group with a live consumer has handled.
    fn make_room(&mut self, more: usize, limits: &Limits, bytes_max: usize) {
        if self.kind == Kind::Queue {
            return;
        }
        let end = self.front + self.entries.len() as u64;
        let live = self.groups.values().filter(|group| !group.live.is_empty());
        let spare_from = live.map(Group::first_unhandled).min().unwrap_or(end);
        while self.front < spare_from && self.is_full(more, limits, bytes_max) {
            self.drop_front();
        }
        self.forget_trimmed();
    }

    /// Drops the entries of a log that are older than `oldest_ms`; says how many.
    pub(super) fn trim(&mut self, oldest_ms: u64) -> u64 {
        if self.kind == Kind::Queue {
            return 0;
        }
        let before = self.len;
        while self.entries.front().is_some_and(|entry| entry.id.ms < oldest_ms) {
            self.drop_front();
        }
        self.forget_trimmed();
        before - self.len
    }

    fn drop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.front += 1;
            if let Some(message) = entry.message {
                self.len -= 1;
                self.bytes -= message.size_bytes();
            }
        }
    }

    /// Groups that had not handled what was dropped will be told.
    fn forget_trimmed(&mut self) {
        for group in self.groups.values_mut() {
            if group.next < self.front {
                group.next = self.front;
                group.missed = true;
            }
            let kept = group.pending.iter().find(|(_, p)| p.number >= self.front).map(|(id, _)| *id);
            match kept {
                Some(first) => {
                    let kept = group.pending.split_off(&first);
                    group.missed |= !group.pending.is_empty();
                    group.pending = kept;
                }
                None => {
                    group.missed |= !group.pending.is_empty();
                    group.pending.clear();
                }
            }
        }
    }

    /// Creates the group at the start of the stream; false when it is there.
    pub(super) fn ensure_group(&mut self, name: &Arc<str>) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        self.groups.insert(name.clone(), Group { next: self.front, ..Group::default() });
        true
    }

    pub(super) fn join(&mut self, group: &Arc<str>, consumer: &Arc<str>) {
        if let Some(group) = self.groups.get_mut(group) {
            *group.live.entry(consumer.clone()).or_default() += 1;
        }
    }

    pub(super) fn leave(&mut self, group: &str, consumer: &str) {
        let Some(group) = self.groups.get_mut(group) else { return };
        if let Some(times) = group.live.get_mut(consumer) {
            *times -= 1;
            if *times == 0 {
                group.live.remove(consumer);
            }
        }
    }

    /// Whether the group missed trimmed entries since the last time this was asked.
    pub(super) fn take_missed(&mut self, group: &str) -> bool {
        self.groups.get_mut(group).is_some_and(|group| std::mem::take(&mut group.missed))
    }

    /// Hands out entries that the group has not seen.
    pub(super) fn read_new(
        &mut self,
        group: &str,
        consumer: &Arc<str>,
        max: usize,
        now: Duration,
    ) -> Vec<Handed> {
        let mut handed = Vec::new();
        let Some(group) = self.groups.get_mut(group) else { return handed };
        let end = self.front + self.entries.len() as u64;
        group.next = group.next.max(self.front);
        while group.next < end && handed.len() < max {
            let number = group.next;
            group.next += 1;
            let entry = &self.entries[(number - self.front) as usize];
            let Some(message) = &entry.message else { continue };
            let pending = Pending { number, consumer: consumer.clone(), since: Some(now), deliveries: 1 };
            group.pending.insert(entry.id, pending);
            handed.push((entry.id, 1, message.clone()));
        }
        handed
    }

    /// Takes over pending entries and hands them out again.
    pub(super) fn claim(&mut self, group: &str, claim: &Claim<'_>, now: Duration) -> Vec<Handed> {
        let mut handed = Vec::new();
        let Some(group) = self.groups.get_mut(group) else { return handed };
        let range = (Bound::Excluded(claim.after), Bound::Unbounded);
        for (id, pending) in group.pending.range_mut(range) {
            if handed.len() == claim.max {
                break;
            }
            let idle = pending.since.is_none_or(|since| now.saturating_sub(since) >= claim.min_idle);
            if !idle || (claim.own_only && pending.consumer != *claim.consumer) {
                continue;
            }
            // An entry of a queue that is pending is there: acknowledging removes both.
            let slot = pending.number.checked_sub(self.front).and_then(|at| self.entries.get(at as usize));
            let Some(message) = slot.and_then(|entry| entry.message.clone()) else { continue };
            pending.consumer = claim.consumer.clone();
            pending.since = Some(now);
            pending.deliveries = pending.deliveries.saturating_add(1);
            handed.push((*id, pending.deliveries, message));
        }
        handed
    }

    /// Acknowledges; says whether that made room.
    pub(super) fn ack(&mut self, group: &str, ids: impl Iterator<Item = EntryId>) -> bool {
        let Some(group) = self.groups.get_mut(group) else { return false };
        let mut room = false;
        for id in ids {
            let Some(pending) = group.pending.remove(&id) else { continue };
            room = true;
            let slot =
                pending.number.checked_sub(self.front).and_then(|at| self.entries.get_mut(at as usize));
            if let (Kind::Queue, Some(entry)) = (self.kind, slot)
                && let Some(message) = entry.message.take()
            {
                self.len -= 1;
                self.bytes -= message.size_bytes();
            }
        }
        while self.entries.front().is_some_and(|entry| entry.message.is_none()) {
            self.drop_front();
        }
        room
    }

    /// Restarts the idle time of entries that `consumer` still holds, or ends it.
    pub(super) fn touch(
        &mut self,
        group: &str,
        consumer: &str,
        ids: impl Iterator<Item = EntryId>,
        since: Option<Duration>,
    ) {
        let Some(group) = self.groups.get_mut(group) else { return };
        for id in ids {
            if let Some(pending) = group.pending.get_mut(&id).filter(|p| &*p.consumer == consumer) {
                pending.since = since;
            }
        }
    }

    pub(super) fn read(&self, after: EntryId, max: usize) -> Vec<(EntryId, Message)> {
        let from = self.entries.partition_point(|entry| entry.id <= after);
        let there = self.entries.range(from..).filter_map(|e| Some((e.id, e.message.clone()?)));
        there.take(max).collect()
    }

    pub(super) fn stats(&self, group: &str, now: Duration) -> GroupStats {
        let Some(group) = self.groups.get(group) else {
            return GroupStats { length: self.len, lag: self.len, ..GroupStats::default() };
        };
        let unread = self.front + self.entries.len() as u64 - group.next;
        let since = group.pending.values().next().map(|first| first.since.unwrap_or_default());
        let oldest = since.map_or(0, |since| now.saturating_sub(since).as_millis());
        GroupStats {
            length: self.len,
            lag: unread,
            pending: group.pending.len() as u64,
            oldest_pending_ms: u64::try_from(oldest).unwrap_or(u64::MAX),
            consumers: group.live.len() as u64,
        }
    }
}

impl Group {
    /// Number of the oldest entry that is not acknowledged, or not handed out yet.
    fn first_unhandled(&self) -> u64 {
        let pending = self.pending.values().next().map_or(self.next, |first| first.number);
        pending.min(self.next)
    }
}
