//! How a call can fail, told apart by what the caller may do next.

use std::time::Duration;

use base::FailureClass;

use crate::{Fault, FaultKind, codec::BadShape};

/// A call that gave no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Refused connection, unknown host, failed TLS handshake: no byte of the request left. Safe to send elsewhere.
    #[error("not sent to {to}: {cause}")]
    NotSent {
        /// Host and port.
        to: String,
        /// What happened.
        cause: String,
    },
    /// Nothing came for the idle time, or the deadline passed. The agent may have acted.
    #[error("no answer within {after:?} ({which})")]
    Timeout {
        /// Which limit it was: `idle timeout` or `deadline`.
        which: &'static str,
        /// How long this call waited.
        after: Duration,
    },
    /// The connection broke after sending, or the answer was cut. The agent may have acted.
    #[error("connection broke: {cause}")]
    Broken {
        /// What happened.
        cause: String,
    },
    /// The agent answered with an error.
    #[error("agent answered {0}")]
    Fault(#[from] Fault),
    /// The answer is not A2A.
    #[error("invalid answer: {reason}")]
    InvalidAnswer {
        /// The rule it broke.
        reason: String,
    },
    /// The answer is over the limit of this call.
    #[error("answer is larger than the limit of {limit_bytes} bytes")]
    TooBig {
        /// `response_limit_bytes` of the call.
        limit_bytes: usize,
    },
}

impl CallError {
    /// Known not to have reached the agent.
    pub fn known_not_sent(&self) -> bool {
        matches!(self, Self::NotSent { .. })
    }

    /// The agent may or may not have acted; the effect class decides whether the same message may be sent again.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Broken { .. })
    }

    /// The class that retry policies select by.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::NotSent { .. } => FailureClass::Unavailable,
            Self::Timeout { .. } => FailureClass::Timeout,
            Self::Broken { .. } => FailureClass::Broken,
            Self::InvalidAnswer { .. } | Self::TooBig { .. } => FailureClass::InvalidOutput,
            Self::Fault(fault) => fault_class(fault.kind),
        }
    }

    /// How long the agent asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Fault(fault) => fault.retry_after,
            _ => None,
        }
    }

    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::InvalidAnswer { reason: reason.into() }
    }
    pub(crate) fn broken(cause: impl std::fmt::Display) -> Self {
        Self::Broken { cause: cause.to_string() }
    }
}

impl From<BadShape> for CallError {
    fn from(err: BadShape) -> Self {
        Self::invalid(err.to_string())
    }
}

fn fault_class(kind: FaultKind) -> FailureClass {
    match kind {
        FaultKind::RateLimited => FailureClass::RateLimited,
        FaultKind::Unauthenticated | FaultKind::PermissionDenied => FailureClass::Auth,
        FaultKind::Internal | FaultKind::InvalidAgentResponse | FaultKind::TaskNotCancelable => {
            FailureClass::Error
        }
        // A task that the agent gave us and does not know any more: it lost its memory.
        FaultKind::TaskNotFound => FailureClass::Broken,
        FaultKind::PushNotSupported
        | FaultKind::Unsupported
        | FaultKind::ContentType
        | FaultKind::ExtendedCardMissing
        | FaultKind::ExtensionRequired
        | FaultKind::VersionNotSupported
        | FaultKind::Parse
        | FaultKind::InvalidRequest
        | FaultKind::MethodNotFound
        | FaultKind::InvalidParams => FailureClass::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_the_class_that_decides_what_happens_next() {
        let fault = |kind| CallError::Fault(Fault::new(kind, ""));
        let not_sent = CallError::NotSent { to: "h".into(), cause: "refused".into() };
        let late = CallError::Timeout { which: "deadline", after: Duration::from_secs(1) };
        for (error, class, not_sent, unknown) in [
            (not_sent, FailureClass::Unavailable, true, false),
            (late, FailureClass::Timeout, false, true),
            (CallError::broken("reset"), FailureClass::Broken, false, true),
            (CallError::invalid("x"), FailureClass::InvalidOutput, false, false),
            (CallError::TooBig { limit_bytes: 1 }, FailureClass::InvalidOutput, false, false),
            (fault(FaultKind::RateLimited), FailureClass::RateLimited, false, false),
            (fault(FaultKind::Unauthenticated), FailureClass::Auth, false, false),
            (fault(FaultKind::InvalidParams), FailureClass::Rejected, false, false),
            (fault(FaultKind::Internal), FailureClass::Error, false, false),
            (fault(FaultKind::TaskNotFound), FailureClass::Broken, false, false),
        ] {
            assert_eq!(
                (error.class(), error.known_not_sent(), error.outcome_unknown()),
                (class, not_sent, unknown)
            );
        }
    }
}
