//! `orchestra schedules`: executions that start by the clock.

use std::{process::ExitCode, time::Duration};

use api::client::{NewSchedule, Schedule};
use base::{
    Payload,
    time::{BareUnit, parse_duration},
};
use clap::{Args, Subcommand};

use super::{
    Context, Done,
    page::{PageArgs, more},
};
use crate::{exit::Failure, out::time};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra schedules create nightly report --cron '0 3 * * *' --time-zone Europe/Berlin
  orchestra schedules create pulse check --every 15m --overlap queue
  orchestra schedules create once report --delay 2h --input '{\"day\": \"today\"}'
  orchestra schedules get nightly               next times and last fires
  orchestra schedules backfill nightly 2026-01-01T00:00:00Z 2026-01-07T00:00:00Z";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a schedule.
    Create(Box<Create>),
    /// Lists schedules by name.
    List(PageArgs),
    /// Shows one, with its next times and last fires.
    Get {
        /// Name or id.
        schedule: String,
    },
    /// Pauses one: times that pass meanwhile are not made up for.
    Pause {
        /// Name or id.
        schedule: String,
    },
    /// Resumes one.
    Resume {
        /// Name or id.
        schedule: String,
    },
    /// Starts an execution now, whatever the overlap policy says.
    Trigger {
        /// Name or id.
        schedule: String,
    },
    /// Starts the executions of all times in a range; times that have one keep it.
    Backfill {
        /// Name or id.
        schedule: String,
        /// RFC 3339, included.
        from: String,
        /// RFC 3339, included.
        to: String,
    },
    /// Deletes one; its executions go on.
    Delete {
        /// Name or id.
        schedule: String,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text, BareUnit::Seconds).map_err(|e| e.to_string())
}

/// A schedule. Exactly one of --cron, --every, --at and --delay.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("timing").required(true).args(["cron", "every", "at", "delay"]))]
pub(crate) struct Create {
    /// Its name, unique.
    name: String,
    /// What it starts: name, `name@version` or UUID.
    workflow: String,
    /// Five fields (minute hour day month weekday), or six with seconds first, or @daily.
    #[arg(long)]
    cron: Option<String>,
    /// IANA name of the zone of --cron; default UTC.
    #[arg(long, requires = "cron")]
    time_zone: Option<String>,
    /// From fire to fire, 15m.
    #[arg(long, value_parser = duration)]
    every: Option<Duration>,
    /// Once, at this time (RFC 3339).
    #[arg(long)]
    at: Option<String>,
    /// Once, this long from now.
    #[arg(long, value_parser = duration)]
    delay: Option<Duration>,
    /// While an execution of the schedule runs.
    #[arg(long, value_parser = ["skip", "queue", "allow", "cancel_other"])]
    overlap: Option<String>,
    /// Missed fires are made up for when they are no older.
    #[arg(long, value_parser = duration)]
    catch_up: Option<Duration>,
    /// Each fire is late by a part of this.
    #[arg(long, value_parser = duration)]
    jitter: Option<Duration>,
    /// Input of each execution, JSON.
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
    /// Higher runs first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// It fires nothing until it is resumed.
    #[arg(long)]
    paused: bool,
}

impl Create {
    fn read(self) -> Result<NewSchedule, Failure> {
        let input = self.input.map(Payload::json_text);
        if input.as_ref().is_some_and(|payload| payload.json().is_none()) {
            return Err(Failure::usage("--input is not JSON"));
        }
        Ok(NewSchedule {
            name: self.name,
            workflow: self.workflow,
            cron: self.cron.unwrap_or_default(),
            time_zone: self.time_zone.unwrap_or_default(),
            every: self.every,
            at: self.at.unwrap_or_default(),
            delay: self.delay,
            overlap: self.overlap.unwrap_or_default(),
            catch_up: self.catch_up,
            jitter: self.jitter.unwrap_or_default(),
            input,
            priority: self.priority,
            paused: self.paused,
        })
    }
}

const HEADERS: [&str; 8] =
    ["name", "workflow", "when", "overlap", "state", "next", "started", "skipped/failed"];

fn row(s: &Schedule) -> Vec<String> {
    vec![
        s.name.clone(),
        s.workflow.clone(),
        s.when.clone(),
        s.overlap.clone(),
        if s.paused { "paused".into() } else { "running".into() },
        s.next_times.first().map(|at| time(at)).unwrap_or_default(),
        s.started.to_string(),
        format!("{}/{}", s.skipped, s.failed),
    ]
}

fn one(context: &Context, schedule: &Schedule) {
    context.out.result(schedule, |out| {
        out.table(&HEADERS, vec![row(schedule)], "");
        for at in &schedule.next_times {
            out.line(format_args!("next     {at}"));
        }
        for fire in &schedule.recent {
            let what = fire.execution_id.as_ref().or(fire.reason.as_ref()).map_or("", String::as_str);
            out.line(format_args!("{:<8} {}  {what}", fire.outcome, fire.at));
        }
    });
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let client = context.globals.server.connect().await?;
    match command {
        Command::Create(create) => one(context, &client.create_schedule(create.read()?).await?),
        Command::List(args) => {
            let fetch = |size, token: String| {
                let client = client.clone();
                async move { client.schedules(size, &token).await }
            };
            let page = args.take(fetch).await?;
            context.out.result(&page, |out| {
                out.table(&HEADERS, page.items.iter().map(row).collect(), "no schedules");
                more(out, &page);
            });
        }
        Command::Get { schedule } => one(context, &client.schedule(&schedule).await?),
        Command::Pause { schedule } => one(context, &client.pause_schedule(&schedule, true).await?),
        Command::Resume { schedule } => one(context, &client.pause_schedule(&schedule, false).await?),
        Command::Trigger { schedule } => {
            let id = client.trigger_schedule(&schedule).await?;
            context.out.result(&serde_json::json!({"execution_id": id}), |out| out.line(&id));
        }
        Command::Backfill { schedule, from, to } => {
            let ids = client.backfill_schedule(&schedule, &from, &to).await?;
            context.out.result(&serde_json::json!({"execution_ids": ids}), |out| {
                ids.iter().for_each(|id| out.line(id));
            });
        }
        Command::Delete { schedule } => {
            client.delete_schedule(&schedule).await?;
            context.out.result(&serde_json::json!({"deleted": schedule}), |out| {
                out.line(format_args!("{schedule} is deleted"));
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}
