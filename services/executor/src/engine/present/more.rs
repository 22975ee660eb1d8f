//! Messages of what is more than a call: turns, waits, approvals, events, sub-workflows, compensation, live change.

use base::{FailureClass, Timestamp};
use serde_json::{Value, json};
use workflow::{Because, ChildOutcome, Kind, Spending, State, TurnResult};

use super::{PublicEvent, capability, id, merged, of_call, small};

type Make<'a> = &'a dyn Fn(&'static str, Value) -> PublicEvent;

/// The messages of the facts that [`super::present`] leaves to this module.
pub(super) fn present(state: &State, kind: &Kind, message: Make<'_>) -> Vec<PublicEvent> {
    let of = |task: u32, more: Value| merged(json!({"task_id": id(state, task)}), more);
    match kind {
        Kind::TurnStarted { .. }
        | Kind::TurnEnded { .. }
        | Kind::Routed { .. }
        | Kind::Picked { .. }
        | Kind::TaskCancelled { .. }
        | Kind::TaskRecovered { .. } => task(state, kind, message),
        Kind::WaitOpened { .. }
        | Kind::EventReceived { .. }
        | Kind::EventTaken { .. }
        | Kind::SignalReceived { .. }
        | Kind::StepGranted { .. }
        | Kind::EventEmitted { .. }
        | Kind::EventPublished { .. } => wait(state, kind, message),
        Kind::ApprovalAsked { .. } | Kind::ApprovalEscalated { .. } | Kind::ApprovalDecided { .. } => {
            approval(state, kind, message)
        }
        Kind::ChildStarted { .. } | Kind::ChildAccepted { .. } | Kind::ChildEnded { .. } => {
            child(state, kind, message)
        }
        Kind::CompensationStarted { .. }
        | Kind::TaskCompensating { .. }
        | Kind::TaskCompensated { .. }
        | Kind::CompensationFailed { .. }
        | Kind::Compensated => undoing(state, kind, message),
        Kind::VariablesSet { task, vars, by } => {
            let own = task.map(|task| id(state, task));
            vec![message("variables.set", json!({"task_id": own, "by": &**by, "vars": small(vars)}))]
        }
        Kind::ChildSettled { execution, spent } => {
            let data = json!({"child_execution_id": execution.to_string(), "spent": amounts(*spent)});
            vec![message("child.settled", data)]
        }
        Kind::Spent { call, attempt, usage } => {
            let cost =
                json!({"attempt": attempt, "tokens": usage.tokens, "money_micros": usage.money_micros});
            vec![message("task.spent", of_call(state, *call, cost))]
        }
        Kind::PlanChanged(change) => {
            let data = json!({"revision": change.revision, "by": &*change.by, "reason": &*change.reason});
            vec![message("workflow.changed", data)]
        }
        Kind::Reset { tasks, by, reason, .. } => {
            let tasks: Vec<String> = tasks.iter().map(|task| id(state, *task)).collect();
            vec![message("workflow.reset", json!({"tasks": tasks, "by": &**by, "reason": &**reason}))]
        }
        Kind::Seeded { from, tasks, .. } => {
            vec![message("workflow.forked", json!({"from": from.to_string(), "tasks": tasks.len()}))]
        }
        Kind::ModeSwitched { task, topic, by } => {
            vec![message("task.mode_switched", of(*task, json!({"topic": topic.as_deref(), "by": &**by})))]
        }
        // The others are told by `super::present`.
        _ => vec![],
    }
}

fn failure(class: FailureClass, text: &str) -> Value {
    json!({"code": class.as_str(), "message": text})
}

fn task(state: &State, kind: &Kind, message: Make<'_>) -> Vec<PublicEvent> {
    let of = |task: u32, more: Value| merged(json!({"task_id": id(state, task)}), more);
    vec![match kind {
        Kind::TurnStarted { scope, turn, .. } => message("turn.started", of(*scope, json!({"turn": turn}))),
        Kind::TurnEnded { scope, turn, result } => {
            let more = match result {
                TurnResult::Output(output) => json!({"turn": turn, "output": small(output)}),
                TurnResult::Failed { class, message } => {
                    merged(json!({"turn": turn}), failure(*class, message))
                }
            };
            message("turn.ended", of(*scope, more))
        }
        Kind::Routed { task, cases } => {
            let cases: Vec<&str> = cases.iter().map(|case| &**case).collect();
            message("task.completed", of(*task, json!({"cases": cases})))
        }
        Kind::Picked { task, name } => message("task.picked", of(*task, json!({"name": &**name}))),
        Kind::TaskCancelled { task, reason } => {
            message("task.cancelled", of(*task, json!({"reason": &**reason})))
        }
        Kind::TaskRecovered { call, class, message: text, output } => {
            let more = merged(failure(*class, text), json!({"final": true, "tolerated": true}));
            let done = json!({"capability": capability(state, call.task), "output": small(output), "recovered": true});
            return vec![
                message("error.occurred", of_call(state, *call, more)),
                message("task.completed", of(call.task, done)),
            ];
        }
        _ => return vec![],
    }]
}

fn wait(state: &State, kind: &Kind, message: Make<'_>) -> Vec<PublicEvent> {
    let of = |task: u32, more: Value| merged(json!({"task_id": id(state, task)}), more);
    vec![match kind {
        Kind::WaitOpened { task, until, key } => {
            let until = until.map(Timestamp::rfc3339);
            message("task.waiting", of(*task, json!({"until": until, "key": key.as_deref()})))
        }
        Kind::EventReceived { event, .. } => {
            let data = json!({"event_id": &*event.id, "topic": &*event.topic, "key": &*event.key});
            message("event.received", data)
        }
        Kind::EventTaken { tasks, event_id } => {
            let tasks: Vec<String> = tasks.iter().map(|task| id(state, *task)).collect();
            message("event.taken", json!({"event_id": &**event_id, "tasks": tasks}))
        }
        Kind::SignalReceived { name, by, payload, .. } => {
            message("signal.received", json!({"name": &**name, "by": &**by, "payload": small(payload)}))
        }
        Kind::StepGranted { task, by } => message("task.granted", of(*task, json!({"by": &**by}))),
        Kind::EventEmitted { task, event } => {
            message("event.emitted", of(*task, json!({"event_id": &*event.id, "topic": &*event.topic})))
        }
        Kind::EventPublished { task } => message("event.published", of(*task, json!({}))),
        _ => return vec![],
    }]
}

fn approval(state: &State, kind: &Kind, message: Make<'_>) -> Vec<PublicEvent> {
    let of = |task: u32, more: Value| merged(json!({"task_id": id(state, task)}), more);
    vec![match kind {
        Kind::ApprovalAsked { task, title } => {
            message("approval.asked", of(*task, json!({"title": &**title, "who": state.may_answer(*task)})))
        }
        Kind::ApprovalEscalated { task, step } => {
            message("approval.escalated", of(*task, json!({"step": step, "who": state.may_answer(*task)})))
        }
        Kind::ApprovalDecided { task, verdict, by, comment, .. } => {
            let data = json!({"verdict": verdict.as_str(), "by": &**by, "comment": &**comment});
            message("approval.decided", of(*task, data))
        }
        _ => return vec![],
    }]
}

fn child(state: &State, kind: &Kind, message: Make<'_>) -> Vec<PublicEvent> {
    let of = |task: u32, more: Value| merged(json!({"task_id": id(state, task)}), more);
    vec![match kind {
        Kind::ChildStarted { task, child } => {
            let data = json!({
                "child_execution_id": child.execution.to_string(), "workflow": &*child.workflow,
                "detached": child.detached, "depth": child.depth,
            });
            message("child.started", of(*task, data))
        }
        Kind::ChildAccepted { task, version } => {
            message("child.accepted", of(*task, json!({"version": &**version})))
        }
        Kind::ChildEnded { task, outcome, spent } => {
            let how = match outcome {
                ChildOutcome::Completed(_) => json!({"status": "completed"}),
                ChildOutcome::Failed { class, message } => {
                    merged(json!({"status": "failed"}), failure(*class, message))
                }
            };
            message("child.ended", of(*task, merged(how, json!({"spent": amounts(*spent)}))))
        }
        _ => return vec![],
    }]
}

fn amounts(spent: Spending) -> Value {
    json!({"calls": spent.calls, "tokens": spent.tokens, "money_micros": spent.money_micros})
}

fn undoing(state: &State, kind: &Kind, message: Make<'_>) -> Vec<PublicEvent> {
    let of = |task: u32| json!({"task_id": id(state, task)});
    let status = |to: &str, more| message("workflow.status_changed", merged(json!({"status": to}), more));
    vec![match kind {
        Kind::CompensationStarted { because } => status("compensating", why(because)),
        Kind::Compensated => {
            status("compensated", state.undone().map_or_else(|| json!({}), |undone| why(&undone.because)))
        }
        Kind::TaskCompensating { task } => message("task.compensating", of(*task)),
        Kind::TaskCompensated { task } => message("task.compensated", of(*task)),
        Kind::CompensationFailed { task, class, message: text } => {
            message("task.compensation_failed", merged(of(*task), failure(*class, text)))
        }
        _ => return vec![],
    }]
}

fn why(because: &Because) -> Value {
    match because {
        Because::Failed { class, message } => failure(*class, message),
        Because::Cancelled { by, reason } => json!({"by": &**by, "reason": &**reason}),
    }
}
