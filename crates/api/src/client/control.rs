//! Commands on running executions beyond pause, resume, cancel and terminate.

use base::Payload;
use proto::executor::v1::{
    self as wire, control_service_client::ControlServiceClient, decide_approval_request::Verdict,
};
use tonic::transport::Channel;

use super::{Client, CommandAnswer};
use crate::{Fault, payload};

/// What a person decides about an approval.
#[derive(Clone, Debug, PartialEq)]
pub enum ApprovalDecision {
    /// It goes on.
    Approve,
    /// The task fails with class `rejected`.
    Reject,
    /// The form is filled in; checked against its schema.
    Answer(Payload),
}

impl Client {
    fn control(&self) -> ControlServiceClient<Channel> {
        let max = self.options.message_bytes_max;
        ControlServiceClient::new(self.channel())
            .max_decoding_message_size(max)
            .max_encoding_message_size(max)
    }

    /// Sends a signal; it is kept until a task takes it. With an `id` it is known again and counts once; without one it is
    /// sent once and never repeated.
    ///
    /// # Errors
    /// `not_found`; `invalid_state` when the execution has ended; `resource_exhausted` when too many wait to be taken.
    pub async fn signal(
        &self,
        execution: &str,
        name: &str,
        given: &Payload,
        id: Option<&str>,
    ) -> Result<CommandAnswer, Fault> {
        let message = wire::SignalExecutionRequest {
            execution_id: execution.to_owned(),
            name: name.to_owned(),
            payload: Some(payload::to_wire(given)),
            id: id.unwrap_or_default().to_owned(),
            ..Default::default()
        };
        let call = || async { self.control().signal_execution(self.request(message.clone())).await };
        let answer = if id.is_some() { self.safely(call).await? } else { self.once(call()).await? };
        Ok(CommandAnswer::of(answer))
    }

    /// Sets variables, an object by name; those that are not named stay.
    ///
    /// # Errors
    /// `not_found`, `invalid_argument`, `invalid_state`.
    pub async fn set_variables(&self, execution: &str, vars: &Payload) -> Result<CommandAnswer, Fault> {
        let message = wire::UpdateVariablesRequest {
            execution_id: execution.to_owned(),
            vars: Some(payload::to_wire(vars)),
        };
        let call = || async { self.control().update_variables(self.request(message.clone())).await };
        self.safely(call).await.map(CommandAnswer::of)
    }

    /// Decides the approval that `task` asks for. The first answer counts, a later one changes nothing.
    ///
    /// # Errors
    /// `not_found`, `invalid_state`, `permission_denied`, `invalid_argument` when the form breaks its schema.
    pub async fn decide(
        &self,
        execution: &str,
        task: &str,
        decision: &ApprovalDecision,
        comment: &str,
    ) -> Result<CommandAnswer, Fault> {
        let (verdict, form) = match decision {
            ApprovalDecision::Approve => (Verdict::Approved, None),
            ApprovalDecision::Reject => (Verdict::Rejected, None),
            ApprovalDecision::Answer(form) => (Verdict::Answered, Some(payload::to_wire(form))),
        };
        let message = wire::DecideApprovalRequest {
            execution_id: execution.to_owned(),
            task_id: task.to_owned(),
            verdict: verdict.into(),
            comment: comment.to_owned(),
            form,
        };
        let call = || async { self.control().decide_approval(self.request(message.clone())).await };
        self.safely(call).await.map(CommandAnswer::of)
    }

    /// Lets a step go on; without a task the one that waits longest.
    ///
    /// # Errors
    /// `not_found`, `invalid_state`.
    pub async fn grant_step(&self, execution: &str, task: Option<&str>) -> Result<CommandAnswer, Fault> {
        let message = wire::GrantStepRequest {
            execution_id: execution.to_owned(),
            task_id: task.unwrap_or_default().to_owned(),
        };
        self.once(self.control().grant_step(self.request(message))).await.map(CommandAnswer::of)
    }
}
