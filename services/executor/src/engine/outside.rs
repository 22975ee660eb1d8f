//! What executions do in the world beside calls: events that they publish and look for. Repeated until it is done; an
//! execution stays in memory meanwhile, and whoever reads it back begins again.

use std::{sync::Arc, time::Duration};

use api::Fault;
use async_trait::async_trait;
use base::{ExecutionId, FailureClass, Tenant, Timestamp, WorkflowId};
use workflow::{Input, UserEvent, plan::Budget};

use super::{lane::Lane, msg::Msg};

/// First and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

/// User events of this replica.
#[async_trait]
pub trait Events: Send + Sync + 'static {
    /// Publishes an event; answered when it is on disk. The same id again changes nothing.
    ///
    /// # Errors
    /// One that [`base::ErrorCode::is_retryable`] denies: the event is refused for good.
    async fn publish(&self, tenant: &Tenant, event: &UserEvent, trace: &str) -> Result<(), Fault>;
    /// Events of a topic that were accepted since `since`, oldest first. `key` empty = any.
    ///
    /// # Errors
    /// When the store is away.
    async fn look_back(
        &self,
        tenant: &Tenant,
        topic: &str,
        key: &str,
        since: Timestamp,
    ) -> Result<Vec<Arc<UserEvent>>, Fault>;
}

/// A sub-workflow that is to be started.
#[derive(Clone, Debug)]
pub struct ChildOrder {
    /// Its execution; the same for every repeat.
    pub id: ExecutionId,
    /// Its tenant, that of its parent.
    pub tenant: Tenant,
    /// Name of the workflow, with `@version` when one is asked for.
    pub workflow: String,
    /// Its input.
    pub input: base::Payload,
    /// Where it comes from.
    pub parent: workflow::Parent,
    /// What it may spend.
    pub budget: Budget,
    /// In whose name.
    pub principal: String,
    /// W3C `traceparent`; empty = none.
    pub trace: String,
    /// Higher runs first.
    pub priority: i32,
}

/// Starts sub-workflows on this replica.
#[async_trait]
pub trait Children: Send + Sync + 'static {
    /// Starts one of an own shard; answered when it is on disk. The same order again finds the same execution.
    ///
    /// # Errors
    /// Those of a start.
    async fn start_child(&self, order: ChildOrder) -> Result<WorkflowId, Fault>;
}

/// Counts what executions spend for the budgets that they are under.
#[async_trait]
pub trait CountsUsage: Send + Sync + 'static {
    /// An agent reported a cost after the execution had ended. Safe to repeat.
    ///
    /// # Errors
    /// When the store or the planner is away; it is asked again.
    async fn count_again(&self, tenant: &Tenant, id: ExecutionId) -> Result<(), Fault>;
}

/// What came of an errand.
#[derive(Debug)]
pub(crate) enum Errand {
    /// The event of the task is on disk, or will never be.
    Published { task: u32, refused: Option<String> },
    /// Events that were accepted before a wait began.
    Found(Vec<Arc<UserEvent>>),
}

impl Lane {
    /// Publishes what a task emits.
    pub(crate) fn publish_event(&mut self, id: ExecutionId, task: u32) {
        let Some(hot) = self.hot.get_mut(&id) else { return };
        let Some(event) = hot.state.emitted(task).cloned() else { return };
        let (tenant, trace) = (hot.tenant.clone(), hot.state.created().trace.clone());
        hot.errands += 1;
        let (shared, tx) = (self.shared.clone(), self.tx.clone());
        tokio::spawn(async move {
            let mut pause = PAUSE.0;
            let refused = loop {
                let done = match shared.events.get() {
                    Some(events) => events.publish(&tenant, &event, &trace).await,
                    None => Err(Fault::unavailable("this replica has no events yet")),
                };
                match done {
                    Ok(()) => break None,
                    Err(fault) if fault.code.is_retryable() => {
                        tracing::debug!(execution = %id, %fault, "an event is published again");
                    }
                    Err(fault) => break Some(fault.message),
                }
                if tx.is_closed() {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            };
            let errand = Errand::Published { task, refused };
            let _ = tx.send(Msg::Errand { id, errand }).await;
        });
    }

    /// Looks for events that came before these waits were on disk.
    pub(crate) fn look_back(&mut self, id: ExecutionId, waits: Vec<super::waits::Opened>) {
        let Some(hot) = self.hot.get_mut(&id).filter(|_| !waits.is_empty()) else { return };
        if self.shared.events.get().is_none() {
            return;
        }
        let tenant = hot.tenant.clone();
        hot.errands += 1;
        let (shared, tx) = (self.shared.clone(), self.tx.clone());
        tokio::spawn(async move {
            let mut found = Vec::new();
            for wait in waits {
                let mut pause = PAUSE.0;
                while let Some(events) = shared.events.get() {
                    match events.look_back(&tenant, &wait.topic, &wait.key, wait.after).await {
                        Ok(events) => {
                            found.extend(events);
                            break;
                        }
                        Err(fault) => tracing::debug!(execution = %id, %fault, "events are looked for again"),
                    }
                    if tx.is_closed() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
            let _ = tx.send(Msg::Errand { id, errand: Errand::Found(found) }).await;
        });
    }

    /// An errand is done.
    pub(crate) fn errand_done(&mut self, id: ExecutionId, errand: Errand) {
        // Read back meanwhile, it has begun its errands again.
        let Some(hot) = self.hot.get_mut(&id) else { return };
        hot.errands = hot.errands.saturating_sub(1);
        match errand {
            Errand::Published { task, refused: None } => self.feed_fact(id, &Input::Published { task }),
            Errand::Published { task, refused: Some(why) } => {
                let message = format!("the event of task {} is refused: {why}", hot.state.task_path(task));
                self.feed_fact(
                    id,
                    &Input::CannotGoOn { class: FailureClass::Definition, message: message.into() },
                );
            }
            Errand::Found(events) => {
                for event in events {
                    self.feed_event(id, event);
                }
            }
        }
        self.after_release(id);
    }

    /// Takes an event in when a task waits for it. One that nobody waits for is not kept here: whoever waits later looks
    /// back for it.
    pub(crate) fn feed_event(&mut self, id: ExecutionId, event: Arc<UserEvent>) {
        if self.hot.get(&id).is_some_and(|hot| hot.state.awaits(&event)) {
            self.feed_fact(id, &Input::Event { event });
        }
    }
}
