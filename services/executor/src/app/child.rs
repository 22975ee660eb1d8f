//! Starts whose plan and id are known: of sub-workflows and of forks.

use std::sync::Arc;

use api::Fault;
use async_trait::async_trait;
use base::{CallContext, ErrorCode, ExecutionId, Payload, WorkflowId};
use tokio::sync::oneshot;
use workflow::{Input, Parent, plan::Budget};

use super::{App, StartRequest};
use crate::{
    engine::{ChildOrder, Children, Start, Started, exclusive_key},
    plans::PlanEntry,
};

/// What is started.
pub(super) struct Launch {
    pub(super) id: ExecutionId,
    pub(super) plan: Arc<PlanEntry>,
    pub(super) input: Payload,
    pub(super) request_hash: Option<[u8; 32]>,
    /// What it takes over.
    pub(super) seed: Option<Input>,
    /// Of a sub-workflow.
    pub(super) settings: Option<(Parent, Budget)>,
}

impl App {
    /// Starts it; answered after its creation is on disk.
    pub(super) async fn launch(
        &self,
        context: &CallContext,
        request: StartRequest,
        launch: Launch,
    ) -> Result<Started, Fault> {
        let Launch { id, plan, input, request_hash, seed, settings } = launch;
        self.check_request(&request, &plan, &input)?;
        let allotted = self.allot(&plan).await?;
        let mut created = self.created(context, &request, &plan, input, &allotted);
        match (settings, &self.budgets) {
            // What its parent has left was given to it; the budgets of tenant and workflow hold for the first execution.
            (Some((parent, budget)), budgets) => {
                if let Some(budgets) = budgets {
                    budgets.join(&context.tenant, id, &created.workflow_name).await?;
                }
                (created.settings.parent, created.settings.budget) = (Some(Arc::new(parent)), budget);
            }
            (None, Some(budgets)) => created = budgets.admit(&context.tenant, id, created).await?,
            (None, None) => {}
        }
        let created = self.in_session(context, &request, &plan, id, created).await?;
        let exclusive = plan.exclusive().then(|| exclusive_key(plan.workflow_id));
        let (workflow_id, tenant) = (plan.workflow_id, context.tenant.clone());
        let (reply, started) = oneshot::channel();
        let start = Start { id, tenant, plan, created, request_hash, exclusive, seed, reply, ended: None };
        match self.engine.begin(start, started).await {
            Err(fault) if fault.code == ErrorCode::AlreadyExists => {
                let row = self.journal.get_execution(&context.tenant, id).await;
                let row = row.map_err(crate::engine::away)?;
                let same =
                    row.is_some_and(|row| row.request_hash.is_some() && row.request_hash == request_hash);
                if same {
                    Ok(Started { id, workflow_id, existing: true, queue_position: 0 })
                } else {
                    Err(fault)
                }
            }
            other => other,
        }
    }
}

#[async_trait]
impl Children for App {
    async fn start_child(&self, order: ChildOrder) -> Result<WorkflowId, Fault> {
        let ChildOrder { id, tenant, workflow, input, parent, budget, principal, trace, priority } = order;
        let context = CallContext { tenant, principal, trace, ..CallContext::default() };
        let request = StartRequest { workflow, priority, ..StartRequest::default() };
        let plan = self.engine.plan(&context, &request.workflow).await?;
        // The id belongs to one task of one execution: whoever has it is this start.
        let request_hash = Some(*blake3::hash(id.as_bytes()).as_bytes());
        let settings = Some((parent, budget));
        let launch = Launch { id, plan, input, request_hash, seed: None, settings };
        self.launch(&context, request, launch).await.map(|started| started.workflow_id)
    }
}
