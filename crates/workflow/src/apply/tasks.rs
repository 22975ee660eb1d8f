//! Tasks begin, end, and open the ways to those behind them.

use std::sync::Arc;

use base::{FailureClass, Payload, Timestamp};
use serde_json::json;

use super::{CallKey, CallPhase, Cause, State, Status, TaskPhase, Timer};
use crate::{
    event::SkipReason,
    graph::{self, Start, Way},
    plan::{Join, NodeKind, ScopeMode, Wait},
    state::Review,
    turn::{ScopeState, TurnPhase},
    wait::Waiting,
};

impl State {
    pub(super) fn leave_agenda(&mut self, task: u32) {
        match self.agenda.front() {
            Some(&first) if first == task => {
                self.agenda.pop_front();
            }
            _ => self.agenda.retain(|&t| t != task),
        }
    }

    /// The task is under way from now on: what it sees is fixed, its total time runs.
    pub(super) fn enter(&mut self, task: u32, at: Timestamp) -> bool {
        if self.tasks[task as usize].phase != TaskPhase::Pending {
            return false;
        }
        self.leave_agenda(task);
        let seq = self.seq;
        let vars = self.vars.clone();
        let state = &mut self.tasks[task as usize];
        state.schedule(0, 0, false, at, seq);
        if vars.is_some() {
            state.more().vars = vars;
        }
        if let Some(total) = self.task_plan(task).timeouts.total {
            self.timers.insert((at.plus(total), Timer::Task(task)));
        }
        true
    }

    pub(super) fn schedule(&mut self, task: u32, items: u32, width: u32, scattered: bool, at: Timestamp) {
        if !self.enter(task, at) {
            return;
        }
        if matches!(self.task_plan(task).kind, NodeKind::Scope(_)) {
            let scope = ScopeState { items, width, ..ScopeState::default() };
            self.tasks[task as usize].more().scope = Some(scope);
            return self.review_scope(task);
        }
        let seq = self.seq;
        self.tasks[task as usize].schedule(items, width, scattered, at, seq);
        if items == 0 {
            self.review.push_back(Review::Task(task));
        }
        for item in 0..width.min(items) {
            self.make_ready(CallKey::new(task, item), at, at);
        }
    }

    pub(super) fn skip(&mut self, task: u32, reason: SkipReason, at: Timestamp) {
        self.leave_agenda(task);
        self.end_task(task, TaskPhase::Skipped(reason), at);
    }

    pub(super) fn complete(&mut self, task: u32, output: Option<&Payload>, call_us: u64, at: Timestamp) {
        if output.is_some() && !self.tasks[task as usize].calls.is_empty() {
            self.close_call(CallKey::new(task, 0), CallPhase::Completed, call_us, at);
        }
        let gathered = output.cloned().unwrap_or_else(|| self.gathered(task));
        self.close_with(task, gathered, at);
    }

    /// The task ends with this output.
    fn close_with(&mut self, task: u32, output: Payload, at: Timestamp) {
        self.review.retain(|r| *r != Review::Task(task) && *r != Review::Scope(task));
        if self.tasks[task as usize].phase == TaskPhase::Pending {
            self.enter(task, at);
        }
        let state = &mut self.tasks[task as usize];
        state.output = Some(output);
        for call in &mut state.calls {
            // The gathered output holds them; keeping both would double the memory.
            call.output = None;
        }
        self.end_task(task, TaskPhase::Completed, at);
    }

    /// What a task without an output of its own gives: gathered from its items, its turns or what it waited for.
    fn gathered(&self, task: u32) -> Payload {
        let state = &self.tasks[task as usize];
        match (&self.task_plan(task).kind, state.waiting()) {
            (NodeKind::Scope(scope), _) => self.gather_turns(task, &scope.mode),
            (NodeKind::Wait(Wait::Event { count, .. }), Some(Waiting::Event { taken, .. })) => {
                let mut events: Vec<_> = taken.iter().map(|e| e.to_value()).collect();
                match (*count, events.pop()) {
                    (1, Some(only)) => Payload::from_value(&only),
                    (_, last) => Payload::from_value(&events.into_iter().chain(last).collect()),
                }
            }
            (_, Some(Waiting::Signal { payload: Some(payload), .. })) => payload.clone(),
            (NodeKind::Call, _) => self.gather(task),
            _ => Payload::null(),
        }
    }

    pub(super) fn route(&mut self, task: u32, cases: &[Arc<str>], at: Timestamp) {
        let names: Vec<&str> = cases.iter().map(|c| &**c).collect();
        let output = Payload::from_value(&json!({"cases": names}));
        self.tasks[task as usize].more().cases = cases.to_vec();
        self.close_with(task, output, at);
    }

    /// Its calls that did not complete are over.
    pub(super) fn close_calls(&mut self, task: u32, at: Timestamp) {
        for item in 0..self.tasks[task as usize].calls.len() as u32 {
            let call = CallKey::new(task, item);
            let phase = self.call(call).map(|c| c.phase);
            if !matches!(phase, Some(CallPhase::Completed | CallPhase::Failed)) {
                self.close_call(call, CallPhase::Failed, 0, at);
            }
        }
    }

    /// Notes why a task failed, once: the attempt that failed may have said it already.
    fn note_cause(&mut self, key: CallKey, class: FailureClass, message: &Arc<str>, at: Timestamp) {
        self.leave_agenda(key.task);
        self.review.retain(|r| *r != Review::Task(key.task) && *r != Review::Scope(key.task));
        let reported = self.call(key).and_then(|c| c.error.as_ref()).is_some_and(|e| e.1 == *message);
        if !reported {
            let (attempt, agent) = (self.call(key).map_or(0, |c| c.attempt), self.agent_of(key));
            self.causes.push(Cause { call: Some(key), attempt, class, message: message.clone(), agent, at });
        }
        for item in 0..self.tasks[key.task as usize].calls.len() as u32 {
            let call = CallKey::new(key.task, item);
            if !matches!(self.call(call).map(|c| c.phase), Some(CallPhase::Completed)) {
                self.close_call(call, CallPhase::Failed, 0, at);
            }
        }
        if let Some(call) = self.call_mut(key) {
            call.error.get_or_insert_with(|| Arc::new((class, message.clone())));
        }
        self.tasks[key.task as usize].more().error = Some(Arc::new((class, message.clone())));
    }

    pub(super) fn fail_task(
        &mut self,
        key: CallKey,
        (class, message): (FailureClass, &Arc<str>),
        tolerated: bool,
        spared: bool,
        at: Timestamp,
    ) {
        if !self.task_plan(key.task).optional && !spared {
            self.failures += 1;
        }
        self.note_cause(key, class, message, at);
        // Before the end of its turn is looked at: a turn that failed gives nothing.
        if !tolerated {
            self.review.push_back(Review::Task(key.task));
        }
        self.end_task(key.task, TaskPhase::Failed, at);
    }

    pub(super) fn recover_task(
        &mut self,
        key: CallKey,
        (class, message): (FailureClass, &Arc<str>),
        output: &Payload,
        at: Timestamp,
    ) {
        self.note_cause(key, class, message, at);
        self.close_with(key.task, output.clone(), at);
    }

    pub(super) fn cancel_task(&mut self, task: u32, at: Timestamp) {
        self.leave_agenda(task);
        self.review.retain(|r| *r != Review::Task(task) && *r != Review::Scope(task));
        self.close_calls(task, at);
        self.end_task(task, TaskPhase::Cancelled, at);
    }

    /// The task is over: its successors have one less to wait for.
    pub(super) fn end_task(&mut self, task: u32, phase: TaskPhase, at: Timestamp) {
        if !self.close_task(task, phase, at) {
            return;
        }
        let plan = self.plan.clone();
        let turn = self.tasks[task as usize].turn;
        for (offset, way) in graph::ways(&plan, &self.tasks[task as usize]) {
            let next = self.turns[turn as usize].task(offset);
            self.resolve_edge(next, way);
        }
        self.leave_gate(task);
        let turn_state = &self.turns[turn as usize];
        if turn != 0 && turn_state.unfinished == 0 && turn_state.phase == TurnPhase::Running {
            self.review.push_back(Review::Turn(turn));
        }
    }

    /// An edge to `task` is known.
    fn resolve_edge(&mut self, task: u32, way: Way) {
        let Some(state) = self.tasks.get_mut(task as usize) else { return };
        state.missing = state.missing.saturating_sub(1);
        match way {
            Way::Taken => state.taken += 1,
            Way::Failed => state.failed_before = true,
            Way::NotTaken => {}
        }
        if state.phase != TaskPhase::Pending || state.queued {
            return;
        }
        // All tasks of a plain plan take this short way.
        let waits = match self.task_plan(task).join {
            Join::All | Join::BestEffort => self.tasks[task as usize].missing > 0,
            Join::Any | Join::Quorum(_) => self.start_of(task) == Start::Wait,
        };
        if !waits {
            self.enqueue(task);
        }
    }

    /// The task may start: it goes on the agenda, through its gate when it has one.
    pub(super) fn enqueue(&mut self, task: u32) {
        self.tasks[task as usize].queued = true;
        match self.gate_of(task) {
            Some((owner, offset)) if self.start_of(task) == Start::Run => {
                let number = self.turns[self.tasks[task as usize].turn as usize].number;
                if let Some(gate) = self.gate_mut(owner, offset) {
                    gate.waiting.insert(number);
                }
                self.open_gate(owner, offset);
            }
            _ => self.agenda.push_back(task),
        }
    }

    /// The phase of a task that ends, and everything that hangs on it but the ways out. False when it had ended.
    pub(super) fn close_task(&mut self, task: u32, phase: TaskPhase, at: Timestamp) -> bool {
        let seq = self.seq;
        if !self.tasks[task as usize].is_open() {
            return false;
        }
        self.clear_timers(task);
        let state = &mut self.tasks[task as usize];
        state.phase = phase;
        state.ended_at = Some(at);
        state.ended_seq = seq;
        let turn = state.turn;
        self.listeners.remove(&task);
        if phase == TaskPhase::Completed {
            self.completed += 1;
        }
        let turn = &mut self.turns[turn as usize];
        turn.unfinished = turn.unfinished.saturating_sub(1);
        if self.tasks[task as usize].turns().is_some() {
            self.close_turns(task, phase, at);
        }
        true
    }

    fn clear_timers(&mut self, task: u32) {
        let state = &self.tasks[task as usize];
        let plan = self.task_plan(task);
        let total = plan.timeouts.total.zip(state.scheduled_at);
        let mut gone = total.map(|(total, from)| (from.plus(total), Timer::Task(task)));
        if let Some(gone) = gone.take() {
            self.timers.remove(&gone);
        }
        if let Some(until) = self.tasks[task as usize].waiting().and_then(Waiting::until) {
            self.timers.remove(&(until, Timer::Wait(task)));
        }
        if let Some(due) = self.escalation_due(task) {
            self.timers.remove(&(due, Timer::Escalation(task)));
        }
    }

    pub(super) fn finish(&mut self, status: Status, at: Timestamp) {
        self.close_everything(at);
        for turn in self.turns.iter_mut().filter(|t| t.phase == TurnPhase::Running) {
            turn.phase = TurnPhase::Cancelled;
            turn.ended_at = Some(at);
        }
        self.status = status;
        self.ended_at = Some(at);
        self.timers.clear();
    }

    /// Every open task is cancelled; nothing is due any more.
    pub(super) fn close_everything(&mut self, at: Timestamp) {
        for task in 0..self.tasks.len() as u32 {
            if self.tasks[task as usize].is_open() {
                self.close_calls(task, at);
                let seq = self.seq;
                let ended = &mut self.tasks[task as usize];
                (ended.phase, ended.ended_at, ended.ended_seq) = (TaskPhase::Cancelled, Some(at), seq);
            }
        }
        for turn in &mut self.turns {
            turn.unfinished = 0;
        }
        self.agenda.clear();
        self.review.clear();
        self.fresh.clear();
        self.listeners.clear();
    }

    /// The gate before a task in a turn over a list: the scope's task and the task's place in the body.
    fn gate_of(&self, task: u32) -> Option<(u32, u32)> {
        let state = &self.tasks[task as usize];
        let turn = self.turn_of(task).filter(|t| !t.undo)?;
        let owner = turn.scope?;
        let Some(ScopeMode::ForEach { ordered, .. }) = self.scope_mode(owner) else { return None };
        let gated = *ordered || self.plan.node(state.node).width.is_some();
        gated.then(|| (owner, state.node - self.plan.block(turn.block).first))
    }

    fn gate_mut(&mut self, owner: u32, offset: u32) -> Option<&mut crate::turn::Gate> {
        let scope = self.tasks[owner as usize].more.as_mut()?.scope.as_mut()?;
        Some(scope.gates.entry(offset).or_default())
    }

    /// Lets in whom the gate admits now.
    fn open_gate(&mut self, owner: u32, offset: u32) {
        let Some(ScopeMode::ForEach { ordered, .. }) = self.scope_mode(owner) else { return };
        let ordered = *ordered;
        let Some(body) = self.plan.at(self.tasks[owner as usize].node).body else { return };
        let width = self.plan.node(self.plan.block(body).first + offset).width;
        while let Some(number) = self.gate_mut(owner, offset).and_then(|g| g.admits(width, ordered)) {
            if let Some(gate) = self.gate_mut(owner, offset) {
                gate.inside.insert(number);
                gate.pass(number);
            }
            let turns = self.tasks[owner as usize].turns().map(|s| s.turns.as_slice()).unwrap_or_default();
            if let Some(&turn) = turns.get(number as usize) {
                let task = self.turns[turn as usize].task(offset);
                self.agenda.push_back(task);
            }
        }
    }

    /// The task ended: its turn is past the gate, whether it went through or not.
    pub(super) fn leave_gate(&mut self, task: u32) {
        let Some((owner, offset)) = self.gate_of(task) else { return };
        let number = self.turns[self.tasks[task as usize].turn as usize].number;
        if let Some(gate) = self.gate_mut(owner, offset) {
            gate.inside.remove(&number);
            gate.pass(number);
        }
        if self.tasks[owner as usize].is_open() {
            self.open_gate(owner, offset);
        }
    }
}
