//! Commands on running executions beyond pause, resume, cancel and terminate.

use base::Payload;
use proto::executor::v1::{
    self as wire, control_service_client::ControlServiceClient, decide_approval_request::Verdict,
};
use tonic::transport::Channel;

use super::{Client, CommandAnswer, Started};
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

/// Where an execution goes back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResetTo {
    /// These tasks of the plan run again.
    Tasks(Vec<String>),
    /// What began or ended after this checkpoint runs again.
    Checkpoint(String),
}

/// What runs again in the same execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Reset {
    /// From where.
    pub from: ResetTo,
    /// Another input of the execution; `None` = as it is.
    pub input: Option<Payload>,
    /// Kept in the history.
    pub reason: String,
}

impl Client {
    pub(super) fn control(&self) -> ControlServiceClient<Channel> {
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
        self.send_signal(execution, "", name, given, id).await
    }

    /// Sends a signal to the run that a provider makes of `task`; answered when the provider has it. With an `id` it is
    /// known again there, where the provider can; without one it is sent once and never repeated.
    ///
    /// # Errors
    /// `not_found`; `invalid_state` when the task runs at no provider now, or its provider takes no signals.
    pub async fn signal_run(
        &self,
        execution: &str,
        task: &str,
        name: &str,
        given: &Payload,
        id: Option<&str>,
    ) -> Result<CommandAnswer, Fault> {
        self.send_signal(execution, task, name, given, id).await
    }

    async fn send_signal(
        &self,
        execution: &str,
        task: &str,
        name: &str,
        given: &Payload,
        id: Option<&str>,
    ) -> Result<CommandAnswer, Fault> {
        let message = wire::SignalExecutionRequest {
            execution_id: execution.to_owned(),
            name: name.to_owned(),
            payload: Some(payload::to_wire(given)),
            id: id.unwrap_or_default().to_owned(),
            task_id: task.to_owned(),
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

    /// Has a task that has not begun driven by events of `topic`; without one by its edges alone.
    ///
    /// # Errors
    /// `not_found`, `invalid_state`, `invalid_argument`.
    pub async fn switch_mode(
        &self,
        execution: &str,
        task: &str,
        topic: Option<&str>,
    ) -> Result<CommandAnswer, Fault> {
        let message = wire::SwitchModeRequest {
            execution_id: execution.to_owned(),
            task_id: task.to_owned(),
            topic: topic.unwrap_or_default().to_owned(),
        };
        self.once(self.control().switch_mode(self.request(message))).await.map(CommandAnswer::of)
    }

    /// Lets what `reset` names run again in the same execution, with all that follows it.
    ///
    /// # Errors
    /// `not_found`; `invalid_state` once it has ended: fork it then; `invalid_argument`.
    pub async fn reset(&self, execution: &str, reset: &Reset) -> Result<CommandAnswer, Fault> {
        let (task_ids, checkpoint_id) = match &reset.from {
            ResetTo::Tasks(tasks) => (tasks.clone(), String::new()),
            ResetTo::Checkpoint(id) => (Vec::new(), id.clone()),
        };
        let message = wire::ResetExecutionRequest {
            execution_id: execution.to_owned(),
            task_ids,
            checkpoint_id,
            input: reset.input.as_ref().map(payload::to_wire),
            reason: reset.reason.clone(),
        };
        self.once(self.control().reset_execution(self.request(message))).await.map(CommandAnswer::of)
    }

    /// Starts a new execution that takes over what another one, running or ended, has done, except `tasks` and all that
    /// follows them; without tasks it takes over nothing. With a key it is repeated while the server is away, and happens
    /// once; without one it is sent once.
    ///
    /// # Errors
    /// Those of [`Client::start`]; `not_found`; `invalid_state` when the plan of the other one was changed.
    pub async fn fork(
        &self,
        execution: &str,
        tasks: &[String],
        input: Option<&Payload>,
        key: Option<&str>,
    ) -> Result<Started, Fault> {
        let message = wire::ForkExecutionRequest {
            execution_id: execution.to_owned(),
            task_ids: tasks.to_vec(),
            input: input.map(payload::to_wire),
            key: key.unwrap_or_default().to_owned(),
        };
        let call = || async { self.control().fork_execution(self.request(message.clone())).await };
        let answer = if key.is_some() { self.safely(call).await? } else { self.once(call()).await? };
        Ok(Started::of(answer))
    }
}
