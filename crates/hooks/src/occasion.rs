//! What fires hooks: a call about to leave, or a lifecycle event of an execution.

use base::{ExecutionId, Timestamp, WorkflowId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Trigger;

/// What an occasion is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The execution.
    pub execution: Option<ExecutionId>,
    /// The task's id, when it is about one.
    pub task: Option<String>,
    /// The item of a scattered task.
    pub item: Option<u32>,
    /// What tells this occasion from others of the same trigger and task: it is the same when the occasion is found again.
    pub key: String,
}

/// One moment at which hooks may run.
#[derive(Clone, Debug, PartialEq)]
pub struct Occasion {
    /// Which trigger it fires.
    pub trigger: Trigger,
    /// What it is about.
    pub subject: Subject,
    /// When it happened.
    pub at: Timestamp,
    /// What hooks are told: an object.
    pub document: Value,
}

impl Occasion {
    /// The same for every time that this occasion is found: hooks run once for it.
    pub fn id(&self) -> Uuid {
        let subject = &self.subject;
        let execution = subject.execution.map(|id| id.to_string()).unwrap_or_default();
        let task = subject.task.as_deref().unwrap_or_default();
        let item = subject.item.map(|i| i.to_string()).unwrap_or_default();
        let name = format!("hook/{execution}/{}/{task}/{item}/{}", self.trigger.as_str(), subject.key);
        Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
    }

    /// The run of one hook at the occasion called `id`.
    pub fn run_id(id: Uuid, hook: Uuid) -> Uuid {
        Uuid::new_v5(&id, hook.as_bytes())
    }
}

/// A lifecycle event of an execution, as other services see it.
#[derive(Clone, Copy, Debug)]
pub struct Fact<'a> {
    /// `task.completed`, `workflow.status_changed`, …
    pub kind: &'a str,
    /// The workflow.
    pub workflow: WorkflowId,
    /// The execution.
    pub execution: ExecutionId,
    /// Number of the event behind it.
    pub seq: u64,
    /// Place among the facts of one event.
    pub part: usize,
    /// When.
    pub at: Timestamp,
    /// The kind's own fields.
    pub data: &'a Value,
}

/// The occasions that follow from a fact, in the order in which their hooks run. `tags` gives the tags of a capability.
pub fn occasions(fact: &Fact<'_>, tags: impl Fn(&str) -> Vec<String>) -> Vec<Occasion> {
    let text = |key: &str| fact.data[key].as_str().unwrap_or_default();
    let task = fact.data["task_id"].as_str();
    let task_ended = match fact.kind {
        "task.completed" => true,
        "error.occurred" => fact.data["final"] == true && task.is_some(),
        _ => false,
    };
    let mut triggers = Vec::new();
    match (fact.kind, text("status"), text("previous")) {
        ("workflow.execution_started", ..) => {
            triggers.push(Trigger::SessionStart);
            if fact.data["session_restored"] == true {
                triggers.push(Trigger::SessionRestore);
            }
        }
        ("workflow.status_changed", "executing", "paused") => triggers.push(Trigger::SessionRestore),
        (
            "workflow.status_changed",
            "completed" | "failed" | "cancelled" | "terminated" | "compensated",
            _,
        ) => {
            triggers.push(Trigger::SessionEnd);
        }
        _ if task_ended => triggers.extend(Trigger::after(&tags(text("capability")))),
        _ => {}
    }
    triggers.push(Trigger::Notification);
    let of_task = task_ended.then_some(task).flatten();
    let of = |trigger: Trigger| Occasion {
        trigger,
        subject: Subject {
            execution: Some(fact.execution),
            task: of_task.map(str::to_owned),
            item: None,
            key: format!("{}.{}", fact.seq, fact.part),
        },
        at: fact.at,
        document: document(fact, trigger, of_task),
    };
    triggers.into_iter().map(of).collect()
}

fn document(fact: &Fact<'_>, trigger: Trigger, task: Option<&str>) -> Value {
    let data = fact.data;
    let mut document = json!({
        "trigger": trigger,
        "at": fact.at.rfc3339(),
        "execution": {"id": fact.execution, "workflow_id": fact.workflow},
        "event": {"type": fact.kind, "seq": fact.seq, "data": data},
    });
    if let Some(task) = task {
        let failed = fact.kind == "error.occurred";
        let error = failed.then(|| json!({"code": data["code"], "message": data["message"]}));
        document["task"] = json!({
            "id": task,
            "status": if failed { "failed" } else { "completed" },
            "capability": data["capability"],
            "duration_ms": data["duration_ms"],
            "output": data["output"],
            "error": error,
        });
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(kind: &str, data: &Value) -> Vec<&'static str> {
        let fact = Fact {
            kind,
            workflow: WorkflowId::new(Uuid::nil()),
            execution: ExecutionId::new(Uuid::nil()),
            seq: 7,
            part: 0,
            at: Timestamp::default(),
            data,
        };
        let tags = |capability: &str| match capability {
            "patch" => vec!["edit".to_owned()],
            "shell" => vec!["command".to_owned()],
            _ => vec![],
        };
        occasions(&fact, tags).iter().map(|o| o.trigger.as_str()).collect()
    }

    #[test]
    fn facts_fire_the_triggers_that_belong_to_them() {
        for (kind, data, want) in [
            ("workflow.execution_started", json!({}), &["session_start", "notification"][..]),
            (
                "workflow.execution_started",
                json!({"session_restored": true}),
                &["session_start", "session_restore", "notification"],
            ),
            ("workflow.status_changed", json!({"status": "completed"}), &["session_end", "notification"]),
            ("workflow.status_changed", json!({"status": "cancelled"}), &["session_end", "notification"]),
            ("workflow.status_changed", json!({"status": "paused"}), &["notification"]),
            (
                "workflow.status_changed",
                json!({"status": "executing", "previous": "paused"}),
                &["session_restore", "notification"],
            ),
            (
                "workflow.status_changed",
                json!({"status": "executing", "previous": "planning"}),
                &["notification"],
            ),
            ("task.completed", json!({"task_id": "a"}), &["post_task", "notification"]),
            (
                "task.completed",
                json!({"task_id": "a", "capability": "patch"}),
                &["post_edit", "post_task", "notification"],
            ),
            (
                "error.occurred",
                json!({"task_id": "a", "final": true, "capability": "shell"}),
                &["post_command", "post_task", "notification"],
            ),
            ("error.occurred", json!({"task_id": "a", "attempt": 1}), &["notification"]),
            ("error.occurred", json!({"final": true}), &["notification"]),
            ("task.started", json!({"task_id": "a"}), &["notification"]),
        ] {
            assert_eq!(fired(kind, &data), want, "{kind} {data}");
        }
    }

    #[test]
    fn the_same_fact_gives_the_same_ids_and_another_gives_others() {
        let occasion = |trigger, key: &str| Occasion {
            trigger,
            subject: Subject { key: key.into(), ..Subject::default() },
            at: Timestamp::default(),
            document: json!({}),
        };
        let id = occasion(Trigger::PostTask, "7.0").id();
        assert_eq!(id, occasion(Trigger::PostTask, "7.0").id());
        assert_ne!(id, occasion(Trigger::PostTask, "8.0").id());
        assert_ne!(id, occasion(Trigger::PostEdit, "7.0").id());
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(Occasion::run_id(id, a), Occasion::run_id(id, a));
        assert_ne!(Occasion::run_id(id, a), Occasion::run_id(id, b));
    }
}
