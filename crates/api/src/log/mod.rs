//! Events of executions as bytes of the log, and back.
//!
//! The log is private to executors and lives for as long as its executions: numbers and fields are never reused, and
//! what this build does not know is an error, never skipped.

mod decode;
mod encode;
mod graph;
mod result;

use base::FailureClass;
use workflow::{Event, Kind, Settings};

pub use decode::{LogError, Resolver, decode_payload, decode_row};
pub use encode::{Large, encode_payload, encode_row};
pub use result::{CallCost, CallResult, decode_result, encode_result};

/// Newest schema of rows that this build reads.
pub const LOG_SCHEMA: u16 = 3;

/// The lowest schema that covers `events`: what a row of them is written with. A member that reads only lower ones hands
/// the shard back.
pub fn schema_of(events: &[Event]) -> u16 {
    events.iter().map(|e| since(&e.kind)).max().unwrap_or(1)
}

/// The schema in which a fact first appeared.
pub fn since(kind: &Kind) -> u16 {
    match kind {
        Kind::Created(created) if created.settings != Settings::default() => 2,
        Kind::TaskFailed { spared: true, .. } => 2,
        Kind::ChildSettled { .. } => 3,
        Kind::AttemptFailed { class, .. } | Kind::TaskFailed { class, .. } | Kind::Failed { class, .. }
            if class_number(*class) > 12 =>
        {
            2
        }
        Kind::Created(_)
        | Kind::Admitted
        | Kind::TaskScheduled { .. }
        | Kind::TaskSkipped { .. }
        | Kind::AttemptStarted { .. }
        | Kind::AttemptBound { .. }
        | Kind::AttemptAdopted { .. }
        | Kind::AttemptFailed { .. }
        | Kind::ItemCompleted { .. }
        | Kind::TaskCompleted { .. }
        | Kind::TaskFailed { .. }
        | Kind::InputRequired { .. }
        | Kind::InputProvided { .. }
        | Kind::NeedsDecision { .. }
        | Kind::DecisionMade { .. }
        | Kind::NoAgent { .. }
        | Kind::Paused { .. }
        | Kind::Resumed { .. }
        | Kind::Completed { .. }
        | Kind::Failed { .. }
        | Kind::Cancelled { .. }
        | Kind::Terminated { .. }
        | Kind::Checkpoint { .. }
        | Kind::LateResult { .. }
        | Kind::HistoryWarning { .. } => 1,
        _ => 2,
    }
}

/// Numbers of failure classes in the log.
const CLASSES: &[(FailureClass, u32)] = &[
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
    (FailureClass::Budget, 13),
    (FailureClass::Hook, 14),
];

/// The log's number of a failure class.
pub fn class_number(class: FailureClass) -> u32 {
    CLASSES.iter().find(|(c, _)| *c == class).map_or(1, |(_, n)| *n)
}

/// The failure class of a log's number.
pub fn class_of(number: u32) -> Option<FailureClass> {
    CLASSES.iter().find(|(_, n)| *n == number).map(|(c, _)| *c)
}
