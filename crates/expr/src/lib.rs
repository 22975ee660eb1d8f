//! The one expression language: CEL, compiled once and bounded in cost.
//!
//! [`Expr`] is an expression (`when`, `for_each`, filters, policies), [`Template`] a JSON value whose texts may hold
//! `${ expression }` (input mapping, outputs). Both name what they read ([`Expr::references`]) and are evaluated
//! against a [`Scope`], of which only what they name is looked at.
//!
//! # What bounds an expression
//! Its text, its operators and the nesting of its loops are limited when it is compiled; how much it does is counted
//! while it runs (see [`Limits`]), so a small expression over a big list ends with a typed error instead of holding a
//! thread. There is no clock, no randomness and no IO in the language.
//!
//! # Where it differs from plain CEL
//! - JSON numbers without fraction are integers, and integers stay integers in the result.
//! - A name that is no identifier is written in backticks (`` tasks.`my-task`.output ``) or indexed
//!   (`tasks["my-task"].output`).
//! - The pattern of `matches` is a literal, so that it is checked when the expression is compiled.
//! - Durations come out as seconds (`"1.5s"`), timestamps as RFC 3339, bytes as base64.

mod compile;
mod convert;
mod error;
mod meter;
mod paths;
mod scan;
mod scope;
mod template;

pub use compile::Expr;
pub use error::{ExprError, ExprErrorKind, Limits};
pub use paths::Path;
pub use scope::{Lookup, Node, Scope};
pub use template::Template;
