//! What can be wrong with settings. Every error names the layer, the key, the rule and a remedy.

use std::{fmt, path::PathBuf};

/// Where a value came from. A later layer wins over an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Built in.
    Default,
    /// A file, and the name under which the value stands there.
    File(PathBuf, String),
    /// A variable of the environment.
    Env(String),
    /// A flag of the command line.
    Flag(String),
    /// Set by the program that embeds Orchestra.
    Program,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, name) if name.is_empty() => write!(f, "file {}", path.display()),
            Self::File(path, name) => write!(f, "file {}, key {name}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Program => f.write_str("program"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {rule}; {remedy}", place(layer, key))]
pub struct ConfigError {
    /// Where it stands.
    pub layer: Layer,
    /// The setting, or the name as given when it is not known.
    pub key: String,
    /// The rule it breaks.
    pub rule: String,
    /// What to do.
    pub remedy: String,
}

/// A key that the layer names already is not said again.
fn place(layer: &Layer, key: &str) -> String {
    let layer = layer.to_string();
    let named = key.is_empty() || layer.rsplit(' ').next() == Some(key);
    if named { layer } else { format!("{layer}: {key}") }
}

/// All that is wrong, so that one attempt shows everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = if self.0.len() == 1 { "setting is" } else { "settings are" };
        write!(f, "{} {many} wrong", self.0.len())?;
        self.0.iter().try_for_each(|e| write!(f, "\n  {e}"))
    }
}

impl std::error::Error for ConfigErrors {}
