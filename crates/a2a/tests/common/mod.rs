//! What the tests of this folder share.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses a part of it"
)]

use std::time::Duration;

use a2a::{
    A2aClient, Binding, CallError, Endpoint, Json, Version,
    client::{CallOptions, ClientConfig, End, Mode, Notice, Outcome},
    model::{Message, Part, Role, SendRequest},
};
use serde_json::Value;
use tokio::time::Instant;

/// Long enough for a loaded machine; a test that waits for it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn options() -> CallOptions {
    CallOptions { deadline: Some(Instant::now() + PATIENCE), ..CallOptions::default() }
}

pub fn client() -> A2aClient {
    A2aClient::new(ClientConfig { poll_first: Duration::from_millis(5), ..ClientConfig::default() })
}

pub fn endpoint(url: &str, binding: Binding, version: Version) -> Endpoint {
    Endpoint { streaming: true, ..Endpoint::new(url, binding, version).unwrap() }
}

/// A message whose text scripts the agent.
pub fn request(id: &str, text: &str) -> SendRequest {
    let message = Message {
        message_id: id.into(),
        role: Role::User,
        parts: vec![Part::text(text)],
        context_id: None,
        ..Message::default()
    };
    SendRequest { message, history_length: Some(0), ..SendRequest::default() }
}

pub fn with_data(id: &str, text: &str, data: &Value) -> SendRequest {
    let mut request = request(id, text);
    request.message.parts.push(Part::data(Json::from_value(data)));
    request
}

/// A call with all its notices.
pub struct Ran {
    pub result: Result<Outcome, CallError>,
    pub notices: Vec<Notice>,
}

impl Ran {
    pub fn end(&self) -> &End {
        &self.result.as_ref().unwrap_or_else(|err| panic!("{err}")).end
    }
    pub fn output(&self) -> Value {
        match self.end() {
            End::Completed { output } => (*output.json().unwrap()).clone(),
            other => panic!("not completed: {other:?}"),
        }
    }
    pub fn bound(&self) -> Option<(String, Option<String>)> {
        self.notices.iter().find_map(|n| match n {
            Notice::Bound { agent_task_id, context_id } => Some((agent_task_id.clone(), context_id.clone())),
            Notice::Progress { .. } => None,
        })
    }
    pub fn progress(&self) -> Vec<(Option<f32>, Option<String>)> {
        let each = self.notices.iter().filter_map(|n| match n {
            Notice::Progress { fraction, text } => Some((*fraction, text.clone())),
            Notice::Bound { .. } => None,
        });
        each.collect()
    }
}

pub async fn call(endpoint: &Endpoint, request: &SendRequest, mode: Mode) -> Ran {
    call_with(endpoint, request, mode, &options()).await
}

pub async fn call_with(endpoint: &Endpoint, request: &SendRequest, mode: Mode, options: &CallOptions) -> Ran {
    let mut notices = Vec::new();
    let result = client().call(endpoint, request, mode, options, &mut |n| notices.push(n)).await;
    Ran { result, notices }
}

/// Answers the question of an interrupted task.
pub fn answer_to(outcome: &Outcome, id: &str, text: &str) -> SendRequest {
    let mut request = request(id, text);
    request.message.task_id.clone_from(&outcome.agent_task_id);
    request.message.context_id.clone_from(&outcome.context_id);
    request
}
