//! Every file in `examples/` runs as its header says and reaches its end, with the example agents as real programs.
//! A file without a row in the tables fails the test.

mod control_flow;
mod table;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use futures::{FutureExt as _, StreamExt as _};
use harness::{Api, PATIENCE, Process, binary};
use serde_json::{Value, json};
use testkit::wait_for;

alone_on_both_shapes! {
    every_example_reaches_its_documented_end
}

/// Examples at work at once.
const AT_ONCE: usize = 8;

/// The agents that the examples name: id and program.
const AGENTS: &[(&str, &str)] = &[
    ("panel", "panel-agent"),
    ("noop", "noop-agent"),
    ("supervisor", "supervisor-agent"),
    ("analyzer", "analyzer-agent"),
    ("researcher", "researcher-agent"),
    ("researcher-2", "researcher-agent"),
    ("researcher-3", "researcher-agent"),
];

/// A file below `examples/`, and what becomes of it.
struct Example {
    file: &'static str,
    /// What it is started with; `None` = what its header says after `--input`.
    input: Option<Value>,
    /// What it is given while it runs, in this order.
    given: Vec<Given>,
    wants: Wants,
}

/// What an example needs from outside.
enum Given {
    /// A signal with this payload.
    Signal(&'static str, Value),
    /// An event, once this task has completed (at once, when none is named).
    Event(Option<&'static str>, Value),
    /// A decision, once this task asks for it.
    Decision(&'static str, Value),
}

/// What has to come of an example.
enum Wants {
    /// It completes with this output.
    Output(Value),
    /// It completes, and this is true of it.
    Completed(fn(&Value) -> bool),
    /// It ends like this, and this is true of it.
    Ends(&'static str, fn(&Value) -> bool),
    /// A trigger starts it: the event that does, and what is true of it once it completes.
    Triggered(Value, fn(&Value) -> bool),
    /// Another test runs it.
    Elsewhere,
}

/// An example that is started as its header says.
fn example(file: &'static str, wants: Wants) -> Example {
    Example { file, input: None, given: Vec::new(), wants }
}

impl Example {
    fn with(mut self, input: Value) -> Self {
        self.input = Some(input);
        self
    }

    fn given(mut self, given: Given) -> Self {
        self.given.push(given);
        self
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").canonicalize().unwrap()
}

/// Every definition below `folder`, by its path below `examples/`.
fn definitions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is = |extension: &str| path.extension().is_some_and(|e| e == extension);
        if path.is_dir() {
            definitions(&path, found);
        } else if is("yaml") || is("yml") || is("json") {
            found.insert(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// The input of the command in a header: what stands after `--input`.
fn documented_input(source: &str) -> Value {
    let written = source.split_once("--input '").and_then(|(_, rest)| rest.split_once('\''));
    written.map_or(json!({}), |(input, _)| serde_json::from_str(input).unwrap())
}

/// The name under which an example is stored.
fn name_of(source: &str) -> String {
    let line = source.lines().map(str::trim).find(|l| l.starts_with("name:") || l.starts_with("id:"));
    line.unwrap().split_once(':').unwrap().1.trim().trim_matches('"').to_owned()
}

async fn agents(api: &Api, folder: &Path) -> Vec<Process> {
    let mut started = Vec::new();
    for (id, program) in AGENTS {
        let mut command = Command::new(binary(program));
        command.args(["--id", id, "--register", api.base()]);
        let mut process = Process::new(id, folder);
        process.start(command);
        started.push(process);
    }
    for (id, _) in AGENTS {
        wait_for(&format!("{id} to register"), PATIENCE, async || {
            (api.get(&format!("/agents/{id}")).await.status == 200).then_some(())
        })
        .await;
    }
    started
}

async fn give(api: &Api, id: &str, given: &Given) {
    match given {
        Given::Signal(name, payload) => {
            let path = format!("/executions/{id}/signals/{name}");
            api.post(&path, &json!({"payload": payload})).await.expect(200);
        }
        Given::Event(after, event) => {
            if let Some(task) = after {
                api.until_task(id, task, "completed").await;
            }
            api.post("/events", event).await.expect(200);
        }
        Given::Decision(task, decision) => {
            wait_for(&format!("{task} to ask"), PATIENCE, async || {
                let path = task.replace('[', "%5B").replace(']', "%5D");
                let asked = api.post(&format!("/executions/{id}/tasks/{path}/decide"), decision).await;
                (asked.status == 200).then_some(())
            })
            .await;
        }
    }
}

/// The execution that an event has started.
async fn triggered(api: &Api, workflow: &str, event: &Value) -> String {
    api.post("/events", event).await.expect(200);
    let path = format!("/executions?workflow={workflow}");
    wait_for(&format!("an event to start {workflow}"), PATIENCE, async || {
        let page = api.get(&path).await.expect(200);
        page["executions"][0]["execution_id"].as_str().map(str::to_owned)
    })
    .await
}

/// Runs an example to its end; what is wrong with it, if anything.
async fn odd(api: &Api, example: &Example) -> Option<String> {
    let source = std::fs::read_to_string(root().join(example.file)).unwrap();
    let name = name_of(&source);
    api.define(&source).await;
    let id = match &example.wants {
        Wants::Elsewhere => return None,
        Wants::Triggered(event, _) => triggered(api, &name, event).await,
        _ => {
            let input = example.input.clone().unwrap_or_else(|| documented_input(&source));
            api.start(&name, &input).await
        }
    };
    for given in &example.given {
        give(api, &id, given).await;
    }
    let done = api.ended(&id).await;
    let status = done["status"].as_str().unwrap();
    let right = match &example.wants {
        Wants::Output(output) => status == "completed" && done["output"] == *output,
        Wants::Completed(check) | Wants::Triggered(_, check) => status == "completed" && check(&done),
        Wants::Ends(end, check) => status == *end && check(&done),
        Wants::Elsewhere => true,
    };
    (!right).then(|| format!("{}: {done:#}", example.file))
}

async fn every_example_reaches_its_documented_end(api: Api) {
    let mut table = table::examples();
    table.extend(control_flow::examples());
    let mut files = BTreeSet::new();
    definitions(&root(), &mut files);
    let rows: BTreeSet<String> = table.iter().map(|e| e.file.to_owned()).collect();
    assert_eq!(rows, files, "each example has a row, and each row its example");
    assert_eq!(rows.len(), table.len(), "one row each");

    let folder = tempfile::tempdir().unwrap();
    let mut agents = agents(&api, folder.path()).await;
    let runs =
        table.iter().map(|example| {
            let run = std::panic::AssertUnwindSafe(odd(&api, example));
            async move {
                run.catch_unwind().await.unwrap_or_else(|_| Some(format!("{}: see above", example.file)))
            }
        });
    let odd: Vec<Option<String>> = futures::stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    let odd: Vec<String> = odd.into_iter().flatten().collect();
    assert!(odd.is_empty(), "{} of {}:\n{}", odd.len(), table.len(), odd.join("\n"));
    for agent in &mut agents {
        agent.signal("TERM");
        assert_eq!(tokio::task::block_in_place(|| agent.wait()), None, "it ends by itself");
    }
}
