//! Edges and joins: which ways a task that ended opens, when the next may start, and what can go without a failure.

use std::collections::{BTreeMap, BTreeSet};

use base::FailureClass;

use crate::{
    compiled::{Compiled, Next},
    event::SkipReason,
    plan::{Edge, Join},
    state::State,
    task::{TaskPhase, TaskState},
};

/// What an edge is once the task before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It leads on.
    Taken,
    /// It does not; that is nobody's failure.
    NotTaken,
    /// A failure, which nobody caught, keeps it from leading on.
    Failed,
}

/// What a task's join says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It waits.
    Wait,
    /// It starts.
    Run,
    /// It never will.
    Skip(SkipReason),
    /// So many edges were taken, and that is too few.
    TooFew(u32, u32),
}

/// Whether an edge of this label catches a failure of this class.
fn catches(edge: &Edge, class: FailureClass) -> bool {
    match edge {
        Edge::Failed(classes) => classes.is_empty() || classes.contains(&class),
        Edge::Ended => true,
        Edge::Done | Edge::Case(_) => false,
    }
}

fn label(plan: &Compiled, first: u32, next: Next) -> &Edge {
    plan.node(first + next.to).edges.get(next.edge as usize).unwrap_or(&Edge::Done)
}

/// Whether some edge out of node `node` catches a failure of this class.
pub(crate) fn caught(plan: &Compiled, node: u32, class: FailureClass) -> bool {
    let at = plan.at(node);
    let first = plan.block(at.block).first;
    at.labelled && at.next.iter().any(|&next| catches(label(plan, first, next), class))
}

/// The ways out of a task that ended, with the offsets they lead to.
pub(crate) fn ways(plan: &Compiled, task: &TaskState) -> Vec<(u32, Way)> {
    let at = plan.at(task.node);
    if !at.labelled {
        let way = plain(task.phase, false);
        return at.next.iter().map(|next| (next.to, way)).collect();
    }
    let first = plan.block(at.block).first;
    let failure = task.error().map_or(FailureClass::Error, |(class, _)| *class);
    let caught = task.phase == TaskPhase::Failed && caught(plan, task.node, failure);
    let way = |next: &Next| match label(plan, first, *next) {
        Edge::Done => plain(task.phase, caught),
        Edge::Case(name) => match task.phase {
            TaskPhase::Completed => chosen(task, name),
            phase => plain(phase, caught),
        },
        Edge::Failed(_) if task.phase != TaskPhase::Failed => Way::NotTaken,
        edge @ Edge::Failed(_) if catches(edge, failure) => Way::Taken,
        Edge::Failed(_) => Way::NotTaken,
        Edge::Ended => match task.phase {
            TaskPhase::Skipped(SkipReason::Condition | SkipReason::DependenciesSkipped) => Way::NotTaken,
            _ => Way::Taken,
        },
    };
    at.next.iter().map(|next| (next.to, way(next))).collect()
}

fn plain(phase: TaskPhase, caught: bool) -> Way {
    match phase {
        TaskPhase::Completed => Way::Taken,
        TaskPhase::Failed if !caught => Way::Failed,
        TaskPhase::Skipped(SkipReason::DependencyFailed) => Way::Failed,
        _ => Way::NotTaken,
    }
}

fn chosen(task: &TaskState, name: &str) -> Way {
    let is = task.more.as_ref().is_some_and(|m| m.cases.iter().any(|c| &**c == name));
    if is { Way::Taken } else { Way::NotTaken }
}

/// What the join of a task says with the edges known so far.
pub(crate) fn start(join: Join, edges: u32, task: &TaskState) -> Start {
    if edges == 0 {
        return Start::Run;
    }
    let all = task.missing == 0;
    let nothing = match task.failed_before {
        true => Start::Skip(SkipReason::DependencyFailed),
        false => Start::Skip(SkipReason::DependenciesSkipped),
    };
    match join {
        Join::All if !all => Start::Wait,
        Join::All if task.failed_before || task.taken == 0 => nothing,
        Join::All => Start::Run,
        Join::Any if task.taken > 0 => Start::Run,
        Join::Any if all => nothing,
        Join::Any => Start::Wait,
        Join::Quorum(n) if task.taken >= n => Start::Run,
        // A branch that was not taken at all is no failure.
        Join::Quorum(_) if all && task.taken == 0 && !task.failed_before => nothing,
        Join::Quorum(n) if task.taken + task.missing < n => Start::TooFew(task.taken, n),
        Join::Quorum(_) => Start::Wait,
        Join::BestEffort if !all => Start::Wait,
        Join::BestEffort if task.taken == 0 && !task.failed_before => nothing,
        Join::BestEffort => Start::Run,
    }
}

impl State {
    /// What the join of `task` says now.
    pub(crate) fn start_of(&self, task: u32) -> Start {
        let plan = self.task_plan(task);
        start(plan.join, plan.after.len() as u32, &self.tasks[task as usize])
    }

    /// Whether everything behind `task` can go without it, so that its failure is nobody else's: each way leads, perhaps
    /// through tasks that are skipped, to a join that can still start or has already.
    pub(crate) fn can_go_without(&self, task: u32) -> bool {
        let state = &self.tasks[task as usize];
        let turn = &self.turns[state.turn as usize];
        let first = self.plan.block(turn.block).first;
        let mut lost = BTreeSet::from([state.node - first]);
        let mut edges: BTreeMap<u32, u32> = BTreeMap::new();
        while let Some(offset) = lost.pop_first() {
            let ways = &self.plan.at(first + offset).next;
            if ways.is_empty() {
                return false;
            }
            for next in ways {
                let Some(behind) = self.tasks.get(turn.task(next.to) as usize) else { return false };
                if behind.phase != TaskPhase::Pending {
                    continue;
                }
                let gone = edges.entry(next.to).or_default();
                *gone += 1;
                let plain = matches!(label(&self.plan, first, *next), Edge::Done | Edge::Case(_));
                match self.plan.node(first + next.to).join {
                    Join::All if plain => drop(lost.insert(next.to)),
                    Join::Any if behind.taken == 0 && *gone >= behind.missing => drop(lost.insert(next.to)),
                    Join::All | Join::Any | Join::Quorum(_) | Join::BestEffort => {}
                }
            }
        }
        true
    }

    /// Tasks before `task` that its join did not need, and those before them that nobody else waits for.
    pub(crate) fn rest_of(&self, task: u32) -> Vec<u32> {
        let state = &self.tasks[task as usize];
        let turn = &self.turns[state.turn as usize];
        let block = self.plan.block(turn.block);
        let mut out: Vec<u32> = Vec::new();
        let mut look: Vec<u32> = self.plan.node(state.node).after.clone();
        let mut gone = BTreeSet::new();
        while let Some(offset) = look.pop() {
            let at = turn.task(offset);
            let open = self.tasks.get(at as usize).is_some_and(TaskState::is_open);
            if !open || gone.contains(&offset) {
                continue;
            }
            let node = block.first + offset;
            let direct = self.plan.node(state.node).after.contains(&offset);
            let needed = |to: u32| {
                let behind = turn.task(to);
                behind != task
                    && !gone.contains(&to)
                    && self.tasks[behind as usize].phase == TaskPhase::Pending
            };
            let others = self.plan.at(node).next.iter().any(|next| needed(next.to));
            // Somebody else waits for it, or it is itself a finish point.
            if others || (!direct && block.sinks.contains(&offset)) {
                continue;
            }
            gone.insert(offset);
            out.push(at);
            look.extend(&self.plan.node(node).after);
        }
        out.sort_unstable();
        out
    }
}
