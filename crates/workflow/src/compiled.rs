//! A plan made ready to run: one table of nodes, their successors, compiled expressions, lookups. Shared by all
//! executions of a version.
//!
//! Bodies of scopes and compensations are flattened into the table: the plan's own tasks come first, in their order, then
//! every body as a [`Block`] of nodes that stand side by side. A running execution holds copies of blocks (turns), so a
//! task of it finds its neighbours by arithmetic.

mod build;
mod check;

use std::{collections::HashMap, sync::LazyLock};

use expr::{Expr, Path, Template};

use crate::plan::{PLAN_SCHEMA, Plan, TaskPlan};

/// A plan that cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Written by a newer build.
    #[error("the plan has schema {found}, this build reads up to {PLAN_SCHEMA}")]
    Schema {
        /// The plan's number.
        found: u32,
    },
    /// It says a schema that does not cover what it uses.
    #[error("the plan says schema {found} and uses what came with schema {needed}")]
    Understated {
        /// The plan's number.
        found: u32,
        /// The lowest that covers it.
        needed: u32,
    },
    /// The order of tasks, an index, a label or a limit is wrong.
    #[error("task {task}: {what}")]
    Shape {
        /// The task's id; in a body with the ids around it, `loop[].draft`.
        task: String,
        /// What is wrong.
        what: String,
    },
    /// An expression does not compile.
    #[error("task {task}, {place}: {message}")]
    Expression {
        /// The task's id; empty for the workflow's own.
        task: String,
        /// `when`, `input`, `for_each`, `output`, `until`, …
        place: &'static str,
        /// The compiler's words.
        message: String,
    },
}

/// A template and what it reads.
pub(crate) type Paths = (Template, Vec<Path>);

/// A body of nodes that stand side by side in the table.
#[derive(Debug)]
pub(crate) struct Block {
    /// Its first node.
    pub first: u32,
    /// How many.
    pub len: u32,
    /// Offsets by id.
    pub index: HashMap<String, u32>,
    /// Offsets of finish points.
    pub sinks: Vec<u32>,
    /// Template of its output.
    pub output: Option<Paths>,
}

/// A way to the next node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// Its offset within the block.
    pub to: u32,
    /// Which of its `after` this is.
    pub edge: u32,
}

/// What is known of a node beside its plan.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub block: u32,
    /// Body of a scope.
    pub body: Option<u32>,
    /// What undoes it.
    pub undo: Option<u32>,
    pub next: Box<[Next]>,
    /// Whether some way out of it is labelled.
    pub labelled: bool,
    pub when: Option<Expr>,
    pub list: Option<Expr>,
    pub input: Option<Paths>,
    pub extra: Option<Box<Extra>>,
}

/// Expressions of nodes that do more than call an agent.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// Value of a transform, variables of a set, message of a fail, output of an end, payload of an emit, name of a
    /// child, title of an approval.
    pub value: Option<Paths>,
    /// Topic of an emit.
    pub topic: Option<Paths>,
    /// Correlation key of a wait or an emit.
    pub key: Option<Expr>,
    /// Filter of a wait.
    pub filter: Option<Expr>,
    /// Time of a timer; end of a loop.
    pub until: Option<Expr>,
    pub while_: Option<Expr>,
    pub start: Option<Paths>,
    pub carry: Option<Paths>,
    pub cases: Vec<Expr>,
    pub pick: Option<Expr>,
    pub catch: Vec<Paths>,
}

/// A plan with everything that is computed once.
#[derive(Debug)]
pub struct Compiled {
    plan: Plan,
    /// Plans of the nodes behind the plan's own tasks.
    nested: Vec<TaskPlan>,
    nodes: Vec<Node>,
    blocks: Vec<Block>,
    successors: Vec<Box<[u32]>>,
    vars: Option<Paths>,
    save: Option<Paths>,
    session: Option<Expr>,
}

impl Compiled {
    /// Checks the shape of `plan` and compiles its expressions.
    ///
    /// # Errors
    /// [`PlanError`], which names the task and the rule.
    pub fn new(plan: Plan) -> Result<Self, PlanError> {
        build::compile(plan)
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
    /// Tasks of the plan that wait for its task `task`; none for an index that is no task's.
    pub fn successors(&self, task: u32) -> &[u32] {
        self.successors.get(task as usize).map_or(&[], |next| next)
    }
    /// The index of the plan's task called `id`.
    pub fn task_index(&self, id: &str) -> Option<u32> {
        self.blocks[0].index.get(id).copied()
    }
    /// Number of nodes: the plan's own tasks, then those of all bodies and compensations.
    pub fn nodes(&self) -> u32 {
        self.nodes.len() as u32
    }
    /// What node `node` is; the plan's own tasks have the first numbers.
    ///
    /// A number that is no node's gives an empty task: that of a task which a change of the plan removed.
    pub fn node(&self, node: u32) -> &TaskPlan {
        let own = self.plan.tasks.get(node as usize);
        let nested = || self.nested.get((node as usize).checked_sub(self.plan.tasks.len())?);
        own.or_else(nested).unwrap_or(&GONE.0)
    }
    pub(crate) fn at(&self, node: u32) -> &Node {
        self.nodes.get(node as usize).unwrap_or(&GONE.1)
    }
    pub(crate) fn block(&self, block: u32) -> &Block {
        &self.blocks[block as usize]
    }
    pub(crate) fn vars(&self) -> Option<&Paths> {
        self.vars.as_ref()
    }
    pub(crate) fn save(&self) -> Option<&Paths> {
        self.save.as_ref()
    }
    /// The expression that gives the id of the session, over `input` and `metadata`.
    pub fn session(&self) -> Option<&Expr> {
        self.session.as_ref()
    }
}

/// What stands in the place of a task that a change of the plan removed.
static GONE: LazyLock<(TaskPlan, Node)> = LazyLock::new(Default::default);

fn with_paths(template: Template) -> Paths {
    let paths = template.references();
    (template, paths)
}

fn shape(task: &str, what: impl Into<String>) -> PlanError {
    PlanError::Shape { task: task.into(), what: what.into() }
}
