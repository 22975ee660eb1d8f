//! Budgets of tenants and workflows: what may be spent in a day, a month or in all.
//!
//! A start under a budget writes that it belongs to it, is refused when the budget is used up, and is given what is left
//! as its own budget, which the state machine holds every call to. What it spent is counted when it has ended: once, by
//! a mark in the same transaction, whatever dies in between. Executions that run at the same time are each given what
//! is left: together they may spend more, and the next start is refused.

mod book;
mod door;
mod rules;

pub use book::{Budgets, keep};
pub use door::BudgetDoor;
