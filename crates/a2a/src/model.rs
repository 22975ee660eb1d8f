//! The one internal model: the types of A2A 1.0. Both dialects are read into it and written from it.

use base::Timestamp;
use bytes::Bytes;

use crate::Json;

/// What one part of a message or artifact carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Bytes of a file (base64 on the wire).
    Raw(Bytes),
    /// Where a file can be fetched.
    Url(String),
    /// Any JSON value.
    Data(Json),
}

/// One part of a message or artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Exactly one of the four kinds.
    pub content: Content,
    /// Name of the file, when it is one.
    pub filename: Option<String>,
    /// Media type of the content.
    pub media_type: Option<String>,
    /// A JSON object with keys of the sender's choice.
    pub metadata: Option<Json>,
}

impl Part {
    fn of(content: Content) -> Self {
        Self { content, filename: None, media_type: None, metadata: None }
    }
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Content::Text(text.into()))
    }
    /// A JSON part.
    pub fn data(json: Json) -> Self {
        Self::of(Content::Data(json))
    }
    /// A file part.
    pub fn raw(bytes: impl Into<Bytes>, media_type: impl Into<String>) -> Self {
        Self { media_type: Some(media_type.into()), ..Self::of(Content::Raw(bytes.into())) }
    }
    /// A reference to a file.
    pub fn url(url: impl Into<String>) -> Self {
        Self::of(Content::Url(url.into()))
    }
    /// The text of a text part.
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }
    /// The JSON of a data part.
    pub fn as_data(&self) -> Option<&Json> {
        match &self.content {
            Content::Data(json) => Some(json),
            _ => None,
        }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Not said, or a word that is not known.
    #[default]
    Unspecified,
    /// The client.
    User,
    /// The agent.
    Agent,
}

/// One message between client and agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Chosen by the sender; a repeated send carries the same id.
    pub message_id: String,
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part>,
    /// Groups tasks that belong together.
    pub context_id: Option<String>,
    /// The task this message continues.
    pub task_id: Option<String>,
    /// A JSON object with keys of the sender's choice.
    pub metadata: Option<Json>,
    /// URIs of the extensions used.
    pub extensions: Vec<String>,
    /// Tasks that are mentioned for context.
    pub reference_task_ids: Vec<String>,
}

impl Message {
    /// The text parts, joined with line breaks.
    pub fn text(&self) -> String {
        self.parts.iter().filter_map(Part::as_text).collect::<Vec<_>>().join("\n")
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Unknown.
    #[default]
    Unspecified,
    /// Accepted, not begun.
    Submitted,
    /// Being worked on.
    Working,
    /// Waits for an answer from the client (interrupted).
    InputRequired,
    /// Waits for credentials (interrupted).
    AuthRequired,
    /// Ended well (terminal).
    Completed,
    /// Ended badly (terminal).
    Failed,
    /// Ended on request (terminal).
    Canceled,
    /// Refused (terminal).
    Rejected,
}

impl TaskState {
    /// Every state, for tables.
    pub const ALL: &'static [Self] = &[
        Self::Unspecified,
        Self::Submitted,
        Self::Working,
        Self::InputRequired,
        Self::AuthRequired,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
        Self::Rejected,
    ];
    /// Final: no message, no subscription and no cancel any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Rejected)
    }
    /// Waits for the client.
    pub const fn is_interrupted(self) -> bool {
        matches!(self, Self::InputRequired | Self::AuthRequired)
    }
    /// Where a blocking call returns and a stream ends.
    pub const fn ends_call(self) -> bool {
        self.is_terminal() || self.is_interrupted()
    }
}

/// State of a task with its explanation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskStatus {
    /// Where the task stands.
    pub state: TaskState,
    /// Why, or what is asked for.
    pub message: Option<Message>,
    /// Since when.
    pub timestamp: Option<Timestamp>,
}

/// One result of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artifact {
    /// Unique within the task.
    pub artifact_id: String,
    /// Name for people.
    pub name: Option<String>,
    /// Description for people.
    pub description: Option<String>,
    /// The content.
    pub parts: Vec<Part>,
    /// A JSON object with keys of the sender's choice.
    pub metadata: Option<Json>,
    /// URIs of the extensions used.
    pub extensions: Vec<String>,
}

/// A unit of work of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Chosen by the agent.
    pub id: String,
    /// Groups tasks that belong together.
    pub context_id: Option<String>,
    /// Where the task stands.
    pub status: TaskStatus,
    /// Results so far.
    pub artifacts: Vec<Artifact>,
    /// Messages so far, oldest first.
    pub history: Vec<Message>,
    /// A JSON object with keys of the sender's choice.
    pub metadata: Option<Json>,
}

impl Task {
    /// Merges one artifact update: `append` adds the parts to the artifact of that id (created when unknown),
    /// otherwise the artifact replaces the one of that id.
    pub fn merge(&mut self, update: ArtifactUpdate) {
        let known = self.artifacts.iter_mut().find(|a| a.artifact_id == update.artifact.artifact_id);
        match known {
            Some(artifact) if update.append => artifact.parts.extend(update.artifact.parts),
            Some(artifact) => *artifact = update.artifact,
            None => self.artifacts.push(update.artifact),
        }
    }
}

/// A change of a task's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusUpdate {
    /// The task.
    pub task_id: String,
    /// Its context.
    pub context_id: Option<String>,
    /// The new status.
    pub status: TaskStatus,
    /// 0.3 only: the last event of this stream.
    pub last: bool,
    /// A JSON object; Orchestra reads `orchestra.progress` from it.
    pub metadata: Option<Json>,
}

/// A new or changed result of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArtifactUpdate {
    /// The task.
    pub task_id: String,
    /// Its context.
    pub context_id: Option<String>,
    /// The artifact, or the parts to add to it.
    pub artifact: Artifact,
    /// Add the parts instead of replacing the artifact.
    pub append: bool,
    /// No more parts will follow for this artifact.
    pub last_chunk: bool,
    /// A JSON object with keys of the sender's choice.
    pub metadata: Option<Json>,
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// The task as it stands: the first event of a task stream.
    Task(Task),
    /// A direct answer without a task: the only event of such a stream.
    Message(Message),
    /// The status changed.
    Status(StatusUpdate),
    /// A result came or grew.
    Artifact(ArtifactUpdate),
}

/// The answer to a blocking send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The agent made, or continued, a task.
    Task(Task),
    /// The agent answered directly.
    Message(Message),
}

/// What a client asks for besides the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendRequest {
    /// The message.
    pub message: Message,
    /// Return once the task exists instead of waiting for its end.
    pub return_immediately: bool,
    /// At most this many messages of history in the answer; 0 = none, `None` = the agent's choice.
    pub history_length: Option<u32>,
    /// Media types the client takes.
    pub accepted_output_modes: Vec<String>,
    /// A JSON object about the request itself.
    pub metadata: Option<Json>,
}

/// Filter and page of a list of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only tasks of this context.
    pub context_id: Option<String>,
    /// Only tasks in this state.
    pub status: Option<TaskState>,
    /// 1 to 100; 50 when `None`.
    pub page_size: Option<u32>,
    /// Where the page begins: `next_page_token` of the page before.
    pub page_token: Option<String>,
    /// As in [`SendRequest::history_length`].
    pub history_length: Option<u32>,
    /// Only tasks whose status is not older.
    pub status_timestamp_after: Option<Timestamp>,
    /// Send the artifacts too.
    pub include_artifacts: bool,
}

/// One page of tasks, newest status first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Empty at the end.
    pub next_page_token: String,
    /// The size that was used.
    pub page_size: u32,
    /// How many tasks match in all pages.
    pub total_size: u32,
}
