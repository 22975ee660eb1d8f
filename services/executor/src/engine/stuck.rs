//! Executions in which nothing goes on: noticed, told in their row with the reason, counted by reason.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicI64, Ordering},
};

use base::{ExecutionId, Timestamp};
use serde::{Deserialize, Serialize};
use store::journal::Stuck;
use workflow::{Reason, State, Why, plan::provider_id};

use super::{
    EngineShared,
    dispatch::{Broken, Lack},
    hot::Hot,
    lane::Lane,
};
use crate::plans::PlanEntry;

const REASONS: usize = Why::ALL.len();

/// Number of executions by reason, in the order of [`Why::ALL`].
pub(crate) type Counts = [i64; REASONS];

/// The row's reason before and after a write.
pub(crate) type Recount = [Option<usize>; 2];

fn place_of(reason: &str) -> Option<usize> {
    Why::ALL.iter().position(|known| *known == reason)
}

/// What a write changes in the counts; `None` = nothing.
pub(super) fn recount(before: Option<&Stuck>, after: Option<&Stuck>) -> Option<Recount> {
    let [before, after] = [before, after].map(|stuck| place_of(&stuck?.reason));
    (before != after).then_some([before, after])
}

/// Counts as the store gives them.
pub(super) fn counts_of(counted: &[(String, u64)]) -> Counts {
    let mut counts = [0; REASONS];
    for (reason, n) in counted {
        // A reason of a newer build is counted by it.
        if let Some(at) = place_of(reason) {
            counts[at] += i64::try_from(*n).unwrap_or(i64::MAX);
        }
    }
    counts
}

/// Executions of this replica's shards in which nothing goes on.
#[derive(Default)]
pub(super) struct StuckGauge([AtomicI64; REASONS]);

impl StuckGauge {
    pub(super) fn add(&self, counts: &Counts, sign: i64) {
        for (all, own) in self.0.iter().zip(counts) {
            all.fetch_add(sign * own, Ordering::Relaxed);
        }
    }

    /// By reason; what only passes with an agent's answer is never counted.
    pub(super) fn read(&self) -> Vec<(&'static str, i64)> {
        let read = Why::ALL.iter().zip(&self.0).map(|(reason, n)| (*reason, n.load(Ordering::Relaxed)));
        read.filter(|(reason, _)| *reason != "agent").collect()
    }
}

/// A reason for those who ask, with all but its name in the row's JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StuckView {
    #[serde(skip)]
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) task_id: String,
    pub(crate) item: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) command: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) agents: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) provider: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) error: String,
}

/// Agents that are named of those whose breakers are open.
const AGENTS_MAX: usize = 100;

impl StuckView {
    /// `place`: in the start queue.
    pub(crate) fn of(reason: &Reason, place: u32) -> Self {
        Self {
            reason: reason.why.as_str().into(),
            task_id: reason.task.as_ref().map_or_else(String::new, |(_, path)| path.clone()),
            item: reason.item,
            command: reason.why.command().unwrap_or_default().into(),
            detail: detail(&reason.why, place),
            since: reason.why.since().map(Timestamp::rfc3339),
            until: reason.why.until().map(Timestamp::rfc3339),
            ..named(&reason.why)
        }
    }

    /// As a row holds it.
    pub(crate) fn read(stuck: &Stuck) -> Self {
        let rest: Self = serde_json::from_str(&stuck.detail).unwrap_or_default();
        Self { reason: stuck.reason.clone(), ..rest }
    }

    fn into_row(self) -> Stuck {
        let detail = serde_json::to_string(&self).unwrap_or_else(|_| "{}".into());
        Stuck { reason: self.reason, detail }
    }
}

/// Who is waited for, as far as the reason names them.
fn named(why: &Why) -> StuckView {
    let none = StuckView::default();
    match why {
        Why::Agent { agent, .. } => StuckView { agents: vec![agent.clone()], ..none },
        Why::BreakerOpen { agents, .. } => {
            StuckView { agents: agents.iter().take(AGENTS_MAX).cloned().collect(), ..none }
        }
        Why::ProviderAway { provider, error, .. } => {
            StuckView { provider: provider.clone(), error: error.to_string(), ..none }
        }
        _ => none,
    }
}

fn detail(why: &Why, place: u32) -> String {
    let since = |at: &Timestamp| at.rfc3339();
    match why {
        Why::Queued => format!("place {place} of the start queue"),
        Why::NoAgent { reason, .. } | Why::NoHealthyInstance { reason, .. } | Why::Decision { reason } => {
            reason.to_string()
        }
        Why::BreakerOpen { agents, until } => Broken::words(agents, *until),
        Why::ProviderAway { provider, since: at, error, .. } => {
            format!("{provider} since {}: {error}", since(at))
        }
        Why::Retry { at } => format!("tried again at {}", at.rfc3339()),
        Why::Agent { agent, since: at } => format!("{agent} since {}", since(at)),
        Why::Event { topic, key: Some(key), since: at } => {
            format!("{topic} with key {key} since {}", since(at))
        }
        Why::Event { topic, key: None, since: at } => format!("{topic} since {}", since(at)),
        Why::Signal { name, since: at } => format!("{name} since {}", since(at)),
        Why::Approval { who, since: at, .. } => format!("{} since {}", who.join(", "), since(at)),
        Why::Step { since: at } => format!("since {}", since(at)),
        Why::Time { until } => format!("until {}", until.rfc3339()),
        Why::Child { execution, since: at } => format!("{execution} since {}", since(at)),
        Why::Paused | Why::NoRoom | Why::Input | Why::Publish => String::new(),
    }
}

/// What the log cannot know: whether the fleet, as it is now, has nobody, nobody well, or nobody free, and whether another
/// engine that has the work answers.
pub(super) fn refine(reasons: &mut [Reason], state: &State, plan: &PlanEntry, shared: &EngineShared) {
    let away = shared.caller.away();
    for reason in reasons {
        let Some((task, _)) = reason.task else { continue };
        if let Some(why) = by_fleet(&reason.why, state, task, plan, shared) {
            reason.why = why;
        }
        if !calls(&reason.why) {
            continue;
        }
        let remote = state.task_plan(task).remote.as_deref();
        let engine = remote.and_then(|remote| away.iter().find(|(name, _)| *name == remote.provider));
        if let Some((provider, away)) = engine {
            reason.why = Why::ProviderAway {
                provider: provider.clone(),
                since: away.since,
                error: away.error.clone(),
                until: reason.why.until(),
            };
        }
    }
}

/// Whether it is about a call that is made or looks for somebody.
const fn calls(why: &Why) -> bool {
    matches!(
        why,
        Why::NoAgent { .. }
            | Why::NoHealthyInstance { .. }
            | Why::BreakerOpen { .. }
            | Why::NoRoom
            | Why::Retry { .. }
            | Why::Agent { .. }
    )
}

fn by_fleet(why: &Why, state: &State, task: u32, plan: &PlanEntry, shared: &EngineShared) -> Option<Why> {
    let until = match why {
        Why::NoAgent { until, .. } => *until,
        Why::NoRoom => None,
        _ => return None,
    };
    if !shared.dispatcher.knows_fleet() {
        return None;
    }
    Some(match shared.dispatcher.lack(plan.need(state, task)?) {
        Lack::Nobody(reason) => Why::NoAgent { reason: reason.into(), until },
        Lack::Unwell(reason) => Why::NoHealthyInstance { reason: reason.into(), until },
        Lack::Breaker(Broken { agents, until }) => {
            Why::BreakerOpen { agents: agents.into_iter().map(|agent| agent.to_string()).collect(), until }
        }
        Lack::Room => Why::NoRoom,
    })
}

/// Reasons that are looked through for runs at engines that are away.
const LOOKED_AT: usize = 200;

impl Lane {
    /// The foremost reason when all that works for an execution are engines that do not answer.
    fn runs_out_of_sight(&self, hot: &Hot) -> Option<Reason> {
        let plan = self.plans.get(&hot.id)?;
        let at_away: BTreeSet<_> =
            self.shared.caller.away().iter().map(|(name, _)| provider_id(name)).collect();
        if at_away.is_empty() || hot.state.in_flight() == 0 {
            return None;
        }
        let mut reasons = hot.state.stuck(LOOKED_AT);
        let out_of_sight =
            |r: &&Reason| matches!(&r.why, Why::Agent { agent, .. } if at_away.contains(agent));
        if reasons.iter().filter(out_of_sight).count() < hot.state.in_flight() as usize {
            return None;
        }
        refine(&mut reasons, &hot.state, plan, &self.shared);
        reasons.into_iter().min_by_key(|reason| reason.why.rank())
    }

    /// The foremost reason why nothing goes on in an execution.
    pub(super) fn why_stuck(&self, id: ExecutionId) -> Option<Stuck> {
        let hot = self.hot.get(&id)?;
        let mut reason = hot.state.stalled().or_else(|| self.runs_out_of_sight(hot))?;
        if let Some(plan) = self.plans.get(&id) {
            refine(std::slice::from_mut(&mut reason), &hot.state, plan, &self.shared);
        }
        let place = match reason.why {
            Why::Queued => self.shared.admission.position(id),
            _ => 0,
        };
        Some(StuckView::of(&reason, place).into_row())
    }

    /// Marks executions in which nothing has happened for a while. Each is looked at once in that time.
    pub(super) fn notice_stuck(&mut self) {
        let (now, after) = (self.now(), self.shared.limits.stuck_after);
        let mut quiet = Vec::new();
        for hot in self.hot.values_mut() {
            let since = *hot.quiet_since.get_or_insert(now);
            if hot.settled() && now.since(since) >= after {
                hot.quiet_since = Some(now);
                quiet.push(hot.id);
            }
        }
        for id in quiet {
            let stuck = self.why_stuck(id);
            let Some(hot) = self.hot.get_mut(&id) else { continue };
            let known = same(stuck.as_ref(), hot.told_stuck.as_ref());
            hot.stuck = if known { hot.told_stuck.clone() } else { stuck };
            if !known {
                hot.pending.row = true;
                self.mark(id);
            }
        }
    }

    /// Something happened: an execution that stood still goes on, or stands still for another reason.
    pub(super) fn stirred(&mut self, id: ExecutionId) {
        let Some(hot) = self.hot.get_mut(&id) else { return };
        hot.quiet_since = None;
        if hot.stuck.is_none() && hot.told_stuck.is_none() {
            return;
        }
        let stuck = self.why_stuck(id);
        let Some(hot) = self.hot.get_mut(&id) else { return };
        if !same(stuck.as_ref(), hot.stuck.as_ref()) {
            // Another reason counts once it has lasted.
            hot.stuck = None;
        }
        hot.pending.row |= !same(hot.stuck.as_ref(), hot.told_stuck.as_ref());
    }
}

/// Whether two reasons are the same one, until the same time: words about it may differ.
fn same(a: Option<&Stuck>, b: Option<&Stuck>) -> bool {
    let key = |stuck: &Stuck| {
        let StuckView { reason, task_id, item, until, .. } = StuckView::read(stuck);
        (reason, task_id, item, until)
    };
    a.map(key) == b.map(key)
}

/// What the row is to say now; what is over or was paused is known at once.
pub(super) fn row_says(hot: &Hot) -> Option<Stuck> {
    match hot.state.status() {
        status if status.is_final() => None,
        workflow::Status::Paused => hot.state.stalled().map(|reason| StuckView::of(&reason, 0).into_row()),
        _ => hot.stuck.clone(),
    }
}
