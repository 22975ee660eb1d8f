//! The fair queue: what waits for a slot, and what is next.
//!
//! Order: higher priority first; at one priority round robin over tenants (the tenant that waited longest for its turn
//! is next, a tenant that joins goes to the back); within a tenant by time, then by arrival.
//!
//! Every item waits for a **class**: a set of instances it could use. While a class is closed (nothing has room) its
//! items do not stand in the way of others. With `n` items, `t` tenants, `p` priorities and `c` classes:
//!
//! | operation | cost |
//! |---|---|
//! | push, remove | O(log n) |
//! | pop | O(log n): the first tenant of the highest priority that has an open item |
//! | close, open | O(g log n), g = (priority, tenant) pairs of that class, at most p·t; never the number of items |
//! | position | O(t + the item's own place in its tenant's line) |

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    hash::Hash,
};

/// The queue is at its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue holds its maximum of {max} items")]
pub struct QueueFull {
    /// The bound.
    pub max: usize,
}

/// One item with everything it was pushed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<K, T, C, V> {
    /// Names it for cancel and position.
    pub key: K,
    /// Whose turn it takes.
    pub tenant: T,
    /// Higher is earlier.
    pub priority: i32,
    /// Earlier is earlier, within a tenant and priority.
    pub time: i64,
    /// What it waits for.
    pub class: C,
    /// The item.
    pub item: V,
}

/// Time, then arrival.
type Place = (i64, u64);

type Items<K, T, C, V> = HashMap<K, (Place, Entry<K, T, C, V>)>;

/// Items of one tenant at one priority.
struct Line<K, C> {
    /// When it last had its turn, or joined.
    stamp: u64,
    classes: BTreeMap<C, BTreeMap<Place, K>>,
    /// First place of every open class that has items.
    heads: BTreeSet<(Place, C)>,
}

/// Items of one priority.
struct Level<K, T, C> {
    lines: HashMap<T, Line<K, C>>,
    /// Lines with an open item, longest wait first.
    ready: BTreeMap<u64, T>,
}

/// The fair queue. `K` names items, `T` tenants, `C` classes, `V` is the item.
pub struct FairQueue<K, T, C, V> {
    max: usize,
    arrivals: u64,
    turns: u64,
    items: Items<K, T, C, V>,
    levels: BTreeMap<Reverse<i32>, Level<K, T, C>>,
    /// Levels with an open item.
    ready: BTreeSet<Reverse<i32>>,
    closed: BTreeSet<C>,
    /// Where a class has items: (priority, tenant).
    groups: HashMap<C, BTreeSet<(Reverse<i32>, T)>>,
}

impl<K, T, C, V> Debug for FairQueue<K, T, C, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FairQueue({} of {})", self.items.len(), self.max)
    }
}

impl<K, T, C, V> FairQueue<K, T, C, V>
where
    K: Clone + Eq + Hash,
    T: Clone + Ord + Hash,
    C: Clone + Ord + Hash,
{
    /// An empty queue that holds at most `max` items.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            arrivals: 0,
            turns: 0,
            items: HashMap::new(),
            levels: BTreeMap::new(),
            ready: BTreeSet::new(),
            closed: BTreeSet::new(),
            groups: HashMap::new(),
        }
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// The item of that key.
    pub fn get(&self, key: &K) -> Option<&Entry<K, T, C, V>> {
        self.items.get(key).map(|(_, entry)| entry)
    }
    /// Whether some item could be popped.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
    /// Whether items wait for that class.
    pub fn waits_for(&self, class: &C) -> bool {
        self.groups.contains_key(class)
    }
    /// Every class that items wait for, open or closed.
    pub fn classes(&self) -> Vec<C> {
        self.groups.iter().filter(|(_, places)| !places.is_empty()).map(|(class, _)| class.clone()).collect()
    }

    /// Whether the class is closed.
    pub fn is_closed(&self, class: &C) -> bool {
        self.closed.contains(class)
    }

    /// Adds an item. An item of the same key is replaced and loses its place.
    ///
    /// # Errors
    /// [`QueueFull`] at the bound; nothing changed then.
    pub fn push(&mut self, entry: Entry<K, T, C, V>) -> Result<(), QueueFull> {
        if self.items.len() >= self.max && !self.items.contains_key(&entry.key) {
            return Err(QueueFull { max: self.max });
        }
        self.remove(&entry.key);
        self.arrivals += 1;
        let place = (entry.time, self.arrivals);
        let level_key = Reverse(entry.priority);
        let group = (level_key, entry.tenant.clone());
        self.groups.entry(entry.class.clone()).or_default().insert(group);
        let level = self
            .levels
            .entry(level_key)
            .or_insert_with(|| Level { lines: HashMap::new(), ready: BTreeMap::new() });
        let turns = &mut self.turns;
        let line = level.lines.entry(entry.tenant.clone()).or_insert_with(|| {
            *turns += 1;
            Line { stamp: *turns, classes: BTreeMap::new(), heads: BTreeSet::new() }
        });
        let waiting = line.classes.entry(entry.class.clone()).or_default();
        let old_head = waiting.keys().next().copied();
        waiting.insert(place, entry.key.clone());
        if !self.closed.contains(&entry.class) && old_head.is_none_or(|head| place < head) {
            if let Some(head) = old_head {
                line.heads.remove(&(head, entry.class.clone()));
            }
            line.heads.insert((place, entry.class.clone()));
            level.ready.insert(line.stamp, entry.tenant.clone());
            self.ready.insert(level_key);
        }
        self.items.insert(entry.key.clone(), (place, entry));
        Ok(())
    }

    /// Takes the first item whose class is open. Its tenant goes to the back of its priority.
    pub fn pop(&mut self) -> Option<Entry<K, T, C, V>> {
        let key = self.peek()?.key.clone();
        let (_, entry) = self.items.get(&key)?;
        let (level_key, tenant) = (Reverse(entry.priority), entry.tenant.clone());
        let entry = self.remove(&key)?;
        // The rest of the tenant's line waits for its next turn.
        if let Some(level) = self.levels.get_mut(&level_key)
            && let Some(line) = level.lines.get_mut(&tenant)
        {
            self.turns += 1;
            let was_ready = level.ready.remove(&line.stamp).is_some();
            line.stamp = self.turns;
            if was_ready {
                level.ready.insert(line.stamp, tenant);
            }
        }
        Some(entry)
    }

    /// The item that [`FairQueue::pop`] would take.
    pub fn peek(&self) -> Option<&Entry<K, T, C, V>> {
        let level = self.levels.get(self.ready.first()?)?;
        let (_, tenant) = level.ready.first_key_value()?;
        let line = level.lines.get(tenant)?;
        let (place, class) = line.heads.first()?;
        let key = line.classes.get(class)?.get(place)?;
        self.get(key)
    }

    /// Takes an item out, wherever it stands.
    pub fn remove(&mut self, key: &K) -> Option<Entry<K, T, C, V>> {
        let (place, entry) = self.items.remove(key)?;
        let level_key = Reverse(entry.priority);
        let level = self.levels.get_mut(&level_key)?;
        let line = level.lines.get_mut(&entry.tenant)?;
        let waiting = line.classes.get_mut(&entry.class)?;
        waiting.remove(&place);
        let next = waiting.keys().next().copied();
        if next.is_none() {
            line.classes.remove(&entry.class);
            drop_group(&mut self.groups, &entry.class, level_key, &entry.tenant);
        }
        if line.heads.remove(&(place, entry.class.clone()))
            && let Some(next) = next
        {
            line.heads.insert((next, entry.class.clone()));
        }
        if line.heads.is_empty() {
            level.ready.remove(&line.stamp);
        }
        if line.classes.is_empty() {
            level.lines.remove(&entry.tenant);
        }
        if level.ready.is_empty() {
            self.ready.remove(&level_key);
        }
        if level.lines.is_empty() {
            self.levels.remove(&level_key);
        }
        Some(entry)
    }

    /// Nothing of that class is popped until it is opened. Closing a closed class changes nothing.
    pub fn close(&mut self, class: &C) {
        if !self.closed.insert(class.clone()) {
            return;
        }
        self.each_group(class, |line, class| {
            if let Some(head) = line.classes.get(class).and_then(|w| w.keys().next().copied()) {
                line.heads.remove(&(head, class.clone()));
            }
        });
    }

    /// The items of that class may be popped again. A class that was never closed is open.
    pub fn open(&mut self, class: &C) {
        if !self.closed.remove(class) {
            return;
        }
        self.each_group(class, |line, class| {
            if let Some(head) = line.classes.get(class).and_then(|w| w.keys().next().copied()) {
                line.heads.insert((head, class.clone()));
            }
        });
    }

    fn each_group(&mut self, class: &C, change: impl Fn(&mut Line<K, C>, &C)) {
        for (level_key, tenant) in self.groups.get(class).into_iter().flatten() {
            let Some(level) = self.levels.get_mut(level_key) else { continue };
            let Some(line) = level.lines.get_mut(tenant) else { continue };
            change(line, class);
            if line.heads.is_empty() {
                level.ready.remove(&line.stamp);
            } else {
                level.ready.insert(line.stamp, tenant.clone());
            }
            if level.ready.is_empty() {
                self.ready.remove(level_key);
            } else {
                self.ready.insert(*level_key);
            }
        }
    }

    /// How many items go before this one if nothing else arrives and every class is open: 0 = it is next.
    pub fn position(&self, key: &K) -> Option<usize> {
        let (place, entry) = self.items.get(key)?;
        let own_level = Reverse(entry.priority);
        let count = |line: &Line<K, C>| line.classes.values().map(BTreeMap::len).sum::<usize>();
        let higher =
            self.levels.range(..own_level).flat_map(|(_, l)| l.lines.values()).map(count).sum::<usize>();
        let level = self.levels.get(&own_level)?;
        let own = level.lines.get(&entry.tenant)?;
        let before = own.classes.values().map(|w| w.range(..*place).count()).sum::<usize>();
        let others = level.lines.iter().filter(|(tenant, _)| **tenant != entry.tenant).map(|(_, line)| {
            // It has one turn for each of ours, and one more when its turn comes before ours.
            count(line).min(before + usize::from(line.stamp < own.stamp))
        });
        Some(higher + before + others.sum::<usize>())
    }
}

fn drop_group<C: Eq + Hash, T: Clone + Ord>(
    groups: &mut HashMap<C, BTreeSet<(Reverse<i32>, T)>>,
    class: &C,
    level: Reverse<i32>,
    tenant: &T,
) {
    if let Some(places) = groups.get_mut(class) {
        places.remove(&(level, tenant.clone()));
        if places.is_empty() {
            groups.remove(class);
        }
    }
}
