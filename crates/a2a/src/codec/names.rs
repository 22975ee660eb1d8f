//! Names of states and roles in both dialects.

use super::Dialect;
use crate::model::{Role, TaskState};

const STATES: [(TaskState, &str, &str); 9] = [
    (TaskState::Unspecified, "TASK_STATE_UNSPECIFIED", "unknown"),
    (TaskState::Submitted, "TASK_STATE_SUBMITTED", "submitted"),
    (TaskState::Working, "TASK_STATE_WORKING", "working"),
    (TaskState::Completed, "TASK_STATE_COMPLETED", "completed"),
    (TaskState::Failed, "TASK_STATE_FAILED", "failed"),
    (TaskState::Canceled, "TASK_STATE_CANCELED", "canceled"),
    (TaskState::InputRequired, "TASK_STATE_INPUT_REQUIRED", "input-required"),
    (TaskState::Rejected, "TASK_STATE_REJECTED", "rejected"),
    (TaskState::AuthRequired, "TASK_STATE_AUTH_REQUIRED", "auth-required"),
];

/// The name of a state on the wire.
pub(crate) fn state_name(state: TaskState, dialect: Dialect) -> &'static str {
    let row = STATES.iter().find(|row| row.0 == state).unwrap_or(&STATES[0]);
    match dialect {
        Dialect::V1 => row.1,
        Dialect::V03 => row.2,
    }
}

/// Reads a state, by name or by the number of the proto enum. What is not known is unspecified.
pub(crate) fn state_from(name: &str) -> TaskState {
    let by_name = STATES.iter().find(|row| row.1 == name || row.2 == name).map(|row| row.0);
    let by_number = || name.parse::<usize>().ok().and_then(|n| STATES.get(n)).map(|row| row.0);
    by_name.or_else(by_number).unwrap_or_default()
}

/// The name of a role on the wire.
pub(crate) fn role_name(role: Role, dialect: Dialect) -> &'static str {
    match (role, dialect) {
        (Role::Unspecified, Dialect::V1) => "ROLE_UNSPECIFIED",
        (Role::User, Dialect::V1) => "ROLE_USER",
        (Role::Agent, Dialect::V1) => "ROLE_AGENT",
        (Role::User, Dialect::V03) => "user",
        (Role::Agent | Role::Unspecified, Dialect::V03) => "agent",
    }
}

/// Reads a role, by name or by the number of the proto enum.
pub(crate) fn role_from(name: &str) -> Role {
    match name {
        "ROLE_USER" | "user" | "1" => Role::User,
        "ROLE_AGENT" | "agent" | "2" => Role::Agent,
        _ => Role::Unspecified,
    }
}
