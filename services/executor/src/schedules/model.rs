//! What is stored of a schedule beside its columns, and how it is shown.

use api::{Fault, payload};
use base::{Payload, Timestamp};
use proto::executor::v1 as pb;
use schedule::{Overlap, Rules, SkipReason, Spec, State, Timing};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use store::schedules::ScheduleRow;
use uuid::Uuid;

/// Fires that are remembered.
const RECENT_MAX: usize = 10;
/// Times that are shown.
const NEXT_SHOWN: usize = 5;

/// How far a schedule is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) state: State,
    /// The execution that was started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<Uuid>,
    /// Newest first.
    #[serde(default)]
    pub(super) recent: Vec<Fired>,
    #[serde(default)]
    pub(super) started: u64,
    #[serde(default)]
    pub(super) skipped: u64,
    #[serde(default)]
    pub(super) failed: u64,
}

/// What became of a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fired {
    pub(super) at: Timestamp,
    pub(super) outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) execution: Option<Uuid>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
}

impl Progress {
    pub(super) fn begin(next: Option<Timestamp>) -> Self {
        Self { state: State { next, queued: Vec::new() }, ..Self::default() }
    }

    pub(super) fn note(&mut self, at: Timestamp, outcome: &str, execution: Option<Uuid>, reason: &str) {
        self.recent.insert(0, Fired { at, outcome: outcome.into(), execution, reason: reason.into() });
        self.recent.truncate(RECENT_MAX);
    }
}

/// Why a time was skipped, for people.
pub(super) fn why(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Overlap => "an execution of the schedule was running",
        SkipReason::QueueFull => "as many fires as may wait were waiting",
        SkipReason::Superseded => "a later time was due as well",
    }
}

pub(super) fn write<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads a JSON column that a build of ours wrote.
pub(super) fn read<T: DeserializeOwned>(row: &ScheduleRow, text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| {
        tracing::error!(schedule = %row.name, %error, "a stored schedule cannot be read");
        Fault::internal()
    })
}

/// What a row says, ready to be asked.
pub(super) struct Ready {
    pub(super) spec: Spec,
    pub(super) timing: Timing,
    pub(super) progress: Progress,
}

impl Ready {
    pub(super) fn of(row: &ScheduleRow) -> Result<Self, Fault> {
        let spec: Spec = read(row, &row.spec)?;
        let timing = spec.compile(row.created_at).map_err(|e| Fault::bad(e.field, e.rule))?;
        Ok(Self { spec, timing, progress: read(row, &row.state)? })
    }
}

fn us(ms: u64) -> u64 {
    ms.saturating_mul(1000)
}

/// What a caller asks for. `catch_up_us`: when it does not say.
pub(super) fn spec_of(timing: pb::Timing, now: Timestamp, catch_up_us: u64) -> Result<Spec, Fault> {
    let time = |field: &str, text: &str| match text {
        "" => Ok(None),
        text => Timestamp::parse_rfc3339(text).map(Some).ok_or_else(|| {
            Fault::bad(format!("timing.{field}"), "is not a time; write 2026-01-02T03:04:05Z")
        }),
    };
    let overlap = match timing.overlap.as_str() {
        "" => Overlap::Skip,
        text => Overlap::parse(text).ok_or_else(|| {
            let known = Overlap::ALL.map(Overlap::as_str).join(", ");
            Fault::bad("timing.overlap", format!("{text:?} is not one of {known}"))
        })?,
    };
    let at = time("at", &timing.at)?;
    if at.is_some() && timing.delay_ms > 0 {
        return Err(Fault::bad("timing.delay", "and at exclude each other; keep one"));
    }
    let (every, delay) = (timing.every_ms > 0, timing.delay_ms > 0);
    Ok(Spec {
        cron: (!timing.cron.is_empty()).then_some(timing.cron),
        time_zone: timing.time_zone,
        every_us: every.then_some(us(timing.every_ms)),
        delay_us: (every && delay).then_some(us(timing.delay_ms)),
        at: match at {
            None if delay && !every => Some(now.plus(std::time::Duration::from_millis(timing.delay_ms))),
            at => at,
        },
        start_at: time("start_at", &timing.start_at)?,
        end_at: time("end_at", &timing.end_at)?,
        rules: Rules {
            overlap,
            queue_max: timing.queue_max.max(1),
            catch_up_us: timing.catch_up_ms.map_or(catch_up_us, us),
            jitter_us: us(timing.jitter_ms),
        },
    })
}

fn timing_of(spec: &Spec) -> pb::Timing {
    let time = |at: Option<Timestamp>| at.map(Timestamp::rfc3339).unwrap_or_default();
    pb::Timing {
        cron: spec.cron.clone().unwrap_or_default(),
        time_zone: spec.time_zone.clone(),
        every_ms: spec.every_us.unwrap_or_default() / 1000,
        delay_ms: spec.delay_us.unwrap_or_default() / 1000,
        at: time(spec.at),
        start_at: time(spec.start_at),
        end_at: time(spec.end_at),
        overlap: spec.rules.overlap.as_str().into(),
        queue_max: spec.rules.queue_max,
        catch_up_ms: Some(spec.rules.catch_up_us / 1000),
        jitter_ms: spec.rules.jitter_us / 1000,
    }
}

/// As callers see it.
pub(super) fn shown(row: &ScheduleRow) -> Result<pb::Schedule, Fault> {
    let Ready { spec, timing, progress } = Ready::of(row)?;
    let next = match (row.paused, progress.state.next) {
        (false, Some(first)) => {
            std::iter::once(first).chain(timing.upcoming(first, NEXT_SHOWN - 1)).collect()
        }
        _ => Vec::new(),
    };
    let fire = |f: Fired| pb::Fire {
        at: f.at.rfc3339(),
        outcome: f.outcome,
        execution_id: f.execution.map(|id| id.to_string()).unwrap_or_default(),
        reason: f.reason,
    };
    Ok(pb::Schedule {
        id: row.id.to_string(),
        name: row.name.clone(),
        workflow: row.workflow.clone(),
        workflow_version: row.workflow_version.clone(),
        timing: Some(timing_of(&spec)),
        input: row.input.clone().map(|text| payload::to_wire(&Payload::json_text(text))),
        priority: row.priority,
        paused: row.paused,
        next_times: next.into_iter().map(Timestamp::rfc3339).collect(),
        recent: progress.recent.into_iter().map(fire).collect(),
        queued: progress.state.queued.iter().map(|at| at.rfc3339()).collect(),
        started: progress.started,
        skipped: progress.skipped,
        failed: progress.failed,
        created_at: row.created_at.rfc3339(),
        updated_at: row.updated_at.rfc3339(),
    })
}
