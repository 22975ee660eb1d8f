//! What a call to an agent may do to the world, and how it may fail.

use serde::{Deserialize, Serialize};

/// What a capability does to the world: it decides what happens to a call whose outcome is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Changes nothing; may be repeated and cached.
    Pure,
    /// May be repeated with the same message id (the default: at least once).
    #[default]
    Idempotent,
    /// Can be undone by another call. An unknown outcome waits for a decision.
    Compensatable,
    /// Cannot be undone. An unknown outcome waits for a decision; it is never silently repeated.
    Irreversible,
}

impl Effect {
    /// Whether a call of unknown outcome may be sent again without asking anybody.
    pub const fn repeats(self) -> bool {
        matches!(self, Self::Pure | Self::Idempotent)
    }
    /// The text form used in definitions and on cards.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Idempotent => "idempotent",
            Self::Compensatable => "compensatable",
            Self::Irreversible => "irreversible",
        }
    }
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pure, Self::Idempotent, Self::Compensatable, Self::Irreversible]
            .into_iter()
            .find(|e| e.as_str() == text)
    }
}

/// Why an attempt failed. Retry policies select by it (`retryOn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The agent said that it failed.
    Error,
    /// No answer within the attempt, heartbeat or total timeout.
    Timeout,
    /// The agent could not be reached: known not sent.
    Unavailable,
    /// The connection broke after sending, or the answer was cut: outcome unknown.
    Broken,
    /// The answer breaks the output schema, the protocol or a size limit.
    InvalidOutput,
    /// The agent refused the task.
    Rejected,
    /// The agent asks to slow down.
    RateLimited,
    /// The agent wants credentials that we do not have.
    Auth,
    /// The agent cancelled the task by itself.
    AgentCancelled,
    /// No agent could be allocated in time.
    NoAgent,
    /// An expression, input mapping or limit of the definition failed at run time.
    Definition,
    /// An operator said so.
    Operator,
    /// The budget of the execution is spent.
    Budget,
    /// A hook stands against the call.
    Hook,
}

impl FailureClass {
    /// Every class, for documentation and validation.
    pub const ALL: &'static [Self] = &[
        Self::Error,
        Self::Timeout,
        Self::Unavailable,
        Self::Broken,
        Self::InvalidOutput,
        Self::Rejected,
        Self::RateLimited,
        Self::Auth,
        Self::AgentCancelled,
        Self::NoAgent,
        Self::Definition,
        Self::Operator,
        Self::Budget,
        Self::Hook,
    ];
    /// The text form used in definitions, logs and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Broken => "broken",
            Self::InvalidOutput => "invalid_output",
            Self::Rejected => "rejected",
            Self::RateLimited => "rate_limited",
            Self::Auth => "auth",
            Self::AgentCancelled => "agent_cancelled",
            Self::NoAgent => "no_agent",
            Self::Definition => "definition",
            Self::Operator => "operator",
            Self::Budget => "budget",
            Self::Hook => "hook",
        }
    }
    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.as_str() == text)
    }
    /// Whether the class is retried when a policy does not say: transport trouble, time-outs, rate limits and
    /// errors of the agent are; refusals, bad output and everything that would fail the same way again is not.
    pub const fn retried_by_default(self) -> bool {
        matches!(
            self,
            Self::Error
                | Self::Timeout
                | Self::Unavailable
                | Self::Broken
                | Self::RateLimited
                | Self::AgentCancelled
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_read_back() {
        for &class in FailureClass::ALL {
            assert_eq!(FailureClass::parse(class.as_str()), Some(class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
        for text in ["pure", "idempotent", "compensatable", "irreversible"] {
            assert_eq!(Effect::parse(text).unwrap().as_str(), text);
        }
        assert_eq!(Effect::parse("x"), None);
        assert_eq!(FailureClass::parse("x"), None);
    }

    #[test]
    fn only_harmless_calls_repeat() {
        assert!(Effect::Pure.repeats() && Effect::default().repeats());
        assert!(!Effect::Compensatable.repeats() && !Effect::Irreversible.repeats());
        assert!(FailureClass::Timeout.retried_by_default() && !FailureClass::Rejected.retried_by_default());
    }
}
