//! Triggers as callers make, list, pause and delete them.

use api::Fault;
use base::{CallContext, ErrorCode, ids::check_key};
use proto::executor::v1 as pb;
use store::topics::TriggerRow;
use uuid::Uuid;

use super::{Topics, matcher::Trigger};
use crate::{engine::away, plan_sync::id_of};

/// Whether the trigger's expressions compile and read `event` only.
pub(crate) fn compile(row: TriggerRow) -> Result<(), Fault> {
    Trigger::compile(row).map(drop)
}

pub(super) fn shown(row: TriggerRow) -> pb::Trigger {
    pb::Trigger {
        id: row.id.to_string(),
        name: row.name,
        workflow: row.workflow,
        workflow_version: row.workflow_version,
        topic: row.topic,
        filter: row.filter,
        key: row.key,
        input_json: row.input.unwrap_or_default(),
        priority: row.priority,
        on_busy: row.on_busy,
        paused: row.paused,
        created_at: row.created_at.rfc3339(),
        updated_at: row.updated_at.rfc3339(),
    }
}

fn id(text: &str) -> Result<Uuid, Fault> {
    text.parse().map_err(|_| Fault::bad("id", "is not the id of a trigger (a UUID)"))
}

impl Topics {
    pub(super) async fn create_trigger(
        &self,
        context: &CallContext,
        new: pb::CreateTriggerRequest,
    ) -> Result<pb::Trigger, Fault> {
        self.on()?;
        check_key("name", &new.name).map_err(|e| Fault::bad("name", e))?;
        check_key("topic", &new.topic).map_err(|e| Fault::bad("topic", e))?;
        if new.workflow.is_empty() {
            return Err(Fault::bad("workflow", "name the workflow that an event starts"));
        }
        let now = self.0.clock.now();
        let row = TriggerRow {
            tenant: context.tenant.clone(),
            id: id_of("trigger", &context.tenant, &new.workflow, &new.name),
            name: new.name,
            workflow: new.workflow,
            workflow_version: String::new(),
            topic: new.topic,
            filter: new.filter,
            key: new.key,
            input: (!new.input_json.is_empty()).then_some(new.input_json),
            priority: new.priority,
            on_busy: if new.on_busy.is_empty() { "wait".into() } else { new.on_busy },
            paused: new.paused,
            since: now,
            created_at: now,
            updated_at: now,
        };
        compile(row.clone())?;
        // The workflow exists: asked last, for it is the only question to another service.
        self.0.engine.plan(context, &row.workflow).await?;
        if let Some(known) = self.0.triggers.get(&context.tenant, row.id).await.map_err(away)? {
            return match same(&known, &row) {
                true => Ok(shown(known)),
                false => Err(Fault::new(
                    ErrorCode::AlreadyExists,
                    format!(
                        "the workflow has another trigger called {}; delete it or choose another name",
                        row.name
                    ),
                )
                .field("name")
                .related(vec![known.id.to_string()])),
            };
        }
        self.0.triggers.put(&row).await.map_err(away)?;
        Ok(shown(row))
    }

    pub(super) async fn trigger(&self, context: &CallContext, text: &str) -> Result<TriggerRow, Fault> {
        let found = self.0.triggers.get(&context.tenant, id(text)?).await.map_err(away)?;
        found.ok_or_else(|| Fault::not_found("trigger", text))
    }

    pub(super) async fn list_triggers(
        &self,
        context: &CallContext,
        after: &str,
        limit: u32,
    ) -> Result<Vec<TriggerRow>, Fault> {
        let after = match after {
            "" => None,
            text => Some(id(text).map_err(|_| Fault::bad("page_token", "is not a token of this list"))?),
        };
        self.0.triggers.list(&context.tenant, after, limit).await.map_err(away)
    }

    pub(super) async fn pause_trigger(
        &self,
        context: &CallContext,
        text: &str,
        paused: bool,
    ) -> Result<TriggerRow, Fault> {
        let now = self.0.clock.now();
        self.0.triggers.pause(&context.tenant, id(text)?, paused, now).await.map_err(away)?;
        self.trigger(context, text).await
    }

    pub(super) async fn delete_trigger(&self, context: &CallContext, text: &str) -> Result<(), Fault> {
        let row = self.trigger(context, text).await?;
        if !row.workflow_version.is_empty() {
            let text = format!(
                "the trigger belongs to {}@{}; store a version without it, or pause it",
                row.workflow, row.workflow_version
            );
            return Err(Fault::new(ErrorCode::InvalidState, text));
        }
        self.0.triggers.delete(&context.tenant, row.id).await.map(drop).map_err(away)
    }
}

/// Whether a repeated request asks for what is there.
fn same(known: &TriggerRow, asked: &TriggerRow) -> bool {
    let asked = TriggerRow {
        paused: known.paused,
        since: known.since,
        created_at: known.created_at,
        updated_at: known.updated_at,
        ..asked.clone()
    };
    *known == asked
}
