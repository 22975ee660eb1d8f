//! Hooks before a call leaves.
//!
//! The engine asks [`CallGate::guards`] for each ready call: a look into the local snapshot, without lock or IO, and free
//! when there is no hook at all. Only a call that a hook guards waits, and the answer of its hooks is on disk before the
//! call goes on: a replica that takes over finds it instead of running them again.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{AgentId, ExecutionId, Payload, Tenant, WorkflowId};
use catalog::Snapshot;
use hooks::{Occasion, Setting, Subject, Trigger, Verdict};
use serde_json::json;
use store::{
    StoreError,
    hooks::{Claim, NO_PARTITION, RequestRow},
};

use super::{Inner, runner::FIRST_CLAIM};

/// Pause before the store, or a request that another replica runs, is looked at again.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// A call that is about to leave.
#[derive(Clone, Debug)]
pub struct GateAsk {
    /// Whose it is.
    pub tenant: Tenant,
    /// The execution.
    pub execution: ExecutionId,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// Its name and version.
    pub workflow: String,
    /// The task's id, with the round of each loop and branch that it lies in.
    pub task: Arc<str>,
    /// Rises when the task is begun anew.
    pub generation: u32,
    /// For people.
    pub task_name: String,
    /// What to do, in words.
    pub instructions: String,
    /// The skill; empty = the agent decides.
    pub capability: String,
    /// Tags of the capability.
    pub tags: Vec<String>,
    /// The item of a scattered task.
    pub item: Option<u32>,
    /// What the agent would be sent.
    pub input: Payload,
}

/// What becomes of the call.
#[derive(Clone, Debug)]
pub enum Pass {
    /// It goes on, to this agent when that can take it.
    Go(Option<AgentId>),
    /// It is answered without an agent.
    Answer(Payload),
    /// It does not leave: the task fails with this message.
    Stop(String),
}

/// What stands before calls.
#[async_trait]
pub trait CallGate: Send + Sync + 'static {
    /// Whether there is anything to ask for, for any call.
    fn is_active(&self) -> bool;
    /// Whether a call of this capability waits for [`CallGate::ask`].
    fn guards(&self, tenant: &Tenant, tags: &[String]) -> bool;
    /// What becomes of a call. Waits as long as the store is away.
    async fn ask(&self, ask: GateAsk) -> Pass;
}

/// The tags that agents of the fleet give a capability.
pub fn tags_of(fleet: &Snapshot, capability: &str) -> Vec<String> {
    let mut tags: Vec<String> = fleet
        .offering(capability)
        .filter_map(|agent| agent.definition.capability(capability))
        .flat_map(|found| found.tags.iter().cloned())
        .collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// [`CallGate`] of the hooks.
pub(crate) struct Gate {
    inner: Arc<Inner>,
}

impl Gate {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    async fn at(&self, ask: &GateAsk, trigger: Trigger) -> Option<Verdict> {
        let occasion = occasion(ask, trigger, self.inner.options.payload_bytes_max, self.inner.clock.now());
        let hooks = self.inner.book.matcher().matching(&ask.tenant, &occasion);
        if hooks.is_empty() {
            return None;
        }
        let request = RequestRow {
            tenant: ask.tenant.clone(),
            request_id: occasion.id(),
            partition: NO_PARTITION,
            trigger: trigger.as_str().into(),
            execution_id: Some(ask.execution),
            task_id: Some(ask.task.to_string()),
            item: ask.item,
            hooks: hooks.iter().map(|hook| hook.id).collect(),
            document: occasion.document.to_string(),
            requested_at: occasion.at,
        };
        loop {
            match self.answer(&request).await {
                Ok(Some(verdict)) => return Some(verdict),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a call waits for its hooks; the store is away"),
            }
            tokio::select! {
                () = self.inner.stopped() => return std::future::pending().await,
                () = tokio::time::sleep(AGAIN_AFTER) => {}
            }
        }
    }

    /// `None`: another replica runs it; it is looked at again.
    async fn answer(&self, request: &RequestRow) -> Result<Option<Verdict>, StoreError> {
        let inner = &self.inner;
        match inner.store.request_and_claim(request, &inner.me, FIRST_CLAIM).await? {
            Claim::Busy | Claim::Gone => Ok(None),
            Claim::Done(verdict) => Ok(Some(serde_json::from_str(&verdict).unwrap_or_default())),
            Claim::Yours(request, ended) => {
                let Some(verdict) = inner.run_request(&request, &ended).await? else { return Ok(None) };
                inner.settle(&request, &verdict).await?;
                Ok(Some(verdict))
            }
        }
    }
}

#[async_trait]
impl CallGate for Gate {
    fn is_active(&self) -> bool {
        self.inner.book.is_active()
    }

    fn guards(&self, tenant: &Tenant, tags: &[String]) -> bool {
        let matcher = self.inner.book.matcher();
        Trigger::before(tags).any(|trigger| matcher.listens(tenant, trigger))
    }

    async fn ask(&self, ask: GateAsk) -> Pass {
        let mut set = Setting::default();
        for trigger in Trigger::before(&ask.tags) {
            let Some(verdict) = self.at(&ask, trigger).await else { continue };
            if let Some((hook, why)) = verdict.abort {
                return Pass::Stop(format!("hook {hook} ({}): {why}", trigger.as_str()));
            }
            set.merge(verdict.set);
        }
        if let Some(output) = set.output {
            return Pass::Answer(Payload::from_value(&output));
        }
        Pass::Go(set.agent.and_then(|agent| AgentId::new(agent).ok()))
    }
}

fn occasion(ask: &GateAsk, trigger: Trigger, bytes_max: usize, at: base::Timestamp) -> Occasion {
    let told = ask.input.len() <= bytes_max && ask.input.is_json();
    let input = if told { ask.input.json().map(|v| (*v).clone()) } else { None };
    let mut document = json!({
        "trigger": trigger,
        "at": at.rfc3339(),
        "execution": {"id": ask.execution, "workflow_id": ask.workflow_id, "workflow": ask.workflow},
        "task": {
            "id": &*ask.task,
            "name": ask.task_name,
            "instructions": ask.instructions,
            "capability": ask.capability,
            "tags": ask.tags,
            "item": ask.item,
        },
        "input": input,
    });
    if !told {
        document["input_omitted"] = true.into();
    }
    // The same call with the same input is the same occasion, after a restart and on another replica too.
    let key = format!("{}.{}", ask.generation, blake3::Hash::from(ask.input.hash()).to_hex());
    Occasion {
        trigger,
        subject: Subject {
            execution: Some(ask.execution),
            task: Some(ask.task.to_string()),
            item: ask.item,
            key,
        },
        at,
        document,
    }
}
