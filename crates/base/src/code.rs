//! The closed set of error codes: one stable name per kind, at every door (REST, gRPC, CLI, log).

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $http:literal, $retryable:literal;)*) => {
        /// What went wrong, as callers act on it. The text form is part of the public contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// Every code, for documentation and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// The stable text form.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $text,)* } }
            /// The HTTP status it travels with.
            pub const fn http_status(self) -> u16 { match self { $(Self::$name => $http,)* } }
            /// Whether the same request may succeed later without a change (S4-107).
            pub const fn is_retryable(self) -> bool { match self { $(Self::$name => $retryable,)* } }
            /// Reads the stable text form.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// A setting or an option is wrong (S4-100).
    InvalidConfig = "invalid_config", 400, false;
    /// A request is malformed; the message names the field.
    InvalidArgument = "invalid_argument", 400, false;
    /// A workflow definition has errors; the report lists them.
    InvalidDefinition = "invalid_definition", 422, false;
    /// A type or pattern that this build does not run (S3-49).
    UnsupportedPattern = "unsupported_pattern", 400, false;
    /// An execution ended in failure (S4-101).
    ExecutionFailed = "execution_failed", 500, false;
    /// A deadline passed (S4-102).
    Timeout = "timeout", 504, true;
    /// Something this depends on failed (S4-103).
    DependencyFailed = "dependency_failed", 424, false;
    /// A limit is reached; the answer says when to try again (S4-104).
    ResourceExhausted = "resource_exhausted", 429, true;
    /// A budget of the tenant or the workflow is used up.
    BudgetExceeded = "budget_exceeded", 429, false;
    /// Not possible in the present state (S4-105).
    InvalidState = "invalid_state", 409, false;
    /// Not there, or not visible to the caller (S4-106).
    NotFound = "not_found", 404, false;
    /// The key is taken by something else.
    AlreadyExists = "already_exists", 409, false;
    /// The resource changed since the caller read it.
    Conflict = "conflict", 409, false;
    /// `concurrency: 1` and an execution is active (S3-61).
    AlreadyExecuting = "already_executing", 409, false;
    /// The fleet or the given constraints can never give what the plan needs (S3-50, S3-62).
    InsufficientResources = "insufficient_resources", 507, false;
    /// A body or payload is over its limit.
    PayloadTooLarge = "payload_too_large", 413, false;
    /// A media type that is not understood.
    UnsupportedMediaType = "unsupported_media_type", 415, false;
    /// The method does not exist on this path.
    MethodNotAllowed = "method_not_allowed", 405, false;
    /// No identity, or one that could not be checked.
    Unauthenticated = "unauthenticated", 401, false;
    /// The caller may not do this.
    PermissionDenied = "permission_denied", 403, false;
    /// The caller gave up.
    Cancelled = "cancelled", 499, false;
    /// A peer or store is away; nothing was changed or the change is safe to repeat.
    Unavailable = "unavailable", 503, true;
    /// This replica does not own the shard (between services only).
    NotOwner = "not_owner", 421, true;
    /// A bug or a broken store; the log has the cause.
    Internal = "internal", 500, false;
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_has_a_client_or_server_status() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.to_string());
            assert!((400..=599).contains(&code.http_status()));
        }
        assert_eq!(ErrorCode::parse("nope"), None);
        assert!(ErrorCode::ResourceExhausted.is_retryable() && !ErrorCode::NotFound.is_retryable());
    }
}
