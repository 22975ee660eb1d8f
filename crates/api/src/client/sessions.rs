//! Sessions: variables and a conversation that executions share.

use base::Payload;
use proto::{
    common::v1::PageRequest,
    executor::v1::{self as wire, session_service_client::SessionServiceClient},
};
use serde::Serialize;
use serde_json::Value;
use tonic::transport::Channel;

use super::{Client, Page, model::some};
use crate::{Fault, payload};

/// A session.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// Its id.
    pub session_id: String,
    /// Rises with every change.
    pub version: u64,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// Turns of the conversation that are kept.
    pub turns: u64,
    /// Turns that had to go.
    pub turns_dropped: u64,
    /// How many variables there are.
    pub variables_count: u64,
    /// By name; empty in lists.
    pub variables: Vec<SessionVariable>,
}

impl Session {
    fn of(session: wire::Session) -> Result<Self, Fault> {
        Ok(Self {
            session_id: session.session_id,
            version: session.version,
            created_at: session.created_at,
            updated_at: session.updated_at,
            turns: session.turns,
            turns_dropped: session.turns_dropped,
            variables_count: session.variables_count,
            variables: session.variables.into_iter().map(SessionVariable::of).collect(),
        })
    }
}

/// A variable of a session.
#[derive(Clone, Debug, Serialize)]
pub struct SessionVariable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// The version of the session in which it was set.
    pub version: u64,
    /// RFC 3339.
    pub updated_at: String,
    /// Who set it.
    pub updated_by: String,
}

impl SessionVariable {
    fn of(variable: wire::SessionVariable) -> Self {
        Self {
            name: variable.name,
            value: serde_json::from_str(&variable.value_json).unwrap_or_default(),
            version: variable.version,
            updated_at: variable.updated_at,
            updated_by: variable.updated_by,
        }
    }
}

/// A turn of a conversation.
#[derive(Clone, Debug, Serialize)]
pub struct SessionTurn {
    /// Its number, from 1.
    pub turn: u64,
    /// Who speaks.
    pub role: String,
    /// What was said: a list of `{"text": …}`, `{"data": …}` or `{"media_type": …, "bytes": size}`.
    pub parts: Value,
    /// The execution it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// RFC 3339.
    pub at: String,
}

impl SessionTurn {
    fn of(turn: wire::SessionTurn) -> Result<Self, Fault> {
        Ok(Self {
            turn: turn.turn,
            role: turn.role,
            parts: serde_json::from_str(&turn.parts_json).unwrap_or_default(),
            execution_id: some(turn.execution_id),
            at: turn.at,
        })
    }
}

/// An execution of a session.
#[derive(Clone, Debug, Serialize)]
pub struct SessionExecution {
    /// UUID.
    pub execution_id: String,
    /// Name of its workflow.
    pub workflow: String,
    /// When it was started, RFC 3339.
    pub joined_at: String,
    /// When what it left was saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved_at: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What could not be saved, and what others had changed meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl SessionExecution {
    fn of(execution: wire::SessionExecution) -> Result<Self, Fault> {
        Ok(Self {
            execution_id: execution.execution_id,
            workflow: execution.workflow,
            joined_at: execution.joined_at,
            saved_at: some(execution.saved_at),
            status: some(execution.status),
            note: some(execution.note),
        })
    }
}

fn page(page_size: i32, page_token: &str) -> Option<PageRequest> {
    Some(PageRequest { page_size, page_token: page_token.to_owned() })
}

impl Client {
    fn session_service(&self) -> SessionServiceClient<Channel> {
        let max = self.options.message_bytes_max;
        SessionServiceClient::new(self.channel())
            .max_decoding_message_size(max)
            .max_encoding_message_size(max)
    }

    /// Makes an empty session; without an id the server draws one.
    ///
    /// # Errors
    /// `already_exists`, `invalid_argument` for the id.
    pub async fn create_session(&self, session_id: &str) -> Result<Session, Fault> {
        let message = wire::CreateSessionRequest { session_id: session_id.to_owned() };
        Session::of(self.once(self.session_service().create_session(self.request(message))).await?)
    }

    /// A page of sessions whose id begins with `prefix`, by id, without their variables.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn sessions(&self, prefix: &str, size: i32, token: &str) -> Result<Page<Session>, Fault> {
        let message = wire::ListSessionsRequest { page: page(size, token), prefix: prefix.to_owned() };
        let call = || async { self.session_service().list_sessions(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Page::of(answer.sessions, answer.next_page_token, Session::of)
    }

    /// One session with its variables.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn session(&self, session_id: &str) -> Result<Session, Fault> {
        let message = wire::GetSessionRequest { session_id: session_id.to_owned() };
        let call = || async { self.session_service().get_session(self.request(message.clone())).await };
        Session::of(self.safely(call).await?)
    }

    /// Deletes a session, its variables and its conversation; its executions stay.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn delete_session(&self, session_id: &str) -> Result<(), Fault> {
        let message = wire::DeleteSessionRequest { session_id: session_id.to_owned() };
        self.once(self.session_service().delete_session(self.request(message))).await.map(drop)
    }

    /// Sets a variable. `expected_version`: the version it must have; `None` = any.
    ///
    /// # Errors
    /// `not_found`, `conflict`, `resource_exhausted`, `payload_too_large`.
    pub async fn set_session_variable(
        &self,
        session_id: &str,
        name: &str,
        value: &Value,
        expected_version: Option<u64>,
    ) -> Result<SessionVariable, Fault> {
        let message = wire::SetSessionVariableRequest {
            session_id: session_id.to_owned(),
            name: name.to_owned(),
            value_json: value.to_string(),
            expected_version: expected_version.unwrap_or_default(),
        };
        let answer = self.once(self.session_service().set_session_variable(self.request(message))).await?;
        Ok(SessionVariable::of(answer))
    }

    /// Deletes a variable. `expected_version`: the version it must have; `None` = any.
    ///
    /// # Errors
    /// `not_found`, `conflict`.
    pub async fn delete_session_variable(
        &self,
        session_id: &str,
        name: &str,
        expected_version: Option<u64>,
    ) -> Result<(), Fault> {
        let message = wire::DeleteSessionVariableRequest {
            session_id: session_id.to_owned(),
            name: name.to_owned(),
            expected_version: expected_version.unwrap_or_default(),
        };
        self.once(self.session_service().delete_session_variable(self.request(message))).await.map(drop)
    }

    /// A page of the conversation, oldest first.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn session_history(
        &self,
        session_id: &str,
        size: i32,
        token: &str,
    ) -> Result<Page<SessionTurn>, Fault> {
        let message =
            wire::ListSessionTurnsRequest { session_id: session_id.to_owned(), page: page(size, token) };
        let call =
            || async { self.session_service().list_session_turns(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Page::of(answer.turns, answer.next_page_token, SessionTurn::of)
    }

    /// Adds a turn to the conversation. Not repeated by itself: it may be added twice.
    ///
    /// # Errors
    /// `not_found`, `payload_too_large`.
    pub async fn append_session_turn(
        &self,
        session_id: &str,
        role: &str,
        content: &Payload,
    ) -> Result<SessionTurn, Fault> {
        let message = wire::AppendSessionTurnRequest {
            session_id: session_id.to_owned(),
            role: role.to_owned(),
            content: Some(payload::to_wire(content)),
        };
        SessionTurn::of(self.once(self.session_service().append_session_turn(self.request(message))).await?)
    }

    /// A page of the session's executions, in the order in which they started.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn session_executions(
        &self,
        session_id: &str,
        size: i32,
        token: &str,
    ) -> Result<Page<SessionExecution>, Fault> {
        let message =
            wire::ListSessionExecutionsRequest { session_id: session_id.to_owned(), page: page(size, token) };
        let call =
            || async { self.session_service().list_session_executions(self.request(message.clone())).await };
        let answer = self.safely(call).await?;
        Page::of(answer.executions, answer.next_page_token, SessionExecution::of)
    }
}
