//! The bodies of requests and answers: one declaration gives the reading, the writing and the schema.

pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod budgets;
pub(crate) mod cache;
pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod executions;
pub(crate) mod hooks;
pub(crate) mod letters;
pub(crate) mod patterns;
pub(crate) mod schedules;
pub(crate) mod sessions;
pub(crate) mod start;
pub(crate) mod workflows;

/// An empty text is left out of an answer.
pub(crate) fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
