//! The graph changes while it runs: another plan, a reset, tasks taken over from another execution.

use std::{collections::HashMap, sync::Arc};

use base::{Payload, Timestamp};

use super::{State, TaskPhase};
use crate::{
    compiled::Compiled,
    event::SkipReason,
    facts::{PlanChange, Seed},
    graph::{self, Start},
    input::to_value,
    plan::NodeKind,
    state::Review,
    task::TaskState,
    turn::{Span, TurnPhase},
};

impl State {
    pub(super) fn change_plan(&mut self, change: &PlanChange, at: Timestamp) {
        let Some(plan) = change.compiled() else { return };
        self.revision = change.revision;
        let old = std::mem::replace(&mut self.plan, plan.clone());
        let tasks = self.match_tasks(&old, &plan, at);
        self.turns[0].tasks = Span::Each(tasks.clone());
        self.renumber_turns(&plan);
        for &task in &tasks {
            if self.tasks[task as usize].phase == TaskPhase::Pending {
                self.forget_start(task);
                self.count_edges(task);
            }
        }
        self.count_open();
        for task in tasks {
            self.start_if_ready(task);
        }
    }

    /// The tasks of the new plan in its order: those that were there keep their index, new ones are added.
    fn match_tasks(&mut self, old: &Compiled, plan: &Arc<Compiled>, at: Timestamp) -> Vec<u32> {
        let whole = &self.turns[0];
        let mut known: HashMap<String, u32> =
            (0..old.block(0).len).map(|offset| (old.node(offset).id.clone(), whole.task(offset))).collect();
        let mut tasks = Vec::with_capacity(plan.plan().tasks.len());
        for (node, task) in (0..).zip(&plan.plan().tasks) {
            let index = known.remove(&task.id).unwrap_or_else(|| {
                let mut added = TaskState::new(node, 0, task.after.len() as u32, 0);
                added.born = self.seq;
                self.tasks.push(added);
                self.tasks.len() as u32 - 1
            });
            self.tasks[index as usize].node = node;
            tasks.push(index);
        }
        for (id, index) in known {
            self.leave_agenda(index);
            self.listeners.remove(&index);
            let seq = self.seq;
            let gone = &mut self.tasks[index as usize];
            gone.node = u32::MAX;
            gone.more().removed = Some(id.as_str().into());
            if gone.is_open() {
                (gone.phase, gone.ended_at, gone.ended_seq) = (TaskPhase::Cancelled, Some(at), seq);
            }
        }
        tasks
    }

    /// Nodes of turns have other numbers in the new plan.
    fn renumber_turns(&mut self, plan: &Compiled) {
        for index in 1..self.turns.len() {
            let turn = &self.turns[index];
            let Some(owner) = turn.scope else { continue };
            let at = plan.at(self.tasks[owner as usize].node);
            let Some(block) = (if turn.undo { at.undo } else { at.body }) else { continue };
            let Span::From(first) = turn.tasks else { continue };
            for offset in 0..plan.block(block).len {
                if let Some(task) = self.tasks.get_mut((first + offset) as usize) {
                    task.node = plan.block(block).first + offset;
                }
            }
            self.turns[index].block = block;
        }
    }

    /// A pending task has not been looked at yet.
    fn forget_start(&mut self, task: u32) {
        self.leave_agenda(task);
        self.listeners.remove(&task);
        let state = &mut self.tasks[task as usize];
        state.queued = false;
        if let Some(more) = &mut state.more {
            more.wait = None;
        }
    }

    /// Counts the edges to a task of the plan from where those before it stand.
    fn count_edges(&mut self, task: u32) {
        let node = self.tasks[task as usize].node;
        let (mut missing, mut taken, mut failed) = (0, 0, false);
        for before in self.before(task) {
            let state = &self.tasks[before as usize];
            if state.is_open() {
                missing += 1;
                continue;
            }
            let ways = graph::ways(&self.plan, state);
            match ways.into_iter().find(|(to, _)| *to == node).map(|(_, way)| way) {
                Some(graph::Way::Taken) => taken += 1,
                Some(graph::Way::Failed) => failed = true,
                Some(graph::Way::NotTaken) | None => {}
            }
        }
        let state = &mut self.tasks[task as usize];
        (state.missing, state.taken, state.failed_before) = (missing, taken, failed);
    }

    fn count_open(&mut self) {
        let len = self.plan.block(0).len;
        let whole = &self.turns[0];
        let open = (0..len).filter(|&offset| self.tasks[whole.task(offset) as usize].is_open()).count();
        self.turns[0].unfinished = open as u32;
    }

    fn start_if_ready(&mut self, task: u32) {
        let state = &self.tasks[task as usize];
        if state.phase == TaskPhase::Pending && !state.queued && self.start_of(task) != Start::Wait {
            self.enqueue(task);
        }
    }

    pub(super) fn reset(&mut self, tasks: &[u32], input: Option<&Payload>, at: Timestamp) {
        if let Some(input) = input {
            self.inputs.push((self.seq, input.clone()));
        }
        let known = self.tasks.len();
        let tasks: Vec<u32> = tasks.iter().copied().filter(|t| (*t as usize) < known).collect();
        for &task in &tasks {
            self.clear_task(task, at);
        }
        for &task in &tasks {
            self.count_edges(task);
        }
        self.count_open();
        for task in tasks {
            self.start_if_ready(task);
        }
    }

    /// The task as it was before it began.
    fn clear_task(&mut self, task: u32, at: Timestamp) {
        if self.tasks[task as usize].scheduled_seq != 0 {
            let before = TaskState { calls: Vec::new(), ..self.tasks[task as usize].clone() };
            self.past.push((self.seq, task, before));
        }
        self.leave_agenda(task);
        self.review.retain(|r| *r != Review::Task(task) && *r != Review::Scope(task));
        self.close_calls(task, at);
        let turns = self.tasks[task as usize].turns().map(|s| s.turns.clone()).unwrap_or_default();
        for turn in turns {
            self.close_turn(turn, TurnPhase::Cancelled, at);
        }
        let before = self.tasks[task as usize].phase;
        if !self.close_task(task, TaskPhase::Cancelled, at) {
            match before {
                TaskPhase::Completed => self.completed -= 1,
                TaskPhase::Failed if !self.task_plan(task).optional => {
                    self.failures = self.failures.saturating_sub(1);
                }
                _ => {}
            }
        }
        let old = &self.tasks[task as usize];
        let mut fresh = TaskState::new(old.node, old.turn, 0, old.generation + 1);
        fresh.born = old.born;
        self.tasks[task as usize] = fresh;
    }

    pub(super) fn seed(&mut self, tasks: &[Seed], vars: Option<&Payload>, at: Timestamp) {
        if let Some(vars) = vars {
            self.set_vars(None, vars, "", at);
        }
        let known = self.tasks.len();
        for seed in tasks.iter().filter(|s| (s.task as usize) < known) {
            match &seed.output {
                None => self.skip(seed.task, SkipReason::Condition, at),
                Some(output) => {
                    self.tasks[seed.task as usize].more().taken_over = true;
                    if matches!(self.task_plan(seed.task).kind, NodeKind::Switch { .. }) {
                        let value = to_value(output);
                        let cases = value["cases"].as_array().into_iter().flatten();
                        let cases = cases.filter_map(|c| c.as_str().map(Arc::from)).collect();
                        self.tasks[seed.task as usize].more().cases = cases;
                    }
                    self.complete(seed.task, Some(output), 0, at);
                }
            }
        }
    }
}
