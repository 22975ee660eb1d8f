//! `orchestra executions`: what steers a running execution from inside: signals, variables, steps, modes, and runs again
//! from an earlier place.

use std::process::ExitCode;

use api::client::{Client, Reset, ResetTo, Started};
use base::Payload;
use clap::{ArgGroup, Subcommand};
use serde_json::{Map, Value};

use super::{Context, Done, executions::answer};
use crate::{
    exit::Failure,
    input::{self, InputArgs},
    out::Out,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends a signal; it is kept until a task takes it. With --task it goes to the run of another engine.
    Signal {
        /// UUID.
        #[arg(value_name = "ID")]
        execution: String,
        /// Name of the signal.
        name: String,
        /// What it says: JSON, or else a text. Without it null.
        #[arg(conflicts_with = "payload_file")]
        payload: Option<String>,
        /// What it says, from a file (JSON or YAML); `-` = standard input.
        #[arg(long, value_name = "FILE")]
        payload_file: Option<String>,
        /// Known by it: sent again under the same id it counts once.
        #[arg(long = "id", value_name = "KEY")]
        key: Option<String>,
        /// Path of a task that a provider runs now: the signal goes to its run there.
        #[arg(long)]
        task: Option<String>,
    },
    /// Variables of an execution: get, set.
    #[command(subcommand)]
    Vars(Vars),
    /// Lets a step of the `manual` pattern go on; without a task the one that waits longest.
    #[command(visible_alias = "grant")]
    Step {
        /// UUID.
        #[arg(value_name = "ID")]
        execution: String,
        /// Path of the task.
        task: Option<String>,
    },
    /// Has a task that has not begun driven by events of a topic, or by its edges alone.
    #[command(group = ArgGroup::new("mode").required(true))]
    Mode {
        /// UUID.
        #[arg(value_name = "ID")]
        execution: String,
        /// Path of the task.
        task: String,
        /// Event-driven: it begins with the next event of this topic.
        #[arg(long, value_name = "TOPIC", group = "mode")]
        event: Option<String>,
        /// Graph-driven: it begins when its edges say so.
        #[arg(long, group = "mode")]
        graph: bool,
    },
    /// Lets tasks, and all that follows them, run again in the same execution. Once it has ended: fork it.
    #[command(group = ArgGroup::new("from").required(true))]
    Reset {
        /// UUID.
        #[arg(value_name = "ID")]
        execution: String,
        /// Tasks of the plan.
        #[arg(value_name = "TASK", group = "from")]
        tasks: Vec<String>,
        /// What began or ended after this checkpoint runs again.
        #[arg(long, value_name = "ID", group = "from")]
        checkpoint: Option<String>,
        #[command(flatten)]
        input: InputArgs,
        /// Kept in the history.
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Starts a new execution that takes over what another one did, except these tasks and all that follows them.
    Fork {
        /// UUID of the other one, running or ended.
        #[arg(value_name = "ID")]
        execution: String,
        /// Tasks of the plan that run again; without any, everything does.
        #[arg(value_name = "TASK")]
        tasks: Vec<String>,
        #[command(flatten)]
        input: InputArgs,
        /// Your own key: a second fork with the same key finds the first.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Vars {
    /// Prints the variables, or one of them.
    Get {
        /// UUID.
        #[arg(value_name = "ID")]
        execution: String,
        /// Name of the variable.
        name: Option<String>,
    },
    /// Sets variables; those that are not named stay.
    #[command(group = ArgGroup::new("what").required(true))]
    Set {
        /// UUID.
        #[arg(value_name = "ID")]
        execution: String,
        /// The value is JSON, or else a text.
        #[arg(value_name = "NAME=VALUE", group = "what")]
        assignments: Vec<String>,
        /// An object of variables by name, JSON or YAML; `-` = standard input.
        #[arg(long, value_name = "FILE", group = "what")]
        file: Option<String>,
    },
}

/// What is read before a server is asked.
fn read(command: &Command) -> Result<Option<Value>, Failure> {
    Ok(match command {
        Command::Signal { payload: Some(text), .. } => Some(input::value(text)),
        Command::Signal { payload_file: Some(file), .. } => Some(input::read_file(file)?),
        Command::Vars(Vars::Set { assignments, file, .. }) => Some(variables(assignments, file.as_deref())?),
        _ => None,
    })
}

fn variables(assignments: &[String], file: Option<&str>) -> Result<Value, Failure> {
    if let Some(file) = file {
        let given = input::read_file(file)?;
        let object = given.is_object();
        return object
            .then_some(given)
            .ok_or_else(|| Failure::usage(format!("{file}: must be an object of variables by name")));
    }
    let mut out = Map::new();
    for assignment in assignments {
        let (name, value) = assignment
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Failure::usage(format!("{assignment}: write NAME=VALUE, for example round=3")))?;
        out.insert(name.to_owned(), input::value(value));
    }
    Ok(Value::Object(out))
}

pub(crate) async fn run(context: &Context, command: Command) -> Done {
    let out = &context.out;
    let given = read(&command)?.map(|value| Payload::from_value(&value));
    let client = context.globals.server.connect().await?;
    match command {
        Command::Signal { execution, name, key, task, .. } => {
            let (payload, key) = (given.unwrap_or_else(Payload::null), key.as_deref());
            let sent = match task {
                Some(task) => client.signal_run(&execution, &task, &name, &payload, key).await?,
                None => client.signal(&execution, &name, &payload, key).await?,
            };
            answer(out, &sent);
        }
        Command::Vars(Vars::Get { execution, name }) => get_vars(out, &client, &execution, name).await?,
        Command::Vars(Vars::Set { execution, .. }) => {
            let vars = given.unwrap_or_else(Payload::null);
            answer(out, &client.set_variables(&execution, &vars).await?);
        }
        Command::Step { execution, task } => {
            answer(out, &client.grant_step(&execution, task.as_deref()).await?);
        }
        Command::Mode { execution, task, event, .. } => {
            answer(out, &client.switch_mode(&execution, &task, event.as_deref()).await?);
        }
        Command::Reset { execution, tasks, checkpoint, input, reason } => {
            let input = changed_input(&client, &execution, &input).await?;
            let from = checkpoint.map_or(ResetTo::Tasks(tasks), ResetTo::Checkpoint);
            answer(out, &client.reset(&execution, &Reset { from, input, reason }).await?);
        }
        Command::Fork { execution, tasks, input, key } => {
            let input = changed_input(&client, &execution, &input).await?;
            let forked = client.fork(&execution, &tasks, input.as_ref(), key.as_deref()).await?;
            show_fork(out, &forked);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn get_vars(out: &Out, client: &Client, execution: &str, name: Option<String>) -> Result<(), Failure> {
    let all = client.query(execution, None).await?.vars.unwrap_or_else(|| Value::Object(Map::new()));
    let Some(name) = name else {
        out.result(&all, |out| {
            let rows = all.as_object().into_iter().flatten();
            let rows = rows.map(|(name, value)| vec![name.clone(), value.to_string()]).collect();
            out.table(&["name", "value"], rows, "no variables are set");
        });
        return Ok(());
    };
    match all.get(&name) {
        Some(value) => out.result(value, |out| match value {
            Value::String(text) => out.line(text),
            other => out.line(other),
        }),
        None => {
            let known = all.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
            let nearest = base::finding::nearest(&name, known).map(|near| format!("did you mean {near}?"));
            let failure = Failure::new(
                crate::exit::Exit::NotFound,
                base::ErrorCode::NotFound,
                format!("the execution has no variable {name:?}"),
            );
            return Err(Failure { remedy: nearest, ..failure });
        }
    }
    Ok(())
}

/// The other input, when one is given. `--set` alone changes fields of the input that the execution has.
async fn changed_input(
    client: &Client,
    execution: &str,
    given: &InputArgs,
) -> Result<Option<Payload>, Failure> {
    if given.is_empty() {
        return Ok(None);
    }
    let value = if given.only_sets() {
        let now = client.execution(execution).await?.input.and_then(|input| input.json());
        given.read_onto(now.map_or(Value::Null, |now| (*now).clone()))?
    } else {
        given.read()?
    };
    Ok(Some(Payload::from_value(&value)))
}

fn show_fork(out: &Out, forked: &Started) {
    out.result(forked, |out| {
        out.line(&forked.execution_id);
        if forked.existing {
            out.note("a fork with this key exists already; this is it");
        }
        out.note(format_args!("follow it: orchestra executions watch {}", forked.execution_id));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_json_or_text_and_have_names() {
        let set = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|g| (*g).to_owned()).collect();
            variables(&given, None)
        };
        assert_eq!(
            set(&["n=3", "who=ann", "l=[1]", "e=a=b"]).unwrap(),
            json!({"n": 3, "who": "ann", "l": [1], "e": "a=b"})
        );
        for bad in ["n", "=3"] {
            assert!(set(&[bad]).unwrap_err().message.contains("NAME=VALUE"), "{bad}");
        }
    }
}
