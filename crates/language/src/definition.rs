//! The one definition that every dialect becomes.

use std::collections::BTreeMap;

use base::units::Resources;
use serde_json::Value;
use workflow::plan::{Edge, Limits, OutputSpec, Role, Saga, SessionSpec, TaskPlan, Trigger, Work};

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

/// `type`: how the order of tasks follows from the text, and how often they run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// A task that names no dependencies follows the one before it.
    Sequential,
    /// A task that names no dependencies waits for nothing.
    Parallel,
    /// As written: the same as `parallel`, said for a graph.
    #[default]
    Dag,
    /// Stages that items go through, one after another, several items at once.
    Pipeline,
    /// Every task is given the same input.
    Fanout,
    /// The same, and what they give is gathered; or one run of the tasks per item.
    ScatterGather,
    /// A switch chooses.
    Conditional,
    /// Turn after turn.
    Loop,
    /// Started by events.
    EventDriven,
}

impl Shape {
    /// Every shape.
    pub const ALL: &'static [Self] = &[
        Self::Sequential,
        Self::Parallel,
        Self::Dag,
        Self::Pipeline,
        Self::Fanout,
        Self::ScatterGather,
        Self::Conditional,
        Self::Loop,
        Self::EventDriven,
    ];

    /// The name used in definitions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Parallel => "parallel",
            Self::Dag => "dag",
            Self::Pipeline => "pipeline",
            Self::Fanout => "fanout",
            Self::ScatterGather => "scatter-gather",
            Self::Conditional => "conditional",
            Self::Loop => "loop",
            Self::EventDriven => "event-driven",
        }
    }

    /// Whether a task that says nothing follows the one before it.
    pub(crate) const fn in_sequence(self) -> bool {
        matches!(self, Self::Sequential | Self::Pipeline | Self::Loop)
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
    /// Its `type`. The tasks already stand as it says: the body of a loop is the body of a task.
    pub shape: Shape,
    /// `orchestration_pattern`, empty when none is named.
    pub pattern: String,
    /// Groups of interchangeable agents.
    pub roles: BTreeMap<String, Role>,
    /// The tasks.
    pub body: Body,
    /// Limits of an execution.
    pub limits: Limits,
    /// What the workflow asks for as a whole (`resources` of S0).
    pub resources: Resources,
    /// JSON Schema of the execution's input.
    pub input_schema: Option<Value>,
    /// First values of variables.
    pub vars: Option<Value>,
    /// What undoes completed work; `None` = follows from whether any task can be undone.
    pub saga: Option<Saga>,
    /// The session that executions belong to.
    pub session: Option<SessionSpec>,
    /// What starts executions.
    pub triggers: Vec<Trigger>,
    /// Free metadata, shown to people.
    pub metadata: BTreeMap<String, Value>,
    /// What is typed and kept, and gets its effect elsewhere (`compliance`, …).
    pub later: BTreeMap<String, Value>,
    pub(crate) places: Places,
}

/// Tasks and how they hang together: of the definition, or of a task that has tasks of its own.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// How the order of tasks follows.
    pub shape: Shape,
    /// Tasks in the order of the text. [`TaskPlan::after`] is filled by the compiler.
    pub tasks: Vec<Task>,
    /// Where its output comes from.
    pub output: OutputSpec,
    pub(crate) places: BodyPlaces,
}

impl Body {
    /// Shows every task to `see`, in bodies and compensations too.
    pub(crate) fn each_mut(&mut self, see: &mut dyn FnMut(&mut Task)) {
        for task in &mut self.tasks {
            see(task);
            if let Some(body) = &mut task.body {
                body.each_mut(see);
            }
            if let Some(undo) = &mut task.compensate {
                see(undo);
            }
        }
    }
    /// Shows every task to `see` with what gives its path: in bodies, compensations and among those who may be picked.
    pub(crate) fn walk<'a>(&'a self, outer: &str, see: &mut dyn FnMut(&'a Task, &dyn Fn() -> String)) {
        for (n, task) in self.tasks.iter().enumerate() {
            let path = || self.places.path(outer, n);
            see(task, &path);
            if let Some(body) = &task.body {
                body.walk(&path(), see);
            }
            if let Some(undo) = &task.compensate {
                see(undo, &|| format!("{}.compensate", path()));
            }
            for (name, who) in task.extra.iter().flat_map(|extra| &extra.among) {
                see(who, &|| format!("{}.pick.among.{name}", path()));
            }
        }
    }
    /// The same, to change them.
    pub(crate) fn walk_mut(&mut self, outer: &str, see: &mut dyn FnMut(&mut Task, &dyn Fn() -> String)) {
        let places = &self.places;
        for (n, task) in self.tasks.iter_mut().enumerate() {
            let path = || places.path(outer, n);
            see(task, &path);
            if let Some(body) = &mut task.body {
                body.walk_mut(&path(), see);
            }
            if let Some(undo) = &mut task.compensate {
                see(undo, &|| format!("{}.compensate", path()));
            }
            for (name, who) in task.extra.iter_mut().flat_map(|extra| &mut extra.among) {
                see(who, &|| format!("{}.pick.among.{name}", path()));
            }
        }
    }
}

/// A task and what it waits for.
#[derive(Clone, Debug)]
pub struct Task {
    /// Everything but the order and the tasks inside of it.
    pub plan: TaskPlan,
    /// What it waits for; `None` = the key is not there, and the shape decides.
    pub depends_on: Option<Vec<Dependency>>,
    /// `type` of a step: the capability when nothing else says who does it, else a description.
    pub kind: Option<String>,
    /// `agent`: a role when there is one of that name, else an agent.
    pub agent: Option<String>,
    /// `parallel: true`.
    pub parallel: bool,
    /// `count` of the task itself; else the role's.
    pub count: Option<u32>,
    /// The tasks of a scope.
    pub body: Option<Box<Body>>,
    /// What undoes it.
    pub compensate: Option<Box<Task>>,
    /// The topic whose events start it.
    pub on_event: Option<String>,
    pub(crate) extra: Option<Box<Extra>>,
    pub(crate) places: TaskPlaces,
}

/// What only few tasks say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// Who may be picked, each read as a task that nobody runs.
    pub(crate) among: Vec<(String, Task)>,
    /// Tasks that a case of this switch leads to: label, task, place, whether the label may be a mere name.
    pub(crate) thens: Vec<(String, String, Pos, bool)>,
    /// Tasks that run when this one fails.
    pub(crate) fallbacks: Vec<(Vec<base::FailureClass>, String, Pos)>,
    /// Classes of failures that start compensation.
    pub(crate) compensates: Vec<base::FailureClass>,
    /// What is said about another engine that does it, until the task is read.
    pub(crate) elsewhere: Option<Box<Elsewhere>>,
}

/// What a task or a definition says about another engine, each with its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elsewhere {
    pub(crate) provider: Option<(String, Pos)>,
    /// And the key that says it.
    pub(crate) work: Option<(Work, Pos, String)>,
    pub(crate) task_queue: Option<(String, Pos)>,
}

/// Something a task waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Dependency {
    /// Its id.
    pub task: String,
    /// What has to become of it.
    pub edge: Edge,
}

/// An edge that closes a cycle, and how often it may be taken.
#[derive(Clone, Debug)]
pub(crate) struct BackEdge {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) id: Option<String>,
    pub(crate) mode: workflow::plan::ScopeMode,
    pub(crate) at: Pos,
    pub(crate) reads: Vec<Read>,
}

/// Where things of the definition stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) name: Pos,
    pub(crate) input_schema: Pos,
    pub(crate) limits: Pos,
    pub(crate) resources: Pos,
    pub(crate) roles: BTreeMap<String, Pos>,
    pub(crate) saga: Pos,
    /// Reads of `vars`, `session` and triggers.
    pub(crate) reads: Vec<(&'static str, Read)>,
    /// Topics that are declared, and where.
    pub(crate) topics: BTreeMap<String, Pos>,
    /// Tasks that events start, said apart from them: task, topic.
    pub(crate) on_events: Vec<(String, String, Pos)>,
    /// What `coordination.graph_based` names.
    pub(crate) graph_based: Vec<(String, Pos)>,
}

/// Where things of a body stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct BodyPlaces {
    pub(crate) at: Pos,
    /// The key that holds the tasks: `tasks`, `stages`, `steps` or `nodes`.
    pub(crate) tasks: &'static str,
    pub(crate) output: Pos,
    /// Reads of its output, and of what is asked after a turn.
    pub(crate) reads: Vec<Read>,
    pub(crate) entry: Option<Vec<(String, Pos)>>,
    pub(crate) outputs: Vec<Pos>,
    /// Dependencies written apart from the tasks; they join [`Task::depends_on`].
    pub(crate) edges: Vec<Link>,
    pub(crate) loops: Vec<BackEdge>,
    pub(crate) nesting: Nesting,
}

/// How a body stands in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Nesting {
    /// Inside of its task.
    #[default]
    Written,
    /// Where the tasks around it stand: a type or a cycle made the scope.
    Enclosed,
    /// It is its task: a call that is repeated.
    Call,
}

impl BodyPlaces {
    /// Path of task `n`; `outer` is the path of the task around the body, empty for none.
    pub(crate) fn path(&self, outer: &str, n: usize) -> String {
        match (self.nesting, outer) {
            (Nesting::Call, _) => outer.to_owned(),
            (Nesting::Enclosed, _) | (Nesting::Written, "") => format!("{}[{n}]", self.tasks),
            (Nesting::Written, _) => format!("{outer}.{}[{n}]", self.tasks),
        }
    }
}

/// A dependency written apart from the tasks.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) edge: Edge,
    pub(crate) at: Pos,
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
    pub(crate) spend: Pos,
    pub(crate) resources: Pos,
    pub(crate) join: Pos,
    /// The key that says what it does: `switch`, `wait`, `tasks`, …
    pub(crate) node: Pos,
    pub(crate) reads: Vec<Read>,
}

/// A variable path that an expression reads, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) at: Pos,
    pub(crate) path: expr::Path,
    pub(crate) place: Place,
}

/// Which expression it is: they see different variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    When,
    ForEach,
    Input,
    /// What a node does: its key in the text.
    Node(&'static str),
    /// Whether an event counts: sees `event`.
    Filter,
    /// A value instead of a failure: sees `error`.
    Caught,
    /// Of a body: after the last task, or after a turn.
    Output,
    /// After a turn: the key in the text.
    Turn(&'static str),
    /// Before a turn.
    While,
    /// Before the execution starts: input and metadata only.
    Start,
}

impl Place {
    /// The key of the text.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::When => "when",
            Self::ForEach => "for_each",
            Self::Input => "input",
            Self::Node(key) | Self::Turn(key) => key,
            Self::Filter => "wait.event.filter",
            Self::Caught => "on_error",
            Self::Output => "output",
            Self::While => "loop.while",
            Self::Start => "",
        }
    }
}
