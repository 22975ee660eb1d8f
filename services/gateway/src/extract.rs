//! What handlers take from a request, each with a typed error that names the part that is wrong.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
};
use base::{CallContext, ErrorCode, ExecutionId};
use bytes::Bytes;
use http::{HeaderMap, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::{app::App, problem::Problem, schema};

/// The call context that the door made.
pub(crate) struct Call(pub CallContext);

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let context = parts.extensions.get::<CallContext>().cloned();
        context.map(Self).ok_or_else(|| Problem::internal("a route stands without a door", &parts.uri))
    }
}

/// A part of the path.
pub(crate) struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value))
            .map_err(|e| Problem::argument("path", format!("the path cannot be read: {}", e.body_text())))
    }
}

/// The id of an execution in a path.
pub(crate) fn execution_id(text: &str) -> Result<ExecutionId, Problem> {
    text.parse().map_err(|e: base::BadId| Problem::argument("id", e.to_string()))
}

/// The query, its keys checked.
pub(crate) struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|e| {
                let text = e.body_text();
                let text = text.trim_start_matches("Failed to deserialize query string: ");
                Problem::argument("query", format!("the query cannot be read: {text}"))
            })
    }
}

/// A JSON body, read as `T`.
pub(crate) struct Json<T>(pub T);

impl<T: DeserializeOwned + ToSchema> FromRequest<Arc<App>> for Json<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        json_only(&parts.headers)?;
        let bytes = read(&parts.headers, body, app).await?;
        if bytes.is_empty() {
            let rule = format!("a JSON body is needed (schema {} of /api/v1/openapi.json)", T::name());
            return Err(Problem::argument("body", rule));
        }
        parse(app, &bytes).map(Self)
    }
}

/// A JSON body that may be left out.
pub(crate) struct MaybeJson<T>(pub T);

impl<T: DeserializeOwned + ToSchema + Default> FromRequest<Arc<App>> for MaybeJson<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read(&parts.headers, body, app).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        json_only(&parts.headers)?;
        parse(app, &bytes).map(Self)
    }
}

fn parse<T: DeserializeOwned + ToSchema>(app: &App, bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|e| schema::explain::<T>(&app.schemas, bytes, &e))
}

/// A definition (agent, workflow) as text.
pub(crate) struct Document {
    pub text: String,
    /// `json` or `yaml`; empty = to be found out.
    pub format: &'static str,
}

impl FromRequest<Arc<App>> for Document {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let format = document_format(&parts.headers)?;
        let bytes = read(&parts.headers, body, app).await?;
        let text = String::from_utf8(bytes.into()).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            Problem::argument("body", format!("the body is not UTF-8 text: byte {at} is wrong"))
        })?;
        if text.trim().is_empty() {
            return Err(Problem::argument("body", "a definition is needed, as JSON or YAML"));
        }
        if format == "json" {
            serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|e| schema::syntax(&e))?;
        }
        Ok(Self { text, format })
    }
}

/// The media type without parameters, in lower case; empty when there is none.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

fn json_only(headers: &HeaderMap) -> Result<(), Problem> {
    // Compared first: the usual case costs no allocation.
    let usual = headers.get(header::CONTENT_TYPE).is_none_or(|value| value == "application/json");
    if usual || is_json(&media_type(headers)) {
        Ok(())
    } else {
        Err(unsupported(headers, "application/json"))
    }
}

fn document_format(headers: &HeaderMap) -> Result<&'static str, Problem> {
    match media_type(headers).as_str() {
        "" => Ok(""),
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Ok("yaml"),
        json if is_json(json) => Ok("json"),
        _ => Err(unsupported(headers, "application/json or application/yaml")),
    }
}

fn unsupported(headers: &HeaderMap, wanted: &str) -> Problem {
    let given = media_type(headers);
    let rule = format!("Content-Type {given:?} is not understood here; send {wanted}");
    Problem::new(ErrorCode::UnsupportedMediaType, rule).field("Content-Type")
}

/// Reads a body up to the limit, within the request's time.
async fn read(headers: &HeaderMap, body: Body, app: &App) -> Result<Bytes, Problem> {
    let limit = app.limits.body_max;
    let too_large = || {
        let rule = format!("the body is larger than {limit} bytes (gateway.body_max)");
        Problem::new(ErrorCode::PayloadTooLarge, rule).field("body")
    };
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|n| n > limit as u64) {
        return Err(too_large());
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        let rule = "compressed bodies are not understood; send the body as it is";
        return Err(Problem::new(ErrorCode::UnsupportedMediaType, rule).field("Content-Encoding"));
    }
    let collected = tokio::time::timeout(app.limits.request_timeout, Limited::new(body, limit).collect());
    match collected.await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(e)) => Err(Problem::argument("body", format!("the body broke off: {e}"))),
        Err(_) => Err(Problem::new(ErrorCode::Timeout, "the body did not arrive in time")),
    }
}

/// The text of a header that callers choose, checked.
pub(crate) fn header_text<'a>(
    headers: &'a HeaderMap,
    name: &str,
    max: usize,
) -> Result<Option<&'a str>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=max).contains(&text.len()));
    text.map(Some).ok_or_else(|| {
        Problem::argument(name, format!("header {name} must be 1 to {max} characters of plain ASCII"))
    })
}
