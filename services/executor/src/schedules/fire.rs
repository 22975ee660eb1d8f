//! What is due is started, and stored afterwards.

use std::{sync::Arc, time::Duration};

use api::{Fault, payload};
use base::{CallContext, ErrorCode, ExecutionId, Payload, Timestamp};
use proto::executor::v1 as pb;
use schedule::{Action, Decision, Facts, decide};
use store::schedules::ScheduleRow;

use super::{
    Inner, execution_of,
    model::{self, Progress, Ready},
};
use crate::{
    engine::away,
    starts::{made, passes},
};

/// Schedules that are looked at in one go.
const DUE_AT_ONCE: u32 = 100;
/// Shortest pause between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// After a failure that passes a schedule is looked at again this much later.
const AGAIN: Duration = Duration::from_secs(1);

/// Looks until the replica stops.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut changes = inner.cluster.map_changes();
    loop {
        let pause = inner.look().await;
        tokio::select! {
            () = inner.drain.draining() => return,
            () = tokio::time::sleep(pause) => {}
            () = inner.nudge.notified() => {}
            _ = changes.changed() => {}
        }
    }
}

impl Inner {
    /// Fires what is due, and says when the next look is worth it.
    async fn look(&self) -> Duration {
        let here: Vec<u16> = self.cluster.shard_map().here().iter().copied().collect();
        let now = self.clock.now();
        let due = match self.store.due(&here, now, DUE_AT_ONCE).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "schedules could not be looked at");
                return self.options.poll_interval;
            }
        };
        let full = due.len() == DUE_AT_ONCE as usize;
        for row in due {
            if let Err(error) = self.fire(&row).await {
                tracing::warn!(schedule = %row.name, %error, "a schedule is looked at again later");
                self.put_off(&row, now.plus(AGAIN)).await;
            }
        }
        if full {
            return PAUSE_MIN;
        }
        match self.store.next_wake(&here).await {
            Ok(Some(at)) => at.since(self.clock.now()).clamp(PAUSE_MIN, self.options.poll_interval),
            _ => self.options.poll_interval,
        }
    }

    /// Keeps a schedule that cannot be handled now from being the first one again and again.
    async fn put_off(&self, row: &ScheduleRow, until: Timestamp) {
        let later = ScheduleRow { wake_at: Some(until), ..row.clone() };
        if let Err(error) = self.store.update(&later).await {
            tracing::debug!(%error, "a schedule could not be put off");
        }
    }

    async fn fire(&self, row: &ScheduleRow) -> Result<(), Fault> {
        let Ready { spec, timing, mut progress } = Ready::of(row)?;
        let facts = Facts {
            now: self.clock.now(),
            active: self.is_active(row, &progress).await?,
            poll_us: u64::try_from(self.options.poll_interval.as_micros()).unwrap_or(u64::MAX),
        };
        let done = decide(&timing, &spec.rules, row.id.as_bytes(), &progress.state, facts);
        self.act(row, &mut progress, &done).await?;
        progress.state = done.state;
        let stored = ScheduleRow { wake_at: done.wake_at, state: model::write(&progress), ..row.clone() };
        // Somebody changed it meanwhile: the next look decides again, and what was started is started already.
        if !self.store.update(&stored).await.map_err(away)? {
            self.nudge.notify_one();
        }
        Ok(())
    }

    async fn is_active(&self, row: &ScheduleRow, progress: &Progress) -> Result<bool, Fault> {
        let Some(last) = progress.last else { return Ok(false) };
        let found = self.journal.get_execution(&row.tenant, ExecutionId::new(last)).await.map_err(away)?;
        Ok(found.is_some_and(|execution| execution.completed_at.is_none()))
    }

    async fn act(&self, row: &ScheduleRow, progress: &mut Progress, done: &Decision) -> Result<(), Fault> {
        if let Some(passed) = done.passed {
            let reason = format!("every time before {} was too old to be made up for", passed.until);
            progress.note(passed.from, "passed", None, &reason);
            self.skipped.inc();
        }
        for action in &done.actions {
            match action {
                Action::Skip(at, reason) => {
                    progress.note(*at, "skipped", None, model::why(*reason));
                    progress.skipped += 1;
                    self.skipped.inc();
                }
                Action::Start(at) => self.start_noted(row, progress, *at).await?,
                Action::CancelThenStart(at) => {
                    if let Some(last) = progress.last {
                        let reason = format!("schedule {} starts the next one", row.name);
                        self.starts.cancel(&context(row), ExecutionId::new(last), &reason).await?;
                    }
                    self.start_noted(row, progress, *at).await?;
                }
            }
        }
        Ok(())
    }

    /// Starts, and notes how it went. A refusal that no retry mends is noted and the schedule goes on.
    async fn start_noted(
        &self,
        row: &ScheduleRow,
        progress: &mut Progress,
        at: Timestamp,
    ) -> Result<(), Fault> {
        match self.start(row, at).await {
            Ok(id) => {
                progress.last = Some(id.uuid());
                progress.note(at, "started", Some(id.uuid()), "");
                progress.started += 1;
                self.started.inc();
            }
            Err(fault) if fault.code == ErrorCode::AlreadyExecuting => {
                progress.note(at, "skipped", None, "the workflow allows one execution, and it was running");
                progress.skipped += 1;
                self.skipped.inc();
            }
            Err(fault) if passes(&fault) => return Err(fault),
            Err(fault) => {
                tracing::warn!(schedule = %row.name, %at, error = %fault, "a schedule could not start an execution");
                progress.note(at, "failed", None, &format!("{}: {}", fault.code, fault.message));
                progress.failed += 1;
                self.failed.inc();
            }
        }
        Ok(())
    }

    /// Starts the execution of a time; it is on disk afterwards.
    pub(super) async fn start(&self, row: &ScheduleRow, at: Timestamp) -> Result<ExecutionId, Fault> {
        let id = execution_of(&row.tenant, row.id, at);
        let input = match &row.input {
            Some(text) => Payload::json_text(text.clone()),
            None => {
                Payload::from_value(&serde_json::json!({"schedule": row.name, "scheduled_at": at.rfc3339()}))
            }
        };
        let metadata = serde_json::json!({
            "schedule": row.name, "schedule_id": row.id.to_string(), "scheduled_at": at.rfc3339(),
        });
        let request = pb::StartExecutionRequest {
            workflow: row.workflow.clone(),
            input: Some(payload::to_wire(&input)),
            execution_id: id.to_string(),
            priority: row.priority,
            metadata_json: metadata.to_string(),
            ..pb::StartExecutionRequest::default()
        };
        made(self.starts.start(&context(row), request).await)?;
        Ok(id)
    }
}

fn context(row: &ScheduleRow) -> CallContext {
    CallContext {
        tenant: row.tenant.clone(),
        principal: format!("schedule:{}", row.name),
        ..CallContext::default()
    }
}
