//! The public contract: decode, ask, encode.

use std::{pin::Pin, time::Duration};

use api::{Fault, payload};
use base::{CallContext, Clock as _, ErrorCode, ExecutionId};
use futures::{Stream, StreamExt as _, stream};
use proto::executor::v1::{
    self as pb, command_execution_request::Command as Wire, executor_service_server::ExecutorService,
    resolve_task_request::Decision,
};
use runtime::{Drain, SystemClock, call};
use tonic::{Request, Response, Status};
use workflow::Resolution;

use crate::{
    app::{App, ListQuery, StartRequest, WorkflowCursor},
    engine::{Command, Commanded},
    forward::Forward,
    wire,
};

/// Longest wait of one call.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// Ids that are drawn to find one of an own shard.
const DRAWS_MAX: usize = 2048;
/// Largest page of history.
const HISTORY_MAX: u32 = 1000;

type Answer<T> = Result<Response<T>, Status>;
type Watch = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

/// The executor's public door.
#[derive(Clone)]
pub struct Executor {
    pub(crate) app: App,
    drain: Drain,
    pub(crate) forward: Forward,
}

impl Executor {
    /// Serves `app`; streams end when `drain` begins; what another replica owns is passed on.
    pub fn new(app: App, drain: Drain, forward: Forward) -> Self {
        Self { app, drain, forward }
    }
}

pub(crate) fn id_of(text: &str) -> Result<ExecutionId, Fault> {
    text.parse().map_err(|e: base::BadId| Fault::bad("execution_id", e))
}

/// The id that a start's key or own id gives.
fn start_id(context: &CallContext, key: &str, id: &str) -> Result<Option<ExecutionId>, Fault> {
    match (key, id) {
        ("", "") => Ok(None),
        ("", id) => id_of(id).map(Some),
        (key, _) => Ok(Some(ExecutionId::from_key(&context.tenant, key))),
    }
}

fn wait_of(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms).min(WAIT_MAX))
}

fn start_of(request: pb::StartExecutionRequest) -> Result<StartRequest, Fault> {
    let options = request.options.unwrap_or_default();
    let input = match request.input {
        Some(input) => Some(payload::from_wire(Some(input), "input")?),
        None => None,
    };
    Ok(StartRequest {
        workflow: request.workflow,
        inline: (!request.inline_source.is_empty()).then_some((request.inline_source, request.inline_format)),
        input,
        execution_id: request.execution_id,
        key: request.key,
        priority: request.priority,
        timeout: (options.timeout_ms > 0).then(|| Duration::from_millis(options.timeout_ms)),
        retry_policy: options.retry_policy,
        max_agents: options.max_agents,
        max_cpu_millis: options.max_cpu_millis,
        max_memory_bytes: options.max_memory_bytes,
        metadata_json: request.metadata_json,
        session_id: request.session_id,
        correlation_id: request.correlation_id,
        wait: wait_of(request.wait_ms),
        own_id: None,
    })
}

pub(crate) fn commanded(id: ExecutionId, done: &Commanded) -> pb::CommandExecutionResponse {
    pb::CommandExecutionResponse {
        execution_id: id.to_string(),
        status: done.status.as_str().into(),
        checkpoint_id: done.checkpoint.map_or_else(String::new, |c| c.to_string()),
    }
}

fn command_of(request: &pb::CommandExecutionRequest) -> Result<Command, Fault> {
    let reason = request.reason.clone();
    match request.command() {
        Wire::Unspecified => Err(Fault::bad("command", "name one: pause, resume, cancel or terminate")),
        Wire::Pause => Ok(Command::Pause { reason }),
        Wire::Resume => Ok(Command::Resume),
        Wire::Cancel => Ok(Command::Cancel { reason }),
        Wire::Terminate => Ok(Command::Terminate { reason }),
    }
}

fn decision_of(decision: Option<Decision>) -> Result<Resolution, Fault> {
    match decision {
        Some(Decision::Completed(output)) => {
            Ok(Resolution::Completed(payload::from_wire(Some(output), "completed")?))
        }
        Some(Decision::Failed(message)) => Ok(Resolution::Failed(message.into())),
        Some(Decision::Retry(true)) => Ok(Resolution::Retry),
        Some(Decision::Retry(false)) | None => Err(Fault::bad("decision", "give completed, failed or retry")),
    }
}

impl Executor {
    pub(crate) async fn steer(
        &self,
        context: &CallContext,
        id: &str,
        command: Command,
    ) -> Answer<pb::CommandExecutionResponse> {
        let id = id_of(id)?;
        let done = match self.app.command(context, id, command.clone()).await {
            Err(fault) if fault.code == ErrorCode::NotOwner => {
                self.forward.leave(context, id, &command).await?;
                // The next owner took it; what came of it is the execution's status.
                let view = self.app.view(context, id, None, false).await?;
                Commanded { status: view.status, checkpoint: None }
            }
            other => other?,
        };
        Ok(Response::new(commanded(id, &done)))
    }

    /// An id for a start that brought none: one that is looked after here, so that nothing has to be passed on.
    pub(crate) fn draw(&self) -> Option<ExecutionId> {
        let drawn = std::iter::repeat_with(|| ExecutionId::new(uuid::Uuid::now_v7())).take(DRAWS_MAX);
        drawn.into_iter().find(|id| self.forward.is_here(*id))
    }

    fn until_drained(
        &self,
        stream: impl Stream<Item = Result<pb::WatchResponse, Status>> + Send + 'static,
    ) -> Watch {
        let drain = self.drain.clone();
        Box::pin(stream.take_until(async move { drain.draining().await }))
    }
}

/// Passes a call on when the execution is another replica's.
macro_rules! passed_on {
    ($self:ident, $request:ident, $context:ident, $method:ident, $wait:expr) => {
        let id = id_of(&$request.get_ref().execution_id)?;
        if let Some(mut owner) = $self.forward.owner(id, $request.metadata()) {
            let timeout = $wait.map(|w: Duration| w + Duration::from_secs(10));
            return owner.$method($self.forward.request(&$context, $request.into_inner(), timeout)).await;
        }
    };
}

#[tonic::async_trait]
impl ExecutorService for Executor {
    async fn start_execution(
        &self,
        request: Request<pb::StartExecutionRequest>,
    ) -> Answer<pb::StartExecutionResponse> {
        let context = call::context(&request);
        let asked = request.get_ref();
        if let Some(id) = start_id(&context, &asked.key, &asked.execution_id)?
            && let Some(mut owner) = self.forward.owner(id, request.metadata())
        {
            let timeout = wait_of(asked.wait_ms).map(|w| w + Duration::from_secs(10));
            return owner
                .start_execution(self.forward.request(&context, request.into_inner(), timeout))
                .await;
        }
        let summary_only = asked.summary_only;
        let mut start = start_of(request.into_inner())?;
        if start.key.is_empty() && start.execution_id.is_empty() {
            start.own_id = self.draw();
        }
        let outcome = self.app.start(&context, start).await?;
        Ok(Response::new(wire::started(&outcome, summary_only)))
    }

    async fn get_execution(&self, request: Request<pb::GetExecutionRequest>) -> Answer<pb::Execution> {
        let context = call::context(&request);
        passed_on!(self, request, context, get_execution, wait_of(request.get_ref().wait_ms));
        let request = request.into_inner();
        let (id, wait) = (id_of(&request.execution_id)?, wait_of(request.wait_ms));
        let view = self.app.view(&context, id, wait, !request.summary_only).await?;
        Ok(Response::new(wire::execution(&view)))
    }

    async fn list_executions(
        &self,
        request: Request<pb::ListExecutionsRequest>,
    ) -> Answer<pb::ListExecutionsResponse> {
        let context = call::context(&request);
        let request = request.into_inner();
        let page = request.page.unwrap_or_default();
        let query = ListQuery {
            statuses: request.statuses,
            workflow: (!request.workflow.is_empty())
                .then(|| self.app.workflow_id(&context, &request.workflow)),
            correlation_id: request.correlation_id,
            stuck: request.stuck || !request.stuck_reasons.is_empty(),
            stuck_reasons: request.stuck_reasons,
            after: wire::cursor(&page.page_token)?,
            limit: page.page_size.clamp(0, 1000) as u32,
        };
        let page = self.app.list(&context, query).await?;
        let places = self.app.queue_places(&page.rows);
        let place = |row: &store::journal::ExecutionRow| places.get(&row.execution_id).copied().unwrap_or(0);
        let now = SystemClock.now();
        Ok(Response::new(pb::ListExecutionsResponse {
            executions: page.rows.iter().map(|row| wire::listed(row, place(row), now)).collect(),
            next_page_token: wire::page_token(page.next),
        }))
    }

    async fn command_execution(
        &self,
        request: Request<pb::CommandExecutionRequest>,
    ) -> Answer<pb::CommandExecutionResponse> {
        let context = call::context(&request);
        passed_on!(self, request, context, command_execution, None);
        let request = request.into_inner();
        self.steer(&context, &request.execution_id, command_of(&request)?).await
    }

    async fn resolve_task(
        &self,
        request: Request<pb::ResolveTaskRequest>,
    ) -> Answer<pb::CommandExecutionResponse> {
        let context = call::context(&request);
        passed_on!(self, request, context, resolve_task, None);
        let request = request.into_inner();
        let decision = decision_of(request.decision)?;
        let command = Command::Resolve { task: request.task_id, item: request.item.max(0) as u32, decision };
        self.steer(&context, &request.execution_id, command).await
    }

    async fn answer_task(
        &self,
        request: Request<pb::AnswerTaskRequest>,
    ) -> Answer<pb::CommandExecutionResponse> {
        let context = call::context(&request);
        passed_on!(self, request, context, answer_task, None);
        let request = request.into_inner();
        let input = payload::from_wire(request.input, "input")?;
        let command = Command::Answer { task: request.task_id, item: request.item.max(0) as u32, input };
        self.steer(&context, &request.execution_id, command).await
    }

    async fn get_history(&self, request: Request<pb::GetHistoryRequest>) -> Answer<pb::GetHistoryResponse> {
        let context = call::context(&request);
        passed_on!(self, request, context, get_history, None);
        let request = request.into_inner();
        let limit = if request.limit == 0 { 100 } else { request.limit.min(HISTORY_MAX) };
        let id = id_of(&request.execution_id)?;
        let page = self.app.history(&context, id, request.after_seq, limit as usize).await?;
        Ok(Response::new(pb::GetHistoryResponse {
            events: page.events.iter().map(wire::event).collect(),
            more: page.more,
        }))
    }

    type WatchExecutionStream = Watch;

    async fn watch_execution(&self, request: Request<pb::WatchExecutionRequest>) -> Answer<Watch> {
        let context = call::context(&request);
        let id = id_of(&request.get_ref().execution_id)?;
        if let Some(mut owner) = self.forward.owner(id, request.metadata()) {
            let stream =
                owner.watch_execution(self.forward.request(&context, request.into_inner(), None)).await?;
            return Ok(Response::new(self.until_drained(stream.into_inner())));
        }
        let request = request.into_inner();
        let watched = self.app.watch(&context, id, request.after_seq).await?;
        let mut seq = request.after_seq;
        let stream = watched.map(move |message| {
            seq = message.events.last().map_or(seq, |e| e.seq);
            Ok(wire::watched(&message, seq.to_string()))
        });
        Ok(Response::new(self.until_drained(stream)))
    }

    type WatchWorkflowStream = Watch;

    async fn watch_workflow(&self, request: Request<pb::WatchWorkflowRequest>) -> Answer<Watch> {
        let context = call::context(&request);
        let request = request.into_inner();
        let cursor =
            match request.cursor.as_str() {
                "" => None,
                text => Some(WorkflowCursor::parse(text).ok_or_else(|| {
                    Fault::bad("cursor", "is not a cursor of this watch; begin without one")
                })?),
            };
        let workflow = self.app.workflow_id(&context, &request.workflow);
        // Taken before the watch begins: a stream that breaks before its first event goes on from here.
        let mut newest = cursor.map_or_else(|| SystemClock.now(), |c| c.0);
        let watched = self.app.watch_workflow(&context, workflow, cursor).await?;
        let opening = pb::WatchResponse { cursor: WorkflowCursor(newest).to_text(), ..Default::default() };
        let stream = watched.map(move |message| {
            newest = message.events.iter().map(|e| e.at).max().map_or(newest, |at| at.max(newest));
            Ok(wire::watched(&message, WorkflowCursor(newest).to_text()))
        });
        Ok(Response::new(self.until_drained(stream::iter([Ok(opening)]).chain(stream))))
    }

    async fn get_capacity(&self, _: Request<pb::GetCapacityRequest>) -> Answer<pb::GetCapacityResponse> {
        let [active, max_concurrent, queued, queue_max, calls_in_flight, calls_waiting] =
            self.app.engine.load();
        Ok(Response::new(pb::GetCapacityResponse {
            active,
            max_concurrent,
            queued,
            queue_max,
            accepting: queued < queue_max || active < max_concurrent,
            calls_in_flight,
            calls_waiting,
        }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<pb::ListDeadLettersRequest>,
    ) -> Answer<pb::ListDeadLettersResponse> {
        let context = call::context(&request);
        let page = request.into_inner().page.unwrap_or_default();
        Ok(Response::new(self.app.dead_letters(&context, &page).await?))
    }

    async fn get_dead_letter(&self, request: Request<pb::GetDeadLetterRequest>) -> Answer<pb::DeadLetter> {
        let context = call::context(&request);
        Ok(Response::new(self.app.dead_letter(&context, &request.into_inner().id).await?))
    }

    async fn redrive_dead_letter(
        &self,
        request: Request<pb::RedriveDeadLetterRequest>,
    ) -> Answer<pb::RedriveDeadLetterResponse> {
        let context = call::context(&request);
        let letter = self.app.redrive(&context, &request.into_inner().id).await?;
        Ok(Response::new(pb::RedriveDeadLetterResponse { dead_letter: Some(letter) }))
    }
}
