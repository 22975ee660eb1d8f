//! Sessions: what executions share.

use std::sync::Arc;

use axum::{extract::State, response::IntoResponse as _};
use http::StatusCode;
use proto::executor::v1::{self as wire, session_service_client::SessionServiceClient};
use runtime::PeerChannel;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Answer, Page, json, ok, page, with_location};
use crate::{
    app::{App, Retry},
    executors::Dialled,
    extract::{Call, Json, MaybeJson, Path, Query},
    model::{
        sessions::{
            NewSession, NewTurn, Session, SessionExecution, SessionExecutionPage, SessionPage, SessionTurn,
            SessionTurnPage, SessionVariable, VariableValue,
        },
        some,
    },
    payload::payload,
};

fn client(to: Dialled) -> SessionServiceClient<PeerChannel> {
    SessionServiceClient::new(to.channel)
        .max_decoding_message_size(to.message_max)
        .max_encoding_message_size(to.message_max)
}

/// Which sessions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SessionQuery {
    /// Only ids that begin so.
    pub prefix: Option<String>,
    /// Items wanted; default 50, at most 500 unless configured.
    #[param(minimum = 1)]
    pub page_size: Option<u32>,
    /// `next_page_token` of the page before.
    pub page_token: Option<String>,
}

/// The version that a variable must have.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Expected {
    /// Absent = any.
    #[param(minimum = 1)]
    pub expected_version: Option<u64>,
}

/// Makes an empty session; a start that names a session makes it too.
#[utoipa::path(post, path = "/sessions", tag = "sessions", request_body = Option<NewSession>,
    responses((status = 201, body = Session)))]
pub(crate) async fn create_session(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    MaybeJson(given): MaybeJson<NewSession>,
) -> Answer {
    let message = || wire::CreateSessionRequest { session_id: given.session_id.clone() };
    let call = async |to, request| client(to).create_session(request).await;
    let session = app.executors.call_service(&ctx, Retry::OnlyRefused, message, call).await?;
    let location = format!("/api/v1/sessions/{}", session.session_id);
    Ok(with_location(json(StatusCode::CREATED, &Session::whole(session)), &location))
}

/// Lists sessions by id.
#[utoipa::path(get, path = "/sessions", tag = "sessions", params(SessionQuery), responses((status = 200, body = SessionPage)))]
pub(crate) async fn list_sessions(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(query): Query<SessionQuery>,
) -> Answer {
    let page = page(&app.limits, query.page_size, query.page_token)?;
    let prefix = query.prefix.unwrap_or_default();
    let message = || wire::ListSessionsRequest { page: Some(page.clone()), prefix: prefix.clone() };
    let call = async |to, request| client(to).list_sessions(request).await;
    let found = app.executors.call_service(&ctx, Retry::Read, message, call).await?;
    let sessions = found.sessions.into_iter().map(Session::listed).collect();
    ok(&SessionPage { sessions, next_page_token: some(found.next_page_token) })
}

/// One session with its variables.
#[utoipa::path(get, path = "/sessions/{id}", tag = "sessions", params(("id" = String, Path)), responses((status = 200, body = Session)))]
pub(crate) async fn get_session(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let message = || wire::GetSessionRequest { session_id: id.clone() };
    let call = async |to, request| client(to).get_session(request).await;
    ok(&Session::whole(app.executors.call_service(&ctx, Retry::Read, message, call).await?))
}

/// Deletes a session, its variables and its conversation; its executions stay.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "sessions", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn delete_session(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let message = || wire::DeleteSessionRequest { session_id: id.clone() };
    let call = async |to, request| client(to).delete_session(request).await;
    app.executors.call_service(&ctx, Retry::OnlyRefused, message, call).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// One variable.
#[utoipa::path(get, path = "/sessions/{id}/variables/{name}", tag = "sessions",
    params(("id" = String, Path), ("name" = String, Path)), responses((status = 200, body = SessionVariable)))]
pub(crate) async fn get_session_variable(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path((id, name)): Path<(String, String)>,
) -> Answer {
    let message = || wire::GetSessionVariableRequest { session_id: id.clone(), name: name.clone() };
    let call = async |to, request| client(to).get_session_variable(request).await;
    ok(&SessionVariable::from(app.executors.call_service(&ctx, Retry::Read, message, call).await?))
}

/// Sets a variable. With `expected_version` only when it still has that version, else 409.
#[utoipa::path(put, path = "/sessions/{id}/variables/{name}", tag = "sessions",
    params(("id" = String, Path), ("name" = String, Path)), request_body = VariableValue,
    responses((status = 200, body = SessionVariable)))]
pub(crate) async fn set_session_variable(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path((session_id, name)): Path<(String, String)>,
    Json(given): Json<VariableValue>,
) -> Answer {
    let expected_version = given.expected_version.unwrap_or_default();
    let value_json = given.value.get().to_owned();
    let message = wire::SetSessionVariableRequest { session_id, name, value_json, expected_version };
    // With a version a repeat would find its own change.
    let retry = if expected_version == 0 { Retry::UntilDeadline } else { Retry::OnlyRefused };
    let call = async |to, request| client(to).set_session_variable(request).await;
    let variable = app.executors.call_service(&ctx, retry, || message.clone(), call).await?;
    ok(&SessionVariable::from(variable))
}

/// Deletes a variable.
#[utoipa::path(delete, path = "/sessions/{id}/variables/{name}", tag = "sessions",
    params(("id" = String, Path), ("name" = String, Path), Expected), responses((status = 204)))]
pub(crate) async fn delete_session_variable(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path((session_id, name)): Path<(String, String)>,
    Query(query): Query<Expected>,
) -> Answer {
    let expected_version = query.expected_version.unwrap_or_default();
    let message = wire::DeleteSessionVariableRequest { session_id, name, expected_version };
    let call = async |to, request| client(to).delete_session_variable(request).await;
    app.executors.call_service(&ctx, Retry::OnlyRefused, || message.clone(), call).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The conversation, oldest first.
#[utoipa::path(get, path = "/sessions/{id}/history", tag = "sessions", params(("id" = String, Path), Page),
    responses((status = 200, body = SessionTurnPage)))]
pub(crate) async fn session_history(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Query(query): Query<Page>,
) -> Answer {
    let page = page(&app.limits, query.page_size, query.page_token)?;
    let message = || wire::ListSessionTurnsRequest { session_id: id.clone(), page: Some(page.clone()) };
    let call = async |to, request| client(to).list_session_turns(request).await;
    let found = app.executors.call_service(&ctx, Retry::Read, message, call).await?;
    let turns = found.turns.into_iter().map(SessionTurn::from).collect();
    ok(&SessionTurnPage { turns, next_page_token: some(found.next_page_token) })
}

/// Adds a turn to the conversation.
#[utoipa::path(post, path = "/sessions/{id}/history", tag = "sessions", params(("id" = String, Path)),
    request_body = NewTurn, responses((status = 201, body = SessionTurn)))]
pub(crate) async fn append_session_turn(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(session_id): Path<String>,
    Json(given): Json<NewTurn>,
) -> Answer {
    let content = Some(payload("content", Some(given.content))?);
    let message = wire::AppendSessionTurnRequest { session_id, role: given.role, content };
    let call = async |to, request| client(to).append_session_turn(request).await;
    let turn = app.executors.call_service(&ctx, Retry::OnlyRefused, || message.clone(), call).await?;
    Ok(json(StatusCode::CREATED, &SessionTurn::from(turn)))
}

/// Executions of the session, in the order in which they started.
#[utoipa::path(get, path = "/sessions/{id}/executions", tag = "sessions", params(("id" = String, Path), Page),
    responses((status = 200, body = SessionExecutionPage)))]
pub(crate) async fn session_executions(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Query(query): Query<Page>,
) -> Answer {
    let page = page(&app.limits, query.page_size, query.page_token)?;
    let message = || wire::ListSessionExecutionsRequest { session_id: id.clone(), page: Some(page.clone()) };
    let call = async |to, request| client(to).list_session_executions(request).await;
    let found = app.executors.call_service(&ctx, Retry::Read, message, call).await?;
    let executions = found.executions.into_iter().map(SessionExecution::from).collect();
    ok(&SessionExecutionPage { executions, next_page_token: some(found.next_page_token) })
}
