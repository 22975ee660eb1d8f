//! Temporal, through its official client.
//!
//! A run of ours is a workflow execution there: its workflow id is the id of the start, so that a repeated start is the
//! same execution. Nothing here tries again: that is for those who ask, who have it in their log.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::Payload;
use temporalio_client::{Connection, ConnectionOptions, TlsOptions, Url, grpc::WorkflowService};
use temporalio_common::protos::temporal::api::{
    common::v1::{WorkflowExecution, WorkflowType},
    enums::v1::{
        HistoryEventFilterType, WorkflowExecutionStatus, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
    },
    query::v1::WorkflowQuery,
    taskqueue::v1::TaskQueue,
    workflowservice::v1::{
        DescribeWorkflowExecutionRequest, GetWorkflowExecutionHistoryRequest, QueryWorkflowRequest,
        RequestCancelWorkflowExecutionRequest, SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest,
        TerminateWorkflowExecutionRequest,
    },
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tonic::{Code, Request, Status};
use workflow::plan::{Capabilities, SHIPPED, Work};

use crate::engine::{End, Engine, EngineError, Lost, Run, Start};

mod convert;
mod ended;

use ended::Seen;

/// Its name in definitions.
pub const NAME: &str = "temporal";
/// Who we are to Temporal.
const IDENTITY: &str = "orchestra";
/// A question for the end of a run may be answered this much later than asked: the answer itself takes a while.
const GRACE: Duration = Duration::from_secs(1);

/// Where Temporal is.
#[derive(Clone)]
pub struct TemporalOptions {
    /// Its frontend, `http://host:7233`, or `https://` for TLS.
    pub address: String,
    /// The namespace.
    pub namespace: String,
    /// Sent with every call.
    pub api_key: Option<String>,
    /// The authority that signed the server's certificate, as PEM; `None` = the system's.
    pub ca: Option<Vec<u8>>,
    /// How long a call may take.
    pub call_timeout: Duration,
}

/// Temporal.
pub struct Temporal {
    options: TemporalOptions,
    /// Made with the first call; it connects again by itself.
    connection: Mutex<Option<Connection>>,
}

impl Temporal {
    /// Temporal at this address. Nothing is sent before the first call.
    pub fn new(options: TemporalOptions) -> Arc<Self> {
        Arc::new(Self { options, connection: Mutex::new(None) })
    }

    async fn connect(&self) -> Result<Connection, String> {
        let own = &self.options;
        let target = Url::parse(&own.address).map_err(|e| e.to_string())?;
        let tls = (target.scheme() == "https")
            .then(|| TlsOptions::builder().maybe_server_root_ca_cert(own.ca.clone()).build());
        let options = ConnectionOptions::new(target)
            .identity(IDENTITY)
            .maybe_tls_options(tls)
            .maybe_api_key(own.api_key.clone())
            .connect_timeout(own.call_timeout)
            .dns_load_balancing(None)
            .build();
        match timeout(own.call_timeout, Connection::connect(options)).await {
            Ok(made) => made.map_err(|e| e.to_string()),
            Err(_) => Err(format!("no answer within {:?}", own.call_timeout)),
        }
    }

    async fn service(&self) -> Result<Box<dyn WorkflowService>, EngineError> {
        let mut known = self.connection.lock().await;
        if known.is_none() {
            let made = self.connect().await.map_err(|why| EngineError::Away {
                message: format!("Temporal at {} cannot be reached: {why}", self.options.address),
                lost: Lost::Nothing,
            })?;
            *known = Some(made);
        }
        known.as_ref().map(Connection::workflow_service).ok_or_else(|| EngineError::refused("no connection"))
    }

    fn request<T>(&self, message: T, limit: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(limit);
        request
    }

    fn call<T>(&self, message: T) -> Request<T> {
        self.request(message, self.options.call_timeout)
    }

    fn error(&self, status: &Status, run: &str) -> EngineError {
        convert::error(status, run, &self.options.address)
    }

    /// The run's status there, and its newest run id.
    async fn describe(&self, run: &Run) -> Result<(WorkflowExecutionStatus, String), EngineError> {
        let request = DescribeWorkflowExecutionRequest {
            namespace: self.options.namespace.clone(),
            execution: Some(execution(run)),
        };
        let answer = self.service().await?.describe_workflow_execution(self.call(request)).await;
        let info = answer.map_err(|status| self.error(&status, &run.id))?.into_inner();
        let info = info.workflow_execution_info.unwrap_or_default();
        let run_id = info.execution.as_ref().map(|e| e.run_id.clone()).unwrap_or_default();
        Ok((info.status(), run_id))
    }

    /// Of a run that has ended nothing is asked: Temporal calls it not found like one that never was.
    async fn unless_ended(&self, run: &Run, answer: Result<(), Status>) -> Result<(), EngineError> {
        match answer {
            Ok(()) => Ok(()),
            Err(status) if status.code() == Code::NotFound => self.describe(run).await.map(|_| ()),
            Err(status) => Err(self.error(&status, &run.id)),
        }
    }
}

fn execution(run: &Run) -> WorkflowExecution {
    WorkflowExecution { workflow_id: run.id.clone(), run_id: run.run_id.clone() }
}

#[async_trait]
impl Engine for Temporal {
    fn capabilities(&self) -> Capabilities {
        SHIPPED.iter().find(|(name, _)| *name == NAME).map(|(_, can)| *can).unwrap_or_default()
    }

    async fn start(&self, start: &Start) -> Result<Run, EngineError> {
        let Work::Workflow(workflow_type) = &start.work else {
            return Err(EngineError::Cannot(format!("runs no {}s", start.work.kind())));
        };
        let queue = TaskQueue { name: start.task_queue.clone().unwrap_or_default(), ..TaskQueue::default() };
        let request = StartWorkflowExecutionRequest {
            namespace: self.options.namespace.clone(),
            workflow_id: start.id.clone(),
            workflow_type: Some(WorkflowType { name: workflow_type.clone() }),
            task_queue: Some(queue),
            input: Some(convert::arguments(&start.input)),
            workflow_execution_timeout: start.timeout.and_then(|limit| limit.try_into().ok()),
            identity: IDENTITY.into(),
            request_id: start.id.clone(),
            workflow_id_reuse_policy: WorkflowIdReusePolicy::RejectDuplicate.into(),
            workflow_id_conflict_policy: WorkflowIdConflictPolicy::UseExisting.into(),
            ..StartWorkflowExecutionRequest::default()
        };
        match self.service().await?.start_workflow_execution(self.call(request)).await {
            Ok(answer) => Ok(Run { id: start.id.clone(), run_id: answer.into_inner().run_id }),
            // It ran and has ended.
            Err(status) if status.code() == Code::AlreadyExists => {
                let (_, run_id) = self.describe(&Run::named(&start.id)).await?;
                Ok(Run { id: start.id.clone(), run_id })
            }
            Err(status) => Err(self.error(&status, &start.id)),
        }
    }

    async fn result(&self, run: &Run, wait: Duration) -> Result<Option<End>, EngineError> {
        let deadline = Instant::now() + wait;
        let mut run = run.clone();
        let mut page = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let request = GetWorkflowExecutionHistoryRequest {
                namespace: self.options.namespace.clone(),
                execution: Some(execution(&run)),
                next_page_token: std::mem::take(&mut page),
                wait_new_event: !left.is_zero(),
                history_event_filter_type: HistoryEventFilterType::CloseEvent.into(),
                ..GetWorkflowExecutionHistoryRequest::default()
            };
            let request = self.request(request, left.max(GRACE));
            let mut service = self.service().await?;
            let answer = match timeout(left + GRACE, service.get_workflow_execution_history(request)).await {
                Ok(Ok(answer)) => answer.into_inner(),
                // It was asked to wait, and waited longer than we do.
                Ok(Err(status)) if convert::waited(&status) => return Ok(None),
                Ok(Err(status)) => return Err(self.error(&status, &run.id)),
                Err(_) => return Ok(None),
            };
            let events = answer.history.unwrap_or_default().events;
            match events.last().map_or(Seen::Nothing, ended::of) {
                Seen::Ended(end) => return Ok(Some(end)),
                Seen::GoesOnAs(next) => run.run_id = next,
                Seen::Nothing if Instant::now() >= deadline => return Ok(None),
                Seen::Nothing => page = answer.next_page_token,
            }
        }
    }

    async fn cancel(&self, run: &Run, reason: &str) -> Result<(), EngineError> {
        let request = RequestCancelWorkflowExecutionRequest {
            namespace: self.options.namespace.clone(),
            workflow_execution: Some(execution(run)),
            identity: IDENTITY.into(),
            request_id: format!("cancel-{}", run.id),
            reason: reason.into(),
            ..RequestCancelWorkflowExecutionRequest::default()
        };
        let answer = self.service().await?.request_cancel_workflow_execution(self.call(request)).await;
        self.unless_ended(run, answer.map(|_| ())).await
    }

    async fn terminate(&self, run: &Run, reason: &str) -> Result<(), EngineError> {
        let request = TerminateWorkflowExecutionRequest {
            namespace: self.options.namespace.clone(),
            workflow_execution: Some(execution(run)),
            identity: IDENTITY.into(),
            reason: reason.into(),
            ..TerminateWorkflowExecutionRequest::default()
        };
        let answer = self.service().await?.terminate_workflow_execution(self.call(request)).await;
        self.unless_ended(run, answer.map(|_| ())).await
    }

    async fn signal(&self, run: &Run, name: &str, payload: &Payload, id: &str) -> Result<(), EngineError> {
        let request = SignalWorkflowExecutionRequest {
            namespace: self.options.namespace.clone(),
            workflow_execution: Some(execution(run)),
            signal_name: name.into(),
            input: Some(convert::arguments(payload)),
            identity: IDENTITY.into(),
            request_id: id.into(),
            ..SignalWorkflowExecutionRequest::default()
        };
        let answer = self.service().await?.signal_workflow_execution(self.call(request)).await;
        answer.map(|_| ()).map_err(|status| self.error(&status, &run.id))
    }

    async fn query(&self, run: &Run, name: &str, arguments: &Payload) -> Result<Payload, EngineError> {
        let query = WorkflowQuery {
            query_type: name.into(),
            query_args: Some(convert::arguments(arguments)),
            ..WorkflowQuery::default()
        };
        let request = QueryWorkflowRequest {
            namespace: self.options.namespace.clone(),
            execution: Some(execution(run)),
            query: Some(query),
            ..QueryWorkflowRequest::default()
        };
        let answer = self.service().await?.query_workflow(self.call(request)).await;
        let answer = answer.map_err(|status| self.error(&status, &run.id))?.into_inner();
        convert::result(answer.query_result).map_err(EngineError::refused)
    }
}
