//! What is due, and what becomes of it.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{FIRES_AT_ONCE, Overlap, Rules, Timing, spec::MinusOne as _};

/// What is stored between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The next moment that was not decided yet; `None` = there is none any more.
    pub next: Option<Timestamp>,
    /// Moments that wait for an execution to end, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queued: Vec<Timestamp>,
}

/// What is true at the moment of the look.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The time.
    pub now: Timestamp,
    /// An execution of this schedule runs.
    pub active: bool,
    /// How soon to look again while a fire waits for an execution to end, in microseconds.
    pub poll_us: u64,
}

/// Why a fire does not start anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// An execution runs ([`Overlap::Skip`]).
    Overlap,
    /// As many fires as may wait do so already ([`Overlap::Queue`]).
    QueueFull,
    /// A later fire is due as well ([`Overlap::CancelOther`]).
    Superseded,
}

/// What to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the execution of this moment.
    Start(Timestamp),
    /// Cancel the execution that runs, then start that of this moment.
    CancelThenStart(Timestamp),
    /// Record that this moment starts nothing.
    Skip(Timestamp, SkipReason),
}

/// Moments that lie too far back to be made up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// The first of them.
    pub from: Timestamp,
    /// They lie before this.
    pub until: Timestamp,
}

/// The outcome of a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub actions: Vec<Action>,
    /// What was passed over.
    pub passed: Option<Passed>,
    /// What to store once all of it is done.
    pub state: State,
    /// When to look again; `None` = never by itself.
    pub wake_at: Option<Timestamp>,
}

impl Rules {
    /// When the fire of `at` really happens: late by a part of the jitter that depends on `seed` and `at` alone.
    pub fn fires_at(&self, seed: &[u8], at: Timestamp) -> Timestamp {
        if self.jitter_us == 0 {
            return at;
        }
        let hash = blake3::Hasher::new().update(seed).update(&at.micros().to_le_bytes()).finalize();
        let mut low = [0u8; 8];
        low.copy_from_slice(&hash.as_bytes()[..8]);
        at.plus(std::time::Duration::from_micros(u64::from_le_bytes(low) % self.jitter_us))
    }
}

/// Decides all that is due at `facts.now`, at most [`FIRES_AT_ONCE`] moments; more are due at once again.
///
/// Deciding the same again gives the same, so a caller that dies between acting and storing repeats its actions; a start
/// has an id made of schedule and moment, so it happens once.
pub fn decide(timing: &Timing, rules: &Rules, seed: &[u8], state: &State, facts: Facts) -> Decision {
    let mut look = Look { rules, active: facts.active, queued: state.queued.clone(), actions: Vec::new() };
    look.release();
    let oldest = Timestamp::from_micros(
        facts.now.micros().saturating_sub(i64::try_from(rules.catch_up_us).unwrap_or(i64::MAX)),
    );
    let (mut next, passed) = pass_over(timing, rules, seed, state.next, oldest);
    let mut due = Vec::new();
    while let Some(at) = next.filter(|at| due.len() < FIRES_AT_ONCE && rules.fires_at(seed, *at) <= facts.now)
    {
        due.push(at);
        next = timing.next(at);
    }
    for (i, at) in due.iter().enumerate() {
        look.fire(*at, i + 1 == due.len());
    }
    let mut wake_at = next.map(|at| rules.fires_at(seed, at));
    if !look.queued.is_empty() {
        let poll = facts.now.plus(std::time::Duration::from_micros(facts.poll_us));
        wake_at = Some(wake_at.map_or(poll, |at| at.min(poll)));
    }
    Decision { actions: look.actions, passed, state: State { next, queued: look.queued }, wake_at }
}

/// The first moment that is not too old, and what lies before it.
fn pass_over(
    timing: &Timing,
    rules: &Rules,
    seed: &[u8],
    next: Option<Timestamp>,
    oldest: Timestamp,
) -> (Option<Timestamp>, Option<Passed>) {
    match next {
        Some(at) if rules.fires_at(seed, at) < oldest => {
            let first = timing.next(oldest.minus_one());
            (first, Some(Passed { from: at, until: oldest }))
        }
        next => (next, None),
    }
}

struct Look<'a> {
    rules: &'a Rules,
    active: bool,
    queued: Vec<Timestamp>,
    actions: Vec<Action>,
}

impl Look<'_> {
    /// What waited may go when nothing runs any more.
    fn release(&mut self) {
        if !self.active && !self.queued.is_empty() {
            let at = self.queued.remove(0);
            self.start(at);
        }
    }

    fn start(&mut self, at: Timestamp) {
        self.actions.push(Action::Start(at));
        self.active = true;
    }

    fn fire(&mut self, at: Timestamp, last: bool) {
        match self.rules.overlap {
            Overlap::Allow => self.start(at),
            Overlap::CancelOther if !last => self.actions.push(Action::Skip(at, SkipReason::Superseded)),
            Overlap::CancelOther if self.active => self.actions.push(Action::CancelThenStart(at)),
            Overlap::Queue if self.active || !self.queued.is_empty() => {
                if self.queued.len() < self.rules.queue_max as usize {
                    self.queued.push(at);
                } else {
                    self.actions.push(Action::Skip(at, SkipReason::QueueFull));
                }
            }
            Overlap::Skip if self.active => self.actions.push(Action::Skip(at, SkipReason::Overlap)),
            Overlap::CancelOther | Overlap::Queue | Overlap::Skip => self.start(at),
        }
    }
}
