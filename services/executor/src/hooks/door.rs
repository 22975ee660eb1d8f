//! The public contract of hooks: decode, ask, encode.

use std::sync::Arc;

use api::Fault;
use base::{ExecutionId, Timestamp};
use hooks::{HookSpec, OnFailure, Trigger};
use proto::{
    common::v1::PageRequest,
    executor::v1::{self as pb, hook_service_server::HookService},
};
use runtime::call;
use store::hooks::{HookFilter, HookRow, RunFilter, RunRow};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Book, HookChange, RunQuery};

type Answer<T> = Result<Response<T>, Status>;

/// Serves the hooks to callers.
#[derive(Clone)]
pub struct HookDoor {
    book: Arc<Book>,
}

impl HookDoor {
    /// Serves `book`.
    pub fn new(book: Arc<Book>) -> Self {
        Self { book }
    }
}

#[tonic::async_trait]
impl HookService for HookDoor {
    async fn create_hook(&self, request: Request<pb::CreateHookRequest>) -> Answer<pb::Hook> {
        let context = call::context(&request);
        let request = request.into_inner();
        let id = match request.hook_id.as_str() {
            "" => None,
            text => Some(uuid(text, "hook_id")?),
        };
        let row = self.book.create(&context, id, spec_of(request.spec)?).await?;
        Ok(Response::new(hook(row)))
    }

    async fn get_hook(&self, request: Request<pb::GetHookRequest>) -> Answer<pb::Hook> {
        let context = call::context(&request);
        Ok(Response::new(hook(self.book.find(&context, &request.into_inner().hook).await?)))
    }

    async fn list_hooks(&self, request: Request<pb::ListHooksRequest>) -> Answer<pb::ListHooksResponse> {
        let context = call::context(&request);
        let request = request.into_inner();
        let (limit, after) = page(request.page);
        let filter = HookFilter {
            tenant: context.tenant,
            trigger: trigger_filter(&request.trigger)?,
            enabled: request.enabled,
            name_prefix: some(request.name_prefix),
        };
        let rows = self.book.list(&filter, &after, limit + 1).await?;
        let (rows, last) = cut(rows, limit);
        Ok(Response::new(pb::ListHooksResponse {
            next_page_token: last.map_or_else(String::new, |row| row.name),
            hooks: rows.into_iter().map(hook).collect(),
        }))
    }

    async fn update_hook(&self, request: Request<pb::UpdateHookRequest>) -> Answer<pb::Hook> {
        let context = call::context(&request);
        let request = request.into_inner();
        let change =
            HookChange { spec: spec_of(request.spec)?, expected: revision(request.expected_revision) };
        Ok(Response::new(hook(self.book.update(&context, &request.hook, change).await?)))
    }

    async fn delete_hook(&self, request: Request<pb::DeleteHookRequest>) -> Answer<pb::DeleteHookResponse> {
        let context = call::context(&request);
        let request = request.into_inner();
        self.book.delete(&context, &request.hook, revision(request.expected_revision)).await?;
        Ok(Response::new(pb::DeleteHookResponse {}))
    }

    async fn list_hook_runs(
        &self,
        request: Request<pb::ListHookRunsRequest>,
    ) -> Answer<pb::ListHookRunsResponse> {
        let context = call::context(&request);
        let request = request.into_inner();
        let (limit, token) = page(request.page);
        let execution = match request.execution_id.as_str() {
            "" => None,
            text => {
                let id = text.parse().map_err(|e: base::BadId| Fault::bad("execution_id", e))?;
                Some::<ExecutionId>(id)
            }
        };
        if !matches!(request.state.as_str(), "" | "completed" | "failed" | "skipped") {
            return Err(Fault::bad("state", "must be completed, failed or skipped").into());
        }
        let query = RunQuery {
            hook: request.hook,
            filter: RunFilter {
                execution,
                trigger: trigger_filter(&request.trigger)?,
                state: some(request.state),
                since: time(&request.since, "since")?,
                until: time(&request.until, "until")?,
                ..RunFilter::default()
            },
            before: cursor(&token)?,
            limit: limit + 1,
        };
        let (rows, last) = cut(self.book.runs(&context, query).await?, limit);
        let token = |row: RunRow| format!("{}.{}", row.started_at.micros(), row.run_id);
        Ok(Response::new(pb::ListHookRunsResponse {
            next_page_token: last.map_or_else(String::new, token),
            runs: rows.into_iter().map(run).collect(),
        }))
    }

    async fn get_hook_run(&self, request: Request<pb::GetHookRunRequest>) -> Answer<pb::HookRun> {
        let context = call::context(&request);
        let id = uuid(&request.into_inner().run_id, "run_id")?;
        Ok(Response::new(run(self.book.run(&context, id).await?)))
    }
}

fn uuid(text: &str, field: &str) -> Result<Uuid, Fault> {
    Uuid::try_parse(text).map_err(|_| Fault::bad(field, "must be a UUID"))
}

fn revision(expected: u64) -> Option<u64> {
    (expected > 0).then_some(expected)
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}

fn time(text: &str, field: &str) -> Result<Option<Timestamp>, Fault> {
    match text {
        "" => Ok(None),
        text => match Timestamp::parse_rfc3339(text) {
            Some(at) => Ok(Some(at)),
            None => Err(Fault::bad(field, "must be a time in RFC 3339, 2026-11-21T10:00:00Z")),
        },
    }
}

fn trigger_filter(text: &str) -> Result<Option<String>, Fault> {
    if text.is_empty() { Ok(None) } else { trigger(text).map(|t| Some(t.as_str().to_owned())) }
}

fn trigger(text: &str) -> Result<Trigger, Fault> {
    Trigger::parse(text).ok_or_else(|| {
        let all = Trigger::ALL.map(Trigger::as_str).join(", ");
        Fault::bad("trigger", format!("{text:?} is not one of {all}"))
    })
}

/// Rows wanted, and the token.
fn page(page: Option<PageRequest>) -> (u32, String) {
    let page = page.unwrap_or_default();
    let limit = if page.page_size <= 0 { 50 } else { page.page_size.min(999) };
    (limit.unsigned_abs(), page.page_token)
}

/// One row more than wanted was read: it says whether there is a next page. Gives the last row that is shown.
fn cut<T: Clone>(mut rows: Vec<T>, limit: u32) -> (Vec<T>, Option<T>) {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let last = if more { rows.last().cloned() } else { None };
    (rows, last)
}

fn cursor(token: &str) -> Result<Option<(Timestamp, Uuid)>, Fault> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let (at, id) = token.split_once('.')?;
        Some((Timestamp::from_micros(at.parse().ok()?), Uuid::try_parse(id).ok()?))
    };
    read().map(Some).ok_or_else(|| Fault::bad("page_token", "is not a token of this list"))
}

fn spec_of(spec: Option<pb::HookSpec>) -> Result<HookSpec, Fault> {
    let spec = spec.ok_or_else(|| Fault::bad("spec", "is missing"))?;
    let on_failure = match spec.on_failure.as_str() {
        "" => None,
        text => {
            Some(OnFailure::parse(text).ok_or_else(|| Fault::bad("on_failure", "must be abort or warn"))?)
        }
    };
    let plain = HookSpec::new(spec.name, trigger(&spec.trigger)?, spec.command);
    Ok(HookSpec {
        args: spec.args,
        always_run: spec.always_run,
        timeout_ms: spec.timeout_ms.unwrap_or(plain.timeout_ms),
        enabled: spec.enabled.unwrap_or(plain.enabled),
        priority: spec.priority.unwrap_or(plain.priority),
        on_failure,
        when: spec.when,
        ..plain
    })
}

fn hook(row: HookRow) -> pb::Hook {
    pb::Hook {
        hook_id: row.hook_id.to_string(),
        revision: row.revision,
        created_at: row.created_at.rfc3339(),
        updated_at: row.updated_at.rfc3339(),
        spec: Some(pb::HookSpec {
            name: row.name,
            trigger: row.trigger,
            command: row.command,
            args: row.args,
            always_run: row.always_run,
            timeout_ms: Some(row.timeout_ms),
            enabled: Some(row.enabled),
            priority: Some(row.priority),
            on_failure: row.on_failure.unwrap_or_default(),
            when: row.condition,
        }),
    }
}

fn run(row: RunRow) -> pb::HookRun {
    pb::HookRun {
        run_id: row.run_id.to_string(),
        request_id: row.request_id.to_string(),
        hook_id: row.hook_id.to_string(),
        hook_name: row.hook_name,
        trigger: row.trigger,
        action: row.action,
        execution_id: row.execution_id.map(|id| id.to_string()).unwrap_or_default(),
        task_id: row.task_id.unwrap_or_default(),
        item: row.item,
        state: row.state,
        decision: row.decision,
        message: row.message,
        output: row.output,
        set_json: row.settings,
        started_at: row.started_at.rfc3339(),
        finished_at: row.finished_at.rfc3339(),
    }
}
