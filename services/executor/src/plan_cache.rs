//! Plans in memory.
//!
//! A version never changes, so `name@version` is cached for as long as there is room. A reference without a version
//! means the newest: it is asked for again, but many starts that arrive together share one question. A start sees
//! every version that was stored before it arrived.

use std::{sync::Arc, time::Instant};

use api::Fault;
use base::{CallContext, Tenant, WorkflowId};
use moka::future::Cache;
use tokio::sync::Mutex;

use crate::plans::{FoundPlan, PlanEntry, PlanSource};

/// Versions kept.
const VERSIONS_MAX: u64 = 10_000;

type Key = (Tenant, WorkflowId, Arc<str>);

#[derive(Default)]
struct Newest {
    asked_at: Option<Instant>,
    found: Option<Result<Arc<PlanEntry>, Fault>>,
}

pub(crate) struct PlanCache {
    source: Arc<dyn PlanSource>,
    versions: Cache<Key, Arc<PlanEntry>>,
    newest: Cache<(Tenant, Arc<str>), Arc<Mutex<Newest>>>,
}

impl PlanCache {
    pub(crate) fn new(source: Arc<dyn PlanSource>) -> Self {
        Self { source, versions: Cache::new(VERSIONS_MAX), newest: Cache::new(VERSIONS_MAX) }
    }

    /// A version that an execution runs.
    pub(crate) async fn version(
        &self,
        tenant: &Tenant,
        workflow: WorkflowId,
        version: &str,
    ) -> Result<Arc<PlanEntry>, Fault> {
        let key = (tenant.clone(), workflow, Arc::from(version));
        if let Some(found) = self.versions.get(&key).await {
            return Ok(found);
        }
        let context =
            CallContext { tenant: tenant.clone(), principal: "executor".into(), ..CallContext::default() };
        self.ask(&context, &format!("{workflow}@{version}"), None).await
    }

    /// What `workflow` means now: UUID, name or `name@version`.
    pub(crate) async fn newest(
        &self,
        context: &CallContext,
        workflow: &str,
    ) -> Result<Arc<PlanEntry>, Fault> {
        let arrived = Instant::now();
        let key = (context.tenant.clone(), Arc::from(workflow));
        let slot = self.newest.get_with(key, async { Arc::default() }).await;
        let mut slot = slot.lock().await;
        let fixed = workflow.contains('@') && matches!(slot.found, Some(Ok(_)));
        if let Some(found) =
            slot.found.as_ref().filter(|_| fixed || slot.asked_at.is_some_and(|at| at >= arrived))
        {
            return found.clone();
        }
        slot.asked_at = Some(Instant::now());
        // The plan itself travels once: from then on the question is whether it is still this one.
        let found = match &slot.found {
            Some(Ok(known)) if !known.edition.is_empty() => {
                match self.source.changed(context, workflow, &known.edition).await {
                    Ok(None) => Ok(known.clone()),
                    Ok(Some(other)) => self.compiled(context, other).await,
                    Err(fault) => Err(fault),
                }
            }
            _ => self.ask(context, workflow, None).await,
        };
        slot.found = Some(found.clone());
        found
    }

    /// An inline definition.
    pub(crate) async fn inline(
        &self,
        context: &CallContext,
        text: &str,
        format: &str,
    ) -> Result<Arc<PlanEntry>, Fault> {
        self.ask(context, "", Some((text, format))).await
    }

    /// The plan that a definition would have, as JSON. Nothing is stored, here neither.
    pub(crate) async fn draft(
        &self,
        context: &CallContext,
        text: &str,
        format: &str,
    ) -> Result<String, Fault> {
        Ok(self.source.draft(context, (text, format)).await?.plan_json)
    }

    async fn ask(
        &self,
        context: &CallContext,
        workflow: &str,
        inline: Option<(&str, &str)>,
    ) -> Result<Arc<PlanEntry>, Fault> {
        let found = self.source.plan(context, workflow, inline).await?;
        self.compiled(context, found).await
    }

    async fn compiled(&self, context: &CallContext, found: FoundPlan) -> Result<Arc<PlanEntry>, Fault> {
        let key = (context.tenant.clone(), found.workflow_id, Arc::from(found.version.as_str()));
        // A version is deleted only when no execution of it is active: one that was stored anew takes its place.
        if let Some(known) = self.versions.get(&key).await.filter(|known| *known.edition == *found.edition) {
            return Ok(known);
        }
        // Compiling is work of a definition's size: off the threads that carry the executions.
        let entry = tokio::task::spawn_blocking(move || PlanEntry::new(found)).await;
        let entry =
            entry.map_err(|_| Fault::new(base::ErrorCode::Internal, "the plan could not be compiled"))?;
        let entry = Arc::new(entry?);
        self.versions.insert(key, entry.clone()).await;
        Ok(entry)
    }
}
