//! Calls to agents: finding an instance, sending once the attempt is on disk, taking results in.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use api::log::CallCost;
use async_trait::async_trait;
use base::{ExecutionId, FailureClass, Payload, Timestamp};
use futures::FutureExt as _;
use uuid::Uuid;
use workflow::{Assignment, Attempt, CallKey, CallPhase, Effect, Input, State, Usage};

use super::{
    crash,
    cuts::CallCell,
    dispatch::{Acquired, Permit, Wanted},
    hot::{CallProgress, Hot, Leaving, Live, OpenCall},
    lane::Lane,
    msg::{CallFailure, CallReport, Msg},
};
use crate::call::{CallKind, CallOutcome, CallRequest, CallSink, SessionOfCall};

impl Lane {
    /// Looks for an instance for a ready call, from `at` on. A replica that drains begins no call that its end might cut:
    /// the call stays ready, for the next owner.
    pub(crate) fn dispatch(&mut self, id: ExecutionId, call: CallKey, at: Timestamp) {
        let now = self.now();
        if self.draining || !self.takes(self.shared.shard_of(id)) {
            return;
        }
        let Some(hot) = self.hot.get_mut(&id) else { return };
        if at > now {
            self.wheel.insert((at, id, Some(call)));
            return;
        }
        let state = &hot.state;
        let ready =
            state.call(call).is_some_and(|c| matches!(c.phase, CallPhase::Ready(from) if from <= now));
        if !ready || !state.is_active() {
            return;
        }
        if !state.has_room(call) {
            hot.held.push(call);
            return;
        }
        let Some(preferred) = self.pass_hooks(id, call) else { return };
        if self.answer_from_cache(id, call) {
            return;
        }
        let (Some(hot), Some(plan)) = (self.hot.get(&id), self.plans.get(&id)) else { return };
        let state = &hot.state;
        let Some(ready) = state.call(call) else { return };
        let wanted = Wanted {
            execution: id,
            call,
            tenant: hot.tenant.clone(),
            priority: state.priority(call.task),
            since: match ready.phase {
                CallPhase::Ready(from) => from,
                _ => now,
            },
            tried: ready.tried.clone(),
            lane: self.grants_tx.clone(),
        };
        let Some(need) = preferred.as_ref().or_else(|| plan.need(state, call.task)) else { return };
        match self.shared.dispatcher.acquire(need, wanted) {
            Acquired::Now(permit) => self.assign(id, call, permit),
            Acquired::Queued => {}
            Acquired::NoAgent(reason) => {
                self.feed_fact(id, &Input::NoAgent { call, reason: reason.into() });
            }
            // Looked at again in a moment: the queue is bounded, the execution is not lost.
            Acquired::Full => {
                self.wheel.insert((now.plus(std::time::Duration::from_secs(1)), id, Some(call)));
            }
        }
    }

    /// A slot became free for a call that waited.
    pub(crate) fn granted(&mut self, id: ExecutionId, call: CallKey, permit: Permit) {
        let now = self.now();
        if self.draining || !self.takes(self.shared.shard_of(id)) {
            return;
        }
        let Some(hot) = self.hot.get_mut(&id) else { return };
        let ready =
            hot.state.call(call).is_some_and(|c| matches!(c.phase, CallPhase::Ready(from) if from <= now));
        if !ready || hot.outbox.contains_key(&call) {
            return;
        }
        if !hot.state.has_room(call) {
            hot.held.push(call);
            return;
        }
        // Another call may have been answered while this one waited.
        if !self.answer_from_cache(id, call) {
            self.assign(id, call, permit);
        }
    }

    fn assign(&mut self, id: ExecutionId, call: CallKey, permit: Permit) {
        let (Some(hot), Some(plan)) = (self.hot.get_mut(&id), self.plans.get(&id)) else { return };
        let input = hot.state.call_input(call).map_err(|e| e.to_string());
        let node = hot.state.tasks().get(call.task as usize).map_or(u32::MAX, workflow::TaskState::node);
        let input = input.and_then(|input| plan.check_task_input(node, &input).map(|()| input));
        let input = match input {
            Ok(input) => input,
            Err(message) => {
                let cannot =
                    Input::CannotCall { call, class: FailureClass::Definition, message: message.into() };
                return self.feed_fact(id, &cannot);
            }
        };
        let task = hot.state.task_plan(call.task);
        let skill = hot.state.need(call.task).capability.as_deref();
        let declared = skill.and_then(|s| permit.agent.definition.capability(s)).and_then(|c| c.effect);
        let to = Assignment {
            agent: permit.agent.id().clone(),
            instance: permit.instance_key(),
            caller: self.caller.clone(),
            input_hash: input.hash(),
            capability: skill.unwrap_or_default().into(),
            capability_version: permit.agent.definition.version_of(skill).into(),
            effect: task.effect.or(declared).unwrap_or_default(),
            reason: permit.reason.clone(),
        };
        let attempt = hot.state.call(call).map_or(0, |c| c.attempt) + 1;
        hot.outbox.insert(call, Leaving { attempt, input, permit });
        self.feed_fact(id, &Input::Assign { call, to: Arc::new(to) });
        let Some(hot) = self.hot.get_mut(&id) else { return };
        if !hot.state.call(call).is_some_and(|c| c.phase == CallPhase::Running) {
            hot.outbox.remove(&call);
        }
    }

    /// Something that may happen now that its facts are on disk.
    pub(crate) fn act(&mut self, id: ExecutionId, effect: Effect) {
        match effect {
            // Over before it left: what waits in the outbox says that it was never sent.
            Effect::Send(call) if !self.runs(id, call) => {}
            Effect::Send(call) => {
                let leaving = self.hot.get_mut(&id).and_then(|h| h.outbox.remove(&call));
                if let Some(Leaving { input, permit, .. }) = leaving {
                    self.open_call(id, call, CallKind::Send(input), Some(permit));
                }
            }
            Effect::Recover(call) => self.recover_call(id, call),
            Effect::SendAnswer(call) => {
                let answer = self.current(id, call).and_then(|(_, a)| a.answer.clone());
                if let Some(answer) = answer {
                    self.open_call(id, call, CallKind::Answer(answer), None);
                }
            }
            Effect::Abort { call, attempt, number } => self.abort(id, call, &attempt, number),
            Effect::Publish { task } => self.publish_event(id, task),
            // What other executions and operators are told left with the commit (see `mail`); people are asked by the
            // event that is published.
            Effect::Dispatch { .. }
            | Effect::StartChild { .. }
            | Effect::CancelChild { .. }
            | Effect::AskApproval { .. }
            | Effect::Escalate { .. }
            | Effect::DeadLetter { .. }
            | Effect::PlanChanged
            | Effect::Ended => {}
        }
    }

    fn runs(&self, id: ExecutionId, call: CallKey) -> bool {
        let call = self.hot.get(&id).and_then(|hot| hot.state.call(call));
        call.is_some_and(|c| c.phase == CallPhase::Running)
    }

    fn current(&self, id: ExecutionId, call: CallKey) -> Option<(&Hot, &Attempt)> {
        let hot = self.hot.get(&id)?;
        Some((hot, hot.state.call(call)?.current.as_deref()?))
    }

    /// A call whose sender is gone: asked for when the agent named it, otherwise sent again with the same message id.
    fn recover_call(&mut self, id: ExecutionId, call: CallKey) {
        let Some((hot, attempt)) = self.current(id, call) else { return };
        let kind = match (&attempt.answer, &attempt.bound) {
            (Some(answer), _) => CallKind::Answer(answer.clone()),
            (None, Some(_)) => CallKind::Reattach,
            (None, None) => match hot.state.call_input(call) {
                Ok(input) => CallKind::Send(input),
                Err(e) => {
                    tracing::error!(execution = %id, error = %e, "the input of a call cannot be made again");
                    return;
                }
            },
        };
        self.open_call(id, call, kind, None);
    }

    /// After a restart executions are back before the registry has told the fleet.
    fn recover_later(&self, id: ExecutionId, call: CallKey, attempt: u32) {
        let (dispatcher, tx) = (self.shared.dispatcher.clone(), self.tx.clone());
        tokio::spawn(async move {
            dispatcher.fleet_known().await;
            let _ = tx.send(Msg::Recover { id, call, attempt }).await;
        });
    }

    /// The fleet is known now: the call is looked for, unless it has moved on.
    pub(crate) fn recover_now(&mut self, id: ExecutionId, call: CallKey, attempt: u32) {
        let Some(hot) = self.hot.get(&id) else { return };
        if hot.state.call(call).is_some_and(|c| c.attempt == attempt) && !hot.open.contains_key(&call) {
            self.recover_call(id, call);
        }
    }

    fn open_call(&mut self, id: ExecutionId, call: CallKey, kind: CallKind, permit: Option<Permit>) {
        let Some((hot, attempt)) = self.current(id, call) else { return };
        if hot.state.call(call).is_none_or(|c| c.phase != CallPhase::Running) {
            return;
        }
        let number = hot.state.call(call).map_or(0, |c| c.attempt);
        let permit = permit.or_else(|| self.shared.dispatcher.adopt(&attempt.to.instance));
        let Some(permit) = permit else {
            if !self.shared.dispatcher.knows_fleet() {
                return self.recover_later(id, call, number);
            }
            // The agent was removed meanwhile: nobody can be asked, so the outcome stays unknown.
            let gone = CallFailure {
                class: FailureClass::Broken,
                message: format!("agent {} is not registered any more", attempt.to.agent).into(),
                outcome_known: false,
                retry_after: None,
            };
            return self.call_failed(id, call, number, gone, 0);
        };
        let request = self.request(hot, attempt, call, kind, &permit);
        let (tx, caller) = (self.tx.clone(), self.shared.caller.clone());
        let cell = CallCell::new(&request, permit);
        let own = cell.clone();
        let task = tokio::spawn(async move {
            crash::point("before-send");
            let begun = Instant::now();
            let sink = Arc::new(LaneSink { id, call, attempt: number, tx: tx.clone(), cell: own.clone() });
            // Whatever happens in there, the lane hears of it.
            let outcome = AssertUnwindSafe(caller.call(request, sink)).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| CallOutcome::Failed {
                class: FailureClass::Broken,
                message: "the call broke down in this process; the log has the reason".into(),
                outcome_known: false,
                retry_after: None,
            });
            crash::point("answered-not-committed");
            // The slot is free before the lane hears of it: the next call may take it in the same step.
            let (wanted, usage) = (own.ended(&outcome), own.usage());
            let report = match (wanted, usage) {
                (true, usage) => {
                    let call_us = begun.elapsed().as_micros() as u64;
                    CallReport::Done { outcome, cost: CallCost { call_us, usage: usage.unwrap_or_default() } }
                }
                (false, Some(usage)) => CallReport::Used { usage },
                (false, None) => return,
            };
            let _ = tx.send(Msg::Call { id, call, attempt: number, report }).await;
        });
        if let Some(hot) = self.hot.get_mut(&id) {
            let open = OpenCall { attempt: number, task: task.abort_handle(), cell };
            if let Some(old) = hot.open.insert(call, open) {
                old.task.abort();
            }
        }
    }

    fn request(
        &self,
        hot: &Hot,
        attempt: &Attempt,
        call: CallKey,
        kind: CallKind,
        permit: &Permit,
    ) -> CallRequest {
        let state = &hot.state;
        let plan = state.task_plan(call.task);
        let path = state.task_path(call.task);
        let task = &state.tasks()[call.task as usize];
        let message_id = message_id(state, call).unwrap_or_default();
        let limits = &self.shared.limits;
        CallRequest {
            kind,
            agent: permit.agent.clone(),
            instance: permit.instance,
            execution_id: hot.id,
            task_id: path.as_str().into(),
            task_name: if plan.name.is_empty() { plan.id.clone() } else { plan.name.clone() },
            instructions: plan.instructions.clone(),
            item: task.scattered.then_some((call.item, task.calls.len() as u32)),
            message_id: message_id.to_string(),
            context_id: hot.id.to_string(),
            effect_key: name("effect", hot.id, (&path, task.generation()), call.item, None).to_string(),
            remote: plan.remote.clone(),
            capability: attempt.to.capability.clone(),
            session: session_of(&state.created().settings),
            bound: attempt.bound.clone(),
            trace: self.shared.trace_of_call(state, call),
            idle: plan.timeouts.heartbeat.unwrap_or(limits.attempt_timeout),
            total: Some(plan.timeouts.attempt.unwrap_or(limits.attempt_timeout)),
            followed: !hot.watchers.is_empty() || !self.workflow_watchers.is_empty(),
            bind_early: !attempt.to.effect.repeats(),
            short: plan.expected.is_some_and(|e| e < limits.short_call),
        }
    }

    /// What a call reports.
    pub(crate) fn call_report(&mut self, id: ExecutionId, call: CallKey, attempt: u32, report: CallReport) {
        match report {
            CallReport::Progress { share, text } => self.progress(id, call, share, text),
            CallReport::Bound { agent_task_id, context_id } => {
                self.feed_fact(id, &Input::Bound { call, attempt, agent_task_id, context_id });
            }
            CallReport::Used { usage } => self.feed_fact(id, &Input::Used { call, attempt, usage }),
            CallReport::Done { outcome, cost: CallCost { call_us, usage } } => {
                if let Some(hot) = self.hot.get_mut(&id)
                    && hot.open.get(&call).is_some_and(|open| open.attempt == attempt)
                {
                    hot.open.remove(&call);
                    hot.progress.remove(&call);
                }
                if let Some((_, open)) = self.current(id, call) {
                    let failed = matches!(outcome, CallOutcome::Failed { .. });
                    self.shared.measured.record(&open.to.instance, failed, call_us);
                }
                // With the outcome in one step, and before it: what follows is held to what is left. A call that asks goes
                // on, and tells its whole cost at its end.
                if usage != Usage::default() && !matches!(outcome, CallOutcome::InputRequired { .. }) {
                    self.feed_fact(id, &Input::Used { call, attempt, usage });
                }
                self.call_done(id, call, attempt, outcome, call_us);
                self.measure(id);
            }
        }
    }

    fn progress(&mut self, id: ExecutionId, call: CallKey, share: f64, text: Arc<str>) {
        let Some(hot) = self.hot.get_mut(&id) else { return };
        let progress = CallProgress { call, share: share.clamp(0.0, 1.0), text };
        hot.progress.insert(call, progress.clone());
        // Not an event: it is neither stored nor waited for.
        Self::send_live(&mut hot.watchers, &Live::Progress(progress));
    }

    pub(crate) fn call_done(
        &mut self,
        id: ExecutionId,
        call: CallKey,
        attempt: u32,
        outcome: CallOutcome,
        call_us: u64,
    ) {
        match outcome {
            CallOutcome::Completed(output) => match self.check_output(id, call, &output) {
                Ok(()) => {
                    let memo = self.to_remember(id, call, attempt, &output);
                    self.feed_fact(id, &Input::Answered { call, attempt, output, call_us });
                    self.remember(id, call, memo);
                }
                Err(message) => {
                    let bad = CallFailure {
                        class: FailureClass::InvalidOutput,
                        message: message.into(),
                        outcome_known: true,
                        retry_after: None,
                    };
                    self.call_failed(id, call, attempt, bad, call_us);
                }
            },
            CallOutcome::Failed { class, message, outcome_known, retry_after } => {
                let retry_after = retry_after.map(|d| self.now().plus(d));
                let failure = CallFailure { class, message: message.into(), outcome_known, retry_after };
                self.call_failed(id, call, attempt, failure, call_us);
            }
            CallOutcome::InputRequired { prompt, agent_task_id, context_id } => {
                let asked =
                    Input::InputRequired { call, attempt, prompt, agent_task_id, context_id, call_us };
                self.feed_fact(id, &asked);
            }
        }
    }

    pub(crate) fn check_output(
        &self,
        id: ExecutionId,
        call: CallKey,
        output: &Payload,
    ) -> Result<(), String> {
        let max = self.shared.limits.payload_bytes_max;
        if output.len() > max {
            return Err(format!("the answer has {} bytes, the limit is {max}", output.len()));
        }
        if let (Some(plan), Some(hot)) = (self.plans.get(&id), self.hot.get(&id))
            && let Some(task) = hot.state.tasks().get(call.task as usize)
        {
            plan.check_output(task.node(), output)?;
        }
        let Some((_, attempt)) = self.current(id, call) else { return Ok(()) };
        let to = &attempt.to;
        match self.shared.dispatcher.fleet().agent(&to.agent) {
            Some(agent) if !to.capability.is_empty() => {
                self.shared.schemas.check_output(agent, &to.capability, output)
            }
            _ => Ok(()),
        }
    }

    fn call_failed(
        &mut self,
        id: ExecutionId,
        call: CallKey,
        attempt: u32,
        failure: CallFailure,
        call_us: u64,
    ) {
        let CallFailure { class, message, outcome_known, retry_after } = failure;
        self.feed_fact(
            id,
            &Input::AttemptFailed { call, attempt, class, message, outcome_known, retry_after, call_us },
        );
    }

    /// Calls that the execution's own limits held back look again when there is room.
    pub(crate) fn release_held(&mut self, id: ExecutionId) {
        let now = self.shared.clock.now();
        // Each call is looked at once; what finds no room is held again.
        let held = self.hot.get(&id).map_or(0, |hot| hot.held.len());
        for _ in 0..held {
            let Some(hot) = self.hot.get_mut(&id) else { return };
            if hot.held.is_empty() || hot.state.room() == 0 {
                return;
            }
            let call = hot.held.remove(0);
            self.dispatch(id, call, now);
        }
    }

    fn measure(&mut self, id: ExecutionId) {
        let Some(hot) = self.hot.get(&id) else { return };
        let limits = &self.shared.limits;
        let (events_max, bytes_max) = (limits.history_events_max, limits.history_bytes_max);
        if hot.state.seq() >= events_max / 2 || hot.bytes >= bytes_max / 2 {
            self.feed_fact(id, &Input::Measure { bytes: hot.bytes, events_max, bytes_max });
        }
    }
}

/// The id of the message that began the call's newest attempt: the same for every send of unknown outcome.
pub(crate) fn message_id(state: &State, call: CallKey) -> Option<Uuid> {
    let retry = state.call(call)?.retry;
    let generation = state.tasks().get(call.task as usize)?.generation();
    Some(name("message", state.id(), (&state.task_path(call.task), generation), call.item, Some(retry)))
}

fn session_of(settings: &workflow::Settings) -> Option<SessionOfCall> {
    let workflow::Settings { session, vars, history, .. } = settings;
    (!session.is_empty()).then(|| SessionOfCall {
        id: session.clone(),
        vars: vars.clone(),
        history: history.clone(),
    })
}

/// A stable name: the same for every process that makes it.
fn name(kind: &str, id: ExecutionId, (task, generation): (&str, u32), item: u32, retry: Option<u32>) -> Uuid {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes()).update(id.as_bytes()).update(&generation.to_le_bytes());
    hasher.update(task.as_bytes()).update(&[0]).update(&item.to_le_bytes());
    if let Some(retry) = retry {
        hasher.update(&retry.to_le_bytes());
    }
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

struct LaneSink {
    id: ExecutionId,
    call: CallKey,
    attempt: u32,
    tx: tokio::sync::mpsc::Sender<Msg>,
    cell: Arc<CallCell>,
}

#[async_trait]
impl CallSink for LaneSink {
    async fn bound(&self, agent_task_id: Arc<str>, context_id: Arc<str>) {
        if self.cell.is_cut() {
            return;
        }
        let report = CallReport::Bound { agent_task_id, context_id };
        let _ = self.tx.send(Msg::Call { id: self.id, call: self.call, attempt: self.attempt, report }).await;
    }
    fn used(&self, usage: Usage) {
        self.cell.used(usage);
    }
    fn progress(&self, share: f64, text: &str) {
        if self.cell.is_cut() {
            return;
        }
        let report = CallReport::Progress { share, text: text.into() };
        // Progress gives way to work.
        let _ = self.tx.try_send(Msg::Call { id: self.id, call: self.call, attempt: self.attempt, report });
    }
}
