//! Sessions: variables, conversation, executions.

use proto::executor::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::some;
use crate::payload::{Raw, raw_text};

/// A new session.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSession {
    /// Up to 200 letters, digits or `-_.:@/`; absent = drawn by the server.
    #[serde(default)]
    pub session_id: String,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
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
    /// Their bytes.
    pub turns_bytes: u64,
    /// Turns that had to go.
    pub turns_dropped: u64,
    /// How many variables there are.
    pub variables_count: u64,
    /// By name; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variables: Option<Vec<SessionVariable>>,
}

impl Session {
    /// Without its variables.
    pub(crate) fn listed(session: wire::Session) -> Self {
        Self {
            session_id: session.session_id,
            version: session.version,
            created_at: session.created_at,
            updated_at: session.updated_at,
            turns: session.turns,
            turns_bytes: session.turns_bytes,
            turns_dropped: session.turns_dropped,
            variables_count: session.variables_count,
            variables: None,
        }
    }

    /// With its variables.
    pub(crate) fn whole(mut session: wire::Session) -> Self {
        let variables = std::mem::take(&mut session.variables);
        let variables = Some(variables.into_iter().map(SessionVariable::from).collect());
        Self { variables, ..Self::listed(session) }
    }
}

/// A page of sessions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionPage {
    /// By id.
    pub sessions: Vec<Session>,
    /// Give it as `page_token` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// A variable to set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VariableValue {
    /// Any JSON.
    #[schema(value_type = serde_json::Value)]
    pub value: Raw,
    /// The version it must have; absent = any, also when it is not there.
    #[schema(minimum = 1)]
    #[serde(default)]
    pub expected_version: Option<u64>,
}

/// A variable of a session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionVariable {
    /// Its name.
    pub name: String,
    /// Its value.
    #[schema(value_type = serde_json::Value)]
    pub value: Raw,
    /// The version of the session in which it was set.
    pub version: u64,
    /// RFC 3339.
    pub updated_at: String,
    /// Who set it: a principal, or `execution <id>`.
    pub updated_by: String,
}

impl From<wire::SessionVariable> for SessionVariable {
    fn from(variable: wire::SessionVariable) -> Self {
        Self {
            name: variable.name,
            value: raw_text(variable.value_json),
            version: variable.version,
            updated_at: variable.updated_at,
            updated_by: variable.updated_by,
        }
    }
}

/// A turn to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTurn {
    /// Who speaks; default `user`.
    #[serde(default)]
    pub role: String,
    /// What is said: a text becomes a text part, other JSON a data part.
    #[schema(value_type = serde_json::Value)]
    pub content: Raw,
}

/// A turn of the conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionTurn {
    /// Its number, from 1.
    pub turn: u64,
    /// Who speaks: `user`, `agent`, `system` or another word.
    pub role: String,
    /// `{"text": …}`, `{"data": …}` or, for bytes that are not kept, `{"media_type": …, "bytes": size}`.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub parts: Raw,
    /// The execution it comes from; absent = added by a caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// RFC 3339.
    pub at: String,
}

impl From<wire::SessionTurn> for SessionTurn {
    fn from(turn: wire::SessionTurn) -> Self {
        Self {
            turn: turn.turn,
            role: turn.role,
            parts: raw_text(turn.parts_json),
            execution_id: some(turn.execution_id),
            at: turn.at,
        }
    }
}

/// A page of a conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionTurnPage {
    /// Oldest first.
    pub turns: Vec<SessionTurn>,
    /// Give it as `page_token` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// An execution of a session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionExecution {
    /// UUID.
    pub execution_id: String,
    /// Name of its workflow.
    pub workflow: String,
    /// When it was started, RFC 3339.
    pub joined_at: String,
    /// When what it left was saved; absent = it runs, or is about to be saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved_at: Option<String>,
    /// How it ended; absent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What could not be saved, and what others had changed meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl From<wire::SessionExecution> for SessionExecution {
    fn from(execution: wire::SessionExecution) -> Self {
        Self {
            execution_id: execution.execution_id,
            workflow: execution.workflow,
            joined_at: execution.joined_at,
            saved_at: some(execution.saved_at),
            status: some(execution.status),
            note: some(execution.note),
        }
    }
}

/// A page of executions of a session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionExecutionPage {
    /// In the order in which they started.
    pub executions: Vec<SessionExecution>,
    /// Give it as `page_token` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}
