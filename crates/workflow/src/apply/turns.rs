//! Turns begin, end, and give what they gave.

use std::sync::Arc;

use base::{Payload, Timestamp};
use serde_json::{Value, json};

use super::{State, TaskPhase};
use crate::{
    facts::TurnResult,
    input::{json_bytes, to_value},
    plan::{Join, Rest, ScopeMode},
    state::Review,
    task::TaskState,
    turn::{Span, Turn, TurnPhase},
};

impl State {
    /// A copy of `block` joins the tasks; those that wait for nothing may start.
    pub(super) fn push_turn(
        &mut self,
        scope: u32,
        undo: bool,
        block: u32,
        number: u32,
        at: Timestamp,
    ) -> u32 {
        let plan = self.plan.clone();
        let block_plan = plan.block(block);
        let (first, turn) = (self.tasks.len() as u32, self.turns.len() as u32);
        let generation = self.tasks[scope as usize].generation;
        for node in block_plan.first..block_plan.first + block_plan.len {
            let missing = plan.node(node).after.len() as u32;
            self.tasks.push(TaskState::new(node, turn, missing, generation));
        }
        self.turns.push(Turn {
            scope: Some(scope),
            undo,
            number,
            phase: TurnPhase::Running,
            item: None,
            carry: None,
            output: None,
            error: None,
            started_at: at,
            ended_at: None,
            block,
            tasks: Span::From(first),
            unfinished: block_plan.len,
        });
        if !undo && let Some(own) = self.scope_mut(scope) {
            own.turns.push(turn);
        }
        turn
    }

    /// What waits for nothing in a new turn may start.
    pub(super) fn open_turn(&mut self, turn: u32) {
        let own = &self.turns[turn as usize];
        let tasks: Vec<u32> = (0..own.unfinished).map(|offset| own.task(offset)).collect();
        if tasks.is_empty() {
            self.review.push_back(Review::Turn(turn));
        }
        for task in tasks {
            if self.tasks[task as usize].missing == 0 {
                self.enqueue(task);
            }
        }
    }

    pub(super) fn scope_mut(&mut self, task: u32) -> Option<&mut crate::turn::ScopeState> {
        self.tasks.get_mut(task as usize)?.more.as_mut()?.scope.as_mut()
    }

    pub(super) fn start_turn(
        &mut self,
        scope: u32,
        number: u32,
        item: Option<Payload>,
        carry: Option<Payload>,
        at: Timestamp,
    ) {
        let body = self.plan.at(self.tasks[scope as usize].node).body;
        let next = self.tasks[scope as usize].turns().map(|s| s.turns.len() as u32);
        let (Some(body), true) = (body, next == Some(number)) else { return };
        self.end_pause(scope);
        self.review.retain(|r| *r != Review::Scope(scope));
        let turn = self.push_turn(scope, false, body, number, at);
        let own = &mut self.turns[turn as usize];
        (own.item, own.carry) = (item, carry);
        self.open_turn(turn);
        self.review_scope(scope);
    }

    pub(super) fn end_turn(&mut self, scope: u32, number: u32, result: &TurnResult, at: Timestamp) {
        // What asked for this end is answered, even when the turn had ended: it is not looked at again.
        self.forget_reviews(scope, number, false);
        let turns = self.tasks[scope as usize].turns().map(|s| s.turns.as_slice()).unwrap_or_default();
        let Some(&turn) = turns.get(number as usize) else { return };
        if self.turns[turn as usize].phase != TurnPhase::Running {
            return;
        }
        let phase = match result {
            TurnResult::Output(_) => TurnPhase::Completed,
            TurnResult::Failed { .. } => TurnPhase::Failed,
        };
        self.close_turn(turn, phase, at);
        let own = &mut self.turns[turn as usize];
        match result {
            TurnResult::Output(output) => own.output = Some(output.clone()),
            TurnResult::Failed { class, message } => own.error = Some(Arc::new((*class, message.clone()))),
        }
        if let Some(state) = self.scope_mut(scope) {
            *(if phase == TurnPhase::Completed { &mut state.completed } else { &mut state.failed }) += 1;
        }
        self.review_scope(scope);
    }

    /// Tasks of a turn that have ended are not looked at again.
    pub(super) fn forget_reviews(&mut self, scope: u32, number: u32, undo: bool) {
        let (tasks, turns) = (&self.tasks, &self.turns);
        self.review.retain(|r| {
            let turn = match r {
                Review::Task(task) if !tasks[*task as usize].is_open() => tasks[*task as usize].turn,
                Review::Turn(turn) => *turn,
                Review::Task(_) | Review::Scope(_) => return true,
            };
            let own = &turns[turn as usize];
            (own.scope, own.number, own.undo) != (Some(scope), number, undo)
        });
    }

    /// The turn is over, and with it all that is open in it.
    pub(super) fn close_turn(&mut self, turn: u32, phase: TurnPhase, at: Timestamp) {
        let own = &mut self.turns[turn as usize];
        if own.phase != TurnPhase::Running {
            return;
        }
        own.phase = phase;
        own.ended_at = Some(at);
        let open = own.unfinished > 0;
        let len = self.plan.block(own.block).len;
        let tasks: Vec<u32> = (0..len).map(|offset| own.task(offset)).collect();
        self.review.retain(|r| match r {
            Review::Turn(t) => *t != turn,
            Review::Task(t) | Review::Scope(t) => !tasks.contains(t),
        });
        for task in tasks {
            // Turns that a scope left running go with the turn around it, unless that completed.
            if phase != TurnPhase::Completed && !self.tasks[task as usize].is_open() {
                let kept = self.tasks[task as usize].turns().map(|s| s.turns.clone()).unwrap_or_default();
                for turn in kept {
                    self.close_turn(turn, TurnPhase::Cancelled, at);
                }
            }
            if open && self.tasks[task as usize].is_open() {
                self.leave_agenda(task);
                self.close_calls(task, at);
                self.close_task(task, TaskPhase::Cancelled, at);
                self.leave_gate(task);
            }
        }
    }

    /// A scope's task ended: turns that nobody waits for are cancelled, unless they may go on. What failed keeps none,
    /// also when a catch lets it end as completed.
    pub(super) fn close_turns(&mut self, task: u32, phase: TaskPhase, at: Timestamp) {
        let keep = matches!(self.scope_mode(task), Some(ScopeMode::ForEach { rest: Rest::Keep, .. }));
        let caught = self.tasks[task as usize].error().is_some();
        if keep && phase == TaskPhase::Completed && !caught {
            return;
        }
        let turns = self.tasks[task as usize].turns().map(|s| s.turns.clone()).unwrap_or_default();
        for turn in turns {
            self.close_turn(turn, TurnPhase::Cancelled, at);
        }
    }

    /// Puts a scope up for review when it can start a turn or end.
    pub(super) fn review_scope(&mut self, task: u32) {
        let again = self.review.contains(&Review::Scope(task));
        if !again && self.tasks[task as usize].is_open() && self.scope_due(task) {
            self.review.push_back(Review::Scope(task));
        }
    }

    fn scope_due(&self, task: u32) -> bool {
        let Some(state) = self.tasks[task as usize].turns() else { return false };
        match self.scope_mode(task) {
            Some(ScopeMode::ForEach { .. }) => {
                self.verdict_of(task).is_some()
                    || (state.turns.len() as u32) < state.items && state.running() < state.width
            }
            _ => state.running() == 0,
        }
    }

    /// What the join of a scope over a list says: enough turns completed, or never will; `None` = it goes on.
    pub(crate) fn verdict_of(&self, task: u32) -> Option<bool> {
        let state = self.tasks[task as usize].turns()?;
        let Some(ScopeMode::ForEach { join, .. }) = self.scope_mode(task) else { return None };
        let (ok, failed, all) = (state.completed, state.failed, state.items);
        let left = all.saturating_sub(ok + failed);
        let wanted = match join {
            Join::All if failed > 0 => return Some(false),
            Join::All | Join::BestEffort => return (left == 0).then_some(true),
            Join::Any => 1,
            Join::Quorum(n) => *n,
        };
        match ok >= wanted {
            true => Some(true),
            false if ok + left < wanted => Some(false),
            false => None,
        }
    }

    /// What a scope gives from its turns.
    pub(super) fn gather_turns(&self, task: u32, mode: &ScopeMode) -> Payload {
        let turns = self.tasks[task as usize].turns().map(|s| s.turns.as_slice()).unwrap_or_default();
        let last = turns.last().and_then(|t| self.turns[*t as usize].output.clone());
        match mode {
            ScopeMode::ForEach { partial: true, .. } => {
                Payload::from_value(&turns.iter().map(|t| self.told(*t)).collect())
            }
            ScopeMode::ForEach { .. } | ScopeMode::Loop { history: true, gather: true, .. } => {
                let mut text = Vec::from(*b"[");
                for output in turns.iter().filter_map(|t| self.turns[*t as usize].output.as_ref()) {
                    if text.len() > 1 {
                        text.push(b',');
                    }
                    text.extend_from_slice(&json_bytes(output));
                }
                text.push(b']');
                Payload::json_text(text)
            }
            ScopeMode::Once | ScopeMode::Loop { .. } => last.unwrap_or_else(Payload::null),
        }
    }

    /// A turn in a list of partial results.
    fn told(&self, turn: u32) -> Value {
        let turn = &self.turns[turn as usize];
        match (&turn.output, &turn.error) {
            (Some(output), _) => {
                json!({"index": turn.number, "status": "completed", "output": to_value(output)})
            }
            (None, Some(error)) => json!({
                "index": turn.number,
                "status": "failed",
                "error": {"class": error.0.as_str(), "message": &*error.1},
            }),
            (None, None) => json!({"index": turn.number, "status": "cancelled"}),
        }
    }
}
