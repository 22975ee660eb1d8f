//! Errors as the door shows them: RFC 9457 problem details with a stable code.

use api::Fault;
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use base::{ErrorCode, Finding, Severity};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use tonic::Status;
use utoipa::ToSchema;

/// Media type of problem details.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// An error on its way out. It travels in the response's extensions until the door knows request id and path.
#[derive(Clone, Debug)]
pub(crate) struct Problem(pub Fault);

impl Problem {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self(Fault::new(code, detail))
    }
    /// A request that is wrong at `field`.
    pub(crate) fn argument(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, detail).field(field)
    }
    /// A failure of our own. The cause may name hosts or files: it goes to the log only.
    pub(crate) fn internal(what: &str, cause: impl std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "{what}");
        Self::new(ErrorCode::Internal, format!("{what}; the log has the cause"))
    }
    pub(crate) fn field(self, field: impl Into<String>) -> Self {
        Self(self.0.field(field))
    }
    pub(crate) fn findings(self, findings: Vec<Finding>) -> Self {
        Self(self.0.findings(findings))
    }
    pub(crate) fn related(self, related: Vec<String>) -> Self {
        Self(self.0.related(related))
    }

    /// The document, once the door knows which request it answers.
    pub(crate) fn details(&self, instance: &str, request_id: &str) -> ProblemDetails {
        ProblemDetails {
            kind: format!("urn:orchestra:problem:{}", self.0.code),
            title: title(self.0.code),
            status: self.0.code.http_status(),
            detail: self.0.message.clone(),
            instance: instance.to_owned(),
            code: self.0.code.to_string(),
            field: Some(self.0.field.clone()).filter(|f| !f.is_empty()),
            findings: self.0.findings.iter().map(FindingView::from).collect(),
            related: self.0.related.clone(),
            request_id: request_id.to_owned(),
            retryable: self.0.code.is_retryable(),
        }
    }

    /// The whole answer.
    pub(crate) fn render(&self, instance: &str, request_id: &str) -> Response {
        let body = serde_json::to_vec(&self.details(instance, request_id)).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status(self.0.code);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        let wait_ms = match self.0.retry_after_ms {
            0 if self.0.code.is_retryable() => 1000,
            stated => stated,
        };
        if wait_ms > 0 {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1000)));
        }
        response
    }
}

fn status(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// `not_found` → `Not found`.
fn title(code: ErrorCode) -> String {
    let text = code.as_str().replace('_', " ");
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status(self.0.code);
        response.extensions_mut().insert(std::sync::Arc::new(self));
        response
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl From<&Status> for Problem {
    fn from(status: &Status) -> Self {
        let mut fault = Fault::from_status(status);
        // The contracts group what the query has flat.
        if let Some(field) = fault.field.strip_prefix("page.") {
            fault.field = field.to_owned();
        }
        Self(fault)
    }
}

/// Problem details (RFC 9457) of every error answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ProblemDetails {
    /// Names the kind of problem: `urn:orchestra:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, and the remedy.
    pub detail: String,
    /// Path of the request.
    pub instance: String,
    /// Stable code, to act on: `not_found`, `already_executing`, …
    pub code: String,
    /// The part of the request that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What a check found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingView>,
    /// Ids to choose from: several active executions, the existing execution.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<String>,
    /// Names the request in the log.
    pub request_id: String,
    /// Whether the same request may succeed later without a change.
    pub retryable: bool,
}

/// One thing that a check found.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct FindingView {
    /// `error`, `warning` or `note`.
    pub severity: String,
    /// Stable code: `unknown-key`.
    pub code: String,
    /// What is wrong, for people.
    pub message: String,
    /// Line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// Where in the document: `tasks[2].depends_on[0]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl From<&Finding> for FindingView {
    fn from(f: &Finding) -> Self {
        Self::parts(f.severity.as_str(), &f.code, &f.message, (f.line, f.column), &f.path, &f.remedy)
    }
}

impl From<&proto::common::v1::Finding> for FindingView {
    fn from(f: &proto::common::v1::Finding) -> Self {
        Self::parts(&f.severity, &f.code, &f.message, (f.line, f.column), &f.path, &f.remedy)
    }
}

impl FindingView {
    fn parts(severity: &str, code: &str, message: &str, at: (u32, u32), path: &str, remedy: &str) -> Self {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            severity: severity.to_owned(),
            code: code.to_owned(),
            message: message.to_owned(),
            line: (at.0 > 0).then_some(at.0),
            column: (at.0 > 0 && at.1 > 0).then_some(at.1),
            path: text(path),
            remedy: text(remedy),
        }
    }
    /// Whether the document is refused because of it.
    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_kind_its_request_and_when_to_try_again() {
        let full = Fault::new(ErrorCode::ResourceExhausted, "the queue is full").retry_after_ms(1500);
        let problem = Problem::from(full);
        let shown = serde_json::to_value(problem.details("/api/v1/execute", "r1")).unwrap();
        assert_eq!(shown["type"], "urn:orchestra:problem:resource_exhausted");
        assert_eq!(shown["title"], "Resource exhausted");
        assert_eq!((&shown["status"], &shown["request_id"]), (&429.into(), &"r1".into()));
        assert!(shown.get("field").is_none() && shown.get("findings").is_none());
        let response = problem.render("/", "r1");
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
    }
}
