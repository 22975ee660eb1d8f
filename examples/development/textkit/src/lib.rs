//! Functions over texts, each from a requirement.

pub mod trimmed;
