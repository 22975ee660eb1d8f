//! Commands and questions about one execution.

use std::sync::Arc;

use api::Fault;
use base::{CheckpointId, ErrorCode, ExecutionId, Tenant};
use tokio::sync::oneshot;
use workflow::{CallKey, Input, Refusal, State};

use super::{
    crash,
    lane::Lane,
    msg::{Command, Commanded, Msg},
    view::{self, ExecutionView},
};

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
        let input = self.hot.get(&id).map(|hot| input_of(&hot.state, command, by, checkpoint));
        let result = match input {
            Some(Ok(input)) => {
                if matches!(input, Input::Pause { .. }) {
                    crash::point("in-checkpoint");
                }
                self.feed(id, &input).map_err(refused).map(|()| matches!(input, Input::Pause { .. }))
            }
            Some(Err(error)) => Err(error),
            None => Err(Fault::not_found("execution", id)),
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
        hot.when_durable(Box::new(move || drop(reply.send(Some(Arc::new(seen))))));
        if !hot.pending.is_empty() {
            self.mark(id);
        }
    }
}

fn input_of(state: &State, command: Command, by: Arc<str>, checkpoint: CheckpointId) -> Result<Input, Fault> {
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
    })
}

fn call_of(state: &State, task: &str, item: u32) -> Result<CallKey, Fault> {
    let index = state.find_task(task).ok_or_else(|| {
        let ids = state.plan().plan().tasks.iter().map(|t| t.id.as_str());
        let hint = base::finding::nearest(task, ids).map(|n| format!("; nearest: {n}")).unwrap_or_default();
        Fault::new(ErrorCode::NotFound, format!("the execution has no task {task:?}{hint}")).field("task_id")
    })?;
    Ok(CallKey::new(index, item))
}

fn refused(refusal: Refusal) -> Fault {
    Fault::new(ErrorCode::InvalidState, refusal.to_string())
}
