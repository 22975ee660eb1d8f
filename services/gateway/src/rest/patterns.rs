//! Patterns: list, show, register, delete; and the JSON Schema of definitions.

use std::sync::{Arc, OnceLock};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use proto::planner::v1 as wire;

use super::{Answer, json, ok, with_location, workflows::Named};
use crate::{
    app::{App, Patterns, Retry, ask},
    extract::{Call, Document, Path, Query},
    model::patterns::{Pattern, PatternDeleted, PatternList, PatternRegistered},
};

/// The patterns that definitions can name, with their parameters: the built-in ones first, then your own by name.
#[utoipa::path(get, path = "/patterns/available", tag = "patterns", responses((status = 200, body = PatternList)))]
pub(crate) async fn list_patterns(State(app): State<Arc<App>>, Call(ctx): Call) -> Answer {
    let call = async |mut to: Patterns, request| to.list_patterns(request).await;
    let answer = ask(&app.patterns, &ctx, Retry::Read, wire::ListPatternsRequest {}, call).await?;
    ok(&PatternList { patterns: answer.patterns.into_iter().map(Pattern::from).collect() })
}

/// Shows a pattern with its text. `{name}` is a name (the newest version) or `name@version`.
#[utoipa::path(get, path = "/patterns/{name}", tag = "patterns", params(("name" = String, Path)), responses((status = 200, body = Pattern)))]
pub(crate) async fn get_pattern(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(name): Path<String>,
) -> Answer {
    let call = async |mut to: Patterns, request| to.get_pattern(request).await;
    let message = wire::GetPatternRequest { r#ref: name };
    ok(&Pattern::from(ask(&app.patterns, &ctx, Retry::Read, message, call).await?))
}

/// Registers a pattern of your own, as JSON or YAML: it is checked with example values and stored as an immutable version.
#[utoipa::path(post, path = "/patterns", tag = "patterns", params(Named),
    request_body(content((Value = "application/json"), (String = "application/yaml"))), responses((status = 201, body = PatternRegistered)))]
pub(crate) async fn register_pattern(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(named): Query<Named>,
    document: Document,
) -> Answer {
    let message =
        wire::RegisterPatternRequest { source: document.text, file_name: named.file.unwrap_or_default() };
    let call = async |mut to: Patterns, request| to.register_pattern(request).await;
    let answer =
        PatternRegistered::from(ask(&app.patterns, &ctx, Retry::UntilDeadline, message, call).await?);
    let location = format!("/api/v1/patterns/{}@{}", answer.pattern.name, answer.pattern.version);
    Ok(with_location(json(StatusCode::CREATED, &answer), &location))
}

/// Deletes a pattern with all its versions, or one version (`name@version`). Refused (409) for built-in ones, and while a
/// stored version of a workflow or another pattern uses it: `related` names some.
#[utoipa::path(delete, path = "/patterns/{name}", tag = "patterns", params(("name" = String, Path)), responses((status = 200, body = PatternDeleted)))]
pub(crate) async fn delete_pattern(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(name): Path<String>,
) -> Answer {
    let call = async |mut to: Patterns, request| to.delete_pattern(request).await;
    let message = wire::DeletePatternRequest { r#ref: name };
    let answer = ask(&app.patterns, &ctx, Retry::OnlyRefused, message, call).await?;
    ok(&PatternDeleted { versions_deleted: answer.versions_deleted })
}

/// The JSON Schema (2020-12) of workflow definitions, for editors.
#[utoipa::path(get, path = "/schemas/workflow.json", tag = "workflows",
    responses((status = 200, content((serde_json::Value = "application/schema+json")))))]
pub(crate) async fn workflow_schema() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| language::definition_schema().to_string());
    let headers =
        [(header::CONTENT_TYPE, "application/schema+json"), (header::CACHE_CONTROL, "public, max-age=3600")];
    (headers, Body::from(text.as_str())).into_response()
}
