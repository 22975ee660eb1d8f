//! Calls that wait for hooks: one question before a call looks for an agent, none when no hook guards it.

use std::sync::Arc;

use base::{AgentId, Effect, ExecutionId, FailureClass, Payload};
use moka::sync::Cache;
use workflow::{Assignment, CallKey, CallPhase, Input};

use super::{NeedClass, Publisher, lane::Lane, msg::Msg};
use crate::hooks::gate::{CallGate, GateAsk, Pass, tags_of};

/// `agent` and `reason` of an attempt that a hook answered.
pub(crate) const BY_HOOK: &str = "hook";
/// Needs narrowed to the agent that a hook prefers.
const CLASSES_MAX: u64 = 4096;

/// The hooks of this replica, as the engine sees them.
pub(crate) struct HookLink {
    gate: Arc<dyn CallGate>,
    /// Follows commits beside the publisher.
    pub(crate) tap: Arc<dyn Publisher>,
    /// By the need in words.
    classes: Cache<String, Arc<NeedClass>>,
}

impl HookLink {
    pub(crate) fn new(gate: Arc<dyn CallGate>, tap: Arc<dyn Publisher>) -> Self {
        Self { gate, tap, classes: Cache::new(CLASSES_MAX) }
    }
}

/// A call that hooks were asked about, with the input they were asked about.
pub(crate) struct Gating {
    input_hash: [u8; 32],
    /// `None`: they have not answered.
    pass: Option<Pass>,
}

impl Lane {
    /// What hooks say about a ready call: `Some` lets it go on, with a need of its own when they prefer an agent.
    pub(crate) fn pass_hooks(&mut self, id: ExecutionId, call: CallKey) -> Option<Option<Arc<NeedClass>>> {
        let shared = self.shared.clone();
        let Some(link) = shared.hooks.get() else { return Some(None) };
        let known = self.hot.get(&id).is_some_and(|hot| hot.gates.contains_key(&call));
        if !known && !link.gate.is_active() {
            return Some(None);
        }
        let Some(ask) = self.question(link, id, call) else { return Some(None) };
        let (hot, input_hash) = (self.hot.get_mut(&id)?, ask.input.hash());
        // The same call with another input, of a later round, is asked about again.
        let gating = hot.gates.get(&call).filter(|gating| gating.input_hash == input_hash);
        match gating.map(|gating| gating.pass.clone()) {
            None => {
                hot.gates.insert(call, Gating { input_hash, pass: None });
                let (gate, tx) = (link.gate.clone(), self.tx.clone());
                tokio::spawn(async move {
                    let pass = gate.ask(ask).await;
                    let _ = tx.send(Msg::Gated { id, call, input_hash, pass }).await;
                });
                None
            }
            Some(None) => None,
            Some(Some(Pass::Go(None))) => Some(None),
            Some(Some(Pass::Go(Some(agent)))) => Some(self.preferring(link, id, call, agent)),
            Some(Some(Pass::Stop(message))) => {
                let cannot = Input::CannotCall { call, class: FailureClass::Hook, message: message.into() };
                self.feed_fact(id, &cannot);
                None
            }
            Some(Some(Pass::Answer(output))) => {
                self.answer_by_hook(id, call, input_hash, output);
                None
            }
        }
    }

    /// The hooks have answered: the call is looked at again.
    pub(crate) fn gated(&mut self, id: ExecutionId, call: CallKey, input_hash: [u8; 32], pass: Pass) {
        let gating = self.hot.get_mut(&id).and_then(|hot| hot.gates.get_mut(&call));
        if let Some(gating) = gating.filter(|gating| gating.input_hash == input_hash) {
            gating.pass = Some(pass);
            let now = self.now();
            self.dispatch(id, call, now);
        }
    }

    /// `None`: no hook guards the call.
    fn question(&self, link: &HookLink, id: ExecutionId, call: CallKey) -> Option<GateAsk> {
        let hot = self.hot.get(&id)?;
        let state = &hot.state;
        let running = state.tasks().get(call.task as usize)?;
        let task = state.task_plan(call.task);
        let capability = state.need(call.task).capability.clone().unwrap_or_default();
        let tags = tags_of(&self.shared.dispatcher.fleet(), &capability);
        if !hot.gates.contains_key(&call) && !link.gate.guards(&hot.tenant, &tags) {
            return None;
        }
        // An input that cannot be made is told when the call is to leave.
        let input = state.call_input(call).ok()?;
        let created = state.created();
        Some(GateAsk {
            tenant: hot.tenant.clone(),
            execution: id,
            workflow_id: created.workflow_id,
            workflow: format!("{}@{}", created.workflow_name, created.workflow_version),
            task: state.task_path(call.task).into(),
            generation: running.generation(),
            task_name: if task.name.is_empty() { task.id.clone() } else { task.name.clone() },
            instructions: task.instructions.clone(),
            capability,
            tags,
            item: running.scattered.then_some(call.item),
            input,
        })
    }

    /// The need narrowed to the agent, when that agent can take the call now.
    fn preferring(
        &self,
        link: &HookLink,
        id: ExecutionId,
        call: CallKey,
        agent: AgentId,
    ) -> Option<Arc<NeedClass>> {
        let class = self.plans.get(&id)?.need(&self.hot.get(&id)?.state, call.task)?;
        let need = catalog::Need { agent: Some(agent.clone()), ..class.need.clone() };
        if class.need.agent.is_some()
            || self.shared.dispatcher.fleet().matches(&need).outcome != catalog::Outcome::Now
        {
            return None;
        }
        let key = format!("{need:?}");
        Some(link.classes.get_with(key, || Arc::new(NeedClass::new(need))))
    }

    /// An attempt that names the hook, and its result, in one row: a replay asks no hook.
    fn answer_by_hook(&mut self, id: ExecutionId, call: CallKey, input_hash: [u8; 32], output: Payload) {
        if let Err(message) = self.check_output(id, call, &output) {
            let message = format!("a hook answered, and {message}").into();
            let cannot = Input::CannotCall { call, class: FailureClass::Hook, message };
            return self.feed_fact(id, &cannot);
        }
        let Some(hot) = self.hot.get(&id) else { return };
        let Ok(agent) = AgentId::new(BY_HOOK) else { return };
        let to = Assignment {
            agent,
            instance: format!("{BY_HOOK}/{BY_HOOK}").into(),
            caller: self.caller.clone(),
            input_hash,
            capability: hot.state.need(call.task).capability.as_deref().unwrap_or_default().into(),
            capability_version: "".into(),
            effect: Effect::Pure,
            reason: "answered by a hook".into(),
        };
        self.feed_fact(id, &Input::Assign { call, to: Arc::new(to) });
        let started = self.hot.get(&id).and_then(|hot| hot.state.call(call));
        if let Some(attempt) = started.filter(|c| c.phase == CallPhase::Running).map(|c| c.attempt) {
            // Nothing is in the outbox: the effect that would send the call finds nothing to send.
            self.feed_fact(id, &Input::Answered { call, attempt, output, call_us: 0 });
        }
    }
}
