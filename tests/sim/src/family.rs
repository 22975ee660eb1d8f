//! Sub-workflows that really run: worlds inside of a world, each with its own faults, beside the clock of the one above.
//! What a parent and its sub-workflows tell each other is never lost, but comes twice, late and in any order.

use std::{collections::BTreeMap, sync::Arc};

use base::{ExecutionId, FailureClass};
use workflow::{ChildOutcome, ChildStart, Compiled, Input, Kind, Parent, Spending, TaskPhase, create};

use crate::{Rng, World, plans};

/// Executions below one another, the first included.
const DEEP_MAX: u32 = 3;
/// Sub-workflows that one execution may start; more are refused, as by a shard without room.
const CHILDREN_MAX: usize = 6;

/// A sub-workflow.
pub(crate) struct Member {
    pub(crate) world: Box<World>,
    /// The task that started it.
    task: u32,
    detached: bool,
    /// Whether a cancel is on its way to it.
    ordered: bool,
    /// Whether a cancel reached it.
    cancelled: bool,
    /// How it ended and what it had spent then, as its parent is told.
    end: Option<(ChildOutcome, Spending)>,
}

impl World {
    /// All executions below it, its sub-workflows and theirs.
    pub fn below(&self) -> Vec<&Self> {
        let own = self.family.values().map(|member| &*member.world);
        own.flat_map(|world| std::iter::once(world).chain(world.below())).collect()
    }

    /// The sub-workflow of a task starts; asked again, it says how it is.
    pub(crate) fn start_child(&mut self, task: u32) {
        let Some(child) = self.state.child(task).cloned() else { return };
        let execution = child.execution;
        if !self.family.contains_key(&execution) && !self.refused.contains(&execution) {
            self.begin_child(task, &child);
        }
        if self.refused.contains(&execution) {
            let (class, message) = (FailureClass::Definition, "there is no such workflow".into());
            self.pending.push(Input::ChildRefused { task, execution, class, message });
            return;
        }
        self.pending.push(Input::ChildAccepted { task, execution, version: "1".into() });
        self.tell_end(execution);
    }

    fn begin_child(&mut self, task: u32, child: &Arc<ChildStart>) {
        let deep = child.depth >= DEEP_MAX || self.family.len() >= CHILDREN_MAX;
        let odd = !self.calm && self.rng.one_in(12);
        let plan = match self.subs.is_empty() || deep || odd {
            true => None,
            false => self.rng.pick(self.subs.iter()).cloned(),
        };
        let Some(plan) = plan else {
            self.refused.insert(child.execution);
            return;
        };
        let mut rng = Rng::new(self.rng.below(u64::MAX));
        let mut created = plans::created(&mut rng);
        created.input = child.input.clone();
        created.settings.budget = child.budget;
        let path = self.state.task_path(task).into();
        created.settings.parent =
            Some(Arc::new(Parent { execution: self.state.id(), task: path, depth: child.depth }));
        let plan = Arc::new(Compiled::new(plan).unwrap());
        let (state, step) = create(child.execution, plan.clone(), created, self.now);
        let mut world = Self::around(self.seed, rng, (child.execution, plan), (state, step), self.now);
        (world.wild, world.polite, world.calm) = (self.wild, self.polite, self.calm);
        (world.subs, world.names) = (self.subs.clone(), self.names.clone());
        let (world, detached) = (Box::new(world), child.detached);
        let member = Member { world, task, detached, ordered: false, cancelled: false, end: None };
        self.family.insert(child.execution, member);
    }

    /// A cancel is sent to a sub-workflow that nobody waits for any more.
    pub(crate) fn cancel_child(&mut self, task: u32, execution: ExecutionId) {
        let own = &self.state.tasks()[task as usize];
        let current = self.state.child(task).is_some_and(|c| c.execution == execution);
        assert!(
            !(own.phase == TaskPhase::Scheduled && current) || self.state.status().is_final(),
            "seed {}: the sub-workflow of {task} is cancelled while it is waited for",
            self.seed
        );
        if let Some(member) = self.family.get_mut(&execution) {
            assert!(!member.detached, "seed {}: a detached sub-workflow is cancelled", self.seed);
            member.ordered = !member.cancelled;
        }
        self.tell_end(execution);
    }

    /// The end of a sub-workflow, once it is there.
    fn tell_end(&mut self, execution: ExecutionId) {
        let Some(member) = self.family.get_mut(&execution) else { return };
        let state = &member.world.state;
        if !state.status().is_final() {
            return;
        }
        let last = || member.world.log.iter().rev().find_map(|e| ChildOutcome::of(state, &e.kind));
        let (outcome, spent) =
            member.end.get_or_insert_with(|| (last().unwrap(), state.spent_at_end())).clone();
        self.pending.push(Input::ChildEnded { task: member.task, execution, outcome, spent });
    }

    /// Some sub-workflow does something, or hears that nobody waits for it.
    pub(crate) fn let_a_child_live(&mut self) {
        let live = self.family.iter().filter(|(_, m)| !m.world.over()).map(|(id, _)| *id);
        let live: Vec<ExecutionId> = live.collect();
        if let Some(execution) = self.rng.pick(live.into_iter()) {
            self.child_does(execution, World::anything);
        }
    }

    /// Every sub-workflow goes on towards its end.
    pub(crate) fn drain_children(&mut self, round: usize) {
        for execution in self.family.keys().copied().collect::<Vec<_>>() {
            self.child_does(execution, |world| world.round(round));
        }
    }

    fn child_does(&mut self, execution: ExecutionId, does: impl FnOnce(&mut World)) {
        let Some(member) = self.family.get_mut(&execution) else { return };
        if member.world.over() {
            return;
        }
        member.world.now = self.now;
        if member.ordered && self.rng.one_in(3) {
            let reason = "its parent does not wait for it any more".into();
            if member.world.commits(Input::Cancel { by: "workflow:sim".into(), reason }) {
                (member.ordered, member.cancelled) = (false, true);
            }
        } else {
            does(&mut member.world);
        }
        self.tell_ends();
    }

    /// Whoever ended since the last look says so.
    fn tell_ends(&mut self) {
        let ended = |m: &Member| m.end.is_none() && m.world.state.status().is_final();
        for execution in self.family.iter().filter(|(_, m)| ended(m)).map(|(id, _)| *id).collect::<Vec<_>>() {
            self.tell_end(execution);
        }
    }

    /// The process, or the one of each sub-workflow, dies.
    pub(crate) fn crash_children(&mut self) {
        for member in self.family.values_mut() {
            if self.rng.one_in(2) {
                member.world.crash();
            }
        }
    }

    /// Time passes for sub-workflows, too.
    pub(crate) fn tick_children(&mut self) {
        let now = self.now;
        for member in self.family.values_mut() {
            member.world.now = now;
            member.world.tick();
        }
        self.tell_ends();
    }

    /// Whether it ended, with all below it, and heard of their ends.
    pub(crate) fn over(&self) -> bool {
        let unheard = |input: &Input| matches!(input, Input::ChildEnded { .. } | Input::ChildRefused { .. });
        self.state.status().is_final()
            && self.family.values().all(|m| m.world.over())
            && !self.pending.iter().any(unheard)
    }

    /// After each step: whoever is not waited for any more is told so.
    pub(crate) fn check_children(&self) {
        for (execution, member) in &self.family {
            let waited_for = self.state.child(member.task).is_some_and(|c| c.execution == *execution)
                && self.state.tasks()[member.task as usize].phase == TaskPhase::Scheduled
                && !self.state.status().is_final();
            let told = member.ordered || member.cancelled || member.end.is_some();
            let fine = member.detached || waited_for || told || member.world.state.status().is_final();
            assert!(fine, "seed {}: nobody cancels {execution}: {:#?}", self.seed, self.log);
        }
    }

    /// Calls that a budget holds for, of this execution and those below it: all but those of compensation.
    fn bound_calls(&self) -> u64 {
        let own = self.log.iter().filter(|e| match &e.kind {
            Kind::AttemptStarted { call, .. } => !self.undoes(call.task),
            _ => false,
        });
        let below = self.family.values().filter(|m| !self.undoes(m.task)).map(|m| m.world.bound_calls());
        own.count() as u64 + below.sum::<u64>()
    }

    fn undoes(&self, task: u32) -> bool {
        let Some(turn) = self.state.turn_of(task) else { return false };
        turn.undo || turn.scope.is_some_and(|scope| self.undoes(scope))
    }

    /// At the end: what each was started for, what the parent heard of it, and what they spent together.
    pub(crate) fn judge_children(&self) {
        let seed = self.seed;
        let mut started = BTreeMap::new();
        let mut current = BTreeMap::new();
        let (mut own_calls, mut heard) = (0, Spending::default());
        for event in &self.log {
            match &event.kind {
                Kind::AttemptStarted { .. } => own_calls += 1,
                Kind::ChildStarted { task, child } => {
                    current.insert(*task, child.execution);
                    let again = started.insert(child.execution, false);
                    assert_eq!(again, None, "seed {seed}: {} is started twice", child.execution);
                }
                Kind::ChildEnded { task, outcome, spent } => {
                    let execution = current[task];
                    let again = started.insert(execution, true);
                    assert_eq!(again, Some(false), "seed {seed}: {execution} ends twice for its parent");
                    let end = self.family.get(&execution).and_then(|m| m.end.as_ref());
                    assert!(
                        end.is_none_or(|end| *end == (outcome.clone(), *spent)),
                        "seed {seed}: {execution} ended with {end:?}, its parent heard {outcome:?}"
                    );
                    heard = heard.plus(*spent);
                }
                Kind::ChildSettled { execution, spent } => {
                    let again = started.insert(*execution, true);
                    assert_eq!(again, Some(false), "seed {seed}: {execution} ends twice for its parent");
                    heard = heard.plus(*spent);
                }
                _ => {}
            }
        }
        assert_eq!(
            self.state.spent().calls,
            own_calls + heard.calls,
            "seed {seed}: what sub-workflows spent counts once"
        );
        let limit = self.state.budget().calls;
        let calls = self.bound_calls();
        assert!(
            limit == 0 || calls <= limit,
            "seed {seed}: {calls} calls of {limit}, sub-workflows included: {:#?}",
            self.log
        );
        for (execution, ended) in &started {
            assert!(*ended, "seed {seed}: nobody said how {execution} ended: {:#?}", self.log);
            let known = self.family.contains_key(execution) || self.refused.contains(execution);
            assert!(known, "seed {seed}: {execution} was never started");
        }
        for (execution, member) in &self.family {
            assert!(started.contains_key(execution), "seed {seed}: {execution} runs for nobody");
            member.world.judge();
        }
    }
}
