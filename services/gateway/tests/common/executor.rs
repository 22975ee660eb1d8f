//! A scripted executor.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
};

use api::Fault;
use base::{CallContext, ErrorCode, ExecutionId, Tenant};
use futures::{Stream, StreamExt as _, stream};
use proto::{
    common::v1::{Payload, payload::Body},
    executor::{
        internal::v1::{
            self as internal,
            executor_internal_service_server::{ExecutorInternalService, ExecutorInternalServiceServer},
        },
        v1::{
            self as wire,
            budget_service_server::BudgetServiceServer,
            cache_service_server::CacheServiceServer,
            command_execution_request::Command,
            control_service_server::ControlServiceServer,
            event_service_server::EventServiceServer,
            executor_service_server::{ExecutorService, ExecutorServiceServer},
            hook_service_server::HookServiceServer,
            schedule_service_server::ScheduleServiceServer,
            session_service_server::SessionServiceServer,
        },
    },
};
use runtime::{Config, Options, Role, Running, Service, Settings, call};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::services::WORKFLOW_ID;

type Answer<T> = Result<Response<T>, Status>;
type Watch = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, Status>> + Send>>;
/// One opened watch: what it sends, then whether it stays open.
pub(crate) type Script = mpsc::UnboundedReceiver<Result<wire::WatchResponse, Status>>;

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) starts: Vec<wire::StartExecutionRequest>,
    pub(crate) contexts: Vec<CallContext>,
    /// What the next calls are refused with, first first.
    pub(crate) refusals: VecDeque<Fault>,
    /// The next watches.
    pub(crate) watches: VecDeque<Script>,
    /// From where watches were opened.
    pub(crate) opened: Vec<String>,
    pub(crate) commands: Vec<wire::CommandExecutionRequest>,
    pub(crate) resolutions: Vec<wire::ResolveTaskRequest>,
    pub(crate) lists: Vec<wire::ListExecutionsRequest>,
    pub(crate) members: Vec<internal::Member>,
    pub(crate) maps_read: usize,
    pub(crate) events: super::events::FakeEvents,
    pub(crate) control: super::control::FakeControl,
}

/// Answers as it is told.
#[derive(Clone, Default)]
pub(crate) struct FakeExecutor(pub(crate) Arc<Mutex<Log>>);

/// One in a process of its own, as far as the gateway can tell.
pub(crate) struct Elsewhere {
    pub(crate) fake: FakeExecutor,
    pub(crate) address: String,
    _running: Running,
}

impl FakeExecutor {
    pub(crate) fn role(&self) -> Role {
        let fake = self.clone();
        Role::new("executor", &[], move |_| {
            let events = fake.log().events.clone();
            let control = fake.log().control.clone();
            let service = Service::new()
                .grpc(ExecutorServiceServer::new(fake.clone()))
                .grpc(BudgetServiceServer::new(super::memory::FakeBudgets))
                .grpc(CacheServiceServer::new(super::memory::FakeCache::default()))
                .grpc(ControlServiceServer::new(control))
                .grpc(EventServiceServer::new(events.clone()))
                .grpc(HookServiceServer::new(super::hooks::FakeHooks))
                .grpc(ScheduleServiceServer::new(events))
                .grpc(SessionServiceServer::new(super::memory::FakeSessions))
                .grpc(ExecutorInternalServiceServer::new(fake.clone()));
            async move { Ok(service.descriptor(proto::DESCRIPTORS)) }
        })
    }

    pub(crate) async fn elsewhere() -> Elsewhere {
        let fake = Self::default();
        let config = Config::from_settings(Settings::default().on_free_ports());
        let running = runtime::start(&[fake.role()], &config, Options::default()).await.unwrap();
        let address = format!("http://{}", running.ports("executor").grpc.unwrap());
        Elsewhere { fake, address, _running: running }
    }

    pub(crate) fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.0.lock().unwrap()
    }
    pub(crate) fn refuse(&self, code: ErrorCode, times: usize) {
        self.log().refusals.extend(std::iter::repeat_n(Fault::new(code, "as told"), times));
    }
    /// The next watch sends what is sent here, and ends when the sender is dropped.
    pub(crate) fn next_watch(&self) -> mpsc::UnboundedSender<Result<wire::WatchResponse, Status>> {
        let (sender, script) = mpsc::unbounded_channel();
        self.log().watches.push_back(script);
        sender
    }

    fn enter<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let mut log = self.log();
        log.contexts.push(call::context(request));
        log.refusals.pop_front().map_or(Ok(()), |fault| Err(fault.into()))
    }

    fn opened(&self, from: String) -> Answer<Watch> {
        let mut log = self.log();
        log.opened.push(from);
        let script = log.watches.pop_front();
        let stream = stream::unfold(script, |script| async move {
            let mut script = script?;
            script.recv().await.map(|message| (message, Some(script)))
        });
        Ok(Response::new(stream.boxed()))
    }
}

pub(crate) fn event(seq: u64, kind: &str) -> wire::ExecutionEvent {
    wire::ExecutionEvent {
        r#type: kind.into(),
        workflow_id: WORKFLOW_ID.into(),
        execution_id: some_id().to_string(),
        seq,
        timestamp: "2026-01-01T00:00:00.000Z".into(),
        data_json: format!("{{\"n\": {seq}}}"),
    }
}

pub(crate) fn batch(events: Vec<wire::ExecutionEvent>, ended: bool) -> Result<wire::WatchResponse, Status> {
    let cursor = events.last().map(|e| format!("c{}", e.seq)).unwrap_or_default();
    Ok(wire::WatchResponse { events, cursor, ended, progress: vec![] })
}

/// An id that every scripted executor knows.
pub(crate) fn some_id() -> ExecutionId {
    ExecutionId::from_key(&Tenant::default(), "some")
}

pub(crate) fn execution(id: &str, status: &str, output: Option<&str>) -> wire::Execution {
    let json =
        |text: &str| Payload { media_type: "application/json".into(), body: Some(Body::Json(text.into())) };
    wire::Execution {
        execution_id: id.into(),
        workflow_id: WORKFLOW_ID.into(),
        workflow_name: "x".into(),
        workflow_version: "1.0".into(),
        status: status.into(),
        current_phase: "research".into(),
        input: Some(json("{\"q\": 1.50}")),
        output: output.map(json),
        tasks: vec![wire::Task {
            task_id: "a".into(),
            state: "completed".into(),
            attempt: 1,
            items: vec![wire::Task::default()],
            ..Default::default()
        }],
        agents: vec![wire::AgentUse {
            agent_id: "r".into(),
            status: "running".into(),
            current_task: "a".into(),
            progress: 0.5,
        }],
        metrics: Some(wire::Metrics {
            total_runtime_ms: 1234,
            tasks_completed: 1,
            tasks_total: 2,
            ..Default::default()
        }),
        causes: if status == "failed" {
            vec![wire::Cause {
                task_id: "a".into(),
                code: "timeout".into(),
                message: "too slow".into(),
                item: -1,
                ..Default::default()
            }]
        } else {
            vec![]
        },
        created_at: "2026-01-01T00:00:00Z".into(),
        last_seq: 7,
        metadata_json: r#"{"user":"u"}"#.into(),
        ..Default::default()
    }
}

fn found(id: &str) -> Result<wire::Execution, Status> {
    if id == some_id().to_string() {
        Ok(execution(id, "failed", None))
    } else {
        Err(Fault::not_found("execution", id).into())
    }
}

#[tonic::async_trait]
impl ExecutorService for FakeExecutor {
    async fn start_execution(
        &self,
        request: Request<wire::StartExecutionRequest>,
    ) -> Answer<wire::StartExecutionResponse> {
        self.log().starts.push(request.get_ref().clone());
        self.enter(&request)?;
        let request = request.into_inner();
        match request.workflow.as_str() {
            "missing" => return Err(Fault::not_found("workflow", "missing").into()),
            "busy" => {
                return Err(Fault::new(ErrorCode::AlreadyExecuting, "it runs")
                    .related(vec!["e1".into()])
                    .into());
            }
            "huge" => return Err(Fault::new(ErrorCode::InsufficientResources, "never").into()),
            "full" => {
                return Err(Fault::new(ErrorCode::ResourceExhausted, "full").retry_after_ms(2500).into());
            }
            _ => {}
        }
        let id = if request.key.is_empty() {
            request.execution_id
        } else {
            ExecutionId::from_key(&Tenant::default(), &request.key).to_string()
        };
        let echo = match request.input.and_then(|p| p.body) {
            Some(Body::Json(text)) => text,
            _ => "null".into(),
        };
        Ok(Response::new(wire::StartExecutionResponse {
            execution_id: id.clone(),
            workflow_id: WORKFLOW_ID.into(),
            status: "planning".into(),
            allocated_agents: vec!["r1".into()],
            existing: !request.key.is_empty(),
            execution: (request.wait_ms > 0).then(|| execution(&id, "completed", Some(&echo))),
            queue_position: 0,
        }))
    }
    async fn get_execution(&self, request: Request<wire::GetExecutionRequest>) -> Answer<wire::Execution> {
        self.enter(&request)?;
        found(&request.into_inner().execution_id).map(Response::new)
    }
    async fn list_executions(
        &self,
        request: Request<wire::ListExecutionsRequest>,
    ) -> Answer<wire::ListExecutionsResponse> {
        let request = request.into_inner();
        self.log().lists.push(request.clone());
        let one = execution(&some_id().to_string(), "executing", None);
        let active = request.statuses.is_empty();
        let executions = match (request.workflow.as_str(), active) {
            ("missing" | "never", _) | ("ended", true) => vec![],
            ("ended", false) => vec![execution(&some_id().to_string(), "completed", None)],
            ("two", true) => vec![one.clone(), execution("another", "paused", None)],
            _ => vec![one],
        };
        Ok(Response::new(wire::ListExecutionsResponse { executions, next_page_token: String::new() }))
    }
    async fn command_execution(
        &self,
        request: Request<wire::CommandExecutionRequest>,
    ) -> Answer<wire::CommandExecutionResponse> {
        self.enter(&request)?;
        let request = request.into_inner();
        let id = found(&request.execution_id)?.execution_id;
        let (status, checkpoint) = match request.command() {
            Command::Pause => ("paused", "7f1c1c5e-0000-5000-8000-000000000002"),
            Command::Resume => ("executing", ""),
            Command::Cancel => ("cancelled", ""),
            Command::Terminate | Command::Unspecified => ("terminated", ""),
        };
        self.log().commands.push(request);
        let (status, checkpoint_id) = (status.into(), checkpoint.into());
        Ok(Response::new(wire::CommandExecutionResponse { execution_id: id, status, checkpoint_id }))
    }
    async fn resolve_task(
        &self,
        request: Request<wire::ResolveTaskRequest>,
    ) -> Answer<wire::CommandExecutionResponse> {
        self.enter(&request)?;
        let request = request.into_inner();
        let execution_id = found(&request.execution_id)?.execution_id;
        self.log().resolutions.push(request);
        Ok(Response::new(wire::CommandExecutionResponse {
            execution_id,
            status: "executing".into(),
            checkpoint_id: String::new(),
        }))
    }
    async fn answer_task(
        &self,
        request: Request<wire::AnswerTaskRequest>,
    ) -> Answer<wire::CommandExecutionResponse> {
        let execution_id = found(&request.into_inner().execution_id)?.execution_id;
        Ok(Response::new(wire::CommandExecutionResponse {
            execution_id,
            status: "executing".into(),
            checkpoint_id: String::new(),
        }))
    }
    async fn get_history(
        &self,
        request: Request<wire::GetHistoryRequest>,
    ) -> Answer<wire::GetHistoryResponse> {
        let request = request.into_inner();
        found(&request.execution_id)?;
        let events = vec![
            event(request.after_seq + 1, "workflow.status_changed"),
            event(request.after_seq + 2, "task.started"),
        ];
        Ok(Response::new(wire::GetHistoryResponse { events, more: true }))
    }
    type WatchExecutionStream = Watch;
    async fn watch_execution(&self, request: Request<wire::WatchExecutionRequest>) -> Answer<Watch> {
        self.enter(&request)?;
        self.opened(request.into_inner().after_seq.to_string())
    }
    type WatchWorkflowStream = Watch;
    async fn watch_workflow(&self, request: Request<wire::WatchWorkflowRequest>) -> Answer<Watch> {
        self.enter(&request)?;
        self.opened(request.into_inner().cursor)
    }
    async fn get_capacity(&self, _: Request<wire::GetCapacityRequest>) -> Answer<wire::GetCapacityResponse> {
        Ok(Response::new(wire::GetCapacityResponse {
            active: 2,
            max_concurrent: 1000,
            queue_max: 10,
            accepting: true,
            ..Default::default()
        }))
    }
    async fn list_dead_letters(
        &self,
        _: Request<wire::ListDeadLettersRequest>,
    ) -> Answer<wire::ListDeadLettersResponse> {
        Ok(Response::new(wire::ListDeadLettersResponse {
            dead_letters: vec![letter("1", "dead")],
            next_page_token: String::new(),
        }))
    }
    async fn get_dead_letter(
        &self,
        request: Request<wire::GetDeadLetterRequest>,
    ) -> Answer<wire::DeadLetter> {
        let id = request.into_inner().id;
        if id == "missing" {
            return Err(Fault::not_found("dead letter", id).into());
        }
        Ok(Response::new(letter(&id, "dead")))
    }
    async fn redrive_dead_letter(
        &self,
        request: Request<wire::RedriveDeadLetterRequest>,
    ) -> Answer<wire::RedriveDeadLetterResponse> {
        let id = request.into_inner().id;
        if id == "missing" {
            return Err(Fault::not_found("dead letter", id).into());
        }
        Ok(Response::new(wire::RedriveDeadLetterResponse { dead_letter: Some(letter(&id, "redriven")) }))
    }
}

fn letter(id: &str, state: &str) -> wire::DeadLetter {
    wire::DeadLetter {
        id: id.into(),
        stream: "orchestra:events:0".into(),
        body: b"hi".to_vec(),
        state: state.into(),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl ExecutorInternalService for FakeExecutor {
    async fn list_shards(
        &self,
        _: Request<internal::ListShardsRequest>,
    ) -> Answer<internal::ListShardsResponse> {
        let mut log = self.log();
        log.maps_read += 1;
        Ok(Response::new(internal::ListShardsResponse { shard_count: 64, members: log.members.clone() }))
    }
    async fn offer_shards(
        &self,
        _: Request<internal::OfferShardsRequest>,
    ) -> Answer<internal::OfferShardsResponse> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn read_log(&self, _: Request<internal::ReadLogRequest>) -> Answer<internal::ReadLogResponse> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn deliver_result(
        &self,
        _: Request<internal::DeliverResultRequest>,
    ) -> Answer<internal::DeliverResultResponse> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn abort_call(
        &self,
        _: Request<internal::AbortCallRequest>,
    ) -> Answer<internal::AbortCallResponse> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn lend_slots(
        &self,
        _: Request<internal::LendSlotsRequest>,
    ) -> Answer<internal::LendSlotsResponse> {
        Err(Status::unimplemented("not in this test"))
    }
}
