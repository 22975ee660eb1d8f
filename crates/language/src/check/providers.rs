//! What other engines are asked to do, against what they can.

use base::{AgentId, finding::nearest};
use workflow::plan::{BUILT_IN, Remote, TaskPlan};

use crate::{
    definition::{Definition, Task},
    providers::Provider,
    report::Report,
};

/// Refuses engines that are not known, not set up, or cannot do what they are asked.
pub(crate) fn check(def: &Definition, known: &[Provider], report: &mut Report) {
    def.body.walk("", &mut |task, path| {
        if let Some(remote) = &task.plan.remote {
            one(task, remote, known, path, report);
        }
    });
}

fn one(task: &Task, remote: &Remote, known: &[Provider], path: &dyn Fn() -> String, report: &mut Report) {
    let (at, name) = (task.places.node, remote.provider.as_str());
    let here = || format!("{}.provider", path());
    let Some(provider) = known.iter().find(|provider| provider.name == name) else {
        let mut names: Vec<&str> = vec![BUILT_IN];
        names.extend(known.iter().map(|provider| provider.name.as_str()));
        let remedy = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("providers are {}", names.join(", ")),
        };
        report.error("unknown-provider", at, here(), format!("there is no provider `{name}`")).remedy(remedy);
        return;
    };
    if let Some(setting) = &provider.lacks {
        let message = format!("the provider `{name}` is not set up in this installation");
        report.error("provider-off", at, here(), message).remedy(format!("set `{setting}`"));
    }
    let mut cannot = |can: bool, what: String, remedy: &str| {
        if !can {
            let message = format!("the provider `{name}` {what}");
            report.error("provider-cannot", at, here(), message).remedy(remedy);
        }
    };
    let can = provider.can;
    let kind = remote.work.kind();
    cannot(
        can.runs(&remote.work),
        format!("runs no {kind}s"),
        match kind {
            "workflow" => "leave `provider` out, or name one that does",
            _ => "leave `provider` out, or put it on the steps with a `workflow_type` each",
        },
    );
    let queue = remote.task_queue.as_deref();
    cannot(can.task_queues || queue.is_none(), "has no task queues".into(), "remove `task_queue`");
    let beats = task.plan.timeouts.heartbeat.is_some();
    cannot(
        can.heartbeats || !beats,
        "shows no signs of life while it works".into(),
        "limit the attempt with `timeout` instead of `timeouts.heartbeat`",
    );
}

/// The id under which an engine stands among the agents that calls go to.
pub(super) fn agent(remote: &Remote) -> Option<AgentId> {
    AgentId::new(workflow::plan::provider_id(&remote.provider)).ok()
}

/// Gives work without a task queue the installation's, at engines that have queues.
pub(crate) fn queue(tasks: &mut [TaskPlan], queue: &str, known: &[Provider]) {
    for task in tasks {
        if let Some(remote) = &mut task.remote
            && known.iter().any(|provider| provider.name == remote.provider && provider.can.task_queues)
        {
            remote.task_queue.get_or_insert_with(|| queue.to_owned());
        }
        if let workflow::plan::NodeKind::Scope(scope) = &mut task.kind {
            self::queue(&mut scope.tasks, queue, known);
        }
        if let Some(undo) = &mut task.compensate {
            self::queue(std::slice::from_mut(undo), queue, known);
        }
    }
}
