//! Starts.

use std::{sync::Arc, time::Duration};

use api::Fault;
use base::{CallContext, ErrorCode, ExecutionId, Payload, units::Resources};
use tokio::sync::oneshot;
use workflow::Created;

use crate::{
    engine::{ExecutionView, Start, exclusive_key},
    plans::{Allotted, PlanEntry},
};

use super::App;

/// How long a start waits for an agent that was registered a moment ago to be known here.
const FLEET_GRACE: Duration = Duration::from_secs(1);

/// Longest correlation id.
const CORRELATION_BYTES_MAX: usize = 128;

/// A start as it is asked for.
#[derive(Clone, Debug, Default)]
pub struct StartRequest {
    /// UUID, name or `name@version`; empty with `inline`.
    pub workflow: String,
    /// A definition and its format, to run as it stands.
    pub inline: Option<(String, String)>,
    /// Input; `None` = `null`.
    pub input: Option<Payload>,
    /// Drawn by the caller; empty = drawn here.
    pub execution_id: String,
    /// The caller's own key; wins.
    pub key: String,
    /// Higher runs first.
    pub priority: i32,
    /// Of the whole execution.
    pub timeout: Option<Duration>,
    /// Named policy for every task; empty = the tasks' own.
    pub retry_policy: String,
    /// Calls at once; 0 = no limit.
    pub max_agents: u32,
    /// 0 = no limit.
    pub max_cpu_millis: u64,
    /// 0 = no limit.
    pub max_memory_bytes: u64,
    /// JSON text.
    pub metadata_json: String,
    /// Wait for the end this long.
    pub wait: Option<Duration>,
    /// Session that it belongs to; empty = what the workflow says, else none.
    pub session_id: String,
    /// Ties it to other work of the caller; empty = none. Not part of the request's hash.
    pub correlation_id: String,
    /// The id to use when the caller gives neither id nor key; `None` = drawn here.
    pub own_id: Option<ExecutionId>,
}

/// A start that is on disk.
#[derive(Clone, Debug)]
pub struct StartOutcome {
    /// The execution.
    pub id: ExecutionId,
    /// Its workflow.
    pub workflow_id: base::WorkflowId,
    /// It was there already.
    pub existing: bool,
    /// Place in the start queue; 0 = running.
    pub queue_position: u32,
    /// Candidates of the pre-check.
    pub candidates: Vec<Arc<str>>,
    /// When it ended within the wait.
    pub ended: Option<Arc<ExecutionView>>,
}

impl App {
    /// Starts an execution. Answered after its creation is on disk.
    pub async fn start(&self, context: &CallContext, request: StartRequest) -> Result<StartOutcome, Fault> {
        let plan = match &request.inline {
            Some((text, format)) => self.engine.inline_plan(context, text, format).await?,
            None if request.workflow.is_empty() => {
                return Err(Fault::bad("workflow", "name a workflow, or give a definition"));
            }
            None => self.engine.plan(context, &request.workflow).await?,
        };
        let input = request.input.clone().unwrap_or_else(Payload::null);
        self.check_request(&request, &plan, &input)?;
        let allotted = self.allot(&plan).await?;
        let (id, hash) = identity(context, &request, &plan, &input)?;
        let created = self.created(context, &request, &plan, input, &allotted);
        let exclusive = plan.exclusive().then(|| exclusive_key(plan.workflow_id));
        let (reply, started) = oneshot::channel();
        let (ended, end) = match request.wait {
            Some(wait) => {
                let (tx, rx) = oneshot::channel();
                (Some(tx), Some((wait, rx)))
            }
            None => (None, None),
        };
        let created = match &self.budgets {
            Some(budgets) => budgets.admit(&context.tenant, id, created).await?,
            None => created,
        };
        let created = self.in_session(context, &request, &plan, id, created).await?;
        let (tenant, workflow_id) = (context.tenant.clone(), plan.workflow_id);
        let start =
            Start { id, tenant, plan, created, request_hash: hash, exclusive, seed: None, reply, ended };
        let begun = self.engine.begin(start, started).await;
        let started = match begun {
            Ok(started) => started,
            Err(fault) if fault.code == ErrorCode::AlreadyExists => {
                return self.existing(context, id, hash, request.wait, fault).await;
            }
            Err(mut fault) => {
                // Two starts in the same moment: the store may know the winner only by now.
                if fault.code == ErrorCode::AlreadyExecuting && fault.related.is_empty() {
                    let active = self.journal.active_of_workflow(&context.tenant, workflow_id, 1).await;
                    let winner = active.map_err(crate::engine::away)?.pop();
                    fault.related.extend(winner.map(|row| row.execution_id.to_string()));
                }
                return Err(fault);
            }
        };
        let ended = match end {
            Some((wait, end)) => tokio::time::timeout(wait, end).await.ok().and_then(Result::ok),
            None => None,
        };
        Ok(StartOutcome {
            id,
            workflow_id: started.workflow_id,
            existing: started.existing,
            queue_position: started.queue_position,
            candidates: allotted.candidates.clone(),
            ended,
        })
    }

    /// The id is taken: by the same request (an earlier try of this start), or by another.
    async fn existing(
        &self,
        context: &CallContext,
        id: ExecutionId,
        hash: Option<[u8; 32]>,
        wait: Option<Duration>,
        taken: Fault,
    ) -> Result<StartOutcome, Fault> {
        let row = self.journal.get_execution(&context.tenant, id).await.map_err(crate::engine::away)?;
        let row = row.filter(|row| row.request_hash.is_some() && row.request_hash == hash).ok_or(taken)?;
        let ended = match wait {
            Some(wait) => {
                Some(self.view(context, id, Some(wait), true).await?).filter(|view| view.status.is_final())
            }
            None => None,
        };
        Ok(StartOutcome {
            id,
            workflow_id: row.workflow_id,
            existing: true,
            queue_position: 0,
            candidates: Vec::new(),
            ended,
        })
    }

    pub(super) fn check_request(
        &self,
        request: &StartRequest,
        plan: &PlanEntry,
        input: &Payload,
    ) -> Result<(), Fault> {
        let dialect = plan.compiled.plan().metadata.get("dialect").and_then(|dialect| dialect.as_str());
        let dialect = match dialect {
            Some("chain") => language::Dialect::Chain,
            Some("graph") => language::Dialect::Graph,
            _ => language::Dialect::Canonical,
        };
        if let Some((what, setting)) = self.kinds.refuses(dialect) {
            return Err(Fault::new(ErrorCode::InvalidState, format!("{what} are switched off ({setting})")));
        }
        let max = self.defaults.payload_bytes_max;
        if input.len() > max {
            let text =
                format!("the input has {} bytes, the limit is {max} (executor.payload_max)", input.len());
            return Err(Fault::new(ErrorCode::PayloadTooLarge, text).field("input"));
        }
        if !request.retry_policy.is_empty() && self.defaults.retry.named(&request.retry_policy).is_none() {
            let known = "exponential_backoff, linear, fixed or none";
            return Err(Fault::bad(
                "retry_policy",
                format!("{:?} is not one of {known}", request.retry_policy),
            ));
        }
        if !request.metadata_json.is_empty()
            && !serde_json::from_str::<serde_json::Value>(&request.metadata_json).is_ok_and(|v| v.is_object())
        {
            return Err(Fault::bad("metadata", "must be a JSON object"));
        }
        check_correlation(&request.correlation_id)?;
        plan.check_input(input)?;
        within_constraints(request, plan)
    }

    /// Agents for every task; refuses what the fleet can never give.
    pub(super) async fn allot(&self, plan: &Arc<PlanEntry>) -> Result<Arc<Allotted>, Fault> {
        let deadline = tokio::time::Instant::now() + FLEET_GRACE;
        loop {
            let fleet = self.engine.fleet();
            match plan.allot(&fleet).await {
                Ok(found) => return Ok(found),
                Err(fault) if tokio::time::Instant::now() >= deadline => return Err(fault),
                // The registry's news may be on its way.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    pub(super) fn created(
        &self,
        context: &CallContext,
        request: &StartRequest,
        plan: &PlanEntry,
        input: Payload,
        allotted: &Allotted,
    ) -> Created {
        let limits = &plan.compiled.plan().limits;
        Created {
            workflow_id: plan.workflow_id,
            workflow_name: plan.name.clone(),
            workflow_version: plan.version.clone(),
            input,
            priority: request.priority,
            timeout: request.timeout.or(limits.timeout).unwrap_or(self.defaults.timeout),
            retry_policy: request.retry_policy.as_str().into(),
            max_agents: request.max_agents,
            max_cpu_millis: request.max_cpu_millis,
            max_memory_bytes: request.max_memory_bytes,
            metadata_json: request.metadata_json.as_str().into(),
            checkpoint_every: self.defaults.checkpoint_every,
            allocation_timeout: self.defaults.allocation_timeout,
            trace: context.trace.as_str().into(),
            correlation_id: request.correlation_id.as_str().into(),
            principal: context.principal.as_str().into(),
            candidates: allotted.candidates.clone(),
            estimated: allotted.estimated,
            default_retry: self.defaults.retry.clone(),
            settings: workflow::Settings {
                event_ttl: self.defaults.event_ttl,
                saga_timeout: self.defaults.compensation_timeout,
                ..workflow::Settings::default()
            },
        }
    }
}

/// The execution's id, and the request's hash when the caller chose it.
fn identity(
    context: &CallContext,
    request: &StartRequest,
    plan: &PlanEntry,
    input: &Payload,
) -> Result<(ExecutionId, Option<[u8; 32]>), Fault> {
    let id = if !request.key.is_empty() {
        if request.key.len() > 256 {
            return Err(Fault::bad("key", "is longer than 256 bytes"));
        }
        ExecutionId::from_key(&context.tenant, &request.key)
    } else if !request.execution_id.is_empty() {
        request.execution_id.parse().map_err(|e: base::BadId| Fault::bad("execution_id", e))?
    } else {
        return Ok((request.own_id.unwrap_or_else(|| ExecutionId::new(uuid::Uuid::now_v7())), None));
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(plan.workflow_id.as_bytes()).update(&input.hash()).update(&request.priority.to_le_bytes());
    for part in [&request.retry_policy, &request.metadata_json] {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    let numbers = [
        request.timeout.map_or(0, |t| t.as_micros() as u64),
        u64::from(request.max_agents),
        request.max_cpu_millis,
        request.max_memory_bytes,
    ];
    // Only where there is one: earlier starts keep their hash.
    if !request.session_id.is_empty() {
        hasher.update(b"session").update(request.session_id.as_bytes());
    }
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    Ok((id, Some(*hasher.finalize().as_bytes())))
}

fn check_correlation(id: &str) -> Result<(), Fault> {
    match id.len() <= CORRELATION_BYTES_MAX && id.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(()),
        false => {
            let rule =
                format!("must be at most {CORRELATION_BYTES_MAX} visible ASCII characters, without spaces");
            Err(Fault::bad("correlation_id", rule))
        }
    }
}

/// What the start's own constraints can never give.
fn within_constraints(request: &StartRequest, plan: &PlanEntry) -> Result<(), Fault> {
    let room = Resources {
        cpu_millis: if request.max_cpu_millis == 0 { u64::MAX } else { request.max_cpu_millis },
        memory_bytes: if request.max_memory_bytes == 0 { u64::MAX } else { request.max_memory_bytes },
        network_mbps: u64::MAX,
    };
    match plan.compiled.plan().tasks.iter().find(|task| !task.resources.fits(&room)) {
        None => Ok(()),
        Some(task) => {
            let wants = &task.resources;
            let text = format!(
                "task {} needs {} and {}, resource_constraints allow less",
                task.id,
                base::units::show_cpu(wants.cpu_millis),
                base::units::show_memory(wants.memory_bytes)
            );
            Err(Fault::new(ErrorCode::InsufficientResources, text).field("resource_constraints"))
        }
    }
}
