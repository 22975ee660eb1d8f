//! Hooks: make, list, read, change, delete, and the log of their runs.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use proto::executor::v1::{self as wire, hook_service_client::HookServiceClient};
use runtime::PeerChannel;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Answer, json, ok, page, with_location};
use crate::{
    app::{App, Retry},
    executors::Dialled,
    extract::{Call, Json, Path, Query, header_text},
    model::{
        agents::if_match,
        hooks::{Hook, HookDefinition, HookPage, HookRun, HookRunPage},
        some,
    },
};

fn client(to: Dialled) -> HookServiceClient<PeerChannel> {
    HookServiceClient::new(to.channel)
        .max_decoding_message_size(to.message_max)
        .max_encoding_message_size(to.message_max)
}

/// Which hooks. Filters combine with AND.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HookQuery {
    /// `pre_task`, …
    trigger: Option<String>,
    /// Only enabled, or only disabled ones.
    enabled: Option<bool>,
    /// Names that begin so.
    name_prefix: Option<String>,
    /// Items wanted; default 50, at most 500 unless configured.
    #[param(minimum = 1)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Which runs. Filters combine with AND.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HookRunQuery {
    /// Of this hook: UUID or name.
    hook: Option<String>,
    /// Of this execution.
    execution_id: Option<String>,
    /// `pre_task`, …
    trigger: Option<String>,
    /// `completed`, `failed` or `skipped`.
    state: Option<String>,
    /// Begun at or after, RFC 3339.
    since: Option<String>,
    /// Begun before, RFC 3339.
    until: Option<String>,
    /// Items wanted; default 50, at most 500 unless configured.
    #[param(minimum = 1)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

fn shown(status: StatusCode, hook: wire::Hook) -> Response {
    let hook = Hook::from(hook);
    let mut response = json(status, &hook);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", hook.revision)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Stores a hook.
#[utoipa::path(post, path = "/hooks", tag = "hooks", request_body = HookDefinition, responses((status = 201, body = Hook)))]
pub(crate) async fn create_hook(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Json(mut given): Json<HookDefinition>,
) -> Answer {
    // Drawn here, so that a retry is the same hook.
    let hook_id = given.hook_id.take().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let message = wire::CreateHookRequest { hook_id, spec: Some(given.spec()) };
    let call = async |to, request| client(to).create_hook(request).await;
    let hook = app.executors.call_service(&ctx, Retry::UntilDeadline, || message.clone(), call).await?;
    let location = format!("/api/v1/hooks/{}", hook.hook_id);
    Ok(with_location(shown(StatusCode::CREATED, hook), &location))
}

/// Lists hooks by name.
#[utoipa::path(get, path = "/hooks", tag = "hooks", params(HookQuery), responses((status = 200, body = HookPage)))]
pub(crate) async fn list_hooks(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(query): Query<HookQuery>,
) -> Answer {
    let message = wire::ListHooksRequest {
        page: Some(page(&app.limits, query.page_size, query.page_token)?),
        trigger: query.trigger.unwrap_or_default(),
        enabled: query.enabled,
        name_prefix: query.name_prefix.unwrap_or_default(),
    };
    let call = async |to, request| client(to).list_hooks(request).await;
    let found = app.executors.call_service(&ctx, Retry::Read, || message.clone(), call).await?;
    let hooks = found.hooks.into_iter().map(Hook::from).collect();
    ok(&HookPage { hooks, next_page_token: some(found.next_page_token) })
}

/// Shows a hook. `{id}` is its UUID or its name.
#[utoipa::path(get, path = "/hooks/{id}", tag = "hooks", params(("id" = String, Path)), responses((status = 200, body = Hook)))]
pub(crate) async fn get_hook(State(app): State<Arc<App>>, Call(ctx): Call, Path(id): Path<String>) -> Answer {
    let message = || wire::GetHookRequest { hook: id.clone() };
    let call = async |to, request| client(to).get_hook(request).await;
    Ok(shown(StatusCode::OK, app.executors.call_service(&ctx, Retry::Read, message, call).await?))
}

/// Replaces a hook. With `If-Match`, or a `revision` in the body, only if nobody changed it since (409).
#[utoipa::path(put, path = "/hooks/{id}", tag = "hooks",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)), request_body = HookDefinition,
    responses((status = 200, body = Hook)))]
pub(crate) async fn update_hook(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(given): Json<HookDefinition>,
) -> Answer {
    let wanted = if_match(header_text(&headers, "if-match", 64)?)?;
    let expected_revision = if wanted > 0 { wanted } else { given.revision.unwrap_or_default() };
    let message = wire::UpdateHookRequest { hook: id, spec: Some(given.spec()), expected_revision };
    let call = async |to, request| client(to).update_hook(request).await;
    // A repeated update of a named revision would find its own change and refuse it.
    let retry = if expected_revision > 0 { Retry::OnlyRefused } else { Retry::UntilDeadline };
    let hook = app.executors.call_service(&ctx, retry, || message.clone(), call).await?;
    Ok(shown(StatusCode::OK, hook))
}

/// Deletes a hook; its runs stay until their time is over. With `If-Match` only if nobody changed it since (409).
#[utoipa::path(delete, path = "/hooks/{id}", tag = "hooks",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)), responses((status = 204)))]
pub(crate) async fn delete_hook(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let expected_revision = if_match(header_text(&headers, "if-match", 64)?)?;
    let message = || wire::DeleteHookRequest { hook: id.clone(), expected_revision };
    let call = async |to, request| client(to).delete_hook(request).await;
    app.executors.call_service(&ctx, Retry::OnlyRefused, message, call).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The log of runs, the newest first.
#[utoipa::path(get, path = "/hooks/runs", tag = "hooks", params(HookRunQuery), responses((status = 200, body = HookRunPage)))]
pub(crate) async fn list_hook_runs(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(query): Query<HookRunQuery>,
) -> Answer {
    let message = wire::ListHookRunsRequest {
        page: Some(page(&app.limits, query.page_size, query.page_token)?),
        hook: query.hook.unwrap_or_default(),
        execution_id: query.execution_id.unwrap_or_default(),
        trigger: query.trigger.unwrap_or_default(),
        state: query.state.unwrap_or_default(),
        since: query.since.unwrap_or_default(),
        until: query.until.unwrap_or_default(),
    };
    let call = async |to, request| client(to).list_hook_runs(request).await;
    let found = app.executors.call_service(&ctx, Retry::Read, || message.clone(), call).await?;
    let runs = found.runs.into_iter().map(HookRun::from).collect();
    ok(&HookRunPage { runs, next_page_token: some(found.next_page_token) })
}

/// One run.
#[utoipa::path(get, path = "/hooks/runs/{id}", tag = "hooks", params(("id" = String, Path)), responses((status = 200, body = HookRun)))]
pub(crate) async fn get_hook_run(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let message = || wire::GetHookRunRequest { run_id: id.clone() };
    let call = async |to, request| client(to).get_hook_run(request).await;
    ok(&HookRun::from(app.executors.call_service(&ctx, Retry::Read, message, call).await?))
}
