//! Floor 1: the plan and the execution state machine. No IO, no clock, no randomness.
//!
//! Three pure functions carry an execution: *decide* ([`State::step`]) turns an input into facts, *apply*
//! ([`State::apply`]) folds a fact, *outstanding* ([`State::outstanding`]) says what should be happening. The log holds
//! facts only, so a replay ([`fold`]) gives the same state bit for bit and no effect is ever repeated by recovery.
//! A step costs the changed task and its successors: ready counters, no scan of the plan, no copy of the state.

mod apply;
mod compiled;
mod decide;
mod event;
mod facts;
mod input;
pub mod plan;
mod state;
mod step;

pub use compiled::{Compiled, PlanError};
pub use decide::{Input, Refusal, ResetFrom, Resolution};
pub use event::{Assignment, CallKey, Caller, Created, Decision, Event, Kind, Parent, Settings, SkipReason};
pub use facts::{
    Because, ChildOutcome, ChildStart, PlanChange, Seed, Spending, TurnResult, Usage, UserEvent, Verdict,
};
pub use input::EvalError;
pub use state::{Attempt, CallPhase, CallState, Cause, State, Status, TaskPhase, TaskState, Timer};
pub use step::{Effect, Step, create, fold};
