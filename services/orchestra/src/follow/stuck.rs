//! Why an execution makes no progress by itself, and the command line that frees it.

use api::client::{Insight, StuckReason, Wait};

use crate::out::Out;

/// One line for each reason, and under it what to type.
pub(crate) fn print(out: &Out, seen: &Insight) {
    for reason in &seen.stuck {
        out.line(words(out, reason));
        if let Some(command) = command(&seen.execution_id, reason, &seen.waits) {
            out.line(format_args!("    {}", out.dim(&command)));
        }
    }
}

/// `approval  task ask: ann since …`.
fn words(out: &Out, reason: &StuckReason) -> String {
    let mut text = format!("{}  ", out.bold(&reason.reason));
    match &reason.task_id {
        Some(task) if reason.item > 0 => text.push_str(&format!("task {task}[{}]", reason.item)),
        Some(task) => text.push_str(&format!("task {task}")),
        None => text.push_str("the execution"),
    }
    if let Some(detail) = &reason.detail {
        text.push_str(": ");
        text.push_str(detail);
    }
    text
}

/// What to type. `None`: nothing but what it waits for helps.
pub(crate) fn command(id: &str, reason: &StuckReason, waits: &[Wait]) -> Option<String> {
    let path = reason.task_id.as_deref().unwrap_or_default();
    let task = quoted(path);
    let wait = waits.iter().find(|wait| wait.task_id == path);
    let what = quoted(wait.and_then(|wait| wait.what.as_deref()).unwrap_or("NAME"));
    let item = if reason.item > 0 { format!(" --item {}", reason.item) } else { String::new() };
    Some(match reason.command.as_deref()? {
        "resume" => format!("orchestra executions resume {id}"),
        "answer" => format!("orchestra executions input {id} {task} ANSWER.json{item}"),
        "resolve" => {
            format!(
                "orchestra executions resolve {id} {task}{item} --retry|--completed FILE|--failed MESSAGE"
            )
        }
        "publish" => {
            let key = wait.and_then(|wait| wait.key.as_deref());
            let key = key.map(|key| format!(" --key {}", quoted(key))).unwrap_or_default();
            format!("orchestra events publish {what}{key} --payload JSON")
        }
        "signal" => format!("orchestra executions signal {id} {what} JSON"),
        "approve" => format!("orchestra approvals approve|reject|answer {id} {task}"),
        "step" => format!("orchestra executions step {id} {task}"),
        "register an agent" => "orchestra agents register AGENT.json".to_owned(),
        other => other.to_owned(),
    })
}

/// As a word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_names_the_command_line_that_frees_it() {
        let wait = |kind: &str, what: &str, key: Option<&str>| Wait {
            task_id: "improve[2].ask".into(),
            kind: kind.into(),
            what: Some(what.into()),
            key: key.map(str::to_owned),
            since: None,
            until: None,
            who: Vec::new(),
            schema: None,
        };
        for (freed_by, wait, want) in [
            (
                "approve",
                wait("approval", "Ship?", None),
                "orchestra approvals approve|reject|answer ID 'improve[2].ask'",
            ),
            ("signal", wait("signal", "go on", None), "orchestra executions signal ID 'go on' JSON"),
            (
                "publish",
                wait("event", "orders", Some("4711")),
                "orchestra events publish orders --key 4711 --payload JSON",
            ),
            ("step", wait("step", "", None), "orchestra executions step ID 'improve[2].ask'"),
            ("resume", wait("timer", "", None), "orchestra executions resume ID"),
        ] {
            let reason = StuckReason {
                reason: "x".into(),
                task_id: Some("improve[2].ask".into()),
                command: Some(freed_by.into()),
                ..StuckReason::default()
            };
            assert_eq!(command("ID", &reason, &[wait]).as_deref(), Some(want));
        }
    }
}
