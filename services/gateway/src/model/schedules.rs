//! Schedules.

use base::time::{BareUnit, parse_duration, show_duration};
use proto::executor::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::some;
use crate::{
    payload::{Raw, payload, raw},
    problem::Problem,
};

/// Starts executions by the clock. Exactly one of `cron`, `every`, `at` and `delay`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduleRequest {
    /// Unique.
    pub name: String,
    /// Name, `name@version` or UUID.
    pub workflow: String,
    /// Five fields (minute hour day month weekday), or six with seconds first, or `@daily`.
    #[schema(example = "0 9 * * 1-5")]
    pub cron: Option<String>,
    /// IANA name of the zone of `cron`; default UTC.
    #[schema(example = "Europe/Berlin")]
    pub time_zone: Option<String>,
    /// From fire to fire: `15m`.
    pub every: Option<String>,
    /// RFC 3339: once.
    pub at: Option<String>,
    /// Once, this long from now; with `every`: before its first fire.
    pub delay: Option<String>,
    /// RFC 3339: nothing fires before.
    pub start_at: Option<String>,
    /// RFC 3339: nothing fires after.
    pub end_at: Option<String>,
    /// While an execution of the schedule runs: `skip` (default), `queue`, `allow` or `cancel_other`.
    pub overlap: Option<String>,
    /// Fires that may wait under `queue`; default 1.
    pub queue_max: Option<u32>,
    /// Missed fires are made up for when they are no older: `1h` unless configured.
    pub catch_up: Option<String>,
    /// Each fire is late by a part of this.
    pub jitter: Option<String>,
    /// Input of each execution; default: `{"schedule": …, "scheduled_at": …}`.
    #[schema(value_type = Value, required = false)]
    pub input: Option<Raw>,
    /// Higher runs first.
    #[serde(default)]
    pub priority: i32,
    /// It fires nothing until it is resumed.
    #[serde(default)]
    pub paused: bool,
}

fn millis(field: &str, text: Option<&String>) -> Result<Option<u64>, Problem> {
    let read = |text: &String| {
        let read =
            parse_duration(text, BareUnit::Seconds).map_err(|e| Problem::argument(field, e.to_string()))?;
        Ok(u64::try_from(read.as_millis()).unwrap_or(u64::MAX))
    };
    text.map(read).transpose()
}

impl ScheduleRequest {
    pub(crate) fn into_wire(self) -> Result<wire::CreateScheduleRequest, Problem> {
        let timing = wire::Timing {
            every_ms: millis("every", self.every.as_ref())?.unwrap_or(0),
            delay_ms: millis("delay", self.delay.as_ref())?.unwrap_or(0),
            catch_up_ms: millis("catch_up", self.catch_up.as_ref())?,
            jitter_ms: millis("jitter", self.jitter.as_ref())?.unwrap_or(0),
            cron: self.cron.unwrap_or_default(),
            time_zone: self.time_zone.unwrap_or_default(),
            at: self.at.unwrap_or_default(),
            start_at: self.start_at.unwrap_or_default(),
            end_at: self.end_at.unwrap_or_default(),
            overlap: self.overlap.unwrap_or_default(),
            queue_max: self.queue_max.unwrap_or(0),
        };
        let input = match self.input {
            None => None,
            given => Some(payload("input", given)?),
        };
        Ok(wire::CreateScheduleRequest {
            name: self.name,
            workflow: self.workflow,
            timing: Some(timing),
            input,
            priority: self.priority,
            paused: self.paused,
        })
    }
}

/// What starts executions by the clock.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedule {
    /// Names it, as does its name.
    pub id: String,
    /// Unique.
    pub name: String,
    /// What it starts.
    pub workflow: String,
    /// The version of the definition that holds it; absent: it was made by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_version: Option<String>,
    /// Cron expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Zone of `cron`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// From fire to fire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// Before the first fire of `every`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// The one moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Nothing fires before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_at: Option<String>,
    /// Nothing fires after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_at: Option<String>,
    /// While an execution of the schedule runs.
    pub overlap: String,
    /// Fires that may wait.
    pub queue_max: u32,
    /// How old a missed fire may be.
    pub catch_up: String,
    /// How late a fire may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
    /// Input of each execution.
    #[schema(value_type = Value, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Raw>,
    /// Higher runs first.
    pub priority: i32,
    /// It fires nothing at the moment.
    pub paused: bool,
    /// RFC 3339: the next five times, without jitter.
    pub next_times: Vec<String>,
    /// The last fires, newest first.
    pub recent: Vec<Fire>,
    /// Fires that wait for an execution to end.
    pub queued: Vec<String>,
    /// Executions it started.
    pub started: u64,
    /// Times that started nothing.
    pub skipped: u64,
    /// Times whose start was refused.
    pub failed: u64,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// What became of a time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fire {
    /// RFC 3339.
    pub at: String,
    /// `started`, `skipped`, `passed` or `failed`.
    pub outcome: String,
    /// When started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// Why, when it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn shown(ms: u64) -> String {
    show_duration(std::time::Duration::from_millis(ms))
}

impl From<wire::Schedule> for Schedule {
    fn from(s: wire::Schedule) -> Self {
        let t = s.timing.unwrap_or_default();
        let fire = |f: wire::Fire| Fire {
            at: f.at,
            outcome: f.outcome,
            execution_id: some(f.execution_id),
            reason: some(f.reason),
        };
        Self {
            id: s.id,
            name: s.name,
            workflow: s.workflow,
            workflow_version: some(s.workflow_version),
            cron: some(t.cron),
            time_zone: some(t.time_zone),
            every: (t.every_ms > 0).then(|| shown(t.every_ms)),
            delay: (t.delay_ms > 0).then(|| shown(t.delay_ms)),
            at: some(t.at),
            start_at: some(t.start_at),
            end_at: some(t.end_at),
            overlap: t.overlap,
            queue_max: t.queue_max,
            catch_up: shown(t.catch_up_ms.unwrap_or_default()),
            jitter: (t.jitter_ms > 0).then(|| shown(t.jitter_ms)),
            input: raw(s.input),
            priority: s.priority,
            paused: s.paused,
            next_times: s.next_times,
            recent: s.recent.into_iter().map(fire).collect(),
            queued: s.queued,
            started: s.started,
            skipped: s.skipped,
            failed: s.failed,
            created_at: s.created_at,
            updated_at: s.updated_at,
        }
    }
}

/// A page of schedules.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SchedulePage {
    /// By name.
    pub schedules: Vec<Schedule>,
    /// Give it as `page_token` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// A fire out of turn.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FireRequest {
    /// RFC 3339: the time that names the execution; repeated it is the same execution. Default: now.
    pub at: Option<String>,
}

/// The execution of a fire.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FireStarted {
    /// Names it.
    pub execution_id: String,
}

/// A range of times to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackfillRequest {
    /// RFC 3339, included.
    pub from: String,
    /// RFC 3339, included.
    pub to: String,
}

/// The executions of a range.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Backfilled {
    /// One for each time, in order.
    pub execution_ids: Vec<String>,
}
