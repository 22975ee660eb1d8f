//! Health of instances and agents: facts in, status and score out.
//!
//! The score is the weighted mean of what is known, from 0 to 100. A source that has nothing to say gives its weight
//! to the others:
//!
//! | source | weight | 1.0 when | 0.0 when |
//! |---|---|---|---|
//! | probes | 40 | every recent probe was answered | never: 0.5 when half or fewer were |
//! | errors | 30 | no call failed | the error rate is twice what is tolerated |
//! | latency | 15 | calls take the target or less | they take the maximum or more |
//! | heartbeat | 15 | it came in time | never: 0.5 when it is as late as it may be |
//!
//! Then: 80 and above is healthy, 50 and above degraded, below unhealthy; nothing known at all is unknown (50). Three
//! facts overrule the mean: [`FAILED_PROBES`] failed probes in a row or an expired heartbeat make unhealthy (at most
//! 20), one failed probe or an instance that calls itself degraded makes degraded at best (at most 79).

use std::{borrow::Cow, time::Duration};

use crate::{definition::AgentDefinition, measure::Measured};

/// Failed probes in a row that make an instance unhealthy.
pub const FAILED_PROBES: u32 = 3;
/// Score from which an instance is healthy.
pub const HEALTHY_FROM: u8 = 80;
/// Score from which an instance is degraded.
pub const DEGRADED_FROM: u8 = 50;
/// Score of an instance about which nothing is known.
pub const UNKNOWN_SCORE: u8 = 50;
/// Largest score of an instance that is known to be away.
pub const AWAY_SCORE_MAX: u8 = 20;

const PROBES: f64 = 40.0;
const ERRORS: f64 = 30.0;
const LATENCY: f64 = 15.0;
const HEARTBEAT: f64 = 15.0;
/// Calls below which the error rate counts only in proportion: one failed call of one proves little.
const CALLS_TRUSTED: f64 = 10.0;

/// How an agent or instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Takes calls.
    Healthy,
    /// Takes calls, worse than it should.
    Degraded,
    /// Nothing is known yet; takes calls.
    #[default]
    Unknown,
    /// Takes no calls until it is better.
    Unhealthy,
}

impl Status {
    /// Every status.
    pub const ALL: &'static [Self] = &[Self::Healthy, Self::Degraded, Self::Unknown, Self::Unhealthy];
    /// The text form of the contracts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Unhealthy => "unhealthy",
        }
    }
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == text)
    }
    /// Whether calls may go there.
    pub const fn takes_calls(self) -> bool {
        !matches!(self, Self::Unhealthy)
    }
}

/// What probes of an instance showed, newest first in the bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// Bit 0 is the newest probe; 1 = answered.
    pub answered: u16,
    /// How many of the bits count, at most 10.
    pub count: u8,
}

impl Probes {
    /// Probes that are remembered.
    pub const KEPT: u8 = 10;

    /// After one more probe.
    #[must_use]
    pub fn then(self, answered: bool) -> Self {
        let mask = (1u16 << Self::KEPT) - 1;
        Self {
            answered: ((self.answered << 1) | u16::from(answered)) & mask,
            count: (self.count + 1).min(Self::KEPT),
        }
    }
    /// Failed probes in a row, newest first.
    pub fn failed_in_a_row(self) -> u32 {
        self.answered.trailing_zeros().min(u32::from(self.count))
    }
    /// Answered probes of those remembered, 0 to 1; `None` without any.
    pub fn share(self) -> Option<f64> {
        (self.count > 0).then(|| f64::from(self.answered.count_ones()) / f64::from(self.count))
    }
}

/// The last sign of life that an instance gave by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// How long ago.
    pub age: Duration,
    /// After this age the instance counts as gone.
    pub expires_in: Duration,
    /// It calls itself degraded.
    pub degraded: bool,
}

/// What the owner promises; what is missing is not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Targets {
    /// Usual time of a call, ms.
    pub response_ms_target: Option<f64>,
    /// Longest time of a call, ms.
    pub response_ms_max: Option<f64>,
    /// Tolerated failed calls, percent; 5 when not stated.
    pub error_percent_max: Option<f64>,
}

impl Targets {
    /// The widest promise over all capabilities: what is measured is not split by capability.
    pub fn of(definition: &AgentDefinition) -> Self {
        let widest = |pick: fn(&crate::definition::Performance) -> Option<f64>| {
            definition.capabilities.iter().filter_map(|c| pick(&c.performance)).reduce(f64::max)
        };
        Self {
            response_ms_target: widest(|p| p.response_ms_target),
            response_ms_max: widest(|p| p.response_ms_max),
            error_percent_max: widest(|p| p.error_percent_max),
        }
    }
}

/// Everything that is known about one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts {
    /// Active probes.
    pub probes: Probes,
    /// Heartbeats, when it sends any.
    pub beat: Option<Beat>,
    /// What executors measured, as it counts now.
    pub measured: Measured,
    /// What its owner promises.
    pub targets: Targets,
    /// Failed probes in a row that make it unhealthy; 0 = [`FAILED_PROBES`].
    pub unhealthy_after: u32,
}

/// Status, score and the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assessment {
    /// The status.
    pub status: Status,
    /// 0 to 100.
    pub score: u8,
    /// The fact that weighed most against it; empty when healthy.
    pub reason: Cow<'static, str>,
}

/// Judges one instance.
pub fn assess(facts: &Facts) -> Assessment {
    let parts = parts(facts);
    let weight: f64 = parts.iter().map(|p| p.weight).sum();
    if weight <= 0.0 {
        return Assessment {
            status: Status::Unknown,
            score: UNKNOWN_SCORE,
            reason: "nothing is known yet".into(),
        };
    }
    let mean = parts.iter().map(|p| p.weight * p.value).sum::<f64>() / weight;
    let mut score = (mean * 100.0).round() as u8;
    let worst = parts.iter().max_by(|a, b| a.loss().total_cmp(&b.loss()));
    let mut reason: Cow<'static, str> = worst.map(|p| p.name.clone()).unwrap_or_default();
    let failed = facts.probes.failed_in_a_row();
    let failed_max = if facts.unhealthy_after == 0 { FAILED_PROBES } else { facts.unhealthy_after };
    let expired = facts.beat.is_some_and(|b| b.age >= b.expires_in);
    if failed >= failed_max || expired {
        score = score.min(AWAY_SCORE_MAX);
        reason = if expired {
            "its heartbeat expired".into()
        } else {
            format!("{failed} probes in a row failed").into()
        };
    } else if failed > 0 || facts.beat.is_some_and(|b| b.degraded) {
        score = score.min(HEALTHY_FROM - 1);
        reason = if failed > 0 { "the last probe failed".into() } else { "it calls itself degraded".into() };
    }
    let status = match score {
        HEALTHY_FROM.. => Status::Healthy,
        DEGRADED_FROM.. => Status::Degraded,
        _ => Status::Unhealthy,
    };
    if status == Status::Healthy {
        reason = "".into();
    }
    Assessment { status, score, reason }
}

struct Part {
    name: Cow<'static, str>,
    weight: f64,
    value: f64,
}

impl Part {
    fn loss(&self) -> f64 {
        self.weight * (1.0 - self.value)
    }
}

fn parts(facts: &Facts) -> Vec<Part> {
    let mut parts = Vec::with_capacity(4);
    let mut add = |name: Cow<'static, str>, weight: f64, value: f64| {
        parts.push(Part { name, weight, value: value.clamp(0.0, 1.0) });
    };
    if let Some(share) = facts.probes.share() {
        // Lost probes alone make no instance unhealthy, several in a row do.
        add("probes fail".into(), PROBES, share.max(0.5));
    }
    if let Some(rate) = facts.measured.error_rate() {
        let tolerated = facts.targets.error_percent_max.unwrap_or(5.0).max(0.1) / 100.0;
        let trust = (facts.measured.calls / CALLS_TRUSTED).min(1.0);
        add(
            format!("{:.0} % of recent calls fail", rate * 100.0).into(),
            ERRORS * trust,
            1.0 - rate / (2.0 * tolerated),
        );
    }
    if let (Some(mean), Some((target, max))) = (facts.measured.mean_ms(), latency_span(&facts.targets)) {
        add(format!("calls take {mean:.0} ms").into(), LATENCY, (max - mean) / (max - target));
    }
    if let Some(beat) = facts.beat {
        let late = beat.age.as_secs_f64() / beat.expires_in.as_secs_f64().max(0.001);
        // In time during the first half of its validity; a late one alone makes no instance unhealthy, an expired one does.
        add("its heartbeat is late".into(), HEARTBEAT, (1.5 - late).max(0.5));
    }
    parts
}

/// Target and maximum with `target < max`, from what is stated.
fn latency_span(targets: &Targets) -> Option<(f64, f64)> {
    let target = targets.response_ms_target.or(targets.response_ms_max.map(|max| max / 2.0))?;
    let max = targets.response_ms_max.unwrap_or(target * 3.0).max(target + 1.0);
    Some((target, max))
}

/// Judges an agent by its instances, given as (assessment, capacity).
///
/// The score is the mean by capacity. Healthy when an instance is and none is worse than unknown; unhealthy when no
/// instance takes calls; unknown when nothing is known of any; degraded otherwise.
pub fn combine<'a>(instances: impl IntoIterator<Item = (&'a Assessment, u32)>) -> Assessment {
    let (mut seen, mut weight, mut sum) = ([0usize; 4], 0.0, 0.0);
    let mut worst: Option<&Assessment> = None;
    for (one, capacity) in instances {
        seen[one.status as usize] += 1;
        weight += f64::from(capacity.max(1));
        sum += f64::from(capacity.max(1)) * f64::from(one.score);
        if worst.is_none_or(|w| one.score < w.score) {
            worst = Some(one);
        }
    }
    let [healthy, degraded, unknown, unhealthy] = seen;
    let status = match (healthy, degraded, unknown, unhealthy) {
        (0, 0, _, 0) => Status::Unknown,
        (0, 0, 0, _) => Status::Unhealthy,
        (1.., 0, _, 0) => Status::Healthy,
        _ => Status::Degraded,
    };
    let score = if weight > 0.0 { (sum / weight).round() as u8 } else { UNKNOWN_SCORE };
    let reason = match (status, worst) {
        (Status::Healthy, _) | (_, None) => "".into(),
        (_, Some(worst)) => worst.reason.clone(),
    };
    Assessment { status, score, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes(text: &str) -> Probes {
        text.chars().fold(Probes::default(), |p, c| p.then(c == '+'))
    }
    fn beat(age_s: u64, degraded: bool) -> Option<Beat> {
        Some(Beat { age: Duration::from_secs(age_s), expires_in: Duration::from_secs(90), degraded })
    }
    fn calls(calls: f64, failures: f64, mean_ms: f64) -> Measured {
        Measured { calls, failures, call_ms: calls * mean_ms, ..Measured::default() }
    }

    #[test]
    fn instances_are_judged_by_what_is_known() {
        use Status::{Degraded, Healthy, Unhealthy, Unknown};
        let none = Measured::default();
        for (name, probes, beat, measured, want, score) in [
            ("nothing known", probes(""), None, none, Unknown, 50..=50),
            ("answered once", probes("+"), None, none, Healthy, 100..=100),
            ("one failure after many answers", probes("+++++++++-"), None, none, Degraded, 79..=79),
            ("first probe failed", probes("-"), None, none, Degraded, 50..=50),
            ("three failures in a row", probes("+++++++---"), None, none, Unhealthy, 20..=20),
            ("back after a failure", probes("++++++++-+"), None, none, Healthy, 90..=90),
            ("a fresh heartbeat", probes(""), beat(5, false), none, Healthy, 100..=100),
            ("a late heartbeat", probes(""), beat(80, false), none, Degraded, 61..=61),
            (
                "an expired heartbeat beats good probes",
                probes("++++++++++"),
                beat(90, false),
                none,
                Unhealthy,
                20..=20,
            ),
            ("calls itself degraded", probes("+++"), beat(1, true), none, Degraded, 79..=79),
            ("few calls fail", probes("++++"), None, calls(100.0, 1.0, 50.0), Healthy, 90..=99),
            ("twice the tolerated rate", probes("++++"), None, calls(100.0, 10.0, 50.0), Degraded, 55..=60),
            ("one failed call proves little", probes("++++"), None, calls(1.0, 1.0, 50.0), Healthy, 90..=95),
            (
                "every call fails although it answers probes",
                probes("++++"),
                None,
                calls(50.0, 50.0, 9.0),
                Degraded,
                55..=60,
            ),
        ] {
            let got =
                assess(&Facts { probes, beat, measured, targets: Targets::default(), unhealthy_after: 0 });
            assert_eq!(got.status, want, "{name}: {got:?}");
            assert!(score.contains(&got.score), "{name}: {got:?}");
            assert_eq!(got.reason.is_empty(), got.status == Healthy, "{name}: {got:?}");
        }
    }

    #[test]
    fn slow_calls_cost_score() {
        let targets = Targets {
            response_ms_target: Some(100.0),
            response_ms_max: Some(300.0),
            error_percent_max: None,
        };
        let score = |mean| {
            assess(&Facts {
                probes: probes("+"),
                beat: None,
                measured: calls(20.0, 0.0, mean),
                targets,
                unhealthy_after: 3,
            })
            .score
        };
        assert_eq!(
            [score(50.0), score(100.0), score(200.0), score(300.0), score(9e9)],
            [100, 100, 91, 82, 82]
        );
        let only_max = Targets { response_ms_max: Some(100.0), ..Targets::default() };
        assert_eq!(latency_span(&only_max), Some((50.0, 100.0)));
        assert_eq!(latency_span(&Targets { response_ms_target: Some(7.0), ..only_max }), Some((7.0, 100.0)));
        assert_eq!(latency_span(&Targets::default()), None);
    }

    #[test]
    fn an_agent_is_as_its_instances_are() {
        use Status::{Degraded, Healthy, Unhealthy, Unknown};
        let of = |status, score| Assessment { status, score, reason: "because".into() };
        for (name, instances, want, score) in [
            ("none", vec![], Unknown, 50),
            ("all healthy", vec![(Healthy, 100), (Healthy, 80)], Healthy, 90),
            ("healthy and new", vec![(Healthy, 100), (Unknown, 50)], Healthy, 75),
            ("one of two away", vec![(Healthy, 100), (Unhealthy, 0)], Degraded, 50),
            ("all away", vec![(Unhealthy, 0), (Unhealthy, 20)], Unhealthy, 10),
            ("all new", vec![(Unknown, 50)], Unknown, 50),
            ("new and away", vec![(Unknown, 50), (Unhealthy, 0)], Degraded, 25),
            ("degraded", vec![(Degraded, 60)], Degraded, 60),
        ] {
            let list: Vec<Assessment> = instances.iter().map(|&(s, n)| of(s, n)).collect();
            let got = combine(list.iter().map(|a| (a, 64)));
            assert_eq!((got.status, got.score), (want, score), "{name}");
        }
        let (big, small) = (of(Healthy, 100), of(Unhealthy, 0));
        assert_eq!(combine([(&big, 90), (&small, 10)]).score, 90, "the score is weighted by capacity");
    }

    #[test]
    fn statuses_read_back() {
        for &status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("fine"), None);
        assert!(Status::Unknown.takes_calls() && !Status::Unhealthy.takes_calls());
        assert_eq!(probes("+-+++++++++++").count, Probes::KEPT);
    }
}
