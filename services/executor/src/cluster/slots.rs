//! Hard limits across replicas: who may use how many slots of an instance, or places of a workflow. Pure.
//!
//! For every agent and every workflow that limits itself one replica lends: the owner of the shard that its id hashes
//! to. A borrower says how many slots it uses, wants and believes to hold; the lender counts for it what it may possibly
//! use until it has confirmed less. So the sum of what all may use never exceeds the capacity, whichever answers are
//! lost.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
};

use base::AgentId;

/// Agent, and `agent/instance`.
pub(crate) type InstanceKey = (AgentId, Arc<str>);

/// What a borrower says about what it shares with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Calls in flight, or executions that run.
    pub(crate) in_use: u32,
    /// Calls or executions that wait.
    pub(crate) want: u32,
    /// Slots it believes to hold.
    pub(crate) held: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    in_use: u32,
    want: u32,
    /// What it may possibly use.
    counted: u32,
}

/// The books of a lender of what is named by `K`.
#[derive(Debug)]
pub(crate) struct Lender<K> {
    accounts: HashMap<K, BTreeMap<Arc<str>, Account>>,
    /// What nobody wants is lent too.
    reserve: bool,
}

impl<K: Clone + Eq + Hash> Lender<K> {
    /// Lends everything at once: what nobody wants is a reserve of all, so that a call seldom has to ask first. For
    /// what borrowers report in every round.
    pub(crate) fn with_reserve() -> Self {
        Self { accounts: HashMap::new(), reserve: true }
    }

    /// Lends what is wanted: who reports that it uses and wants nothing holds nothing.
    pub(crate) fn on_demand() -> Self {
        Self { accounts: HashMap::new(), reserve: false }
    }

    /// Takes a report and says how many slots the borrower may use from now on. `known`: what earlier lenders gave has
    /// run out or was reported; until then nobody gets more than it holds.
    pub(crate) fn lend(
        &mut self,
        key: &K,
        capacity: u32,
        borrower: &Arc<str>,
        report: Report,
        living: &BTreeSet<Arc<str>>,
        known: bool,
    ) -> u32 {
        let accounts = self.accounts.entry(key.clone()).or_default();
        accounts.retain(|member, _| living.contains(member));
        for member in living {
            accounts.entry(member.clone()).or_default();
        }
        let Report { in_use, want, held } = report;
        let own = accounts.entry(borrower.clone()).or_default();
        (own.in_use, own.want) = (in_use, want);
        let target = match known {
            true => {
                let asks: Vec<(u32, u32)> = accounts.values().map(|a| (a.in_use, a.want)).collect();
                let shares =
                    if self.reserve { divide(capacity, &asks) } else { divide_wanted(capacity, &asks) };
                accounts.keys().position(|m| m == borrower).map_or(0, |i| shares[i])
            }
            false => held,
        };
        let others: u32 = accounts.iter().filter(|(m, _)| *m != borrower).map(|(_, a)| a.counted).sum();
        let granted = target.min(capacity.saturating_sub(others));
        if let Some(own) = accounts.get_mut(borrower) {
            own.counted = granted.max(held).max(in_use);
        }
        if accounts.values().all(|a| (a.counted, a.want) == (0, 0)) {
            self.accounts.remove(key);
        }
        granted
    }

    /// The shard of these has left: another replica lends now.
    pub(crate) fn forget(&mut self, mut gone: impl FnMut(&K) -> bool) {
        self.accounts.retain(|key, _| !gone(key));
    }
}

/// Divides `capacity` among replicas that use and want so many (`in_use`, `want`). What is in use stays; then wants are
/// met evenly; what is left over is a reserve for all, so that a call seldom has to ask first.
pub(crate) fn divide(capacity: u32, asks: &[(u32, u32)]) -> Vec<u32> {
    let wanted = divide_wanted(capacity, asks);
    let reserve: Vec<(u32, u32)> = wanted.iter().map(|n| (*n, capacity.max(*n))).collect();
    fill(capacity, &reserve)
}

/// As [`divide`], without the reserve: nobody gets more than it uses and wants.
pub(crate) fn divide_wanted(capacity: u32, asks: &[(u32, u32)]) -> Vec<u32> {
    let used: Vec<(u32, u32)> = asks
        .iter()
        .map(|(used, want)| (*used, used.saturating_add(*want).min(capacity.max(*used))))
        .collect();
    fill(capacity, &used)
}

/// Raises all from their lower bound to one level, within their upper bound, until `capacity` is spent.
fn fill(capacity: u32, bounds: &[(u32, u32)]) -> Vec<u32> {
    let at = |level: u32| bounds.iter().map(|(low, high)| u64::from(level.clamp(*low, *high))).sum::<u64>();
    if at(0) >= u64::from(capacity) {
        return bounds.iter().map(|(low, _)| *low).collect();
    }
    let (mut fits, mut above) = (0u32, capacity.saturating_add(1));
    while above - fits > 1 {
        let middle = fits + (above - fits) / 2;
        if at(middle) <= u64::from(capacity) { fits = middle } else { above = middle }
    }
    let mut left = u64::from(capacity) - at(fits);
    let mut shares: Vec<u32> = bounds.iter().map(|(low, high)| fits.clamp(*low, *high)).collect();
    for (share, (_, high)) in shares.iter_mut().zip(bounds) {
        if left > 0 && *share < *high && *share <= fits {
            *share += 1;
            left -= 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn capacity_is_divided_fairly() {
        for (name, capacity, asks, want) in [
            ("idle replicas share the reserve", 10, vec![(0, 0), (0, 0)], vec![5, 5]),
            ("an odd slot goes to the first", 5, vec![(0, 0), (0, 0)], vec![3, 2]),
            ("who wants gets before the reserve", 10, vec![(0, 10), (0, 0)], vec![10, 0]),
            ("wants are met evenly", 10, vec![(0, 50), (0, 50)], vec![5, 5]),
            ("a small want leaves the rest to the others", 10, vec![(0, 2), (0, 50)], vec![2, 8]),
            ("what is in use stays", 10, vec![(8, 0), (0, 50)], vec![8, 2]),
            ("more in use than there is: nobody else gets any", 4, vec![(6, 0), (0, 3)], vec![6, 0]),
            ("one slot for two", 1, vec![(0, 1), (0, 1)], vec![1, 0]),
            ("nothing to divide", 0, vec![(0, 1)], vec![0]),
        ] {
            assert_eq!(divide(capacity, &asks), want, "{name}");
        }
    }

    fn key() -> InstanceKey {
        (AgentId::new("a").unwrap(), "a/1".into())
    }

    fn names(n: usize) -> BTreeSet<Arc<str>> {
        (0..n).map(|i| Arc::from(format!("m{i}"))).collect()
    }

    #[test]
    fn a_new_lender_gives_nobody_more_than_it_holds() {
        let (mut lender, living) = (Lender::with_reserve(), names(2));
        let report = Report { in_use: 1, want: 9, held: 3 };
        assert_eq!(lender.lend(&key(), 10, &"m0".into(), report, &living, false), 3);
        assert_eq!(
            lender.lend(&key(), 10, &"m1".into(), Report { want: 9, ..Report::default() }, &living, false),
            0
        );
        assert_eq!(lender.lend(&key(), 10, &"m0".into(), report, &living, true), 5);
    }

    #[test]
    fn who_wants_nothing_keeps_no_place_of_a_workflow() {
        let (mut lender, living) = (Lender::on_demand(), names(2));
        let (m0, m1): (Arc<str>, Arc<str>) = ("m0".into(), "m1".into());
        let want = |want, held| Report { want, held, ..Report::default() };
        assert_eq!(lender.lend(&key(), 2, &m0, want(1, 0), &living, true), 1, "not the second one too");
        assert_eq!(lender.lend(&key(), 2, &m1, want(5, 0), &living, true), 1);
        assert_eq!(lender.lend(&key(), 2, &m0, want(0, 1), &living, true), 0);
        assert_eq!(
            lender.lend(&key(), 2, &m1, want(5, 1), &living, true),
            1,
            "until it has said that it is gone"
        );
        assert_eq!(lender.lend(&key(), 2, &m0, want(0, 0), &living, true), 0);
        assert_eq!(lender.lend(&key(), 2, &m1, want(5, 1), &living, true), 2);
        assert_eq!(lender.lend(&key(), 2, &m1, want(0, 0), &living, true), 0);
        assert!(lender.accounts.is_empty(), "nothing is remembered of what nobody uses");
    }

    #[test]
    fn slots_of_a_dead_replica_are_free_again() {
        let mut lender = Lender::with_reserve();
        let greedy = Report { want: 10, ..Report::default() };
        assert_eq!(lender.lend(&key(), 10, &"m0".into(), greedy, &names(2), true), 10);
        assert_eq!(lender.lend(&key(), 10, &"m1".into(), greedy, &names(2), true), 0);
        let left = BTreeSet::from([Arc::from("m1")]);
        assert_eq!(lender.lend(&key(), 10, &"m1".into(), greedy, &left, true), 10);
    }

    proptest! {
        #[test]
        fn shares_never_exceed_the_capacity(
            capacity in 0u32..200,
            asks in prop::collection::vec((0u32..40, 0u32..300), 1..6),
        ) {
            let shares = divide(capacity, &asks);
            let used: u32 = asks.iter().map(|a| a.0).sum();
            prop_assert_eq!(shares.iter().sum::<u32>(), capacity.max(used));
            for (share, ask) in shares.iter().zip(&asks) {
                prop_assert!(*share >= ask.0);
            }
        }

        /// Reports in any order, answers lost at any moment, lenders that change: the calls of all together never
        /// exceed the capacity.
        #[test]
        fn calls_never_exceed_the_capacity(
            capacity in 1u32..20,
            reserve in any::<bool>(),
            steps in prop::collection::vec((0usize..3, 0u32..12, any::<bool>(), 0u8..20), 1..200),
        ) {
            let living = names(3);
            let members: Vec<Arc<str>> = living.iter().cloned().collect();
            let (mut held, mut used) = ([0u32; 3], [0u32; 3]);
            let mut lender = if reserve { Lender::with_reserve() } else { Lender::on_demand() };
            let mut reported: BTreeSet<usize> = (0..3).collect();
            for (who, want, lost, event) in steps {
                if event == 0 {
                    // The shard moves: the new lender knows nothing until all have reported.
                    lender = if reserve { Lender::with_reserve() } else { Lender::on_demand() };
                    reported.clear();
                }
                reported.insert(who);
                let report = Report { in_use: used[who], want, held: held[who] };
                let granted =
                    lender.lend(&key(), capacity, &members[who], report, &living, reported.len() == 3);
                if !lost {
                    held[who] = granted;
                }
                // Calls end and begin, within what it believes to hold.
                used[who] = used[who].min(want).max(held[who].min(want)).min(held[who].max(used[who]));
                prop_assert!(used.iter().sum::<u32>() <= capacity, "{used:?} of {capacity}");
                prop_assert!((0..3).map(|i| held[i].max(used[i])).sum::<u32>() <= capacity, "{held:?} {used:?}");
            }
        }
    }
}
