//! Floor 1: the plan and the execution state machine. No IO, no clock, no randomness.
//!
//! Three pure functions carry an execution: *decide* ([`State::step`]) turns an input into facts, *apply*
//! ([`State::apply`]) folds a fact, *outstanding* ([`State::outstanding`]) says what should be happening. The log holds
//! facts only, so a replay ([`fold`]) gives the same state bit for bit and no effect is ever repeated by recovery.
//! A step costs the changed task and its successors: ready counters, no scan of the plan, no copy of the state.

mod apply;
mod budget;
mod compiled;
mod decide;
mod event;
mod facts;
mod follow;
mod graph;
mod input;
mod mailbox;
mod names;
pub mod plan;
mod saga;
mod scope;
mod state;
mod step;
mod stuck;
mod task;
mod turn;
mod wait;

pub use compiled::{Compiled, PlanError};
pub use decide::{Input, Refusal, ResetFrom, Resolution};
pub use event::{Assignment, CallKey, Caller, Created, Decision, Event, Kind, Parent, Settings, SkipReason};
pub use facts::{
    Because, ChildOutcome, ChildStart, PlanChange, Seed, Spending, TurnResult, Usage, UserEvent, Verdict,
};
pub use input::EvalError;
pub use saga::Undoing;
pub use state::{Cause, State, Status, Timer};
pub use step::{Effect, Step, create, fold};
pub use stuck::{Reason, Why};
pub use task::{Attempt, CallPhase, CallState, TaskPhase, TaskState};
pub use turn::{ScopeState, Turn, TurnPhase};
pub use wait::{Asked, Decided, Waiting};
