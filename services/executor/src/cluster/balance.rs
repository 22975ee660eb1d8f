//! Which shards a replica takes and gives away. Pure: the roster goes in, moves come out.
//!
//! Every replica decides for itself. None takes above its even share and none gives below it, so that replicas which
//! decide at the same moment never undo each other's moves.

use std::collections::BTreeMap;

use store::journal::{MemberId, Roster};

/// Shards given away at once: each is at rest while it moves.
const GIVEN_AT_ONCE: usize = 16;

/// What to do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    /// Shards of nobody, to be claimed.
    pub(crate) claim: Vec<u16>,
    /// Shards of dead members, at most so many of each. Zero: only end it.
    pub(crate) take_over: Vec<(MemberId, u16)>,
    /// Own shards for others.
    pub(crate) give: Vec<(u16, MemberId)>,
    /// Every shard has a living owner and all have their even share.
    pub(crate) settled: bool,
}

/// Moves of `me` among the `living` (by id; `me` is one of them). `takes`: whether a member takes a shard. Own shards that
/// `me` does not take go first. A replica that is `leaving` takes nothing and gives everything.
pub(crate) fn moves(
    roster: &Roster,
    living: &[MemberId],
    me: &MemberId,
    takes: &dyn Fn(&MemberId, u16) -> bool,
    leaving: bool,
) -> Moves {
    let mut counts: BTreeMap<&MemberId, usize> = living.iter().map(|id| (id, 0)).collect();
    let mut dead: BTreeMap<&MemberId, usize> = BTreeMap::new();
    let (mut free, mut own) = (Vec::new(), Vec::new());
    for (owner, shard) in roster.shards.iter().zip(0u16..) {
        match owner {
            None if takes(me, shard) => free.push(shard),
            // It waits for somebody who takes it.
            None => {}
            Some(id) => match counts.get_mut(id) {
                Some(n) => *n += 1,
                None => *dead.entry(id).or_default() += 1,
            },
        }
        if owner.as_ref() == Some(me) {
            own.push(shard);
        }
    }
    let (shards, n) = (roster.shards.len(), living.len().max(1));
    let (floor, ceil) = (shards / n, shards.div_ceil(n));
    let uneven = counts.values().any(|count| *count < floor || *count > ceil);
    let settled = free.is_empty() && dead.is_empty() && !uneven && !leaving;
    if leaving {
        counts.remove(me);
        let take_over = Vec::new();
        return Moves { give: give(&own, own.len(), counts, takes), take_over, claim: Vec::new(), settled };
    }
    let (own, stuck): (Vec<u16>, Vec<u16>) = own.into_iter().partition(|shard| takes(me, *shard));
    let mut room = ceil.saturating_sub(own.len());
    // Replicas that start together begin at different places, so that they seldom reach for the same shard.
    if let (false, Some(rank)) = (free.is_empty(), living.iter().position(|id| id == me)) {
        let at = rank * free.len() / n;
        free.rotate_left(at);
    }
    free.truncate(room);
    room -= free.len();
    let mut take_over = Vec::new();
    for (id, count) in dead {
        let limit = room.min(count);
        room -= limit;
        take_over.push((id.clone(), limit as u16));
    }
    // With shards to be taken nobody knows yet who will have how many.
    let quiet = free.is_empty() && take_over.is_empty();
    let hungry = counts.values().any(|count| *count < floor);
    let surplus = match own.len() {
        many if many > ceil => many - ceil,
        even if even == ceil && ceil > floor && hungry => 1,
        _ => 0,
    };
    counts.remove(me);
    let mut given = give(&stuck, stuck.len(), counts.clone(), takes);
    if quiet && given.is_empty() {
        given = give(&own, surplus, counts, takes);
    }
    Moves { claim: free, take_over, give: given, settled }
}

/// At most `n` of `own` from the end, each to who has fewest of those that take it.
fn give(
    own: &[u16],
    n: usize,
    mut counts: BTreeMap<&MemberId, usize>,
    takes: &dyn Fn(&MemberId, u16) -> bool,
) -> Vec<(u16, MemberId)> {
    let mut given = Vec::new();
    for shard in own.iter().rev() {
        if given.len() >= n.min(GIVEN_AT_ONCE) {
            break;
        }
        let heirs = counts.iter_mut().filter(|(id, _)| takes(id, *shard));
        let Some((to, count)) = heirs.min_by_key(|(_, count)| **count) else { continue };
        *count += 1;
        given.push((*shard, (*to).clone()));
    }
    given
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(name: &str) -> MemberId {
        MemberId::new(name).unwrap()
    }

    fn roster(owners: &str) -> Roster {
        let owner = |c| (c != '-').then(|| id(&String::from(c)));
        Roster { members: Vec::new(), shards: owners.chars().map(owner).collect() }
    }

    fn ids(names: &str) -> Vec<MemberId> {
        names.chars().map(|c| id(&String::from(c))).collect()
    }

    #[test]
    fn moves_of_one_replica() {
        for (name, owners, living, leaving, claim, take_over, give) in [
            ("a lone replica takes all", "----", "a", false, vec![0, 1, 2, 3], vec![], vec![]),
            ("two that start together share", "----", "ab", false, vec![0, 1], vec![], vec![]),
            ("nothing moves when all is even", "aabb", "ab", false, vec![], vec![], vec![]),
            ("a newcomer gets its share", "aaaa", "ab", false, vec![], vec![], vec![(3, "b"), (2, "b")]),
            (
                "one too few is mended by who has the most",
                "aabbc",
                "abcd",
                false,
                vec![],
                vec![],
                vec![(1, "d")],
            ),
            ("a dead member's shards are shared", "abcc", "ab", false, vec![], vec![("c", 1)], vec![]),
            ("with its share full it only ends the dead", "aac", "ab", false, vec![], vec![("c", 0)], vec![]),
            ("free shards come before dead members", "-ccc", "a", false, vec![0], vec![("c", 3)], vec![]),
            (
                "a leaving replica gives everything",
                "aab",
                "ab",
                true,
                vec![],
                vec![],
                vec![(1, "b"), (0, "b")],
            ),
            ("alone it keeps them", "aa", "a", true, vec![], vec![], vec![]),
            (
                "who takes none is passed over",
                "aaaaaZ",
                "aZc",
                false,
                vec![],
                vec![],
                vec![(4, "c"), (3, "c"), (2, "c")],
            ),
            ("among others that leave too it keeps them", "aa", "aZ", true, vec![], vec![], vec![]),
        ] {
            // Members in capitals take no shards.
            let takes = |id: &MemberId, _| id.as_str().chars().all(char::is_lowercase);
            let found = moves(&roster(owners), &ids(living), &id("a"), &takes, leaving);
            assert_eq!(found.claim, claim, "{name}");
            let named: Vec<_> = found.take_over.iter().map(|(m, n)| (m.as_str(), *n)).collect();
            assert_eq!(named, take_over, "{name}");
            let named: Vec<_> = found.give.iter().map(|(s, m)| (*s, m.as_str())).collect();
            assert_eq!(named, give, "{name}");
        }
    }

    #[test]
    fn shards_go_only_to_members_that_take_them() {
        type Takes = fn(&str, u16) -> bool;
        let moved = |owners, takes: Takes| {
            let takes = |id: &MemberId, shard| takes(id.as_str(), shard);
            let found = moves(&roster(owners), &ids("ab"), &id("a"), &takes, false);
            let given: Vec<u16> = found.give.iter().map(|(shard, _)| *shard).collect();
            (found.claim, given)
        };
        let below_two: Takes = |id, shard| id == "a" || shard < 2;
        assert_eq!(moved("aaaaaa", below_two), (vec![], vec![1, 0]), "what b does not take stays");
        let not_two: Takes = |id, shard| id == "b" || shard != 2;
        assert_eq!(moved("aaabbb", not_two), (vec![], vec![2]), "what a does not take goes, even as all is");
        assert_eq!(moved("aa-b", not_two), (vec![], vec![]), "nor does a claim it");
    }

    proptest! {
        /// From any state, whoever acts in whatever order on whatever it last read: it comes to rest, evenly.
        #[test]
        fn it_comes_to_rest_evenly(
            owners in "[abcdx-]{1,40}",
            members in 1usize..5,
            order in prop::collection::vec(any::<bool>(), 4),
        ) {
            let living: Vec<MemberId> = ids(&"abcd"[..members]);
            let mut now = roster(&owners);
            for _ in 0..60 {
                // All decide on the same reading, then all act: the worst case.
                let seen = now.clone();
                let mut turn: Vec<&MemberId> = living.iter().collect();
                if order[0] { turn.reverse(); }
                for me in turn {
                    let found = moves(&seen, &living, me, &|_, _| true, false);
                    for shard in found.claim {
                        now.shards[usize::from(shard)].get_or_insert_with(|| me.clone());
                    }
                    for (dead, limit) in found.take_over {
                        let of_dead = now.shards.iter_mut().filter(|o| o.as_ref() == Some(&dead));
                        for owner in of_dead.take(usize::from(limit)) { *owner = Some(me.clone()); }
                    }
                    for (shard, to) in found.give {
                        let owner = &mut now.shards[usize::from(shard)];
                        if owner.as_ref() == Some(me) { *owner = Some(to); }
                    }
                }
            }
            prop_assert!(moves(&now, &living, &living[0], &|_, _| true, false).settled, "{:?}", now.shards);
        }
    }
}
