//! What came out of an execution, what it took, and why it failed.

use api::client::{Execution, ExecutionStatus};
use base::Payload;
use serde_json::Value;

use super::tree;
use crate::out::{Out, duration};

/// Names of fields that hold a text for people.
const TEXT_FIELDS: [&str; 4] = ["report", "markdown", "text", "answer"];

/// Tree, output, causes and summary.
pub(crate) fn print_whole(out: &Out, execution: &Execution) {
    tree::lines(execution, &tree::View::still(out)).iter().for_each(|line| out.line(line));
    print_end(out, execution);
    print_causes(out, execution);
}

/// Output and summary of an execution that ended; of another one the summary.
pub(crate) fn print_end(out: &Out, execution: &Execution) {
    if execution.output.is_some() && execution.status == ExecutionStatus::Completed {
        out.line("");
        print_output(out, execution);
    }
    if execution.started_at.is_some() {
        out.line("");
        out.line(summary(out, execution));
    }
}

/// The output: a report as its text, anything else as JSON.
pub(crate) fn print_output(out: &Out, execution: &Execution) {
    let Some(output) = &execution.output else { return };
    if out.is_for_programs() {
        match output.json() {
            Some(json) => out.result(&*json, |_| {}),
            None => out.raw(String::from_utf8_lossy(output.bytes())),
        }
        return;
    }
    out.line(readable(output).trim_end());
}

/// For people: the text inside if there is exactly one, else JSON on several lines.
pub(crate) fn readable(output: &Payload) -> String {
    let Some(json) = output.json() else { return String::from_utf8_lossy(output.bytes()).into_owned() };
    match text_in(&json, 2) {
        Some(text) => text.to_owned(),
        None => serde_json::to_string_pretty(&*json).unwrap_or_default(),
    }
}

/// The text for people in an output: the output itself, its `report`, or that of its only task.
fn text_in(value: &Value, depth: usize) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Object(map) if depth > 0 => {
            let named = TEXT_FIELDS.iter().find_map(|field| map.get(*field).and_then(Value::as_str));
            let only = || match map.len() {
                1 => map.values().next().and_then(|inner| text_in(inner, depth - 1)),
                _ => None,
            };
            named.or_else(only)
        }
        _ => None,
    }
}

/// Wall time, time in agents, coordination overhead.
fn summary(out: &Out, execution: &Execution) -> String {
    let m = &execution.metrics;
    let ms = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let overhead = m.runtime.mul_f64(m.coordination_overhead.clamp(0.0, 1.0));
    // This is what we are judged by: fractions of a millisecond count.
    let overhead = match overhead.as_secs_f64() * 1000.0 {
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        _ => duration(ms(overhead)),
    };
    let mut parts = vec![
        format!("wall time {}", out.bold(&duration(ms(m.runtime)))),
        format!("in agents {} (sum of all calls)", out.bold(&duration(ms(m.agent_time)))),
        format!("coordination overhead {} ({:.1} %)", out.bold(&overhead), m.coordination_overhead * 100.0),
        format!("{}/{} tasks", m.tasks_completed, m.tasks_total),
        counted(m.agents_allocated, "agent"),
    ];
    if m.retries > 0 {
        parts.push(if m.retries == 1 { "1 retry".to_owned() } else { format!("{} retries", m.retries) });
    }
    format!("{}  {}", out.state(execution.status.as_str()), parts.join(" · "))
}

fn counted(n: u32, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Every cause of a failure.
pub(crate) fn print_causes(out: &Out, execution: &Execution) {
    let Some(error) = &execution.error_details else { return };
    if execution.status == ExecutionStatus::Completed {
        return;
    }
    out.error_line(format_args!("{} {}: {}", out.red("error:"), error.code, error.message));
    for cause in &error.causes {
        let task = match (&cause.task_id, cause.item) {
            (Some(task), Some(item)) => format!("{task}[{item}]"),
            (Some(task), None) => task.clone(),
            (None, _) => "execution".to_owned(),
        };
        let agent = cause.agent_id.as_ref().map(|agent| format!(" at {agent}")).unwrap_or_default();
        out.error_line(format_args!(
            "  {task}, attempt {}{agent}: {}: {}",
            cause.attempt, cause.code, cause.message
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_is_printed_as_text_and_data_as_json() {
        for (output, want) in [
            (json!("# Title\n"), "# Title\n"),
            (json!({"report": "# R", "sources": [1]}), "# R"),
            (json!({"synthesize": {"report": "# R", "quality": {}}}), "# R"),
            (json!({"n": 1}), "{\n  \"n\": 1\n}"),
            (
                json!({"a": {"report": "x"}, "b": 2}),
                "{\n  \"a\": {\n    \"report\": \"x\"\n  },\n  \"b\": 2\n}",
            ),
            (json!([1]), "[\n  1\n]"),
        ] {
            assert_eq!(readable(&Payload::from_value(&output)), want);
        }
        assert_eq!(readable(&Payload::new("text/markdown".into(), "# M".into())), "# M");
    }
}
