//! Floor 2: other workflow engines, behind one trait.
//!
//! An [`Engine`] starts work under an id that the caller chose, is asked for its end, and may take signals, queries,
//! cancels. [`Providers`] knows engines by the names that definitions use. [`temporal`] is one; another Orchestra is one
//! (in the executor, which speaks its contracts). [`conformance`] is the suite that every engine must pass: it says what
//! the trait means. It refuses to know executions, logs and retries: the executor makes durable steps of these calls.
//!
//! `docs/providers.md` tells how to write one.

pub mod conformance;
mod engine;
pub mod temporal;

pub use base::Payload;
pub use engine::{End, Engine, EngineError, Lost, Providers, Run, Start};
pub use workflow::plan::{Capabilities, Work};
