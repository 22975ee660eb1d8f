//! Commands and questions about one execution.

use std::sync::Arc;

use api::Fault;
use base::{CheckpointId, ErrorCode, ExecutionId, FailureClass, Payload, Tenant};
use tokio::sync::oneshot;
use workflow::{
    CallKey, ChildOutcome, Compiled, Input, Refusal, ResetFrom, Resolution, Spending, State, UserEvent,
    Verdict,
};

use super::{
    crash,
    lane::Lane,
    msg::{Commanded, Msg},
    view::{self, ExecutionView},
};
use crate::plans::PlanEntry;

/// A command on one execution.
#[derive(Clone, Debug)]
pub enum Command {
    /// No new call.
    Pause {
        /// Why.
        reason: String,
    },
    /// Go on.
    Resume,
    /// End it and tell the agents.
    Cancel {
        /// Why.
        reason: String,
    },
    /// End it at once.
    Terminate {
        /// Why.
        reason: String,
    },
    /// End a wait for a decision.
    Resolve {
        /// Path of the task.
        task: String,
        /// The item; 0 for a task that does not scatter.
        item: u32,
        /// The decision.
        decision: Resolution,
    },
    /// Answer an agent's question.
    Answer {
        /// Path of the task.
        task: String,
        /// The item; 0 for a task that does not scatter.
        item: u32,
        /// The answer.
        input: Payload,
    },
    /// Send it a signal.
    Signal {
        /// Its name.
        name: String,
        /// What it says.
        payload: Payload,
        /// Repeats are known by it; empty = every one is new.
        id: String,
    },
    /// Set variables.
    SetVars {
        /// An object.
        vars: Payload,
    },
    /// Decide an approval.
    Approve {
        /// Path of the task.
        task: String,
        /// The verdict.
        verdict: Verdict,
        /// Names under which the caller may answer, beside its own.
        names: Vec<String>,
        /// Why.
        comment: String,
        /// The form; checked against its schema.
        form: Option<Payload>,
    },
    /// Let a step go on.
    Grant {
        /// Path of the task; `None` = the one that waits longest.
        task: Option<String>,
    },
    /// Let tasks and all that follows them run again.
    Reset {
        /// Paths of tasks of the plan; empty = by `seq`.
        tasks: Vec<String>,
        /// What began or ended after this event.
        seq: u64,
        /// Another input of the execution.
        input: Option<Payload>,
        /// Why.
        reason: String,
    },
    /// Go on with another plan.
    ChangePlan {
        /// The whole plan as JSON.
        plan: Payload,
        /// Why.
        reason: String,
    },
    /// A task is driven by events of a topic, or by its edges alone.
    SwitchMode {
        /// Path of the task.
        task: String,
        /// The topic; `None` = its edges.
        topic: Option<String>,
    },
    /// A user event that a task waits for.
    Event(Arc<UserEvent>),
    /// News of a sub-workflow.
    Child {
        /// Path of the task that started it.
        task: String,
        /// Its execution.
        execution: ExecutionId,
        /// What happened.
        news: ChildNews,
    },
}

/// What a sub-workflow tells its parent.
#[derive(Clone, Debug)]
pub enum ChildNews {
    /// It has started, in this version.
    Accepted(Arc<str>),
    /// It cannot start.
    Refused(FailureClass, Arc<str>),
    /// It ended.
    Ended(ChildOutcome, Spending),
}

impl Lane {
    /// A command: on the execution in memory, or as soon as it is there.
    pub(crate) fn command(&mut self, msg: Msg) {
        let Msg::Command { id, tenant, command, by, inbox, reply } = msg else { return };
        let shard = self.shared.shard_of(id);
        if !self.takes(shard) {
            let _ = reply.send(Err(Fault::new(ErrorCode::NotOwner, "the shard is not here")));
            return;
        }
        if !self.hot.contains_key(&id) {
            self.load(id, shard, None);
            if let Some(loading) = self.loading.get_mut(&id) {
                loading.waiting.push(Msg::Command { id, tenant, command, by, inbox, reply });
            }
            return;
        }
        if self.hot.get(&id).is_none_or(|hot| hot.tenant != tenant) {
            let _ = reply.send(Err(Fault::not_found("execution", id)));
            return;
        }
        let checkpoint = CheckpointId::new(uuid::Uuid::now_v7());
        let paused_before =
            self.hot.get(&id).is_some_and(|hot| hot.state.status() == workflow::Status::Paused);
        let input = match (self.hot.get(&id), self.plans.get(&id)) {
            // Nobody waits for it any more: the command is done.
            (Some(hot), _) if matches!(&command, Command::Event(event) if !hot.state.awaits(event)) => None,
            (Some(hot), Some(plan)) => Some(input_of(&hot.state, plan, command, by, checkpoint)),
            _ => None,
        };
        let result = match input {
            Some(Ok(input)) => {
                if matches!(input, Input::Pause { .. }) {
                    crash::point("in-checkpoint");
                }
                self.feed(id, &input).map_err(refused).map(|()| matches!(input, Input::Pause { .. }))
            }
            Some(Err(error)) => Err(error),
            None => Ok(false),
        };
        let Some(hot) = self.hot.get_mut(&id) else { return };
        match result {
            Err(error) => drop(reply.send(Err(error))),
            Ok(pause) => {
                let own = if paused_before { hot.state.last_checkpoint() } else { Some(checkpoint) };
                let done = Commanded { status: hot.state.status(), checkpoint: own.filter(|_| pause) };
                hot.pending.inbox_done.extend(inbox);
                hot.when_durable(Box::new(move || drop(reply.send(Ok(done)))));
                self.mark(id);
            }
        }
    }

    /// The execution as it is on disk; `None` when it is not in memory.
    pub(crate) fn get(
        &mut self,
        id: ExecutionId,
        tenant: &Tenant,
        tasks: bool,
        reply: oneshot::Sender<Option<Arc<ExecutionView>>>,
    ) {
        let now = self.now();
        let position = self.shared.admission.position(id);
        let Some(hot) = self.hot.get_mut(&id).filter(|h| h.tenant == *tenant) else {
            let _ = reply.send(None);
            return;
        };
        let mut seen = view::view(&hot.state, now, tasks, &|call| hot.progress.get(&call).cloned());
        seen.queue_position = position;
        if let Some(plan) = self.plans.get(&id) {
            super::stuck::refine(&mut seen.stuck, &hot.state, plan, &self.shared);
        }
        hot.when_durable(Box::new(move || drop(reply.send(Some(Arc::new(seen))))));
        if !hot.pending.is_empty() {
            self.mark(id);
        }
    }
}

/// The input that a command is.
pub(crate) fn input_of(
    state: &State,
    plan: &PlanEntry,
    command: Command,
    by: Arc<str>,
    checkpoint: CheckpointId,
) -> Result<Input, Fault> {
    Ok(match command {
        Command::Pause { reason } => Input::Pause { by, reason: reason.into(), checkpoint },
        Command::Resume => Input::Resume { by },
        Command::Cancel { reason } => Input::Cancel { by, reason: reason.into() },
        Command::Terminate { reason } => Input::Terminate { by, reason: reason.into() },
        Command::Resolve { task, item, decision } => {
            Input::Resolve { call: call_of(state, &task, item)?, decision, by }
        }
        Command::Answer { task, item, input } => {
            Input::Answer { call: call_of(state, &task, item)?, input, by }
        }
        Command::Signal { name, .. } if name.is_empty() => {
            return Err(Fault::bad("name", "name the signal"));
        }
        Command::Signal { name, payload, id } => {
            plan.check_signal(&name, &payload).map_err(|what| Fault::bad("payload", what))?;
            Input::Signal { name: name.into(), payload, id: id.into(), by }
        }
        Command::SetVars { vars } => Input::UpdateVars { vars, by },
        Command::Approve { task, verdict, names, comment, form } => {
            let task = task_of(state, &task, "task_id")?;
            check_form(state, plan, task, verdict, form.as_ref())?;
            let names = names.into_iter().map(Into::into).collect();
            Input::Decide { task, verdict, by, names, comment: comment.into(), form }
        }
        Command::Grant { task } => {
            let task = task.map(|task| task_of(state, &task, "task_id")).transpose()?;
            Input::GrantStep { task, by }
        }
        Command::Reset { tasks, seq, input, reason } => {
            let from = match tasks.as_slice() {
                [] => ResetFrom::Seq(seq),
                paths => {
                    let tasks = paths.iter().map(|path| task_of(state, path, "tasks"));
                    ResetFrom::Tasks(tasks.collect::<Result<_, _>>()?)
                }
            };
            if let Some(input) = &input {
                plan.check_input(input)?;
            }
            Input::Reset { from, input, by, reason: reason.into() }
        }
        Command::ChangePlan { plan: text, reason } => {
            let compiled = compiled(plan, &text)?;
            Input::ChangePlan { plan: compiled, text, by, reason: reason.into() }
        }
        Command::SwitchMode { task, topic } => {
            let task = task_of(state, &task, "task_id")?;
            Input::SwitchMode { task, topic: topic.map(Into::into), by }
        }
        Command::Event(event) => Input::Event { event },
        Command::Child { task, execution, news } => {
            // A reset may have dropped the turn that the task stood in.
            let task = match state.task_of_child(execution) {
                Some(task) => task,
                None => task_of(state, &task, "task")?,
            };
            match news {
                ChildNews::Accepted(version) => Input::ChildAccepted { task, execution, version },
                ChildNews::Refused(class, message) => Input::ChildRefused { task, execution, class, message },
                ChildNews::Ended(outcome, spent) => Input::ChildEnded { task, execution, outcome, spent },
            }
        }
    })
}

/// A plan that an execution may go on with: it compiles, and so does all that is derived from it.
///
/// # Errors
/// `invalid_definition` naming the task and the rule.
pub(crate) fn compiled(now: &PlanEntry, text: &Payload) -> Result<Arc<Compiled>, Fault> {
    let bad = |what: String| Fault::new(ErrorCode::InvalidDefinition, what).field("plan");
    let plan: workflow::plan::Plan =
        serde_json::from_slice(text.bytes()).map_err(|e| bad(format!("is not a plan: {e}")))?;
    let compiled = Arc::new(Compiled::new(plan).map_err(|e| bad(e.to_string()))?);
    now.changed(&compiled).map_err(bad)?;
    Ok(compiled)
}

fn check_form(
    state: &State,
    plan: &PlanEntry,
    task: u32,
    verdict: Verdict,
    form: Option<&Payload>,
) -> Result<(), Fault> {
    let node = state.tasks().get(task as usize).map_or(u32::MAX, workflow::TaskState::node);
    match form {
        Some(form) => plan.check_form(node, form).map_err(|what| Fault::bad("form", what)),
        None if verdict == Verdict::Answered => Err(Fault::bad("form", "an answer needs a form")),
        None => Ok(()),
    }
}

fn call_of(state: &State, task: &str, item: u32) -> Result<CallKey, Fault> {
    Ok(CallKey::new(task_of(state, task, "task_id")?, item))
}

/// The task of this path.
///
/// # Errors
/// `not_found` with the nearest path.
pub(crate) fn task_of(state: &State, path: &str, field: &str) -> Result<u32, Fault> {
    state.find_task(path).ok_or_else(|| {
        let paths: Vec<String> =
            (0..state.tasks().len().min(NEAREST_OF) as u32).map(|t| state.task_path(t)).collect();
        let nearest = base::finding::nearest(path, paths.iter().map(String::as_str));
        let hint = nearest.map(|n| format!("; nearest: {n}")).unwrap_or_default();
        Fault::new(ErrorCode::NotFound, format!("the execution has no task {path:?}{hint}")).field(field)
    })
}

/// Tasks among which the nearest to a wrong path is looked for.
const NEAREST_OF: usize = 1000;

/// The fault of a command that the state machine refuses.
pub(crate) fn refused(refusal: Refusal) -> Fault {
    let text = refusal.to_string();
    match refusal {
        Refusal::Status { .. } => Fault::new(ErrorCode::InvalidState, text),
        Refusal::Task { .. } => Fault::new(ErrorCode::InvalidState, text).field("task_id"),
        Refusal::NoTask { .. } => Fault::new(ErrorCode::NotFound, text).field("task_id"),
        Refusal::NotAsked { who, .. } => {
            let mut fault = Fault::new(ErrorCode::PermissionDenied, text).field("task_id");
            fault.related = who;
            fault
        }
        Refusal::EventsFull { .. } => Fault::new(ErrorCode::ResourceExhausted, text).retry_after_ms(1000),
        Refusal::Invalid { field, message } => Fault::bad(field, message),
        Refusal::Ran { task, .. } => {
            let mut fault = Fault::new(ErrorCode::Conflict, text).field("plan");
            fault.related = vec![task];
            fault
        }
    }
}
