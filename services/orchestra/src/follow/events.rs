//! Events as lines: since the beginning, what, where, and what about it.

use api::client::Event;
use base::Timestamp;
use serde_json::Value;

use crate::out::{Out, duration};

/// Turns the events of one execution into lines; times count from the first.
#[derive(Debug, Default)]
pub(crate) struct EventLines {
    first: Option<Timestamp>,
}

impl EventLines {
    pub(crate) fn line(&mut self, out: &Out, event: &Event) -> String {
        let at = Timestamp::parse_rfc3339(&event.timestamp);
        let first = *self.first.get_or_insert(at.unwrap_or(Timestamp::from_micros(0)));
        let since = at.map_or(0, |at| at.since(first).as_millis());
        let (subject, about) = describe(&event.kind, &event.data);
        let clock = format!("{:>6}.{:03}", since / 1000, since % 1000);
        format!("{}  {:<24}  {subject:<20}  {about}", out.dim(&clock), event.kind).trim_end().to_owned()
    }
}

/// The task or status that it is about, and the rest.
fn describe(kind: &str, data: &Value) -> (String, String) {
    let text = |key: &str| data[key].as_str().unwrap_or("");
    let task = match (data["task_id"].as_str(), data["item"].as_u64()) {
        (Some(task), Some(item)) => format!("{task}[{item}]"),
        (Some(task), None) => task.to_owned(),
        (None, _) => String::new(),
    };
    let attempt = data["attempt"].as_u64().filter(|n| *n > 0).map(|n| format!("attempt {n}"));
    let took = data["duration_ms"].as_u64().map(duration);
    let join = |parts: Vec<Option<String>>| {
        parts.into_iter().flatten().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(", ")
    };
    let owned = |key: &str| Some(text(key).to_owned());
    match kind {
        "workflow.status_changed" => {
            (text("status").to_owned(), join(vec![owned("by"), owned("reason"), owned("message")]))
        }
        "agent.assigned" => (task, join(vec![owned("agent_id"), attempt, owned("reason")])),
        "task.started" => (task, join(vec![owned("agent_id"), attempt])),
        "task.completed" | "task.item_completed" => (task, join(vec![took])),
        "error.occurred" => {
            let again = data["retry_at"].as_str().map(|_| "will be tried again".to_owned());
            (task, join(vec![owned("code"), owned("message"), attempt, again]))
        }
        "task.needs_decision" | "task.waiting" | "task.decided" | "task.skipped" => {
            (task, join(vec![owned("decision"), owned("message"), owned("reason")]))
        }
        "checkpoint.created" => (String::new(), text("checkpoint_id").to_owned()),
        _ => (task, join(vec![owned("reason"), owned("message"), owned("by")])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Format;
    use serde_json::json;

    fn event(kind: &str, at: &str, data: Value) -> Event {
        Event {
            kind: kind.into(),
            workflow_id: String::new(),
            execution_id: String::new(),
            timestamp: at.into(),
            data,
            seq: 1,
        }
    }

    #[test]
    fn a_line_says_when_what_where_and_what_about_it() {
        let out = Out::new(Format::Json);
        let mut lines = EventLines::default();
        let mut line = |kind: &str, at: &str, data| lines.line(&out, &event(kind, at, data));
        let first = line("workflow.status_changed", "2026-01-01T00:00:00Z", json!({"status": "executing"}));
        assert_eq!(first, "     0.000  workflow.status_changed   executing");
        let started = json!({"task_id": "research", "item": 2, "agent_id": "r-1", "attempt": 1});
        assert_eq!(
            line("task.started", "2026-01-01T00:00:01.250Z", started),
            "     1.250  task.started              research[2]           r-1, attempt 1"
        );
        let failed =
            json!({"task_id": "t", "code": "timeout", "message": "too slow", "attempt": 1, "retry_at": "x"});
        assert!(
            line("error.occurred", "2026-01-01T00:00:02Z", failed)
                .ends_with("timeout, too slow, attempt 1, will be tried again")
        );
        assert!(line("invented.later", "nonsense", json!({})).ends_with("invented.later"));
    }
}
