//! Flattening a plan into nodes and blocks.

use std::collections::{HashMap, HashSet, VecDeque};

use expr::{Expr, ExprError, Template};
use serde_json::Value;

use super::{Block, Compiled, Extra, Next, Node, Paths, PlanError, check, shape, with_paths};
use crate::plan::{
    InputSpec, NodeKind, OutputSpec, PLAN_SCHEMA, Plan, SCOPE_DEPTH_MAX, ScopeMode, Spread, TaskPlan, Wait,
};

pub(super) fn compile(plan: Plan) -> Result<Compiled, PlanError> {
    if plan.schema > PLAN_SCHEMA {
        return Err(PlanError::Schema { found: plan.schema });
    }
    let needed = plan.schema_needed();
    if plan.schema < needed {
        return Err(PlanError::Understated { found: plan.schema, needed });
    }
    let mut table = Table::default();
    table.block(&plan.tasks, &plan.output, Place::default())?;
    while let Some(body) = table.queue.pop_front() {
        let Body { tasks, output, place } = body;
        let (owner, undo) = (place.owner, place.undo);
        let block = table.blocks.len() as u32;
        table.block(&tasks, &output, place)?;
        if let Some(node) = owner.and_then(|o| table.nodes.get_mut(o as usize)) {
            *(if undo { &mut node.undo } else { &mut node.body }) = Some(block);
        }
        table.nested.extend(tasks);
    }
    for id in plan.event_driven.keys() {
        if !table.blocks[0].index.contains_key(id) {
            return Err(shape(id, "is named in event_driven but is no task of the plan"));
        }
    }
    let successors = (0..plan.tasks.len()).map(|t| table.nodes[t].next.iter().map(|n| n.to).collect());
    let template = |place, value: &Option<Value>| value.as_ref().map(|v| own_template(place, v)).transpose();
    let session = plan.session.as_ref();
    let save = session.and_then(|s| s.save.clone());
    let id = session.and_then(|s| s.id.as_deref());
    Ok(Compiled {
        successors: successors.collect(),
        vars: template("vars", &plan.vars)?,
        save: template("session.save", &save)?,
        session: id.map(|text| Expr::compile(text).map_err(|e| error("", "session.id", &e))).transpose()?,
        nested: table.nested,
        nodes: table.nodes,
        blocks: table.blocks,
        plan,
    })
}

fn own_template(place: &'static str, value: &Value) -> Result<Paths, PlanError> {
    Template::compile(value).map(with_paths).map_err(|e| error("", place, &e))
}

fn error(task: &str, place: &'static str, e: &ExprError) -> PlanError {
    PlanError::Expression { task: task.into(), place, message: e.to_string() }
}

/// Where a block stands.
#[derive(Clone, Default)]
struct Place {
    owner: Option<u32>,
    undo: bool,
    depth: u32,
    /// What stands before the ids of its tasks in errors.
    prefix: String,
    /// Whether it is the body of a scope that runs several turns at once.
    wide: bool,
}

/// A block that is still to be laid out.
struct Body {
    tasks: Vec<TaskPlan>,
    output: OutputSpec,
    place: Place,
}

#[derive(Default)]
struct Table {
    nested: Vec<TaskPlan>,
    nodes: Vec<Node>,
    blocks: Vec<Block>,
    queue: VecDeque<Body>,
}

impl Table {
    fn block(&mut self, tasks: &[TaskPlan], output: &OutputSpec, place: Place) -> Result<(), PlanError> {
        let (first, block) = (self.nodes.len() as u32, self.blocks.len() as u32);
        let index = index_of(tasks, &place.prefix)?;
        let mut next = next_of(tasks, &place.prefix)?;
        for (at, task) in tasks.iter().enumerate() {
            let id = format!("{}{}", place.prefix, task.id);
            check::task(task, tasks, &id, place.wide, place.undo)?;
            let ways = std::mem::take(&mut next[at]);
            let labelled = ways.iter().any(|n| !tasks[n.to as usize].edges.is_empty());
            self.nodes.push(node(task, &id, block, ways, labelled)?);
            self.bodies(task, first + at as u32, &id, place.depth)?;
        }
        let sinks = sinks(tasks, output, &index, &self.nodes[first as usize..], &place.prefix)?;
        let output = match output {
            OutputSpec::Template(value) => Some(own_template("output", value)?),
            OutputSpec::Sinks | OutputSpec::Tasks(_) => None,
        };
        self.blocks.push(Block { first, len: tasks.len() as u32, index, sinks, output });
        Ok(())
    }

    /// The body and the compensation of a task wait for their turn.
    fn bodies(&mut self, task: &TaskPlan, node: u32, id: &str, depth: u32) -> Result<(), PlanError> {
        if let NodeKind::Scope(scope) = &task.kind {
            if depth >= SCOPE_DEPTH_MAX {
                return Err(shape(id, format!("scopes nest deeper than {SCOPE_DEPTH_MAX}")));
            }
            let place = Place {
                owner: Some(node),
                undo: false,
                depth: depth + 1,
                prefix: format!("{id}[]."),
                wide: matches!(scope.mode, ScopeMode::ForEach { .. }),
            };
            self.queue.push_back(Body { tasks: scope.tasks.clone(), output: scope.output.clone(), place });
        }
        if let Some(undo) = &task.compensate {
            let mut own = (**undo).clone();
            own.id = if own.id.is_empty() { "compensate".into() } else { own.id };
            let place = Place { owner: Some(node), undo: true, depth, prefix: format!("{id}:"), wide: false };
            self.queue.push_back(Body { tasks: vec![own], output: OutputSpec::Sinks, place });
        }
        Ok(())
    }
}

fn index_of(tasks: &[TaskPlan], prefix: &str) -> Result<HashMap<String, u32>, PlanError> {
    let mut index = HashMap::with_capacity(tasks.len());
    for (i, task) in tasks.iter().enumerate() {
        if index.insert(task.id.clone(), i as u32).is_some() {
            return Err(shape(&format!("{prefix}{}", task.id), "the id is used twice"));
        }
    }
    Ok(index)
}

fn next_of(tasks: &[TaskPlan], prefix: &str) -> Result<Vec<Box<[Next]>>, PlanError> {
    let mut out: Vec<Vec<Next>> = vec![Vec::new(); tasks.len()];
    for (i, task) in tasks.iter().enumerate() {
        let bad = |what: String| Err(shape(&format!("{prefix}{}", task.id), what));
        for (edge, &before) in task.after.iter().enumerate() {
            if before as usize >= i {
                return bad(format!("depends on task number {before}, which does not stand before it"));
            }
            if out[before as usize].last().is_some_and(|n| n.to == i as u32) {
                return bad(format!("depends on task number {before} twice"));
            }
            out[before as usize].push(Next { to: i as u32, edge: edge as u32 });
        }
    }
    Ok(out.into_iter().map(Vec::into_boxed_slice).collect())
}

fn sinks(
    tasks: &[TaskPlan],
    output: &OutputSpec,
    index: &HashMap<String, u32>,
    nodes: &[Node],
    prefix: &str,
) -> Result<Vec<u32>, PlanError> {
    let missing = |name: &String| shape(&format!("{prefix}{name}"), "is named as an output but is no task");
    let mut sinks: Vec<u32> = match output {
        OutputSpec::Tasks(names) => names
            .iter()
            .map(|name| index.get(name).copied().ok_or_else(|| missing(name)))
            .collect::<Result<_, _>>()?,
        OutputSpec::Sinks | OutputSpec::Template(_) => {
            (0..tasks.len() as u32).filter(|&t| nodes[t as usize].next.is_empty()).collect()
        }
    };
    // Named twice is written once: keys of an object are unique.
    let mut seen = HashSet::new();
    sinks.retain(|&t| seen.insert(t));
    Ok(sinks)
}

/// Compiles the expressions of one task.
struct Reader<'a> {
    id: &'a str,
}

impl Reader<'_> {
    fn expr(&self, place: &'static str, text: &str) -> Result<Expr, PlanError> {
        Expr::compile(text).map_err(|e| error(self.id, place, &e))
    }
    fn maybe(&self, place: &'static str, text: Option<&String>) -> Result<Option<Expr>, PlanError> {
        text.map(|text| self.expr(place, text)).transpose()
    }
    fn template(&self, place: &'static str, value: &Value) -> Result<Paths, PlanError> {
        Template::compile(value).map(with_paths).map_err(|e| error(self.id, place, &e))
    }
    fn text(&self, place: &'static str, text: &str) -> Result<Paths, PlanError> {
        self.template(place, &Value::from(text))
    }
}

fn node(task: &TaskPlan, id: &str, block: u32, next: Box<[Next]>, labelled: bool) -> Result<Node, PlanError> {
    let read = Reader { id };
    let list = match (&task.spread, &task.kind) {
        (Spread::ForEach { list, .. }, _) => Some(read.expr("for_each", list)?),
        (_, NodeKind::Scope(scope)) => match &scope.mode {
            ScopeMode::ForEach { list, .. } => Some(read.expr("for_each", list)?),
            ScopeMode::Once | ScopeMode::Loop { .. } => None,
        },
        (Spread::One | Spread::Parallel { .. }, _) => None,
    };
    let input = match &task.input {
        InputSpec::Template(value) => Some(read.template("input", value)?),
        InputSpec::Context | InputSpec::Execution | InputSpec::Previous => None,
    };
    let when = read.maybe("when", task.when.as_ref())?;
    Ok(Node { block, body: None, undo: None, next, labelled, when, list, input, extra: extra(task, &read)? })
}

fn extra(task: &TaskPlan, read: &Reader<'_>) -> Result<Option<Box<Extra>>, PlanError> {
    let mut x = kind_of(&task.kind, read)?;
    if let Some(pick) = &task.pick {
        x.get_or_insert_default().pick = Some(read.expr("pick", &pick.by)?);
    }
    if !task.catch.is_empty() {
        let each = task.catch.iter().map(|c| read.template("catch", &c.value));
        x.get_or_insert_default().catch = each.collect::<Result<_, _>>()?;
    }
    Ok(x.map(Box::new))
}

fn kind_of(kind: &NodeKind, read: &Reader<'_>) -> Result<Option<Extra>, PlanError> {
    let value = |paths| Some(Extra { value: Some(paths), ..Extra::default() });
    Ok(match kind {
        NodeKind::Call => None,
        NodeKind::Transform { value: v } => value(read.template("value", v)?),
        NodeKind::Set { vars } => value(read.template("vars", vars)?),
        NodeKind::Fail { message, .. } => value(read.text("message", message)?),
        NodeKind::End { output } => match output {
            Some(output) => value(read.template("output", output)?),
            None => None,
        },
        NodeKind::Switch { cases, .. } => {
            let cases = cases.iter().map(|c| read.expr("case", &c.when)).collect::<Result<_, _>>()?;
            Some(Extra { cases, ..Extra::default() })
        }
        NodeKind::Emit(emit) => Some(Extra {
            value: Some(read.template("payload", &emit.payload)?),
            topic: Some(read.text("topic", &emit.topic)?),
            key: read.maybe("key", emit.key.as_ref())?,
            ..Extra::default()
        }),
        NodeKind::Child(child) => value(read.text("workflow", &child.workflow)?),
        NodeKind::Wait(wait) => wait_of(wait, read)?,
        NodeKind::Scope(scope) => match &scope.mode {
            ScopeMode::Once | ScopeMode::ForEach { .. } => None,
            ScopeMode::Loop { while_, until, start, carry, .. } => Some(Extra {
                while_: read.maybe("while", while_.as_ref())?,
                until: read.maybe("until", until.as_ref())?,
                start: start.as_ref().map(|v| read.template("start", v)).transpose()?,
                carry: carry.as_ref().map(|v| read.template("carry", v)).transpose()?,
                ..Extra::default()
            }),
        },
    })
}

fn wait_of(wait: &Wait, read: &Reader<'_>) -> Result<Option<Extra>, PlanError> {
    Ok(match wait {
        Wait::Timer { until } => Some(Extra { until: Some(read.expr("until", until)?), ..Extra::default() }),
        Wait::Event { filter, key, .. } => Some(Extra {
            filter: read.maybe("filter", filter.as_ref())?,
            key: read.maybe("key", key.as_ref())?,
            ..Extra::default()
        }),
        Wait::Approval(approval) => {
            Some(Extra { value: Some(read.text("title", &approval.title)?), ..Extra::default() })
        }
        Wait::Signal { .. } | Wait::Step => None,
    })
}
