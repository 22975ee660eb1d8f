//! A plan made ready to run: successors, compiled expressions, lookups. Shared by all executions of a version.

use std::collections::{HashMap, HashSet};

use expr::{Expr, Path, Template};

use crate::plan::{ITEMS_MAX, InputSpec, OutputSpec, PLAN_SCHEMA, Plan, Spread};

/// A plan that cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Written by a newer build.
    #[error("the plan has schema {found}, this build reads up to {PLAN_SCHEMA}")]
    Schema {
        /// The plan's number.
        found: u32,
    },
    /// The order of tasks or an index is wrong.
    #[error("task {task}: {what}")]
    Shape {
        /// The task's id.
        task: String,
        /// What is wrong.
        what: String,
    },
    /// An expression does not compile.
    #[error("task {task}, {place}: {message}")]
    Expression {
        /// The task's id; empty for the workflow's own.
        task: String,
        /// `when`, `input`, `for_each` or `output`.
        place: &'static str,
        /// The compiler's words.
        message: String,
    },
}

/// A template and what it reads.
type Paths = (Template, Vec<Path>);

/// A plan with everything that is computed once.
#[derive(Debug)]
pub struct Compiled {
    plan: Plan,
    successors: Vec<Box<[u32]>>,
    when: Vec<Option<Expr>>,
    lists: Vec<Option<Expr>>,
    inputs: Vec<Option<Paths>>,
    output: Option<Paths>,
    index: HashMap<String, u32>,
    sinks: Vec<u32>,
}

impl Compiled {
    /// Checks the shape of `plan` and compiles its expressions.
    pub fn new(plan: Plan) -> Result<Self, PlanError> {
        if plan.schema > PLAN_SCHEMA {
            return Err(PlanError::Schema { found: plan.schema });
        }
        let index = index_of(&plan)?;
        let successors = successors_of(&plan)?;
        let mut when = Vec::with_capacity(plan.tasks.len());
        let mut lists = Vec::with_capacity(plan.tasks.len());
        let mut inputs = Vec::with_capacity(plan.tasks.len());
        for task in &plan.tasks {
            let fail = |place, e: expr::ExprError| PlanError::Expression {
                task: task.id.clone(),
                place,
                message: e.to_string(),
            };
            let expr = |place, text: &str| Expr::compile(text).map_err(|e| fail(place, e));
            when.push(task.when.as_deref().map(|text| expr("when", text)).transpose()?);
            if let Spread::Parallel { count: Some(n) } = task.spread
                && n > ITEMS_MAX
            {
                return Err(shape(&task.id, format!("asks for {n} calls, the limit is {ITEMS_MAX}")));
            }
            lists.push(match &task.spread {
                Spread::ForEach { list, .. } => Some(expr("for_each", list)?),
                Spread::One | Spread::Parallel { .. } => None,
            });
            inputs.push(match &task.input {
                InputSpec::Template(value) => {
                    Some(with_paths(Template::compile(value).map_err(|e| fail("input", e))?))
                }
                InputSpec::Context | InputSpec::Execution | InputSpec::Previous => None,
            });
        }
        let output = match &plan.output {
            OutputSpec::Template(value) => Some(with_paths(Template::compile(value).map_err(|e| {
                PlanError::Expression { task: String::new(), place: "output", message: e.to_string() }
            })?)),
            OutputSpec::Sinks | OutputSpec::Tasks(_) => None,
        };
        let mut sinks: Vec<u32> = match &plan.output {
            OutputSpec::Tasks(names) => names
                .iter()
                .map(|name| {
                    index
                        .get(name)
                        .copied()
                        .ok_or_else(|| shape(name, "is named as an output but is no task"))
                })
                .collect::<Result<_, _>>()?,
            OutputSpec::Sinks | OutputSpec::Template(_) => {
                (0..plan.tasks.len() as u32).filter(|&t| successors[t as usize].is_empty()).collect()
            }
        };
        // Named twice is written once: keys of an object are unique.
        let mut seen = HashSet::new();
        sinks.retain(|&t| seen.insert(t));
        Ok(Self { plan, successors, when, lists, inputs, output, index, sinks })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
    /// Tasks that wait for `task`; none for an index that is no task's.
    pub fn successors(&self, task: u32) -> &[u32] {
        self.successors.get(task as usize).map_or(&[], |next| next)
    }
    /// The index of the task called `id`.
    pub fn task_index(&self, id: &str) -> Option<u32> {
        self.index.get(id).copied()
    }
    pub(crate) fn when(&self, task: u32) -> Option<&Expr> {
        self.when[task as usize].as_ref()
    }
    pub(crate) fn list(&self, task: u32) -> Option<&Expr> {
        self.lists[task as usize].as_ref()
    }
    pub(crate) fn input(&self, task: u32) -> Option<&Paths> {
        self.inputs[task as usize].as_ref()
    }
    pub(crate) fn output(&self) -> Option<&Paths> {
        self.output.as_ref()
    }
    pub(crate) fn sinks(&self) -> &[u32] {
        &self.sinks
    }
}

fn with_paths(template: Template) -> Paths {
    let paths = template.references();
    (template, paths)
}

fn shape(task: &str, what: impl Into<String>) -> PlanError {
    PlanError::Shape { task: task.into(), what: what.into() }
}

fn index_of(plan: &Plan) -> Result<HashMap<String, u32>, PlanError> {
    let mut index = HashMap::with_capacity(plan.tasks.len());
    for (i, task) in plan.tasks.iter().enumerate() {
        if index.insert(task.id.clone(), i as u32).is_some() {
            return Err(shape(&task.id, "the id is used twice"));
        }
    }
    Ok(index)
}

fn successors_of(plan: &Plan) -> Result<Vec<Box<[u32]>>, PlanError> {
    let mut out = vec![Vec::new(); plan.tasks.len()];
    for (i, task) in plan.tasks.iter().enumerate() {
        for &before in &task.after {
            if before as usize >= i {
                return Err(shape(
                    &task.id,
                    format!("depends on task number {before}, which does not stand before it"),
                ));
            }
            if out[before as usize].last() == Some(&(i as u32)) {
                return Err(shape(&task.id, format!("depends on task number {before} twice")));
            }
            out[before as usize].push(i as u32);
        }
    }
    Ok(out.into_iter().map(Vec::into_boxed_slice).collect())
}
