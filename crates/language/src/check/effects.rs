//! What cannot be undone: each irreversible task has a compensation, or an approval before it on every way to it.

use base::Effect;
use workflow::plan::{Edge, Join, NodeKind, Wait};

use crate::{
    definition::{Body, Definition, Task},
    report::Report,
};

use super::Level;

/// What is known on every way to a task.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Guard {
    /// Somebody approved.
    pub(crate) approved: bool,
    /// No case of a switch and no failure leads past it.
    certain: bool,
}

/// Checks the tasks of a body, `around` being what holds for its task. Gives what holds for each task, when any task of
/// the body or inside of it is irreversible.
pub(crate) fn check(level: &Level<'_>, around: Guard, report: &mut Report) -> Option<Vec<Guard>> {
    for (n, task) in level.body.tasks.iter().enumerate() {
        compensation(level, n as u32, task, report);
    }
    if !has_irreversible(level.body) {
        return None;
    }
    let tasks = &level.body.tasks;
    let mut guards = vec![Guard::default(); tasks.len()];
    for &t in &level.graph.order {
        guards[t as usize] = guard(level, t, around, &guards);
        let task = &tasks[t as usize];
        let irreversible = task.plan.effect == Some(Effect::Irreversible);
        if irreversible && task.compensate.is_none() && !guards[t as usize].approved {
            let message = format!(
                "`{}` cannot be undone, and has neither a compensation nor an approval before it on every way",
                task.plan.id
            );
            report
                .warning("irreversible-unguarded", task.places.id, level.path(t), message)
                .remedy("add `compensate: …`, or a task with `approval` that it waits for");
        }
    }
    Some(guards)
}

fn has_irreversible(body: &Body) -> bool {
    let mut found = false;
    body.walk("", &mut |task, _| found |= task.plan.effect == Some(Effect::Irreversible));
    found
}

/// What holds when `t` starts.
fn guard(level: &Level<'_>, t: u32, around: Guard, guards: &[Guard]) -> Guard {
    let task = &level.body.tasks[t as usize];
    let before = level.graph.before(t);
    // An approval that was rejected failed: only edges of what completed lead on with a yes. One that its own condition
    // skips counts as done and asks nobody.
    let yes = |n: usize, b: u32| {
        let source = &level.body.tasks[b as usize].plan;
        let asks = matches!(source.kind, NodeKind::Wait(Wait::Approval(_)));
        let asks = asks && source.catch.is_empty() && source.when.is_none();
        matches!(level.graph.edge(t, n), Edge::Done | Edge::Case(_)) && (asks || guards[b as usize].approved)
    };
    let certain = |b: u32| guards[b as usize].certain;
    let every = !before.is_empty() && before.iter().enumerate().all(|(n, &b)| yes(n, b));
    let one = before.iter().enumerate().any(|(n, &b)| yes(n, b) && certain(b));
    let approved = match task.plan.join {
        Join::All => every || one,
        Join::Any | Join::Quorum(_) => every,
        Join::BestEffort => false,
    };
    let plain = |n: usize| *level.graph.edge(t, n) == Edge::Done;
    let certain = before.iter().enumerate().all(|(n, &b)| plain(n) && certain(b));
    Guard { approved: around.approved || approved, certain }
}

/// A compensation of what leaves nothing behind.
fn compensation(level: &Level<'_>, n: u32, task: &Task, report: &mut Report) {
    let Some(undo) = &task.compensate else { return };
    let nothing = match &task.plan.kind {
        NodeKind::Transform { .. }
        | NodeKind::Switch { .. }
        | NodeKind::Wait(_)
        | NodeKind::Set { .. }
        | NodeKind::Fail { .. }
        | NodeKind::End { .. } => true,
        NodeKind::Call => task.plan.effect == Some(Effect::Pure),
        NodeKind::Emit(_) | NodeKind::Child(_) | NodeKind::Scope(_) => false,
    };
    if nothing {
        let message = format!("`{}` leaves nothing behind that could be undone", task.plan.id);
        report
            .warning(
                "nothing-to-compensate",
                undo.places.at,
                format!("{}.compensate", level.path(n)),
                message,
            )
            .remedy("remove `compensate`, or correct `effect`");
    }
}

/// A saga that undoes nothing, and compensations that never run.
pub(crate) fn check_saga(def: &Definition, report: &mut Report) {
    let mut first: Option<&Task> = None;
    def.body.walk("", &mut |task, _| {
        if task.compensate.is_some() {
            first.get_or_insert(task);
        }
    });
    let Some(saga) = &def.saga else { return };
    let runs = saga.on_failure || saga.on_cancel;
    match first {
        None if runs => {
            let message = "no task has a compensation, so nothing is undone";
            report
                .note("nothing-to-compensate", def.places.saga, "saga", message)
                .remedy("add `compensate: …` to tasks");
        }
        Some(task) if !runs => {
            let message =
                format!("`{}` has a compensation, and the definition turns compensation off", task.plan.id);
            report
                .warning("nothing-to-compensate", def.places.saga, "saga", message)
                .remedy("write `saga: true`");
        }
        _ => {}
    }
}
