//! From requirements in plain words to a checked release, in one call.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Client, Execution, ExecutionStatus, Source, Start, Started};
use crate::Fault;

/// Name of the workflow that is run.
pub const DEVELOPMENT_PIPELINE: &str = "development_pipeline";

/// The pipeline that is shipped: `examples/development/pipeline.yaml`.
const SHIPPED: &str = include_str!("../../../../examples/development/pipeline.yaml");

/// What is to be developed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CompleteWorkflow {
    /// The requirements, a text in Markdown.
    pub requirements: String,
    /// `rust`; `None` = the pipeline's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub technology: Option<String>,
    /// Folder of the project that is changed (a copy of it), as the agents see it; `None` = a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Folder that releases are put into, as the agents see it; `None` = the agents' own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl CompleteWorkflow {
    /// These requirements, with everything else left to the pipeline.
    pub fn of(requirements: impl Into<String>) -> Self {
        Self { requirements: requirements.into(), ..Self::default() }
    }
}

/// What came of it. What a stage gave is `null` when it did not run.
#[derive(Clone, Debug, Serialize)]
pub struct Developed {
    /// UUID.
    pub execution_id: String,
    /// How it ended: `completed`; `compensated` when the release did not pass its check and was rolled back.
    pub status: ExecutionStatus,
    /// The validation passed.
    pub passed: bool,
    /// Of the validation, 0 to 100.
    pub score: f64,
    /// Estimated effort in hours.
    pub hours: f64,
    /// The release that is deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The quality report, Markdown.
    pub report: String,
    /// Stage 1: requirements with acceptance criteria, complexity and effort.
    pub analysis: Value,
    /// Stage 2: tasks with dependencies, priorities and effort.
    pub plan: Value,
    /// Stage 3: who does which task.
    pub assignment: Value,
    /// Stage 4: what each task changed, in order.
    pub changes: Vec<Value>,
    /// Stage 5: checks and criteria.
    pub validation: Value,
    /// Stage 6: the release, where it lies and the one before it.
    pub deployment: Value,
    /// Stage 6: what was checked of the deployed release.
    pub check: Value,
    /// Why it did not complete: code and words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Developed {
    /// Reads an ended execution of the pipeline.
    pub fn of(execution: &Execution) -> Self {
        let json = |payload: &Option<base::Payload>| {
            payload.as_ref().and_then(base::Payload::json).map_or(Value::Null, |value| (*value).clone())
        };
        let task = |id: &str| execution.tasks.iter().find(|task| task.task_id == id);
        let stage = |id: &str| task(id).map_or(Value::Null, |task| json(&task.output));
        let validation = stage("validation");
        let items = task("coding").map(|task| task.items.as_slice()).unwrap_or_default();
        let plan = stage("planning");
        let completed = execution.status == ExecutionStatus::Completed;
        let output = if completed { json(&execution.output) } else { Value::Null };
        let error = execution.error_details.as_ref().filter(|_| !completed);
        Self {
            execution_id: execution.execution_id.clone(),
            status: execution.status.clone(),
            passed: validation["passed"].as_bool().unwrap_or(false),
            score: validation["score"].as_f64().unwrap_or(0.0),
            hours: plan["hours"].as_f64().unwrap_or(0.0),
            release: output["release"].as_str().map(str::to_owned),
            report: validation["report"].as_str().unwrap_or_default().to_owned(),
            analysis: stage("analysis"),
            plan,
            assignment: stage("assignment"),
            changes: items.iter().map(|item| json(&item.output)).collect(),
            validation,
            deployment: stage("deployment"),
            check: stage("check"),
            error: error.map(|e| format!("{}: {}", e.code, e.message)),
        }
    }
}

impl Client {
    /// Starts the development pipeline: requirements are analysed, tasks derived and assigned, code written and tested,
    /// validated, deployed and checked. It runs the newest stored version of [`DEVELOPMENT_PIPELINE`]; when there is none,
    /// the shipped one is stored first. Repeated while the server is away: it starts once.
    ///
    /// # Errors
    /// Those of [`Client::start`]: `invalid_argument` when the requirements are empty or the technology is none that the
    /// pipeline knows, `insufficient_resources` when no agent offers a stage.
    pub async fn start_complete_workflow(&self, wanted: &CompleteWorkflow) -> Result<Started, Fault> {
        let mut input = Map::new();
        for (key, value) in
            [("technology", &wanted.technology), ("project", &wanted.project), ("target", &wanted.target)]
        {
            input.extend(value.as_ref().map(|value| (key.to_owned(), json!(value))));
        }
        input.insert("requirements".into(), json!(wanted.requirements));
        match self.workflow(DEVELOPMENT_PIPELINE).await {
            Ok(_) => {}
            Err(missing) if missing.code == base::ErrorCode::NotFound => {
                self.define(&Source::yaml(SHIPPED).named("the shipped pipeline.yaml")).await?;
            }
            Err(fault) => return Err(fault),
        }
        self.start(&Start::workflow(DEVELOPMENT_PIPELINE).input(&Value::Object(input))).await
    }

    /// The same, and waits for its end, however it ends: look at [`Developed::status`].
    ///
    /// ```no_run
    /// # async fn example(client: api::client::Client) -> Result<(), api::Fault> {
    /// use api::client::CompleteWorkflow;
    ///
    /// let text = std::fs::read_to_string("requirements.md").unwrap_or_default();
    /// let done = client.execute_complete_workflow(&CompleteWorkflow::of(text)).await?;
    /// println!("{}: {:?}, quality {}", done.status, done.release, done.score);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::start_complete_workflow`] and [`Client::wait`].
    pub async fn execute_complete_workflow(&self, wanted: &CompleteWorkflow) -> Result<Developed, Fault> {
        let started = self.start_complete_workflow(wanted).await?;
        Ok(Developed::of(&self.wait(&started.execution_id, None).await?))
    }
}
