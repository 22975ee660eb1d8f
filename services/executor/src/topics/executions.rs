//! Events of executions: what they emit, and what they look back for.

use std::sync::Arc;

use api::{Fault, payload};
use async_trait::async_trait;
use base::{CallContext, Tenant, Timestamp};
use proto::executor::v1 as pb;
use store::topics::EventRow;
use workflow::UserEvent;

use super::{Topics, event};
use crate::engine::{Events, away};

/// Events that a wait looks back for at most.
const LOOK_BACK_MAX: u32 = 1000;

#[async_trait]
impl Events for Topics {
    async fn publish(&self, tenant: &Tenant, event: &UserEvent, trace: &str) -> Result<(), Fault> {
        let context = CallContext {
            tenant: tenant.clone(),
            principal: event.source.to_string(),
            trace: trace.to_owned(),
            ..CallContext::default()
        };
        let new = pb::NewEvent {
            id: event.id.to_string(),
            topic: event.topic.to_string(),
            r#type: event.event_type.to_string(),
            source: event.source.to_string(),
            key: event.key.to_string(),
            priority: event.priority,
            payload: Some(payload::to_wire(&event.payload)),
            ..pb::NewEvent::default()
        };
        Self::publish(self, &context, vec![new]).await.map(drop)
    }

    async fn look_back(
        &self,
        tenant: &Tenant,
        topic: &str,
        key: &str,
        since: Timestamp,
    ) -> Result<Vec<Arc<UserEvent>>, Fault> {
        let rows = self.0.events.look_back(tenant, topic, key, since, LOOK_BACK_MAX).await.map_err(away)?;
        Ok(rows.into_iter().map(|row| Arc::new(user_event(row))).collect())
    }
}

fn user_event(row: EventRow) -> UserEvent {
    let payload = event::payload_of(&row.event);
    let event = row.event;
    UserEvent {
        id: event.id.into(),
        topic: event.topic.into(),
        event_type: event.kind.into(),
        source: event.source.into(),
        key: event.key.into(),
        payload,
        at: event.at,
        priority: event.priority,
    }
}
