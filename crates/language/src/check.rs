//! Checks that need the whole definition, and its plan when nothing is wrong.

mod agents;
mod effects;
mod events;
mod flow;
pub(crate) mod graph;
mod providers;
mod reads;
pub(crate) mod schema;
mod spread;

use serde_json::Value;
use workflow::plan::{Edge, NodeKind, Plan, RetryPolicy, SCOPE_DEPTH_MAX, ScopeMode, TaskPlan};

use crate::{
    Defaults, Limits, Offers, Provider,
    definition::{Body, Definition, Dialect, Nesting},
    report::Report,
};

use graph::Graph;

pub(crate) use providers::check as providers;

/// A body with its order, within the bodies around it.
pub(crate) struct Level<'a> {
    pub(crate) def: &'a Definition,
    pub(crate) body: &'a Body,
    pub(crate) graph: Graph,
    /// Path of the task around it; empty for the definition itself.
    outer: String,
    /// The body around it, and the place of its task there.
    pub(crate) around: Option<(&'a Level<'a>, u32)>,
}

impl Level<'_> {
    /// Path of task `n`.
    pub(crate) fn path(&self, n: u32) -> String {
        self.body.places.path(&self.outer, n as usize)
    }
    /// Path of a key beside the tasks.
    pub(crate) fn path_of(&self, key: &str) -> String {
        match (self.body.places.nesting, self.outer.as_str()) {
            (_, "") | (Nesting::Enclosed, _) => key.to_owned(),
            (_, outer) => format!("{outer}.{key}"),
        }
    }
    /// How often it runs.
    pub(crate) fn mode(&self) -> &ScopeMode {
        match self.around.map(|(level, n)| &level.body.tasks[n as usize].plan.kind) {
            Some(NodeKind::Scope(scope)) => &scope.mode,
            _ => &ScopeMode::Once,
        }
    }
    /// The schema of the execution's input, where tasks are given it.
    pub(crate) fn input_schema(&self) -> Option<&Value> {
        if self.around.is_none() { self.def.input_schema.as_ref() } else { None }
    }
    fn depth(&self) -> u32 {
        self.around.map_or(0, |(level, _)| level.depth() + 1)
    }
}

/// Checks `def`, fills in what follows from roles and defaults, and builds the plan.
pub(crate) fn plan(
    def: &mut Definition,
    limits: &Limits,
    offers: Option<&dyn Offers>,
    report: &mut Report,
) -> Option<Plan> {
    crate::lower::lower(def, report);
    agents::assign(def, report);
    spread::assign(def, report);
    let def = &*def;
    let tasks = level(def, &def.body, String::new(), None, effects::Guard::default(), limits, report)?;
    reads::check_starts(def, report);
    events::check(def, report);
    effects::check_saga(def, report);
    agents::check_resources(def, report);
    if let Some(offers) = offers {
        agents::check_offers(def, offers, report);
    }
    if report.has_errors() { None } else { Some(build(def, tasks)) }
}

/// Checks a body and those inside of it, and gives its tasks as the plan holds them.
fn level(
    def: &Definition,
    body: &Body,
    outer: String,
    around: Option<(&Level<'_>, u32)>,
    guard: effects::Guard,
    limits: &Limits,
    report: &mut Report,
) -> Option<Vec<TaskPlan>> {
    let graph = graph::build(body, &outer, limits, report);
    let Some(graph) = graph else {
        // What is inside may be wrong too.
        return None;
    };
    let here = Level { def, body, graph, outer, around };
    if here.depth() > SCOPE_DEPTH_MAX {
        let message = format!("tasks are nested {} deep, the limit is {SCOPE_DEPTH_MAX}", here.depth());
        report
            .error("limit-depth", body.places.at, here.path_of("tasks"), message)
            .remedy("put the inner tasks into a workflow of their own");
        return None;
    }
    graph::check_points(body, &here.outer, &here.graph, report);
    reads::check(&here, report);
    schema::check(&here, report);
    flow::check(&here, report);
    let guards = effects::check(&here, guard, report);
    let mut tasks = Vec::with_capacity(body.tasks.len());
    let mut whole = true;
    for &t in &here.graph.order {
        let task = &body.tasks[t as usize];
        let inner = task.body.as_ref().map(|inner| {
            let guard = guards.as_ref().map_or(guard, |guards| guards[t as usize]);
            level(def, inner, here.path(t), Some((&here, t)), guard, limits, report)
        });
        match inner {
            None => tasks.push(task_plan(&here, t, None)),
            Some(Some(inner)) => tasks.push(task_plan(&here, t, Some(inner))),
            Some(None) => whole = false,
        }
    }
    whole.then_some(tasks)
}

/// Puts the installation's defaults into a plan. They are no part of the definition: its hash does not know them.
pub(crate) fn apply(defaults: &Defaults, known: &[Provider], dialect: Dialect, plan: &mut Plan) {
    if let (Dialect::Chain, Some(timeout)) = (dialect, defaults.chain_timeout) {
        plan.limits.timeout.get_or_insert(timeout);
    }
    if let (Dialect::Chain, Some(retries)) = (dialect, defaults.chain_retries) {
        let policy = RetryPolicy { max_attempts: retries.saturating_add(1), ..RetryPolicy::default() };
        retry_all(&mut plan.tasks, &policy);
    }
    if dialect == Dialect::Graph {
        let workers = if defaults.graph_parallel { defaults.graph_max_workers } else { Some(1) };
        if let Some(workers) = workers {
            plan.limits.max_calls.get_or_insert(workers);
        }
    }
    if let Some(queue) = &defaults.task_queue {
        providers::queue(&mut plan.tasks, queue, known);
        plan.metadata.entry("task_queue".into()).or_insert_with(|| queue.as_str().into());
    }
}

/// Calls without a policy of their own get this one.
fn retry_all(tasks: &mut [TaskPlan], policy: &RetryPolicy) {
    for task in tasks {
        match &mut task.kind {
            NodeKind::Call => {
                task.retry.get_or_insert_with(|| policy.clone());
            }
            NodeKind::Scope(scope) => retry_all(&mut scope.tasks, policy),
            _ => {}
        }
    }
}

fn build(def: &Definition, tasks: Vec<TaskPlan>) -> Plan {
    let event_driven = def.body.tasks.iter();
    let event_driven =
        event_driven.filter_map(|task| Some((task.plan.id.clone(), task.on_event.clone()?))).collect();
    let mut plan = Plan {
        schema: 0,
        name: def.name.clone(),
        version: def.version.clone().unwrap_or_default(),
        pattern: def.pattern.clone(),
        tasks,
        roles: def.roles.clone(),
        limits: def.limits.clone(),
        input_schema: def.input_schema.clone(),
        output: def.body.output.clone(),
        vars: def.vars.clone(),
        saga: def.saga.clone().unwrap_or_default(),
        session: def.session.clone(),
        event_driven,
        triggers: def.triggers.clone(),
        metadata: def.metadata.clone(),
    };
    plan.schema = plan.schema_needed();
    plan
}

fn task_plan(level: &Level<'_>, t: u32, inner: Option<Vec<TaskPlan>>) -> TaskPlan {
    let graph = &level.graph;
    let task = &level.body.tasks[t as usize];
    let mut before: Vec<(u32, &Edge)> = graph
        .before(t)
        .iter()
        .enumerate()
        .map(|(n, &b)| (graph.place[b as usize], graph.edge(t, n)))
        .collect();
    before.sort_unstable_by_key(|(place, _)| *place);
    let edges = match before.iter().all(|(_, edge)| **edge == Edge::Done) {
        true => Vec::new(),
        false => before.iter().map(|(_, edge)| (*edge).clone()).collect(),
    };
    let after = before.iter().map(|(place, _)| *place).collect();
    let mut plan = TaskPlan { after, edges, ..task.plan.clone() };
    plan.compensate = task.compensate.as_ref().map(|undo| Box::new(undo.plan.clone()));
    if let (NodeKind::Scope(scope), Some(tasks), Some(body)) = (&mut plan.kind, inner, &task.body) {
        scope.tasks = tasks;
        scope.output = body.output.clone();
    }
    plan
}
