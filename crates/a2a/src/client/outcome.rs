//! What a call came to, and what counts as its output.

use base::{FailureClass, Payload};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    Json, Usage,
    json::Out,
    model::{Content, Message, Part, Task, TaskState},
};

/// The end of a call, or the point where it waits for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The agent's id of the task; `None` when it answered directly.
    pub agent_task_id: Option<String>,
    /// The context that the agent keeps the task in.
    pub context_id: Option<String>,
    /// How it ended.
    pub end: End,
    /// What it has cost, when the agent says so.
    pub usage: Option<Usage>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Done.
    Completed {
        /// See [`output_of`].
        output: Payload,
    },
    /// The agent says that it failed.
    Failed {
        /// What it says.
        message: String,
    },
    /// The agent refuses the task.
    Rejected {
        /// What it says.
        message: String,
    },
    /// The task was cancelled, by us or by the agent.
    Canceled {
        /// What it says.
        message: String,
    },
    /// The agent asks something; answer with [`crate::A2aClient::answer`].
    InputRequired {
        /// The question.
        prompt: String,
        /// Structured question, when the agent sent one (a form, choices).
        data: Option<Json>,
    },
    /// The agent needs credentials.
    AuthRequired {
        /// What it says.
        prompt: String,
    },
}

impl End {
    /// The class that retry policies select by; `None` for success and for a question.
    pub fn failure_class(&self) -> Option<FailureClass> {
        match self {
            Self::Completed { .. } | Self::InputRequired { .. } => None,
            Self::Failed { .. } => Some(FailureClass::Error),
            Self::Rejected { .. } => Some(FailureClass::Rejected),
            Self::Canceled { .. } => Some(FailureClass::AgentCancelled),
            Self::AuthRequired { .. } => Some(FailureClass::Auth),
        }
    }
}

impl Outcome {
    /// The outcome of a task that is over or waits; `None` while it works.
    pub(super) fn of_task(task: Task) -> Result<Self, Box<Task>> {
        if !task.status.state.ends_call() {
            return Err(Box::new(task));
        }
        let said = task.status.message.as_ref();
        let message = said.map(said_text).unwrap_or_default();
        let end = match task.status.state {
            TaskState::Completed => End::Completed { output: output_of(&task) },
            TaskState::Rejected => End::Rejected { message },
            TaskState::Canceled => End::Canceled { message },
            TaskState::InputRequired => {
                let data = said.and_then(|m| m.parts.iter().find_map(Part::as_data)).cloned();
                End::InputRequired { prompt: message, data }
            }
            TaskState::AuthRequired => End::AuthRequired { prompt: message },
            _ => End::Failed { message },
        };
        let usage = Usage::of(task.metadata.as_ref());
        Ok(Self { agent_task_id: Some(task.id), context_id: task.context_id, end, usage })
    }

    /// The outcome of a direct answer.
    pub(super) fn of_message(message: &Message) -> Self {
        let output = payload(group(&message.parts));
        Self {
            agent_task_id: None,
            context_id: message.context_id.clone(),
            end: End::Completed { output },
            usage: Usage::of(message.metadata.as_ref()),
        }
    }
}

/// The text of a message, else its data as text.
fn said_text(message: &Message) -> String {
    let text = message.text();
    if !text.is_empty() {
        return text;
    }
    let data = message.parts.iter().find_map(Part::as_data);
    data.map(|d| String::from_utf8_lossy(d.bytes()).into_owned()).unwrap_or_default()
}

/// The output of a completed task, always JSON.
///
/// Each artifact has a value: the JSON of its only data part; the text of its text parts, joined (chunks of one text
/// arrive as parts) as a string; a file as an object `{raw | url, mediaType, filename}`; mixed parts as the array of
/// their values. One artifact: its value. Several: the array of their values, in order. None: the parts of the status
/// message by the same rule, else `null`. A direct message counts like one artifact.
pub fn output_of(task: &Task) -> Payload {
    let mut values: Vec<Json> = task.artifacts.iter().filter_map(|a| group(&a.parts)).collect();
    if values.len() > 1 {
        return payload(Some(array(&values)));
    }
    let said = || task.status.message.as_ref().and_then(|m| group(&m.parts));
    payload(values.pop().or_else(said))
}

fn payload(value: Option<Json>) -> Payload {
    value.map_or_else(Payload::null, Payload::from)
}

fn array(values: &[Json]) -> Json {
    let mut out = Out::default();
    out.mark(b'[');
    for value in values {
        out.item().raw(value.bytes());
    }
    out.mark(b']');
    Json::trusted(out.finish())
}

/// The value of one artifact or message.
fn group(parts: &[Part]) -> Option<Json> {
    match parts {
        [] => None,
        [one] => Some(value(one)),
        many if many.iter().all(|p| p.as_text().is_some()) => {
            let text: String = many.iter().filter_map(Part::as_text).collect();
            Some(Json::from_value(&Value::String(text)))
        }
        many => Some(array(&many.iter().map(value).collect::<Vec<_>>())),
    }
}

fn value(part: &Part) -> Json {
    let mut file = match &part.content {
        Content::Data(json) => return json.clone(),
        Content::Text(text) => return Json::from_value(&json!(text)),
        Content::Raw(bytes) => json!({"raw": STANDARD.encode(bytes)}),
        Content::Url(url) => json!({"url": url}),
    };
    for (key, text) in [("mediaType", &part.media_type), ("filename", &part.filename)] {
        if let Some(text) = text {
            file[key] = json!(text);
        }
    }
    Json::from_value(&file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Artifact, TaskStatus};

    fn task(artifacts: Vec<Vec<Part>>, said: Option<&str>) -> Task {
        let message = said.map(|t| Message { parts: vec![Part::text(t)], ..Message::default() });
        let artifacts = artifacts.into_iter().map(|parts| Artifact { parts, ..Artifact::default() });
        Task {
            id: "t".into(),
            status: TaskStatus { state: TaskState::Completed, message, timestamp: None },
            artifacts: artifacts.collect(),
            ..Task::default()
        }
    }

    #[test]
    fn the_output_follows_its_rule() {
        let data = |v: Value| Part::data(Json::from_value(&v));
        for (name, task, want) in [
            ("one data part", task(vec![vec![data(json!({"a": 1}))]], None), json!({"a": 1})),
            ("one text part", task(vec![vec![Part::text("x")]], None), json!("x")),
            ("chunks of a text", task(vec![vec![Part::text("a"), Part::text("b")]], None), json!("ab")),
            ("mixed parts", task(vec![vec![Part::text("a"), data(json!(2))]], None), json!(["a", 2])),
            (
                "two artifacts",
                task(vec![vec![Part::text("a")], vec![data(json!([]))]], None),
                json!(["a", []]),
            ),
            (
                "a file",
                task(vec![vec![Part::raw("hi", "text/x")]], None),
                json!({"raw": "aGk=", "mediaType": "text/x"}),
            ),
            ("only a status message", task(vec![], Some("done")), json!("done")),
            ("artifacts win over the message", task(vec![vec![data(json!(1))]], Some("done")), json!(1)),
            ("an empty artifact", task(vec![vec![]], Some("done")), json!("done")),
            ("nothing", task(vec![], None), Value::Null),
        ] {
            assert_eq!(*output_of(&task).json().unwrap(), want, "{name}");
        }
    }

    #[test]
    fn every_state_that_ends_a_call_has_its_end() {
        for &state in TaskState::ALL {
            let mut task = task(vec![], Some("why"));
            task.status.state = state;
            match Outcome::of_task(task) {
                Err(_) => assert!(!state.ends_call()),
                Ok(outcome) => {
                    let class = outcome.end.failure_class();
                    let good = matches!(state, TaskState::Completed | TaskState::InputRequired);
                    assert_eq!(class.is_none(), good, "{state:?}");
                }
            }
        }
    }
}
