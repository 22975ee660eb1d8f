//! Schedules as callers make, list, pause, trigger and delete them.

use api::{Fault, payload};
use base::{CallContext, ErrorCode, Timestamp, ids::check_key};
use proto::executor::v1 as pb;
use store::schedules::ScheduleRow;
use uuid::Uuid;

use super::{
    Schedules,
    model::{self, Progress, Ready},
    shard_of,
};
use crate::engine::away;

/// How often a change is tried while a fire changes the same row.
const TRIES: u32 = 20;

fn moment(field: &str, text: &str) -> Result<Timestamp, Fault> {
    Timestamp::parse_rfc3339(text)
        .ok_or_else(|| Fault::bad(field, "is not a time; write 2026-01-02T03:04:05Z"))
}

impl Schedules {
    fn on(&self) -> Result<(), Fault> {
        if self.0.options.enabled {
            return Ok(());
        }
        Err(Fault::new(ErrorCode::InvalidState, "schedules are switched off (schedules.enabled)"))
    }

    pub(super) async fn create(
        &self,
        context: &CallContext,
        new: pb::CreateScheduleRequest,
    ) -> Result<ScheduleRow, Fault> {
        self.on()?;
        check_key("name", &new.name).map_err(|e| Fault::bad("name", e))?;
        if new.workflow.is_empty() {
            return Err(Fault::bad("workflow", "name the workflow that it starts"));
        }
        let inner = &self.0;
        let now = inner.clock.now();
        let catch_up = u64::try_from(inner.options.catch_up.as_micros()).unwrap_or(u64::MAX);
        let spec = model::spec_of(new.timing.unwrap_or_default(), now, catch_up)?;
        let timing = spec.compile(now).map_err(|e| Fault::bad(format!("timing.{}", e.field), e.rule))?;
        let input = match new.input {
            None => None,
            Some(given) => {
                let input = payload::from_wire(Some(given), "input")?;
                let text = String::from_utf8(input.bytes().to_vec()).ok().filter(|_| input.is_json());
                Some(text.ok_or_else(|| Fault::bad("input", "must be JSON"))?)
            }
        };
        let id = Uuid::new_v5(
            &Uuid::NAMESPACE_OID,
            format!("schedule/{}/{}", context.tenant, new.name).as_bytes(),
        );
        // A single moment that has just passed is due at once, within its window to catch up.
        let first = spec.at.or_else(|| timing.next(now));
        let progress = Progress::begin(first);
        let row = ScheduleRow {
            tenant: context.tenant.clone(),
            id,
            name: new.name,
            workflow: new.workflow,
            workflow_version: String::new(),
            shard: shard_of(id, inner.options.shards),
            wake_at: first.filter(|_| !new.paused).map(|at| spec.rules.fires_at(id.as_bytes(), at)),
            spec: model::write(&spec),
            input,
            priority: new.priority,
            paused: new.paused,
            state: model::write(&progress),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        inner.engine.plan(context, &row.workflow).await?;
        if !inner.store.insert(&row).await.map_err(away)? {
            return self.existing(context, row).await;
        }
        inner.nudge.notify_one();
        Ok(row)
    }

    /// The name is taken: by the same request (an earlier try of it), or by another.
    async fn existing(&self, context: &CallContext, row: ScheduleRow) -> Result<ScheduleRow, Fault> {
        let found = self.0.store.find(&context.tenant, &row.name).await.map_err(away)?;
        let found =
            found.ok_or_else(|| Fault::unavailable("the schedule was deleted at this moment; try again"))?;
        // A delay counts from its own request, so a repetition of it reads differently by now.
        let relative = |text: &str| {
            model::read::<schedule::Spec>(&found, text).map(|s| schedule::Spec { at: None, ..s })
        };
        let same_times = found.spec == row.spec || relative(&found.spec)? == relative(&row.spec)?;
        let same = same_times
            && found.workflow == row.workflow
            && found.input == row.input
            && found.priority == row.priority;
        if same {
            return Ok(found);
        }
        let text = format!("another schedule is called {}; delete it or choose another name", row.name);
        Err(Fault::new(ErrorCode::AlreadyExists, text).field("name").related(vec![found.id.to_string()]))
    }

    pub(super) async fn get(&self, context: &CallContext, text: &str) -> Result<ScheduleRow, Fault> {
        let store = &self.0.store;
        let found = match text.parse::<Uuid>() {
            Ok(id) => store.get(&context.tenant, id).await,
            Err(_) => store.find(&context.tenant, text).await,
        };
        found.map_err(away)?.ok_or_else(|| Fault::not_found("schedule", text))
    }

    pub(super) async fn list(
        &self,
        context: &CallContext,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ScheduleRow>, Fault> {
        self.0.store.list(&context.tenant, after, limit).await.map_err(away)
    }

    /// Times that passed while it was paused are not made up for.
    pub(super) async fn pause(
        &self,
        context: &CallContext,
        text: &str,
        paused: bool,
    ) -> Result<ScheduleRow, Fault> {
        for _ in 0..TRIES {
            let mut row = self.get(context, text).await?;
            if row.paused == paused {
                return Ok(row);
            }
            let Ready { spec, timing, mut progress } = Ready::of(&row)?;
            let now = self.0.clock.now();
            if !paused {
                let late = progress.state.next.is_some_and(|at| at < now);
                progress.state.next = if late { timing.next(now) } else { progress.state.next };
            }
            let wake = progress.state.next.map(|at| spec.rules.fires_at(row.id.as_bytes(), at));
            let wake = if progress.state.queued.is_empty() { wake } else { Some(now) };
            row.wake_at = wake.filter(|_| !paused);
            (row.paused, row.state, row.updated_at) = (paused, model::write(&progress), now);
            if self.0.store.update(&row).await.map_err(away)? {
                self.0.nudge.notify_one();
                return Ok(row);
            }
        }
        Err(Fault::unavailable("the schedule fires all the time; try again"))
    }

    pub(super) async fn trigger(&self, context: &CallContext, text: &str, at: &str) -> Result<String, Fault> {
        self.on()?;
        let row = self.get(context, text).await?;
        let at = if at.is_empty() { self.0.clock.now() } else { moment("at", at)? };
        self.0.start(&row, at).await.map(|id| id.to_string())
    }

    pub(super) async fn backfill(
        &self,
        context: &CallContext,
        text: &str,
        from: &str,
        to: &str,
    ) -> Result<Vec<String>, Fault> {
        self.on()?;
        let row = self.get(context, text).await?;
        let (from, to) = (moment("from", from)?, moment("to", to)?);
        if to < from {
            return Err(Fault::bad("to", "lies before from; swap them"));
        }
        let max = self.0.options.backfill_max;
        let times = Ready::of(&row)?.timing.between(from, to, max).ok_or_else(|| {
            Fault::bad(
                "to",
                format!("the range holds more than {max} times (schedules.backfill_max); take a shorter one"),
            )
        })?;
        let mut started = Vec::with_capacity(times.len());
        for at in times {
            started.push(self.0.start(&row, at).await?.to_string());
        }
        Ok(started)
    }

    pub(super) async fn delete(&self, context: &CallContext, text: &str) -> Result<(), Fault> {
        let row = self.get(context, text).await?;
        if !row.workflow_version.is_empty() {
            let text = format!(
                "the schedule belongs to {}@{}; store a version without it, or pause it",
                row.workflow, row.workflow_version
            );
            return Err(Fault::new(ErrorCode::InvalidState, text));
        }
        self.0.store.delete(&context.tenant, row.id).await.map(drop).map_err(away)
    }
}
