//! Another Orchestra, over its public contracts: the built-in engine as an engine among others.

use std::time::Duration;

use api::{
    Fault,
    client::{Client, ClientOptions, Execution, ExecutionStatus, Start as ClientStart},
};
use async_trait::async_trait;
use base::{ErrorCode, ExecutionId, FailureClass, Payload, Tenant};
use proto::executor::v1::{QueryExecutionRequest, control_service_client::ControlServiceClient};
use provider::{Capabilities, End, Engine, EngineError, Lost, Run, Start, Work};
use serde_json::json;
use workflow::plan::SHIPPED;

/// Its name in definitions.
pub(super) const NAME: &str = "orchestra";
/// The query that it answers.
const STATE: &str = "state";

/// Another Orchestra.
pub struct Orchestra {
    client: Client,
    call_timeout: Duration,
}

impl Orchestra {
    /// The one whose gateway's gRPC is at `address`. Nothing is sent before the first call.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(address: &str, call_timeout: Duration) -> Result<Self, Fault> {
        // Nothing is tried again here: that is for those who ask, who have it in their log.
        let options =
            ClientOptions { timeout: call_timeout, patience: Duration::ZERO, ..ClientOptions::default() };
        Ok(Self { client: Client::lazy(address, options)?, call_timeout })
    }
}

/// The execution that the start with this id made.
fn execution(run: &Run) -> String {
    match run.run_id.as_str() {
        "" => ExecutionId::from_key(&Tenant::default(), &run.id).to_string(),
        known => known.to_owned(),
    }
}

fn error(fault: Fault, run: &str) -> EngineError {
    let refused =
        |class, retry_after| EngineError::Refused { class, message: fault.message.clone(), retry_after };
    match fault.code {
        ErrorCode::NotFound if fault.field.is_empty() || fault.field == "execution_id" => {
            EngineError::NoRun(run.to_owned())
        }
        ErrorCode::Unavailable | ErrorCode::NotOwner | ErrorCode::Timeout | ErrorCode::Internal => {
            EngineError::Away { message: fault.message, lost: Lost::Unknown }
        }
        ErrorCode::ResourceExhausted | ErrorCode::AlreadyExecuting => refused(
            FailureClass::RateLimited,
            Some(Duration::from_millis(fault.retry_after_ms)).filter(|wait| !wait.is_zero()),
        ),
        ErrorCode::BudgetExceeded => refused(FailureClass::Budget, None),
        ErrorCode::InsufficientResources => refused(FailureClass::NoAgent, None),
        ErrorCode::Unauthenticated | ErrorCode::PermissionDenied => refused(FailureClass::Auth, None),
        _ => refused(FailureClass::Rejected, None),
    }
}

/// A command on an execution that has ended asks for nothing.
fn unless_ended(answer: Result<impl Sized, Fault>, run: &Run) -> Result<(), EngineError> {
    match answer {
        Ok(_) => Ok(()),
        Err(fault) if fault.code == ErrorCode::InvalidState => Ok(()),
        Err(fault) => Err(error(fault, &run.id)),
    }
}

fn end(execution: Execution) -> Option<End> {
    Some(match execution.status {
        ExecutionStatus::Completed => End::Completed(execution.output.unwrap_or_else(Payload::null)),
        ExecutionStatus::Cancelled => End::Cancelled,
        ExecutionStatus::Terminated => End::Terminated("by an operator there".into()),
        ExecutionStatus::Failed | ExecutionStatus::Compensated => {
            let causes = execution.error_details.map(|details| details.causes).unwrap_or_default();
            let class = causes.last().and_then(|cause| FailureClass::parse(&cause.code));
            let said: Vec<_> = causes.into_iter().map(|cause| cause.message).collect();
            End::Failed { class: class.unwrap_or(FailureClass::Error), message: said.join("; ") }
        }
        _ => return None,
    })
}

#[async_trait]
impl Engine for Orchestra {
    fn capabilities(&self) -> Capabilities {
        SHIPPED.iter().find(|(name, _)| *name == NAME).map(|(_, can)| *can).unwrap_or_default()
    }

    async fn start(&self, start: &Start) -> Result<Run, EngineError> {
        let asked = match &start.work {
            Work::Workflow(name) => ClientStart::workflow(name),
            Work::Chain(chain) => ClientStart::inline(json!({"chain": chain}).to_string()),
            Work::Graph(graph) => ClientStart::inline(json!({"graph": graph}).to_string()),
        };
        let mut asked = asked.key(&start.id).payload(&start.input);
        if let Some(limit) = start.timeout {
            asked = asked.timeout(limit);
        }
        let started = self.client.start(&asked).await.map_err(|fault| match fault.code {
            // Not the run, the workflow is missing.
            ErrorCode::NotFound => EngineError::refused(fault.message),
            _ => error(fault, &start.id),
        })?;
        Ok(Run { id: start.id.clone(), run_id: started.execution_id })
    }

    async fn result(&self, run: &Run, wait: Duration) -> Result<Option<End>, EngineError> {
        match self.client.wait(&execution(run), Some(wait)).await {
            Ok(execution) => Ok(end(execution)),
            Err(fault) if fault.code == ErrorCode::Timeout => Ok(None),
            Err(fault) => Err(error(fault, &run.id)),
        }
    }

    async fn cancel(&self, run: &Run, reason: &str) -> Result<(), EngineError> {
        unless_ended(self.client.cancel(&execution(run), reason).await, run)
    }

    async fn terminate(&self, run: &Run, reason: &str) -> Result<(), EngineError> {
        unless_ended(self.client.terminate(&execution(run), reason).await, run)
    }

    async fn signal(&self, run: &Run, name: &str, payload: &Payload, id: &str) -> Result<(), EngineError> {
        let id = Some(id).filter(|id| !id.is_empty());
        match self.client.signal(&execution(run), name, payload, id).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.code == ErrorCode::InvalidState => Err(EngineError::NoRun(run.id.clone())),
            Err(fault) => Err(error(fault, &run.id)),
        }
    }

    async fn query(&self, run: &Run, name: &str, _arguments: &Payload) -> Result<Payload, EngineError> {
        let mut request = tonic::Request::new(QueryExecutionRequest {
            execution_id: execution(run),
            ..QueryExecutionRequest::default()
        });
        request.set_timeout(self.call_timeout);
        let mut control = ControlServiceClient::new(self.client.channel());
        let answer = control.query_execution(request).await;
        let answer = answer.map_err(|status| error(Fault::from_status(&status), &run.id))?.into_inner();
        if name != STATE {
            return Err(EngineError::refused(format!("{name:?} is no query here: ask for {STATE:?}")));
        }
        let vars: serde_json::Value = serde_json::from_str(&answer.vars_json).unwrap_or_default();
        let waits: Vec<_> = answer
            .waits
            .iter()
            .map(|w| json!({"task_id": w.task_id, "kind": w.kind, "what": w.what}))
            .collect();
        Ok(Payload::from_value(&json!({"status": answer.status, "vars": vars, "waits": waits})))
    }
}
