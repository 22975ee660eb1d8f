//! One call or many: `for_each`, `parallel` and the role's count, and calls that only a sub-workflow makes.

use workflow::plan::{NodeKind, Spread};

use crate::{definition::Definition, report::Report};

pub(crate) fn assign(def: &mut Definition, report: &mut Report) {
    let Definition { roles, body, .. } = def;
    body.walk_mut("", &mut |task, path| {
        let of_role =
            task.plan.need.role.as_ref().and_then(|role| roles.get(role)).and_then(|role| role.count);
        let count = task.count.or(of_role);
        match &mut task.plan.spread {
            Spread::ForEach { .. } if task.parallel => {
                let message = "`for_each` and `parallel` both say what the task is spread over";
                report.error("bad-value", task.places.spread, path(), message).remedy("keep one of them");
            }
            Spread::ForEach { width, .. } => *width = count,
            Spread::One if task.parallel => task.plan.spread = Spread::Parallel { count },
            Spread::One if task.count.is_some() => {
                let message = "`count` says how wide a task is spread, and this one is not";
                let remedy = "add `parallel: true` or `for_each`";
                report.error("bad-value", task.places.spread, path(), message).remedy(remedy);
            }
            Spread::One | Spread::Parallel { .. } => {}
        }
        if task.plan.spend.calls > 0 && !matches!(task.plan.kind, NodeKind::Child(_)) {
            let message = "`calls` says how many calls a sub-workflow is lent, and this task is none";
            let remedy = "leave it out: each attempt is one call";
            report.error("bad-value", task.places.spend, path(), message).remedy(remedy);
        }
    });
}
