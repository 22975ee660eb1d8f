//! Plans from the planner service.

use api::Fault;
use async_trait::async_trait;
use base::{CallContext, WorkflowId};
use proto::planner::internal::v1::{
    GetPlanRequest, GetPlanResponse, planner_internal_service_client::PlannerInternalServiceClient as Client,
};
use runtime::PeerChannel;

use crate::plans::{FoundPlan, PlanSource};

/// Largest plan that is taken, in bytes.
const PLAN_BYTES_MAX: usize = 512 << 20;

/// [`PlanSource`] over gRPC.
pub struct PlannerPlans {
    client: Client<PeerChannel>,
}

impl PlannerPlans {
    /// Asks the planner behind `peer`.
    pub fn new(peer: PeerChannel) -> Self {
        Self { client: Client::new(peer).max_decoding_message_size(PLAN_BYTES_MAX) }
    }
}

impl PlannerPlans {
    async fn ask(&self, context: &CallContext, request: GetPlanRequest) -> Result<GetPlanResponse, Fault> {
        let answer = self.client.clone().get_plan(runtime::call::request(context, request)).await;
        answer.map(tonic::Response::into_inner).map_err(|status| Fault::from_status(&status))
    }
}

fn found(answer: GetPlanResponse) -> Result<FoundPlan, Fault> {
    let GetPlanResponse { workflow_id, name, version, edition, plan_json, .. } = answer;
    let workflow_id: WorkflowId = workflow_id.parse().map_err(|_| Fault::internal())?;
    Ok(FoundPlan { workflow_id, name, version, edition, plan_json })
}

#[async_trait]
impl PlanSource for PlannerPlans {
    async fn plan(
        &self,
        context: &CallContext,
        workflow: &str,
        inline: Option<(&str, &str)>,
    ) -> Result<FoundPlan, Fault> {
        let (inline_source, inline_format) = inline.unwrap_or_default();
        let request = GetPlanRequest {
            r#ref: workflow.into(),
            inline_source: inline_source.into(),
            inline_format: inline_format.into(),
            ..GetPlanRequest::default()
        };
        found(self.ask(context, request).await?)
    }

    async fn draft(
        &self,
        context: &CallContext,
        (inline_source, inline_format): (&str, &str),
    ) -> Result<FoundPlan, Fault> {
        let request = GetPlanRequest {
            inline_source: inline_source.into(),
            inline_format: inline_format.into(),
            compile_only: true,
            ..GetPlanRequest::default()
        };
        found(self.ask(context, request).await?)
    }

    async fn changed(
        &self,
        context: &CallContext,
        workflow: &str,
        edition: &str,
    ) -> Result<Option<FoundPlan>, Fault> {
        let request = GetPlanRequest {
            r#ref: workflow.into(),
            known_edition: edition.into(),
            ..GetPlanRequest::default()
        };
        let answer = self.ask(context, request).await?;
        if answer.unchanged { Ok(None) } else { found(answer).map(Some) }
    }
}
