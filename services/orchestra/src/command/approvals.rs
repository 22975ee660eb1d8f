//! `orchestra approvals`: what people are asked, and their answers.

use std::process::ExitCode;

use api::client::{Approval, ApprovalDecision, ApprovalFilter, Client};
use base::{ErrorCode, Payload};
use clap::Subcommand;
use serde_json::Value;

use super::{
    Context, Done,
    executions::answer,
    page::{PageArgs, more},
};
use crate::{
    exit::{Exit, Failure},
    input::FormArgs,
    out::{Out, time},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  orchestra approvals list                           open ones, of all executions
  orchestra approvals list --who ann -o json
  orchestra approvals show ID                        what is asked, and the form to fill in
  orchestra approvals approve ID TASK --comment 'looks good'
  orchestra approvals reject ID --comment 'too dear' the task fails with class `rejected`
  orchestra approvals answer ID TASK --set note=fine --set limit=3
  orchestra approvals answer ID TASK --form-file form.json

TASK may be left out while the execution asks only one question. The first answer counts.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists open approvals, those that wait longest first.
    List {
        /// Those that this principal may answer, or anybody may.
        #[arg(long, value_name = "NAME")]
        who: Option<String>,
        /// Of this execution alone.
        #[arg(long, value_name = "ID")]
        execution: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Shows what is asked, who may answer and the form.
    Show(Question),
    /// Lets it go on.
    Approve {
        #[command(flatten)]
        question: Question,
        #[command(flatten)]
        why: Why,
    },
    /// The task fails with class `rejected`.
    Reject {
        #[command(flatten)]
        question: Question,
        #[command(flatten)]
        why: Why,
    },
    /// Fills in the form; checked against its schema.
    Answer {
        #[command(flatten)]
        question: Question,
        #[command(flatten)]
        form: FormArgs,
        #[command(flatten)]
        why: Why,
    },
}

/// Which approval.
#[derive(Debug, clap::Args)]
pub(crate) struct Question {
    /// UUID of the execution.
    #[arg(value_name = "ID")]
    execution: String,
    /// Path of the task.
    task: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Why {
    /// Kept in the history, and in the output of the task.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let out = &context.out;
    let (question, decision, why) = match command {
        Command::List { who, execution, page } => {
            let client = context.globals.server.connect().await?;
            let (who, execution) = (who.unwrap_or_default(), execution.unwrap_or_default());
            let fetch = |page_size, page_token| {
                let (client, who, execution) = (client.clone(), who.clone(), execution.clone());
                let filter = ApprovalFilter { execution, who, page_size, page_token };
                async move { client.approvals(&filter).await }
            };
            let open = page.take(fetch).await?;
            out.result(&open, |out| {
                list(out, &open.items);
                more(out, &open);
            });
            return Ok(ExitCode::SUCCESS);
        }
        Command::Show(question) => {
            let client = context.globals.server.connect().await?;
            let asked = the_one(&client, &question).await?;
            out.result(&asked, |out| show(out, &asked));
            return Ok(ExitCode::SUCCESS);
        }
        Command::Approve { question, why } => (question, ApprovalDecision::Approve, why),
        Command::Reject { question, why } => (question, ApprovalDecision::Reject, why),
        Command::Answer { question, form, why } => {
            (question, ApprovalDecision::Answer(Payload::from_value(&form.read()?)), why)
        }
    };
    let client = context.globals.server.connect().await?;
    let task = match &question.task {
        Some(task) => task.clone(),
        None => the_one(&client, &question).await?.task_id,
    };
    answer(out, &client.decide(&question.execution, &task, &decision, &why.comment).await?);
    Ok(ExitCode::SUCCESS)
}

/// The approval that is meant.
async fn the_one(client: &Client, question: &Question) -> Result<Approval, Failure> {
    let execution = &question.execution;
    let filter =
        ApprovalFilter { execution: execution.clone(), page_size: 1000, ..ApprovalFilter::default() };
    let mut open = client.approvals(&filter).await?.items;
    let tasks = || open.iter().map(|asked| asked.task_id.as_str()).collect::<Vec<_>>().join(", ");
    let refused =
        |exit, code, said: String, remedy: String| Err(Failure::new(exit, code, said).remedy(remedy));
    let history = format!("what became of it: orchestra executions get {execution}");
    match &question.task {
        Some(task) => match open.iter().position(|asked| asked.task_id == *task) {
            Some(place) => Ok(open.swap_remove(place)),
            None if open.is_empty() => {
                let said = format!("execution {execution} asks for no approval now");
                refused(Exit::NotFound, ErrorCode::NotFound, said, history)
            }
            None => {
                let said = format!("task {task} of execution {execution} asks for no approval now");
                refused(Exit::NotFound, ErrorCode::NotFound, said, format!("these do: {}", tasks()))
            }
        },
        None if open.len() > 1 => {
            let said = format!("execution {execution} asks several questions: name the task");
            refused(Exit::Usage, ErrorCode::InvalidArgument, said, format!("one of {}", tasks()))
        }
        None => match open.pop() {
            Some(asked) => Ok(asked),
            None => {
                let said = format!("execution {execution} asks for no approval now");
                refused(Exit::NotFound, ErrorCode::NotFound, said, history)
            }
        },
    }
}

fn names(who: &[String]) -> String {
    if who.is_empty() { "anybody".to_owned() } else { who.join(", ") }
}

fn list(out: &Out, open: &[Approval]) {
    let rows = open.iter().map(|asked| {
        vec![
            asked.execution_id.clone(),
            asked.task_id.clone(),
            asked.workflow.clone(),
            asked.since.as_deref().map(time).unwrap_or_default(),
            names(&asked.who),
            if asked.form.is_some() { "form" } else { "" }.to_owned(),
            asked.title.clone(),
        ]
    });
    out.table(
        &["execution", "task", "workflow", "since", "who", "form", "question"],
        rows.collect(),
        "nobody is asked for an approval",
    );
}

fn show(out: &Out, asked: &Approval) {
    let title = if asked.title.is_empty() { "(no question)" } else { &asked.title };
    out.line(out.bold(title));
    for (key, value) in [
        ("execution", asked.execution_id.clone()),
        ("workflow", asked.workflow.clone()),
        ("task", asked.task_id.clone()),
        ("since", asked.since.as_deref().map(time).unwrap_or_default()),
        ("who", names(&asked.who)),
    ] {
        if !value.is_empty() {
            out.line(format_args!("  {key:<10}{value}"));
        }
    }
    if let Some(form) = &asked.form {
        let rows = fields(form);
        if rows.is_empty() {
            out.line(format_args!("form: {form}"));
        } else {
            out.table(&["field", "type", "needed", "meaning"], rows, "");
        }
    }
    let (id, task) = (&asked.execution_id, &asked.task_id);
    out.note(format_args!("go on:  orchestra approvals approve {id} '{task}'"));
    out.note(format_args!("or not: orchestra approvals reject {id} '{task}' --comment WHY"));
    if asked.form.is_some() {
        out.note(format_args!("answer: orchestra approvals answer {id} '{task}' --set FIELD=VALUE"));
    }
}

/// The fields of an object's schema.
fn fields(form: &Value) -> Vec<Vec<String>> {
    let needed = form["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let properties = form["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, schema)| {
            let kind = match (&schema["enum"], &schema["type"]) {
                (Value::Array(values), _) => {
                    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
                }
                (_, Value::String(kind)) => kind.clone(),
                (_, Value::Null) => "any".to_owned(),
                (_, other) => other.to_string(),
            };
            let text = |key: &str| schema[key].as_str().map(str::to_owned);
            vec![
                name.clone(),
                kind,
                if needed.iter().any(|n| n == name.as_str()) { "yes" } else { "" }.to_owned(),
                text("description").or_else(|| text("title")).unwrap_or_default(),
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_fields_of_a_form_are_told_with_type_and_need() {
        let form = json!({"type": "object", "required": ["ok"], "properties": {
            "ok": {"type": "boolean"}, "size": {"enum": ["s", "l"], "description": "Of the shirt"}
        }});
        let row = |a: &str, b: &str, c: &str, d: &str| [a, b, c, d].map(str::to_owned).to_vec();
        let want = [row("ok", "boolean", "yes", ""), row("size", "\"s\" | \"l\"", "", "Of the shirt")];
        assert_eq!(fields(&form), want);
        assert!(fields(&json!(true)).is_empty());
    }
}
