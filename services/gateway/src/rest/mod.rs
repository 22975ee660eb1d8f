//! The REST routes. Each handler reads, asks one service, and shows the answer.

pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod budgets;
pub(crate) mod cache;
pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod executions;
pub(crate) mod hooks;
pub(crate) mod letters;
pub(crate) mod patterns;
pub(crate) mod schedules;
pub(crate) mod sessions;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod steer;
pub(crate) mod triggers;
pub(crate) mod workflows;

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use proto::common::v1::PageRequest;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::{app::Limits, problem::Problem};

/// What a handler gives back.
pub(crate) type Answer = Result<Response, Problem>;

/// An answer in JSON.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let mut text = Vec::with_capacity(512);
    if let Err(e) = serde_json::to_writer(&mut text, value) {
        return Problem::internal("an answer cannot be written as JSON", e).into_response();
    }
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 204.
pub(crate) fn empty() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// 200 with JSON.
pub(crate) fn ok<T: Serialize>(value: &T) -> Answer {
    Ok(json(StatusCode::OK, value))
}

/// The same with the place of what was made.
pub(crate) fn with_location(mut response: Response, location: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// Which page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// Items wanted; default 50, at most 500 unless configured.
    #[param(minimum = 1)]
    pub page_size: Option<u32>,
    /// `next_page_token` of the page before.
    pub page_token: Option<String>,
}

/// A page of the contract, its size checked.
pub(crate) fn page(
    limits: &Limits,
    size: Option<u32>,
    token: Option<String>,
) -> Result<PageRequest, Problem> {
    let size = size.unwrap_or(limits.page_default);
    if size == 0 || size > limits.page_max {
        let rule = format!("page_size must be 1 to {} (gateway.page_max)", limits.page_max);
        return Err(Problem::argument("page_size", rule));
    }
    Ok(PageRequest {
        page_size: i32::try_from(size).unwrap_or(i32::MAX),
        page_token: token.unwrap_or_default(),
    })
}
