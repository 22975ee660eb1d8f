//! Signals to runs at other engines, and queries of them.

use api::Fault;
use base::{CallContext, ErrorCode, ExecutionId, Payload};
use provider::{EngineError, Run};
use workflow::{CallKey, CallPhase, State};

use crate::{app::App, engine::message_id};

/// The runs that a task has at an engine now.
struct Runs {
    provider: String,
    runs: Vec<Run>,
}

impl App {
    /// Sends a signal to the run that an engine makes of a task; with several (`for_each`), to each. Answered when the
    /// engine has it: it is the engine's fact, not one of our log.
    ///
    /// # Errors
    /// The task is none, or runs at no engine now, or the engine takes no signals.
    pub(crate) async fn signal_run(
        &self,
        context: &CallContext,
        (id, task): (ExecutionId, &str),
        (name, payload): (&str, &Payload),
        signal_id: &str,
    ) -> Result<(), Fault> {
        let found = self.runs_of(context, id, task).await?;
        let engine = self.engine_of(&found.provider)?;
        for (n, run) in found.runs.iter().enumerate() {
            // One id for each run, so that a repetition reaches those that it did not reach.
            let own = if signal_id.is_empty() { String::new() } else { format!("{signal_id}-{n}") };
            engine.signal(run, name, payload, &own).await.map_err(|error| fault(&found.provider, error))?;
        }
        Ok(())
    }

    /// Asks the run that an engine makes of a task something.
    ///
    /// # Errors
    /// The task is none, or runs at no engine now, or the engine refuses the query.
    pub(crate) async fn query_run(
        &self,
        context: &CallContext,
        (id, task): (ExecutionId, &str),
        (name, arguments): (&str, &Payload),
    ) -> Result<Payload, Fault> {
        let found = self.runs_of(context, id, task).await?;
        let engine = self.engine_of(&found.provider)?;
        let [run] = found.runs.as_slice() else {
            let text = format!(
                "task {task} has {} runs at {}; ask one item of it",
                found.runs.len(),
                found.provider
            );
            return Err(Fault::new(ErrorCode::InvalidState, text).field("task_id"));
        };
        engine.query(run, name, arguments).await.map_err(|error| fault(&found.provider, error))
    }

    fn engine_of(&self, provider: &str) -> Result<&std::sync::Arc<dyn provider::Engine>, Fault> {
        self.providers.get(provider).ok_or_else(|| {
            Fault::new(ErrorCode::InvalidState, format!("the provider {provider} is not set up here"))
        })
    }

    /// What leaves is in the log before: the log is asked.
    async fn runs_of(&self, context: &CallContext, id: ExecutionId, task: &str) -> Result<Runs, Fault> {
        let state = self.folded(context, id).await?;
        let at = state.find_task(task).ok_or_else(|| Fault::not_found("task", task).field("task_id"))?;
        let none =
            |why: &str| Fault::new(ErrorCode::InvalidState, format!("task {task} {why}")).field("task_id");
        let remote =
            state.task_plan(at).remote.as_deref().ok_or_else(|| none("is not done by a provider"))?;
        let runs: Vec<_> = running(&state, at).collect();
        if runs.is_empty() {
            return Err(none(&format!("does not run at {} now", remote.provider)));
        }
        Ok(Runs { provider: remote.provider.clone(), runs })
    }
}

fn running(state: &State, task: u32) -> impl Iterator<Item = Run> + '_ {
    let calls = state.tasks().get(task as usize).map_or(&[][..], |t| &t.calls);
    calls.iter().enumerate().filter(|(_, call)| call.phase == CallPhase::Running).filter_map(
        move |(item, _)| {
            let id = message_id(state, CallKey { task, item: item as u32 })?;
            Some(Run::named(id.to_string()))
        },
    )
}

fn fault(provider: &str, error: EngineError) -> Fault {
    let text = format!("{provider}: {error}");
    match error {
        EngineError::Away { .. } => Fault::unavailable(text),
        EngineError::NoRun(_) | EngineError::Cannot(_) => Fault::new(ErrorCode::InvalidState, text),
        EngineError::Refused { .. } => Fault::bad("name", text),
    }
}
