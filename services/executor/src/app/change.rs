//! Live change and forks: what would change, what is refused and why, and executions that go on from another one.

use std::{collections::BTreeMap, sync::Arc};

use api::Fault;
use base::{CallContext, CheckpointId, ErrorCode, ExecutionId, Payload, Timestamp};
use workflow::{Input, Kind, Seed, State, plan::TaskPlan};

use super::{App, StartRequest, child::Launch};
use crate::{
    engine::{Command, Started, away, compiled, input_of, refused},
    plans::PlanEntry,
};

/// What another plan would change.
#[derive(Clone, Debug, Default)]
pub struct PlanDiff {
    /// Tasks that are new.
    pub added: Vec<String>,
    /// Tasks that are gone.
    pub removed: Vec<String>,
    /// Tasks that are not the same.
    pub changed: Vec<String>,
}

/// The plan that an execution is to go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPlan {
    /// The whole plan as JSON.
    Compiled(String),
    /// That of an earlier revision.
    Revision(u32),
    /// That of a stored workflow.
    Workflow(String),
    /// That of a definition: text and format. Nothing is stored.
    Definition(String, String),
}

/// A change of plan before it is made.
#[derive(Clone, Debug)]
pub struct PlanPreview {
    /// What would change.
    pub diff: PlanDiff,
    /// Why it would be refused.
    pub refused: Option<Fault>,
    /// Of the plan that holds now.
    pub revision: u32,
    /// The whole new plan as JSON.
    pub plan: Payload,
}

/// A plan that an execution had.
#[derive(Clone, Debug)]
pub struct Revision {
    /// From 0, the plan of the workflow's version.
    pub number: u32,
    /// Who changed it.
    pub by: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// Tasks of the plan itself.
    pub tasks: u32,
    plan: Payload,
}

/// A fork as it is asked for.
#[derive(Clone, Debug, Default)]
pub struct ForkRequest {
    /// Tasks that run again, with all that follows them; empty = nothing is taken over.
    pub tasks: Vec<String>,
    /// Another input.
    pub input: Option<Payload>,
    /// The caller's own key.
    pub key: String,
    /// The id to use without a key; `None` = drawn here.
    pub own_id: Option<ExecutionId>,
}

impl App {
    /// What a change of plan would do. Nothing is stored.
    ///
    /// # Errors
    /// `not_found` (execution, revision, workflow); `invalid_definition` when the plan does not compile.
    pub async fn preview_change(
        &self,
        context: &CallContext,
        id: ExecutionId,
        wanted: &NewPlan,
    ) -> Result<PlanPreview, Fault> {
        let (entry, mut state) = self.folded_with_plan(context, id).await?;
        let plan = match wanted {
            NewPlan::Compiled(text) => Payload::json_text(text.clone()),
            NewPlan::Revision(number) => {
                let known = self.revisions(context, id).await?;
                let found = known.into_iter().find(|revision| revision.number == *number);
                found.ok_or_else(|| Fault::not_found("revision", number).field("revert_to"))?.plan
            }
            NewPlan::Workflow(reference) => {
                let found = self.engine.plan(context, reference).await;
                let found = found.map_err(|fault| fault.field("workflow"))?;
                plan_text(&found)?
            }
            NewPlan::Definition(text, format) => {
                let found = self.engine.draft_plan(context, text, format).await;
                Payload::json_text(found.map_err(of_definition)?)
            }
        };
        let wanted = compiled(&entry, &plan)?;
        let diff = diff(&state.plan().plan().tasks, &wanted.plan().tasks);
        let revision = state.revision();
        let command = Command::ChangePlan { plan: plan.clone(), reason: String::new() };
        let none = CheckpointId::new(uuid::Uuid::nil());
        let input = input_of(&state, &entry, command, context.principal.as_str().into(), none)?;
        let refused = state.step(&input, self.clock.now()).err().map(refused);
        Ok(PlanPreview { diff, refused, revision, plan })
    }

    /// The plans that the execution had, oldest first.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn revisions(&self, context: &CallContext, id: ExecutionId) -> Result<Vec<Revision>, Fault> {
        let (entry, events) = self.log(context, id).await?;
        let first = events.first().ok_or_else(Fault::internal)?;
        let mut out = vec![Revision {
            number: 0,
            by: match &first.kind {
                Kind::Created(created) => created.principal.clone(),
                _ => "".into(),
            },
            reason: "".into(),
            at: first.at,
            tasks: entry.compiled.plan().tasks.len() as u32,
            plan: plan_text(&entry)?,
        }];
        for event in &events {
            let Kind::PlanChanged(change) = &event.kind else { continue };
            out.push(Revision {
                number: change.revision,
                by: change.by.clone(),
                reason: change.reason.clone(),
                at: event.at,
                tasks: change.compiled().map_or(0, |plan| plan.plan().tasks.len() as u32),
                plan: change.plan.clone(),
            });
        }
        Ok(out)
    }

    /// The event number of a checkpoint.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn checkpoint_seq(
        &self,
        context: &CallContext,
        id: ExecutionId,
        checkpoint: &str,
    ) -> Result<u64, Fault> {
        let wanted: CheckpointId =
            checkpoint.parse().map_err(|e: base::BadId| Fault::bad("checkpoint_id", e))?;
        let found = self.journal.get_checkpoint(&context.tenant, id, wanted).await.map_err(away)?;
        let found = found.ok_or_else(|| Fault::not_found("checkpoint", wanted).field("checkpoint_id"))?;
        Ok(found.seq as u64)
    }

    /// Starts an execution that takes over what another one did. Answered after its creation is on disk.
    ///
    /// # Errors
    /// Those of a start; `not_found` for the other execution or a task; `invalid_state` when the other one runs a plan of
    /// its own.
    pub async fn fork(
        &self,
        context: &CallContext,
        from: ExecutionId,
        request: ForkRequest,
    ) -> Result<Started, Fault> {
        let (plan, state) = self.folded_with_plan(context, from).await?;
        if state.revision() > 0 {
            let text =
                format!("the plan of {from} was changed while it ran; a fork runs the plan of a version");
            return Err(Fault::new(ErrorCode::InvalidState, text).field("execution_id"));
        }
        let seeds = seeds(&state, &request.tasks)?;
        let input = request.input.clone().unwrap_or_else(|| state.input().clone());
        let (created, key) = (state.created(), request.key.as_str());
        let start = StartRequest {
            priority: created.priority,
            retry_policy: created.retry_policy.to_string(),
            max_agents: created.max_agents,
            max_cpu_millis: created.max_cpu_millis,
            max_memory_bytes: created.max_memory_bytes,
            metadata_json: created.metadata_json.to_string(),
            session_id: created.settings.session.to_string(),
            timeout: Some(created.timeout),
            ..StartRequest::default()
        };
        let (id, request_hash) = match key {
            "" => (request.own_id.unwrap_or_else(|| ExecutionId::new(uuid::Uuid::now_v7())), None),
            key => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(b"fork").update(from.as_bytes()).update(&input.hash());
                for task in &request.tasks {
                    hasher.update(task.as_bytes()).update(&[0]);
                }
                (ExecutionId::from_key(&context.tenant, key), Some(*hasher.finalize().as_bytes()))
            }
        };
        let vars = state.vars().filter(|_| !seeds.is_empty()).map(Payload::from_value);
        let seed = Input::Seed { from, tasks: seeds, vars };
        let launch = Launch { id, plan, input, request_hash, seed: Some(seed), settings: None };
        self.launch(context, start, launch).await
    }
}

fn plan_text(entry: &PlanEntry) -> Result<Payload, Fault> {
    let text = serde_json::to_vec(entry.compiled.plan()).map_err(|_| Fault::internal())?;
    Ok(Payload::json_text(text))
}

/// The planner's fault under the name that the field has in the change.
fn of_definition(fault: Fault) -> Fault {
    if fault.field == "format" { fault } else { fault.field("definition") }
}

/// What a fork takes over when these tasks run again.
fn seeds(state: &State, tasks: &[String]) -> Result<Vec<Seed>, Fault> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let own = state.plan().plan().tasks.len();
    let again = tasks.iter().map(|path| match state.find_task(path) {
        Some(task) if (task as usize) < own => Ok(task),
        Some(_) => Err(Fault::bad("task_ids", format!("{path} stands in a turn; name the scope around it"))),
        None => Err(Fault::not_found("task", path).field("task_ids")),
    });
    Ok(state.seeds(&again.collect::<Result<Vec<_>, _>>()?))
}

fn diff(old: &[TaskPlan], new: &[TaskPlan]) -> PlanDiff {
    let named = |tasks: &[TaskPlan], indices: &[u32]| -> Vec<String> {
        indices.iter().filter_map(|&t| Some(tasks.get(t as usize)?.id.clone())).collect()
    };
    let by_id = |tasks: &[TaskPlan]| -> BTreeMap<String, (Vec<String>, TaskPlan)> {
        let one = |task: &TaskPlan| {
            (task.id.clone(), (named(tasks, &task.after), TaskPlan { after: Vec::new(), ..task.clone() }))
        };
        tasks.iter().map(one).collect()
    };
    let (old, new) = (by_id(old), by_id(new));
    let only = |a: &BTreeMap<String, _>, b: &BTreeMap<String, _>| -> Vec<String> {
        a.keys().filter(|id| !b.contains_key(*id)).cloned().collect()
    };
    let changed = new.iter().filter(|(id, task)| old.get(*id).is_some_and(|before| before != *task));
    PlanDiff {
        added: only(&new, &old),
        removed: only(&old, &new),
        changed: changed.map(|(id, _)| id.clone()).collect(),
    }
}
