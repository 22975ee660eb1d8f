//! Floor 1: hooks, the brain. No IO, no clock, no randomness.
//!
//! A [`Hook`] says what is done when something happens: at one of eleven [`Trigger`]s an [`Action`] is taken (a command,
//! a webhook, an agent, a built-in function). Here are the rules that decide and never do:
//! - [`HookSpec::check`]: whether a hook may be stored, with the field that is wrong;
//! - [`Matcher`]: which hooks answer to an [`Occasion`], lower priority numbers first;
//! - [`Chain`]: which hook of them runs next, and what the whole comes to ([`Verdict`]);
//! - [`Answer::read`]: what a hook's output says;
//! - [`occasions`]: which triggers a lifecycle event of an execution fires;
//! - [`builtin`]: the pure built-in functions; [`net`]: which addresses a webhook may reach; [`sign`]: its signature.

mod action;
mod answer;
pub mod builtin;
mod chain;
mod hook;
mod matcher;
pub mod net;
mod occasion;
pub mod sign;
mod trigger;

pub use action::{Action, Builtin};
pub use answer::{Answer, Decision, Setting};
pub use chain::{Chain, Next, Outcome, Verdict};
pub use hook::{Hook, HookSpec, Invalid, OnFailure, Rules, TIMEOUT_DEFAULT_MS};
pub use matcher::Matcher;
pub use occasion::{Fact, Occasion, Subject, occasions};
pub use trigger::Trigger;
