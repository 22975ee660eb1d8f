//! What a handler sees of its task.

use std::sync::Arc;

use serde_json::json;

use super::entry::Entry;
use crate::{
    Json, Usage, keys,
    model::{Artifact, ArtifactUpdate, Message, Part},
};

/// The task was cancelled while the handler waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task was cancelled")]
pub struct Cancelled;

impl From<Cancelled> for super::Failure {
    fn from(cancelled: Cancelled) -> Self {
        Self::Failed(cancelled.to_string())
    }
}

/// A handler's view of its task. Clones are the same task.
#[derive(Clone)]
pub struct TaskContext {
    entry: Arc<Entry>,
}

impl TaskContext {
    pub(crate) fn new(entry: Arc<Entry>) -> Self {
        Self { entry }
    }
    /// Id of the task.
    pub fn id(&self) -> &str {
        &self.entry.id
    }
    /// Id of its context.
    pub fn context_id(&self) -> &str {
        &self.entry.context_id
    }

    /// Says how much is done, 0 to 1, and what goes on (may be empty).
    pub fn progress(&self, fraction: f32, text: &str) {
        let rounded = (f64::from(fraction.clamp(0.0, 1.0)) * 1000.0).round() / 1000.0;
        let parts = if text.is_empty() { Vec::new() } else { vec![Part::text(text)] };
        self.entry.working(parts, Some(Json::object_of(keys::PROGRESS, &json!(rounded))));
    }

    /// Adds to what the task has cost; told with its end, however it ends.
    pub fn used(&self, usage: Usage) {
        self.entry.used(usage);
    }

    /// Sends a piece of the result `artifact_id` before the end. `append` adds it to what was sent; `last` says that
    /// no more follows for this result.
    pub fn chunk(&self, artifact_id: &str, parts: Vec<Part>, append: bool, last: bool) {
        self.entry.artifact(ArtifactUpdate {
            task_id: self.entry.id.clone(),
            context_id: Some(self.entry.context_id.clone()),
            artifact: Artifact { artifact_id: artifact_id.to_owned(), parts, ..Artifact::default() },
            append,
            last_chunk: last,
            metadata: None,
        });
    }

    /// Asks the client and waits for its answer, however long it takes.
    ///
    /// # Errors
    /// When the task is cancelled instead.
    pub async fn require_input(&self, question: Vec<Part>) -> Result<Message, Cancelled> {
        let answer = self.entry.ask(question).ok_or(Cancelled)?;
        answer.await.map_err(|_| Cancelled)
    }

    /// Resolves when the client cancels the task.
    pub async fn cancelled(&self) {
        self.entry.cancel.cancelled().await;
    }

    /// Whether the client has cancelled the task.
    pub fn is_cancelled(&self) -> bool {
        self.entry.cancel.is_cancelled()
    }
}
