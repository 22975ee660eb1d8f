//! Events of executions as bytes of the log, and back.
//!
//! The log is private to executors and lives for as long as its executions: numbers and fields are never reused, and
//! what this build does not know is an error, never skipped.

mod decode;
mod encode;
mod result;

use base::FailureClass;

pub use decode::{LogError, Resolver, decode_payload, decode_row};
pub use encode::{Large, encode_payload, encode_row};
pub use result::{CallResult, decode_result, encode_result};

/// Schema number of rows written by this build.
pub const LOG_SCHEMA: u16 = 1;

/// Numbers of failure classes in the log.
const CLASSES: [(FailureClass, u32); 12] = [
    (FailureClass::Error, 1),
    (FailureClass::Timeout, 2),
    (FailureClass::Unavailable, 3),
    (FailureClass::Broken, 4),
    (FailureClass::InvalidOutput, 5),
    (FailureClass::Rejected, 6),
    (FailureClass::RateLimited, 7),
    (FailureClass::Auth, 8),
    (FailureClass::AgentCancelled, 9),
    (FailureClass::NoAgent, 10),
    (FailureClass::Definition, 11),
    (FailureClass::Operator, 12),
];

/// The log's number of a failure class.
pub fn class_number(class: FailureClass) -> u32 {
    CLASSES.iter().find(|(c, _)| *c == class).map_or(1, |(_, n)| *n)
}

/// The failure class of a log's number.
pub fn class_of(number: u32) -> Option<FailureClass> {
    CLASSES.iter().find(|(_, n)| *n == number).map(|(c, _)| *c)
}
