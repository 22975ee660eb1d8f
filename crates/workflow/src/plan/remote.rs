//! Work that another engine does: what it is, and what an engine can do.
//!
//! To the state machine it is a call like one to an agent: written ahead, bound to the engine's name for it, recovered,
//! retried and cancelled by the same rules.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{NodeKind, TaskPlan};

/// The name of the engine that runs everything that names no other.
pub const BUILT_IN: &str = "builtin";

/// The id under which an engine stands among the agents that calls go to.
pub fn provider_id(provider: &str) -> String {
    format!("provider.{provider}")
}

/// What a task has done elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remote {
    /// Name of the engine.
    pub provider: String,
    /// What it runs.
    pub work: Work,
    /// Where the engine queues it; `None` = the engine has no queues, or its own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_queue: Option<String>,
}

/// What an engine runs. The input of the task is its input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A workflow that the engine knows by this name.
    Workflow(String),
    /// A chain, as it stands in the definition.
    Chain(Value),
    /// A graph, as it stands in the definition.
    Graph(Value),
}

impl Work {
    /// Its kind, for people.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Workflow(_) => "workflow",
            Self::Chain(_) => "chain",
            Self::Graph(_) => "graph",
        }
    }
}

/// What an engine can do. What it cannot is refused before anything runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Runs workflows that it knows by name.
    pub workflows: bool,
    /// Runs chains that it is given.
    pub chains: bool,
    /// Runs graphs that it is given.
    pub graphs: bool,
    /// Queues work by the name of a task queue.
    pub task_queues: bool,
    /// Shows signs of life while it works, so that silence can be limited (`timeouts.heartbeat`).
    pub heartbeats: bool,
    /// Takes signals.
    pub signals: bool,
    /// Answers queries.
    pub queries: bool,
    /// Ends work that is asked to stop, and lets it clean up.
    pub cancel: bool,
    /// Ends work at once.
    pub terminate: bool,
}

impl Capabilities {
    /// Whether work of this kind can be run.
    pub const fn runs(&self, work: &Work) -> bool {
        match work {
            Work::Workflow(_) => self.workflows,
            Work::Chain(_) => self.chains,
            Work::Graph(_) => self.graphs,
        }
    }
}

/// The engines of this release beside the built-in one, by name.
pub const SHIPPED: &[(&str, Capabilities)] = &[
    (
        "temporal",
        Capabilities {
            workflows: true,
            chains: false,
            graphs: false,
            task_queues: true,
            heartbeats: false,
            signals: true,
            queries: true,
            cancel: true,
            terminate: true,
        },
    ),
    (
        "orchestra",
        Capabilities {
            workflows: true,
            chains: true,
            graphs: true,
            task_queues: false,
            heartbeats: false,
            signals: true,
            queries: true,
            cancel: true,
            terminate: true,
        },
    ),
];

/// Whether a task, or one inside of it, is done elsewhere.
pub(crate) fn any(task: &TaskPlan) -> bool {
    let inner = match &task.kind {
        NodeKind::Scope(scope) => scope.tasks.iter().any(any),
        _ => false,
    };
    inner || task.remote.is_some() || task.compensate.as_deref().is_some_and(any)
}
