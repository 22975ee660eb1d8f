//! Choice of an instance.
//!
//! Never chosen: an instance that drains, is away, or is at its capacity. Among the others the first difference
//! decides, in this order:
//!
//! 1. a retry avoids every instance that failed this task already: first another instance of the same agent, then
//!    another agent; one that failed is taken again only when nothing else has room;
//! 2. healthy before unknown before degraded;
//! 3. the caller's region before others;
//! 4. the cheaper agent (price rank);
//! 5. the least relative load: (in flight + 1) / (capacity × weight);
//! 6. the higher score;
//! 7. a hash of salt and id, so that many callers with equal views do not all choose the same.
//!
//! Among hundreds of equal standing (2 to 4) not all need to be weighed: [`windows`] says which.

use std::{cmp::Ordering, fmt, ops::Range};

/// How an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Takes calls.
    Healthy,
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// Takes calls, worse than it should.
    Degraded,
    /// Takes none.
    Away,
}

/// One instance that could take the call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot<'a> {
    /// Its agent.
    pub agent: &'a str,
    /// Its key within the agent.
    pub instance: &'a str,
    /// How it is.
    pub condition: Condition,
    /// 0 to 100.
    pub score: u8,
    /// Where it stands; empty = not stated.
    pub region: &'a str,
    /// Calls it may have at once.
    pub capacity: u32,
    /// Calls it has.
    pub in_flight: u32,
    /// Share of the load compared to its siblings; 1 is usual. What is not above 0 counts as 1.
    pub weight: f64,
    /// 0 for the cheapest price among the candidates, 1 for the next, …
    pub price_rank: u32,
    /// It is being removed.
    pub draining: bool,
}

impl Slot<'_> {
    /// Whether a call may go there now.
    pub fn is_open(&self) -> bool {
        !self.draining && self.condition != Condition::Away && self.in_flight < self.capacity
    }

    /// Load after one more call, as a share of what it should carry.
    pub fn relative_load(&self) -> f64 {
        let weight = if self.weight > 0.0 && self.weight.is_finite() { self.weight } else { 1.0 };
        (f64::from(self.in_flight) + 1.0) / (f64::from(self.capacity.max(1)) * weight)
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The caller's region; empty = no preference.
    pub region: &'a str,
    /// (agent, instance) pairs that failed this task, oldest first.
    pub tried: &'a [(&'a str, &'a str)],
    /// Breaks ties; differs from caller to caller.
    pub salt: u64,
}

/// The instance that gets the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    /// Position in the candidates.
    pub index: usize,
    /// Its agent.
    pub agent: &'a str,
    /// Its key within the agent.
    pub instance: &'a str,
    /// Why this one, for people and the log.
    pub reason: String,
}

/// Why nobody gets the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There was nothing to choose from.
    #[error("there is no candidate")]
    NoCandidate,
    /// Every instance that takes calls is at its capacity: a call that ends makes room.
    #[error("all {open} instances that take calls are at their capacity")]
    Full {
        /// Instances that take calls.
        open: usize,
    },
    /// No instance takes calls: only a change of the fleet helps.
    #[error("no instance takes calls: {away} unhealthy, {draining} being removed")]
    NoneTakesCalls {
        /// Unhealthy instances.
        away: usize,
        /// Instances being removed.
        draining: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Not a retry, or a retry on another instance of the agent that failed last.
    First,
    OtherAgent,
    Again,
}

/// Chooses an instance. The order of the candidates does not matter; cost is linear in their number.
///
/// A pinned task gives only its agent's instances as candidates, so its retry stays with the agent.
///
/// # Errors
/// [`Refusal`], which says whether waiting for a slot helps.
pub fn choose<'a>(candidates: &[Slot<'a>], ask: &Ask<'_>) -> Result<Choice<'a>, Refusal> {
    let best = candidates
        .iter()
        .enumerate()
        .filter(|(_, slot)| slot.is_open())
        .min_by(|(_, a), (_, b)| compare(a, b, ask));
    match best {
        Some((index, slot)) => {
            let reason = reason(slot, candidates, ask);
            Ok(Choice { index, agent: slot.agent, instance: slot.instance, reason })
        }
        None => Err(refusal(candidates)),
    }
}

/// Most candidates of equal standing that are weighed at once.
pub const WEIGHED_MAX: usize = 256;

/// Parts of a list of `count` candidates of equal standing, each of at most [`WEIGHED_MAX`] and all of one size but for
/// one candidate, in the order in which a caller takes them until one has room. Callers with successive salts begin at
/// successive parts, so all are used alike, and the cost of a choice does not grow with the fleet.
pub fn windows(count: usize, salt: u64) -> impl Iterator<Item = Range<usize>> {
    let parts = count.div_ceil(WEIGHED_MAX);
    let first = salt.checked_rem(parts as u64).map_or(0, |n| n as usize);
    (0..parts).map(move |n| {
        let part = (first + n) % parts;
        part * count / parts..(part + 1) * count / parts
    })
}

fn refusal(candidates: &[Slot<'_>]) -> Refusal {
    let draining = candidates.iter().filter(|s| s.draining).count();
    let away = candidates.iter().filter(|s| !s.draining && s.condition == Condition::Away).count();
    match candidates.len() - draining - away {
        _ if candidates.is_empty() => Refusal::NoCandidate,
        0 => Refusal::NoneTakesCalls { away, draining },
        open => Refusal::Full { open },
    }
}

fn turn(slot: &Slot<'_>, ask: &Ask<'_>) -> Turn {
    if ask.tried.contains(&(slot.agent, slot.instance)) {
        return Turn::Again;
    }
    match ask.tried.last() {
        Some((agent, _)) if *agent != slot.agent => Turn::OtherAgent,
        Some(_) | None => Turn::First,
    }
}

fn compare(a: &Slot<'_>, b: &Slot<'_>, ask: &Ask<'_>) -> Ordering {
    let far = |s: &Slot<'_>| !ask.region.is_empty() && s.region != ask.region;
    turn(a, ask)
        .cmp(&turn(b, ask))
        .then_with(|| a.condition.cmp(&b.condition))
        .then_with(|| far(a).cmp(&far(b)))
        .then_with(|| a.price_rank.cmp(&b.price_rank))
        .then_with(|| a.relative_load().total_cmp(&b.relative_load()))
        .then_with(|| b.score.cmp(&a.score))
        .then_with(|| salted(a, ask.salt).cmp(&salted(b, ask.salt)))
        .then_with(|| (a.agent, a.instance).cmp(&(b.agent, b.instance)))
}

/// FNV-1a over salt, agent and instance, finished so that the salt reaches every bit.
fn salted(slot: &Slot<'_>, salt: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ salt;
    for byte in slot.agent.bytes().chain([0]).chain(slot.instance.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

struct Load<'a>(&'a Slot<'a>);

impl fmt::Display for Load<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} in flight", self.0.in_flight, self.0.capacity)
    }
}

fn reason(slot: &Slot<'_>, candidates: &[Slot<'_>], ask: &Ask<'_>) -> String {
    let mut parts: Vec<String> = Vec::with_capacity(4);
    match (turn(slot, ask), ask.tried.last()) {
        (_, None) => {}
        (Turn::First, Some((_, last))) => parts.push(format!("another instance after {last} failed")),
        (Turn::OtherAgent, Some((last, _))) => {
            parts.push(format!("another agent: no other instance of {last} has room"));
        }
        (Turn::Again, Some(_)) => parts.push("tried before, and nothing else has room".into()),
    }
    parts.push(match slot.condition {
        Condition::Healthy => "healthy".into(),
        Condition::Unknown => "health not known yet".into(),
        Condition::Degraded | Condition::Away => "degraded".into(),
    });
    if !ask.region.is_empty() {
        let here = slot.region == ask.region;
        parts.push(if here {
            format!("in region {}", ask.region)
        } else {
            format!("none open in region {}", ask.region)
        });
    }
    if candidates.len() > 1 {
        let rivals = candidates.iter().filter(|s| s.is_open()).count();
        parts.push(format!("best of {rivals} open instances"));
    }
    parts.push(Load(slot).to_string());
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Condition::{Away, Degraded, Healthy, Unknown};
    use proptest::prelude::*;

    fn slot<'a>(agent: &'a str, instance: &'a str) -> Slot<'a> {
        Slot {
            agent,
            instance,
            condition: Healthy,
            score: 100,
            region: "",
            capacity: 10,
            in_flight: 0,
            weight: 1.0,
            price_rank: 0,
            draining: false,
        }
    }

    #[test]
    fn the_first_difference_decides() {
        let a = slot("a", "1");
        let b = slot("b", "1");
        let eu = Ask { region: "eu", ..Ask::default() };
        for (name, candidates, ask, want, word) in [
            (
                "health",
                vec![Slot { condition: Degraded, ..a }, Slot { in_flight: 9, price_rank: 3, ..b }],
                Ask::default(),
                "b",
                "healthy",
            ),
            (
                "unknown before degraded",
                vec![Slot { condition: Degraded, ..a }, Slot { condition: Unknown, ..b }],
                Ask::default(),
                "b",
                "not known",
            ),
            (
                "region",
                vec![Slot { region: "us", ..a }, Slot { region: "eu", price_rank: 1, in_flight: 5, ..b }],
                eu,
                "b",
                "in region eu",
            ),
            (
                "another region when need be",
                vec![Slot { region: "us", ..a }, Slot { region: "eu", in_flight: 10, ..b }],
                eu,
                "a",
                "none open in region eu",
            ),
            (
                "price",
                vec![Slot { price_rank: 1, ..a }, Slot { in_flight: 9, ..b }],
                Ask::default(),
                "b",
                "9/10 in flight",
            ),
            (
                "load",
                vec![Slot { in_flight: 1, ..a }, Slot { in_flight: 3, capacity: 100, ..b }],
                Ask::default(),
                "b",
                "best of 2",
            ),
            (
                "weight",
                vec![Slot { in_flight: 2, weight: 4.0, ..a }, Slot { in_flight: 1, ..b }],
                Ask::default(),
                "a",
                "",
            ),
            (
                "an odd weight counts as 1",
                vec![Slot { in_flight: 2, weight: f64::NAN, ..a }, Slot { in_flight: 1, ..b }],
                Ask::default(),
                "b",
                "",
            ),
            ("score", vec![Slot { score: 90, ..a }, Slot { score: 91, ..b }], Ask::default(), "b", ""),
            (
                "never full",
                vec![Slot { in_flight: 10, ..a }, Slot { condition: Degraded, ..b }],
                Ask::default(),
                "b",
                "degraded",
            ),
            (
                "never draining",
                vec![Slot { draining: true, ..a }, Slot { condition: Degraded, ..b }],
                Ask::default(),
                "b",
                "degraded",
            ),
            (
                "never away",
                vec![Slot { condition: Away, ..a }, Slot { condition: Degraded, ..b }],
                Ask::default(),
                "b",
                "degraded",
            ),
        ] {
            let got = choose(&candidates, &ask).unwrap();
            assert_eq!(got.agent, want, "{name}: {}", got.reason);
            assert!(got.reason.contains(word), "{name}: {}", got.reason);
        }
    }

    #[test]
    fn a_retry_goes_to_another_instance_then_to_another_agent_then_back() {
        let (a1, a2, b1) = (slot("a", "1"), slot("a", "2"), slot("b", "1"));
        let ask = |tried| Ask { tried, ..Ask::default() };
        let got =
            choose(&[a1, Slot { condition: Degraded, in_flight: 9, ..a2 }, b1], &ask(&[("a", "1")])).unwrap();
        assert_eq!((got.agent, got.instance), ("a", "2"));
        assert!(got.reason.starts_with("another instance after 1 failed"), "{}", got.reason);
        let got = choose(&[a1, Slot { in_flight: 10, ..a2 }, b1], &ask(&[("a", "1")])).unwrap();
        assert_eq!((got.agent, got.index), ("b", 2));
        assert!(got.reason.starts_with("another agent: no other instance of a has room"), "{}", got.reason);
        let got = choose(&[a1, a2, b1], &ask(&[("a", "1"), ("a", "2")])).unwrap();
        assert_eq!(got.agent, "b");
        let got = choose(&[a1], &ask(&[("a", "1")])).unwrap();
        assert!(got.reason.starts_with("tried before"), "{}", got.reason);
    }

    #[test]
    fn a_refusal_says_whether_waiting_helps() {
        let a = slot("a", "1");
        let (full, away, leaving) =
            (Slot { in_flight: 10, ..a }, Slot { condition: Away, ..a }, Slot { draining: true, ..a });
        for (candidates, want) in [
            (vec![], Refusal::NoCandidate),
            (vec![full, away], Refusal::Full { open: 1 }),
            (
                vec![away, leaving, Slot { condition: Away, ..leaving }],
                Refusal::NoneTakesCalls { away: 1, draining: 2 },
            ),
        ] {
            assert_eq!(choose(&candidates, &Ask::default()), Err(want), "{want}");
        }
    }

    #[test]
    fn equals_are_spread_by_the_salt() {
        let names: Vec<String> = (0..8).map(|i| format!("agent-{i}")).collect();
        let candidates: Vec<Slot<'_>> = names.iter().map(|n| slot(n, "1")).collect();
        let mut hits = [0u32; 8];
        for salt in 0..8000 {
            hits[choose(&candidates, &Ask { salt, ..Ask::default() }).unwrap().index] += 1;
        }
        assert!(hits.iter().all(|&n| (700..1300).contains(&n)), "{hits:?}");
    }

    #[test]
    fn windows_cover_everything_once_and_are_of_one_size() {
        for count in [0, 1, 255, 256, 257, 300, 512, 513, 10_000] {
            for salt in [0, 1, 7, u64::MAX] {
                let mut all: Vec<_> = windows(count, salt).collect();
                let sizes: Vec<_> = all.iter().map(ExactSizeIterator::len).collect();
                let (least, most) = (sizes.iter().min(), sizes.iter().max());
                assert!(
                    most.is_none_or(|most| *most <= WEIGHED_MAX && most - least.unwrap() <= 1),
                    "{sizes:?}"
                );
                all.sort_by_key(|window| window.start);
                assert_eq!(all.into_iter().flatten().collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
            }
        }
        let first = |salt| windows(600, salt).next().unwrap().start;
        assert_eq!([first(0), first(1), first(2), first(3)], [0, 200, 400, 0]);
    }

    proptest! {
        #[test]
        fn the_choice_is_open_and_does_not_depend_on_the_order(
            raw in proptest::collection::vec((0usize..3, 0usize..4, 0usize..4, 0u8..=100, 0u32..4, 0u32..4, 0u32..3, any::<bool>()), 0..12),
            tried in proptest::collection::vec((0usize..3, 0usize..4), 0..3),
            salt: u64, turn_by: usize,
        ) {
            let names = ["a", "b", "c", "d"];
            let mut slots: Vec<Slot<'_>> = Vec::new();
            for (agent, instance, condition, score, capacity, in_flight, price_rank, draining) in raw {
                let condition = [Healthy, Unknown, Degraded, Away][condition];
                let new = Slot { condition, score, capacity, in_flight, price_rank, draining, ..slot(names[agent], names[instance]) };
                if !slots.iter().any(|s| (s.agent, s.instance) == (new.agent, new.instance)) {
                    slots.push(new);
                }
            }
            let tried: Vec<(&str, &str)> = tried.iter().map(|&(a, i)| (names[a], names[i])).collect();
            let ask = Ask { tried: &tried, salt, region: "" };
            match choose(&slots, &ask) {
                Ok(choice) => {
                    let chosen = &slots[choice.index];
                    prop_assert!(chosen.is_open());
                    let fresh = |s: &&Slot<'_>| s.is_open() && !tried.contains(&(s.agent, s.instance));
                    if slots.iter().any(|s| fresh(&s)) {
                        prop_assert!(fresh(&chosen), "tried again although {:?} is open", slots.iter().find(fresh));
                    }
                    let by = if slots.is_empty() { 0 } else { turn_by % slots.len() };
                    let mut turned = slots.clone();
                    turned.rotate_left(by);
                    let again = choose(&turned, &ask).unwrap();
                    prop_assert_eq!((again.agent, again.instance), (choice.agent, choice.instance));
                }
                Err(_) => prop_assert!(!slots.iter().any(Slot::is_open)),
            }
        }
    }
}
