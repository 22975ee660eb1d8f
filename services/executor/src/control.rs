//! The public contract of commands on running executions: decode, ask, encode.

use api::{Fault, payload};
use base::{ErrorCode, ExecutionId};
use proto::executor::v1::{
    self as pb, control_service_server::ControlService, decide_approval_request::Verdict as WireVerdict,
};
use runtime::call;
use tonic::{Request, Response, Status, metadata::MetadataMap};
use workflow::Verdict;

use crate::{
    app::{ForkRequest, NewPlan, Revision},
    engine::{Command, Commanded, WaitView},
    grpc::{Executor, commanded, id_of},
    wire,
};

type Answer<T> = Result<Response<T>, Status>;

/// The door of commands. The rest of the executor's own door stands behind it.
#[derive(Clone)]
pub struct Control(Executor);

impl Control {
    /// Steers what `executor` serves.
    pub fn new(executor: Executor) -> Self {
        Self(executor)
    }

    fn owner(
        &self,
        id: ExecutionId,
        metadata: &MetadataMap,
    ) -> Option<pb::control_service_client::ControlServiceClient<runtime::PeerChannel>> {
        let channel = self.0.forward.owner_channel(id, metadata)?;
        let max = self.0.forward.bytes_max();
        let client = pb::control_service_client::ControlServiceClient::new(channel);
        Some(client.max_decoding_message_size(max).max_encoding_message_size(max))
    }
}

/// Passes a call on when the execution is another replica's.
macro_rules! passed_on {
    ($self:ident, $request:ident, $context:ident, $method:ident) => {
        let id = id_of(&$request.get_ref().execution_id)?;
        if let Some(mut owner) = $self.owner(id, $request.metadata()) {
            return owner.$method($self.0.forward.request(&$context, $request.into_inner(), None)).await;
        }
    };
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[tonic::async_trait]
impl ControlService for Control {
    async fn signal_execution(
        &self,
        request: Request<pb::SignalExecutionRequest>,
    ) -> Answer<pb::CommandExecutionResponse> {
        let context = call::context(&request);
        passed_on!(self, request, context, signal_execution);
        let r = request.into_inner();
        let payload = match r.payload {
            Some(given) => payload::from_wire(Some(given), "payload")?,
            None => base::Payload::null(),
        };
        if !r.task_id.is_empty() {
            let (id, app) = (id_of(&r.execution_id)?, &self.0.app);
            app.signal_run(&context, (id, &r.task_id), (&r.name, &payload), &r.id).await?;
            let status = app.view(&context, id, None, false).await?.status;
            return Ok(Response::new(commanded(id, &Commanded { status, checkpoint: None })));
        }
        let command = Command::Signal { name: r.name, payload, id: r.id };
        self.0.steer(&context, &r.execution_id, command).await
    }

    async fn update_variables(
        &self,
        request: Request<pb::UpdateVariablesRequest>,
    ) -> Answer<pb::CommandExecutionResponse> {
        let context = call::context(&request);
        passed_on!(self, request, context, update_variables);
        let r = request.into_inner();
        let vars = payload::from_wire(r.vars, "vars")?;
        self.0.steer(&context, &r.execution_id, Command::SetVars { vars }).await
    }

    async fn decide_approval(
        &self,
        request: Request<pb::DecideApprovalRequest>,
    ) -> Answer<pb::CommandExecutionResponse> {
        let context = call::context(&request);
        passed_on!(self, request, context, decide_approval);
        let r = request.into_inner();
        let verdict = match r.verdict() {
            WireVerdict::Unspecified => {
                return Err(Fault::bad("verdict", "give approved, rejected or answered").into());
            }
            WireVerdict::Approved => Verdict::Approved,
            WireVerdict::Rejected => Verdict::Rejected,
            WireVerdict::Answered => Verdict::Answered,
        };
        let form = r.form.map(|form| payload::from_wire(Some(form), "form")).transpose()?;
        let command =
            Command::Approve { task: r.task_id, verdict, names: Vec::new(), comment: r.comment, form };
        self.0.steer(&context, &r.execution_id, command).await
    }

    async fn list_approvals(
        &self,
        request: Request<pb::ListApprovalsRequest>,
    ) -> Answer<pb::ListApprovalsResponse> {
        let context = call::context(&request);
        Ok(Response::new(self.0.app.approvals(&context, request.into_inner()).await?))
    }

    async fn grant_step(
        &self,
        request: Request<pb::GrantStepRequest>,
    ) -> Answer<pb::CommandExecutionResponse> {
        let context = call::context(&request);
        passed_on!(self, request, context, grant_step);
        let r = request.into_inner();
        self.0.steer(&context, &r.execution_id, Command::Grant { task: filled(r.task_id) }).await
    }

    async fn reset_execution(
        &self,
        request: Request<pb::ResetExecutionRequest>,
    ) -> Answer<pb::CommandExecutionResponse> {
        let context = call::context(&request);
        passed_on!(self, request, context, reset_execution);
        let r = request.into_inner();
        let id = id_of(&r.execution_id)?;
        let seq = match (r.task_ids.is_empty(), r.checkpoint_id.as_str()) {
            (true, "") => return Err(Fault::bad("task_ids", "name tasks, or give checkpoint_id").into()),
            (false, "") => 0,
            (true, checkpoint) => self.0.app.checkpoint_seq(&context, id, checkpoint).await?,
            (false, _) => {
                return Err(Fault::bad("checkpoint_id", "give task_ids or a checkpoint, not both").into());
            }
        };
        let input = r.input.map(|input| payload::from_wire(Some(input), "input")).transpose()?;
        let command = Command::Reset { tasks: r.task_ids, seq, input, reason: r.reason };
        self.0.steer(&context, &r.execution_id, command).await
    }

    async fn fork_execution(
        &self,
        request: Request<pb::ForkExecutionRequest>,
    ) -> Answer<pb::StartExecutionResponse> {
        let context = call::context(&request);
        let from = id_of(&request.get_ref().execution_id)?;
        let key = request.get_ref().key.clone();
        if !key.is_empty()
            && let Some(mut owner) =
                self.owner(ExecutionId::from_key(&context.tenant, &key), request.metadata())
        {
            return owner.fork_execution(self.0.forward.request(&context, request.into_inner(), None)).await;
        }
        let r = request.into_inner();
        let fork = ForkRequest {
            tasks: r.task_ids,
            input: r.input.map(|input| payload::from_wire(Some(input), "input")).transpose()?,
            own_id: key.is_empty().then(|| self.0.draw()).flatten(),
            key,
        };
        let started = self.0.app.fork(&context, from, fork).await?;
        Ok(Response::new(pb::StartExecutionResponse {
            execution_id: started.id.to_string(),
            workflow_id: started.workflow_id.to_string(),
            status: "planning".into(),
            existing: started.existing,
            queue_position: started.queue_position,
            ..pb::StartExecutionResponse::default()
        }))
    }

    async fn change_plan(&self, request: Request<pb::ChangePlanRequest>) -> Answer<pb::ChangePlanResponse> {
        let context = call::context(&request);
        passed_on!(self, request, context, change_plan);
        let r = request.into_inner();
        let id = id_of(&r.execution_id)?;
        let wanted = new_plan(&r)?;
        let preview = self.0.app.preview_change(&context, id, &wanted).await?;
        let mut answer = pb::ChangePlanResponse {
            execution_id: r.execution_id.clone(),
            revision: preview.revision,
            added: preview.diff.added,
            removed: preview.diff.removed,
            changed: preview.diff.changed,
            refused: preview.refused.iter().map(refusal).collect(),
        };
        if r.dry_run {
            return Ok(Response::new(answer));
        }
        let command = Command::ChangePlan { plan: preview.plan, reason: r.reason };
        self.0.steer(&context, &r.execution_id, command).await?;
        answer.refused.clear();
        answer.revision = self.0.app.view(&context, id, None, false).await?.revision();
        Ok(Response::new(answer))
    }

    async fn list_revisions(
        &self,
        request: Request<pb::ListRevisionsRequest>,
    ) -> Answer<pb::ListRevisionsResponse> {
        let context = call::context(&request);
        let id = id_of(&request.get_ref().execution_id)?;
        let known = self.0.app.revisions(&context, id).await?;
        let shown = |r: Revision| pb::Revision {
            revision: r.number,
            by: r.by.to_string(),
            reason: r.reason.to_string(),
            at: r.at.rfc3339(),
            tasks: r.tasks,
        };
        Ok(Response::new(pb::ListRevisionsResponse { revisions: known.into_iter().map(shown).collect() }))
    }

    async fn switch_mode(
        &self,
        request: Request<pb::SwitchModeRequest>,
    ) -> Answer<pb::CommandExecutionResponse> {
        let context = call::context(&request);
        passed_on!(self, request, context, switch_mode);
        let r = request.into_inner();
        let command = Command::SwitchMode { task: r.task_id, topic: filled(r.topic) };
        self.0.steer(&context, &r.execution_id, command).await
    }

    async fn query_execution(
        &self,
        request: Request<pb::QueryExecutionRequest>,
    ) -> Answer<pb::QueryExecutionResponse> {
        let context = call::context(&request);
        passed_on!(self, request, context, query_execution);
        let r = request.into_inner();
        let view = self.0.app.view(&context, id_of(&r.execution_id)?, None, true).await?;
        if !r.task_id.is_empty() && view.task_state(&r.task_id).is_none() {
            return Err(Fault::not_found("task", &r.task_id).field("task_id").into());
        }
        let answer = match r.query.as_str() {
            "" => None,
            query => {
                let arguments = payload::from_wire(r.arguments, "arguments")?;
                let of = (id_of(&r.execution_id)?, r.task_id.as_str());
                let answer = self.0.app.query_run(&context, of, (query, &arguments)).await?;
                Some(payload::to_wire(&answer))
            }
        };
        let budget = view.budget();
        Ok(Response::new(pb::QueryExecutionResponse {
            execution_id: r.execution_id,
            status: view.status().as_str().into(),
            vars_json: view.vars().map_or_else(String::new, ToString::to_string),
            waits: view.waits().iter().map(wait).collect(),
            output: view.task_output(&r.task_id).map(payload::to_wire),
            answer,
            revision: view.revision(),
            spent: Some(wire::spending(view.spent())),
            budget: Some(wire::spending(budget)),
            stuck: wire::stuck(&view),
            parent_execution_id: view.parent().map_or_else(String::new, |id| id.to_string()),
        }))
    }
}

/// The plan that is asked for, in exactly one of its forms.
fn new_plan(r: &pb::ChangePlanRequest) -> Result<NewPlan, Fault> {
    let [plan, workflow, definition] = [&r.plan_json, &r.workflow, &r.definition].map(|t| filled(t.clone()));
    match (plan, r.revert_to, workflow, definition) {
        (Some(plan), None, None, None) => Ok(NewPlan::Compiled(plan)),
        (None, Some(number), None, None) => Ok(NewPlan::Revision(number)),
        (None, None, Some(workflow), None) => Ok(NewPlan::Workflow(workflow)),
        (None, None, None, Some(text)) => Ok(NewPlan::Definition(text, r.format.clone())),
        _ => Err(Fault::bad("plan_json", "give exactly one of plan_json, revert_to, workflow, definition")),
    }
}

fn refusal(fault: &Fault) -> pb::PlanRefusal {
    pb::PlanRefusal {
        code: fault.code.as_str().into(),
        field: fault.field.clone(),
        message: fault.message.clone(),
        task_id: match fault.code {
            ErrorCode::Conflict => fault.related.first().cloned().unwrap_or_default(),
            _ => String::new(),
        },
    }
}

fn wait(w: &WaitView) -> pb::Wait {
    pb::Wait {
        task_id: w.task.clone(),
        kind: w.kind.into(),
        what: w.what.clone(),
        key: w.key.clone().unwrap_or_default(),
        since: w.since.map(base::Timestamp::rfc3339).unwrap_or_default(),
        until: w.until.map(base::Timestamp::rfc3339).unwrap_or_default(),
        who: w.who.clone(),
        schema_json: w.schema.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}
