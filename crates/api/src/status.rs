//! One mapping between what went wrong and how it travels.
//!
//! A [`Fault`] becomes a gRPC status whose details carry `common.v1.Problem` (inside `google.rpc.Status`, as every gRPC
//! tool expects), so that the stable code, the findings and the retry time reach REST and the CLI unchanged.

use base::{ErrorCode, Finding, Severity};
use prost::Message as _;
use proto::common::v1 as wire;
use tonic::{Code, Status};

const PROBLEM_TYPE: &str = "type.googleapis.com/orchestra.common.v1.Problem";
/// Size of the findings and ids that travel with one status: they are a response header, HTTP/2 clients take 16 KB of
/// those by default, and base64 adds a third. The rest is left out, last first.
const LISTS_SENT_BYTES_MAX: usize = 6 << 10;
/// Longest text of a message, remedy or path that travels, in characters.
const TEXT_SENT_MAX: usize = 400;

/// What went wrong, for the caller: nothing in it names hosts, tables or causes inside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind of trouble; decides HTTP and gRPC status.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// The field that is wrong, if one is.
    pub field: String,
    /// Findings that explain the refusal, if any.
    pub findings: Vec<Finding>,
    /// Milliseconds after which a retry may succeed; 0 = not stated.
    pub retry_after_ms: u64,
    /// Ids the caller may choose from.
    pub related: Vec<String>,
}

impl Fault {
    /// A fault with nothing but code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            field: String::new(),
            findings: Vec::new(),
            retry_after_ms: 0,
            related: Vec::new(),
        }
    }
    /// `invalid_argument`: a field of the request and what is wrong with it.
    pub fn bad(field: impl Into<String>, rule: impl std::fmt::Display) -> Self {
        let field = field.into();
        Self { message: format!("{field}: {rule}"), field, ..Self::new(ErrorCode::InvalidArgument, "") }
    }
    /// `not_found`: `what` (`agent`) called `id` does not exist.
    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, format!("{what} {id} does not exist"))
    }
    /// `internal`, without the cause: the caller of this function has logged it.
    pub fn internal() -> Self {
        Self::new(ErrorCode::Internal, "an internal error occurred; the service's log has the cause")
    }
    /// `unavailable`: try again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }
    /// The same, naming the field that is wrong.
    #[must_use]
    pub fn field(self, field: impl Into<String>) -> Self {
        Self { field: field.into(), ..self }
    }
    /// The same with findings.
    #[must_use]
    pub fn findings(self, findings: Vec<Finding>) -> Self {
        Self { findings, ..self }
    }
    /// The same with the time after which a retry may succeed.
    #[must_use]
    pub fn retry_after_ms(self, retry_after_ms: u64) -> Self {
        Self { retry_after_ms, ..self }
    }
    /// The same with ids the caller may choose from.
    #[must_use]
    pub fn related(self, related: Vec<String>) -> Self {
        Self { related, ..self }
    }

    /// Reads a status. Without a problem in its details (a peer that is no service of ours, or the transport) the code
    /// is the nearest to the gRPC code.
    pub fn from_status(status: &Status) -> Self {
        match problem_of(status) {
            Some(problem) => Self::from_problem(problem, status.code()),
            None => Self::new(from_grpc(status.code()), status.message()),
        }
    }

    fn from_problem(problem: wire::Problem, code: Code) -> Self {
        Self {
            // A code of a newer release falls back to the nearest of the gRPC code.
            code: ErrorCode::parse(&problem.code).unwrap_or_else(|| from_grpc(code)),
            message: problem.message,
            field: problem.field,
            findings: problem.findings.into_iter().map(finding_from_wire).collect(),
            retry_after_ms: problem.retry_after_ms,
            related: problem.related,
        }
    }

    fn to_problem(&self) -> wire::Problem {
        let mut room = LISTS_SENT_BYTES_MAX;
        let mut fits = |bytes: usize| {
            let rest = room.checked_sub(bytes);
            room = rest.unwrap_or(0);
            rest.is_some()
        };
        let findings = self.findings.iter().map(finding_to_wire);
        let findings = findings.take_while(|f| fits(f.encoded_len() + 4)).collect();
        let related = self.related.iter().take_while(|id| fits(id.len() + 4)).cloned().collect();
        wire::Problem {
            code: self.code.as_str().into(),
            message: cut(&self.message),
            findings,
            field: cut(&self.field),
            retry_after_ms: self.retry_after_ms,
            related,
        }
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let code = to_grpc(fault.code);
        let message = cut(&fault.message);
        let any =
            prost_types::Any { type_url: PROBLEM_TYPE.into(), value: fault.to_problem().encode_to_vec() };
        let details =
            tonic_types::pb::Status { code: code as i32, message: message.clone(), details: vec![any] };
        Self::with_details(code, message, details.encode_to_vec().into())
    }
}

impl From<&Status> for Fault {
    fn from(status: &Status) -> Self {
        Self::from_status(status)
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_SENT_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into(),
    }
}

fn problem_of(status: &Status) -> Option<wire::Problem> {
    let details = tonic_types::pb::Status::decode(status.details()).ok()?;
    let any = details.details.iter().find(|any| any.type_url == PROBLEM_TYPE)?;
    wire::Problem::decode(any.value.as_slice()).ok()
}

/// A finding to the wire; long texts are cut.
pub fn finding_to_wire(finding: &Finding) -> wire::Finding {
    wire::Finding {
        severity: finding.severity.as_str().into(),
        code: finding.code.clone(),
        message: cut(&finding.message),
        line: finding.line,
        column: finding.column,
        path: cut(&finding.path),
        remedy: cut(&finding.remedy),
    }
}

/// A finding from the wire; an unknown severity counts as an error.
pub fn finding_from_wire(finding: wire::Finding) -> Finding {
    Finding {
        severity: Severity::parse(&finding.severity).unwrap_or(Severity::Error),
        code: finding.code,
        message: finding.message,
        line: finding.line,
        column: finding.column,
        path: finding.path,
        remedy: finding.remedy,
    }
}

/// The gRPC code of an error code, as the contracts promise.
pub const fn to_grpc(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidConfig
        | ErrorCode::InvalidArgument
        | ErrorCode::InvalidDefinition
        | ErrorCode::UnsupportedPattern
        | ErrorCode::UnsupportedMediaType => Code::InvalidArgument,
        ErrorCode::ExecutionFailed => Code::Unknown,
        ErrorCode::Timeout => Code::DeadlineExceeded,
        ErrorCode::DependencyFailed | ErrorCode::InvalidState | ErrorCode::NotOwner => {
            Code::FailedPrecondition
        }
        ErrorCode::ResourceExhausted | ErrorCode::BudgetExceeded | ErrorCode::InsufficientResources => {
            Code::ResourceExhausted
        }
        ErrorCode::NotFound => Code::NotFound,
        ErrorCode::AlreadyExists => Code::AlreadyExists,
        ErrorCode::Conflict | ErrorCode::AlreadyExecuting => Code::Aborted,
        ErrorCode::PayloadTooLarge => Code::OutOfRange,
        ErrorCode::MethodNotAllowed => Code::Unimplemented,
        ErrorCode::Unauthenticated => Code::Unauthenticated,
        ErrorCode::PermissionDenied => Code::PermissionDenied,
        ErrorCode::Cancelled => Code::Cancelled,
        ErrorCode::Unavailable => Code::Unavailable,
        ErrorCode::Internal => Code::Internal,
    }
}

/// The error code nearest to a gRPC code that came without a problem.
pub const fn from_grpc(code: Code) -> ErrorCode {
    match code {
        Code::InvalidArgument => ErrorCode::InvalidArgument,
        // tonic answers this for a message over its size limit.
        Code::OutOfRange => ErrorCode::PayloadTooLarge,
        Code::DeadlineExceeded => ErrorCode::Timeout,
        Code::NotFound => ErrorCode::NotFound,
        Code::AlreadyExists => ErrorCode::AlreadyExists,
        Code::PermissionDenied => ErrorCode::PermissionDenied,
        Code::ResourceExhausted => ErrorCode::ResourceExhausted,
        Code::FailedPrecondition => ErrorCode::InvalidState,
        Code::Aborted => ErrorCode::Conflict,
        Code::Unimplemented => ErrorCode::MethodNotAllowed,
        Code::Unavailable => ErrorCode::Unavailable,
        Code::Unauthenticated => ErrorCode::Unauthenticated,
        Code::Cancelled => ErrorCode::Cancelled,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => ErrorCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_comes_back_as_it_went() {
        for &code in ErrorCode::ALL {
            let fault = Fault::new(code, "what happened")
                .field("a.b")
                .findings(vec![Finding::new(Severity::Warning, "c", "p", "m").remedy("r").at(2, 3)])
                .retry_after_ms(7)
                .related(vec!["x".into()]);
            let status = Status::from(fault.clone());
            assert_eq!((status.code(), status.message()), (to_grpc(code), "what happened"));
            assert_eq!(Fault::from(&status), fault);
        }
    }

    #[test]
    fn a_strange_status_gets_the_nearest_code() {
        for (status, want) in [
            (Status::unavailable("x"), ErrorCode::Unavailable),
            (Status::out_of_range("too large"), ErrorCode::PayloadTooLarge),
            (Status::unknown("h2 broke"), ErrorCode::Internal),
            (Status::with_details(Code::NotFound, "x", vec![1, 2, 3].into()), ErrorCode::NotFound),
        ] {
            let fault = Fault::from_status(&status);
            assert_eq!((fault.code, fault.message.as_str()), (want, status.message()));
        }
    }

    #[test]
    fn what_a_newer_release_says_is_read_by_its_grpc_code() {
        let mut status = Status::from(Fault::new(ErrorCode::Conflict, "x"));
        let problem =
            wire::Problem { code: "invented_later".into(), message: "m".into(), ..wire::Problem::default() };
        let any = prost_types::Any { type_url: PROBLEM_TYPE.into(), value: problem.encode_to_vec() };
        let details = tonic_types::pb::Status { code: 0, message: String::new(), details: vec![any] };
        status = Status::with_details(status.code(), "m", details.encode_to_vec().into());
        assert_eq!(Fault::from_status(&status).code, ErrorCode::Conflict);
    }

    #[test]
    fn a_status_stays_small_enough_for_its_header() {
        let finding = Finding::new(Severity::Error, "code", "x".repeat(9000), "y".repeat(9000))
            .remedy("z".repeat(9000));
        let fault = Fault::new(ErrorCode::InvalidDefinition, "m".repeat(9000)).findings(vec![finding; 9000]);
        let status = Status::from(fault);
        assert!(status.details().len() < 10 << 10, "{}", status.details().len());
        assert!(!Fault::from_status(&status).findings.is_empty());
    }

    #[test]
    fn the_short_forms_say_what_they_mean() {
        assert_eq!(Fault::bad("page.size", "must be 1 to 1000").to_string(), "page.size: must be 1 to 1000");
        assert_eq!(Fault::not_found("agent", "a").to_string(), "agent a does not exist");
        assert_eq!(Fault::internal().code, ErrorCode::Internal);
        assert_eq!(Fault::unavailable("x").code, ErrorCode::Unavailable);
    }
}
