//! Triggers: what starts executions when events come.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use proto::executor::v1 as wire;

use super::{Answer, Page, events::client, json, ok, page, with_location};
use crate::{
    app::{App, Retry},
    extract::{Call, Json, Path, Query},
    model::{
        events::{Trigger, TriggerPage, TriggerRequest},
        some,
    },
};

/// Registers a trigger. The same content under the same name is the same trigger.
#[utoipa::path(post, path = "/triggers", tag = "events", request_body = TriggerRequest, responses((status = 201, body = Trigger)))]
pub(crate) async fn create_trigger(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Json(given): Json<TriggerRequest>,
) -> Answer {
    let message = wire::CreateTriggerRequest::from(given);
    let call = async |to, request| client(to).create_trigger(request).await;
    let made = app.executors.call_service(&ctx, Retry::UntilDeadline, || message.clone(), call).await?;
    let location = format!("/api/v1/triggers/{}", made.id);
    Ok(with_location(json(StatusCode::CREATED, &Trigger::from(made)), &location))
}

/// Lists triggers, those of definitions included, by id.
#[utoipa::path(get, path = "/triggers", tag = "events", params(Page), responses((status = 200, body = TriggerPage)))]
pub(crate) async fn list_triggers(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(query): Query<Page>,
) -> Answer {
    let page = page(&app.limits, query.page_size, query.page_token)?;
    let message = || wire::ListTriggersRequest { page: Some(page.clone()) };
    let call = async |to, request| client(to).list_triggers(request).await;
    let answer = app.executors.call_service(&ctx, Retry::Read, message, call).await?;
    let triggers = answer.triggers.into_iter().map(Trigger::from).collect();
    ok(&TriggerPage { triggers, next_page_token: some(answer.next_page_token) })
}

/// One trigger.
#[utoipa::path(get, path = "/triggers/{id}", tag = "events", params(("id" = String, Path)), responses((status = 200, body = Trigger)))]
pub(crate) async fn get_trigger(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let message = || wire::GetTriggerRequest { id: id.clone() };
    let call = async |to, request| client(to).get_trigger(request).await;
    ok(&Trigger::from(app.executors.call_service(&ctx, Retry::Read, message, call).await?))
}

async fn pause(app: &App, ctx: &base::CallContext, id: String, paused: bool) -> Answer {
    let message = || wire::PauseTriggerRequest { id: id.clone(), paused };
    let call = async |to, request| client(to).pause_trigger(request).await;
    ok(&Trigger::from(app.executors.call_service(ctx, Retry::UntilDeadline, message, call).await?))
}

/// Pauses a trigger: events that come meanwhile start nothing, later either.
#[utoipa::path(post, path = "/triggers/{id}/pause", tag = "events", params(("id" = String, Path)), responses((status = 200, body = Trigger)))]
pub(crate) async fn pause_trigger(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    pause(&app, &ctx, id, true).await
}

/// Resumes a trigger.
#[utoipa::path(post, path = "/triggers/{id}/resume", tag = "events", params(("id" = String, Path)), responses((status = 200, body = Trigger)))]
pub(crate) async fn resume_trigger(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    pause(&app, &ctx, id, false).await
}

/// Deletes a trigger; one of a definition goes with a version that does not have it.
#[utoipa::path(delete, path = "/triggers/{id}", tag = "events", params(("id" = String, Path)), responses((status = 204, description = "Deleted.")))]
pub(crate) async fn delete_trigger(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let message = || wire::DeleteTriggerRequest { id: id.clone() };
    let call = async |to, request| client(to).delete_trigger(request).await;
    app.executors.call_service(&ctx, Retry::OnlyRefused, message, call).await?;
    Ok(super::empty())
}
