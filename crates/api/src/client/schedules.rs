//! Schedules: executions that start by the clock.

use std::time::Duration;

use base::Payload;
use proto::{
    common::v1::PageRequest,
    executor::v1::{self as wire, schedule_service_client::ScheduleServiceClient},
};
use serde::Serialize;
use tonic::transport::Channel;

use super::{Client, Page, model::some};
use crate::{Fault, payload};

/// A schedule to make. Exactly one of `cron`, `every`, `at` and `delay`.
#[derive(Clone, Debug, Default)]
pub struct NewSchedule {
    /// Unique.
    pub name: String,
    /// Name, `name@version` or UUID.
    pub workflow: String,
    /// Five fields, or six with seconds first.
    pub cron: String,
    /// IANA name; empty = UTC.
    pub time_zone: String,
    /// From fire to fire.
    pub every: Option<Duration>,
    /// RFC 3339: once.
    pub at: String,
    /// Once, this long from now.
    pub delay: Option<Duration>,
    /// `skip`, `queue`, `allow` or `cancel_other`; empty = `skip`.
    pub overlap: String,
    /// How old a missed fire may be; `None` = as the server is configured.
    pub catch_up: Option<Duration>,
    /// Each fire is late by a part of this.
    pub jitter: Duration,
    /// Input of each execution.
    pub input: Option<Payload>,
    /// Higher runs first.
    pub priority: i32,
    /// It fires nothing until it is resumed.
    pub paused: bool,
}

/// A schedule.
#[derive(Clone, Debug, Serialize)]
pub struct Schedule {
    /// Names it, as does its name.
    pub id: String,
    /// Unique.
    pub name: String,
    /// What it starts.
    pub workflow: String,
    /// The version of the definition that holds it; `None` = made by itself.
    pub workflow_version: Option<String>,
    /// When, for people: `0 9 * * 1-5 Europe/Berlin`, `every 15m`.
    pub when: String,
    /// While an execution of it runs.
    pub overlap: String,
    /// It fires nothing at the moment.
    pub paused: bool,
    /// RFC 3339: the next times.
    pub next_times: Vec<String>,
    /// The last fires, newest first.
    pub recent: Vec<Fire>,
    /// Executions it started.
    pub started: u64,
    /// Times that started nothing.
    pub skipped: u64,
    /// Times whose start was refused.
    pub failed: u64,
}

/// What became of a time.
#[derive(Clone, Debug, Serialize)]
pub struct Fire {
    /// RFC 3339.
    pub at: String,
    /// `started`, `skipped`, `passed` or `failed`.
    pub outcome: String,
    /// When started.
    pub execution_id: Option<String>,
    /// Why, when it was not.
    pub reason: Option<String>,
}

fn when(timing: &wire::Timing) -> String {
    let every = || base::time::show_duration(Duration::from_millis(timing.every_ms));
    match timing {
        t if !t.cron.is_empty() => format!("{} {}", t.cron, t.time_zone).trim_end().to_owned(),
        t if t.every_ms > 0 => format!("every {}", every()),
        t => format!("at {}", t.at),
    }
}

impl Schedule {
    fn of(s: wire::Schedule) -> Self {
        let timing = s.timing.unwrap_or_default();
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
            when: when(&timing),
            overlap: timing.overlap,
            paused: s.paused,
            next_times: s.next_times,
            recent: s.recent.into_iter().map(fire).collect(),
            started: s.started,
            skipped: s.skipped,
            failed: s.failed,
        }
    }
}

fn ms(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

impl Client {
    fn schedules_door(&self) -> ScheduleServiceClient<Channel> {
        let max = self.options.message_bytes_max;
        ScheduleServiceClient::new(self.channel())
            .max_decoding_message_size(max)
            .max_encoding_message_size(max)
    }

    /// Makes a schedule.
    ///
    /// # Errors
    /// `invalid_argument` naming the field, `already_exists`, `not_found` (workflow).
    pub async fn create_schedule(&self, new: NewSchedule) -> Result<Schedule, Fault> {
        let message = wire::CreateScheduleRequest {
            name: new.name,
            workflow: new.workflow,
            timing: Some(wire::Timing {
                cron: new.cron,
                time_zone: new.time_zone,
                every_ms: new.every.map_or(0, ms),
                at: new.at,
                delay_ms: new.delay.map_or(0, ms),
                overlap: new.overlap,
                catch_up_ms: new.catch_up.map(ms),
                jitter_ms: ms(new.jitter),
                ..wire::Timing::default()
            }),
            input: new.input.as_ref().map(payload::to_wire),
            priority: new.priority,
            paused: new.paused,
        };
        let call = || async { self.schedules_door().create_schedule(self.request(message.clone())).await };
        self.safely(call).await.map(Schedule::of)
    }

    /// One schedule, by name or id.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn schedule(&self, reference: &str) -> Result<Schedule, Fault> {
        let message = wire::GetScheduleRequest { r#ref: reference.into() };
        let call = || async { self.schedules_door().get_schedule(self.request(message.clone())).await };
        self.safely(call).await.map(Schedule::of)
    }

    /// A page of schedules, by name.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn schedules(&self, page_size: i32, page_token: &str) -> Result<Page<Schedule>, Fault> {
        let page = Some(PageRequest { page_size, page_token: page_token.into() });
        let message = wire::ListSchedulesRequest { page };
        let call = || async { self.schedules_door().list_schedules(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        let items = answer.schedules.into_iter().map(Schedule::of).collect();
        Ok(Page { items, next_page_token: some(answer.next_page_token) })
    }

    /// Pauses or resumes a schedule.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn pause_schedule(&self, reference: &str, paused: bool) -> Result<Schedule, Fault> {
        let message = wire::PauseScheduleRequest { r#ref: reference.into(), paused };
        let call = || async { self.schedules_door().pause_schedule(self.request(message.clone())).await };
        self.safely(call).await.map(Schedule::of)
    }

    /// Starts an execution of a schedule now; gives its id.
    ///
    /// # Errors
    /// `not_found`, and those of a start.
    pub async fn trigger_schedule(&self, reference: &str) -> Result<String, Fault> {
        let message = wire::TriggerScheduleRequest { r#ref: reference.into(), at: String::new() };
        // Once: a repetition is another moment.
        let answer = self.once(self.schedules_door().trigger_schedule(self.request(message))).await?;
        Ok(answer.execution_id)
    }

    /// Starts the executions of all times from `from` to `to`; gives their ids in order.
    ///
    /// # Errors
    /// `invalid_argument` when the range holds too many times.
    pub async fn backfill_schedule(
        &self,
        reference: &str,
        from: &str,
        to: &str,
    ) -> Result<Vec<String>, Fault> {
        let message =
            wire::BackfillScheduleRequest { r#ref: reference.into(), from: from.into(), to: to.into() };
        let call = || async { self.schedules_door().backfill_schedule(self.request(message.clone())).await };
        Ok(self.safely(call).await?.execution_ids)
    }

    /// Deletes a schedule.
    ///
    /// # Errors
    /// `not_found`; `invalid_state` when it belongs to a definition.
    pub async fn delete_schedule(&self, reference: &str) -> Result<(), Fault> {
        let message = wire::DeleteScheduleRequest { r#ref: reference.into() };
        self.once(self.schedules_door().delete_schedule(self.request(message))).await.map(drop)
    }
}
