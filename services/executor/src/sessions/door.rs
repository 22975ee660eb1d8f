//! The public contract of sessions: decode, ask, encode.

use api::{Fault, payload};
use base::{ExecutionId, Timestamp};
use proto::{
    common::v1::PageRequest,
    executor::v1::{self as pb, session_service_server::SessionService},
};
use runtime::call;
use store::sessions::{MemberRow, SessionRow, TurnRow};
use tonic::{Request, Response, Status};

use super::{
    book::{Sessions, read_vars},
    rules::Var,
};
use crate::engine::away;

type Answer<T> = Result<Response<T>, Status>;

/// Serves sessions to callers.
#[derive(Clone)]
pub struct SessionDoor {
    sessions: Sessions,
}

impl SessionDoor {
    /// Serves `sessions`.
    pub fn new(sessions: Sessions) -> Self {
        Self { sessions }
    }
}

fn session(row: &SessionRow, variables: Vec<pb::SessionVariable>) -> pb::Session {
    pb::Session {
        session_id: row.session_id.clone(),
        version: row.version,
        created_at: row.created_at.rfc3339(),
        updated_at: row.updated_at.rfc3339(),
        turns: row.turns_count,
        turns_bytes: row.turns_bytes,
        turns_dropped: row.turns_next - 1 - row.turns_count,
        variables_count: row.vars_count,
        variables,
    }
}

fn whole(row: &SessionRow) -> Result<pb::Session, Fault> {
    let vars = read_vars(row)?;
    Ok(session(row, vars.iter().map(|(name, var)| variable(name, var)).collect()))
}

fn variable(name: &str, var: &Var) -> pb::SessionVariable {
    pb::SessionVariable {
        name: name.to_owned(),
        value_json: var.value.to_string(),
        version: var.version,
        updated_at: Timestamp::from_micros(var.at_us).rfc3339(),
        updated_by: var.by.clone(),
    }
}

fn turn(row: TurnRow) -> pb::SessionTurn {
    pb::SessionTurn {
        turn: row.turn,
        role: row.role,
        parts_json: row.parts,
        execution_id: row.execution_id.map(|id| id.to_string()).unwrap_or_default(),
        at: row.at.rfc3339(),
    }
}

fn member(row: &MemberRow) -> pb::SessionExecution {
    pb::SessionExecution {
        execution_id: row.execution_id.to_string(),
        workflow: row.workflow.clone(),
        joined_at: row.joined_at.rfc3339(),
        saved_at: row.saved_at.map(Timestamp::rfc3339).unwrap_or_default(),
        status: row.status.clone(),
        note: row.note.clone(),
    }
}

fn size(page: &PageRequest) -> u32 {
    if page.page_size <= 0 { 50 } else { page.page_size.min(1000) as u32 }
}

/// The token of the page after `rows`, when it is full.
fn next<T>(rows: &[T], size: u32, token: impl FnOnce(&T) -> String) -> String {
    if rows.len() < size as usize { String::new() } else { rows.last().map(token).unwrap_or_default() }
}

fn no_token() -> Fault {
    Fault::bad("page.page_token", "is not a token of this list")
}

fn version(expected: u64) -> Option<u64> {
    (expected > 0).then_some(expected)
}

#[tonic::async_trait]
impl SessionService for SessionDoor {
    async fn create_session(&self, request: Request<pb::CreateSessionRequest>) -> Answer<pb::Session> {
        let context = call::context(&request);
        let id = request.into_inner().session_id;
        let id = if id.is_empty() { uuid::Uuid::now_v7().to_string() } else { id };
        Ok(Response::new(whole(&self.sessions.create(&context, &id).await?)?))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Answer<pb::ListSessionsResponse> {
        let context = call::context(&request);
        let request = request.into_inner();
        let page = request.page.unwrap_or_default();
        let size = size(&page);
        let found = self.sessions.store.list(&context.tenant, &request.prefix, &page.page_token, size);
        let rows = found.await.map_err(away)?;
        Ok(Response::new(pb::ListSessionsResponse {
            next_page_token: next(&rows, size, |row| row.session_id.clone()),
            sessions: rows.iter().map(|row| session(row, Vec::new())).collect(),
        }))
    }

    async fn get_session(&self, request: Request<pb::GetSessionRequest>) -> Answer<pb::Session> {
        let context = call::context(&request);
        let row = self.sessions.row(&context.tenant, &request.into_inner().session_id).await?;
        Ok(Response::new(whole(&row)?))
    }

    async fn delete_session(
        &self,
        request: Request<pb::DeleteSessionRequest>,
    ) -> Answer<pb::DeleteSessionResponse> {
        let context = call::context(&request);
        let id = request.into_inner().session_id;
        if !self.sessions.store.delete(&context.tenant, &id).await.map_err(away)? {
            return Err(Fault::not_found("session", id).into());
        }
        Ok(Response::new(pb::DeleteSessionResponse {}))
    }

    async fn get_session_variable(
        &self,
        request: Request<pb::GetSessionVariableRequest>,
    ) -> Answer<pb::SessionVariable> {
        let context = call::context(&request);
        let request = request.into_inner();
        let vars = read_vars(&self.sessions.row(&context.tenant, &request.session_id).await?)?;
        let var = vars.get(&request.name);
        let var = var.ok_or_else(|| Fault::not_found("session variable", &request.name))?;
        Ok(Response::new(variable(&request.name, var)))
    }

    async fn set_session_variable(
        &self,
        request: Request<pb::SetSessionVariableRequest>,
    ) -> Answer<pb::SessionVariable> {
        let context = call::context(&request);
        let request = request.into_inner();
        let value = serde_json::from_str(&request.value_json)
            .map_err(|e| Fault::bad("value", format!("is not JSON: {e}")))?;
        let expected = version(request.expected_version);
        let to = (&*request.name, value);
        let var = self.sessions.set(&context, &request.session_id, to, expected).await?;
        Ok(Response::new(variable(&request.name, &var)))
    }

    async fn delete_session_variable(
        &self,
        request: Request<pb::DeleteSessionVariableRequest>,
    ) -> Answer<pb::DeleteSessionResponse> {
        let context = call::context(&request);
        let request = request.into_inner();
        let expected = version(request.expected_version);
        self.sessions.unset(&context, &request.session_id, &request.name, expected).await?;
        Ok(Response::new(pb::DeleteSessionResponse {}))
    }

    async fn list_session_turns(
        &self,
        request: Request<pb::ListSessionTurnsRequest>,
    ) -> Answer<pb::ListSessionTurnsResponse> {
        let context = call::context(&request);
        let request = request.into_inner();
        let page = request.page.unwrap_or_default();
        let size = size(&page);
        let after = match page.page_token.as_str() {
            "" => 0,
            text => text.parse().map_err(|_| no_token())?,
        };
        self.sessions.row(&context.tenant, &request.session_id).await?;
        let rows = self.sessions.store.turns(&context.tenant, &request.session_id, after, size).await;
        let rows = rows.map_err(away)?;
        Ok(Response::new(pb::ListSessionTurnsResponse {
            next_page_token: next(&rows, size, |row| row.turn.to_string()),
            turns: rows.into_iter().map(turn).collect(),
        }))
    }

    async fn append_session_turn(
        &self,
        request: Request<pb::AppendSessionTurnRequest>,
    ) -> Answer<pb::SessionTurn> {
        let context = call::context(&request);
        let request = request.into_inner();
        let role = if request.role.is_empty() { "user" } else { &request.role };
        let content = payload::from_wire(request.content, "content")?;
        Ok(Response::new(turn(self.sessions.say(&context, &request.session_id, role, &content).await?)))
    }

    async fn list_session_executions(
        &self,
        request: Request<pb::ListSessionExecutionsRequest>,
    ) -> Answer<pb::ListSessionExecutionsResponse> {
        let context = call::context(&request);
        let request = request.into_inner();
        let page = request.page.unwrap_or_default();
        let size = size(&page);
        let after = match page.page_token.as_str() {
            "" => None,
            text => Some(place(text).ok_or_else(no_token)?),
        };
        self.sessions.row(&context.tenant, &request.session_id).await?;
        let rows = self.sessions.store.members(&context.tenant, &request.session_id, after, size).await;
        let rows = rows.map_err(away)?;
        let token = |row: &MemberRow| format!("{}.{}", row.joined_at.micros(), row.execution_id);
        Ok(Response::new(pb::ListSessionExecutionsResponse {
            next_page_token: next(&rows, size, token),
            executions: rows.iter().map(member).collect(),
        }))
    }
}

fn place(token: &str) -> Option<(Timestamp, ExecutionId)> {
    let (at, id) = token.split_once('.')?;
    Some((Timestamp::from_micros(at.parse().ok()?), id.parse().ok()?))
}
