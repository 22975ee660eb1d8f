//! Dead letters: list and put back.

use std::sync::Arc;

use axum::extract::State;
use proto::executor::v1 as wire;

use super::{Answer, Page, ok, page};
use crate::{
    app::{App, Retry},
    executors::Client,
    extract::{Call, Path, Query},
    model::{
        letters::{DeadLetter, DeadLetterPage},
        some,
    },
    problem::Problem,
};

/// Lists messages that consumers gave up on.
#[utoipa::path(get, path = "/dead-letters", tag = "operations", params(Page), responses((status = 200, body = DeadLetterPage)))]
pub(crate) async fn list_dead_letters(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(query): Query<Page>,
) -> Answer {
    let page = page(&app.limits, query.page_size, query.page_token)?;
    let message = || wire::ListDeadLettersRequest { page: Some(page.clone()) };
    let call = async |mut to: Client, request| to.list_dead_letters(request).await;
    let answer = app.executors.call_any(&ctx, Retry::Read, message, call).await?;
    let dead_letters = answer.dead_letters.into_iter().map(DeadLetter::from).collect();
    ok(&DeadLetterPage { dead_letters, next_page_token: some(answer.next_page_token) })
}

/// One dead letter, its message included.
#[utoipa::path(get, path = "/dead-letters/{id}", tag = "operations", params(("id" = String, Path)), responses((status = 200, body = DeadLetter)))]
pub(crate) async fn get_dead_letter(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let message = || wire::GetDeadLetterRequest { id: id.clone() };
    let call = async |mut to: Client, request| to.get_dead_letter(request).await;
    ok(&DeadLetter::from(app.executors.call_any(&ctx, Retry::Read, message, call).await?))
}

/// Puts a dead letter back on its stream; one of a trigger: makes the start it tells of; one of a compensation that
/// failed: makes its call, as an execution of its own.
#[utoipa::path(post, path = "/dead-letters/{id}/redrive", tag = "operations", params(("id" = String, Path)), responses((status = 200, body = DeadLetter)))]
pub(crate) async fn redrive_dead_letter(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
) -> Answer {
    let message = || wire::RedriveDeadLetterRequest { id: id.clone() };
    let call = async |mut to: Client, request| to.redrive_dead_letter(request).await;
    let answer = app.executors.call_any(&ctx, Retry::OnlyRefused, message, call).await?;
    let letter = answer.dead_letter;
    let missing = || Problem::internal("an executor sent no dead letter", &id);
    ok(&DeadLetter::from(letter.ok_or_else(missing)?))
}
