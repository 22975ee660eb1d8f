//! Starts and cancels of our own, wherever their executions are looked after.

use api::Fault;
use async_trait::async_trait;
use base::{CallContext, ErrorCode, ExecutionId};
use proto::executor::v1::{
    self as pb, command_execution_request::Command, executor_service_server::ExecutorService,
};
use tonic::Request;

use crate::grpc::Executor;

/// Starts and cancels executions of any shard. A trait so that tests need no network.
#[async_trait]
pub trait Starts: Send + Sync + 'static {
    /// Starts an execution; answered when it is on disk. The same request again finds the same execution.
    ///
    /// # Errors
    /// Those of a start.
    async fn start(&self, context: &CallContext, request: pb::StartExecutionRequest) -> Result<(), Fault>;
    /// Cancels an execution; one that has ended is no error.
    ///
    /// # Errors
    /// When its owner cannot be reached.
    async fn cancel(&self, context: &CallContext, id: ExecutionId, reason: &str) -> Result<(), Fault>;
}

fn own<T>(context: &CallContext, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(context.clone());
    request
}

/// Through the replica's own door, which passes on what another replica owns.
#[async_trait]
impl Starts for Executor {
    async fn start(&self, context: &CallContext, request: pb::StartExecutionRequest) -> Result<(), Fault> {
        let started = self.start_execution(own(context, request)).await;
        started.map(drop).map_err(|status| Fault::from_status(&status))
    }

    async fn cancel(&self, context: &CallContext, id: ExecutionId, reason: &str) -> Result<(), Fault> {
        let message = pb::CommandExecutionRequest {
            execution_id: id.to_string(),
            command: Command::Cancel.into(),
            reason: reason.to_owned(),
        };
        match self.command_execution(own(context, message)).await {
            Ok(_) => Ok(()),
            Err(status) => match Fault::from_status(&status) {
                fault if matches!(fault.code, ErrorCode::InvalidState | ErrorCode::NotFound) => Ok(()),
                fault => Err(fault),
            },
        }
    }
}

/// Whether an execution with this id is there: a repeated start whose request reads differently by now (the trigger was
/// changed meanwhile) is still the same start.
pub(crate) fn made(outcome: Result<(), Fault>) -> Result<(), Fault> {
    match outcome {
        Err(fault) if fault.code == ErrorCode::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Whether trying again later may help without any change.
pub(crate) fn passes(fault: &Fault) -> bool {
    fault.code.is_retryable() || fault.code == ErrorCode::NotOwner
}
