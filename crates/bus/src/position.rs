//! Where a message stands in the log that it follows, and what that tells a consumer. Pure.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

/// Place of a message in the event log of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The cluster whose log it is.
    pub cluster: Arc<str>,
    /// The shard within it, or [`Position::REGISTRY`].
    pub shard: u32,
    /// The owner that published it: tells in logs which of two owners spoke. Order never depends on it.
    pub incarnation: u64,
    /// Its position in the shard's log, from 1.
    pub pos: u64,
    /// The position before it, 0 for the first. Positions may have holes, hence the link.
    pub previous: u64,
}

impl Position {
    /// The `shard` under which the registry's list of changes publishes; executors have at most 4,096 shards.
    pub const REGISTRY: u32 = 65_535;
}

impl fmt::Display for Position {
    /// `shard incarnation pos previous cluster`: the wire form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, shard, incarnation, pos, previous } = self;
        write!(f, "{shard} {incarnation} {pos} {previous} {cluster}")
    }
}

/// A text that is not a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a position: write `shard incarnation pos previous cluster`, with previous below pos")]
pub struct BadPosition(String);

impl FromStr for Position {
    type Err = BadPosition;
    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let read = || {
            let mut parts = text.splitn(5, ' ');
            let shard = parts.next()?.parse().ok()?;
            let mut number = || parts.next()?.parse::<u64>().ok();
            let (incarnation, pos, previous) = (number()?, number()?, number()?);
            let cluster = Arc::from(parts.next()?);
            (previous < pos).then_some(Self { cluster, shard, incarnation, pos, previous })
        };
        read().ok_or_else(|| BadPosition(text.chars().take(80).collect()))
    }
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It follows what was handled last: handle it.
    InOrder,
    /// Handled already: drop it and acknowledge.
    Duplicate,
    /// Positions in `(after, until]` have not been seen: read them from the log, then ask again.
    Gap {
        /// Read from the position after this one.
        after: u64,
        /// Up to and including this one.
        until: u64,
    },
}

/// The last handled position of every shard that a consumer has met.
///
/// `check` a message, commit its effect together with its position, then `advance`. After a restart, `restore` what was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PositionTracker {
    last: BTreeMap<Arc<str>, BTreeMap<u32, u64>>,
}

impl PositionTracker {
    /// Nothing seen yet: every shard begins before position 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// What to do with the message at `at`. A shard that was never met stands at 0.
    pub fn check(&self, at: &Position) -> Verdict {
        let last = self.last(&at.cluster, at.shard);
        if at.pos <= last {
            return Verdict::Duplicate;
        }
        match at.previous.cmp(&last) {
            std::cmp::Ordering::Equal => Verdict::InOrder,
            std::cmp::Ordering::Greater => Verdict::Gap { after: last, until: at.previous },
            // The publisher does not know a position that we handled: its log was rolled back (a failover that lost
            // rows), or it was a stale owner. Only the log can tell what follows the position we share.
            std::cmp::Ordering::Less => Verdict::Gap { after: last, until: at.pos },
        }
    }

    /// Everything up to and including `at` is handled. Never goes back.
    pub fn advance(&mut self, at: &Position) {
        self.restore(at.cluster.clone(), at.shard, at.pos);
    }

    /// Everything up to and including `pos` is handled: from a stored position, or after a read of the log. Never goes back.
    pub fn restore(&mut self, cluster: impl Into<Arc<str>>, shard: u32, pos: u64) {
        let last = self.last.entry(cluster.into()).or_default().entry(shard).or_default();
        *last = pos.max(*last);
    }

    /// The last handled position, 0 when there is none.
    pub fn last(&self, cluster: &str, shard: u32) -> u64 {
        self.last.get(cluster).and_then(|shards| shards.get(&shard)).copied().unwrap_or(0)
    }

    /// Every shard that was met, with its last position: what to re-read on [`CatchUp`](crate::CatchUp).
    pub fn shards(&self) -> impl Iterator<Item = (&str, u32, u64)> {
        self.last.iter().flat_map(|(cluster, shards)| {
            shards.iter().map(move |(shard, pos)| (cluster.as_ref(), *shard, *pos))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(shard: u32, previous: u64, pos: u64) -> Position {
        Position { cluster: "eu".into(), shard, incarnation: 1, pos, previous }
    }

    #[test]
    fn verdicts() {
        use Verdict::{Duplicate, Gap, InOrder};
        for (name, last, previous, pos, want) in [
            ("the first message of a shard is in order", 0, 0, 1, InOrder),
            ("a new consumer on an old shard has a gap", 0, 7, 8, Gap { after: 0, until: 7 }),
            ("the successor is in order", 5, 5, 6, InOrder),
            ("a hole in the numbers is no gap", 5, 5, 9, InOrder),
            ("the same again is a duplicate", 5, 4, 5, Duplicate),
            ("an older one is a duplicate", 5, 1, 2, Duplicate),
            ("a jump is a gap", 5, 8, 9, Gap { after: 5, until: 8 }),
            ("a rolled back publisher sends us to the log", 5, 3, 7, Gap { after: 5, until: 7 }),
        ] {
            let mut tracker = PositionTracker::new();
            tracker.restore("eu", 3, last);
            assert_eq!(tracker.check(&at(3, previous, pos)), want, "{name}");
        }
    }

    #[test]
    fn shards_and_clusters_count_apart() {
        let mut tracker = PositionTracker::new();
        tracker.advance(&at(1, 0, 4));
        assert_eq!(tracker.check(&at(2, 0, 1)), Verdict::InOrder);
        let other = Position { cluster: "us".into(), ..at(1, 0, 1) };
        assert_eq!(tracker.check(&other), Verdict::InOrder);
        assert_eq!(tracker.shards().collect::<Vec<_>>(), [("eu", 1, 4)]);
    }

    #[test]
    fn a_tracker_never_goes_back() {
        let mut tracker = PositionTracker::new();
        tracker.restore("eu", 1, 9);
        tracker.restore("eu", 1, 3);
        assert_eq!(tracker.last("eu", 1), 9);
    }

    #[test]
    fn positions_read_as_written() {
        let cluster_with_space = Position { cluster: "eu west".into(), ..at(3, 8, 9) };
        assert_eq!(cluster_with_space.to_string().parse(), Ok(cluster_with_space));
        for text in ["", "1 2 3", "1 2 3 3 eu", "x 1 2 1 eu", "9999999999 1 2 1 eu", "1 -1 2 1 eu"] {
            assert!(text.parse::<Position>().is_err(), "{text:?}");
        }
    }

    proptest! {
        /// Any order, repetition and loss on the stream: with the log at hand every position takes effect once, in order.
        #[test]
        fn every_position_takes_effect_once_and_in_order(
            steps in prop::collection::vec(1u64..4, 1..40),
            deliveries in prop::collection::vec(any::<prop::sample::Index>(), 0..120),
        ) {
            let log: Vec<u64> = steps.iter().scan(0, |pos, step| { *pos += step; Some(*pos) }).collect();
            let message = |i: usize| at(1, if i == 0 { 0 } else { log[i - 1] }, log[i]);
            let mut tracker = PositionTracker::new();
            let mut effects = Vec::new();
            let read_log = |tracker: &mut PositionTracker, effects: &mut Vec<u64>, after: u64, until: u64| {
                effects.extend(log.iter().filter(|pos| **pos > after && **pos <= until));
                tracker.restore("eu", 1, until);
            };
            for pick in &deliveries {
                let message = message(pick.index(log.len()));
                if let Verdict::Gap { after, until } = tracker.check(&message) {
                    read_log(&mut tracker, &mut effects, after, until);
                }
                match tracker.check(&message) {
                    Verdict::InOrder => { effects.push(message.pos); tracker.advance(&message); }
                    Verdict::Duplicate => {}
                    Verdict::Gap { .. } => prop_assert!(false, "a fetched gap is closed"),
                }
            }
            let after = tracker.last("eu", 1);
            read_log(&mut tracker, &mut effects, after, u64::MAX);
            prop_assert_eq!(effects, log);
        }
    }
}
