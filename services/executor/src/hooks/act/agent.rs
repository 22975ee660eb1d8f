//! Calls a registered agent, as tasks do: over the same caller, into a slot of the same fleet.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use base::Payload;
use catalog::{Need, Outcome as Matched, Snapshot};
use hooks::Answer;
use serde_json::Value;

use super::{Done, Failed, Task};
use crate::{
    call::{CallKind, CallOutcome, CallRequest, CallSink},
    engine::{Engine, EngineShared},
};

/// Calls agents for hooks.
pub(super) struct Agents {
    engine: Weak<EngineShared>,
}

/// Nobody follows a hook's call.
struct Silent;

#[async_trait]
impl CallSink for Silent {
    async fn bound(&self, _: Arc<str>, _: Arc<str>) {}
    fn progress(&self, _: f64, _: &str) {}
}

impl Agents {
    pub(super) fn new(engine: &Engine) -> Self {
        Self { engine: Arc::downgrade(engine.shared()) }
    }

    /// The fleet as it is known.
    pub(super) fn fleet(&self) -> Arc<Snapshot> {
        self.engine.upgrade().map_or_else(Arc::default, |engine| engine.dispatcher.fleet())
    }

    /// Calls the best agent that offers `capability` with the document. A repeat of the same run carries the same
    /// message id: an agent that knows it answers with the same task.
    pub(super) async fn call(&self, task: &Task, capability: &str) -> Result<Done, Failed> {
        let engine = self.engine.upgrade().ok_or_else(|| "this replica is stopping".to_owned())?;
        let need = Need { capability: Some(capability.to_owned()), ..Need::default() };
        let found = engine.dispatcher.fleet().matches(&need);
        if let Matched::Later(why) | Matched::Never(why) = found.outcome {
            return Err(why.into());
        }
        let instance = found.candidates.iter().find_map(|candidate| {
            let agent = &candidate.agent;
            let instance = agent.instances.first()?;
            engine.dispatcher.adopt(&format!("{}/{}", agent.id(), instance.instance.id))
        });
        let permit = instance.ok_or_else(|| format!("no instance offers {capability} now"))?;
        let request = CallRequest {
            kind: CallKind::Send(Payload::from_value(&task.document)),
            agent: permit.agent.clone(),
            instance: permit.instance,
            execution_id: task.execution.unwrap_or(base::ExecutionId::new(task.run_id)),
            task_id: format!("hook.{}", task.trigger.as_str()).into(),
            task_name: task.hook.spec.name.clone(),
            instructions: String::new(),
            item: None,
            message_id: task.run_id.to_string(),
            context_id: task.run_id.to_string(),
            effect_key: task.run_id.to_string(),
            remote: None,
            capability: capability.into(),
            session: None,
            bound: None,
            trace: "".into(),
            idle: task.timeout,
            total: Some(task.timeout),
            followed: false,
            bind_early: false,
            short: true,
        };
        let outcome = engine.caller.clone().call(request, Arc::new(Silent)).await;
        drop(permit);
        match outcome {
            CallOutcome::Completed(output) => read(&output),
            CallOutcome::Failed { class, message, .. } => {
                Err(format!("the agent failed ({}): {message}", class.as_str()).into())
            }
            CallOutcome::InputRequired { .. } => {
                Err("the agent asks for input, which a hook cannot give".to_owned().into())
            }
        }
    }
}

fn read(output: &Payload) -> Result<Done, Failed> {
    let value = output.json();
    let text = value.as_ref().map(|v| v.to_string()).unwrap_or_default();
    match value.as_deref() {
        Some(Value::Object(object)) => match Answer::of(object.clone()) {
            Ok(answer) => Ok(Done { answer, output: text }),
            Err(why) => Err(Failed { why: format!("its output is no answer: {why}"), output: text }),
        },
        _ => Ok(Done { answer: Answer::default(), output: text }),
    }
}
