//! The one definition that every dialect becomes.

use std::collections::BTreeMap;

use base::units::Resources;
use serde_json::Value;
use workflow::plan::{Limits, OutputSpec, Role, TaskPlan};

use crate::text::tree::Pos;

/// The form a definition is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `tasks` at the top; also the body of `POST /api/v1/workflows`.
    Canonical,
    /// `workflow: {tasks: …}`.
    Workflow,
    /// `stages`.
    Stages,
    /// `steps`.
    Steps,
    /// `chain: {steps: …}`.
    Chain,
    /// `graph: {nodes: …, edges: …}`.
    Graph,
}

impl Dialect {
    /// The name used in contracts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Canonical => "canonical",
            Self::Workflow => "workflow",
            Self::Stages => "stages",
            Self::Steps => "steps",
            Self::Chain => "chain",
            Self::Graph => "graph",
        }
    }
}

/// `type`: how the order of tasks follows from the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// A task that names no dependencies follows the one before it.
    Sequential,
    /// A task that names no dependencies waits for nothing.
    Parallel,
    /// As written: the same as `parallel`, said for a graph.
    #[default]
    Dag,
}

impl Shape {
    /// The name used in definitions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Parallel => "parallel",
            Self::Dag => "dag",
        }
    }
}

/// A definition, read and typed. Made by [`crate::compile`] from text.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The form it was written in.
    pub dialect: Dialect,
    /// Key of the workflow.
    pub name: String,
    /// `None` = derived from the content.
    pub version: Option<String>,
    /// How the order of tasks follows.
    pub shape: Shape,
    /// `orchestration_pattern`, empty when none is named.
    pub pattern: String,
    /// Groups of interchangeable agents.
    pub roles: BTreeMap<String, Role>,
    /// Tasks in the order of the text. [`TaskPlan::after`] is filled by the compiler.
    pub tasks: Vec<Task>,
    /// Limits of an execution.
    pub limits: Limits,
    /// What the workflow asks for as a whole (`resources` of S0).
    pub resources: Resources,
    /// JSON Schema of the execution's input.
    pub input_schema: Option<Value>,
    /// Where the execution's output comes from.
    pub output: OutputSpec,
    /// Free metadata, shown to people.
    pub metadata: BTreeMap<String, Value>,
    /// What is typed and kept, and gets its effect from later work (`compliance`, `coordination`, …).
    pub later: BTreeMap<String, Value>,
    pub(crate) places: Places,
}

/// A task and what it waits for.
#[derive(Clone, Debug)]
pub struct Task {
    /// Everything but the order.
    pub plan: TaskPlan,
    /// Ids it waits for; `None` = the key is not there, and the shape decides.
    pub depends_on: Option<Vec<String>>,
    /// `type` of a step: the capability when nothing else says who does it, else a description.
    pub kind: Option<String>,
    /// `agent`: a role when there is one of that name, else an agent.
    pub agent: Option<String>,
    /// `parallel: true`.
    pub parallel: bool,
    /// `count` of the task itself; else the role's.
    pub count: Option<u32>,
    pub(crate) places: TaskPlaces,
}

/// Where things of the definition stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) name: Pos,
    pub(crate) input_schema: Pos,
    pub(crate) output: Pos,
    pub(crate) output_reads: Vec<Read>,
    pub(crate) entry: Option<Vec<(String, Pos)>>,
    pub(crate) outputs: Vec<Pos>,
    pub(crate) limits: Pos,
    pub(crate) resources: Pos,
    pub(crate) roles: BTreeMap<String, Pos>,
    /// The key that holds the tasks: `tasks`, `stages`, `steps` or `nodes`.
    pub(crate) tasks: &'static str,
    /// Dependencies written apart from the tasks: (before, after, place).
    pub(crate) edges: Vec<(String, String, Pos)>,
}

/// Where things of a task stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskPlaces {
    pub(crate) at: Pos,
    pub(crate) id: Pos,
    pub(crate) agent: Pos,
    pub(crate) depends_on: Vec<Pos>,
    pub(crate) input: Pos,
    pub(crate) input_schema: Pos,
    pub(crate) output_schema: Pos,
    pub(crate) when: Pos,
    pub(crate) spread: Pos,
    pub(crate) resources: Pos,
    pub(crate) reads: Vec<Read>,
}

/// A variable path that an expression reads, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) at: Pos,
    pub(crate) path: expr::Path,
    pub(crate) place: Place,
}

/// Which expression of a task it is: they see different variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    When,
    ForEach,
    Input,
    Output,
}
