//! Example agents: real programs, deterministic, without a network, useful on any folder of text.
//!
//! [`supervisor`] splits a question and merges findings into a report, [`researcher`] searches a folder,
//! [`analyzer`] counts and finds key terms, [`development`] turns requirements into a checked release,
//! [`panel`] plays the parts of the patterns. [`input`] reads what the orchestrator sends, [`text`] and [`folder`] are
//! shared. The programs in `bin/` only read flags.

pub mod analyzer;
pub mod development;
pub mod folder;
pub mod input;
pub mod options;
pub mod panel;
pub mod report;
pub mod researcher;
pub mod search;
pub mod supervisor;
pub mod text;
