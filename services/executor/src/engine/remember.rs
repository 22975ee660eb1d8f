//! Calls of pure capabilities that were answered before: completed from the result cache, and remembered in it.
//!
//! The answer of a hit is a fact like any other: an attempt that names the cache as its reason, and its result, in one
//! row. So a replay never looks into the cache.

use std::sync::Arc;

use base::{Effect, ExecutionId, Payload};
use catalog::AgentEntry;
use workflow::{
    Assignment, CallKey, CallPhase, Input,
    plan::{Need, TaskPlan},
};

use super::lane::Lane;
use crate::cache::{ResultCache, key::Question};

/// `reason` of an attempt that was answered from the cache.
pub(crate) const FROM_CACHE: &str = "cache";

impl Lane {
    /// Completes a ready call with what was answered before. `false`: nothing is known.
    pub(crate) fn answer_from_cache(&mut self, id: ExecutionId, call: CallKey) -> bool {
        let Some(cache) = self.shared.cache.get() else { return false };
        let Some((output, to)) = self.known_answer(cache, id, call) else { return false };
        self.feed_fact(id, &Input::Assign { call, to: Arc::new(to) });
        let started = self.hot.get(&id).and_then(|hot| hot.state.call(call));
        if let Some(attempt) = started.filter(|c| c.phase == CallPhase::Running).map(|c| c.attempt) {
            // Nothing is in the outbox: the effect that would send the call finds nothing to send.
            self.feed_fact(id, &Input::Answered { call, attempt, output, call_us: 0 });
        }
        true
    }

    fn known_answer(
        &self,
        cache: &ResultCache,
        id: ExecutionId,
        call: CallKey,
    ) -> Option<(Payload, Assignment)> {
        let (hot, plan) = (self.hot.get(&id)?, self.plans.get(&id)?);
        let task = hot.state.task_plan(call.task);
        let (capability, namespace) = remembered(cache, task, hot.state.need(call.task))?;
        let input = hot.state.call_input(call).ok()?;
        if input.len() > cache.options().entry_bytes_max {
            return None;
        }
        let agents = self.shared.dispatcher.candidates(plan.need(&hot.state, call.task)?);
        let mut asked = Vec::with_capacity(1);
        for agent in agents.iter().filter(|agent| is_pure(task, capability, agent)) {
            let version = agent.definition.version_of(Some(capability));
            if asked.contains(&version) {
                continue;
            }
            asked.push(version);
            let question = Question { capability, version, instructions: &task.instructions, input: &input };
            let Some(found) = cache.get(&hot.tenant, namespace, &question.key()?) else { continue };
            // The schema may be another than when the answer was stored.
            if plan.check_output(hot.state.tasks()[call.task as usize].node(), &found.value).is_err() {
                continue;
            }
            let to = Assignment {
                agent: agent.id().clone(),
                instance: format!("{}/{FROM_CACHE}", agent.id()).into(),
                caller: self.caller.clone(),
                input_hash: input.hash(),
                capability: capability.into(),
                capability_version: version.into(),
                effect: Effect::Pure,
                reason: FROM_CACHE.into(),
            };
            return Some((found.value, to));
        }
        None
    }

    /// What is to be remembered of an answer that is about to be taken in: `None` unless it is a pure capability's own
    /// answer to the input alone, in an attempt that is still open.
    pub(crate) fn to_remember(
        &self,
        id: ExecutionId,
        call: CallKey,
        attempt: u32,
        output: &Payload,
    ) -> Option<Memo> {
        let cache = self.shared.cache.get()?;
        let hot = self.hot.get(&id)?;
        let task = hot.state.task_plan(call.task);
        let (capability, namespace) = remembered(cache, task, hot.state.need(call.task))?;
        let open = hot.state.call(call).filter(|c| c.phase == CallPhase::Running && c.attempt == attempt)?;
        let current = open.current.as_deref()?;
        // An answer that a person helped with is not the capability's.
        if current.to.effect != Effect::Pure || current.answer.is_some() {
            return None;
        }
        let input = hot.state.call_input(call).ok()?;
        let bytes_max = cache.options().entry_bytes_max;
        if input.len() > bytes_max || output.len() > bytes_max {
            return None;
        }
        let version = &current.to.capability_version;
        let question = Question { capability, version, instructions: &task.instructions, input: &input };
        Some(Memo {
            tenant: hot.tenant.clone(),
            namespace: namespace.to_owned(),
            key: question.key()?,
            ttl: task.cache.as_ref().and_then(|spec| spec.ttl),
            output: output.clone(),
        })
    }

    /// Remembers an answer once it is on disk, when it was taken.
    pub(crate) fn remember(&mut self, id: ExecutionId, call: CallKey, memo: Option<Memo>) {
        let (Some(memo), Some(cache)) = (memo, self.shared.cache.get().cloned()) else { return };
        let Some(hot) = self.hot.get_mut(&id) else { return };
        if !hot.state.call(call).is_some_and(|c| c.phase == CallPhase::Completed) {
            return;
        }
        let Memo { tenant, namespace, key, ttl, output } = memo;
        hot.when_durable(Box::new(move || {
            if let Err(fault) = cache.set(&tenant, &namespace, &key, output, ttl) {
                tracing::debug!(%fault, "an answer is not remembered");
            }
        }));
    }
}

/// An answer on its way into the cache.
pub(crate) struct Memo {
    tenant: base::Tenant,
    namespace: String,
    key: String,
    ttl: Option<std::time::Duration>,
    output: Payload,
}

/// Capability and namespace, when answers to the task are remembered.
fn remembered<'a>(cache: &ResultCache, task: &'a TaskPlan, need: &'a Need) -> Option<(&'a str, &'a str)> {
    // Without a capability the agent decides what it does.
    let capability = need.capability.as_deref()?;
    match &task.cache {
        Some(spec) if !spec.namespace.is_empty() => Some((capability, &spec.namespace)),
        Some(_) => Some((capability, capability)),
        None => cache.options().all_pure.then_some((capability, capability)),
    }
}

fn is_pure(task: &TaskPlan, capability: &str, agent: &AgentEntry) -> bool {
    let declared = agent.definition.capability(capability).and_then(|c| c.effect);
    task.effect.or(declared) == Some(Effect::Pure)
}
