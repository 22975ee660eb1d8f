//! Triggers start executions.

use api::Fault;
use base::{CallContext, ErrorCode, ExecutionId, Tenant, Timestamp};
use bus::DeadLetter;
use prost::Message as _;
use proto::event::v1 as stream;
use store::{
    journal::{DeadLetter as Letter, LetterState},
    topics::{EventRow, HeldStart},
};
use uuid::Uuid;

use super::{
    Inner, TRIGGERS, event,
    matcher::{Matcher, OnBusy, Trigger, is_final, scope},
};
use crate::{engine::away, starts::made};

/// A start that waits for a busy workflow is tried at most this many times less often than at first.
const BUSY_SLOWER_MAX: u32 = 30;
/// Held starts that are tried at once.
const HELD_AT_ONCE: u32 = 200;

impl Inner {
    /// Starts what the event starts. An error means: nothing is lost, the whole event is to be handled again later.
    pub(super) async fn fire(&self, matcher: &Matcher, row: &EventRow) -> Result<(), Fault> {
        let triggers = matcher.of(&row.event.tenant, &row.event.topic);
        if triggers.is_empty() {
            return Ok(());
        }
        let scope = scope(row);
        for trigger in triggers.iter().filter(|trigger| trigger.matches(row, &scope)) {
            let outcome = match trigger.execution(row, &scope) {
                Ok(id) => self.start(trigger, row, id).await.map_err(|fault| (Some(id), fault)),
                Err(fault) => Err((None, fault)),
            };
            match outcome {
                Ok(()) => self.counts.started.add(1),
                Err((Some(id), fault)) if fault.code == ErrorCode::AlreadyExecuting => {
                    self.busy(trigger, row, id, 1, fault).await?;
                }
                Err((id, fault)) if is_final(&fault) => self.bury(trigger, row, id, &fault).await?,
                Err((_, fault)) => return Err(fault),
            }
        }
        Ok(())
    }

    async fn start(&self, trigger: &Trigger, row: &EventRow, id: ExecutionId) -> Result<(), Fault> {
        let request = trigger.request(row, &scope(row), id)?;
        let context = CallContext {
            tenant: row.event.tenant.clone(),
            principal: format!("trigger:{}", trigger.row.name),
            trace: row.event.trace.clone(),
            ..CallContext::default()
        };
        made(self.starts.start(&context, request).await)
    }

    /// The workflow allows one execution, and it runs.
    async fn busy(
        &self,
        trigger: &Trigger,
        row: &EventRow,
        id: ExecutionId,
        tries: u32,
        fault: Fault,
    ) -> Result<(), Fault> {
        if trigger.on_busy == OnBusy::Skip {
            tracing::info!(trigger = %trigger.row.name, event = %row.event.id, "skipped: the workflow is busy");
            self.counts.skipped.add(1);
            return self.held.delete(&row.event.tenant, id).await.map_err(away);
        }
        let held = HeldStart {
            tenant: row.event.tenant.clone(),
            execution_id: id,
            shard: id.shard(u32::from(self.options.shards)) as u16,
            due_at: self.clock.now().plus(self.options.busy_retry * tries.min(BUSY_SLOWER_MAX)),
            tries,
            reason: fault.message,
            body: encode(trigger.row.id, row).into(),
        };
        self.held.put(&held).await.map_err(away)
    }

    /// No retry mends it: the start becomes a dead letter, which an operator can re-drive.
    async fn bury(
        &self,
        trigger: &Trigger,
        row: &EventRow,
        id: Option<ExecutionId>,
        fault: &Fault,
    ) -> Result<(), Fault> {
        let reason = format!(
            "trigger {} ({}): {}: {}",
            trigger.row.name, trigger.row.workflow, fault.code, fault.message
        );
        tracing::warn!(event = %row.event.id, %reason, "an event could not start an execution");
        let name = match id {
            Some(id) => id.to_string(),
            None => format!("{}/{}", trigger.row.id, row.event.id),
        };
        let letter_id =
            Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("letter/{}/{name}", row.event.tenant).as_bytes());
        self.write_letter(
            &row.event.tenant,
            letter_id,
            row.event.partition,
            reason,
            encode(trigger.row.id, row),
        )
        .await?;
        self.counts.failed.add(1);
        match id {
            Some(id) => self.held.delete(&row.event.tenant, id).await.map_err(away),
            None => Ok(()),
        }
    }

    pub(super) async fn write_letter(
        &self,
        tenant: &Tenant,
        id: Uuid,
        partition: u16,
        reason: String,
        body: Vec<u8>,
    ) -> Result<(), Fault> {
        let stream = self.options.keys.topics(u32::from(partition));
        let letter = Letter {
            tenant: tenant.clone(),
            id,
            stream: stream.key().to_owned(),
            consumer: TRIGGERS.into(),
            reason: reason.clone(),
            body: body.into(),
            deliveries: 1,
            created_at: self.clock.now(),
            state: LetterState::Waiting,
        };
        self.journal.put_dead_letter(letter).await.map_err(away)?;
        let announcement = DeadLetter {
            tenant: tenant.to_string(),
            stream: stream.key().to_owned(),
            group: TRIGGERS.into(),
            id: bus::EntryId::default(),
            deliveries: 1,
            reason,
        };
        if let Err(error) =
            self.bus.publish(&self.options.keys.dead_letters(), &[announcement.to_message()]).await
        {
            tracing::debug!(%error, "a dead letter could not be announced");
        }
        Ok(())
    }

    /// Makes the start that a dead letter of a trigger tells of.
    pub(super) async fn redrive(&self, matcher: &Matcher, body: bytes::Bytes) -> Result<(), Fault> {
        let (id, row) =
            self.decode(body).ok_or_else(|| Fault::bad("id", "its body is not a start of a trigger"))?;
        let trigger = matcher.by_id(id).ok_or_else(|| {
            Fault::new(
                ErrorCode::InvalidState,
                "its trigger was deleted or is paused; nothing would be started",
            )
        })?;
        let execution = trigger.execution(&row, &scope(&row))?;
        self.start(trigger, &row, execution).await
    }

    /// Tries starts again that found their workflow busy.
    pub(super) async fn try_held(&self, shards: &[u16], now: Timestamp) {
        let due = match self.held.due(shards, now, HELD_AT_ONCE).await {
            Ok(due) => due,
            Err(error) => return tracing::warn!(%error, "starts on hold could not be read"),
        };
        if due.is_empty() {
            return;
        }
        let Ok(matcher) = self.matcher_now().await else { return };
        for held in due {
            if let Err(error) = self.try_again(&matcher, &held).await {
                tracing::debug!(execution = %held.execution_id, %error, "a start stays on hold");
            }
        }
    }

    async fn try_again(&self, matcher: &Matcher, held: &HeldStart) -> Result<(), Fault> {
        let forget = || async { self.held.delete(&held.tenant, held.execution_id).await.map_err(away) };
        let Some((id, row)) = self.decode(held.body.clone()) else { return forget().await };
        // Deleted or paused meanwhile: it starts nothing any more.
        let Some(trigger) = matcher.by_id(id) else { return forget().await };
        match self.start(trigger, &row, held.execution_id).await {
            Ok(()) => {
                self.counts.started.add(1);
                forget().await
            }
            Err(fault) if fault.code == ErrorCode::AlreadyExecuting => {
                self.busy(trigger, &row, held.execution_id, held.tries.saturating_add(1), fault).await
            }
            Err(fault) if is_final(&fault) => self.bury(trigger, &row, Some(held.execution_id), &fault).await,
            Err(fault) => Err(fault),
        }
    }

    fn decode(&self, body: bytes::Bytes) -> Option<(Uuid, EventRow)> {
        let start = stream::TriggeredStart::decode(body).ok()?;
        Some((start.trigger_id.parse().ok()?, event::from_stream(start.event?, self.options.shards)?))
    }
}

fn encode(trigger: Uuid, row: &EventRow) -> Vec<u8> {
    stream::TriggeredStart { event: Some(event::to_stream(row)), trigger_id: trigger.to_string() }
        .encode_to_vec()
}
