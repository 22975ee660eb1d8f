//! What executions tell each other: rows in inboxes, written with the facts that they follow from. So a sub-workflow is
//! started once, its end reaches its parent, and nobody is told of what did not happen, whoever crashes when.

use api::log::{class_number, encode_payload};
use base::{ExecutionId, Timestamp};
use prost::Message as _;
use proto::log::v1::{self as pb, inbox_child::News};
use store::journal::InboxRow;
use uuid::Uuid;
use workflow::{ChildOutcome, Effect, Event, Kind, Parent};

use super::hot::Hot;

/// Kind of the rows that start a sub-workflow.
pub(crate) const START: &str = "start";
/// Kind of the rows that tell a parent about a sub-workflow.
pub(crate) const CHILD: &str = "child";
/// Kind of the rows after which it is counted again what the execution spent.
pub(crate) const USAGE: &str = "usage";
/// Kind of the rows that become dead letters.
pub(crate) const LETTER: &str = "letter";

/// A row for another execution; the same whenever it is made for the same occasion.
pub(crate) fn row(
    to: ExecutionId,
    of: (&Hot, Timestamp),
    (kind, occasion): (&str, &str),
    body: Vec<u8>,
    shards: u16,
) -> InboxRow {
    InboxRow {
        shard: to.shard(u32::from(shards)) as u16,
        command_id: Uuid::new_v5(&to.uuid(), occasion.as_bytes()),
        tenant: of.0.tenant.clone(),
        execution_id: to,
        kind: kind.into(),
        body: body.into(),
        created_at: of.1,
    }
}

/// What follows for others from these events and effects.
pub(crate) fn mail_of(hot: &Hot, events: &[Event], effects: &[Effect], shards: u16) -> Vec<InboxRow> {
    let mut out = Vec::new();
    let at = hot.state.time();
    for effect in effects {
        match effect {
            Effect::StartChild { task } => out.extend(start(hot, *task, at, shards)),
            Effect::CancelChild { execution, .. } => {
                let body = pb::InboxCommand {
                    by: format!("workflow:{}", hot.state.created().workflow_name),
                    reason: format!("execution {} does not wait for it any more", hot.id),
                    ..pb::InboxCommand::default()
                };
                // After its start, should both be on their way.
                let after = Timestamp::from_micros(at.micros().saturating_add(1));
                let occasion = ("cancel", "cancel");
                out.push(row(*execution, (hot, after), occasion, body.encode_to_vec(), shards));
            }
            Effect::DeadLetter { task } => out.extend(letter(hot, *task, at, shards)),
            _ => {}
        }
    }
    out.extend(late_usage(hot, events, at, shards));
    if let Some(parent) = &hot.state.created().settings.parent {
        out.extend(events.iter().filter_map(|event| news(hot, parent, event, shards)));
    }
    out
}

/// What an agent reports after the end may come after budgets have counted the execution.
fn late_usage(hot: &Hot, events: &[Event], at: Timestamp, shards: u16) -> Option<InboxRow> {
    let ends = |event: &Event| ChildOutcome::of(&hot.state, &event.kind).is_some();
    let spent = events.iter().any(|event| matches!(event.kind, Kind::Spent { .. }));
    let late = spent && hot.state.status().is_final() && !events.iter().any(ends);
    let occasion = format!("{}/usage/{}", hot.id, hot.state.seq());
    late.then(|| row(hot.id, (hot, at), (USAGE, &occasion), Vec::new(), shards))
}

fn start(hot: &Hot, task: u32, at: Timestamp, shards: u16) -> Option<InboxRow> {
    let child = hot.state.child(task)?;
    let created = hot.state.created();
    let body = pb::InboxStart {
        workflow: child.workflow.to_string(),
        version: child.version.to_string(),
        input: Some(encode_payload(&child.input)),
        parent: hot.id.as_bytes().to_vec().into(),
        task: hot.state.task_path(task),
        depth: child.depth,
        budget: Some(pb::Budget {
            calls: child.budget.calls,
            tokens: child.budget.tokens,
            money_micros: child.budget.money_micros,
            depth: child.budget.depth,
        }),
        principal: created.principal.to_string(),
        trace: created.trace.to_string(),
        priority: hot.state.priority(task),
    };
    Some(row(child.execution, (hot, at), (START, START), body.encode_to_vec(), shards))
}

fn letter(hot: &Hot, task: u32, at: Timestamp, shards: u16) -> Option<InboxRow> {
    let failure = hot.state.undone()?.done.get(&task)?.clone()?;
    let path = hot.state.task_path(task);
    let body = pb::InboxLetter {
        execution: hot.id.as_bytes().to_vec().into(),
        class: class_number(failure.0),
        message: failure.1.to_string(),
        workflow: hot.state.created().workflow_name.to_string(),
        task: path.clone(),
    };
    Some(row(hot.id, (hot, at), (LETTER, &format!("letter/{path}")), body.encode_to_vec(), shards))
}

/// What the event tells the parent.
fn news(hot: &Hot, parent: &Parent, event: &Event, shards: u16) -> Option<InboxRow> {
    let accepted = matches!(event.kind, Kind::Created(_));
    let news = match accepted {
        true => News::Accepted(hot.state.created().workflow_version.to_string()),
        false => match ChildOutcome::of(&hot.state, &event.kind)? {
            ChildOutcome::Completed(output) => News::Completed(encode_payload(&output)),
            ChildOutcome::Failed { class, message } => {
                News::Failed(pb::Failure { class: class_number(class), message: message.to_string() })
            }
        },
    };
    let spent = hot.state.spent_at_end();
    let body = pb::InboxChild {
        task: parent.task.to_string(),
        execution: hot.id.as_bytes().to_vec().into(),
        news: Some(news),
        calls: spent.calls,
        tokens: spent.tokens,
        money_micros: spent.money_micros,
    };
    let occasion = format!("{}/{}", hot.id, if accepted { "accepted" } else { "ended" });
    Some(row(parent.execution, (hot, event.at), (CHILD, &occasion), body.encode_to_vec(), shards))
}
