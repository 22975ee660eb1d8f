//! Checks that need the whole definition, and its plan when nothing is wrong.

mod agents;
pub(crate) mod graph;
mod reads;
pub(crate) mod schema;
mod spread;

use workflow::plan::{PLAN_SCHEMA_CALLS, Plan, RetryPolicy, TaskPlan};

use crate::{
    Defaults, Limits, Offers,
    definition::{Definition, Dialect},
    report::Report,
};

use graph::Graph;

/// Checks `def`, fills in what follows from roles and defaults, and builds the plan.
pub(crate) fn plan(
    def: &mut Definition,
    limits: &Limits,
    offers: Option<&dyn Offers>,
    report: &mut Report,
) -> Option<Plan> {
    agents::assign(def, report);
    spread::assign(def, report);
    let graph = graph::build(def, limits, report)?;
    graph::check_points(def, &graph, report);
    reads::check(def, &graph, report);
    schema::check(def, &graph, report);
    agents::check_resources(def, report);
    if let Some(offers) = offers {
        agents::check_offers(def, offers, report);
    }
    if report.has_errors() { None } else { Some(build(def, &graph)) }
}

/// Puts the installation's defaults into a plan. They are no part of the definition: its hash does not know them.
pub(crate) fn apply(defaults: &Defaults, dialect: Dialect, plan: &mut Plan) {
    if let (Dialect::Chain, Some(timeout)) = (dialect, defaults.chain_timeout) {
        plan.limits.timeout.get_or_insert(timeout);
    }
    if let (Dialect::Chain, Some(retries)) = (dialect, defaults.chain_retries) {
        let policy = RetryPolicy { max_attempts: retries.saturating_add(1), ..RetryPolicy::default() };
        for task in plan.tasks.iter_mut() {
            task.retry.get_or_insert_with(|| policy.clone());
        }
    }
    if dialect == Dialect::Graph {
        let workers = if defaults.graph_parallel { defaults.graph_max_workers } else { Some(1) };
        if let Some(workers) = workers {
            plan.limits.max_calls.get_or_insert(workers);
        }
    }
    if let Some(queue) = &defaults.task_queue {
        plan.metadata.entry("task_queue".into()).or_insert_with(|| queue.as_str().into());
    }
}

fn build(def: &Definition, graph: &Graph) -> Plan {
    let tasks = graph.order.iter().map(|&t| task(def, graph, t)).collect();
    Plan {
        schema: PLAN_SCHEMA_CALLS,
        name: def.name.clone(),
        version: def.version.clone().unwrap_or_default(),
        pattern: def.pattern.clone(),
        tasks,
        roles: def.roles.clone(),
        limits: def.limits.clone(),
        input_schema: def.input_schema.clone(),
        output: def.output.clone(),
        metadata: def.metadata.clone(),
        ..Plan::default()
    }
}

fn task(def: &Definition, graph: &Graph, t: u32) -> TaskPlan {
    let mut after: Vec<u32> = graph.before(t).iter().map(|&b| graph.place[b as usize]).collect();
    after.sort_unstable();
    TaskPlan { after, ..def.tasks[t as usize].plan.clone() }
}
