//! `type`: arranges tasks as it says, before anything is checked.

use serde_json::{Map, Value, json};
use workflow::plan::{InputSpec, Join, NodeKind, OutputSpec, Rest, ScopeMode};

use crate::{
    definition::{Body, Dependency, Nesting, Read, Shape, Task},
    text::tree::Pos,
};

/// How branches are joined.
pub(crate) struct Gather {
    pub(crate) join: Join,
    pub(crate) rest: Rest,
    pub(crate) partial: bool,
}

/// Id of the task that gathers the branches of a `scatter-gather`.
const GATHER: &str = "gather";

/// Arranges the tasks of `body` for its shape and mode.
pub(crate) fn arrange(body: &mut Body, mode: &ScopeMode, gather: Gather) {
    match body.shape {
        Shape::Pipeline => stages(body, mode),
        Shape::ScatterGather if !matches!(mode, ScopeMode::ForEach { .. }) => branches(body, gather),
        _ => {}
    }
}

/// What a stage is given when it does not say: the item, or what the stage before gave.
fn stages(body: &mut Body, mode: &ScopeMode) {
    for (n, task) in body.tasks.iter_mut().enumerate() {
        let silent = task.plan.input == InputSpec::Context && task.places.input == Pos::default();
        let fed = matches!(task.plan.kind, NodeKind::Call | NodeKind::Child(_) | NodeKind::Scope(_));
        if !silent || !fed {
            continue;
        }
        task.plan.input = match (n, mode) {
            (0, ScopeMode::ForEach { .. }) => InputSpec::Template("${ item }".into()),
            _ => InputSpec::Previous,
        };
    }
}

/// Adds the task that gathers what the branches gave: an object by task id, null for a branch that gave nothing; with
/// `partial` an object of `{status, output, error}`.
fn branches(body: &mut Body, gather: Gather) {
    let waited: std::collections::HashSet<&str> =
        body.tasks.iter().flat_map(|t| t.depends_on.iter().flatten()).map(|d| d.task.as_str()).collect();
    let sinks: Vec<String> = body
        .tasks
        .iter()
        .map(|task| task.plan.id.clone())
        .filter(|id| !id.is_empty() && !waited.contains(id.as_str()))
        .collect();
    let of = |id: &String, member: &str| Value::from(format!("${{ tasks[{}].{member} }}", json!(id)));
    let error = |id: &String| {
        let path = format!("tasks[{}].error", json!(id));
        Value::from(format!("${{ has({path}) ? {path} : null }}"))
    };
    let value: Map<_, _> = sinks
        .iter()
        .map(|id| {
            let one = match gather.partial {
                true => json!({"status": of(id, "status"), "output": of(id, "output"), "error": error(id)}),
                false => of(id, "output"),
            };
            (id.clone(), one)
        })
        .collect();
    let mut task = Task::scope(GATHER.into(), body.places.at);
    task.body = None;
    task.plan.kind = NodeKind::Transform { value: Value::Object(value) };
    (task.plan.join, task.plan.rest) = (gather.join, gather.rest);
    task.places.depends_on = vec![body.places.at; sinks.len()];
    task.depends_on =
        Some(sinks.into_iter().map(|task| Dependency { task, edge: workflow::plan::Edge::Done }).collect());
    body.tasks.push(task);
}

/// The body of a definition whose type runs its tasks in turns becomes the body of one task.
pub(crate) fn enclose(body: &mut Body, id: &'static str, mode: ScopeMode, reads: Vec<Read>) {
    let mut task = Task::scope(id.into(), body.places.at);
    task.places.reads = reads;
    task.places.node = body.places.at;
    if let NodeKind::Scope(scope) = &mut task.plan.kind {
        scope.mode = mode;
    }
    let (at, tasks) = (body.places.at, body.places.tasks);
    let mut inner = std::mem::take(body);
    inner.places.nesting = Nesting::Enclosed;
    task.body = Some(Box::new(inner));
    *body = Body { shape: Shape::Dag, tasks: vec![task], output: OutputSpec::Sinks, ..Body::default() };
    (body.places.at, body.places.tasks) = (at, tasks);
}
