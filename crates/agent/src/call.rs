//! One call as a skill's handler sees it.

use std::sync::Arc;

use a2a::{
    Json, Usage, keys,
    model::{Message, Part},
    server::{Answer, Cancelled, Incoming, TaskContext},
};
use http::HeaderMap;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// What the orchestrator tells about the task that a message is for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Origin {
    #[serde(rename = "orchestra.task", default)]
    pub(crate) task: OriginTask,
    #[serde(rename = "orchestra.capability", default)]
    pub(crate) capability: Option<String>,
    #[serde(rename = "orchestra.execution_id", default)]
    pub(crate) execution_id: Option<String>,
    #[serde(rename = "orchestra.effect_key", default)]
    pub(crate) effect_key: Option<String>,
    #[serde(rename = "orchestra.session", default)]
    pub(crate) session: Option<Value>,
}

/// The task of the workflow.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OriginTask {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) index: Option<u64>,
    pub(crate) count: Option<u64>,
}

impl Origin {
    /// From the metadata of the message, else of the request.
    pub(crate) fn of(incoming: &Incoming) -> Self {
        debug_assert_eq!(keys::TASK, "orchestra.task", "the names above are those of the protocol crate");
        let metadata = incoming.message.metadata.as_ref().or(incoming.metadata.as_ref());
        metadata.and_then(Json::read).unwrap_or_default()
    }
}

/// One call of a skill.
#[derive(Clone)]
pub struct Call {
    pub(crate) message: Message,
    pub(crate) headers: HeaderMap,
    pub(crate) origin: Origin,
    pub(crate) skill: Arc<str>,
    pub(crate) task: TaskContext,
}

/// The JSON that a message carries: its first data part.
pub(crate) fn input_of(message: &Message) -> Option<&Json> {
    message.parts.iter().find_map(Part::as_data)
}

impl Call {
    /// The input; `null` when the message carries no JSON.
    pub fn input(&self) -> Value {
        self.input_json().and_then(Json::value).unwrap_or_default()
    }
    /// The input as it came, not parsed.
    pub fn input_json(&self) -> Option<&Json> {
        input_of(&self.message)
    }
    /// The input in the handler's own type.
    ///
    /// # Errors
    /// A failure of the task that says what does not fit.
    pub fn input_as<T: DeserializeOwned>(&self) -> Result<T, crate::Failure> {
        let text = self.input_json().map_or(&b"null"[..], |json| json.bytes());
        serde_json::from_slice(text).map_err(|err| crate::Failure::Rejected(format!("input: {err}")))
    }
    /// Text beside the input: instructions, or the name of the task.
    pub fn instructions(&self) -> String {
        self.message.text()
    }
    /// The skill that is asked.
    pub fn skill(&self) -> &str {
        &self.skill
    }
    /// Id of the workflow's task, when an orchestrator calls.
    pub fn task_id(&self) -> Option<&str> {
        self.origin.task.id.as_deref()
    }
    /// Position of this call among those of the same task that run side by side, and their number.
    pub fn position(&self) -> Option<(u64, u64)> {
        Some((self.origin.task.index?, self.origin.task.count?))
    }
    /// Id of the message: the same for every send of one attempt, another one for a retry.
    pub fn message_id(&self) -> &str {
        &self.message.message_id
    }
    /// The same for every retry of one task: make outside effects idempotent with it.
    pub fn effect_key(&self) -> Option<&str> {
        self.origin.effect_key.as_deref()
    }
    /// The execution this call belongs to.
    pub fn execution_id(&self) -> Option<&str> {
        self.origin.execution_id.as_deref()
    }
    /// The session that the execution belongs to, as it was when the execution started: `{id, vars, history}`.
    pub fn session(&self) -> Option<&Value> {
        self.origin.session.as_ref()
    }
    /// Headers of the request: `traceparent` and the like.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
    /// Says how much is done, 0 to 1, and what goes on (may be empty).
    pub fn progress(&self, fraction: f32, text: &str) {
        self.task.progress(fraction, text);
    }
    /// Adds to what this call has cost: what a model reports for each request, say. The sum travels with the end of the
    /// call, however it ends, and counts against the budgets of its execution, workflow and tenant.
    pub fn used(&self, usage: Usage) {
        self.task.used(usage);
    }
    /// Sends a piece of text of the result before the end.
    pub fn chunk(&self, text: &str) {
        self.task.chunk("result", vec![Part::text(text)], true, false);
    }
    /// Asks whoever runs the workflow, and waits for the answer however long it takes.
    ///
    /// # Errors
    /// When the task is cancelled instead.
    pub async fn ask(&self, question: &str) -> Result<Message, Cancelled> {
        self.task.require_input(vec![Part::text(question)]).await
    }
    /// Resolves when the call is cancelled.
    pub async fn cancelled(&self) {
        self.task.cancelled().await;
    }
    /// Whether the call is cancelled: to be asked now and then in long loops.
    pub fn is_cancelled(&self) -> bool {
        self.task.is_cancelled()
    }
}

/// What a handler may give back.
pub trait IntoAnswer {
    /// As the results of a task.
    fn into_answer(self) -> Answer;
}

impl IntoAnswer for Answer {
    fn into_answer(self) -> Answer {
        self
    }
}
impl IntoAnswer for Value {
    fn into_answer(self) -> Answer {
        Answer::value(&self)
    }
}
impl IntoAnswer for Json {
    fn into_answer(self) -> Answer {
        Answer::json(self)
    }
}
impl IntoAnswer for String {
    fn into_answer(self) -> Answer {
        Answer::text(self)
    }
}
/// Nothing more than what was sent in chunks.
impl IntoAnswer for () {
    fn into_answer(self) -> Answer {
        Answer::default()
    }
}
