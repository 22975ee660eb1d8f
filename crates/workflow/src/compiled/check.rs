//! What a plan has to keep beside its order: labels, joins, limits; and the lowest schema that covers it.

use super::{PlanError, shape};
use crate::plan::{
    Budget, Edge, ITEMS_MAX, Join, NodeKind, PLAN_SCHEMA, PLAN_SCHEMA_CALLS, PLAN_SCHEMA_NODES, Plan, Rest,
    Saga, ScopeMode, Spend, Spread, TURNS_MAX, TaskPlan, Wait, remote,
};

/// Checks one task among those it stands with.
pub(super) fn task(
    task: &TaskPlan,
    all: &[TaskPlan],
    id: &str,
    wide: bool,
    undo: bool,
) -> Result<(), PlanError> {
    let bad = |what: String| Err(shape(id, what));
    if let Spread::Parallel { count: Some(n) } = task.spread
        && n > ITEMS_MAX
    {
        return bad(format!("asks for {n} calls, the limit is {ITEMS_MAX}"));
    }
    if task.kind != NodeKind::Call && task.spread != Spread::One {
        return bad("only a call can be spread; put it in a scope over the list".into());
    }
    if task.kind != NodeKind::Call && task.remote.is_some() {
        return bad("only a call can be done by another engine".into());
    }
    if task.kind != NodeKind::Call && task.pick.is_some() {
        return bad("only a call has an agent to pick".into());
    }
    if !task.edges.is_empty() && task.edges.len() != task.after.len() {
        let (edges, after) = (task.edges.len(), task.after.len());
        return bad(format!("has {edges} edges for {after} tasks before it; each needs one"));
    }
    edges(task, all, id)?;
    if let Join::Quorum(n) = task.join
        && (n == 0 || n as usize > task.after.len())
    {
        return bad(format!("waits for {n} of {} tasks before it", task.after.len()));
    }
    if task.width == Some(0) {
        return bad("its width is 0: nothing could ever be in it".into());
    }
    if task.width.is_some() && !wide {
        return bad("a width has a meaning only in a scope over a list".into());
    }
    if undo && (!task.after.is_empty() || task.compensate.is_some()) {
        return bad("a compensation stands alone: nothing before it, and none of its own".into());
    }
    kind(task, id, undo)
}

fn edges(task: &TaskPlan, all: &[TaskPlan], id: &str) -> Result<(), PlanError> {
    for (edge, &before) in task.edges.iter().zip(&task.after) {
        let Edge::Case(name) = edge else { continue };
        // A wrong index is reported by its own rule.
        let Some(from) = all.get(before as usize) else { continue };
        let NodeKind::Switch { cases, otherwise, .. } = &from.kind else {
            return Err(shape(id, format!("takes case {name:?} of {}, which is no switch", from.id)));
        };
        if !cases.iter().any(|c| c.name == *name) && otherwise.as_ref() != Some(name) {
            return Err(shape(id, format!("takes case {name:?}, which {} does not have", from.id)));
        }
    }
    Ok(())
}

fn kind(task: &TaskPlan, id: &str, undo: bool) -> Result<(), PlanError> {
    let bad = |what: String| Err(shape(id, what));
    match &task.kind {
        NodeKind::Wait(Wait::Event { count, .. }) if *count == 0 || *count > ITEMS_MAX => {
            bad(format!("waits for {count} events; between 1 and {ITEMS_MAX} are possible"))
        }
        NodeKind::End { .. } if undo => bad("a compensation cannot end the execution".into()),
        NodeKind::Scope(scope) => match &scope.mode {
            ScopeMode::Loop { max, .. } if *max == 0 || *max > TURNS_MAX => {
                bad(format!("makes {max} turns at most; between 1 and {TURNS_MAX} are possible"))
            }
            ScopeMode::ForEach { width: Some(0), .. } => bad("its width is 0: no turn could ever run".into()),
            ScopeMode::ForEach { join: Join::Quorum(0), .. } => bad("waits for 0 of its turns".into()),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

impl Plan {
    /// The lowest schema that covers the plan: what its writer says in [`Plan::schema`].
    pub fn schema_needed(&self) -> u32 {
        if self.tasks.iter().any(remote::any) {
            return PLAN_SCHEMA;
        }
        let plain = self.vars.is_none()
            && self.saga == Saga::default()
            && self.session.is_none()
            && self.event_driven.is_empty()
            && self.triggers.is_empty()
            && self.limits.budget == Budget::default()
            && self.tasks.iter().all(is_plain);
        if plain { PLAN_SCHEMA_CALLS } else { PLAN_SCHEMA_NODES }
    }
}

/// Whether the first schema covers the task.
fn is_plain(task: &TaskPlan) -> bool {
    task.kind == NodeKind::Call
        && task.edges.is_empty()
        && (task.join, task.rest) == (Join::All, Rest::Keep)
        && task.pick.is_none()
        && task.catch.is_empty()
        && task.compensate.is_none()
        && task.spend == Spend::default()
        && task.cache.is_none()
        && task.width.is_none()
}
