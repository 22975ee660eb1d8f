//! Starting executions: the request of S0 (`id`, `workflowId`, `input`) and of S2/S3 (`workflow_id`, `input_data`,
//! `execution_options`) as one body.

use base::{
    ErrorCode,
    time::{BareUnit, parse_duration},
    units,
};
use proto::executor::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::executions::{ErrorDetails, PerformanceMetricsOfExecution};
use crate::{
    payload::{Raw, raw},
    problem::{Problem, ProblemDetails},
};

/// Longest key of a start, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 256;

/// Starts an execution. The spellings of both source documents are understood; a field may be given in one of them.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartRequest {
    /// The caller's own key: a repeated start with the same key is the same execution. The header `Idempotency-Key` says
    /// the same.
    #[schema(max_length = 256)]
    pub id: Option<String>,
    /// UUID, name or `name@version`. Not needed where the path names it.
    #[serde(rename = "workflowId")]
    pub workflow_id_camel: Option<String>,
    /// The same as `workflowId`.
    pub workflow_id: Option<String>,
    /// A definition to run as it stands (an object, or text in YAML or JSON), in place of a workflow.
    #[schema(value_type = Value, required = false)]
    pub definition: Option<Raw>,
    /// What the execution works on.
    #[schema(value_type = Value, required = false)]
    pub input: Option<Raw>,
    /// The same as `input`.
    #[schema(value_type = Value, required = false)]
    pub input_data: Option<Raw>,
    /// Higher runs first. Default 0.
    pub priority: Option<i32>,
    /// Free: `user`, `origin`, `timestamp`, `traceId`, `context`, …
    #[schema(value_type = Object, required = false)]
    pub metadata: Option<Raw>,
    /// Bounds of this execution.
    pub execution_options: Option<ExecutionOptions>,
    /// Session that it belongs to, made when it is not there; absent = what the workflow says, else none.
    #[schema(max_length = 200)]
    pub session_id: Option<String>,
}

impl StartRequest {
    /// The workflow that is named, in one spelling.
    pub(crate) fn workflow(&mut self) -> Result<Option<String>, Problem> {
        one("workflowId", self.workflow_id_camel.take(), "workflow_id", self.workflow_id.take())
    }
    /// The input that is given, in one spelling.
    pub(crate) fn take_input(&mut self) -> Result<Option<Raw>, Problem> {
        one("input", self.input.take(), "input_data", self.input_data.take())
    }
}

/// At most one of two spellings.
fn one<T>(first: &str, a: Option<T>, second: &str, b: Option<T>) -> Result<Option<T>, Problem> {
    match (a, b) {
        (Some(_), Some(_)) => {
            Err(Problem::argument(second, format!("{first} and {second} mean the same: give one of them")))
        }
        (a, b) => Ok(a.or(b)),
    }
}

/// Bounds of one execution (S2-125..129).
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecutionOptions {
    /// Of the whole execution: seconds, or text with a unit (`90s`, `2h`).
    pub timeout: Option<NumberOrText>,
    /// `none`, `fixed`, `linear` or `exponential_backoff`; default: the workflow's.
    pub retry_policy: Option<RetryPolicy>,
    /// What it may use.
    pub resource_constraints: Option<ResourceConstraints>,
}

/// What an execution may use.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceConstraints {
    /// Agents at the same time.
    #[schema(minimum = 1)]
    pub max_agents: Option<u32>,
    /// `4 cores`, `500m`, or a number of cores.
    pub max_cpu: Option<NumberOrText>,
    /// `8GB`, `512MB`, or a number of bytes.
    pub max_memory: Option<NumberOrText>,
}

/// How tasks without a policy of their own are retried.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RetryPolicy {
    /// Never.
    None,
    /// The same delay each time.
    Fixed,
    /// The delay grows by its first value.
    Linear,
    /// The delay doubles.
    ExponentialBackoff,
}

/// A number, or a text with a unit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum NumberOrText {
    /// In the unit that the field names.
    Number(f64),
    /// With its unit.
    Text(String),
}

impl NumberOrText {
    fn text(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl ExecutionOptions {
    /// Checked and in the contract's units.
    pub(crate) fn to_wire(&self) -> Result<wire::ExecutionOptions, Problem> {
        let mut out = wire::ExecutionOptions::default();
        if let Some(timeout) = &self.timeout {
            let field = "execution_options.timeout";
            let parsed = parse_duration(&timeout.text(), BareUnit::Seconds);
            let parsed = parsed.map_err(|e| Problem::argument(field, format!("{field}: {e}")))?;
            out.timeout_ms = u64::try_from(parsed.as_millis()).unwrap_or(u64::MAX);
            if out.timeout_ms == 0 {
                return Err(Problem::argument(field, format!("{field} must be at least 1 ms")));
            }
        }
        out.retry_policy = match self.retry_policy {
            None => "",
            Some(RetryPolicy::None) => "none",
            Some(RetryPolicy::Fixed) => "fixed",
            Some(RetryPolicy::Linear) => "linear",
            Some(RetryPolicy::ExponentialBackoff) => "exponential_backoff",
        }
        .to_owned();
        let Some(bounds) = &self.resource_constraints else { return Ok(out) };
        let bad = |field: &str, rule: String| {
            let field = format!("execution_options.resource_constraints.{field}");
            let detail = format!("{field}: {rule}");
            Problem::argument(field, detail)
        };
        if let Some(agents) = bounds.max_agents {
            out.max_agents = agents;
        }
        if let Some(cpu) = &bounds.max_cpu {
            out.max_cpu_millis = units::parse_cpu(&cpu.text()).map_err(|e| bad("max_cpu", e.to_string()))?;
        }
        if let Some(memory) = &bounds.max_memory {
            out.max_memory_bytes =
                units::parse_memory(&memory.text()).map_err(|e| bad("max_memory", e.to_string()))?;
        }
        // 0 means unlimited in the contract, and nobody who writes it means that.
        for (field, zero) in [
            ("max_agents", bounds.max_agents == Some(0)),
            ("max_cpu", bounds.max_cpu.is_some() && out.max_cpu_millis == 0),
            ("max_memory", bounds.max_memory.is_some() && out.max_memory_bytes == 0),
        ] {
            if zero {
                return Err(bad(field, "must be more than 0; leave it out for no bound".into()));
            }
        }
        Ok(out)
    }
}

/// The answer to a start.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StartAnswer {
    /// UUID.
    pub execution_id: String,
    /// UUID of the workflow.
    pub workflow_id: String,
    /// `planning`; the last status when the request waited for the end.
    pub status: String,
    /// Candidates; the binding choice is made later and recorded.
    pub allocated_agents: Vec<String>,
    /// Where to look at it.
    pub execution_url: String,
    /// An earlier start had the same key and request: this is its execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub existing: Option<bool>,
    /// Place in the start queue, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u32>,
    /// What came out, when it waited and the execution completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub output: Option<Raw>,
    /// What was measured, when it waited for the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performance_metrics: Option<PerformanceMetricsOfExecution>,
    /// Why it failed, when it waited for the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_details: Option<ErrorDetails>,
}

impl From<wire::StartExecutionResponse> for StartAnswer {
    fn from(answer: wire::StartExecutionResponse) -> Self {
        let mut out = Self {
            execution_url: format!("/api/v1/executions/{}", answer.execution_id),
            execution_id: answer.execution_id,
            workflow_id: answer.workflow_id,
            status: answer.status,
            allocated_agents: answer.allocated_agents,
            existing: answer.existing.then_some(true),
            queue_position: (answer.queue_position > 0).then_some(answer.queue_position),
            output: None,
            performance_metrics: None,
            error_details: None,
        };
        if let Some(ended) = answer.execution {
            out.output = raw(ended.output);
            out.performance_metrics = ended.metrics.map(Into::into);
            out.error_details = ErrorDetails::of(&ended.status, ended.causes);
            out.status = ended.status;
        }
        out
    }
}

/// Starts one execution for each input.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    /// One for each execution, 1 to 10,000.
    #[schema(value_type = Vec<Value>, min_items = 1, max_items = 10_000)]
    pub inputs: Vec<Raw>,
    /// Leads the keys of the starts: `<key>/<index>`. The header `Idempotency-Key` says the same.
    #[schema(max_length = 240)]
    pub key: Option<String>,
    /// Higher runs first. Default 0.
    pub priority: Option<i32>,
    /// Of each of them.
    #[schema(value_type = Object, required = false)]
    pub metadata: Option<Raw>,
    /// Of each of them.
    pub execution_options: Option<ExecutionOptions>,
}

/// What became of each start, in the order of the inputs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchAnswer {
    /// How many were started.
    pub started: usize,
    /// How many were refused.
    pub refused: usize,
    /// One for each input.
    pub results: Vec<BatchResult>,
}

/// What became of one start.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchResult {
    /// Index of the input, from 0.
    pub index: usize,
    /// The execution, when it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<StartAnswer>,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemDetails>,
}

/// An inline definition as text and its format (`json`, or empty = to be found out).
pub(crate) fn definition(raw: Raw) -> Result<(String, &'static str), Problem> {
    match raw.get().as_bytes().first() {
        Some(b'{') => Ok((String::from(Box::<str>::from(raw)), "json")),
        Some(b'"') => serde_json::from_str(raw.get())
            .map(|text: String| (text, ""))
            .map_err(|e| Problem::argument("definition", format!("definition: {e}"))),
        _ => Err(Problem::new(
            ErrorCode::InvalidArgument,
            "definition must be an object, or a text in YAML or JSON",
        )
        .field("definition")),
    }
}
