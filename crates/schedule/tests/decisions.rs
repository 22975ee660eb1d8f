//! Overlap, catch-up, jitter, clock jumps.
#![allow(clippy::unwrap_used, reason = "a promise that is not kept ends the test")]

use base::Timestamp;
use proptest::prelude::*;
use schedule::{Action, Decision, Facts, Overlap, Passed, Rules, SkipReason, Spec, State, Timing, decide};

const MINUTE: i64 = 60_000_000;

fn t(minutes: i64) -> Timestamp {
    Timestamp::from_micros(minutes * MINUTE)
}

fn every_minute() -> Timing {
    let spec = Spec { every_us: Some(MINUTE as u64), start_at: Some(t(0)), ..Spec::default() };
    spec.compile(t(0)).unwrap()
}

fn rules(overlap: Overlap) -> Rules {
    Rules { overlap, queue_max: 2, catch_up_us: 10 * MINUTE as u64, jitter_us: 0 }
}

fn look(rules: &Rules, state: &State, now: Timestamp, active: bool) -> Decision {
    decide(&every_minute(), rules, b"seed", state, Facts { now, active, poll_us: 1_000_000 })
}

fn state(next: i64) -> State {
    State { next: Some(t(next)), queued: Vec::new() }
}

#[test]
fn overlap_decides_what_a_fire_does() {
    use Action::{CancelThenStart, Skip, Start};
    use Overlap::{Allow, CancelOther, Queue};
    for (name, overlap, active, due, want) in [
        ("skip starts when nothing runs", Overlap::Skip, false, 1, vec![Start(t(5))]),
        ("skip passes a running one", Overlap::Skip, true, 1, vec![Skip(t(5), SkipReason::Overlap)]),
        (
            "skip starts the first of several",
            Overlap::Skip,
            false,
            2,
            vec![Start(t(5)), Skip(t(6), SkipReason::Overlap)],
        ),
        ("allow starts all", Allow, true, 2, vec![Start(t(5)), Start(t(6))]),
        ("cancel ends the running one", CancelOther, true, 1, vec![CancelThenStart(t(5))]),
        (
            "cancel keeps the newest",
            CancelOther,
            false,
            2,
            vec![Skip(t(5), SkipReason::Superseded), Start(t(6))],
        ),
        ("queue starts when nothing runs", Queue, false, 1, vec![Start(t(5))]),
        ("queue keeps as many as may wait", Queue, true, 3, vec![Skip(t(7), SkipReason::QueueFull)]),
    ] {
        let done = look(&rules(overlap), &state(5), t(4 + due), active);
        assert_eq!(done.actions, want, "{name}");
        assert_eq!(done.state.next, Some(t(5 + due)), "{name}");
    }
}

#[test]
fn what_waits_goes_one_by_one_and_is_looked_after() {
    let waiting = State { next: Some(t(9)), queued: vec![t(5), t(6)] };
    let busy = look(&rules(Overlap::Queue), &waiting, t(8), true);
    assert_eq!((busy.actions.len(), busy.state.clone()), (0, waiting.clone()));
    assert_eq!(busy.wake_at, Some(t(8).plus(std::time::Duration::from_secs(1))));
    let free = look(&rules(Overlap::Queue), &waiting, t(8), false);
    assert_eq!((free.actions, free.state.queued), (vec![Action::Start(t(5))], vec![t(6)]));
}

#[test]
fn what_lies_too_far_back_is_passed_over_in_one_step() {
    let done = look(&rules(Overlap::Allow), &state(5), t(1_000_000), false);
    assert_eq!(done.passed, Some(Passed { from: t(5), until: t(999_990) }));
    assert_eq!(done.actions.len(), 11);
    assert_eq!(done.actions[0], Action::Start(t(999_990)));
    let none = Rules { catch_up_us: 0, ..rules(Overlap::Allow) };
    let done = look(&none, &state(5), t(100), false);
    assert_eq!(done.actions, [Action::Start(t(100))], "a fire of this very moment is not late");
}

#[test]
fn a_clock_that_goes_back_repeats_nothing() {
    let done = look(&rules(Overlap::Allow), &state(5), t(5), false);
    let back = look(&rules(Overlap::Allow), &done.state, t(2), false);
    assert_eq!((back.actions, back.wake_at), (vec![], Some(t(6))));
}

#[test]
fn a_backlog_is_worked_off_in_bounded_steps() {
    let wide = Rules { catch_up_us: 1000 * MINUTE as u64, ..rules(Overlap::Allow) };
    let done = look(&wide, &state(0), t(500), false);
    assert_eq!((done.actions.len(), done.state.next), (100, Some(t(100))));
    assert_eq!(done.wake_at, Some(t(100)), "it is due at once");
}

#[test]
fn jitter_is_late_by_less_than_asked_and_the_same_for_everybody() {
    let jittered = Rules { jitter_us: 30_000_000, ..rules(Overlap::Allow) };
    let spread: std::collections::BTreeSet<_> =
        (0..50).map(|n| jittered.fires_at(b"a", t(n)).since(t(n))).collect();
    assert!(spread.len() > 40 && spread.last().unwrap().as_secs() < 30);
    assert_eq!(jittered.fires_at(b"a", t(1)), jittered.fires_at(b"a", t(1)));
    assert_ne!(jittered.fires_at(b"a", t(1)), jittered.fires_at(b"b", t(1)));
    let early = look(&jittered, &state(5), t(5), false);
    assert_eq!(early.actions, []);
    assert_eq!(early.wake_at, Some(jittered.fires_at(b"seed", t(5))));
}

#[test]
fn the_end_of_a_schedule_is_never_looked_at_again() {
    let once = Spec { at: Some(t(5)), ..Spec::default() }.compile(t(0)).unwrap();
    let facts = Facts { now: t(5), active: false, poll_us: 1 };
    let done = decide(&once, &Rules::default(), b"", &state(5), facts);
    assert_eq!((done.actions, done.state.next, done.wake_at), (vec![Action::Start(t(5))], None, None));
}

proptest! {
    /// However often and whenever one looks: no moment starts twice, and none within the window is lost.
    #[test]
    fn every_moment_is_decided_once(steps in prop::collection::vec((0i64..5, any::<bool>()), 1..60), policy in 0usize..4) {
        let rules = Rules { catch_up_us: 1000 * MINUTE as u64, ..rules(Overlap::ALL[policy]) };
        let (mut stored, mut now, mut seen) = (state(0), 0, Vec::new());
        for (step, active) in steps {
            now += step;
            let done = look(&rules, &stored, t(now), active);
            seen.extend(done.actions.iter().map(|a| match a {
                Action::Start(at) | Action::CancelThenStart(at) | Action::Skip(at, _) => *at,
            }));
            stored = done.state;
        }
        seen.extend(stored.queued.iter().copied());
        seen.sort();
        let want: Vec<_> = (0..=now).map(t).filter(|at| stored.next.is_none_or(|next| *at < next)).collect();
        prop_assert_eq!(seen, want);
    }
}
