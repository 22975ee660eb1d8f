//! Schedules: executions that start by the clock.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use proto::executor::v1::{self as wire, schedule_service_client::ScheduleServiceClient};
use runtime::PeerChannel;

use super::{Answer, Page, empty, json, ok, page, with_location};
use crate::{
    app::{App, Retry},
    executors::Dialled,
    extract::{Call, Json, MaybeJson, Path, Query},
    model::{
        schedules::{
            BackfillRequest, Backfilled, FireRequest, FireStarted, Schedule, SchedulePage, ScheduleRequest,
        },
        some,
    },
};

fn client(to: Dialled) -> ScheduleServiceClient<PeerChannel> {
    ScheduleServiceClient::new(to.channel)
        .max_decoding_message_size(to.message_max)
        .max_encoding_message_size(to.message_max)
}

/// Makes a schedule. The same content under the same name is the same schedule.
#[utoipa::path(post, path = "/schedules", tag = "schedules", request_body = ScheduleRequest, responses((status = 201, body = Schedule)))]
pub(crate) async fn create_schedule(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Json(given): Json<ScheduleRequest>,
) -> Answer {
    let message = given.into_wire()?;
    let call = async |to, request| client(to).create_schedule(request).await;
    let made = app.executors.call_service(&ctx, Retry::UntilDeadline, || message.clone(), call).await;
    let made = made.map_err(flat)?;
    let location = format!("/api/v1/schedules/{}", made.name);
    Ok(with_location(json(StatusCode::CREATED, &Schedule::from(made)), &location))
}

/// The contract groups what the body has flat.
fn flat(mut problem: crate::problem::Problem) -> crate::problem::Problem {
    if let Some(field) = problem.0.field.strip_prefix("timing.") {
        problem.0.field = field.to_owned();
    }
    problem
}

/// Lists schedules, those of definitions included, by name.
#[utoipa::path(get, path = "/schedules", tag = "schedules", params(Page), responses((status = 200, body = SchedulePage)))]
pub(crate) async fn list_schedules(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(query): Query<Page>,
) -> Answer {
    let page = page(&app.limits, query.page_size, query.page_token)?;
    let message = || wire::ListSchedulesRequest { page: Some(page.clone()) };
    let call = async |to, request| client(to).list_schedules(request).await;
    let answer = app.executors.call_service(&ctx, Retry::Read, message, call).await?;
    let schedules = answer.schedules.into_iter().map(Schedule::from).collect();
    ok(&SchedulePage { schedules, next_page_token: some(answer.next_page_token) })
}

/// One schedule by name or id, with its next times and its last fires.
#[utoipa::path(get, path = "/schedules/{id}", tag = "schedules", params(("id" = String, Path)), responses((status = 200, body = Schedule)))]
pub(crate) async fn get_schedule(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let message = || wire::GetScheduleRequest { r#ref: id.clone() };
    let call = async |to, request| client(to).get_schedule(request).await;
    ok(&Schedule::from(app.executors.call_service(&ctx, Retry::Read, message, call).await?))
}

async fn pause(app: &App, ctx: &base::CallContext, id: String, paused: bool) -> Answer {
    let message = || wire::PauseScheduleRequest { r#ref: id.clone(), paused };
    let call = async |to, request| client(to).pause_schedule(request).await;
    ok(&Schedule::from(app.executors.call_service(ctx, Retry::UntilDeadline, message, call).await?))
}

/// Pauses a schedule: times that pass meanwhile are not made up for.
#[utoipa::path(post, path = "/schedules/{id}/pause", tag = "schedules", params(("id" = String, Path)), responses((status = 200, body = Schedule)))]
pub(crate) async fn pause_schedule(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    pause(&app, &ctx, id, true).await
}

/// Resumes a schedule.
#[utoipa::path(post, path = "/schedules/{id}/resume", tag = "schedules", params(("id" = String, Path)), responses((status = 200, body = Schedule)))]
pub(crate) async fn resume_schedule(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    pause(&app, &ctx, id, false).await
}

/// Starts an execution of a schedule now, whatever its overlap policy says.
#[utoipa::path(post, path = "/schedules/{id}/trigger", tag = "schedules", params(("id" = String, Path)), request_body = FireRequest, responses((status = 200, body = FireStarted)))]
pub(crate) async fn trigger_schedule(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    MaybeJson(given): MaybeJson<FireRequest>,
) -> Answer {
    let retry = if given.at.is_some() { Retry::UntilDeadline } else { Retry::OnlyRefused };
    let at = given.at.unwrap_or_default();
    let message = || wire::TriggerScheduleRequest { r#ref: id.clone(), at: at.clone() };
    let call = async |to, request| client(to).trigger_schedule(request).await;
    let started = app.executors.call_service(&ctx, retry, message, call).await?;
    ok(&FireStarted { execution_id: started.execution_id })
}

/// Starts the executions of all times in a range; times that have one keep it.
#[utoipa::path(post, path = "/schedules/{id}/backfill", tag = "schedules", params(("id" = String, Path)), request_body = BackfillRequest, responses((status = 200, body = Backfilled)))]
pub(crate) async fn backfill_schedule(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Json(given): Json<BackfillRequest>,
) -> Answer {
    let message = || wire::BackfillScheduleRequest {
        r#ref: id.clone(),
        from: given.from.clone(),
        to: given.to.clone(),
    };
    let call = async |to, request| client(to).backfill_schedule(request).await;
    let filled = app.executors.call_service(&ctx, Retry::UntilDeadline, message, call).await?;
    ok(&Backfilled { execution_ids: filled.execution_ids })
}

/// Deletes a schedule; its executions go on.
#[utoipa::path(delete, path = "/schedules/{id}", tag = "schedules", params(("id" = String, Path)), responses((status = 204, description = "Deleted.")))]
pub(crate) async fn delete_schedule(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let message = || wire::DeleteScheduleRequest { r#ref: id.clone() };
    let call = async |to, request| client(to).delete_schedule(request).await;
    app.executors.call_service(&ctx, Retry::OnlyRefused, message, call).await?;
    Ok(empty())
}
