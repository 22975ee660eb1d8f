//! How the language sees the engines beside the built-in one, and which kinds of definitions are taken.

use workflow::plan::{Capabilities, SHIPPED};

use crate::definition::Dialect;

/// An engine that can be named with `provider`.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// What it can do.
    pub can: Capabilities,
    /// The setting that it lacks here; `None` = it can be used.
    pub lacks: Option<String>,
}

impl Provider {
    /// The engines of this release, all usable: for checks away from any installation.
    pub fn shipped() -> Vec<Self> {
        SHIPPED.iter().map(|(name, can)| Self { name: (*name).into(), can: *can, lacks: None }).collect()
    }
}

/// Which kinds of definitions an installation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// `chain:` and lists of steps written as one.
    pub chains: bool,
    /// `graph:`.
    pub graphs: bool,
    /// Everything else.
    pub workflows: bool,
}

impl Default for Kinds {
    fn default() -> Self {
        Self { chains: true, graphs: true, workflows: true }
    }
}

impl Kinds {
    /// What turns definitions of this dialect off: their name, and the setting.
    pub fn refuses(self, dialect: Dialect) -> Option<(&'static str, &'static str)> {
        let (on, what) = match dialect {
            Dialect::Chain => (self.chains, ("chains", "planner.chains")),
            Dialect::Graph => (self.graphs, ("graphs", "planner.graphs")),
            Dialect::Canonical | Dialect::Workflow | Dialect::Stages | Dialect::Steps => {
                (self.workflows, ("workflows", "planner.workflows"))
            }
        };
        (!on).then_some(what)
    }
}
