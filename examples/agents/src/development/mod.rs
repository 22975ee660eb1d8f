//! A development team: from requirements in plain words to a deployed, checked program, and back when it is not good.
//!
//! The words are a small controlled language (see [`steps`]), so every step is deterministic and every result is real:
//! files are written, compiled and tested with the Rust tools of the machine, releases lie in a folder.

pub mod assignment;
pub mod code;
pub mod deployment;
pub mod planning;
pub mod requirements;
pub mod review;
pub mod steps;
pub mod tools;
pub mod validation;
pub mod workspace;

use std::{path::PathBuf, sync::Arc, time::Duration};

use agent::{Agent, Call, Effect, Failure, Skill};
use serde_json::{Value, json};

/// Where the team works and whom it asks.
#[derive(Clone, Debug)]
pub struct Shop {
    /// Folder with one workspace per execution.
    pub work: PathBuf,
    /// gRPC address of the orchestrator, asked for agents when an assignment names none.
    pub registry: Option<String>,
    /// Longest time a compiler or a test may take.
    pub tool_limit: Duration,
}

/// Tells how far a call is.
pub type Tell = Box<dyn Fn(f32, &str) + Send>;

/// One call, as the stages see it.
pub struct Job {
    /// The execution that it belongs to: its workspace is named so.
    pub execution: String,
    /// Takes the share that is done, 0 to 1, and what is being done.
    pub tell: Tell,
}

type Work = fn(&Shop, &Job, &Value) -> Result<Value, Failure>;

/// The agent. Its skills are the stages of a development pipeline; a task names the one it wants.
pub fn agent(shop: Shop) -> Agent {
    let shop = Arc::new(shop);
    let skill = |id: &str, description: &str, tags: &[&str], effect: Effect, work: Work| {
        let shop = shop.clone();
        Skill::new(id, description).tags(tags).effect(effect).takes(TAKES, shop.tool_limit).handler(
            move |call: Call| {
                let shop = shop.clone();
                async move {
                    let work = move || {
                        let input = call.input();
                        let execution = call.execution_id().unwrap_or("by-hand").to_owned();
                        let tell = Box::new(move |done, what: &str| call.progress(done, what));
                        work(&shop, &Job { execution, tell }, &input)
                    };
                    tokio::task::spawn_blocking(work).await.unwrap_or_else(|err| Err(Failure::failed(err)))
                }
            },
        )
    };
    let asking = shop.clone();
    let assigns =
        Skill::new("agent_assignment", "Gives each task to the agent that fits and has least to do")
            .tags(&["planning"])
            // It may ask who is there, which changes.
            .effect(Effect::Idempotent)
            .handler(move |call: Call| {
                let shop = asking.clone();
                async move { assignment::assign(&shop, &call.input()).await }
            });
    Agent::new("developer", "Requirements to tasks to tested code to a checked release")
        .agent_type("development_agent")
        .tags(&["example", "development"])
        .skill(skill(
            "requirement_analysis",
            "Requirements with acceptance criteria, complexity and effort, from a text",
            &["analysis"],
            Effect::Pure,
            |_, _, input| requirements::analyse(input),
        ))
        .skill(skill(
            "task_generation",
            "Tasks with dependencies, priorities and effort, from requirements",
            &["planning"],
            Effect::Pure,
            |_, _, input| planning::plan(input),
        ))
        .skill(assigns)
        .skill(skill(
            "workspace_preparation",
            "A copy of the project for one execution",
            &["workspace"],
            Effect::Idempotent,
            workspace::prepare,
        ))
        .skill(skill(
            "code_generation",
            "Writes a function with its tests, and runs them",
            &["edit", "code"],
            Effect::Idempotent,
            code::generate,
        ))
        .skill(skill(
            "code_integration",
            "Makes the functions of a workspace one library with a command line",
            &["edit", "code"],
            Effect::Idempotent,
            code::integrate,
        ))
        .skill(skill(
            "code_review",
            "Reads code as a reviewer would",
            &["review"],
            // What it reads lies in the workspace, not in its input.
            Effect::Idempotent,
            review::review,
        ))
        .skill(skill(
            "validation",
            "Builds, tests and measures a workspace against its requirements",
            &["command", "test"],
            Effect::Idempotent,
            validation::validate,
        ))
        .skill(skill(
            "deployment",
            "Puts a release into a folder and makes it the current one",
            &["command", "deploy"],
            Effect::Compensatable,
            deployment::deploy,
        ))
        .skill(skill(
            "deployment_check",
            "Runs the deployed program against the acceptance criteria",
            &["command", "test"],
            Effect::Idempotent,
            deployment::check,
        ))
        .skill(skill(
            "rollback",
            "Makes the release before the current one again",
            &["command", "deploy"],
            Effect::Idempotent,
            deployment::roll_back,
        ))
}

const TAKES: Duration = Duration::from_secs(2);

/// A field of the task's own input, else of the execution's input, else of what a task before gave.
pub(crate) fn find<'a>(input: &'a Value, key: &str) -> Option<&'a Value> {
    let direct = input.get(key).or_else(|| input.get("item")?.get(key));
    let given = || input.get("input").and_then(|i| i.get(key).or_else(|| i.get("input")?.get(key)));
    let before = || input.get("dependencies")?.as_object()?.values().rev().find_map(|o| o.get(key));
    direct.or_else(given).or_else(before).filter(|v| !v.is_null())
}

/// [`find`], refused when it is not there.
pub(crate) fn need<'a>(input: &'a Value, key: &str) -> Result<&'a Value, Failure> {
    find(input, key).ok_or_else(|| Failure::Rejected(format!("input.{key} is missing")))
}

/// A text that [`need`] finds.
pub(crate) fn need_text<'a>(input: &'a Value, key: &str) -> Result<&'a str, Failure> {
    let text = need(input, key)?.as_str().filter(|t| !t.trim().is_empty());
    text.ok_or_else(|| Failure::Rejected(format!("input.{key} is not a text")))
}

/// Reads a field into its type.
pub(crate) fn read<T: serde::de::DeserializeOwned>(input: &Value, key: &str) -> Result<T, Failure> {
    serde_json::from_value(need(input, key)?.clone())
        .map_err(|err| Failure::Rejected(format!("input.{key}: {err}")))
}

pub(crate) fn answer(value: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(Failure::failed)
}

/// `{"markdown": …}` beside the fields of `value`.
pub(crate) fn with_report(value: Value, markdown: String) -> Value {
    let mut value = value;
    value["report"] = json!(markdown);
    value
}
