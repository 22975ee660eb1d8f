//! Events reach executions that wait for them.
//!
//! A wait is a row beside the log, written with the fact that opens it. Whoever opens a wait looks back over the events
//! afterwards ([`store::topics::EventStore::look_back`]), and an event is on disk before the waits are read: one of the two
//! always sees the other.

use api::Fault;
use bus::{Message, header};
use bytes::Bytes;
use prost::Message as _;
use proto::event::v1 as stream;
use store::{
    journal::InboxRow,
    topics::{EventRow, WaitRow},
};
use uuid::Uuid;

use super::{Inner, event};
use crate::engine::away;

/// Waits that are read at once.
const WAITS_AT_ONCE: u32 = 500;
/// Kind of the inbox rows.
pub const INBOX_KIND: &str = "event";

impl Inner {
    /// Leaves the event in the inbox of every execution that waits for it. Safe to repeat.
    pub(super) async fn deliver(&self, row: &EventRow) -> Result<(), Fault> {
        let mut after = None;
        loop {
            let event = &row.event;
            let page =
                self.waits.waiting(&event.tenant, &event.topic, &event.key, after, WAITS_AT_ONCE).await;
            let page = page.map_err(away)?;
            for wait in &page {
                self.hand_over(wait, row).await?;
            }
            match page.last() {
                Some(last) if page.len() == WAITS_AT_ONCE as usize => {
                    after = Some((last.execution_id, last.task))
                }
                _ => return Ok(()),
            }
        }
    }

    async fn hand_over(&self, wait: &WaitRow, row: &EventRow) -> Result<(), Fault> {
        let shard = wait.execution_id.shard(u32::from(self.options.shards)) as u16;
        let name =
            format!("delivery/{}/{}/{}/{}", row.event.tenant, row.event.id, wait.execution_id, wait.task);
        let delivery = stream::Delivery { event: Some(event::to_stream(row)), task: wait.task };
        let inbox = InboxRow {
            shard,
            command_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()),
            tenant: wait.tenant.clone(),
            execution_id: wait.execution_id,
            kind: INBOX_KIND.into(),
            body: delivery.encode_to_vec().into(),
            created_at: self.clock.now(),
        };
        self.journal.put_inbox(inbox).await.map_err(away)?;
        self.counts.delivered.add(1);
        // The owner looks into its inbox every few seconds without it.
        let wake = Message::new(Bytes::from_static(b"event"))
            .with_header(header::TENANT, wait.tenant.to_string().into_bytes())
            .with_header(header::KIND, Bytes::from_static(b"wake"));
        if let Err(error) = self.bus.publish(&self.options.keys.commands(u32::from(shard)), &[wake]).await {
            tracing::debug!(%error, "a shard's owner could not be woken");
        }
        Ok(())
    }
}
