//! One task in memory: its state, who listens, and what it waits for.

use std::sync::{Mutex, MutexGuard, PoisonError};

use base::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Answer, Failure};
use crate::{
    Fault, FaultKind, Json, Usage,
    model::{ArtifactUpdate, Message, Part, Role, StatusUpdate, StreamEvent, Task, TaskState, TaskStatus},
};

/// A task and its listeners. All changes happen under one lock, so all listeners see the same order.
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) context_id: String,
    pub(crate) cancel: CancellationToken,
    inner: Mutex<Inner>,
    changed: Notify,
    lag_max: usize,
}

struct Inner {
    task: Task,
    listeners: Vec<Listener>,
    /// What the handler says that it has cost so far.
    usage: Usage,
    /// Set while the handler waits for an answer of the client.
    wants_input: Option<oneshot::Sender<Message>>,
}

impl Inner {
    fn cost(&self) -> Option<Json> {
        (self.usage != Usage::default()).then(|| self.usage.to_metadata())
    }
}

struct Listener {
    events: mpsc::Sender<StreamEvent>,
    /// A stream of a send ends where its task waits for the client; a subscription stays.
    ends_when_interrupted: bool,
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_micros(unix_micros())
}

fn unix_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn said(parts: Vec<Part>, id: &str, context_id: &str) -> Option<Message> {
    (!parts.is_empty()).then(|| Message {
        message_id: Uuid::now_v7().to_string(),
        role: Role::Agent,
        parts,
        task_id: Some(id.to_owned()),
        context_id: Some(context_id.to_owned()),
        ..Message::default()
    })
}

impl Entry {
    pub(crate) fn new(message: &Message, lag_max: usize) -> Self {
        let id = Uuid::now_v7().to_string();
        let context_id = message.context_id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
        let status = TaskStatus { state: TaskState::Submitted, message: None, timestamp: Some(now()) };
        let task = Task {
            id: id.clone(),
            context_id: Some(context_id.clone()),
            status,
            history: vec![Message { task_id: Some(id.clone()), ..message.clone() }],
            ..Task::default()
        };
        let inner =
            Mutex::new(Inner { task, listeners: Vec::new(), usage: Usage::default(), wants_input: None });
        Self { id, context_id, cancel: CancellationToken::new(), inner, changed: Notify::new(), lag_max }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing below the lock can leave the state half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task as it stands, with at most `history` of its newest messages.
    pub(crate) fn snapshot(&self, history: Option<u32>) -> Task {
        let inner = self.lock();
        let keep = history.map_or(usize::MAX, |n| n as usize).min(inner.task.history.len());
        let task = &inner.task;
        Task {
            id: task.id.clone(),
            context_id: task.context_id.clone(),
            status: task.status.clone(),
            artifacts: task.artifacts.clone(),
            history: task.history[task.history.len() - keep..].to_vec(),
            metadata: task.metadata.clone(),
        }
    }

    pub(crate) fn state(&self) -> TaskState {
        self.lock().task.status.state
    }

    pub(crate) fn status_at(&self) -> Timestamp {
        self.lock().task.status.timestamp.unwrap_or_default()
    }

    /// Begins to listen: the task as it stands, and the events from here on.
    pub(crate) fn listen(&self, ends_when_interrupted: bool) -> (Task, mpsc::Receiver<StreamEvent>) {
        let (events, receiver) = mpsc::channel(self.lag_max);
        let mut inner = self.lock();
        let state = inner.task.status.state;
        if !(state.is_terminal() || ends_when_interrupted && state.is_interrupted()) {
            inner.listeners.push(Listener { events, ends_when_interrupted });
        }
        (Task { history: Vec::new(), ..inner.task.clone() }, receiver)
    }

    /// Waits until the task is over or waits for the client.
    pub(crate) async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state().ends_call() {
                return;
            }
            changed.await;
        }
    }

    fn publish(&self, inner: &mut Inner, event: StreamEvent) {
        let state = inner.task.status.state;
        // A listener that lags too far loses its stream and asks for the task instead.
        inner.listeners.retain(|l| l.events.try_send(event.clone()).is_ok());
        if state.ends_call() {
            inner.listeners.retain(|l| !state.is_terminal() && !l.ends_when_interrupted);
            self.changed.notify_waiters();
        }
    }

    fn set_status(&self, inner: &mut Inner, state: TaskState, parts: Vec<Part>, metadata: Option<Json>) {
        let message = said(parts, &self.id, &self.context_id);
        inner.task.status = TaskStatus { state, message, timestamp: Some(now()) };
        if metadata.is_some() {
            inner.task.metadata.clone_from(&metadata);
        }
        if inner.listeners.is_empty() {
            if state.ends_call() {
                self.changed.notify_waiters();
            }
            return;
        }
        let event = StreamEvent::Status(StatusUpdate {
            task_id: self.id.clone(),
            context_id: Some(self.context_id.clone()),
            status: inner.task.status.clone(),
            last: false,
            metadata,
        });
        self.publish(inner, event);
    }

    /// Adds to what the task has cost. It is told with its end; what comes after that counts no more.
    pub(crate) fn used(&self, usage: Usage) {
        let mut inner = self.lock();
        inner.usage = inner.usage.plus(usage);
    }

    /// Says that work goes on. Nothing happens after the end.
    pub(crate) fn working(&self, parts: Vec<Part>, metadata: Option<Json>) {
        let mut inner = self.lock();
        if !inner.task.status.state.is_terminal() {
            self.set_status(&mut inner, TaskState::Working, parts, metadata);
        }
    }

    /// Adds a result or a piece of one. Nothing happens after the end.
    pub(crate) fn artifact(&self, update: ArtifactUpdate) {
        let mut inner = self.lock();
        if inner.task.status.state.is_terminal() {
            return;
        }
        let event = (!inner.listeners.is_empty()).then(|| StreamEvent::Artifact(update.clone()));
        inner.task.merge(update);
        if let Some(event) = event {
            self.publish(&mut inner, event);
        }
    }

    /// Asks the client; the answer arrives on the returned channel.
    pub(crate) fn ask(&self, parts: Vec<Part>) -> Option<oneshot::Receiver<Message>> {
        let mut inner = self.lock();
        if inner.task.status.state.is_terminal() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        inner.wants_input = Some(sender);
        self.set_status(&mut inner, TaskState::InputRequired, parts, None);
        let question = inner.task.status.message.clone();
        inner.task.history.extend(question);
        Some(receiver)
    }

    /// Hands the client's answer to the waiting handler.
    pub(crate) fn answer(&self, message: Message) -> Result<(), Fault> {
        let mut inner = self.lock();
        let Some(waiting) = inner.wants_input.take() else {
            let state = inner.task.status.state;
            let why = if state.is_terminal() { "is over" } else { "does not wait for input" };
            return Err(Fault::new(FaultKind::Unsupported, format!("task {} {why}", self.id)));
        };
        inner.task.history.push(message.clone());
        self.set_status(&mut inner, TaskState::Working, Vec::new(), None);
        // The handler may just have been dropped by a cancel, which then decides the state.
        let _ = waiting.send(message);
        Ok(())
    }

    /// Ends the task; false when it was over before.
    pub(crate) fn finish(&self, result: Result<Answer, Failure>) -> bool {
        let (state, parts) = match &result {
            Ok(_) => (TaskState::Completed, Vec::new()),
            Err(Failure::Failed(why)) => (TaskState::Failed, vec![Part::text(why)]),
            Err(Failure::Rejected(why)) => (TaskState::Rejected, vec![Part::text(why)]),
        };
        let mut inner = self.lock();
        if inner.task.status.state.is_terminal() {
            return false;
        }
        for mut artifact in result.map(|a| a.artifacts).unwrap_or_default() {
            if artifact.artifact_id.is_empty() {
                artifact.artifact_id = format!("result-{}", inner.task.artifacts.len() + 1);
            }
            let update = ArtifactUpdate {
                task_id: self.id.clone(),
                context_id: Some(self.context_id.clone()),
                artifact,
                last_chunk: true,
                ..ArtifactUpdate::default()
            };
            let event = (!inner.listeners.is_empty()).then(|| StreamEvent::Artifact(update.clone()));
            inner.task.merge(update);
            if let Some(event) = event {
                self.publish(&mut inner, event);
            }
        }
        let usage = inner.cost();
        self.set_status(&mut inner, state, parts, usage);
        true
    }

    /// Ends the task on request and tells the handler; false when it was over before.
    pub(crate) fn cancel(&self) -> bool {
        let mut inner = self.lock();
        if inner.task.status.state.is_terminal() {
            return false;
        }
        inner.wants_input = None;
        let usage = inner.cost();
        self.set_status(&mut inner, TaskState::Canceled, Vec::new(), usage);
        drop(inner);
        self.cancel.cancel();
        true
    }
}
