//! Starts. The hot path: the input goes from the body to the executor as text, the output comes back as text.

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use base::{
    CallContext, Clock as _, ErrorCode, ExecutionId, Timestamp,
    time::{BareUnit, parse_duration},
};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use proto::{common::v1::Payload, executor::v1 as wire};
use runtime::SystemClock;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{Answer, json, ok, with_location};
use crate::{
    app::{App, Retry},
    door::sent_correlation,
    executors::Client,
    extract::{Call, Json, Path, Query, header_text},
    model::start::{
        BatchAnswer, BatchRequest, BatchResult, KEY_BYTES_MAX, StartAnswer, StartRequest, definition,
    },
    payload::payload,
    problem::Problem,
};

/// Most inputs of one batch.
const BATCH_MAX: usize = 10_000;
/// Starts of one batch that are under way at the same time.
const BATCH_AT_ONCE: usize = 64;
const KEY_HEADER: &str = "idempotency-key";

/// How to start.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StartQuery {
    /// Wait for the end up to this time (`30s`, a bare number counts seconds) and answer with the result. What has not
    /// ended by then is answered with 202.
    #[param(example = "30s")]
    wait: Option<String>,
}

/// Waits that a query may ask for.
pub(crate) fn wait(app: &App, text: Option<&str>) -> Result<Duration, Problem> {
    let Some(text) = text else { return Ok(Duration::ZERO) };
    let wait =
        parse_duration(text, BareUnit::Seconds).map_err(|e| Problem::argument("wait", e.to_string()))?;
    if wait > app.limits.wait_max {
        let max = app.limits.wait_max;
        return Err(Problem::argument("wait", format!("wait must be at most {max:?} (gateway.wait_max)")));
    }
    Ok(wait)
}

/// The context of a call that may take `wait` longer than others.
pub(crate) fn waiting(app: &App, ctx: CallContext, wait: Duration) -> CallContext {
    if wait.is_zero() {
        return ctx;
    }
    CallContext { deadline: Some(SystemClock.now().plus(wait + app.limits.request_timeout)), ..ctx }
}

/// Starts an execution (the request of S0: `id`, `workflowId`, `input`, `priority`, `metadata`), or runs a `definition`.
#[utoipa::path(post, path = "/execute", tag = "executions", params(StartQuery, ("Idempotency-Key" = Option<String>, Header)),
    request_body = StartRequest, responses((status = 202, body = StartAnswer), (status = 200, body = StartAnswer, description = "It ended while the request waited.")))]
pub(crate) async fn execute(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Query(query): Query<StartQuery>,
    headers: HeaderMap,
    Json(request): Json<StartRequest>,
) -> Answer {
    start(&app, ctx, &query, &headers, None, request).await
}

/// Starts an execution of a workflow (the request of S3: `input_data`, `execution_options`). `{id}` is a UUID, a name or
/// `name@version`.
#[utoipa::path(post, path = "/workflows/{id}/execute", tag = "executions",
    params(("id" = String, Path), StartQuery, ("Idempotency-Key" = Option<String>, Header)),
    request_body = StartRequest, responses((status = 202, body = StartAnswer), (status = 200, body = StartAnswer, description = "It ended while the request waited.")))]
pub(crate) async fn execute_workflow(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    Query(query): Query<StartQuery>,
    headers: HeaderMap,
    Json(request): Json<StartRequest>,
) -> Answer {
    start(&app, ctx, &query, &headers, Some(id), request).await
}

async fn start(
    app: &App,
    ctx: CallContext,
    query: &StartQuery,
    headers: &HeaderMap,
    path: Option<String>,
    mut request: StartRequest,
) -> Answer {
    let wait = wait(app, query.wait.as_deref())?;
    let (workflow, inline) = what(&mut request, path)?;
    let key = key(headers, request.id.take())?;
    let input = request.take_input()?;
    let Some(input) = input else {
        let detail = "input (or input_data) is needed; send {} when the workflow takes none";
        return Err(Problem::argument("input", detail));
    };
    let (inline_source, inline_format) = inline;
    let message = wire::StartExecutionRequest {
        workflow,
        input: Some(payload("input", Some(input))?),
        execution_id: String::new(),
        key,
        priority: request.priority.unwrap_or_default(),
        options: request.execution_options.unwrap_or_default().to_wire().map(Some)?,
        metadata_json: metadata(request.metadata)?,
        inline_source,
        inline_format: inline_format.into(),
        wait_ms: 0,
        session_id: request.session_id.unwrap_or_default(),
        correlation_id: sent_correlation(headers).unwrap_or_default(),
        // Nothing else of it is shown here.
        summary_only: true,
    };
    let answer = send(app, &waiting(app, ctx, wait), message, wait).await?;
    let status = if answer.execution.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let answer = StartAnswer::from(answer);
    Ok(with_location(json(status, &answer), &answer.execution_url))
}

/// The workflow that is named, or the definition that is given.
fn what(
    request: &mut StartRequest,
    path: Option<String>,
) -> Result<(String, (String, &'static str)), Problem> {
    let named = request.workflow()?;
    let none = (String::new(), "");
    match (path, named, request.definition.take()) {
        (Some(path), Some(named), None) if path != named => {
            let rule =
                format!("the body names workflow {named:?} and the path {path:?}: leave out one of them");
            Err(Problem::argument("workflow_id", rule))
        }
        (Some(workflow), _, None) | (None, Some(workflow), None) if !workflow.is_empty() => {
            Ok((workflow, none))
        }
        (None, None, Some(source)) => Ok((String::new(), definition(source)?)),
        (_, _, Some(_)) => Err(Problem::argument("definition", "give a workflow or a definition, not both")),
        _ => Err(Problem::argument("workflowId", "workflowId, workflow_id or definition is needed")),
    }
}

/// The caller's key, from header or body.
pub(crate) fn key(headers: &HeaderMap, body: Option<String>) -> Result<String, Problem> {
    let header = header_text(headers, KEY_HEADER, KEY_BYTES_MAX)?;
    match (header, body) {
        (Some(header), Some(body)) if header != body => {
            Err(Problem::argument("id", "id and the header Idempotency-Key differ: give one of them"))
        }
        (_, Some(body)) if body.is_empty() || body.len() > KEY_BYTES_MAX => {
            Err(Problem::argument("id", format!("id must be 1 to {KEY_BYTES_MAX} bytes")))
        }
        (header, body) => Ok(body.or_else(|| header.map(str::to_owned)).unwrap_or_default()),
    }
}

/// Free, and an object.
fn metadata(raw: Option<crate::payload::Raw>) -> Result<String, Problem> {
    match raw {
        None => Ok(String::new()),
        Some(raw) if raw.get().starts_with('{') => {
            // Checked like a payload: it is spliced into answers and messages.
            payload("metadata", Some(raw)).map(|p| match p.body {
                Some(proto::common::v1::payload::Body::Json(text)) => text,
                _ => String::new(),
            })
        }
        Some(_) => Err(Problem::argument("metadata", "metadata must be an object")),
    }
}

/// Starts at the owner. The id is drawn before the first try, so that every repetition is the same start; a repetition
/// waits for what is left of `wait`.
async fn send(
    app: &App,
    ctx: &CallContext,
    mut message: wire::StartExecutionRequest,
    wait: Duration,
) -> Result<wire::StartExecutionResponse, Problem> {
    let id = if message.key.is_empty() {
        let id = ExecutionId::new(Uuid::now_v7());
        message.execution_id = id.to_string();
        id
    } else {
        ExecutionId::from_key(&ctx.tenant, &message.key)
    };
    let until: Timestamp = SystemClock.now().plus(wait);
    let again = || {
        let left = until.since(SystemClock.now());
        wire::StartExecutionRequest { wait_ms: millis(left), ..message.clone() }
    };
    let call = async |mut to: Client, request| to.start_execution(request).await;
    let mut answer = app.executors.call_owner(ctx, id, Retry::UntilDeadline, again, call).await?;
    if message.key.is_empty() {
        // Without a key of the caller "existing" only says that our own repetition found our own start.
        answer.existing = false;
    }
    Ok(answer)
}

pub(crate) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// Starts one execution of a workflow for each input. Inputs that are refused do not stop the others.
#[utoipa::path(post, path = "/workflows/{id}/execute/batch", tag = "executions",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = BatchRequest, responses((status = 200, body = BatchAnswer)))]
pub(crate) async fn execute_batch(
    State(app): State<Arc<App>>,
    Call(ctx): Call,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(batch): Json<BatchRequest>,
) -> Answer {
    if batch.inputs.is_empty() || batch.inputs.len() > BATCH_MAX {
        return Err(Problem::argument("inputs", format!("inputs must be 1 to {BATCH_MAX}")));
    }
    let key = key(&headers, batch.key)?;
    let shared = wire::StartExecutionRequest {
        workflow: id,
        priority: batch.priority.unwrap_or_default(),
        options: batch.execution_options.unwrap_or_default().to_wire().map(Some)?,
        metadata_json: metadata(batch.metadata)?,
        correlation_id: sent_correlation(&headers).unwrap_or_default(),
        ..Default::default()
    };
    let inputs: Vec<(usize, Result<Payload, Problem>)> = batch
        .inputs
        .into_iter()
        .enumerate()
        .map(|(index, raw)| (index, payload(&format!("inputs[{index}]"), Some(raw))))
        .collect();
    let starts = stream::iter(inputs).map(|(index, input)| {
        let key = if key.is_empty() { String::new() } else { format!("{key}/{index}") };
        let (app, ctx, shared) = (&app, &ctx, &shared);
        async move {
            let message = wire::StartExecutionRequest { input: Some(input?), key, ..shared.clone() };
            send(app, ctx, message, Duration::ZERO).await.map(StartAnswer::from)
        }
    });
    let outcomes: Vec<Result<StartAnswer, Problem>> = starts.buffered(BATCH_AT_ONCE).collect().await;
    // A workflow that is not there is the request's fault, not that of its inputs.
    if let Some(Err(problem)) = outcomes.first()
        && problem.0.code == ErrorCode::NotFound
    {
        return Err(problem.clone());
    }
    let instance = format!("/api/v1/workflows/{}/execute/batch", shared.workflow);
    let results: Vec<BatchResult> = outcomes
        .into_iter()
        .enumerate()
        .map(|(index, outcome)| match outcome {
            Ok(started) => BatchResult { index, execution: Some(started), problem: None },
            Err(problem) => {
                let problem = problem.details(&instance, &ctx.request_id);
                BatchResult { index, execution: None, problem: Some(problem) }
            }
        })
        .collect();
    let started = results.iter().filter(|r| r.execution.is_some()).count();
    ok(&BatchAnswer { started, refused: results.len() - started, results })
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::payload::DEPTH_MAX;

    fn request(json: &str) -> StartRequest {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_start_names_exactly_one_thing_to_run() {
        for (path, body, want) in [
            (Some("w"), "{}", Ok("w")),
            (Some("w"), r#"{"workflow_id":"w"}"#, Ok("w")),
            (None, r#"{"workflowId":"w"}"#, Ok("w")),
            (None, r#"{"definition":{"name":"x"}}"#, Ok("")),
            (None, r#"{"definition":"name: x"}"#, Ok("")),
            (None, "{}", Err("workflowId")),
            (None, r#"{"workflowId":""}"#, Err("workflowId")),
            (None, r#"{"workflowId":"w","workflow_id":"w"}"#, Err("workflow_id")),
            (Some("w"), r#"{"workflowId":"v"}"#, Err("workflow_id")),
            (Some("w"), r#"{"definition":{}}"#, Err("definition")),
            (None, r#"{"definition":7}"#, Err("definition")),
        ] {
            let got = what(&mut request(body), path.map(str::to_owned));
            let got = got.map(|(workflow, _)| workflow).map_err(|p| p.0.field);
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{path:?} {body}");
        }
    }

    #[test]
    fn a_key_comes_from_header_or_body_and_they_agree() {
        let mut headers = HeaderMap::new();
        assert_eq!(key(&headers, None).unwrap(), "");
        assert_eq!(key(&headers, Some("a".into())).unwrap(), "a");
        assert!(key(&headers, Some("x".repeat(257))).is_err());
        headers.insert(KEY_HEADER, "a".parse().unwrap());
        assert_eq!(key(&headers, None).unwrap(), "a");
        assert!(key(&headers, Some("b".into())).is_err());
        headers.insert(KEY_HEADER, "".parse().unwrap());
        assert!(key(&headers, None).is_err());
    }

    #[test]
    fn metadata_is_an_object_or_nothing() {
        let raw = |text: &str| RawValue::from_string(text.into()).ok();
        assert_eq!(metadata(None).unwrap(), "");
        assert_eq!(metadata(raw("{\"user\": 1}")).unwrap(), "{\"user\": 1}");
        assert_eq!(metadata(raw("[]")).unwrap_err().0.field, "metadata");
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert!(metadata(raw(&deep)).is_err());
    }

    #[test]
    fn options_are_read_in_the_units_of_the_documents() {
        let body = r#"{"execution_options":{"timeout":3600,"retry_policy":"exponential_backoff",
            "resource_constraints":{"max_agents":10,"max_cpu":"4 cores","max_memory":"8GB"}}}"#;
        let options = request(body).execution_options.unwrap().to_wire().unwrap();
        assert_eq!((options.timeout_ms, options.retry_policy.as_str()), (3_600_000, "exponential_backoff"));
        assert_eq!(
            (options.max_agents, options.max_cpu_millis, options.max_memory_bytes),
            (10, 4000, 8 << 30)
        );
        for (options, field) in [
            (r#"{"timeout":"soon"}"#, "execution_options.timeout"),
            (r#"{"timeout":0}"#, "execution_options.timeout"),
            (
                r#"{"resource_constraints":{"max_agents":0}}"#,
                "execution_options.resource_constraints.max_agents",
            ),
            (
                r#"{"resource_constraints":{"max_cpu":"many"}}"#,
                "execution_options.resource_constraints.max_cpu",
            ),
            (
                r#"{"resource_constraints":{"max_memory":-1}}"#,
                "execution_options.resource_constraints.max_memory",
            ),
        ] {
            let parsed = request(&format!(r#"{{"execution_options":{options}}}"#));
            let refused = parsed.execution_options.unwrap().to_wire().unwrap_err();
            assert_eq!(refused.0.field, field, "{options}");
        }
    }
}
