//! Plans from the planner service.

use api::Fault;
use async_trait::async_trait;
use base::{CallContext, WorkflowId};
use proto::planner::internal::v1::{
    GetPlanRequest, planner_internal_service_client::PlannerInternalServiceClient as Client,
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
            compile_only: false,
        };
        self.ask(context, request).await
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
        self.ask(context, request).await
    }
}

impl PlannerPlans {
    async fn ask(&self, context: &CallContext, request: GetPlanRequest) -> Result<FoundPlan, Fault> {
        let answer = self.client.clone().get_plan(runtime::call::request(context, request)).await;
        let found = answer.map_err(|status| Fault::from_status(&status))?.into_inner();
        let workflow_id: WorkflowId = found.workflow_id.parse().map_err(|_| Fault::internal())?;
        Ok(FoundPlan { workflow_id, name: found.name, version: found.version, plan_json: found.plan_json })
    }
}
