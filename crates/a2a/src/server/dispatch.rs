//! The operations themselves, the same for every binding and version.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;

use super::{
    Failure, Incoming, Inner, TaskContext,
    entry::Entry,
    store::{Arrival, ContentHash},
    stream::Events,
};
use crate::{
    Fault, FaultKind,
    model::{Reply, Role, SendRequest, Task},
};

/// A send as it arrived.
pub(crate) struct Send {
    pub(crate) request: SendRequest,
    pub(crate) hash: ContentHash,
    pub(crate) headers: http::HeaderMap,
}

fn check(send: &Send) -> Result<(), Fault> {
    let message = &send.request.message;
    if message.message_id.is_empty() {
        return Err(Fault::invalid("message.messageId", "is missing"));
    }
    if message.role != Role::User {
        return Err(Fault::invalid("message.role", "must be the user's"));
    }
    if message.parts.is_empty() {
        return Err(Fault::invalid("message.parts", "must not be empty"));
    }
    Ok(())
}

impl Inner {
    /// Takes the message; gives the task and, when it is new, the work on it.
    fn arrive(self: &Arc<Self>, send: Send) -> Result<(Arc<Entry>, Option<Incoming>), Fault> {
        check(&send)?;
        let incoming = Incoming {
            message: send.request.message,
            metadata: send.request.metadata,
            headers: send.headers,
        };
        if incoming.message.task_id.is_none() {
            self.handler.accept(&incoming)?;
        }
        Ok(match self.store.arrive(&incoming.message, send.hash)? {
            Arrival::New(entry) => (entry, Some(incoming)),
            Arrival::Known(entry) => (entry, None),
        })
    }

    /// Runs the handler to its end, or to the end of its grace after a cancel.
    async fn work(self: Arc<Self>, entry: Arc<Entry>, incoming: Incoming) {
        let handler = self.handler.clone();
        let handling =
            AssertUnwindSafe(handler.handle(incoming, TaskContext::new(entry.clone()))).catch_unwind();
        let given_up = async {
            entry.cancel.cancelled().await;
            tokio::time::sleep(self.config.cancel_grace).await;
        };
        tokio::select! {
            biased;
            result = handling => {
                let panicked = |_| Err(Failure::Failed("the agent's handler panicked".into()));
                entry.finish(result.unwrap_or_else(panicked));
            }
            () = given_up => tracing::warn!(task = entry.id, "handler dropped: it did not end after a cancel"),
        }
        self.store.ended(&entry);
    }

    /// A blocking send, or one that returns at once.
    pub(crate) async fn send(self: Arc<Self>, send: Send) -> Result<Reply, Fault> {
        let (at_once, history) = (send.request.return_immediately, send.request.history_length);
        let (entry, new) = self.arrive(send)?;
        if let Some(incoming) = new {
            let mut work = Box::pin(self.work(entry.clone(), incoming));
            // Most short work is done in its first poll and needs no task of its own. What is not done must outlive
            // the client's connection.
            if at_once || futures::poll!(work.as_mut()).is_pending() {
                tokio::spawn(work);
            }
        }
        if !at_once {
            entry.settled().await;
        }
        Ok(Reply::Task(entry.snapshot(history)))
    }

    /// A send that is followed.
    pub(crate) fn stream(self: Arc<Self>, send: Send) -> Result<Events, Fault> {
        let (entry, new) = self.arrive(send)?;
        let (task, rest) = entry.listen(true);
        if let Some(incoming) = new {
            tokio::spawn(self.work(entry, incoming));
        }
        Ok(Events { opening: Some(task), rest })
    }

    /// Follows a task that is not over.
    pub(crate) fn subscribe(&self, id: &str) -> Result<Events, Fault> {
        let entry = self.store.get(id)?;
        let (task, rest) = entry.listen(false);
        if task.status.state.is_terminal() {
            return Err(Fault::new(FaultKind::Unsupported, format!("task {id} is over: get it instead")));
        }
        Ok(Events { opening: Some(task), rest })
    }

    pub(crate) fn task(&self, id: &str, history: Option<u32>) -> Result<Task, Fault> {
        Ok(self.store.get(id)?.snapshot(history))
    }

    pub(crate) fn cancel(&self, id: &str) -> Result<Task, Fault> {
        let entry = self.store.get(id)?;
        if entry.cancel() {
            return Ok(entry.snapshot(Some(0)));
        }
        Err(Fault::new(FaultKind::TaskNotCancelable, format!("task {id} is over")))
    }
}

/// Why a known operation is refused here.
pub(crate) fn no_push() -> Fault {
    Fault::new(FaultKind::PushNotSupported, "this agent sends no push notifications: stream or poll")
}

/// There is one card for everybody.
pub(crate) fn no_extended_card() -> Fault {
    Fault::new(FaultKind::Unsupported, "this agent has no extended card")
}
