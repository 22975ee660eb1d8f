//! How a command can end, for people and for scripts.

use std::process::ExitCode;

use api::Fault;
use base::{ErrorCode, Finding};
use serde_json::json;

use crate::out::Out;

/// Exit codes. They are part of the contract; `docs/cli.md` and `--help` list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The execution failed, or the server refused.
    Failed = 1,
    /// The command line or a setting is wrong.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// A definition has errors.
    Invalid = 4,
    /// The server cannot be reached, or is not ready.
    Unavailable = 5,
    /// A deadline passed.
    Timeout = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Stable code, as at every door.
    pub(crate) code: ErrorCode,
    /// Empty = everything has been said already.
    pub(crate) message: String,
    pub(crate) remedy: Option<String>,
    pub(crate) findings: Vec<Finding>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { exit, code, message: message.into(), remedy: None, findings: Vec::new() }
    }
    /// The command line is wrong in a way that its parser cannot see.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, ErrorCode::InvalidArgument, message)
    }
    /// Ends with `exit`; the reason has been printed.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, ErrorCode::Internal, "")
    }
    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// Says it on standard error: for people, or as one JSON object when the output is for programs.
    pub(crate) fn print(&self, out: &Out) {
        if self.message.is_empty() {
            return;
        }
        if out.is_for_programs() {
            let error = json!({
                "code": self.code, "message": self.message, "remedy": self.remedy,
                "findings": self.findings, "exit_code": self.exit as u8,
            });
            out.error_line(json!({ "error": error }));
            return;
        }
        out.error_line(format_args!("{} {}", out.red("error:"), self.message));
        for finding in &self.findings {
            out.error_line(format_args!("  {finding}"));
        }
        if let Some(remedy) = &self.remedy {
            out.error_line(format_args!("{} {remedy}", out.cyan(" help:")));
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let remedy = remedy(&fault);
        Self {
            exit: exit_of(fault.code),
            code: fault.code,
            message: fault.message,
            remedy,
            findings: fault.findings,
        }
    }
}

/// No `_` arm: a new code must choose its exit code.
pub(crate) const fn exit_of(code: ErrorCode) -> Exit {
    use ErrorCode as E;
    match code {
        E::InvalidArgument | E::InvalidConfig | E::UnsupportedMediaType | E::MethodNotAllowed => Exit::Usage,
        E::NotFound => Exit::NotFound,
        E::InvalidDefinition | E::UnsupportedPattern => Exit::Invalid,
        E::Unavailable | E::NotOwner => Exit::Unavailable,
        E::Timeout => Exit::Timeout,
        E::ExecutionFailed
        | E::DependencyFailed
        | E::ResourceExhausted
        | E::BudgetExceeded
        | E::InvalidState
        | E::AlreadyExists
        | E::Conflict
        | E::AlreadyExecuting
        | E::InsufficientResources
        | E::PayloadTooLarge
        | E::Unauthenticated
        | E::PermissionDenied
        | E::Cancelled
        | E::Internal => Exit::Failed,
    }
}

fn remedy(fault: &Fault) -> Option<String> {
    if !fault.related.is_empty() {
        return Some(format!("related: {}", fault.related.join(", ")));
    }
    if fault.retry_after_ms > 0 {
        return Some(format!("try again in {:.1} s", fault.retry_after_ms as f64 / 1000.0));
    }
    let text = match fault.code {
        ErrorCode::Unavailable => {
            "is `orchestra dev` running? `orchestra health` shows what is missing; --server names another address"
        }
        ErrorCode::AlreadyExecuting => {
            "see `orchestra executions list`; the definition says `concurrency: 1`"
        }
        ErrorCode::InsufficientResources => "`orchestra plan FILE --fleet` shows what is missing",
        ErrorCode::MethodNotAllowed => {
            "the server is older than this program, or --server is not Orchestra's gRPC port"
        }
        ErrorCode::Internal => "the server's log has the cause",
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_has_the_exit_code_that_scripts_expect() {
        for &code in ErrorCode::ALL {
            let want = match code.as_str() {
                "invalid_argument" | "invalid_config" | "unsupported_media_type" | "method_not_allowed" => 2,
                "not_found" => 3,
                "invalid_definition" | "unsupported_pattern" => 4,
                "unavailable" | "not_owner" => 5,
                "timeout" => 6,
                _ => 1,
            };
            assert_eq!(exit_of(code) as u8, want, "{code}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let failure = Failure::from(Fault::unavailable("nothing answers at http://x:1"));
        assert!(failure.remedy.unwrap().contains("`orchestra dev`"));
        let failure = Failure::from(Fault::new(ErrorCode::ResourceExhausted, "full").retry_after_ms(1500));
        assert_eq!(failure.remedy.as_deref(), Some("try again in 1.5 s"));
    }
}
