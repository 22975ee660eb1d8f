//! Rows of the inbox as orders, and back.

use std::sync::Arc;

use api::{
    Fault,
    log::{class_number, class_of, decode_payload, encode_payload},
};
use base::{ErrorCode, ExecutionId, FailureClass, Payload, Timestamp};
use bytes::Bytes;
use prost::Message as _;
use proto::{event::v1 as stream, log::v1 as pb};
use store::journal::InboxRow;
use workflow::{ChildOutcome, Parent, Resolution, Spending, UserEvent, Verdict, plan::Budget};

use crate::engine::{CHILD, ChildNews, ChildOrder, Command, LETTER, START, USAGE};

/// Kind of the rows that bring a user event.
const EVENT: &str = "event";

/// What a row asks for.
pub(super) enum Order {
    /// A command on the execution, and who gives it.
    Command(Box<Command>, String),
    /// The execution is to be started.
    Start(Box<ChildOrder>),
    /// It becomes a dead letter with this reason.
    Letter(String),
    /// What the execution spent is counted again.
    Usage,
}

/// A command as a row: its kind and its body.
pub(super) fn encode(command: &Command, by: &str) -> (&'static str, Bytes) {
    let mut body = pb::InboxCommand { by: by.to_owned(), ..pb::InboxCommand::default() };
    let kind = fill(command, &mut body);
    (kind, Bytes::from(body.encode_to_vec()))
}

fn fill(command: &Command, body: &mut pb::InboxCommand) -> &'static str {
    let payload = |payload: &Payload| Some(encode_payload(payload));
    match command {
        Command::Pause { reason } => {
            body.reason.clone_from(reason);
            "pause"
        }
        Command::Resume => "resume",
        Command::Cancel { reason } => {
            body.reason.clone_from(reason);
            "cancel"
        }
        Command::Terminate { reason } => {
            body.reason.clone_from(reason);
            "terminate"
        }
        Command::Resolve { task, item, decision } => {
            (body.task, body.item) = (task.clone(), *item);
            let (text, output, reason) = match decision {
                Resolution::Completed(output) => ("completed", payload(output), ""),
                Resolution::Failed(message) => ("failed", None, &**message),
                Resolution::Retry => ("retry", None, ""),
            };
            (body.decision, body.payload, body.reason) = (text.into(), output, reason.into());
            "resolve"
        }
        Command::Answer { task, item, input } => {
            (body.task, body.item, body.payload) = (task.clone(), *item, payload(input));
            "answer"
        }
        Command::Signal { name, payload: said, id } => {
            (body.name, body.id, body.payload) = (name.clone(), id.clone(), payload(said));
            "signal"
        }
        Command::SetVars { vars } => {
            body.payload = payload(vars);
            "vars"
        }
        Command::Approve { task, verdict, names, comment, form } => {
            (body.task, body.reason, body.names) = (task.clone(), comment.clone(), names.clone());
            (body.verdict, body.payload) = (verdict.as_str().into(), form.as_ref().and_then(payload));
            "approval"
        }
        Command::Grant { task } => {
            body.task = task.clone().unwrap_or_default();
            "grant"
        }
        Command::Reset { tasks, seq, input, reason } => {
            (body.tasks, body.seq, body.reason) = (tasks.clone(), *seq, reason.clone());
            body.payload = input.as_ref().and_then(payload);
            "reset"
        }
        Command::ChangePlan { plan, reason } => {
            (body.payload, body.reason) = (payload(plan), reason.clone());
            "plan"
        }
        Command::SwitchMode { task, topic } => {
            (body.task, body.topic) = (task.clone(), topic.clone());
            "mode"
        }
        // Both are rows of their own kind before they are commands.
        Command::Event(_) | Command::Child { .. } => "internal",
    }
}

/// Reads a row.
///
/// # Errors
/// What is wrong with one that this build does not know.
pub(super) fn decode(row: &InboxRow, _shards: u16) -> Result<Order, String> {
    let bytes = row.body.clone();
    match row.kind.as_str() {
        START => start(row, bytes).map(|order| Order::Start(Box::new(order))),
        CHILD => child(bytes).map(|command| Order::Command(Box::new(command), String::new())),
        EVENT => event(bytes).map(|event| Order::Command(Box::new(Command::Event(event)), String::new())),
        LETTER => letter(bytes).map(Order::Letter),
        USAGE => Ok(Order::Usage),
        kind => command(kind, bytes).map(|(command, by)| Order::Command(Box::new(command), by)),
    }
}

fn unreadable(e: impl std::fmt::Display) -> String {
    format!("the body of the command is unreadable: {e}")
}

fn command(kind: &str, body: Bytes) -> Result<(Command, String), String> {
    let body = pb::InboxCommand::decode(body).map_err(unreadable)?;
    let given = body.payload.is_some();
    let wire = body.payload.clone();
    let payload = || decode_payload(wire.clone(), &|_| None).map_err(|e| e.to_string());
    let optional = || if given { payload().map(Some) } else { Ok(None) };
    let pb::InboxCommand {
        by,
        reason,
        task,
        item,
        decision,
        name,
        id,
        topic,
        verdict,
        names,
        tasks,
        seq,
        ..
    } = body;
    let command = match kind {
        "pause" => Command::Pause { reason },
        "resume" => Command::Resume,
        "cancel" => Command::Cancel { reason },
        "terminate" => Command::Terminate { reason },
        "answer" => Command::Answer { task, item, input: payload()? },
        "resolve" => {
            let decision = match decision.as_str() {
                "completed" => Resolution::Completed(payload()?),
                "failed" => Resolution::Failed(reason.into()),
                "retry" => Resolution::Retry,
                other => return Err(format!("the decision {other:?} is unknown to this build")),
            };
            Command::Resolve { task, item, decision }
        }
        "signal" => Command::Signal { name, payload: payload()?, id },
        "vars" => Command::SetVars { vars: payload()? },
        "approval" => {
            let verdict = verdict_of(&verdict)
                .ok_or_else(|| format!("the verdict {verdict:?} is unknown to this build"))?;
            Command::Approve { task, verdict, names, comment: reason, form: optional()? }
        }
        "grant" => Command::Grant { task: Some(task).filter(|task| !task.is_empty()) },
        "reset" => Command::Reset { tasks, seq, input: optional()?, reason },
        "plan" => Command::ChangePlan { plan: payload()?, reason },
        "mode" => Command::SwitchMode { task, topic },
        other => return Err(format!("the command {other:?} is unknown to this build")),
    };
    Ok((command, by))
}

fn verdict_of(text: &str) -> Option<Verdict> {
    [Verdict::Approved, Verdict::Rejected, Verdict::Answered].into_iter().find(|v| v.as_str() == text)
}

fn id_of(bytes: &[u8]) -> Result<ExecutionId, String> {
    uuid::Uuid::from_slice(bytes).map(ExecutionId::new).map_err(unreadable)
}

fn start(row: &InboxRow, body: Bytes) -> Result<ChildOrder, String> {
    let body = pb::InboxStart::decode(body).map_err(unreadable)?;
    let budget = body.budget.unwrap_or_default();
    let workflow = match body.version.as_str() {
        "" => body.workflow,
        version => format!("{}@{version}", body.workflow),
    };
    Ok(ChildOrder {
        id: row.execution_id,
        tenant: row.tenant.clone(),
        workflow,
        input: decode_payload(body.input, &|_| None).map_err(|e| e.to_string())?,
        parent: Parent { execution: id_of(&body.parent)?, task: body.task.into(), depth: body.depth },
        budget: Budget {
            calls: budget.calls,
            tokens: budget.tokens,
            money_micros: budget.money_micros,
            depth: budget.depth,
        },
        principal: body.principal,
        trace: body.trace,
        priority: body.priority,
    })
}

fn child(body: Bytes) -> Result<Command, String> {
    use pb::inbox_child::News;
    let body = pb::InboxChild::decode(body).map_err(unreadable)?;
    let spent = Spending { calls: body.calls, tokens: body.tokens, money_micros: body.money_micros };
    let class = |failure: &pb::Failure| {
        class_of(failure.class)
            .ok_or_else(|| format!("failure class {} is unknown to this build", failure.class))
    };
    let news = match body.news.ok_or("the news of a sub-workflow are unknown to this build")? {
        News::Accepted(version) => ChildNews::Accepted(version.into()),
        News::Refused(why) => ChildNews::Refused(class(&why)?, why.message.into()),
        News::Completed(output) => {
            let output = decode_payload(Some(output), &|_| None).map_err(|e| e.to_string())?;
            ChildNews::Ended(ChildOutcome::Completed(output), spent)
        }
        News::Failed(why) => {
            let outcome = ChildOutcome::Failed { class: class(&why)?, message: why.message.into() };
            ChildNews::Ended(outcome, spent)
        }
    };
    Ok(Command::Child { task: body.task, execution: id_of(&body.execution)?, news })
}

fn letter(body: Bytes) -> Result<String, String> {
    let body = pb::InboxLetter::decode(body).map_err(unreadable)?;
    let class = class_of(body.class).unwrap_or(FailureClass::Error);
    Ok(format!(
        "execution {} of {}: task {} could not be undone: {}: {}",
        id_of(&body.execution)?,
        body.workflow,
        body.task,
        class.as_str(),
        body.message
    ))
}

fn event(body: Bytes) -> Result<Arc<UserEvent>, String> {
    let delivery = stream::Delivery::decode(body).map_err(unreadable)?;
    let event = delivery.event.ok_or("a delivery without its event")?;
    let payload = api::payload::from_wire(event.payload, "payload").map_err(|fault| fault.message)?;
    Ok(Arc::new(UserEvent {
        id: event.id.into(),
        topic: event.topic.into(),
        event_type: event.r#type.into(),
        source: event.source.into(),
        key: event.key.into(),
        payload,
        at: Timestamp::from_micros(event.at_us),
        priority: event.priority,
    }))
}

/// News for a parent: its sub-workflow cannot start.
pub(super) fn refused(parent: &Parent, child: ExecutionId, fault: &Fault) -> Bytes {
    let class = match fault.code {
        ErrorCode::InsufficientResources => FailureClass::NoAgent,
        ErrorCode::BudgetExceeded => FailureClass::Budget,
        _ => FailureClass::Definition,
    };
    let message = format!("the sub-workflow cannot start: {}", fault.message);
    let body = pb::InboxChild {
        task: parent.task.to_string(),
        execution: child.as_bytes().to_vec().into(),
        news: Some(pb::inbox_child::News::Refused(pb::Failure { class: class_number(class), message })),
        ..pb::InboxChild::default()
    };
    Bytes::from(body.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: &str, body: Bytes) -> InboxRow {
        InboxRow {
            shard: 0,
            command_id: uuid::Uuid::nil(),
            tenant: base::Tenant::default(),
            execution_id: ExecutionId::new(uuid::Uuid::nil()),
            kind: kind.into(),
            body,
            created_at: Timestamp::default(),
        }
    }

    #[test]
    fn commands_read_back_as_written() {
        let payload = || Payload::json_text(Bytes::from_static(b"[1]"));
        let task = || String::from("t");
        let approve = |verdict, form| Command::Approve {
            task: task(),
            verdict,
            names: vec!["ops".into()],
            comment: "fine".into(),
            form,
        };
        let reset = |tasks, seq, input| Command::Reset { tasks, seq, input, reason: "again".into() };
        for command in [
            Command::Pause { reason: "lunch".into() },
            Command::Resume,
            Command::Cancel { reason: "no".into() },
            Command::Terminate { reason: "now".into() },
            Command::Answer { task: task(), item: 2, input: payload() },
            Command::Resolve { task: task(), item: 1, decision: Resolution::Completed(payload()) },
            Command::Resolve { task: task(), item: 1, decision: Resolution::Failed("broken".into()) },
            Command::Resolve { task: task(), item: 0, decision: Resolution::Retry },
            Command::Signal { name: "go".into(), payload: payload(), id: "1".into() },
            Command::SetVars { vars: payload() },
            approve(Verdict::Approved, None),
            approve(Verdict::Rejected, None),
            approve(Verdict::Answered, Some(payload())),
            Command::Grant { task: None },
            Command::Grant { task: Some(task()) },
            reset(vec![task()], 0, Some(payload())),
            reset(vec![], 7, None),
            Command::ChangePlan { plan: payload(), reason: "better".into() },
            Command::SwitchMode { task: task(), topic: Some("orders".into()) },
            Command::SwitchMode { task: task(), topic: None },
        ] {
            let (kind, body) = encode(&command, "ann");
            let Ok(Order::Command(found, by)) = decode(&row(kind, body), 8) else { panic!("{kind}") };
            assert_eq!(format!("{found:?}"), format!("{command:?}"));
            assert_eq!(by, "ann");
        }
    }

    #[test]
    fn what_no_build_wrote_is_named() {
        let why =
            |kind: &str, body: &'static [u8]| decode(&row(kind, Bytes::from_static(body)), 8).err().unwrap();
        assert!(why("dance", b"").contains("dance"));
        assert!(why("pause", b"\xff").contains("unreadable"));
        assert!(why("answer", b"").contains("payload"));
        assert!(why("child", b"").contains("news"));
        assert!(why("start", b"").contains("unreadable") || why("start", b"").contains("payload"));
    }
}
